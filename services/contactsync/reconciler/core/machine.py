"""One filter's state machine: observations, answers and commands in; facts, decisions and wishes out.

`handle` takes one event and lets the module that knows it write facts into the step's `Draft`; `finish` decides
about everything touched and answers with the `Step` that the actor commits and then publishes. Links are read from
the state only where something changed: `needs` says which, from the index. Nothing here reads a clock, waits or logs.
If a step cannot be committed, the actor throws the machine away and loads it anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import assert_never

from contactsync.hashing import Hasher
from contactsync.reconciler.core import (
    answers,
    commands,
    finishing,
    guard,
    joining,
    labelling,
    leaving,
    rebuilding,
    runs,
    seen_google,
    seen_planfix,
    sweeping,
    undoing,
)
from contactsync.reconciler.core.arrived import Arrived
from contactsync.reconciler.core.breaker import SEAL_AFTER_S
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.commands import Command
from contactsync.reconciler.core.decided import Decided, Decisions
from contactsync.reconciler.core.draft import ASK_AGAIN_S, Draft
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.filter import Undo as UndoProgress
from contactsync.reconciler.core.index import Index
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.outline import Outline
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.core.step import Step
from contactsync_contracts.messages import (
    AccountObserved,
    Enable,
    FilterObserved,
    GoogleCandidates,
    GoogleCaughtUp,
    GoogleGone,
    GoogleListed,
    GoogleObserved,
    LabelObserved,
    PlanfixConfirmed,
    PlanfixListed,
    PlanfixMatched,
    PlanfixObserved,
    Settled,
    Undo,
)

Event = (
    Command
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


TICK_S = 60.0


class Machine:
    def __init__(
        self,
        record: FilterRecord | None,
        links: Iterable[Link],
        arrivals: Iterable[Arrival],
        hasher: Hasher,
        policy: Policy | None = None,
        decided: Iterable[Decided] = (),
        *,
        taken_over: bool = True,
    ) -> None:
        """taken_over: whoever worked on this before may not have said all that it stored."""
        state = record.state if record is not None else None
        self._draft = Draft(
            record,
            hasher,
            Index(),
            Arrived(arrivals),
            {},
            state,
            policy or Policy(),
            decisions=Decisions(decided),
        )
        self._open_at_start: list[Link] = []
        for link in links:
            self.know(link)
        self._known_requests: set[str] = set()
        self._said_more = False
        self._account_asked_at = 0.0
        self._restarted = taken_over and record is not None

    @property
    def record(self) -> FilterRecord | None:
        return self._draft.record

    @property
    def draft(self) -> Draft:
        """The step as far as it is made: for `preview.py`, which only reads."""
        return self._draft

    @property
    def index(self) -> Index:
        return self._draft.index

    @property
    def arrivals(self) -> Arrived:
        return self._draft.arrivals

    def know(self, link: Link | Outline) -> None:
        """A stored link, at the start: the index keeps a few words of it; open ones are kept, to be said again."""
        self._draft.index.put(link)
        if isinstance(link, Link) and link.open:
            self._open_at_start.append(link)

    # ---- what has to be read first

    def needs(self, event: Event) -> set[int]:
        """Contacts whose links `handle` will look at, as far as they are not known in this step already."""
        draft = self._draft
        wanted = self._needed(event)
        return {contact for contact in wanted if contact not in draft.links and draft.index.get(contact) is not None}

    def _needed(self, event: Event) -> set[int]:
        draft = self._draft
        if draft.record is None:
            return set()
        if isinstance(event, Command):
            return commands.needs(draft, event)
        match event:
            case PlanfixObserved():
                return {c.contact for c in event.contacts if not seen_planfix.quiet(draft, c.contact, event)}
            case GoogleObserved():
                return {
                    contact
                    for person in event.people
                    for contact in seen_google.owners(draft, person)
                    if not seen_google.quiet(draft, contact, person)
                }
            case GoogleGone():
                return {c for r in event.resources if (c := draft.index.owner_of(r)) is not None}
            case GoogleCandidates():
                return joining.needs(draft, event)
            case PlanfixConfirmed():
                return {*event.gone, *event.present}
            case PlanfixListed():
                back = set(seen_planfix.back_again(draft, event))
                return back | commands.read_only(draft) if commands.recheck_due(draft, event) else back
            case LabelObserved():
                return labelling.needs(draft, event)
            case GoogleListed() if event.last:
                return {e.contact for e in draft.index if e.held and e.resource is None}
            case PlanfixMatched():
                return {c.contact for a in event.answers for c in a.contacts}
            case Settled():
                return {i.contact for i in event.items if i.contact is not None} | {
                    h.contact for h in event.handovers
                }
            case _:
                return set()

    def due(self, most: int) -> set[int]:
        """Contacts left over from a time when nothing could be done; empty while that lasts. Those that are to be put
        under a new label come first, by number."""
        draft = self._draft
        if draft.record is None:
            return set()
        if draft.record.leaving is not None:
            return leaving.due(draft, most)
        if not draft.record.active:
            return set()
        after = draft.record.relabel_after
        if after is not None:
            chunk = heapq.nsmallest(most, (e.contact for e in draft.index if e.contact > after))
            if chunk:
                return set(chunk)
            draft.amend(relabel_after=None)
        if swept := sweeping.chunk(draft, most):
            return swept
        if released := guard.due(draft, most):
            return released
        if renewing := rebuilding.due(draft, most):
            return renewing
        due = set() if draft.record.crowded else draft.index.due
        return set(sorted(due or draft.index.loose)[:most])

    def load(self, links: Iterable[Link]) -> None:
        self._draft.load(links)

    def recalls(self, event: Event) -> tuple[int, int] | None:
        """The entry of the history that `handle` will look at."""
        return undoing.wants(event) if isinstance(event, Undo) else None

    def recall(self, entries: undoing.Entries) -> None:
        self._draft.entries.update(entries)

    @property
    def undo(self) -> UndoProgress | None:
        """The run that is being taken back: its entries are wanted, contacts in order (`take_back`)."""
        record = self._draft.record
        return record.undo if record is not None and record.undo is not None and not record.undo.finished else None

    def take_back(self, entries: undoing.Entries, now: float, *, last: bool) -> None:
        self._draft.now = now
        undoing.take_back_run(self._draft, entries, last=last)

    def overdue(self, now: float) -> set[int]:
        """Contacts whose look was never answered: `touch` them after loading, and the look is repeated."""
        draft = self._draft
        for contact, at in list(draft.confirming.items()):
            if now - at >= ASK_AGAIN_S:
                del draft.confirming[contact]
        entries = [entry for contact in draft.index.open if (entry := draft.index.get(contact)) is not None]
        return {e.contact for e in entries if e.asked and now - e.asked_at >= ASK_AGAIN_S}

    def ask_again(self, contacts: Iterable[int], now: float) -> None:
        draft = self._draft
        if draft.record is not None and now - self._account_asked_at >= ASK_AGAIN_S:
            self._account_asked_at = now
            labelling.ask_account(draft)
        for contact in contacts:
            link = draft.links.get(contact)
            if link is not None and link.asked:
                draft.wishes.label |= link.asked == "label"
                draft.put(replace(link, asked_at=now))
        for arrival in list(draft.arrivals.values()):
            if arrival.stage == "matching" and now - arrival.asked_at >= ASK_AGAIN_S:
                draft.put_arrival(replace(arrival, stage="new"))

    def wake_at(self, now: float) -> float | None:
        """When something is to be done although no message comes: plans are sealed, looks repeated."""
        draft = self._draft
        record = draft.record
        if record is not None and record.active and any(plan.approved for plan in record.plans):
            return now
        if record is not None and any(not plan.hash for plan in record.plans):
            return now + SEAL_AFTER_S + 0.5
        waiting = any(arrival.stage == "matching" for arrival in draft.arrivals.values())
        if draft.index.open or waiting or (record is not None and record.busy):
            return now + TICK_S
        return None

    # ---- events

    def handle(self, event: Event, now: float) -> None:
        draft = self._draft
        draft.now = now
        if isinstance(event, Command) and event.request_id in self._known_requests:
            return
        if draft.record is None and not isinstance(event, Enable):
            return
        if isinstance(event, Command):
            self._known_requests.add(event.request_id)
            draft.requests[event.request_id] = ""
            commands.carry_out(draft, event, now)
            return
        if draft.filter.leaving is not None and not leaving.handle(draft, event, now):
            return
        match event:
            case PlanfixObserved():
                seen_planfix.contacts_observed(draft, event, now)
            case PlanfixListed():
                if commands.recheck_due(draft, event):
                    commands.recheck(draft, now)
                seen_planfix.contacts_listed(draft, event, now)
            case PlanfixConfirmed():
                seen_planfix.contacts_confirmed(draft, event)
            case PlanfixMatched():
                joining.contacts_matched(draft, event, now)
            case FilterObserved():
                seen_planfix.filter_observed(draft, event)
            case GoogleObserved():
                seen_google.people_observed(draft, event, now)
            case GoogleGone():
                seen_google.people_gone(draft, event, now)
            case GoogleCaughtUp():
                draft.amend(google_seen_at=max(draft.filter.google_seen_at, event.seen_at))
                draft.record = runs.answered(draft.filter, "google", event.request_id)
                labelling.account_answered(draft, event.seen_at)
                sweeping.start(draft, sweeping.REMATCH)
            case GoogleListed():
                labelling.account_answered(draft, event.began_at)
                seen_google.people_listed(draft, event, now)
            case GoogleCandidates():
                joining.candidates_found(draft, event)
            case LabelObserved():
                labelling.label_observed(draft, event, now)
            case AccountObserved():
                labelling.account_observed(draft, event)
            case Settled():
                answers.settled(draft, event, now)
            case _:
                assert_never(event)

    def touch(self, contacts: Iterable[int]) -> None:
        """Decide about these again: what `due` named, and was loaded."""
        draft = self._draft
        draft.touched.update(contacts)
        if draft.record is None:
            return
        if draft.record.leaving is not None:
            leaving.touch(draft, set(contacts))
            return
        guard.released(draft, contacts)
        if draft.record.relabel_after is None:
            sweeping.see_to(draft, contacts)
            joining.match_again(draft, contacts)
            rebuilding.touch(draft, set(contacts))
            return
        for contact in contacts:
            link = draft.links.get(contact)
            if link is not None:
                refused = link.hold is not None and link.hold.state == "quarantined"  # for want of the label, perhaps
                draft.put(replace(link, labelled=False, hold=None if refused else link.hold))
        draft.amend(relabel_after=max(contacts, default=None))

    @property
    def erasing(self) -> bool:
        """Everything about the filter is to be erased from the state (`actor.py`), whatever else was going on."""
        return leaving.is_erasing(self._draft.record)

    def forget_request(self, request_id: str) -> None:
        """The request was answered before (the state says so): once-only for good."""
        self._known_requests.add(request_id)

    # ---- the end of a step

    def finish(self, now: float) -> Step:
        """Decide about everything touched; what is to be stored and published."""
        reopened: list[Link] | None = None
        if self._restarted:
            self._restarted = False
            reopened, self._open_at_start = self._open_at_start, []
            self._draft.index.find_loose()
        step = finishing.finish(self._draft, reopened, now)
        step.flush, self._said_more = self._said_more and not step.more, step.more
        self._draft = self._draft.following()
        return step
