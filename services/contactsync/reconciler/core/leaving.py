"""A filter that is disconnected, or moved to another Google account (semantics 2.4, last rows).

Three stages, each in the record, so that whoever takes over goes on: people of ours are taken away by the writer's
own rules if that was asked for; the writer forgets the filter on both sides, and with the account's last filter the
grant is revoked; then everything that we stored is erased (`actor.py`), the record last. What watchers say meanwhile
counts no more. `machine.py` and `finishing.py` ask here.
"""

from __future__ import annotations

import heapq
from typing import Any, Literal

from contactsync.reconciler.core import runs, seen_google
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.filter import FilterRecord, Leaving
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    AccountObserved,
    Disconnect,
    Enable,
    FilterState,
    GoogleGone,
    GoogleObserved,
    Model,
    Settled,
)

REASON = "It is being disconnected."
MOVING = "It is moving to another Google account."
NOT_CONNECTED = (
    "Google Contacts is not connected, so nothing can be removed there: reconnect, or disconnect without removing."
)
LEFT = "This list is being disconnected."
KEPT_S = 30 * 86_400
"""How long the ids of requests outlive their filter: a request that comes again later finds nothing to do anyway."""


def disconnect(draft: Draft, event: Disconnect) -> None:
    """A second one without `remove_contacts` gives up on removing."""
    record = draft.filter
    under_way = record.leaving
    if under_way is not None:
        if under_way.stage == "removing" and not event.remove_contacts:
            _forget(draft, replace(under_way, remove=False))
        return
    if event.remove_contacts and record.problem == FilterState.RECONNECT_NEEDED:
        draft.refuse(event.request_id, NOT_CONNECTED)
        return
    _begin(draft, Leaving(event.request_id, remove=event.remove_contacts), REASON)


def relink(draft: Draft, event: Enable) -> None:
    """The account of before is left as it is; what was linked there is forgotten with it. A dismissal belonged to
    that account, too, and so did a decision about its people."""
    _begin(draft, Leaving(event.request_id, next=event.model_dump(mode="json")), MOVING)


def enabled_again(draft: Draft, event: Enable) -> None:
    """Somebody activates what is being disconnected: the same account reconnects, so that removing can go on."""
    record = draft.filter
    if event.account == record.account:
        draft.amend(problem_reason=REASON, google_email=event.google_email)
    draft.refuse(event.request_id, LEFT)


def _begin(draft: Draft, leaving: Leaving, reason: str) -> None:
    draft.amend(
        paused=False,
        frozen="",
        label_gone=False,
        label_pending="",
        rebuild="",
        rebuild_after=None,
        plans=(),
        sweeps={},
        first_matching=False,
        first_waits=False,
        creates_wait="",
        relabel_after=None,
        problem=FilterState.DISCONNECTING.value,
        problem_reason=reason,
    )
    if leaving.remove and draft.filter.label:
        draft.amend(leaving=leaving)
    else:
        _forget(draft, leaving)


def _forget(draft: Draft, leaving: Leaving) -> None:
    waits = (subjects.PLANFIX, draft.filter.account)
    draft.amend(leaving=replace(leaving, stage="forgetting", waits=waits))
    draft.wishes.forget = True


# ---- events


def handle(draft: Draft, event: Model, now: float) -> bool:
    """Whether this event still counts as it is; answers are taken here or by those who know them."""
    leaving = draft.filter.leaving
    assert leaving is not None
    match event:
        case Settled():
            _settled(draft, leaving, event)
            return leaving.stage == "removing"
        case AccountObserved():
            if event.seen_at >= draft.filter.account_at:
                reason = REASON if event.connected else NOT_CONNECTED
                draft.amend(account_at=event.seen_at, problem_reason=reason)
        case GoogleObserved() | GoogleGone() if leaving.stage == "removing":
            if isinstance(event, GoogleGone):
                seen_google.people_gone(draft, event, now)
            else:
                seen_google.people_observed(draft, event, now)
        case _:
            pass
    return False


def _settled(draft: Draft, leaving: Leaving, event: Settled) -> None:
    if leaving.stage != "forgetting" or event.forgotten != mutation_id(draft.filter):
        return
    waits = tuple(target for target in leaving.waits if target != event.target)
    draft.amend(leaving=replace(leaving, waits=waits, stage="forgetting" if waits else "erasing"))


def mutation_id(record: FilterRecord) -> str:
    assert record.leaving is not None
    return f"{record.filter_id}.forget.{record.leaving.request_id}"


# ---- going on


def due(draft: Draft, most: int) -> set[int]:
    """The next contacts to be taken away, by number."""
    leaving = draft.filter.leaving
    if leaving is None or leaving.stage != "removing":
        return set()
    return set(heapq.nsmallest(most, (e.contact for e in draft.index if e.contact > leaving.after)))


def touch(draft: Draft, contacts: set[int]) -> None:
    leaving = draft.filter.leaving
    if leaving is not None and contacts:
        draft.amend(leaving=replace(leaving, after=max(leaving.after, *contacts)))


def tend(draft: Draft) -> None:
    """At the end of a step: everybody has been taken away, so that the filter can be forgotten."""
    leaving = draft.filter.leaving
    if leaving is None:
        return
    wishes = draft.wishes
    wishes.planfix_listing = wishes.google_listing = wishes.google_changes = None
    wishes.filter = wishes.label = wishes.ensure_label = False
    at_rest = leaving.stage == "removing" and not draft.index.open
    if at_rest and not any(entry.contact > leaving.after for entry in draft.index):
        _forget(draft, leaving)


def is_erasing(record: FilterRecord | None) -> bool:
    return record is not None and record.leaving is not None and record.leaving.stage == "erasing"


def outlives(record: FilterRecord, key: str) -> Literal["yes", "for a while", "no"]:
    """What becomes of a key of the filter (its part after the filter's own) when everything is erased. Request ids
    stay for a while, so that an old activation that comes again does not bring the filter back."""
    kind = key.partition(".")[0]
    if kind == "request":
        return "yes" if record.leaving is not None and record.leaving.next is not None else "for a while"
    return "no"


def successor(record: FilterRecord, now: float, *, first_waits: bool = False) -> FilterRecord | None:
    """What is there once everything was erased: nothing, or the filter in its new account with its own settings."""
    following: dict[str, Any] | None = record.leaving.next if record.leaving is not None else None
    if following is None:
        return None
    enable = Enable.model_validate(following)
    revisions = max(int(now), record.revisions)
    fresh = FilterRecord(
        filter_id=record.filter_id,
        name=enable.filter_name,
        owner=enable.owner,
        account=enable.account,
        google_email=enable.google_email,
        since=now,
        two_way=record.two_way,
        new_contact=record.new_contact,
        conflict=record.conflict,
        breakers=record.breakers,
        first_waits=first_waits,
        revisions=revisions,
        label_revision=revisions + 1,
        label_pending=f"{record.filter_id}.label.{revisions + 1}",
    )
    return runs.start(fresh, enable.request_id, now, first=True)
