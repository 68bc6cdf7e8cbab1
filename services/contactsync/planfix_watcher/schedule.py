"""Whose turn it is: Planfix allows one request a second, so everything that wants to read stands in one line. Pure.

Each piece of work (`work.py`) makes one request per turn and joins the line again; `service.py` gives the turns.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from contactsync_contracts.messages import Class, LookPlanfix

_RESERVE = 0.2
"""The part of the day's requests that polling leaves to people and to writes."""


class Rank(IntEnum):
    """Lower goes first. The account-wide delta costs a request a minute and serves everybody, so even a person's
    listing of many pages lets it pass; within a class a short look passes a listing."""

    HUMAN = 0
    DELTA = 1
    HUMAN_LISTING = 2
    CHANGE = 3
    MEMBERSHIP = 4
    SWEEP = 5
    CHANGE_LISTING = 6
    BACKGROUND = 7
    ROTATION = 8


def rank_of(look: LookPlanfix) -> Rank:
    listing = look.what == "listing"
    match look.cls:
        case Class.HUMAN:
            return Rank.HUMAN_LISTING if listing else Rank.HUMAN
        case Class.CHANGE:
            return Rank.CHANGE_LISTING if listing else Rank.CHANGE
        case Class.BACKGROUND:
            return Rank.BACKGROUND


@dataclass(frozen=True, slots=True)
class Turn:
    """`ready_at`: not before that (Unix seconds); `order`: among equals the lowest first; `of`: whose turn;
    `alone`: not side by side with others."""

    rank: Rank
    ready_at: float
    order: float
    of: Hashable
    alone: bool = True


def next_turns(turns: Iterable[Turn], now: float, most: int = 1) -> list[Turn]:
    """Who goes now, the first in the line first: at most so many side by side, none that is to be alone."""
    ready = heapq.nsmallest(
        most, (turn for turn in turns if turn.ready_at <= now), key=lambda turn: (turn.rank, turn.order)
    )
    together = list(itertools.takewhile(lambda turn: not turn.alone, ready))
    return together or ready[:1]


def next_at(turns: Iterable[Turn]) -> float | None:
    return min((turn.ready_at for turn in turns), default=None)


def pause_s(remaining: int, reset_s: float) -> float:
    """Seconds that polling waits for each request it makes so that the day's remainder lasts until its reset."""
    spare = int(remaining * (1 - _RESERVE))
    return reset_s / spare if spare > 0 else max(reset_s, 1.0)


def retry_s(failures: int, asked_s: float = 0.0, max_s: float = 60.0) -> float:
    """A growing pause, never shorter than the vendor asked for."""
    return max(asked_s, min(2.0 ** min(failures - 1, 16), max_s))
