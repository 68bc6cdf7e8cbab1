"""The alerts in deploy/prometheus: promtool accepts them; their metrics, runbook sections and commands exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from contactsync.__main__ import cli
from contactsync.runtime.metrics import Metrics

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "rules" / "contactsync.yml"
TESTS: Final = DEPLOY / "prometheus" / "tests" / "contactsync.yml"
RUNBOOK: Final = DEPLOY / "RUNBOOK.md"

METRIC: Final = re.compile(r"\bcontactsync_\w+")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def exported() -> dict[str, set[str]]:
    """Every series name that `Metrics` can show, with its labels. Families without a series yet count too."""
    series: dict[str, set[str]] = {}
    for metric in vars(Metrics()).values():
        for family in metric.describe() if hasattr(metric, "describe") else ():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
            series |= {family.name + suffix: set(metric._labelnames) for suffix in suffixes}
    return series


def anchors(markdown: str) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ +(.+?) *$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("PROMTOOL IS MISSING: the alert rules were not run (Debian: apt-get install prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_each_alert_fires_and_stays_quiet_when_it_should() -> None:
    promtool("test", "rules", str(TESTS))


def test_every_metric_of_a_rule_is_one_that_is_exported() -> None:
    used = {name for rule in rules() for name in METRIC.findall(rule["expr"])}
    assert used
    assert used <= exported().keys()


def test_every_label_that_a_rule_asks_for_is_one_that_its_metric_has() -> None:
    known = exported()
    for rule in rules():
        for name, selector in re.findall(r"\b(contactsync_\w+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector)) <= known[name], rule


def test_every_metric_of_the_unit_tests_is_one_that_is_exported() -> None:
    used = {name for test in yaml.safe_load(TESTS.read_text())["tests"] for series in test["input_series"]
            for name in METRIC.findall(series["series"])}  # fmt: skip
    assert used <= exported().keys()


def test_every_recorded_series_that_an_alert_uses_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in alerts() for name in re.findall(r"\bcontactsync:[\w:]+", rule["expr"])}
    assert used == recorded


def test_there_are_at_most_fourteen_rules() -> None:
    assert len(rules()) <= 14


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    file, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert file == RUNBOOK.name
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(RUNBOOK.read_text())


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_has_a_unit_test_of_its_own(alert: dict[str, Any]) -> None:
    """One that expects it to fire; promtool itself does not notice an alert that nobody tests."""
    tests = yaml.safe_load(TESTS.read_text())["tests"]
    named = [test for test in tests if test["name"].startswith(alert["alert"] + " ")]
    assert any(case["exp_samples"] for test in named for case in test["promql_expr_test"])


def test_a_command_in_the_runbook_is_one_that_exists() -> None:
    words = set(re.findall(r"`contactsync ([a-z]+)", RUNBOOK.read_text()))
    assert words
    assert words <= cli.commands.keys()
