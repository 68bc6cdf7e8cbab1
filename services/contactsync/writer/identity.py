"""Who is who in one Google account: contact -> person, and which filters want it there.

Pure. `unite` turns the mutations that wait for one contact into one wish: which labels the person carries and
which filter's fields are written (2-semantics 2.4, *the same contact in two synced filters*). `IdentityMap` holds
an account's records compactly; `google_target.py` loads, commits and uses them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

import orjson

from contactsync.records import known_to
from contactsync.writer.census import Census
from contactsync_contracts.messages import (
    Class,
    GoogleMutation,
    GooglePerson,
    Handover,
    Kept,
    Outcome,
    PlanfixMutation,
)

Json = dict[str, Any]

CHAIN_MAX: Final = 6
"""How many of our own label-only writes in a row a mutation may be behind."""

LABEL_MASK: Final = frozenset({"memberships", "clientData"})
"""Person fields that a write may touch without changing what a merge has seen."""


@dataclass(frozen=True, slots=True)
class Want:
    """One filter's share in a person: its rank (`since`, `two_way`), whether it wants the person now (`active`),
    and what came of its mutations up to revision `rev`. `at`: when it was told that there is no place (FULL). `mark`
    tells copies of that one from others. `released`: a human took the person from this filter, which does not count
    as holding it any more; that it was wanted until then is kept, as a witness of lost states (`witness.py`)."""

    since: float
    two_way: bool
    rev: int = 0
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    removed: bool = False
    active: bool = True
    at: float = 0.0
    mark: str = ""
    released: bool = False

    @property
    def holds(self) -> bool:
        return self.active and not self.released


@dataclass(frozen=True, slots=True)
class Rank:
    """What a filter as a whole says of itself: newer than what stands on single contacts."""

    two_way: bool
    active: bool


Ranks = Mapping[str, Rank]
UNRANKED: Final[Ranks] = {}


@dataclass(frozen=True, slots=True)
class Known:
    """One contact's person as we last knew it. `resource` is empty when there is none (any more).

    etag: the newest source etag. chain: older ones that lead to it through nothing but our own writes of labels
    and stamps, so that fields merged over them are still current. memberships, client_data: as in `raw`. deleted:
    there is none because we deleted it. vanished: there was none by this name any more; it may be by another one.
    """

    resource: str = ""
    source_id: str = ""
    etag: str = ""
    chain: tuple[str, ...] = ()
    memberships: tuple[Json, ...] = ()
    client_data: tuple[Json, ...] = ()
    kept: Kept | None = None
    wants: Mapping[str, Want] = field(default_factory=dict)
    deleted: bool = False
    vanished: str = ""

    def knows(self, etag: str | None) -> bool:
        """Whether the fields at this version are those of the newest one."""
        return bool(etag) and (etag == self.etag or etag in self.chain)

    def lay_over(self, raw: Mapping[str, Any]) -> Json:
        """`raw` of a version that we know, with the newest memberships and client data."""
        newest = {key: value for key, value in raw.items() if key not in LABEL_MASK}
        if self.memberships:
            newest["memberships"] = list(self.memberships)
        if self.client_data:
            newest["clientData"] = list(self.client_data)
        return newest


def known_after(before: Known, person: GooglePerson, mask: Iterable[str], base_etag: str, kept: Kept) -> Known:
    """The record after a write (`mask` over `base_etag`) that was answered with `person`."""
    chain: tuple[str, ...] = ()
    if set(mask) <= LABEL_MASK and base_etag:
        past = before.chain if base_etag == before.etag else ()
        chain = (*past, base_etag)[-CHAIN_MAX:]
    return replace(
        before,
        resource=person.resource,
        source_id=person.source_id,
        etag=person.etag,
        chain=chain,
        memberships=tuple(person.raw.get("memberships") or ()),
        client_data=tuple(person.raw.get("clientData") or ()),
        kept=kept,
        deleted=False,
        vanished="",
    )


# --- uniting what several filters want --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """One filter's mutation of one contact, as it waits in the queue."""

    filter_id: str
    since: float
    two_way: bool
    cls: Class
    epoch: int
    mutation: GoogleMutation


@dataclass(frozen=True, slots=True)
class United:
    """One wish for one contact.

    wanted: filters that want the person afterwards. leaving: filters whose label comes off. merger: the filter
    that merges its fields. writes: the ask whose fields are written, if its filter is the merger.
    handovers: to which filter each goes, where another one merges from now on.
    """

    asks: tuple[Ask, ...]
    wanted: tuple[str, ...]
    leaving: tuple[str, ...]
    merger: str | None
    writes: Ask | None
    handovers: tuple[tuple[str, Handover], ...]


def mark_of(mutation: GoogleMutation | PlanfixMutation) -> str:
    """Equal for copies of one mutation; resource, etag and base may have been observed anew."""
    said = mutation.model_dump_json(include={"op", "fields", "contact"})
    return blake2b(said.encode(), digest_size=6).hexdigest()


def merger_of(wants: Mapping[str, Want], ranks: Ranks = UNRANKED) -> str | None:
    """The oldest active two-way filter that holds the person, else the oldest active one, else the oldest."""
    ranked = []
    for name, want in wants.items():
        if want.holds:
            rank = ranks.get(name, Rank(want.two_way, True))
            ranked.append((not rank.active, not rank.two_way, want.since, name))
    return min(ranked)[3] if ranked else None


def unite(contact: int, known: Known | None, asks: Sequence[Ask], ranks: Ranks = UNRANKED) -> United:
    """`asks`: at most one of each filter."""
    before = dict(known.wants) if known else {}
    after = dict(before)
    for ask in asks:
        want = before.get(ask.filter_id)
        active = ask.mutation.op != "remove"
        base = want or Want(ask.since, ask.two_way)
        after[ask.filter_id] = replace(
            base, since=ask.since, two_way=ask.two_way, active=active, released=ask.mutation.op == "release"
        )
    new = merger_of(after, ranks)
    by_filter = {ask.filter_id: ask for ask in asks}
    return United(
        asks=tuple(asks),
        wanted=tuple(f for f, want in after.items() if want.holds),
        leaving=tuple(ask.filter_id for ask in asks if ask.mutation.op == "remove"),
        merger=new,
        writes=by_filter.get(new) if new is not None else None,
        handovers=handovers(contact, before, after, by_filter, ranks),
    )


def handovers(
    contact: int, before: Mapping[str, Want], after: Mapping[str, Want], asks: Mapping[str, Ask], ranks: Ranks
) -> tuple[tuple[str, Handover], ...]:
    """Who merges the fields from now on hears of it, with the bases of who did if that one leaves now; and so does
    who did, if it stays. asks: by filter."""
    old, new = merger_of(before, ranks), merger_of(after, ranks)
    if old is None or new is None or old == new:
        return ()
    left = asks.get(old)
    bases = left.mutation if left is not None and not after[old].holds else None
    found = [
        (
            new,
            Handover(
                contact=contact,
                base_planfix=bases.base_planfix if bases else None,
                base_google=bases.base_google if bases else None,
                limits=bases.limits if bases else {},
            ),
        )
    ]
    if old in after and after[old].holds:
        found.append((old, Handover(contact=contact, merges=False)))
    return tuple(found)


# --- keeping ----------------------------------------------------------------------------------------------


def encode(known: Known) -> bytes:
    return orjson.dumps(
        {
            "resource": known.resource,
            "source_id": known.source_id,
            "etag": known.etag,
            "chain": known.chain,
            "memberships": known.memberships,
            "client_data": known.client_data,
            "kept": known.kept,
            **({"deleted": True} if known.deleted else {}),
            **({"vanished": known.vanished} if known.vanished else {}),
            "wanted": {
                f: {
                    "since": w.since,
                    "two_way": w.two_way,
                    "rev": w.rev,
                    "outcome": w.outcome,
                    "reason": w.reason,
                    "removed": w.removed,
                    "active": w.active,
                    **({"at": w.at} if w.at else {}),
                    "mark": w.mark,
                    **({"released": True} if w.released else {}),
                }
                for f, w in known.wants.items()
            },
        }
    )


def decode(data: bytes) -> Known:
    record = orjson.loads(data)
    return Known(
        resource=record["resource"],
        source_id=record["source_id"],
        etag=record["etag"],
        chain=tuple(record["chain"]),
        memberships=tuple(record["memberships"]),
        client_data=tuple(record["client_data"]),
        kept=Kept(record["kept"]) if record["kept"] else None,
        wants={
            f: Want(**{**known_to(Want, w), "outcome": Outcome(w["outcome"])}) for f, w in record["wanted"].items()
        },
        deleted=record.get("deleted", False),
        vanished=record.get("vanished", ""),
    )


def full_since(known: Known) -> float:
    """When the contact was last told that the account has no place for its person; 0 if it does not wait for one."""
    if known.resource:
        return 0.0
    return max((want.at for want in known.wants.values() if want.outcome is Outcome.FULL), default=0.0)


_TYPICAL: Final = (
    encode(
        Known(
            "people/c1234567890123456789",
            "1122334455667788",
            "#AbCdEfGhIjK=",
            ("#AbCdEfGhIjK=",),
            (
                {"contactGroupMembership": {"contactGroupResourceName": "contactGroups/myContacts"}},
                {"contactGroupMembership": {"contactGroupResourceName": "contactGroups/"}},
            ),
            ({"key": "contactsync", "value": "/ours"},),
            Kept.OURS,
            {"1": Want(0.0, True, 1), "2": Want(0.0, False, 1, Outcome.LABELLED)},
        )
    )
    * 2
)


_SOMEBODY, _NOBODY = b"+", b"-"
"""The first byte of a packed record: whether the contact has a person."""


class IdentityMap:
    """All records of an account, packed: a record of 600 bytes takes about 150 in memory (25,000: some 6 MB)."""

    __slots__ = ("_packed", "_resources", "census")

    def __init__(self) -> None:
        self._packed: dict[int, bytes] = {}
        self._resources: dict[str, int] = {}
        self.census = Census()

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed)

    def get(self, contact: int) -> Known | None:
        packed = self._packed.get(contact)
        if packed is None:
            return None
        opened = zlib.decompressobj(wbits=-15, zdict=_TYPICAL)
        return decode(opened.decompress(packed[1:]) + opened.flush())

    def has_person(self, contact: int) -> bool:
        return self._packed.get(contact, _NOBODY).startswith(_SOMEBODY)

    def owner_of(self, resource: str) -> int | None:
        """The contact whose person this is, if any filter wants it to be."""
        contact = self._resources.get(resource)
        known = self.get(contact) if contact is not None else None
        if known is None or known.resource != resource or not any(want.active for want in known.wants.values()):
            return None
        return contact

    def drop(self, contact: int) -> None:
        self.census = self.census_with(contact, None)
        self._packed.pop(contact, None)

    def census_with(self, contact: int, known: Known | None, census: Census | None = None) -> Census:
        """The census if the contact's record were this one; `census`: with other changes before it."""
        census = census or self.census
        had, has = self.has_person(contact), known is not None and bool(known.resource)
        if had == has:
            return census
        return census.with_(contact) if has else census.without(contact)

    def put(self, contact: int, known: Known) -> None:
        self.put_encoded(contact, encode(known))

    def put_encoded(self, contact: int, data: bytes) -> None:
        resource = orjson.loads(data)["resource"]
        if resource:
            self._resources[resource] = contact
        if self.has_person(contact) != bool(resource):
            self.census = self.census.with_(contact) if resource else self.census.without(contact)
        packer = zlib.compressobj(level=1, wbits=-15, zdict=_TYPICAL)
        self._packed[contact] = (_SOMEBODY if resource else _NOBODY) + packer.compress(data) + packer.flush()
