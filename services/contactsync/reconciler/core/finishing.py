"""The end of a step: everything touched is decided, runs and figures move on.

Called by `machine.py` once per step; `plan.py` decides about a link, `arrivals.py` about an arrival.
"""

from __future__ import annotations

from contactsync.reconciler.core import arrivals as arriving
from contactsync.reconciler.core import (
    commands,
    guard,
    history,
    joining,
    labelling,
    leaving,
    places,
    ranking,
    runs,
    sweeping,
)
from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import NOTHING, Draft, under_way
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.plan import Decision, decide
from contactsync.reconciler.core.step import Begun, Step
from contactsync_contracts.messages import ContactChanged, FilterStateChanged, Model

DOUBT_S = 900.0


def finish(draft: Draft, reopened: list[Link] | None, now: float) -> Step:
    """Decide about everything touched; what is to be stored and published. reopened: in the first step after a
    take-over, the links that had something under way."""
    draft.now = now
    begun = _reopen(draft, reopened, now) if reopened is not None else []
    begun_arrivals = [
        a
        for a in draft.arrivals.values()
        if reopened is not None and (a.stage == "matching" or (a.stage == "creating" and a.passed))
    ]
    links: dict[int, Link | None] = {}
    if draft.record is not None:
        if draft.record.first_matching:
            joining.end_first_matching(draft)
        begun_arrivals.extend(_decide_all(draft, links, begun, now))
        places.all_known(draft)
        sweeping.tidy(draft)
        guard.tend(draft, now)
        _finish_run(draft, now)
        leaving.tend(draft)
        ranking.tend(draft, now, again=reopened is not None)
    stored_arrivals: dict[str, Arrival | None] = {s: draft.arrivals.get(s) for s in draft.touched_arrivals}
    stored_arrivals.update(dict.fromkeys(draft.dropped_arrivals - draft.arrivals.source_ids))
    draft.events.extend(_changes(draft, now))
    changed = _update_figures(draft, now)
    return Step(
        record=draft.record,
        record_changed=changed,
        links=links,
        arrivals=stored_arrivals,
        begun=begun,
        begun_arrivals=begun_arrivals,
        wishes=draft.wishes,
        events=draft.events,
        history=draft.history,
        requests=draft.requests,
        conflicts=draft.conflicts,
        carried_s=draft.carried_s,
        more=_more(draft),
        decided={contact: draft.decisions.get(contact) for contact in draft.decisions.changed},
    )


def _reopen(draft: Draft, reopened: list[Link], now: float) -> list[Begun]:
    """After a take-over: what was under way is said again; it is once-only by its revision. The end of a run that
    was stored a moment ago may not have been said."""
    again = runs.finished_again(draft.filter, now)
    if again is not None:
        draft.events.append(again)
    record = draft.filter
    draft.wishes.forget = record.leaving is not None and record.leaving.stage == "forgetting"
    draft.wishes.label |= any(link.asked == "label" for link in reopened)
    if record.label_pending:
        draft.wishes.ensure_label = True
    labelling.say_again(draft, now)
    waits = record.run.waits if record.run is not None else ()
    run_id = record.run.run_id if record.run is not None else ""
    if record.phase == "google":
        draft.wishes.google_listing = run_id
    elif "google" in waits:
        draft.wishes.google_changes = run_id
    if record.rebuild:
        draft.wishes.google_listing = draft.wishes.planfix_listing = record.rebuild
    _doubt_creates(draft, now)
    if record.phase == "planfix" or ("planfix" in waits and record.phase == "done"):
        draft.wishes.planfix_listing = run_id
    for link in reopened:
        if draft.links.get(link.contact) is not None:
            # This step has read it, too: what is under way after the decision counts as new.
            draft.loaded[link.contact] = NOTHING
            draft.touched.add(link.contact)
    return [
        Begun(link, write=link.pending is not None, ask=bool(link.asked))
        for link in reopened
        if link.contact not in draft.links
    ]


def _doubt_creates(draft: Draft, now: float) -> None:
    """A contact that was being created in Planfix long ago may have been by now: if our state was rolled back, the
    writer knows nothing of it. It is looked for again, by the person's stamp and addresses; if that finds nobody, the
    same mutation is said again, which is once-only should it still wait with the writer."""
    for arrival in list(draft.arrivals.values()):
        if arrival.stage == "creating" and now - arrival.asked_at >= DOUBT_S:
            before = max(0, arrival.revision - 1)
            draft.put_arrival(replace(arrival, stage="new", source=None, passed=False, revision=before))
            draft.wishes.people.add(arrival.resource)


def _decide_all(draft: Draft, links: dict[int, Link | None], begun: list[Begun], now: float) -> list[Arrival]:
    """Decide about every contact and arrival touched, hold the actions against the breakers, and keep what comes of
    it; the arrivals about which something is to be said."""
    guard.release_people(draft)
    decided: list[tuple[Link, Decision]] = []
    for contact in sorted(draft.touched):
        link = draft.links.get(contact)
        if link is None:
            links[contact] = None
            draft.index.drop(contact)
        else:
            link = history.fate(draft, link)
            decided.append((link, decide(link, draft.rules, now)))
    arrivals = _decide_arrivals(draft, now)
    if guard.loops_found(draft, decided, arrivals, now):
        decided = [(link, decide(link, draft.rules, now)) for link, _ in decided]
        arrivals = guard.back(draft, arrivals)
    actions = [a for link, d in decided if d.link is not None and (a := guard.action_of(draft, link, d.link))]
    actions += [a for arrival in arrivals if (a := guard.arrival_action(draft, arrival))]
    held = guard.weigh(draft, actions, now)
    for link, decision in decided:
        _keep(draft, link, decision, held.get(link.contact), links, begun, now)
    return guard.let_through(draft, arrivals, held)


def _keep(
    draft: Draft,
    link: Link,
    decision: Decision,
    held: Frozen | None,
    links: dict[int, Link | None],
    begun: list[Begun],
    now: float,
) -> None:
    contact, after = link.contact, decision.link
    if held is not None:
        after = replace(link, frozen=held, approved="", due=False)
    elif after is not None and (after.frozen is not None or after.approved) and not (after.asked or after.due):
        after = replace(after, frozen=None, approved="")  # it begins, or is not wanted any more
    if held is None:
        draft.conflicts += [Side.PLANFIX if item.side is Side.GOOGLE else Side.GOOGLE for item in decision.lost]
    if after is None:
        draft.keep_revision(link.revision)
        draft.amend(left_at=now)
        links[contact] = None
        draft.index.drop(contact)
        return
    after = history.begun(draft, link, after, decision.lost)
    links[contact] = after
    draft.index.put(after)
    was, is_now = draft.loaded.get(contact, NOTHING), under_way(after)
    write, ask = bool(is_now[0]) and is_now[0] != was[0], bool(after.asked) and is_now[1:] != was[1:]
    if write or ask:
        begun.append(Begun(after, write=write, ask=ask))
        draft.wishes.label |= ask and after.asked == "label"


def _decide_arrivals(draft: Draft, now: float) -> list[Arrival]:
    record = draft.filter
    begun = []
    if record.phase == "done" and not record.first_matching:
        if record.active:
            draft.touched_arrivals.update(a.source_id for a in draft.arrivals.values() if a.stage == "new")
        for source_id in sorted(draft.touched_arrivals):
            before = draft.arrivals.get(source_id)
            if before is None:
                continue
            after = arriving.decide_arrival(before, two_way=record.two_way, active=record.active, now=now)
            draft.arrivals.put(after)
            if after.stage == "matching" and after.stamp_contact is not None:
                draft.wishes.planfix_contacts[after.stamp_contact] = 0.0
                draft.confirm([after.stamp_contact], [], now)
            elif after.stage in ("matching", "creating"):
                begun.append(after)
    return begun


def _finish_run(draft: Draft, now: float) -> None:
    while (record := draft.filter).run is not None:
        busy = _busy(draft)
        if busy and not record.problem and not record.paused:
            progress = runs.progress(record, len(draft.index), len(draft.index.open | draft.index.due), now)
            if progress is not None:
                draft.events.append(progress)
            return
        finished = runs.finished(record, record.run, now, cut_short=busy)
        draft.events.append(finished)
        draft.record = runs.ended(record, finished)
        if record.waiting:
            first, *rest = record.waiting
            draft.record = replace(draft.record, waiting=tuple(rest))
            commands.start_run(draft, first, now)


def _more(draft: Draft) -> bool:
    record = draft.record
    if record is None or record.run is None or not record.run.first:
        return False
    return record.phase == "planfix" or bool(draft.index.matching or draft.index.due)


def _busy(draft: Draft) -> bool:
    record = draft.filter
    run = record.run
    arriving_now = any(a.stage in ("new", "matching", "creating") for a in draft.arrivals.values())
    return (
        record.phase != "done"
        or bool(run and run.waits)
        or bool(record.label_pending and not record.label_again)
        or bool(draft.index.open)
        or (record.active and bool(draft.index.due or draft.index.loose or record.sweeps))
        or bool(draft.confirming)
        or bool(draft.wishes.people or draft.wishes.planfix_contacts)
        or (arriving_now and record.active)
    )


def _update_figures(draft: Draft, now: float) -> bool:
    if draft.record is None:
        return False
    counts = draft.index.counts()
    for arrival in draft.arrivals.values():
        if arrival.stage == "held":
            counts[arrival.state] = counts.get(arrival.state, 0) + 1
    open_ = len(draft.index.open)
    if counts != draft.record.counts or open_ != draft.record.open:
        draft.record = replace(draft.record, counts=counts, open=open_)
    if draft.record.state != draft.shown:
        draft.events.append(
            FilterStateChanged(
                filter_id=draft.record.filter_id,
                at=now,
                state=draft.record.state,
                previous=draft.shown,
                reason=draft.record.reason,
            )
        )
        draft.shown = draft.record.state
    return draft.record != draft.before


def _changes(draft: Draft, now: float) -> list[Model]:
    if draft.record is None:
        return []
    changes: list[Model] = []
    for (side, operation), contacts in draft.changed.items():
        for start in range(0, len(contacts), 1000):
            changes.append(
                ContactChanged.model_validate(
                    {
                        "filter_id": draft.record.filter_id,
                        "at": now,
                        "side": side,
                        "operation": operation,
                        "contacts": contacts[start : start + 1000],
                    }
                )
            )
    return changes
