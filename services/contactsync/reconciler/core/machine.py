"""One filter's state machine: observations, answers and commands in; facts, decisions and wishes out.

`handle` takes one event and updates facts; `finish` decides about everything touched and answers with the `Step`
that the actor commits and then publishes. Links are read from the state only where something changed: `needs` says
which, from the index. Nothing here reads a clock, waits or logs. If a step cannot be committed, the actor throws the
machine away and loads it anew.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from contactsync.hashing import Hasher, content_hash
from contactsync.reconciler.core import arrivals as arriving
from contactsync.reconciler.core import freeze, observe, runs, settle
from contactsync.reconciler.core.arrived import Arrived
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.index import Entry, Index
from contactsync.reconciler.core.link import Arrival, Hold, Link
from contactsync.reconciler.core.match import partners
from contactsync.reconciler.core.merge import Lost, Side
from contactsync.reconciler.core.plan import FilterRules, decide, merge_rules
from contactsync.reconciler.core.step import BY_NAME, Begun, Step, Wishes
from contactsync_contracts.messages import (
    AccountObserved,
    Candidate,
    ChangeSettings,
    ContactChanged,
    ContactHeldBack,
    ContactState,
    Enable,
    FilterObserved,
    FilterState,
    FilterStateChanged,
    GoogleCandidates,
    GoogleCaughtUp,
    GoogleGone,
    GoogleListed,
    GoogleObserved,
    GooglePerson,
    Handover,
    LabelObserved,
    LabelSettled,
    Model,
    Outcome,
    Pause,
    PlanfixConfirmed,
    PlanfixContact,
    PlanfixListed,
    PlanfixMatched,
    PlanfixObserved,
    Resume,
    Settled,
    SettledItem,
    SyncRequest,
)

Event = (
    SyncRequest
    | Enable
    | ChangeSettings
    | Pause
    | Resume
    | PlanfixObserved
    | PlanfixListed
    | PlanfixConfirmed
    | PlanfixMatched
    | FilterObserved
    | GoogleObserved
    | GoogleGone
    | GoogleListed
    | GoogleCaughtUp
    | GoogleCandidates
    | LabelObserved
    | AccountObserved
    | Settled
)

Command = SyncRequest | Enable | ChangeSettings | Pause | Resume
"""What people and services ask for: once-only for good, by its `request_id`."""

ASK_AGAIN_S = 300.0
LISTS_LAG_S = 300.0
"""So long after a contact left, a list of people may still show its person as it was."""
UNPROVEN_MAX = 10
"""Without a known member, at most so many contacts are asked for one by one."""
KNOWN_MAX = 100
RECHECK_S = 86_400.0
PEOPLE_MAX = 25_000 - 100
"""Google takes 25,000 people an account; 100 places are left to the human."""
DUPLICATE = "More than one person in Google Contacts could be this contact."
SHARED = "More than one contact of this list could be the matching person in Google Contacts."


class Machine:
    def __init__(
        self, record: FilterRecord | None, links: Iterable[Link], arrivals: Iterable[Arrival], hasher: Hasher
    ) -> None:
        self.record = record
        self.index = Index()
        self._open_at_start: list[Link] = []
        for link in links:
            self.know(link)
        self.arrivals = Arrived(arrivals)
        self._hasher = hasher
        self._confirming: dict[int, float] = {}
        self._known_requests: set[str] = set()
        self._said_more = False
        self._hashed: PlanfixObserved | None = None
        self._hashes: dict[int, int] = {}
        self._state = record.state if record is not None else None
        self._now = 0.0
        self._begin(record)
        self._restarted = record is not None

    def know(self, link: Link) -> None:
        """A stored link, at the start: the index keeps a few words of it; open ones are kept, to be said again."""
        self.index.put(link)
        if link.open:
            self._open_at_start.append(link)

    def _begin(self, record: FilterRecord | None) -> None:
        self._links: dict[int, Link | None] = {}
        self._loaded: dict[int, tuple[str, str, float]] = {}
        self._touched: set[int] = set()
        self._touched_arrivals: set[str] = set()
        self._dropped_arrivals: set[str] = set()
        self._wishes = Wishes()
        self._events: list[Model] = []
        self._history: list[tuple[int, int, dict[str, object]]] = []
        self._requests: list[str] = []
        self._conflicts: list[Side] = []
        self._carried_s: list[tuple[Side, float]] = []
        self._changed: dict[tuple[str, str], list[int]] = {}
        self._before = record

    # ---- what has to be read first

    def needs(self, event: Event) -> set[int]:
        """Contacts whose links `handle` will look at, as far as they are not known in this step already."""
        wanted = self._needed(event)
        return {contact for contact in wanted if contact not in self._links and self.index.get(contact) is not None}

    def _needed(self, event: Event) -> set[int]:
        match event:
            case PlanfixObserved():
                return {c.contact for c in event.contacts if not self._planfix_quiet(c.contact, event)}
            case GoogleObserved():
                return {c for p in event.people for c in self._owners(p) if not self._google_quiet(c, p)}
            case GoogleGone():
                return {c for r in event.resources if (c := self.index.owner_of(r)) is not None}
            case GoogleCandidates():
                return {answer.contact for answer in event.answers}
            case PlanfixConfirmed():
                return {*event.gone, *event.present}
            case SyncRequest():
                return self._read_only()
            case PlanfixListed() if self._recheck_due(event):
                return self._read_only()
            case LabelObserved():
                return {e.contact for e in self.index if e.asked == "label"}
            case GoogleListed() if event.last:
                return {e.contact for e in self.index if e.held and e.resource is None}
            case PlanfixMatched():
                return {c.contact for a in event.answers for c in a.contacts}
            case Settled():
                return {i.contact for i in event.items if i.contact is not None} | {
                    h.contact for h in event.handovers
                }
            case _:
                return set()

    def _read_only(self) -> set[int]:
        return {entry.contact for entry in self.index if entry.read_only}

    def _recheck_due(self, event: PlanfixListed) -> bool:
        return event.last and self.record is not None and event.began_at - self.record.rechecked_at >= RECHECK_S

    def due(self, most: int) -> set[int]:
        """Contacts left over from a time when nothing could be done; empty while that lasts. Those that are to be put
        under a new label come first, by number."""
        if self.record is None or not self.record.active:
            return set()
        after = self.record.relabel_after
        if after is not None:
            chunk = heapq.nsmallest(most, (e.contact for e in self.index if e.contact > after))
            if chunk:
                return set(chunk)
            self._set(relabel_after=None)
        return set(sorted(self.index.due)[:most])

    def load(self, links: Iterable[Link]) -> None:
        for link in links:
            self._links[link.contact] = link
            self._loaded[link.contact] = _under_way(link)

    def overdue(self, now: float) -> set[int]:
        """Contacts whose look was never answered: `touch` them after loading, and the look is repeated."""
        for contact, at in list(self._confirming.items()):
            if now - at >= ASK_AGAIN_S:
                del self._confirming[contact]
        entries = [entry for contact in self.index.open if (entry := self.index.get(contact)) is not None]
        return {e.contact for e in entries if e.asked and now - e.asked_at >= ASK_AGAIN_S}

    def ask_again(self, contacts: Iterable[int], now: float) -> None:
        for contact in contacts:
            link = self._links.get(contact)
            if link is not None and link.asked:
                self._wishes.label |= link.asked == "label"
                self._put(replace(link, asked_at=now))
        for arrival in list(self.arrivals.values()):
            if arrival.stage == "matching" and now - arrival.asked_at >= ASK_AGAIN_S:
                self._put_arrival(replace(arrival, stage="new"))

    # ---- events

    def handle(self, event: Event, now: float) -> None:
        self._now = now
        if isinstance(event, Command) and event.request_id in self._known_requests:
            return
        if isinstance(event, Enable):
            self._enable(event, now)
            return
        if self.record is None:
            return
        if isinstance(event, Command):
            self._known_requests.add(event.request_id)
            self._requests.append(event.request_id)
        match event:
            case SyncRequest():
                self._recheck(now)
                self._sync(event.request_id, now)
            case ChangeSettings():
                self._settings(event, now)
            case Pause():
                self._set(paused=True)
            case Resume():
                self._resume(now)
            case PlanfixObserved():
                self._planfix_observed(event, now)
            case PlanfixListed():
                if self._recheck_due(event):
                    self._recheck(now)
                self._planfix_listed(event, now)
            case PlanfixConfirmed():
                self._planfix_confirmed(event)
            case PlanfixMatched():
                self._planfix_matched(event, now)
            case FilterObserved():
                self._filter_observed(event)
            case GoogleObserved():
                self._google_observed(event, now)
            case GoogleGone():
                self._google_gone(event)
            case GoogleCaughtUp():
                self._set(google_seen_at=max(self._record.google_seen_at, event.seen_at))
                self.record = runs.answered(self._record, "google", event.request_id)
            case GoogleListed():
                self._google_listed(event, now)
            case GoogleCandidates():
                self._candidates(event)
            case LabelObserved():
                self._label_observed(event)
            case AccountObserved():
                self._account_observed(event)
            case Settled():
                self._settled(event, now)
            case _:
                assert_never(event)

    def touch(self, contacts: Iterable[int]) -> None:
        """Decide about these again: what `due` named, and was loaded."""
        self._touched.update(contacts)
        if self.record is None or self.record.relabel_after is None:
            return
        for contact in contacts:
            link = self._links.get(contact)
            if link is not None:
                refused = link.hold is not None and link.hold.state == "quarantined"  # for want of the label, perhaps
                self._put(replace(link, labelled=False, hold=None if refused else link.hold))
        self._set(relabel_after=max(contacts, default=None))

    # ---- commands

    def _enable(self, event: Enable, now: float) -> None:
        record = self.record
        if record is not None and record.account != event.account:
            return
        if record is None:
            record = FilterRecord(
                filter_id=event.filter_id,
                name=event.filter_name,
                owner=event.owner,
                account=event.account,
                google_email=event.google_email,
                since=now,
            )
            record = runs.start(record, event.request_id, now, first=True)
            if record.run is not None:
                self._events.append(runs.started(record, record.run))
        self.record = replace(record, paused=False, google_email=event.google_email)
        if record.problem in (FilterState.RECONNECT_NEEDED, FilterState.FILTER_GONE):
            self.record = replace(freeze.cleared(self.record), account_at=max(record.account_at, now))
        if self.record.phase == "label":
            self._ask_label("ensure")
        else:
            self._wishes.google_listing = ""
        self._known_requests.add(event.request_id)
        self._requests.append(event.request_id)

    def _settings(self, event: ChangeSettings, now: float) -> None:
        if event.two_way is not None and self.record is not None and event.two_way != self.record.two_way:
            since = now if event.two_way else self.record.two_way_since
            self._set(two_way=event.two_way, two_way_since=since)
            self._touched_arrivals.update(self.arrivals.source_ids)
        if event.new_contact is not None:
            self._set(new_contact=event.new_contact.model_dump(mode="json", exclude_unset=True))

    def _resume(self, now: float) -> None:
        """A filter that is both paused and frozen shows what it is frozen for first."""
        record = self._record
        if record.paused:
            self._set(paused=False)
        elif record.frozen and record.label_gone:
            self._ask_label("ensure")
        elif record.frozen:
            self.record = freeze.thaw(record, now)

    def _sync(self, request_id: str, now: float) -> None:
        record = self._record
        if record.run is not None:
            self.record = replace(record, waiting=(*record.waiting, request_id))
            return
        self._start_run(request_id, now)

    def _recheck(self, now: float) -> None:
        """The right to edit may have been given since: the next edit in Google is tried again, with the writer's
        check. Nothing is written for that alone."""
        self._set(rechecked_at=now)
        for link in list(self._links.values()):
            if link is not None and link.read_only:
                self._put(replace(link, read_only=False))

    def _start_run(self, request_id: str, now: float) -> None:
        self.record = runs.start(self._record, request_id, now)
        run = self.record.run
        assert run is not None
        self._events.append(runs.started(self.record, run))
        self._wishes.planfix_listing = self._wishes.google_changes = run.run_id

    def forget_request(self, request_id: str) -> None:
        """The request was answered before (the state says so): once-only for good."""
        self._known_requests.add(request_id)

    # ---- Planfix

    def _planfix_quiet(self, contact: int, event: PlanfixObserved) -> bool:
        entry = self.index.get(contact)
        if entry is None:
            return True
        if entry.asked == "membership" or entry.held or (event.member and not entry.member):
            return False
        return self._hash_of(event, contact) == entry.planfix_hash

    def _hash_of(self, event: PlanfixObserved, contact: int) -> int:
        if self._hashed is not event:
            self._hashed = event
            self._hashes = {c.contact: content_hash(c.fields) for c in event.contacts}
        return self._hashes[contact]

    def _planfix_observed(self, event: PlanfixObserved, now: float) -> None:
        for contact in event.contacts:
            number = contact.contact
            entry = self.index.get(number)
            hash_ = self._hash_of(event, number)
            if entry is None and self._links.get(number) is None:
                arrival = self.arrivals.stamped(number)
                if arrival is not None:
                    self._join(arrival, contact, event, now)
                elif event.member and event.seen_at <= self._record.left_at:
                    # It may be one that has left since: what it is now decides.
                    self._wishes.planfix_contacts[number] = 0.0
                elif event.member:
                    self._put(
                        Link(
                            contact=number,
                            is_company=contact.is_company,
                            planfix=contact.fields,
                            planfix_hash=hash_,
                            planfix_at=event.seen_at,
                            member_at=event.seen_at,
                            revision=self._record.revisions,
                        )
                    )
                continue
            link = self._links.get(number)
            if link is None:
                if entry is not None:
                    entry.planfix_at = max(entry.planfix_at, event.seen_at)
                    if event.member:
                        entry.member_at = max(entry.member_at, event.seen_at)
                    self._confirming.pop(number, None)
                continue
            last_same_at = entry.planfix_at if entry is not None and entry.planfix_hash == link.planfix_hash else 0.0
            seen = observe.planfix_seen(link, contact, hash_, event.seen_at, event.member, last_same_at)
            if isinstance(seen, observe.Doubt):
                self._wishes.planfix_contacts[number] = seen.not_before
                continue
            if event.member and seen.hold is not None and seen.hold.reason == settle.CHECKING:
                seen = replace(seen, hold=None)
            self._put(seen)

    def _join(self, arrival: Arrival, contact: PlanfixContact, event: PlanfixObserved, now: float) -> None:
        """A labelled person with our stamp whose contact the filter did not hold: it says itself who it is."""
        self._drop_arrival(arrival.source_id)
        joined = arriving.link_of(arrival, contact, event.seen_at, now)
        link = replace(joined, stamped=True, revision=self._record.revisions)
        if event.member:
            link = replace(link, member=True, member_at=event.seen_at, kept="", asked="")
        elif event.member is None:
            link = replace(link, kept=observe.NOT_IN_FILTER, asked="")
        self._put(link)

    def _planfix_listed(self, event: PlanfixListed, now: float) -> None:
        members = set(event.members)
        missing = sorted(
            entry.contact
            for entry in self.index
            if entry.member
            and event.low <= entry.contact <= event.high
            and entry.contact not in members
            and entry.planfix_at < event.began_at
            and now - self._confirming.get(entry.contact, -ASK_AGAIN_S) >= ASK_AGAIN_S
        )
        unproven = not event.members and len(missing) > UNPROVEN_MAX
        if unproven:
            self._events.append(
                ContactHeldBack(
                    filter_id=self._record.filter_id,
                    at=now,
                    contact=None,
                    state=ContactState.HELD_BACK,
                    reason="Planfix answered with an empty list; nothing was removed.",
                )
            )
        elif missing:
            self._confirm(missing, [c for c in event.members if self.index.get(c) is not None], now)
        if event.last:
            if self._record.phase == "planfix":
                self._set(phase="done")
                self._touched_arrivals.update(self.arrivals.source_ids)
            self.record = runs.answered(self._record, "planfix", event.request_id)
            self._set(planfix_seen_at=event.began_at)

    def _confirm(self, missing: list[int], known: list[int], now: float) -> None:
        if not known:
            known = [e.contact for e in self.index if e.member and e.contact not in set(missing)]
        for contact in missing:
            self._confirming[contact] = now
        self._wishes.confirm.extend(missing)
        self._wishes.known = known[:KNOWN_MAX]

    def _planfix_confirmed(self, event: PlanfixConfirmed) -> None:
        for contact in (*event.gone, *event.present, *event.undecided):
            self._confirming.pop(contact, None)
        for contact in (*event.gone, *event.undecided):
            arrival = self.arrivals.stamped(contact)
            if arrival is not None:
                self._put_arrival(replace(arrival, stage="held", reason=arriving.CONTACT_GONE))
        for contact in event.gone:
            link, entry = self._links.get(contact), self.index.get(contact)
            if link is not None and link.kept and link.hold is not None and link.hold.reason == settle.CHECKING:
                self._put(replace(link, hold=Hold("held_back", arriving.CONTACT_GONE)))
            if link is None or not link.member:
                continue
            if max(link.member_at, entry.member_at if entry is not None else 0.0) < event.seen_at:
                self._put(replace(link, member=False, member_at=event.seen_at))
        for contact in event.present:
            link = self._links.get(contact)
            if link is not None and link.hold is not None and link.hold.reason == settle.CHECKING:
                self._put(replace(link, hold=None))

    def _filter_observed(self, event: FilterObserved) -> None:
        if event.seen_at < self._record.filter_at:
            return
        self._set(filter_at=event.seen_at)
        record = self._record
        if event.problem is not None:
            self._set(problem=event.problem.value, problem_reason=event.detail)
            return
        if event.owner is not None and event.owner != record.owner:
            self._set(
                problem=FilterState.OWNER_GONE.value, problem_reason="The list has another owner in Planfix now."
            )
            return
        if record.problem in ("plan_needed", "filter_gone", "owner_gone"):
            self.record = freeze.cleared(record)
        if event.name and event.name != record.name:
            self._set(name=event.name)
            if record.label:
                self._ask_label("rename")

    # ---- arrivals

    def _planfix_matched(self, event: PlanfixMatched, now: float) -> None:
        for answer in event.answers:
            arrival = self.arrivals.get(answer.arrival)
            if arrival is None or arrival.stage != "matching":
                continue
            if not self._record.active or not self._record.two_way:
                self._put_arrival(replace(arrival, stage="new"))
                continue
            taken = {
                c.contact
                for c in answer.contacts
                if (e := self.index.get(c.contact)) is not None and not _is_free(e, arrival.resource)
            }
            result = arriving.matches(arrival, answer, self._hasher, self._record.filter_id, taken, now)
            if isinstance(result, Arrival):
                self._put_arrival(result)
                continue
            self._drop_arrival(arrival.source_id)
            joined = arriving.link_of(arrival, result.contact, event.seen_at, now)
            link = self._links.get(result.contact.contact)
            if link is None:
                joined = replace(joined, revision=self._record.revisions)
            else:
                joined = replace(joined, revision=link.revision, member_at=link.member_at)
                if link.member:
                    joined = replace(joined, member=True, kept="", asked="")
            self._put(joined)

    # ---- Google

    def _owners(self, person: GooglePerson) -> set[int]:
        names = (person.resource, *person.previous)
        found = {c for name in names if (c := self.index.owner_of(name)) is not None}
        return found | {s.contact for s in person.stamps if self.index.get(s.contact) is not None}

    def _google_quiet(self, contact: int, person: GooglePerson) -> bool:
        entry = self.index.get(contact)
        return (
            entry is not None
            and entry.resource == person.resource
            and entry.etag == person.etag
            and (not entry.labelled or self._record.label in person.labels)  # a label's end may leave etags alone
            and entry.asked not in ("person", "label")
        )

    def _google_observed(self, event: GoogleObserved, now: float) -> None:
        by_name = event.request_id == BY_NAME
        for person in event.people:
            owner = self._owner(person)
            if owner is None:
                self._stranger(person, event.seen_at, by_name=by_name)
                continue
            link = self._links.get(owner)
            if link is None:
                continue  # quiet
            self._drop_named(person.resource)
            self._person_seen(link, person, event.seen_at, now, by_name=by_name)

    def _owner(self, person: GooglePerson) -> int | None:
        """The contact that this person is the partner of. A stamp joins a link that has no person yet; it never moves
        a link to a person that is another contact's (2.2)."""
        owner = self.index.owner_of(person.resource)
        if owner is not None:
            self._follow_merge(owner, person)
            return owner
        for name in person.previous:
            owner = self.index.owner_of(name)
            if owner is not None:
                self._follow_merge(owner, person)
                return owner
        for stamp in sorted(person.stamps, key=lambda s: s.contact):
            entry = self.index.get(stamp.contact)
            if entry is None or entry.state is ContactState.MERGED:
                continue
            again = entry.state is ContactState.DISMISSED and self._record.label in person.labels
            if entry.resource is None or again:
                return stamp.contact
        return None

    def _follow_merge(self, owner: int, person: GooglePerson) -> None:
        """People of two contacts were merged into this one: the other contact's link ends in it."""
        for name in person.previous:
            other = self.index.owner_of(name)
            link = self._links.get(other) if other is not None else None
            if other is not None and other != owner and link is not None:
                self._put(settle.merged(link, owner))
                self._set(left_at=self._now)  # the name that it had is a stranger's now

    def _person_seen(self, link: Link, person: GooglePerson, seen_at: float, now: float, *, by_name: bool) -> None:
        record = self._record
        hash_ = content_hash(person.fields)
        was_labelled = link.labelled
        seen = observe.google_seen(link, person, hash_, seen_at, record.label, by_name=by_name)
        if isinstance(seen, observe.Doubt):
            if link.asked != "person":
                self._wishes.people.add(person.resource)
            return
        if seen.labelled and seen.dismissed:
            seen = replace(seen, dismissed="")
        removing = link.pending is not None and link.pending.op == "remove"
        lost_label = was_labelled and not seen.labelled and record.label and link.own is not None
        if record.restored_at and person.updated_at <= record.restored_at:
            lost_label = False  # it was lost before everybody was put back
        if lost_label and seen.member and not removing and not seen.dismissed:
            seen = replace(seen, asked="label", asked_at=now)
            self._wishes.label = True
        self._put(seen)

    def _stranger(self, person: GooglePerson, seen_at: float, *, by_name: bool) -> None:
        record = self._record
        known = self.arrivals.get(person.source_id)
        if known is not None and person.updated_at < known.google_at:
            return
        if not record.label or record.label not in person.labels:
            if known is not None:
                self._drop_arrival(person.source_id)
                self._set(left_at=self._now)
            return
        lag_s = 0.0 if by_name else LISTS_LAG_S
        if known is None and record.left_at and seen_at <= record.left_at + lag_s:
            # It may be one that was removed since, and lists lag: what it is now decides.
            self._wishes.people.add(person.resource)
            return
        arrival = arriving.arrival_of(person, known)
        if arrival.stamp_contact is not None and self.index.get(arrival.stamp_contact) is not None:
            arrival = replace(arrival, stage="held", reason=arriving.COPY, state="possible_duplicate")
        self._put_arrival(arrival if known is not None else replace(arrival, revision=record.revisions))

    def _google_gone(self, event: GoogleGone) -> None:
        for resource in event.resources:
            if self._drop_named(resource):
                self._set(left_at=self._now)
            contact = self.index.owner_of(resource)
            link = self._links.get(contact) if contact is not None else None
            if link is None or contact is None:
                continue
            if link.pending is not None and link.pending.side is Side.GOOGLE:
                continue  # the writer finds out by itself and says so
            if event.seen_at < link.google_at:
                self._wishes.people.add(resource)  # it has been there since
                continue
            gone = settle.person_gone(replace(link, asked="" if link.asked in ("person", "label") else link.asked))
            if gone is not None and gone.dismissed and not link.dismissed:
                self._note("google", "dismissed", contact)
            self._put_or_drop(contact, gone)

    def _google_listed(self, event: GoogleListed, now: float) -> None:
        present = set(event.resources)
        for entry in self.index:
            resource = entry.resource
            if not resource or resource in present or not event.low <= resource <= event.high:
                continue
            if entry.state.value not in ("dismissed", "merged") and not entry.open:
                self._wishes.people.add(resource)
        for resource in self.arrivals.resources:
            if resource not in present and event.low <= resource <= event.high:
                self._wishes.people.add(resource)
        if not event.last:
            return
        self._set(people_total=event.people_total, google_seen_at=event.began_at)
        if self._record.phase == "google":
            self._set(phase="planfix")
            self._wishes.planfix_listing = self._record.run.run_id if self._record.run else ""
        self.record = runs.answered(self._record, "google", event.request_id)
        if event.people_total < PEOPLE_MAX:
            for link in list(self._links.values()):
                if link is not None and link.hold is not None and link.hold.reason == settle.ACCOUNT_FULL:
                    self._put(replace(link, hold=None))

    def _candidates(self, event: GoogleCandidates) -> None:
        answers: list[tuple[Link, tuple[Candidate, ...]]] = []
        for answer in event.answers:
            link = self._links.get(answer.contact)
            if link is None or link.asked != "match":
                continue
            name = arriving.name_key(link.planfix or {}, self._hasher)
            answers.append((link, partners(name, answer.candidates)))
        wanted = Counter(c.resource for _, found in answers for c in found if c.by != "stamp")
        for link, found in answers:
            asked = replace(link, asked="", matched=True)
            if not found or link.resource is not None:
                self._put(asked)
                continue
            by_stamp = found[0].by == "stamp"
            chosen = min(found, key=lambda c: (len(c.resource), c.resource))
            other = self.index.owner_of(chosen.resource)
            if by_stamp and other is not None and other != link.contact:
                self._put(settle.merged(asked, other))  # one person with the stamps of both (2.2)
            elif (other is not None and other != link.contact) or wanted[chosen.resource] > 1:
                self._put(replace(asked, hold=Hold("possible_duplicate", SHARED, (chosen.resource,))))
            elif len(found) > 1 and not by_stamp:
                self._put(
                    replace(asked, hold=Hold("possible_duplicate", DUPLICATE, tuple(c.resource for c in found)))
                )
            else:
                self._put(replace(asked, resource=chosen.resource, adopt=not by_stamp))

    def _label_observed(self, event: LabelObserved) -> None:
        if event.label != self._record.label:
            return
        asked = [
            link
            for link in self._links.values()
            if link is not None and link.asked == "label" and link.asked_at <= event.seen_at
        ]
        if not event.exists:
            self.record = freeze.freeze(self._record, freeze.DELETED, label_gone=True)
        elif not self._record.frozen and (lost := freeze.lost_most(self._entries(), event)):
            self.record = freeze.freeze(self._record, freeze.unlabelled(lost), label_gone=False)
        if self._record.frozen:
            for link in asked:
                self._put(replace(link, asked="", due=True))
            return
        for link in asked:
            if link.labelled:
                self._put(replace(link, asked=""))
                continue
            self._note("google", "dismissed", link.contact)
            reason = "The label was taken off this person in Google Contacts."
            self._put(replace(link, asked="", dismissed=reason))

    def _entries(self) -> Iterator[Entry]:
        """All links in brief, those of this step as they now are."""
        for entry in self.index:
            link = self._links.get(entry.contact)
            yield entry if link is None else Entry(link)

    def _account_observed(self, event: AccountObserved) -> None:
        if event.seen_at < self._record.account_at:
            return
        self._set(account_at=event.seen_at)
        record = self._record
        if not event.connected:
            self._set(problem=FilterState.RECONNECT_NEEDED.value, problem_reason=event.reason)
        elif record.problem == FilterState.RECONNECT_NEEDED.value:
            self.record = freeze.cleared(record)
            if record.phase == "google":
                self._wishes.google_listing = record.run.run_id if record.run else ""

    # ---- settled

    def _settled(self, event: Settled, now: float) -> None:
        if event.label is not None:
            self._label_settled(event.label, now)
        for item in event.items:
            if item.arrival is not None:
                self._arrival_settled(item, event.answered_at, now)
            elif item.contact is not None:
                self._link_settled(item, event.answered_at, now)
        for handover in event.handovers:
            self._handover(handover)

    def _label_settled(self, answer: LabelSettled, now: float) -> None:
        record = self._record
        if answer.mutation_id != record.label_pending:
            return
        self._set(label_pending="")
        if answer.outcome is not Outcome.DONE:
            reason = answer.reason or "Google Contacts does not take the label."
            self.record = freeze.freeze(self._record, reason, label_gone=True)
            return
        self._set(label=answer.label, label_name=answer.name)
        if record.label and answer.label != record.label:
            self._set(relabel_after=0, restored_at=now)
        if record.frozen and record.label_gone:
            self.record = freeze.thaw(self._record, now)
        if record.phase == "label":
            self._set(phase="google")
            self._wishes.google_listing = record.run.run_id if record.run else ""

    def _link_settled(self, item: SettledItem, answered_at: float, now: float) -> None:
        link = self._links.get(item.contact or 0)
        if link is None or link.pending is None or link.pending.mutation_id != item.mutation_id:
            return
        pending = link.pending
        rules = merge_rules(link, self._rules)
        after = settle.settled(link, item, rules, answered_at, self._record.label, now)
        if item.outcome is Outcome.DONE:
            self._count(link, item)
            if pending.op == "update" and pending.target:
                self._carried_s.append((pending.side, max(0.0, now - pending.at)))
        elif item.outcome is Outcome.GONE and pending.side is Side.PLANFIX and (link.member or link.kept):
            self._confirm([link.contact], [], now)
        if after is not None and after.hold is not None and link.hold is None:
            self._events.append(
                ContactHeldBack(
                    filter_id=self._record.filter_id,
                    at=now,
                    contact=link.contact,
                    state=after.hold.state,
                    reason=after.hold.reason,
                )
            )
        self._put_or_drop(link.contact, after)

    def _count(self, link: Link, item: SettledItem) -> None:
        pending = link.pending
        if pending is None:
            return
        operation = {"ensure": "created", "remove": "removed", "adopt": "linked"}.get(pending.op, "updated")
        figure = "updated" if operation == "linked" else operation
        self.record = runs.counted(self._record, **{figure: 1})
        self._note(pending.side.value, operation, link.contact)
        if pending.op in ("update", "adopt") and pending.target:
            side = pending.side.value
            change = {
                name: [_plain(pending.before.get(name)), _plain(value)] for name, value in pending.target.items()
            }
            self._remember(link.contact, pending.revision, {"side": side, "fields": change})

    def _arrival_settled(self, item: SettledItem, answered_at: float, now: float) -> None:
        arrival = self.arrivals.get(item.arrival or "")
        if arrival is None or arrival.mutation_id != item.mutation_id:
            return
        result = arriving.created(arrival, item, answered_at, now)
        if isinstance(result, Arrival):
            self._put_arrival(result)
            return
        self._drop_arrival(arrival.source_id)
        self._note("planfix", "created", result.contact)
        self.record = runs.counted(self._record, created=1)
        self._put(replace(result, revision=self._record.revisions))

    def _handover(self, handover: Handover) -> None:
        link = self._links.get(handover.contact)
        if link is None:
            return
        link = replace(link, merges=True)
        if handover.base_planfix is not None and handover.base_google is not None:
            link = replace(link, base_planfix=handover.base_planfix, base_google=handover.base_google)
        self._put(link)

    # ---- the end of a step

    def finish(self, now: float) -> Step:
        """Decide about everything touched; what is to be stored and published."""
        self._now = now
        restarted, self._restarted = self._restarted, False
        begun = self._reopen(now) if restarted else []
        begun_arrivals = [a for a in self.arrivals.values() if restarted and a.stage in ("matching", "creating")]
        links: dict[int, Link | None] = {}
        if self.record is not None:
            for contact in sorted(self._touched):
                self._decide(contact, links, begun, now)
            begun_arrivals.extend(self._decide_arrivals(now))
            self._finish_run(now)
        stored_arrivals: dict[str, Arrival | None] = {s: self.arrivals.get(s) for s in self._touched_arrivals}
        stored_arrivals.update(dict.fromkeys(self._dropped_arrivals - self.arrivals.source_ids))
        self._events.extend(self._changes(now))
        changed = self._update_figures(now)
        step = Step(
            record=self.record,
            record_changed=changed,
            links=links,
            arrivals=stored_arrivals,
            begun=begun,
            begun_arrivals=begun_arrivals,
            wishes=self._wishes,
            events=self._events,
            history=self._history,
            requests=self._requests,
            conflicts=self._conflicts,
            carried_s=self._carried_s,
            more=self._more(),
        )
        step.flush, self._said_more = self._said_more and not step.more, step.more
        self._begin(self.record)
        return step

    def _reopen(self, now: float) -> list[Begun]:
        """After a take-over: what was under way is said again; it is once-only by its revision. The end of a run that
        was stored a moment ago may not have been said."""
        again = runs.finished_again(self._record, now)
        if again is not None:
            self._events.append(again)
        reopened, self._open_at_start = self._open_at_start, []
        record = self._record
        self._wishes.label |= any(link.asked == "label" for link in reopened)
        if record.label_pending:
            self._wishes.ensure_label = True
        waits = record.run.waits if record.run is not None else ()
        run_id = record.run.run_id if record.run is not None else ""
        if record.phase == "google":
            self._wishes.google_listing = run_id
        elif "google" in waits:
            self._wishes.google_changes = run_id
        if record.phase == "planfix" or ("planfix" in waits and record.phase == "done"):
            self._wishes.planfix_listing = run_id
        for link in reopened:
            if self._links.get(link.contact) is not None:
                # This step has read it, too: what is under way after the decision counts as new.
                self._loaded[link.contact] = _NOTHING
                self._touched.add(link.contact)
        return [
            Begun(link, write=link.pending is not None, ask=bool(link.asked))
            for link in reopened
            if link.contact not in self._links
        ]

    def _decide(self, contact: int, links: dict[int, Link | None], begun: list[Begun], now: float) -> None:
        link = self._links.get(contact)
        if link is None:
            links[contact] = None
            self.index.drop(contact)
            return
        decision = decide(link, self._rules, now)
        after = decision.link
        if decision.lost:
            self._lost(link, decision.lost)
        if after is None:
            self._gone(link.revision)
            self._set(left_at=now)
            links[contact] = None
            self.index.drop(contact)
            return
        links[contact] = after
        self.index.put(after)
        was, is_now = self._loaded.get(contact, _NOTHING), _under_way(after)
        write, ask = bool(is_now[0]) and is_now[0] != was[0], bool(after.asked) and is_now[1:] != was[1:]
        if write or ask:
            begun.append(Begun(after, write=write, ask=ask))

    def _decide_arrivals(self, now: float) -> list[Arrival]:
        record = self._record
        begun = []
        if record.phase == "done":
            if record.active:
                self._touched_arrivals.update(a.source_id for a in self.arrivals.values() if a.stage == "new")
            for source_id in sorted(self._touched_arrivals):
                before = self.arrivals.get(source_id)
                if before is None:
                    continue
                after = arriving.decide_arrival(before, two_way=record.two_way, active=record.active, now=now)
                self.arrivals.put(after)
                if after.stage == "matching" and after.stamp_contact is not None:
                    self._wishes.planfix_contacts[after.stamp_contact] = 0.0
                    self._confirm([after.stamp_contact], [], now)
                elif after.stage in ("matching", "creating"):
                    begun.append(after)
        return begun

    def _finish_run(self, now: float) -> None:
        while (record := self._record).run is not None:
            busy = self._busy()
            if busy and not record.problem and not record.paused:
                progress = runs.progress(record, len(self.index), len(self.index.open), now)
                if progress is not None:
                    self._events.append(progress)
                return
            finished = runs.finished(record, record.run, now, cut_short=busy)
            self._events.append(finished)
            self.record = runs.ended(record, finished)
            if record.waiting:
                first, *rest = record.waiting
                self.record = replace(self.record, waiting=tuple(rest))
                self._start_run(first, now)

    def _more(self) -> bool:
        record = self.record
        if record is None or record.run is None or not record.run.first:
            return False
        return record.phase == "planfix" or bool(self.index.matching)

    def _busy(self) -> bool:
        record = self._record
        run = record.run
        arriving_now = any(a.stage in ("new", "matching", "creating") for a in self.arrivals.values())
        return (
            record.phase != "done"
            or bool(run and run.waits)
            or bool(self.index.open)
            or (record.active and bool(self.index.due))
            or bool(self._confirming)
            or bool(self._wishes.people or self._wishes.planfix_contacts)
            or (arriving_now and record.active)
        )

    def _update_figures(self, now: float) -> bool:
        if self.record is None:
            return False
        held = sum(1 for a in self.arrivals.values() if a.stage == "held")
        counts = self.index.counts()
        if held:
            counts["held_back"] = counts.get("held_back", 0) + held
        open_ = len(self.index.open)
        if counts != self.record.counts or open_ != self.record.open:
            self.record = replace(self.record, counts=counts, open=open_)
        if self.record.state != self._state:
            self._events.append(
                FilterStateChanged(
                    filter_id=self.record.filter_id,
                    at=now,
                    state=self.record.state,
                    previous=self._state,
                    reason=self.record.problem_reason,
                )
            )
            self._state = self.record.state
        return self.record != self._before

    # ---- small things

    @property
    def _record(self) -> FilterRecord:
        assert self.record is not None
        return self.record

    @property
    def _rules(self) -> FilterRules:
        record = self._record
        return FilterRules(record.filter_id, record.two_way, record.active, two_way_since=record.two_way_since)

    def _set(self, **changes: object) -> None:
        self.record = replace(self._record, **changes)  # type: ignore[arg-type]

    def _ask_label(self, op: str) -> None:
        record = self._record
        revision = record.label_revision + 1
        self._set(label_revision=revision, label_pending=f"{record.filter_id}.label.{revision}", label_op=op)
        self._wishes.ensure_label = True

    def _put(self, link: Link) -> None:
        self._links[link.contact] = link
        self._touched.add(link.contact)
        entry = self.index.get(link.contact)
        if entry is None or entry.resource != link.resource:
            self.index.put(link)

    def _put_or_drop(self, contact: int, link: Link | None) -> None:
        if link is not None:
            self._put(link)
        else:
            gone = self._links.get(contact)
            self._gone(gone.revision if gone is not None else 0)
            self._set(left_at=self._now)
            self._links[contact] = None
            self._touched.add(contact)
            self.index.drop(contact)

    def _gone(self, revision: int) -> None:
        """A link is removed; should its contact come back, its revisions go on from here."""
        if revision > self._record.revisions:
            self._set(revisions=revision)

    def _put_arrival(self, arrival: Arrival) -> None:
        self.arrivals.put(arrival)
        self._touched_arrivals.add(arrival.source_id)

    def _drop_named(self, resource: str) -> bool:
        """Whether there was an arrival of that name."""
        arrival = self.arrivals.named(resource)
        if arrival is not None:
            self._drop_arrival(arrival.source_id)
        return arrival is not None

    def _drop_arrival(self, source_id: str) -> None:
        arrival = self.arrivals.drop(source_id)
        if arrival is not None:
            self._gone(arrival.revision)
            self._touched_arrivals.discard(source_id)
            self._dropped_arrivals.add(source_id)

    def _note(self, side: str, operation: str, contact: int) -> None:
        self._changed.setdefault((side, operation), []).append(contact)

    def _changes(self, now: float) -> list[Model]:
        if self.record is None:
            return []
        changes: list[Model] = []
        for (side, operation), contacts in self._changed.items():
            for start in range(0, len(contacts), 1000):
                changes.append(
                    ContactChanged.model_validate(
                        {
                            "filter_id": self.record.filter_id,
                            "at": now,
                            "side": side,
                            "operation": operation,
                            "contacts": contacts[start : start + 1000],
                        }
                    )
                )
        return changes

    def _lost(self, link: Link, lost: tuple[Lost, ...]) -> None:
        self._conflicts += [Side.PLANFIX if item.side is Side.GOOGLE else Side.GOOGLE for item in lost]
        values = {item.field: [item.side.value, item.value] for item in lost}
        self._remember(link.contact, link.revision + 1, {"lost": values})

    def _remember(self, contact: int, revision: int, entry: dict[str, object]) -> None:
        self._history.append((contact, revision, entry))


_NOTHING = ("", "", 0.0)


def _is_free(entry: Entry, resource: str) -> bool:
    """Whether a labelled person may become this contact's: nobody else is, and nobody is being made. A label put on
    ends a dismissal."""
    if entry.state is ContactState.DISMISSED:
        return True
    if entry.state is ContactState.MERGED:
        return False
    return entry.resource == resource or (entry.resource is None and not entry.open)


def _under_way(link: Link) -> tuple[str, str, float]:
    return (link.pending.mutation_id if link.pending is not None else "", link.asked, link.asked_at)


def _plain(value: object) -> object:
    """A field's value for the history: a text, or the spellings of its elements."""
    if isinstance(value, tuple):
        return [getattr(element, "value", element) for element in value]
    return value
