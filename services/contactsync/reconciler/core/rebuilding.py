"""Finding links again by the stamps in Google, on request or because what we know turned out to be old (2.7, D27).

Everybody is listed to the end, and so is the filter; what a listing shows is ordered by the usual rules, so that
decisions, dismissals and merges stay and nothing is written where nothing was wrong. Then each linked person is read
once through the writer, which renews its own record of who is who. `machine.py` asks here.
"""

from __future__ import annotations

import heapq

from contactsync.reconciler.core import labelling, runs, settle
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import Link
from contactsync_contracts.messages import GoogleListed, PlanfixListed, Rebuild

NOT_YET = "The first synchronisation is not finished: it looks for stamps anyway."
RELIST_S = 3600.0


def rebuild(draft: Draft, event: Rebuild, now: float) -> None:
    record = draft.filter
    if record.phase != "done":
        draft.refuse(event.request_id, NOT_YET)
        return
    if record.problem or record.paused:
        draft.refuse(event.request_id, record.problem_reason or "The filter is paused: resume it first.")
        return
    draft.amend(rebuild=event.request_id, rebuild_after=None)
    if record.run is None:
        draft.record = runs.start(draft.filter, event.request_id, now)
        assert draft.record.run is not None
        draft.events.append(runs.started(draft.record, draft.record.run))
    draft.wishes.google_listing = draft.wishes.planfix_listing = event.request_id
    if not record.label_pending or record.label_again:
        labelling.ask_label(draft, "ensure")


def google_listed(draft: Draft, event: GoogleListed) -> None:
    """Everybody was told: now the writer looks at those who are linked."""
    if event.last and draft.filter.rebuild and event.request_id == draft.filter.rebuild:
        draft.amend(rebuild="", rebuild_after=0)


def planfix_listed(draft: Draft, event: PlanfixListed) -> None:
    """A member without a link was told before this: its link was lost since, or never stored."""
    if draft.filter.phase != "done" or draft.filter.left_at >= event.began_at:
        return
    for contact in event.members:
        if draft.index.get(contact) is None and draft.links.get(contact) is None:
            draft.wishes.planfix_contacts[contact] = 0.0


def behind(draft: Draft, now: float) -> None:
    """The writer has settled a later revision than the one that we know of: our state is an older one."""
    if now - draft.filter.relisted_at >= RELIST_S:
        draft.amend(relisted_at=now)
        draft.wishes.google_listing = draft.wishes.planfix_listing = ""


def due(draft: Draft, most: int) -> set[int]:
    """The next contacts whose person the writer is to read again, by number."""
    after = draft.filter.rebuild_after
    if after is None:
        return set()
    chunk = heapq.nsmallest(most, (e.contact for e in draft.index if e.contact > after))
    if not chunk:
        draft.amend(rebuild_after=None)
    return set(chunk)


def touch(draft: Draft, contacts: set[int]) -> None:
    after = draft.filter.rebuild_after
    if after is None or not contacts or max(contacts) <= after:
        return
    for contact in contacts:
        link = draft.links.get(contact)
        if link is None:
            continue
        if is_linked(link):
            draft.put(replace(link, renew=True))
        elif settle.is_gone(link) and not link.member:
            draft.wishes.exists.append(contact)
    draft.amend(rebuild_after=max(contacts))


def is_linked(link: Link) -> bool:
    """At rest, with a person under the label."""
    at_rest = not link.open and link.hold is None and not link.dismissed and link.merged_into is None
    return at_rest and link.member | bool(link.kept) and link.labelled and link.google is not None
