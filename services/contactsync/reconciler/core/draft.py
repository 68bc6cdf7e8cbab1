"""One step of a filter's machine while it is being made: what is known, and what changed so far.

The modules of events (`commands.py`, `seen_planfix.py`, `seen_google.py`, `joining.py`, `labelling.py`, `answers.py`)
write facts here; `finishing.py` makes a `Step` of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from contactsync.hashing import Hasher
from contactsync.reconciler.core.arrived import Arrived
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.decided import Decisions
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.index import Index
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.plan import FilterRules
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.core.reasons import POSSIBLE_DUPLICATE
from contactsync.reconciler.core.step import Wishes
from contactsync_contracts.messages import FilterState, Model, PlanfixObserved

ASK_AGAIN_S = 300.0
"""A look not answered for so long is asked for again."""
KNOWN_MAX = 100
NOTHING = ("", "", 0.0)


class Fate(NamedTuple):
    """Whether a contact is kept from Google, and why: the history tells when it changes."""

    dismissed: str
    merged_into: int | None


@dataclass(slots=True)
class Draft:
    """`record` is None until the filter is enabled. What lasts comes first, then what belongs to this step:
    links: those read or made in it (None: removed); loaded: what was under way on them when read, fates: what had
    become of them then; changed: contacts by side and operation, for the feed; history: contact, number of the entry,
    entry (None: it is not so after all)."""

    record: FilterRecord | None
    hasher: Hasher
    index: Index
    arrivals: Arrived
    confirming: dict[int, float]
    """Contacts that Planfix is being asked about, and since when."""
    shown: FilterState | None
    """The state of the filter as it was last said."""
    policy: Policy = field(default_factory=Policy)
    now: float = 0.0
    decisions: Decisions = field(default_factory=Decisions)

    links: dict[int, Link | None] = field(default_factory=dict)
    loaded: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    fates: dict[int, Fate] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    touched_arrivals: set[str] = field(default_factory=set)
    dropped_arrivals: set[str] = field(default_factory=set)
    wishes: Wishes = field(default_factory=Wishes)
    events: list[Model] = field(default_factory=list)
    history: list[tuple[int, int, dict[str, object] | None]] = field(default_factory=list)
    entries: dict[tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)
    """Entries of the history that a command of this step is about, by contact and number."""
    requests: dict[str, str] = field(default_factory=dict)
    conflicts: list[Side] = field(default_factory=list)
    carried_s: list[tuple[Side, float]] = field(default_factory=list)
    changed: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    before: FilterRecord | None = field(init=False)
    hashed: PlanfixObserved | None = None
    """The page whose hashes these are."""
    hashes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self.record

    def following(self) -> Draft:
        """The next step's, empty."""
        self.decisions.changed.clear()
        return Draft(
            self.record,
            self.hasher,
            self.index,
            self.arrivals,
            self.confirming,
            self.shown,
            self.policy,
            self.now,
            self.decisions,
        )

    @property
    def filter(self) -> FilterRecord:
        """The record of a filter that is enabled."""
        assert self.record is not None
        return self.record

    @property
    def rules(self) -> FilterRules:
        record = self.filter
        return FilterRules(
            record.filter_id,
            record.two_way,
            record.active,
            conflict=record.conflict or self.policy.conflict,
            two_way_since=record.two_way_since,
            leaving=record.leaving is not None and record.leaving.stage == "removing",
            first_matching=record.first_matching,
            crowded=record.crowded,
        )

    def amend(self, **changes: object) -> None:
        """Set these of the filter's record."""
        self.record = replace(self.filter, **changes)  # type: ignore[arg-type]

    def refuse(self, request_id: str, reason: str) -> None:
        """What was asked for is not done; whoever asked is told why."""
        self.requests[request_id] = reason

    def load(self, links: Iterable[Link]) -> None:
        """What this step has changed already is newer than what was stored."""
        for link in links:
            if link.contact not in self.links:
                self.links[link.contact] = link
                self.loaded[link.contact] = under_way(link)
                self.fates[link.contact] = fate_of(link)

    def put(self, link: Link) -> None:
        self.links[link.contact] = link
        self.touched.add(link.contact)
        entry = self.index.get(link.contact)
        if entry is None or entry.resource != link.resource:
            self.index.put(link)

    def put_or_drop(self, contact: int, link: Link | None) -> None:
        if link is not None:
            self.put(link)
        else:
            gone = self.links.get(contact)
            self.keep_revision(gone.revision if gone is not None else 0)
            self.amend(left_at=self.now)
            self.links[contact] = None
            self.touched.add(contact)
            self.index.drop(contact)

    def keep_revision(self, revision: int) -> None:
        """A link is removed; should its contact come back, its revisions go on from here."""
        if revision > self.filter.revisions:
            self.amend(revisions=revision)

    def put_arrival(self, arrival: Arrival) -> None:
        self.arrivals.put(arrival)
        self.touched_arrivals.add(arrival.source_id)

    def drop_arrival(self, source_id: str) -> None:
        arrival = self.arrivals.drop(source_id)
        if arrival is not None:
            self.keep_revision(arrival.revision)
            self.touched_arrivals.discard(source_id)
            self.dropped_arrivals.add(source_id)
            self.match_rivals(arrival)

    def match_rivals(self, arrival: Arrival) -> None:
        """This one claims nobody any more: people and contacts that were held because of it are matched again."""
        self.index.loosen(arrival.resource)
        for other in self.arrivals.sharing(arrival.google):
            self.match_arrival(other)

    def match_arrival(self, arrival: Arrival) -> None:
        """If it is a possible duplicate, it is matched again."""
        held = arrival.stage == "held" and arrival.state == POSSIBLE_DUPLICATE
        if held and arrival.stamp_contact is None:
            self.put_arrival(replace(arrival, stage="new"))

    def drop_named(self, resource: str) -> bool:
        """Whether there was an arrival of that name."""
        arrival = self.arrivals.named(resource)
        if arrival is not None:
            self.drop_arrival(arrival.source_id)
        return arrival is not None

    def confirm(self, missing: list[int], known: list[int], now: float) -> None:
        if not known:
            known = [e.contact for e in self.index if e.member and e.contact not in set(missing)]
        for contact in missing:
            self.confirming[contact] = now
        self.wishes.confirm.extend(missing)
        self.wishes.known = known[:KNOWN_MAX]

    def note(self, side: str, operation: str, contact: int) -> None:
        self.changed.setdefault((side, operation), []).append(contact)

    def remember(self, contact: int, number: int, entry: dict[str, object] | None) -> None:
        self.history.append((contact, number, None if entry is None else {"at": self.now, **entry}))


def fate_of(link: Link) -> Fate:
    return Fate(link.dismissed, link.merged_into)


def under_way(link: Link) -> tuple[str, str, float]:
    return (link.pending.mutation_id if link.pending is not None else "", link.asked, link.asked_at)
