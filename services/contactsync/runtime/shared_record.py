"""A value that several processes change by compare-and-set, and a line of those in one process who wait for it.

`quota.py` keeps the vendors' quotas in such records.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import anyio
import orjson

from contactsync.errors import Unavailable
from contactsync.runtime.bus import Bus, Conflict, Transient
from contactsync.runtime.clock import Clock
from contactsync.runtime.logs import get_logger

B = TypeVar("B")
T = TypeVar("T")

RECORD_TTL_S: Final = 2 * 86_400
ATTEMPTS: Final = 50
GRAIN_S: Final = 0.001
"""Nobody sleeps for less: Unix seconds as floats tell a quarter of a microsecond apart, and a timer's clock less, so
that a rest of that size is not over when it should be and is asked for again and again."""

_LOG: Final = get_logger("quota")


class SharedRecord(Generic[B]):
    """One shared value. Without a bus (no limits at all) it lives in this process only. `full`: what to take a record
    for that cannot be read, by the time."""

    def __init__(
        self,
        bus: Bus | None,
        key: str,
        empty: B,
        encode: Callable[[B], Mapping[str, Any]],
        decode: Callable[[Mapping[str, Any]], B],
        clock: Clock,
        full: Callable[[float], B],
    ) -> None:
        self.value = empty
        self._empty = empty
        self._bus = bus
        self._key = key
        self._encode = encode
        self._decode = decode
        self._clock = clock
        self._full = full
        self._seq: int | None = None
        self._lock = anyio.Lock()

    async def change(self, step: Callable[[B], tuple[B, T]], *, fresh: bool = False) -> T:
        """Apply `step` to the newest value until that could be written. It is called again after a conflict. `fresh`:
        read before the first try, too.

        What it says of an unchanged value may rest on one that is a little old: waiting times only, which the
        next try corrects. Raises Unavailable.
        """
        async with self._lock:
            if self._bus is None:
                self.value, result = step(self.value)
                return result
            if fresh:
                self._seq = None
            for _ in range(ATTEMPTS):
                try:
                    await self._clock.follow(self._bus)
                    if self._seq is None:
                        await self._reread(self._bus)
                    value, result = step(self.value)
                    if value == self.value:
                        return result
                    data = orjson.dumps(self._encode(value))
                    self._seq = await self._bus.cas(self._key, data, self._seq or 0, RECORD_TTL_S)
                except Conflict:
                    self._seq = None
                except Transient as error:
                    # It may have been written: counting a request twice is harmless.
                    self._seq = None
                    await self._clock.sleep(min(1.0, error.retry_after_s))
                else:
                    self.value = value
                    return result
        raise Unavailable("the record of the quota cannot be changed", 2.0)

    async def _reread(self, bus: Bus) -> None:
        record = await bus.get(self._key)
        if record is None:
            self.value, self._seq = self._empty, 0
            return
        try:
            self.value = self._decode(orjson.loads(record.value))
        except (ValueError, KeyError, TypeError, AttributeError):
            _LOG.error("a quota's record cannot be read and counts as used up", key=self._key)
            self.value = self._full(self._clock.now())
        self._seq = record.seq


@dataclass(order=True, slots=True)
class _Waiter:
    rank: int
    number: int
    turn: anyio.Event = field(compare=False)


class Line:
    """Waiters of one kind in this process: the first by rank and arrival tries, the others wait for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiters: list[_Waiter] = []
        self._numbers = itertools.count()

    async def pass_through(self, rank: int, attempt: Callable[[], Awaitable[float]]) -> float:
        """Call `attempt` (0: done, else seconds until it is worth trying again) until done; seconds waited."""
        began = self._clock.monotonic()
        me = _Waiter(rank, next(self._numbers), anyio.Event())
        heapq.heappush(self._waiters, me)
        try:
            while True:
                if self._waiters[0] is not me:
                    await me.turn.wait()
                    me.turn = anyio.Event()
                    continue
                wait_s = await attempt()
                if wait_s <= 0:
                    return self._clock.monotonic() - began
                await self._clock.sleep(max(wait_s, GRAIN_S))
        finally:
            self._waiters.remove(me)
            heapq.heapify(self._waiters)
            if self._waiters:
                self._waiters[0].turn.set()
