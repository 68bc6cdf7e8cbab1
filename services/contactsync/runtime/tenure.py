"""Whether what is being done may still be done: asked immediately before anything leaves the process.

NATS refuses the commits of a deposed owner, but nobody fences Google or Planfix. A process that slept through its
lease (SIGSTOP, a suspended laptop, a frozen disk) must not go on with the request that it was about to send when it
wakes up: by then somebody else does the same work. `ownership` opens a tenure around each call of a handler, and the
clients put the place that a request has in a quota beside it; whoever sends something calls `require`, as late as it
can. Outside of a tenure (the gateway, the command line) there is nothing to require.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from contactsync.runtime.bus import Deposed


class HeldUp(Exception):
    """A request did not leave in the time that it was granted for: it needs another place in the quota."""


Check = Callable[[], None]
_CHECKS: ContextVar[tuple[Check, ...]] = ContextVar("contactsync_tenure", default=())


def elapsed() -> float:
    """Seconds that have passed since some moment, those in which the machine slept included; never set by anybody."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@contextmanager
def checked(check: Check) -> Iterator[None]:
    """What runs inside, tasks that it starts included, sends only while `check` does not raise."""
    token = _CHECKS.set((*_CHECKS.get(), check))
    try:
        yield
    finally:
        _CHECKS.reset(token)


@contextmanager
def held(holds: Callable[[], bool]) -> Iterator[None]:
    """What runs inside may go on as long as `holds` says so."""

    def check() -> None:
        if not holds():
            raise Deposed("the lease ran out: nothing more is sent on its behalf")

    with checked(check):
        yield


def require() -> None:
    """Raises Deposed when the partition on whose behalf this is done is not ours any more, and what else is checked:
    HeldUp when the request's place in a quota is past."""
    for check in _CHECKS.get():
        check()
