"""Another tool that syncs the same two ends (semantics 2.5, D8): contacts that flip between values, or multiply.

Pure. `answers.py` notes what was written, `guard.py` asks before the next write. What is noted lasts a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from contactsync.reconciler.core.breaker import DAY_S, digest_of
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.link import Link
from contactsync_contracts.contact import Contact

_NAMES: Final = ("given", "family", "company")
_NUMBERS: Final = ("phones", "emails")

FLIPS_MAX: Final = 3
"""The same value written so often to one contact within a day: something changes it back each time."""
COPIES_MAX: Final = 3
"""So many contacts of one name and number made within a day: something copies them back."""
ROUNDS_MAX: Final = 3
"""People who could be one contact, put under the label so many times within a day: something copies them there."""
ROUND_S: Final = 60.0
"""What comes within so short a time is one act; a human who labels all of somebody's copies does that once."""
COPIES_IN_ALL: Final = 10
COPIES_PERCENT: Final = 10
NOTED_MAX: Final = 200
DOUBLES_MAX: Final = 12
TURNS_MAX: Final = 12


def written(link: Link, target: Contact, now: float) -> Link:
    """A value was written to either side."""
    turns = [turn for turn in link.turns if turn[0] > now - DAY_S][-(TURNS_MAX - 1) :]
    return replace(link, turns=(*turns, (now, digest_of("", "", target))))


def flips(link: Link, target: Contact, since: float, now: float) -> bool:
    """Whether writing this once more would be the third time within a day. since: when a human last said go on."""
    digest = digest_of("", "", target)
    begin = max(since, now - DAY_S)
    return sum(at > begin and value == digest for at, value in link.turns) >= FLIPS_MAX - 1


def key_of(fields: Mapping[str, object] | None) -> tuple[object, ...] | None:
    """What two copies of one contact share: names and numbers, and addresses where there is no number."""
    if not fields:
        return None
    names = tuple(str(fields.get(name, "")).casefold() for name in _NAMES)
    for name in _NUMBERS:
        value = fields.get(name)
        if isinstance(value, tuple) and value:
            return (*names, *sorted(element.key for element in value))
    return names if any(names) else None


Copies = Mapping[str, Sequence[float]]


def copied(copies: Copies, key: tuple[object, ...], now: float) -> dict[str, list[float]]:
    """The day's copies with one more of this key."""
    kept = {name: fresh for name, times in copies.items() if (fresh := [at for at in times if at > now - DAY_S])}
    name = _name_of(key)
    kept[name] = [*kept.get(name, []), now]
    while len(kept) > NOTED_MAX:
        del kept[next(iter(kept))]
    return kept


def multiply(copies: Copies, links: int) -> bool:
    in_all = sum(map(len, copies.values()))
    too_many = max(COPIES_IN_ALL, links * COPIES_PERCENT // 100)
    return any(len(times) >= COPIES_MAX for times in copies.values()) or in_all > too_many


Doubles = Mapping[str, Mapping[str, float]]
"""Of each name and number: the people who could be copies (by source id), and when each came first."""


def doubled(doubles: Doubles, key: tuple[object, ...], source_id: str, now: float) -> dict[str, dict[str, float]]:
    """The day's possible copies with one more person of this key."""
    begin = now - DAY_S
    kept = {k: fresh for k, v in doubles.items() if (fresh := {s: at for s, at in v.items() if at > begin})}
    name = _name_of(key)
    of_key = {source_id: now, **kept.pop(name, {})}
    kept[name] = dict(sorted(of_key.items(), key=lambda item: item[1])[-DOUBLES_MAX:])
    while len(kept) > NOTED_MAX:
        del kept[next(iter(kept))]
    return kept


def come_again(doubles: Doubles) -> bool:
    return any(rounds(times.values()) >= ROUNDS_MAX for times in doubles.values())


def rounds(times: Iterable[float]) -> int:
    """How many acts these are."""
    found, last = 0, 0.0
    for at in sorted(times):
        if not found or at > last + ROUND_S:
            found, last = found + 1, at
    return found


def _name_of(key: tuple[object, ...]) -> str:
    return blake2b(repr(key).encode(), digest_size=8).hexdigest()
