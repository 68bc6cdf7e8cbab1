"""The pieces of work of the Planfix watcher, each a small machine: `ask` says the next request, `take` takes its
answer and says what to publish. Pure, one request at a time, so that `schedule.py` can put something more urgent
between any two; `service.py` makes the requests. `confirm.py` and `matching.py` hold two more.

Persons and companies are listed in separate passes (`isCompany`), and how that combines with a filter is not
documented (../facts/planfix.md 2.1): both passes are made and contacts counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contactsync.errors import Unavailable
from contactsync.planfix.port import ContactPage, Query
from contactsync.planfix_watcher.known import Known, version_of
from contactsync_contracts.messages import Model, PlanfixContact, PlanfixListed, PlanfixObserved

NUMBERS_MAX = 100
"""Contacts in one answer, and numbers in one condition."""

FEW_COMPANIES = 1_000
"""A filter has rarely more: where it has, it is said to hold more than it may."""
LISTED_MAX = 10_000
NUMBER_MAX = 2**53
PAGES_MAX = 5_000
"""A listing that has not ended by then does not end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a page of a list, or one contact by its number."""

    query: Query = field(default_factory=Query)
    offset: int = 0
    number: int | None = None


class Work(Protocol):
    @property
    def done(self) -> bool: ...

    def ask(self) -> Ask | None:
        """None when there is nothing to request: `take` is then given an empty page."""

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        """`began_at`: our clock when the request was sent."""


def listed_parts(numbers: Iterable[int], part_max: int = LISTED_MAX) -> list[tuple[int, int, tuple[int, ...]]]:
    """(low, high, members): ranges without gap or overlap over all contact numbers."""
    members = sorted(set(numbers))
    parts = [tuple(members[at : at + part_max]) for at in range(0, len(members), part_max)] or [()]
    lows = [0] + [part[-1] + 1 for part in parts[:-1]]
    highs = [part[-1] for part in parts[:-1]] + [NUMBER_MAX]
    return list(zip(lows, highs, parts, strict=True))


def came(page: ContactPage) -> set[int]:
    """The numbers that are there, those that could not be mapped too."""
    return {contact.contact for contact in page.contacts} | set(page.skipped)


@dataclass(slots=True)
class Listing:
    """A filter from its first page to its last, with all fields, as its owner sees it.

    requests: the looks that it answers, all of them at its end, the first one with each page; none for a background
    listing, which tells only contacts that differ from what was told last. Pages are read until an empty one: a
    short page is not the end.

    probe: before anything is told, it is found out whether more than so many contacts may come: then every page says
    so (`hint`). Where two pages and the first companies do not show it, a page beyond is asked for.
    """

    filter_id: str
    owner: int | None
    known: Known
    requests: tuple[str, ...] = ()
    began_at: float = 0.0
    companies: bool = False
    offset: int = 0
    pages: int = 0
    members: set[int] = field(default_factory=set)
    asks_why: bool = False
    without_owner: int | None = None
    """How many rows came without "visible to", when none came with it: tells in the log why a list is empty."""
    probe: int | None = None
    probes: list[tuple[bool, int]] = field(default_factory=list)
    """Requests under way for `probe`: companies or not, offset."""
    held: list[tuple[ContactPage, float]] = field(default_factory=list)
    """Pages that are not told yet, and when they were asked for."""
    hint: int | None = None
    done: bool = False

    def ask(self) -> Ask:
        if self.asks_why:
            return Ask(Query(filter_id=self.filter_id))
        if self.probes:
            companies, offset = self.probes[0]
            return Ask(Query(filter_id=self.filter_id, visible_to=self.owner, companies=companies), offset)
        return Ask(Query(filter_id=self.filter_id, visible_to=self.owner, companies=self.companies), self.offset)

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        if self.asks_why:
            self.without_owner = page.count
            return self._end()
        if not self.began_at:
            self.began_at = began_at
        if self.probes:
            return self._probed(page)
        if page.count == 0:
            return self._end_of_pass()
        self.offset += page.count
        if self.probe is None or (not self.held and page.count < NUMBERS_MAX // 2):
            return self._page(page, began_at)
        if self.companies:
            self.probes = [(True, max(0, self.probe - self._found()))]
        elif self.held:
            self.probes = [(True, 0)]
        self.held.append((page, began_at))
        return []

    def _found(self) -> int:
        return len(self.members.union(*(came(page) for page, _ in self.held)))

    def _probed(self, page: ContactPage) -> list[Model]:
        """What came at the offset of a probe; after the last one the pages that were held are told."""
        asked, most = self.probes.pop(0), self.probe or 0
        if asked == (True, 0) and not self.companies:
            self.probes = probes_of(most, companies=page.count > 0)
        elif page.count:
            self.hint = most + 1
            self.probes.clear()
        return [] if self.probes else self._release()

    def _release(self) -> list[Model]:
        held, self.held, self.probe = self.held, [], None
        return [model for page, began_at in held for model in self._page(page, began_at)]

    def _page(self, page: ContactPage, began_at: float) -> list[Model]:
        self.pages += 1
        if self.pages > PAGES_MAX:
            raise Unavailable("a listing does not end", 60.0)
        new = [contact for contact in page.contacts if contact.contact not in self.members]
        if not self.requests:
            new = [contact for contact in new if self.known.differs(self.filter_id, contact)]
        self.members |= came(page)
        self.known.tell(self.filter_id, new)
        return (
            [
                PlanfixObserved(
                    filter_id=self.filter_id,
                    seen_at=began_at,
                    member=True,
                    contacts=tuple(new),
                    request_id=self.requests[0] if self.requests else "",
                    total_hint=self.hint,
                )
            ]
            if new
            else []
        )

    def _end_of_pass(self) -> list[Model]:
        if not self.companies:
            self.companies, self.offset = True, 0
            return []
        if self.held:  # all there is has come
            self.hint = (self.probe or 0) + 1 if self._found() > (self.probe or 0) else None
            return [*self._release(), *self._end()]
        before = self.known.of(self.filter_id)
        if not self.members and self.owner is not None and (before.told or not before.complete):
            self.asks_why = True
            return []
        return self._end()

    def _end(self) -> list[Model]:
        self.done = True
        self.known.listed(self.filter_id, self.members, self.began_at)
        parts = listed_parts(self.members)
        return [
            PlanfixListed(
                filter_id=self.filter_id,
                began_at=self.began_at,
                low=low,
                high=high,
                members=members,
                last=place == len(parts),
                request_id=request_id,
            )
            for request_id in self.requests or ("",)
            for place, (low, high, members) in enumerate(parts, 1)
        ]

    def progress(self) -> dict[str, Any] | None:
        """What a successor needs to go on where this stopped; None while pages are held."""
        if self.held:
            return None
        return {
            "began_at": self.began_at,
            "companies": self.companies,
            "offset": self.offset,
            "pages": self.pages,
            "members": sorted(self.members),
            "hint": self.hint,
        }

    def resume(self, progress: dict[str, Any]) -> None:
        self.began_at = float(progress["began_at"])
        self.companies = bool(progress["companies"])
        self.offset = int(progress["offset"])
        self.pages = int(progress["pages"])
        self.members = {int(number) for number in progress["members"]}
        self.hint = progress.get("hint")
        if self.pages:
            self.probe = None


def probes_of(most: int, *, companies: bool) -> list[tuple[bool, int]]:
    """Where a page is asked for to find out whether more than `most` contacts may come: if all are empty, no.
    `companies`: there are some, so that places are needed for them, too."""
    few = min(FEW_COMPANIES, most // 2) if companies else 0
    return [(False, most - few), (True, few)] if few else [(False, most)]


@dataclass(slots=True)
class Contacts:
    """These numbers, for one filter: first as its members, then what is missing without the filter, which says
    nothing about membership."""

    filter_id: str
    owner: int | None
    known: Known
    numbers: Sequence[int]
    request_id: str
    left: set[int] = field(init=False)
    stage: int = 0
    told: bool = False

    def __post_init__(self) -> None:
        self.left = set(self.numbers)

    @property
    def done(self) -> bool:
        return self.stage == 4 or (self.told and not self.left)

    def ask(self) -> Ask | None:
        if not self.left:
            return None
        filtered, companies = self.stage < 2, self.stage % 2 == 1
        return Ask(
            Query(
                filter_id=self.filter_id if filtered else None,
                visible_to=self.owner if filtered else None,
                numbers=tuple(sorted(self.left)),
                companies=companies,
            )
        )

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        member = True if self.stage < 2 else None
        found = tuple(contact for contact in page.contacts if contact.contact in self.left)
        self.left -= came(page)
        self.stage += 1
        if member:
            self.known.tell(self.filter_id, found)
        if self.stage == 2:
            self.known.missed(self.filter_id, self.left)
        last = not self.left or self.stage == 4
        if not found and (self.told or not last):
            return []
        self.told = True
        return [
            PlanfixObserved(
                filter_id=self.filter_id,
                seen_at=began_at,
                member=member,
                contacts=found,
                request_id=self.request_id,
            )
        ]


@dataclass(slots=True)
class Hints:
    """Numbers that somebody says have changed, for whoever holds them. `entering`: contacts that may now belong to
    filters that do not hold them; whether they do is asked afterwards."""

    known: Known
    numbers: Sequence[int]
    left: set[int] = field(init=False)
    companies: bool = False
    entering: list[PlanfixContact] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        self.left = set(self.numbers)

    def ask(self) -> Ask | None:
        return Ask(Query(numbers=tuple(sorted(self.left)), companies=self.companies)) if self.left else None

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        found = [contact for contact in page.contacts if contact.contact in self.left]
        self.left -= came(page)
        self.done = self.companies or not self.left
        self.companies = True
        incomplete = any(not members.complete for members in self.known.filters.values())
        self.entering += [contact for contact in found if incomplete or not self.known.holders(contact.contact)]
        return to_holders(self.known, found, began_at, repeat=True)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A contact as a delta had it. `modified` moves also when only what we do not map was changed, a group say."""

    version: int
    modified: str
    is_company: bool


@dataclass(slots=True)
class Delta:
    """What changed in the whole account since a moment; overlapping deltas bring the same contacts again.

    before: what the last delta saw. changed: contacts that were not in it like that.
    """

    since: float
    known: Known
    before: dict[int, Sighting]
    began_at: float = 0.0
    companies: bool = False
    offset: int = 0
    pages: int = 0
    seen: dict[int, Sighting] = field(default_factory=dict)
    changed: list[PlanfixContact] = field(default_factory=list)
    done: bool = False

    @property
    def settled(self) -> list[tuple[int, bool]]:
        """Number and kind of those that have left the window. Times of changes may be minutes, so that the second
        one of a minute can look like the first: whatever it was, it is over now."""
        return [(number, one.is_company) for number, one in self.before.items() if number not in self.seen]

    def ask(self) -> Ask:
        return Ask(Query(modified_since=self.since, companies=self.companies), self.offset)

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        self.began_at = self.began_at or began_at
        if page.count == 0:
            if self.companies or not self.known.has_companies():
                self.done = True
            self.companies, self.offset = True, 0
            return []
        self.pages += 1
        if self.pages > PAGES_MAX:
            raise Unavailable("a delta does not end", 60.0)
        self.offset += page.count
        sights = {
            one.contact: Sighting(version_of(one), page.modified.get(one.contact, ""), one.is_company)
            for one in page.contacts
        }
        fresh = [
            contact
            for contact in page.contacts
            if sights[contact.contact] not in (self.before.get(contact.contact), self.seen.get(contact.contact))
        ]
        self.seen |= sights
        self.changed += fresh
        return to_holders(self.known, fresh, began_at)


@dataclass(slots=True)
class Membership:
    """Which of these changed contacts belong to a filter now. One that was held and did not come is said to be
    missing from its own place alone; its actor asks for a confirmation."""

    filter_id: str
    owner: int | None
    known: Known
    numbers: Sequence[int]
    companies: bool
    done: bool = False

    def ask(self) -> Ask:
        query = Query(
            filter_id=self.filter_id,
            visible_to=self.owner,
            numbers=tuple(sorted(self.numbers)),
            companies=self.companies,
        )
        return Ask(query)

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        self.done = True
        asked = set(self.numbers)
        found = [
            contact
            for contact in page.contacts
            if contact.contact in asked and self.known.differs(self.filter_id, contact)
        ]
        self.known.tell(self.filter_id, found)
        members = self.known.of(self.filter_id)
        missing = sorted(number for number in asked - came(page) if number in members.told or not members.complete)
        self.known.missed(self.filter_id, missing)
        models: list[Model] = []
        if found:
            models.append(
                PlanfixObserved(filter_id=self.filter_id, seen_at=began_at, member=True, contacts=tuple(found))
            )
        models += [
            PlanfixListed(filter_id=self.filter_id, began_at=began_at, low=number, high=number, members=())
            for number in missing
        ]
        return models


def to_holders(
    known: Known, contacts: Sequence[PlanfixContact], seen_at: float, *, repeat: bool = False
) -> list[Model]:
    """Each contact to the filters that hold it; again what was told already only if `repeat`."""
    told: dict[str, list[PlanfixContact]] = {}
    for contact in contacts:
        for filter_id in known.holders(contact.contact):
            if repeat or known.differs(filter_id, contact):
                told.setdefault(filter_id, []).append(contact)
    for filter_id, theirs in told.items():
        known.tell(filter_id, theirs)
    return [
        PlanfixObserved(filter_id=filter_id, seen_at=seen_at, contacts=tuple(theirs))
        for filter_id, theirs in told.items()
    ]
