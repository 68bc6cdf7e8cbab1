"""How often one caller may ask: so many requests in a minute, by a replica of the gateway for itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from contactsync.gateway.problems import Problem, Refusal

A_MINUTE: Final = 600
WINDOW_S: Final = 60.0
CALLERS_MAX: Final = 10_000


class Rate:
    """`clock`: seconds, of any origin."""

    def __init__(self, clock: Callable[[], float], a_minute: int = A_MINUTE) -> None:
        self._clock = clock
        self._a_minute = a_minute
        self._window = 0.0
        self._asked: dict[Hashable, int] = {}

    def take(self, caller: Hashable) -> None:
        """Count one request. Raises Refusal(TOO_MANY)."""
        now = self._clock()
        if not 0 <= now - self._window < WINDOW_S or len(self._asked) > CALLERS_MAX:
            self._window, self._asked = now, {}
        asked = self._asked[caller] = self._asked.get(caller, 0) + 1
        if asked > self._a_minute:
            raise Refusal(Problem.TOO_MANY)
