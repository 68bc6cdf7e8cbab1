"""How many people go into one request, and what may wait for more.

Pure. A batch costs 6 reads and 6 writes of the minute and 200 writes of the day whatever its size, a single 1 each
(quota table of Google's guide "Read and manage contacts"): below six singles are cheaper, two hundred are a bargain,
in between the day's remainder decides. `google_target.py` sends what this says.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")
G = TypeVar("G", bound=Hashable)

BATCH_MAX: Final = 200
SINGLES_BELOW: Final = 6


@dataclass(frozen=True, slots=True)
class BatchRules:
    """batch_max, singles_below: people. fill_idle_s: how long creates wait for a full batch after the newest of them
    came, while more are announced; fill_max_s: and after the oldest. day_reserve: writes of the day that are kept
    for singles."""

    batch_max: int = BATCH_MAX
    singles_below: int = SINGLES_BELOW
    fill_idle_s: float = 4.0
    fill_max_s: float = 30.0
    day_reserve: int = 10_000

    def partial_allowed(self, day_left: int | None) -> bool:
        """Whether a batch that is not full may be sent; `day_left` is None when the day has no limit."""
        return day_left is None or day_left - BATCH_MAX >= self.day_reserve


def chunks(items: Sequence[T], rules: BatchRules, *, partial: bool) -> list[Sequence[T]]:
    """The requests for `items`: full batches, then the rest as one batch or as singles."""
    full = len(items) - len(items) % rules.batch_max
    found: list[Sequence[T]] = [items[at : at + rules.batch_max] for at in range(0, full, rules.batch_max)]
    rest = items[full:]
    if rest and partial and len(rest) >= rules.singles_below:
        return [*found, rest]
    return [*found, *([item] for item in rest)]


def grouped(items: Iterable[tuple[G, T]]) -> dict[G, list[T]]:
    """By mask: one mask holds for a whole batch, and what it names but a body lacks would be cleared."""
    groups: dict[G, list[T]] = {}
    for group, item in items:
        groups.setdefault(group, []).append(item)
    return groups


def halves(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def waits_until(oldest: float, newest: float, rules: BatchRules) -> float:
    """Until when (Unix seconds) a rest of creates waits for more, when more are announced."""
    return min(newest + rules.fill_idle_s, oldest + rules.fill_max_s)
