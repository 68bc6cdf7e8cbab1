"""A lost label: did a human take out single people, or is it the label itself, or most of it (semantics 2.4)?

Then nobody is dismissed: the filter is frozen until a human says `resume`, which restores. `labelling.py` asks here
when the label was looked up.
"""

from __future__ import annotations

from collections.abc import Iterable

from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.index import Entry
from contactsync.reconciler.core.observe import LISTS_LAG_S
from contactsync_contracts.messages import ContactState, FilterState, LabelObserved

LOST_MIN = 3


def lost_most(entries: Iterable[Entry], event: LabelObserved) -> int:
    """How many people lost the label, or were deleted with it on, if that is most of them at once, else 0.

    What watchers tell comes in pages: those not told yet show in the label's own count of people, and those told a
    moment ago, when that count may still have lagged, are dismissed already."""
    labelled = lost = counted = 0
    for entry in entries:
        if entry.labelled:
            labelled += 1
            counted += entry.google_at <= event.seen_at - LISTS_LAG_S
        elif entry.asked == "label" or lately_dismissed(entry, event):
            lost += 1
    missing = max(lost, counted + lost - event.members) if lost else 0
    return missing if missing >= LOST_MIN and 2 * missing > labelled + lost else 0


def lately_dismissed(entry: Entry, event: LabelObserved) -> bool:
    return entry.state is ContactState.DISMISSED and entry.dismissed_at > event.seen_at - LISTS_LAG_S


def freeze(record: FilterRecord, reason: str, *, label_gone: bool) -> FilterRecord:
    """`label_gone`: the label itself is to be made sure of before going on. A problem that stands is shown first."""
    frozen = replace(record, frozen=reason, label_gone=record.label_gone or label_gone)
    return cleared(frozen) if record.problem in ("", FilterState.FROZEN) else frozen


def thaw(record: FilterRecord, now: float) -> FilterRecord:
    """Labels lost before `now` are put back."""
    thawed = replace(record, frozen="", label_gone=False, restored_at=now, resumed_at=now, copies={}, doubles={})
    return cleared(thawed) if record.problem == FilterState.FROZEN else thawed


def cleared(record: FilterRecord) -> FilterRecord:
    """The problem is over; a frozen filter stays frozen behind it."""
    problem = FilterState.FROZEN.value if record.frozen else ""
    return replace(record, problem=problem, problem_reason=record.frozen)
