"""What is deployed says the same as the program, where it has to repeat it; no container engine is needed here."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from dotenv import dotenv_values
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from contactsync.cli_run import ALL
from contactsync.runtime.metrics import Metrics, serve_metrics
from contactsync.runtime.settings import METRICS_PORTS, load_settings
from contactsync.wiring import NEEDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def locked(name: str) -> dict[str, str]:
    """Distribution to its lines, version and hashes, in this lock file."""
    blocks = re.split(r"\n(?=\S)", (ROOT / name).read_text().strip())
    return {canonicalize_name(re.split(r"[=\[ ]", block, maxsplit=1)[0]): block for block in blocks}


def needed(roots: list[str]) -> set[str]:
    """These and all that they require here, by what is installed."""
    found: set[tuple[str, str]] = set()
    todo = [Requirement(root) for root in roots]
    while todo:
        one = todo.pop()
        for extra in one.extras or {""}:
            name = canonicalize_name(one.name)
            if (name, extra) in found or (one.marker and not one.marker.evaluate({"extra": extra})):
                continue
            found.add((name, extra))
            further = [Requirement(text) for text in importlib.metadata.requires(name) or []]
            todo += [each for each in further if not each.marker or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


# ---- the image


def test_the_image_gets_exactly_the_versions_and_hashes_that_the_tests_run_with() -> None:
    everything = locked("requirements.lock")
    assert {name: everything.get(name) for name in locked("requirements-run.lock")} == locked("requirements-run.lock")


def test_the_image_gets_all_that_the_program_needs_and_no_tool_of_ours() -> None:
    for_running = locked("requirements-run.lock").keys()
    assert needed(PROJECT["project"]["dependencies"]) <= for_running
    tools = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependency-groups"]["dev"]}
    assert not tools & for_running


def test_the_image_bears_the_version_of_the_project() -> None:
    found = re.search(r"^ARG VERSION=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == PROJECT["project"]["version"]


# ---- its health check


async def checked(port: int, **variables: str) -> tuple[int, str]:
    """Exit code and text of the health check of a container whose process serves its health on this port."""
    env = {**os.environ, "CONTACTSYNC_METRICS_PORT": str(port), **variables}
    words = [sys.executable, "-IS", str(DEPLOY / "healthcheck.py")]
    done = await anyio.run_process(words, env=env, check=False, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode().strip()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param(None, (0, "ok"), id="ready"),
        pytest.param("NATS is not connected", (1, "NATS is not connected"), id="not ready, and why"),
    ],
)
async def test_the_health_check_repeats_what_the_process_says(reason: str | None, expected: tuple[int, str]) -> None:
    async with serve_metrics(Metrics(), lambda: reason, host="127.0.0.1", port=0) as port:
        assert await checked(port) == expected


async def test_a_process_that_does_not_answer_is_not_well() -> None:
    async with serve_metrics(Metrics(), lambda: None, host="127.0.0.1", port=0) as port:
        pass
    assert await checked(port) == (1, "nobody serves /readyz here")


def test_the_health_check_knows_every_port_that_a_process_may_serve_its_health_on() -> None:
    found = re.search(r"^PORTS = range\((\d+), (\d+)\)$", (DEPLOY / "healthcheck.py").read_text(), re.MULTILINE)
    assert found is not None
    assert set(range(int(found[1]), int(found[2]))) == set(METRICS_PORTS.values())


# ---- compose


def test_compose_runs_every_service() -> None:
    commands = {name: one.get("command") for name, one in COMPOSE["services"].items()}
    assert {name: commands.get(name) for name in ALL} == {name: ["run", name] for name in ALL}


def test_prometheus_asks_every_service_where_it_serves_its_metrics() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {
        job["job_name"]: (found["names"], found["port"]) for job in jobs for found in job.get("dns_sd_configs", ())
    }
    assert asked == {name: ([name], METRICS_PORTS[name]) for name in ALL}


@pytest.mark.parametrize("service", ALL)
def test_the_settings_of_the_demo_are_all_that_a_service_needs(service: str) -> None:
    values = {name: value or "" for name, value in dotenv_values(DEPLOY / "demo.env").items()}
    load_settings(values, dotenv=None).require(*NEEDS[service])


def test_nothing_is_reachable_from_another_machine() -> None:
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert COMPOSE["networks"]["bus"] == {"internal": True}
    assert COMPOSE["services"]["nats"]["networks"] == ["bus"]
