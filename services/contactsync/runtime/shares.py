"""Which partitions a replica should take and which it should give back. Pure.

Every replica decides for itself from what it sees (`View`, perhaps a little old); that two never own one partition is
for the compare-and-set of the epoch record, not for this. What it must do: every partition finds an owner, everybody
ends with the same number give or take one, and nothing moves once that is so.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import orjson

from contactsync.runtime.bus import Record

FREE = "free"
"""The owner in the epoch record of a partition that was given back. No replica has this name."""


class Standing(Enum):
    """What a lease says of its replica."""

    WORKING = "working"
    LEAVING = "leaving"
    """It gives its partitions back and takes no share."""


@dataclass(frozen=True, slots=True)
class Held:
    """A partition's epoch record: who owns it, and its sequence."""

    owner: str
    seq: int


@dataclass(frozen=True, slots=True)
class View:
    """epochs: partition -> its record; none if it never had an owner. replicas: whose leases are there."""

    epochs: Mapping[int, Held] = field(default_factory=dict)
    replicas: Mapping[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """seq: that of the record to replace, 0 for none. of: the owner whose lease is missing, None where nobody is."""

    partition: int
    seq: int
    of: str | None


@dataclass(frozen=True, slots=True)
class Moves:
    claims: tuple[Claim, ...] = ()
    give_back: tuple[int, ...] = ()


def lease_value(standing: Standing, about: Mapping[str, object]) -> bytes:
    """What stands in a lease; `about` is for people who look."""
    return orjson.dumps({"standing": standing.value, **about})


def view_of(records: Iterable[Record]) -> View:
    """From the records `epoch.<component>.<partition>` and `lease.<component>.<replica>` of one component.

    A lease that cannot be read belongs to somebody all the same, who may own something and takes a share.
    """
    epochs: dict[int, Held] = {}
    replicas: dict[str, Standing] = {}
    for record in records:
        kind, _, name = record.key.split(".", 2)
        if kind == "lease":
            try:
                replicas[name] = Standing(orjson.loads(record.value)["standing"])
            except (ValueError, KeyError, TypeError):
                replicas[name] = Standing.WORKING
        elif name.isdecimal():
            epochs[int(name)] = Held(record.value.decode(errors="replace"), record.seq)
    return View(epochs, replicas)


def moves(view: View, me: str, mine: Collection[int], partitions: Collection[int]) -> Moves:
    """What `me`, owner of `mine`, should do now."""
    members = {name for name, standing in view.replicas.items() if standing is Standing.WORKING} | {me}
    least, most = len(partitions) // len(members), -(-len(partitions) // len(members))
    owned = Counter(held.owner for held in view.epochs.values())
    missing = sum(max(0, least - owned[name]) for name in members - {me})
    vacant = _vacant(view, me, mine, partitions)
    surplus = len(mine) - most
    if surplus <= 0 and len(mine) > least and missing and not vacant:
        surplus = 1
    if surplus > 0:
        # Whether they are at work or not: keeping the busy ones would leave the newcomer with nothing to do.
        return Moves(give_back=tuple(sorted(mine)[-surplus:]))
    # Everybody's least share first: what one takes beyond it would only have to be given back.
    room = max(0, least - len(mine))
    if len(vacant) - room > missing:
        room = min(most - len(mine), len(vacant) - missing)
    return Moves(claims=tuple(vacant[:room]))


def _vacant(view: View, me: str, mine: Collection[int], partitions: Collection[int]) -> list[Claim]:
    """What nobody alive owns, each replica beginning elsewhere so that they seldom reach for the same.

    What the record says is ours though we do not know of it was claimed with a lost answer.
    """
    found: list[Claim] = []
    for number in partitions:
        if number in mine:
            continue
        held = view.epochs.get(number)
        if held is None or held.owner in (FREE, me):
            found.append(Claim(number, held.seq if held else 0, None))
        elif held.owner not in view.replicas:
            found.append(Claim(number, held.seq, held.owner))
    start = zlib.crc32(me.encode()) % len(partitions)
    return sorted(found, key=lambda claim: ((claim.partition - start) % len(partitions), claim.partition))
