"""Places in the Google account: it may have fewer than the filter has contacts (semantics 2.4, *more than fits*).

The writer gives them to the lowest contact numbers of the account. While the pages of a first listing still
arrive, nobody can be created if the filter holds more contacts than fit: a lower number may be on a later page.
"""

from __future__ import annotations

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.filter import FilterRecord
from contactsync_contracts.messages import PEOPLE_MAX, GoogleListed, PlanfixObserved


def probe(record: FilterRecord) -> int | None:
    """How many contacts may come before the watcher has to say so; None when it makes no difference."""
    free = PEOPLE_MAX - record.people_total
    return free if record.phase == "planfix" and record.people_at and free > 0 else None


def hinted(draft: Draft, event: PlanfixObserved) -> None:
    """The watcher found that the filter may hold so many contacts: too many for the places that are left?"""
    record = draft.filter
    if event.total_hint is not None and record.phase == "planfix" and not record.crowded:
        draft.amend(crowded=event.total_hint > PEOPLE_MAX - record.people_total)


def all_known(draft: Draft) -> None:
    """Creates need wait no longer when all contacts are there, and it is known who of them has a person already."""
    if draft.filter.crowded and draft.filter.phase == "done" and not draft.index.matching:
        draft.amend(crowded=False)


def listed(draft: Draft, event: GoogleListed) -> None:
    """What a complete listing says of the account's size. If there are places, everybody who waits asks again."""
    if event.began_at >= draft.filter.people_at:
        draft.amend(people_total=event.people_total, people_at=event.began_at)
    if draft.filter.people_total >= PEOPLE_MAX:
        return
    for link in list(draft.links.values()):
        if link is not None and link.hold is not None and link.hold.reason == reasons.ACCOUNT_FULL:
            draft.put(replace(link, hold=None))
