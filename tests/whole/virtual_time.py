"""An event loop in virtual time: where nothing is ready it jumps to the next timer, so that hours cost nothing."""

from __future__ import annotations

import asyncio
from typing import Any

START_S = 1_795_000_000.0
"""The wall clock of every world at its start (Unix seconds, 2026-11-18)."""


class Stuck(Exception):
    """Everybody waits for somebody else: no timer is set, and nothing can ever happen again."""


class _Jumps:
    """In the place of a selector: there are no sockets, waiting is a jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("nothing is left to wait for")
        if timeout > 0:
            self._loop.advance(timeout)
        return []

    def close(self) -> None: ...


class VirtualLoop(asyncio.BaseEventLoop):
    """Seconds since its start as `time()`. Callbacks run in the order in which they were asked for: deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = _Jumps(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds

    def wall(self) -> float:
        return START_S + self._now_s

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...
