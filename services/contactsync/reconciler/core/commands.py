"""What people and services ask of a filter: to be enabled, synced, paused, resumed or set otherwise.

Called by `machine.py`, which keeps them once-only; the runs that they start are ended in `finishing.py`. A command
that cannot be carried out says why (`Draft.refuse`), and whoever sent it is told.
"""

from __future__ import annotations

from typing import assert_never

from contactsync.reconciler.core import (
    decisions,
    freeze,
    guard,
    labelling,
    leaving,
    rebuilding,
    restoring,
    runs,
    undoing,
)
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.filter import FilterRecord
from contactsync_contracts.messages import (
    Approve,
    ChangeSettings,
    Decide,
    Disconnect,
    Enable,
    FilterState,
    Pause,
    PlanfixListed,
    Rebuild,
    Restore,
    Resume,
    SyncRequest,
    Undo,
)

RECHECK_S = 86_400.0

Command = (
    SyncRequest | Enable | ChangeSettings | Pause | Resume | Approve | Decide | Restore | Rebuild | Undo | Disconnect
)
"""What people and services ask for: once-only for good, by its `request_id`."""


def enable(draft: Draft, event: Enable, now: float) -> None:
    record = draft.record
    if record is not None and record.leaving is not None:
        leaving.enabled_again(draft, event)
        return
    if record is not None and record.account != event.account and event.relink:
        leaving.relink(draft, event)
        return
    if record is not None and record.account != event.account:
        draft.refuse(event.request_id, "Another Google account is connected to this list.")
        return
    if record is None:
        record = FilterRecord(
            filter_id=event.filter_id,
            name=event.filter_name,
            owner=event.owner,
            account=event.account,
            google_email=event.google_email,
            since=now,
            first_waits=draft.policy.first_sync_waits,
            # From the clock, so that no revision is one that the writer remembers from before a loss of state.
            revisions=int(now),
            label_revision=int(now),
        )
        record = runs.start(record, event.request_id, now, first=True)
        if record.run is not None:
            draft.events.append(runs.started(record, record.run))
    draft.record = replace(record, paused=False, google_email=event.google_email)
    if record.problem in (FilterState.RECONNECT_NEEDED, FilterState.FILTER_GONE):
        draft.record = replace(freeze.cleared(draft.record), account_at=max(record.account_at, now))
    if draft.record.phase == "label":
        labelling.ask_label(draft, "ensure")
    else:
        draft.wishes.google_listing = ""


def change_settings(draft: Draft, event: ChangeSettings, now: float) -> None:
    if event.two_way is not None and draft.record is not None and event.two_way != draft.record.two_way:
        since = now if event.two_way else draft.record.two_way_since
        draft.amend(two_way=event.two_way, two_way_since=since)
        draft.touched_arrivals.update(draft.arrivals.source_ids)
    if event.new_contact is not None:
        draft.amend(new_contact=event.new_contact.model_dump(mode="json", exclude_unset=True))
    if event.conflict is not None:
        draft.amend(conflict=event.conflict)
    if event.breakers is not None:
        draft.amend(breakers=draft.filter.breakers | event.breakers.model_dump(mode="json", exclude_none=True))


def needs(draft: Draft, event: Command) -> set[int]:
    """Contacts whose links the command looks at."""
    match event:
        case SyncRequest():
            return read_only(draft)
        case Undo():
            return undoing.needs(event)
        case Decide():
            return decisions.needs(draft, event)
        case Restore() if event.contact is not None:
            return {event.contact}
        case _:
            return set()


def carry_out(draft: Draft, event: Command, now: float) -> None:
    """One command to a filter that is enabled."""
    left = draft.record is not None and draft.record.leaving is not None
    if left and not isinstance(event, Disconnect | Enable | SyncRequest):
        draft.refuse(event.request_id, leaving.LEFT)
        return
    match event:
        case SyncRequest():
            recheck(draft, now)
            restoring.try_refused(draft)
            sync(draft, event.request_id, now)
        case Enable():
            enable(draft, event, now)
        case ChangeSettings():
            change_settings(draft, event, now)
        case Pause():
            draft.amend(paused=True)
        case Resume():
            resume(draft, event.request_id, now)
        case Disconnect():
            leaving.disconnect(draft, event)
        case Rebuild():
            rebuilding.rebuild(draft, event, now)
        case Approve():
            guard.approve(draft, event.request_id, event.hash)
        case Undo():
            undoing.undo(draft, event, now)
        case Decide():
            draft.refuse(event.request_id, decisions.decide(draft, event))
        case Restore():
            draft.refuse(event.request_id, restoring.restore(draft, event.contact))
        case _:
            assert_never(event)


def resume(draft: Draft, request_id: str, now: float) -> None:
    """A filter that is both paused and frozen shows what it is frozen for first."""
    record = draft.filter
    if record.paused:
        draft.amend(paused=False)
    elif record.frozen and record.label_gone:
        labelling.ask_label(draft, "ensure")
    elif record.frozen:
        draft.record = freeze.thaw(record, now)
    elif record.state is FilterState.FROZEN:
        draft.refuse(request_id, "A plan waits for approval: look at it with `preview`, release it with `approve`.")


def sync(draft: Draft, request_id: str, now: float) -> None:
    record = draft.filter
    if record.run is not None:
        draft.record = replace(record, waiting=(*record.waiting, request_id))
        return
    start_run(draft, request_id, now)


def start_run(draft: Draft, request_id: str, now: float) -> None:
    draft.record = runs.start(draft.filter, request_id, now)
    run = draft.record.run
    assert run is not None
    draft.events.append(runs.started(draft.record, run))
    draft.wishes.planfix_listing = draft.wishes.google_changes = run.run_id
    draft.wishes.filter = True


def recheck(draft: Draft, now: float) -> None:
    """The right to edit may have been given since: the next edit in Google is tried again, with the writer's
    check. Nothing is written for that alone."""
    draft.amend(rechecked_at=now)
    for link in list(draft.links.values()):
        if link is not None and link.read_only:
            draft.put(replace(link, read_only=False))


def recheck_due(draft: Draft, event: PlanfixListed) -> bool:
    return event.last and draft.record is not None and event.began_at - draft.record.rechecked_at >= RECHECK_S


def read_only(draft: Draft) -> set[int]:
    return {entry.contact for entry in draft.index if entry.read_only}
