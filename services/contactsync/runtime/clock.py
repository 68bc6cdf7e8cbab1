"""The time by which everything goes: the NATS server's, asked for once a minute and carried on by a clock that nobody
sets.

What is decided by how long ago something was (whether a list can be trusted, whose edit is the later one, when to
look again) must not change because an administrator, or a time server, sets a machine's clock.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import anyio

from contactsync.runtime import tenure
from contactsync.runtime.bus import Bus, BusError
from contactsync.runtime.logs import get_logger

FOLLOW_S: Final = 60.0
SURE_S: Final = 0.5
"""An answer about the time that took longer is asked for again, twice."""
OFF_S: Final = 5.0
STEP_S: Final = 1.0
CLOCK_OFF: Final = "everything goes by the NATS server's clock: set this machine's"

_LOG: Final = get_logger("clock")


@dataclass(slots=True)
class Clock:
    """Where time comes from; tests give their own. `wall` is this machine's, which may be off or set at any moment:
    everything is told in the NATS server's time, `now`, once it was asked (`follow`)."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = tenure.elapsed
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _ahead_s: float | None = field(default=None, init=False)
    """The server's time less `monotonic`."""
    _asked_at: float = field(default=0.0, init=False)
    _warned: bool = field(default=False, init=False)
    _told: float = field(default=0.0, init=False)

    def now(self) -> float:
        """Unix seconds. It does not go back by what two answers of the server differ in."""
        now = self.wall() if self._ahead_s is None else self.monotonic() + self._ahead_s
        if now > self._told or now < self._told - STEP_S:
            self._told = now
        return self._told

    @property
    def off_s(self) -> float:
        """By how much this machine's clock is ahead of the server's; 0 while that is not known."""
        return 0.0 if self._ahead_s is None else self.wall() - self.monotonic() - self._ahead_s

    async def follow(self, bus: Bus) -> None:
        """Ask the server for its time, once a minute. Raises Transient."""
        if self._ahead_s is not None and self.monotonic() - self._asked_at < FOLLOW_S:
            return
        for last in (False, False, True):
            before = self.monotonic()
            told = await bus.time()
            took_s = self.monotonic() - before
            if took_s <= SURE_S or last:
                self._ahead_s, self._asked_at = told - before - took_s / 2, before
                break
        off = abs(self.off_s) > OFF_S
        if off and not self._warned:
            _LOG.warning("this machine's clock is off", seconds=round(self.off_s, 1), reason=CLOCK_OFF)
        self._warned = off

    async def keep(self, bus: Bus) -> None:
        """Follow the server's time until cancelled."""
        while True:
            with suppress(BusError):
                await self.follow(bus)
            await self.sleep(FOLLOW_S)
