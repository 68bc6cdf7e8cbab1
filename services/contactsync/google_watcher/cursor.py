"""What to read of one Google account next, and whom to tell about what came. Pure; `service.py` carries it out.

A sync token expires seven days after the full listing it descends from, whatever was polled since, and belongs to
the parameters of that listing (../facts/google.md, section 1). The index of people lives in memory: after a restart
it is listed again silently, and what changed meanwhile is asked for with the saved token.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import orjson

from contactsync.google_watcher.index import Entry
from contactsync_contracts.messages import GooglePerson

TOKEN_AGE_MAX_S = 6 * 86400.0
"""A day before the vendor's seven, so that an account never meets the expiry in normal running."""

LISTED_MAX = 5000
"""Resource names in one part of the end of a listing."""

LAST = "\U0010ffff"
"""Sorts after every resource name."""


class Read(StrEnum):
    """NONE: not yet. DELTA: what changed since the token. FULL: everybody, telling what differs from the index.
    CATCH_UP: everybody, silently, to have an index again; then the delta since the saved token."""

    NONE = "none"
    DELTA = "delta"
    FULL = "full"
    CATCH_UP = "catch_up"


@dataclass(frozen=True, slots=True)
class Cursor:
    """`state.account.<a>.cursor`. full_at: when the full listing began that the token descends from. labels: those
    whose filters were told of everything before the token (None: all, an older release wrote it). A label whose
    record is lost, or comes late, misses what is read meanwhile: its filter needs a listing."""

    sync_token: str
    parameters: str
    full_at: float
    labels: frozenset[str] | None = frozenset()

    def behind(self, labels: Iterable[str]) -> set[str]:
        """Those of these labels whose filters were not told of everything."""
        return set() if self.labels is None else set(labels) - self.labels

    def expired(self) -> Cursor:
        """With this token nothing can be read any more."""
        return replace(self, full_at=-math.inf)

    def read_with(self, labels: Collection[str]) -> Cursor:
        """After something was read while these were the labels that are known."""
        if self.labels is not None and self.labels <= set(labels):
            return self
        return replace(self, labels=frozenset(labels if self.labels is None else self.labels & set(labels)))


def encode(cursor: Cursor) -> bytes:
    return orjson.dumps(
        {
            "sync_token": cursor.sync_token,
            "parameters": cursor.parameters,
            "full_at": cursor.full_at,
            "labels": None if cursor.labels is None else sorted(cursor.labels),
        }
    )


def decode(value: bytes) -> Cursor | None:
    """None for a record that an incompatible release wrote: the account is then listed anew."""
    try:
        raw = orjson.loads(value)
        token, parameters, full_at = str(raw["sync_token"]), str(raw["parameters"]), float(raw["full_at"])
        labels = raw.get("labels")
        return Cursor(token, parameters, full_at, None if labels is None else frozenset(map(str, labels)))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def label_of(value: bytes) -> str | None:
    """The resource name in the writer's record of a filter's label: bare, or the `resource` of a JSON object."""
    text = value.decode()
    if not text.startswith(("{", '"')):
        return text or None
    raw = orjson.loads(text)
    found = raw.get("resource") or raw.get("label") if isinstance(raw, dict) else raw
    return found if isinstance(found, str) and found else None


def next_read(
    cursor: Cursor | None,
    *,
    now: float,
    parameters: str,
    labels: Collection[str],
    full_s: float,
    indexed: bool,
    due: bool,
    listing_asked: bool,
    index_asked: bool,
) -> Read:
    """`labels`: those that filters have now; `due`: the poll's time has come; `listing_asked`: somebody waits for a
    listing that begins now; `index_asked`: somebody waits for the index to be complete, whenever it was read."""
    if not (due or listing_asked or (index_asked and not indexed)):
        return Read.NONE
    if cursor is None or cursor.parameters != parameters or now - cursor.full_at >= TOKEN_AGE_MAX_S:
        return Read.FULL
    if due and cursor.behind(labels):
        return Read.FULL
    if not indexed:
        return Read.CATCH_UP
    return Read.FULL if listing_asked or now - cursor.full_at >= full_s else Read.DELTA


def listing_complete(received: int, totals: Sequence[int], token: str | None) -> bool:
    """Whether a full listing may conclude anything. People that come or go while it is read change `total` from
    page to page: too few is fewer than any page said. The token stands only on the last page."""
    return token is not None and (not totals or received >= min(totals))


def belongs(person: GooglePerson, label: str | None) -> bool:
    """Whether a person is one of a filter's: by its label, or by a stamp of ours, which names no filter."""
    return bool(person.stamps) or (label is not None and label in person.labels)


def concerned(
    labels: Iterable[str], *, stamped: bool, before: Sequence[Entry], filters: Mapping[str, str]
) -> set[str]:
    """The filters to tell of a change of a person that carries `labels` now (none if it is gone).

    `before`: what the index knew of it, under this name and previous ones; `filters`: label to filter. Whose label
    it carries or carried, and everybody if it carries or carried a stamp: that names the contact, not the filter, and
    a label may have been put on by us and taken off by a human between two reads.
    """
    if stamped or any(entry.stamps for entry in before):
        return {*filters.values()}
    return _by_label(labels, before, filters)


def concerned_in_listing(
    labels: Iterable[str], *, stamped: bool, before: Sequence[Entry], filters: Mapping[str, str]
) -> set[str]:
    """As `concerned`, of a person in a listing, whose end tells a filter what lacks its label: everybody only of
    those that carry a stamp and nobody's label."""
    if stamped and not any(label in filters for label in labels):
        return {*filters.values()}
    return _by_label(labels, before, filters)


def _by_label(labels: Iterable[str], before: Sequence[Entry], filters: Mapping[str, str]) -> set[str]:
    seen = {*labels, *(label for entry in before for label in entry.labels)}
    return {filters[label] for label in seen if label in filters}


def listed_parts(resources: Iterable[str], part_max: int = LISTED_MAX) -> list[tuple[str, str, tuple[str, ...]]]:
    """(low, high, names): ranges by code point without gap or overlap over all names. The text right after `s` is
    `s + "\\0"`."""
    names = sorted(set(resources))
    parts = [tuple(names[at : at + part_max]) for at in range(0, len(names), part_max)] or [()]
    lows = [""] + [part[-1] + "\0" for part in parts[:-1]]
    highs = [part[-1] for part in parts[:-1]] + [LAST]
    return list(zip(lows, highs, parts, strict=True))
