"""Tests that need a container engine are skipped where `docker info` fails, and that is said aloud."""

from __future__ import annotations

import subprocess
from functools import cache

import pytest
from engine import run

NO_ENGINE = "no container engine here (`docker info` fails)"


@cache
def engine_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.get_closest_marker("containers")]
    if mine and not engine_answers():
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=NO_ENGINE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if "tests/containers/" in report.nodeid]
    if skipped:
        terminalreporter.write_line(f"!! tests/containers: {len(skipped)} SKIPPED, the reasons are below", red=True)


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the image, built from this tree as the README says."""
    run("build", "-q", "-f", "deploy/Dockerfile", "-t", "contactsync:tested", ".", timeout_s=250)
    return "contactsync:tested"
