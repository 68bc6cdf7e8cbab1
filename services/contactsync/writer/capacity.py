"""Who gets the free places of a Google account (2-semantics 2.4, *more than fits*): the lowest contact numbers.

Pure. How many people there are is known from complete listings, which the filters pass on with their mutations, and
from what was created since; deletions free a place only when a listing shows it, since Google's Trash may count.
A contact that finds no place keeps a claim: a higher number does not overtake it. `google_target.py` asks here.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from contactsync.records import known_to

FULL_AGAIN_S: Final = 6 * 3600.0
"""So long Google's own word that the account is full holds, if no listing shows fewer people."""
BUCKET_S: Final = 60.0

NO_PLACE: Final = "the account holds as many contacts as it can; places go to the lowest contact numbers"


@dataclass(frozen=True, slots=True)
class Capacity:
    """total, at: people in the newest complete listing, and when it began (0: none is known). created: (from when on,
    how many) of the creates that it may lack. asked_at: the newest listing with free places, after which everybody
    who waits asks again; round_at: the one before. full_at, full_count: when Google itself said that the account is
    full, and with how many people by our count."""

    total: int = 0
    at: float = 0.0
    created: tuple[tuple[float, int], ...] = ()
    asked_at: float = 0.0
    round_at: float = 0.0
    full_at: float = 0.0
    full_count: int = 0

    @property
    def count(self) -> int:
        """How many people there are at most, as far as we know."""
        return self.total + sum(number for _, number in self.created)


def encode_capacity(capacity: Capacity) -> bytes:
    return orjson.dumps(capacity)


def decode_capacity(data: bytes) -> Capacity:
    stored: dict[str, Any] = orjson.loads(data)
    stored["created"] = tuple((float(at), int(number)) for at, number in stored["created"])
    return Capacity(**known_to(Capacity, stored))


def listed(before: Capacity, total: int, at: float, lag_s: float, people_max: int, *, told: bool = True) -> Capacity:
    """A complete listing begun at `at` showed `total` people. Creates of the last `lag_s` before it may be missing in
    it, and count on top. `told`: the filters know of this listing, too."""
    if at <= before.at:
        return before
    after = replace(
        before, total=total, at=at, created=tuple(one for one in before.created if one[0] + BUCKET_S > at - lag_s)
    )
    if told and total < people_max:
        after = replace(after, asked_at=at, round_at=before.asked_at)
    return after


def at_least(capacity: Capacity, began: float, lag_s: float) -> int:
    """How many people a listing begun then must show, unless some were deleted."""
    since = [number for at, number in capacity.created if at >= capacity.at and at + BUCKET_S <= began - lag_s]
    return capacity.total + sum(since)


def grown(before: Capacity, number: int, now: float) -> Capacity:
    """`number` people were created. Without a listing there is nothing to count on."""
    if not number or not before.at:
        return before
    bucket = now - now % BUCKET_S
    *earlier, last = before.created or ((bucket, 0),)
    if last[0] == bucket:
        return replace(before, created=(*earlier, (bucket, last[1] + number)))
    return replace(before, created=(*before.created, (bucket, number)))


def refused(before: Capacity, now: float) -> Capacity:
    """Google said itself that the account is full."""
    return replace(before, full_at=now, full_count=before.count)


def free_places(capacity: Capacity, under_way: int, people_max: int, now: float) -> int | None:
    """None when nothing is known: then Google's own answer decides. `under_way`: creates without an answer."""
    limit = people_max
    if capacity.full_at and now < capacity.full_at + FULL_AGAIN_S:
        limit = min(limit, capacity.full_count)
    elif not capacity.at:
        return None
    return max(0, limit - capacity.count - under_way)


def admitted(
    asking: Collection[int], claims: Mapping[int, float], free: int | None, round_at: float = 0.0
) -> frozenset[int]:
    """Those of the asking contacts that get a place. `claims`: contacts that were told before that there is none, and
    when. A claim not renewed since `round_at` has lapsed: its contact had the chance to ask again and did not."""
    if free is None or free >= len(asking) + len(claims):
        return frozenset(asking)
    rivals = {contact for contact, at in claims.items() if at >= round_at} | set(asking)
    return frozenset(heapq.nsmallest(free, rivals)) & frozenset(asking)
