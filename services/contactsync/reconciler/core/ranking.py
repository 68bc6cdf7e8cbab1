"""What the writer has to know of a filter to say which of several merges a contact's fields (semantics 2.4).

It is told when that changes, after a take-over, and with everything else that it is told.
"""

from __future__ import annotations

from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.filter import FilterRecord
from contactsync_contracts.messages import FilterState


def may_merge(record: FilterRecord) -> bool:
    """Whether it carries fields at all now. A grant that is gone is the whole account's trouble and no reason."""
    return not record.paused and record.problem in ("", FilterState.RECONNECT_NEEDED.value)


def tend(draft: Draft, now: float, *, again: bool) -> None:
    """At the end of a step. again: after a take-over, where the last word may not have been said."""
    record = draft.filter
    if record.leaving is not None:
        return  # its contacts are let go one by one, each with its bases
    if (record.ranked_two_way, record.ranked_active) != (record.two_way, may_merge(record)):
        draft.amend(ranked_two_way=record.two_way, ranked_active=may_merge(record), ranked_at=now)
        draft.wishes.rank = True
    draft.wishes.rank |= again and record.ranked_at > 0
