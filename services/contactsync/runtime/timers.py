"""Times at which keys want to be woken: one each, in memory; their owner keeps them in its state."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import anyio

LOOK_S = 60.0
"""The wall clock may be set; nobody oversleeps by more than this."""


class Timers:
    """`now`: Unix seconds. `fire` is called with the key when its time has come (a plain, quick function)."""

    def __init__(self, now: Callable[[], float], fire: Callable[[str], None]) -> None:
        self._now = now
        self._fire = fire
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._changed = anyio.Event()

    def set(self, key: str, at: float | None) -> None:
        """A new time replaces the old one; None clears it."""
        if at is None:
            self._at.pop(key, None)
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):  # mostly replaced ones
            self._heap = [(moment, name) for name, moment in self._at.items()]
            heapq.heapify(self._heap)
        if self._heap[0] == (at, key):
            self._changed.set()

    def drop(self, which: Callable[[str], bool]) -> None:
        for key in [key for key in self._at if which(key)]:
            del self._at[key]

    async def run(self) -> None:
        while True:
            self._changed = anyio.Event()
            wait_s = self.fire_due()
            with anyio.move_on_after(wait_s):
                await self._changed.wait()

    def fire_due(self) -> float:
        """Fire what is due; seconds until the next look."""
        now = self._now()
        while self._heap:
            at, key = self._heap[0]
            if self._at.get(key) == at:
                if at > now:
                    return min(at - now, LOOK_S)
                del self._at[key]
                heapq.heappop(self._heap)
                self._fire(key)
            else:
                heapq.heappop(self._heap)
        return LOOK_S
