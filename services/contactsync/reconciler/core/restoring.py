"""Ending a dismissal, or trying a refused contact again, because a human asks (semantics 2.4 and 2.6)."""

from __future__ import annotations

from contactsync.reconciler.core import reasons, sweeping
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import RESTORED, anew


def try_refused(draft: Draft) -> None:
    """What was refused is sent again, once; a refusal that was reported is not reported again."""
    sweeping.start(draft, sweeping.RETRY)
    for arrival in list(draft.arrivals.values()):
        waits = arrival.frozen is not None  # for an approval
        if arrival.stage == "held" and arrival.state != reasons.POSSIBLE_DUPLICATE and not waits:
            draft.put_arrival(replace(arrival, stage="new"))
        else:
            draft.match_arrival(arrival)


def restore(draft: Draft, contact: int | None) -> str:
    """One, or all that were dismissed; why that cannot be, or nothing."""
    if contact is not None:
        return _restore_one(draft, contact)
    sweeping.start(draft, sweeping.RESTORE)
    return ""


def _restore_one(draft: Draft, contact: int) -> str:
    link = draft.links.get(contact)
    if link is None:
        return reasons.not_here(contact)
    if link.merged_into is not None:
        return reasons.merged_away(contact, link.merged_into)
    if link.dismissed:
        draft.put(replace(anew(link), cause=RESTORED))
        return ""
    if link.hold is None:
        return f"Contact {contact} is neither dismissed nor held back: there is nothing to restore."
    if link.hold.state == reasons.POSSIBLE_DUPLICATE:
        return f"Contact {contact} is a possible duplicate: decide what it is first (`decide`)."
    draft.put(replace(link, hold=None))
    return ""
