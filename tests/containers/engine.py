"""The words `docker` and `docker compose`, as an operator has them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
NO_RIGHTS = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def run(
    *words: str, timeout_s: float = 120, check: bool = True, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`docker` with these words, from the root of the repository."""
    done = subprocess.run(
        ["docker", *words],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def inspected(name: str) -> dict[str, Any]:
    """A container or an image, as `docker inspect` shows it."""
    found: dict[str, Any] = json.loads(run("inspect", name).stdout)[0]
    return found


def until(condition: Callable[[], T | None], what: str, *, seconds: float = 60) -> T:
    """What `condition` answers, as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(what)
        time.sleep(0.3)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
