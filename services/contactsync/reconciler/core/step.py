"""What one step of a filter's machine comes to: what is to be stored, and what is to be said after that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from contactsync.reconciler.core.decided import Decided
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync_contracts.messages import Model

BY_NAME: Final = "by-name"
"""The `request_id` of a look at people by name: its answer shows them as they are, which lists do only later."""


EXISTS: Final = "exists"
"""The `request_id` of a look that asks, without any known member, whether contacts are in Planfix at all."""


@dataclass(slots=True)
class Wishes:
    """What an actor wants to see, collected over one step. `listing_*`: what for (a run's id), or None."""

    planfix_contacts: dict[int, float] = field(default_factory=dict)
    confirm: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    people: set[str] = field(default_factory=set)
    label: bool = False
    planfix_listing: str | None = None
    google_listing: str | None = None
    google_changes: str | None = None
    ensure_label: bool = False
    filter: bool = False
    forget: bool = False
    rank: bool = False
    exists: list[int] = field(default_factory=list)
    """Contacts of which nothing is left in Google: are they in Planfix at all?"""

    def join(self, later: Wishes) -> None:
        self.planfix_contacts |= later.planfix_contacts
        self.confirm += later.confirm
        self.known = later.known or self.known
        self.people |= later.people
        self.label |= later.label
        self.ensure_label |= later.ensure_label
        self.filter |= later.filter
        self.forget |= later.forget
        self.rank |= later.rank
        self.exists += later.exists
        if later.planfix_listing is not None:
            self.planfix_listing = later.planfix_listing
        if later.google_changes is not None:
            self.google_changes = later.google_changes
        if later.google_listing is not None:
            self.google_listing = later.google_listing


@dataclass(frozen=True, slots=True)
class Begun:
    """What is new on a link and has to be said after the commit: its mutation, its look, or both."""

    link: Link
    write: bool
    ask: bool


@dataclass(slots=True)
class Step:
    """The outcome of `finish`. links/arrivals: what to store (None: remove). begun: what to publish then.
    history: contact, number, what to remember (None: no more)."""

    record: FilterRecord | None
    record_changed: bool
    links: dict[int, Link | None]
    arrivals: dict[str, Arrival | None]
    begun: list[Begun]
    begun_arrivals: list[Arrival]
    wishes: Wishes
    events: list[Model]
    history: list[tuple[int, int, dict[str, object] | None]]
    requests: dict[str, str]
    """Requests answered in this step, each with why it was refused (empty: it was not)."""
    conflicts: list[Side] = field(default_factory=list)
    """Who won, of each field or element that both sides had changed."""
    carried_s: list[tuple[Side, float]] = field(default_factory=list)
    """Edits carried over: the side written to, and the seconds from when the edit was seen."""
    more: bool = False
    """Further creates follow at once (first sync), so that the writer may wait for full batches."""
    flush: bool = False
    """No more follow: what waits for a full batch is to be sent."""
    decided: dict[int, Decided | None] = field(default_factory=dict)
    """What humans decided about possible duplicates, to be stored (None: removed)."""

    def join(self, later: Step) -> None:
        """Take in the next step of the same machine, so that both are stored and said as one. What it says of a
        contact stands in place of what this one did."""
        self.record = later.record
        self.record_changed |= later.record_changed
        self.links |= later.links
        self.arrivals |= later.arrivals
        self.begun = [begun for begun in self.begun if begun.link.contact not in later.links] + later.begun
        self.begun_arrivals = [
            arrival for arrival in self.begun_arrivals if arrival.source_id not in later.arrivals
        ] + later.begun_arrivals
        self.wishes.join(later.wishes)
        self.events += later.events
        self.history += later.history
        self.requests |= later.requests
        self.decided |= later.decided
        self.conflicts += later.conflicts
        self.carried_s += later.carried_s
        self.more = later.more
        self.flush |= later.flush
