"""Request limits of a simulated Planfix account: one a second, so many a day; `planfix.py` asks it first.

Sources: the REST API introduction (20/50/100 thousand a day, one a second, `X-RateLimit-Remaining` refreshed
about every ten minutes); the wire form of a breach is known from other clients only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from .planfix_options import PlanfixOptions

_DAY_S = 86_400


class Verdict(Enum):
    PASS = auto()
    TOO_FAST = auto()
    DAY_EXHAUSTED = auto()


@dataclass(slots=True)
class Limits:
    """Counts arrivals; times in seconds since the epoch."""

    options: PlanfixOptions
    last_arrival_s: float | None = None
    day: int = -1
    used: int = 0
    _shown: int = 0
    _shown_at_s: float = field(default=float("-inf"))

    def arrive(self, now_s: float) -> Verdict:
        """Counts one request. A refused one counts as an arrival too, but not against the day."""
        previous, self.last_arrival_s = self.last_arrival_s, now_s
        rate = self.options.requests_per_second
        # Float clocks: 1.0 s apart on the wire may come out as 0.9999999 s here.
        gap_s = (1.0 / rate if rate else 0.0) - self.options.rate_tolerance_s - 1e-6
        if rate and previous is not None and now_s - previous < gap_s:
            return Verdict.TOO_FAST
        today = int(now_s // _DAY_S)
        if today != self.day:
            self.day, self.used = today, 0
            self._shown_at_s = float("-inf")
        if self.options.requests_per_day and self.used >= self.options.requests_per_day:
            return Verdict.DAY_EXHAUSTED
        self.used += 1
        return Verdict.PASS

    def reset_in_s(self, now_s: float) -> float:
        return _DAY_S - now_s % _DAY_S

    def headers(self, now_s: float) -> dict[str, str]:
        """The remainder as of the last refresh, and the seconds until the day ends."""
        if not self.options.requests_per_day:
            return {}
        if now_s - self._shown_at_s >= self.options.remaining_refresh_s:
            self._shown = max(0, self.options.requests_per_day - self.used)
            self._shown_at_s = now_s
        return {
            "X-RateLimit-Remaining": str(self._shown),
            "x-ratelimit-reset": str(int(self.reset_in_s(now_s))),
        }
