"""Whether what is being done may still be done: asked immediately before anything leaves the process.

NATS refuses the commits of a deposed owner, but nobody fences Google or Planfix. A process that slept through its
lease (SIGSTOP, a suspended laptop, a frozen disk) must not go on with the request that it was about to send when it
wakes up: by then somebody else does the same work. `ownership` opens a tenure around each call of a handler; whoever
sends something calls `require`, as late as it can. Outside of a tenure (the gateway, the command line) there is
nothing to require.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from contactsync.runtime.bus import Deposed

_HOLDS: ContextVar[Callable[[], bool] | None] = ContextVar("contactsync_tenure", default=None)


def elapsed() -> float:
    """Seconds that have passed since some moment, those in which the machine slept included; never set by anybody."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@contextmanager
def held(holds: Callable[[], bool]) -> Iterator[None]:
    """What runs inside, tasks that it starts included, may go on as long as `holds` says so."""
    token = _HOLDS.set(holds)
    try:
        yield
    finally:
        _HOLDS.reset(token)


def require() -> None:
    """Raises Deposed when the partition on whose behalf this is done is not ours any more."""
    holds = _HOLDS.get()
    if holds is not None and not holds():
        raise Deposed("the lease ran out: nothing more is sent on its behalf")
