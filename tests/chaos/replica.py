"""`contactsync run SERVICE` with named points at which the process kills or stops itself: `replica.py FILE WORDS…`.

The test writes a point into FILE (`before commit kill 3`: before the third commit from now on, `kill -9`); the
process takes it from there. Nothing of the product is changed but where these calls are let through.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from contactsync.__main__ import main
from contactsync.google import session
from contactsync.planfix import transport
from contactsync.runtime.nats_bus import NatsBus

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
STEPS = {
    "planfix-watcher": ("commit", "cas", "publish", "ack", "planfix"),
    "google-watcher": ("commit", "cas", "publish", "ack", "google"),
    "reconciler": ("commit", "cas", "publish", "ack"),
    "writer": ("commit", "cas", "publish", "ack", "google", "planfix"),
}
"""What each service does that others can see; `cas`: leases, claims, quotas."""


class Point:
    """when: before or after; step: as in STEPS; what: kill or stop; left: how many times it is still passed by."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._armed: tuple[str, str, str, int] | None = None

    def passed(self, when: str, step: str) -> None:
        if self._file.exists():
            wanted, at, what, count = self._file.read_text().split()
            self._file.unlink()
            self._armed = (wanted, at, what, int(count))
        if self._armed is None or self._armed[:2] != (when, step):
            return
        wanted, at, what, left = self._armed
        if left > 1:
            self._armed = (wanted, at, what, left - 1)
            return
        self._armed = None
        os.kill(os.getpid(), SIGNALS[what])


def watch(point: Point, owner: Any, method: str, step: str) -> None:
    """Around each call of the method."""
    call: Callable[..., Awaitable[Any]] = getattr(owner, method)

    async def watched(*args: Any, **named: Any) -> Any:
        point.passed("before", step)
        result = await call(*args, **named)
        point.passed("after", step)
        return result

    setattr(owner, method, watched)


if __name__ == "__main__":
    here = Point(Path(sys.argv[1]))
    for name in ("commit", "cas", "publish", "ack"):
        watch(here, NatsBus, name, name)
    watch(here, session.HttpCarrier, "carry", "google")
    watch(here, transport.HttpCarrier, "carry", "planfix")
    sys.argv = ["contactsync", *sys.argv[2:]]
    main()
