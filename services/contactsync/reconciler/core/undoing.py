"""Undo: what an entry of the history did, taken back through the same merge, etags and breakers as everything else.

A command only puts on the link what is wanted (`Undoing`, or a dismissal ended): `plan.py` decides about it as about
any other fact, Planfix first. A value that was edited since is left alone, and said so. Who was created or linked is
let go: the label comes off (ours leave Google) and the contact is remembered as dismissed; Planfix trashes nothing.
The entries come from the state: the actor reads those that `wants` names, for a run chunk by chunk (`take_back_run`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync.reconciler.core import settle, slots
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.filter import Undo as Progress
from contactsync.reconciler.core.link import Link, Pending, Undoing, anew
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.slots import Turn, Turns, turns_from_json
from contactsync_contracts.messages import Outcome, Undo

Entry = Mapping[str, Any]
Entries = Mapping[tuple[int, int], Entry]
"""By contact and number."""

WHY_MAX: Final = 20
UNDONE: Final = "Undone by hand."
NO_ENTRY: Final = "The history has no such entry; it is kept for a limited time."
BUSY: Final = "Another undo is under way; wait for its end."
GONE: Final = "the list does not hold the contact any more"
DISMISSED: Final = "it is kept out of Google; restore it first"
MERGED: Final = "people that were merged in Google cannot be parted again"
NOT_BACK: Final = "the contact is not in the list; put it back there in Planfix first"
NOTHING: Final = "there is nothing to take back"
ONE_WAY: Final = "the list is one-way, so nothing is written to Planfix"
READ_ONLY: Final = "you may not edit the contact in Planfix"
ELSEWHERE: Final = "another list of this account merges its fields; undo it there"


def parsed(entry: str) -> tuple[int, int] | None:
    """`<contact>.<number>`."""
    contact, _, number = entry.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (contact, number)):
        return None
    return int(contact), int(number)


def needs(event: Undo) -> set[int]:
    found = wants(event)
    return set() if found is None else {found[0]}


def wants(event: Undo) -> tuple[int, int] | None:
    """The entry that has to be read for this command."""
    return None if event.run or not event.entry else parsed(event.entry)


def undo(draft: Draft, event: Undo, now: float) -> None:
    before = draft.filter.undo
    if before is not None and not before.finished:
        draft.refuse(event.request_id, BUSY)
        return
    if event.run:
        draft.amend(undo=Progress(event.request_id, run=event.run, at=now, finished=False))
        return
    wanted = wants(event)
    entry = draft.entries.get(wanted) if wanted is not None else None
    if wanted is None or entry is None:
        draft.refuse(event.request_id, NO_ENTRY)
        return
    contact, number = wanted
    done = take_back(draft, contact, {number: entry}, f"undo of {event.entry}", _run(event.request_id))
    if not done.undone:
        draft.refuse(event.request_id, f"It cannot be undone: {'; '.join(done.left) or NOTHING}.")
        return
    draft.amend(undo=_counted(Progress(event.request_id, at=now), done))


def take_back_run(draft: Draft, entries: Entries, *, last: bool) -> None:
    """The next contacts' entries of the run that is being taken back, by number; `last`: there are no more."""
    progress = draft.filter.undo
    if progress is None or progress.finished:
        return
    by_contact: dict[int, dict[int, Entry]] = {}
    for (contact, number), entry in entries.items():
        if contact > progress.after:
            by_contact.setdefault(contact, {})[number] = entry
    for contact in sorted(by_contact):
        run = _run(progress.request_id)
        done = take_back(draft, contact, by_contact[contact], f"undo of run {progress.run}", run)
        progress = _counted(progress, done)
    progress = replace(progress, after=max(by_contact, default=progress.after), finished=last)
    draft.amend(undo=progress)


def answered(link: Link | None, pending: Pending, outcome: Outcome) -> Link | None:
    """A write of a link that is being taken back was answered: Google's is the last one of values; what has changed
    meanwhile is compared again."""
    if link is None or link.undoing is None:
        return link
    undoing = link.undoing
    if outcome is Outcome.STALE:
        return replace(link, undoing=replace(undoing, tried=False))
    if outcome is Outcome.DONE and pending.side is Side.GOOGLE and pending.op != "remove":
        rest = replace(undoing, planfix={}, google={}) if undoing.unlink else None
        return replace(link, undoing=rest)
    return link


# --- one contact ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TakenBack:
    """undone: the entries that are; left: what was left alone and why, `<entry>: <reason>`."""

    undone: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Work:
    """One contact while its entries are taken back, the newest first: the turns so far make up what is wanted."""

    link: Link
    planfix: Turns = field(default_factory=dict)
    google: Turns = field(default_factory=dict)
    unlink: bool = False
    restored: bool = False


def take_back(draft: Draft, contact: int, entries: Mapping[int, Entry], cause: str, run: str) -> TakenBack:
    done = TakenBack()
    link = draft.links.get(contact)
    if link is not None and link.undoing is not None and link.undoing.run == run:
        done.undone = len(entries)  # stored before a crash, which this undo was not counted before
        return done
    if link is None or link.undoing is not None:
        reason = GONE if link is None else BUSY.lower().rstrip(".")
        done.left = [f"{contact}.{number}: {reason}" for number in sorted(entries)]
        return done
    work = _Work(link)
    for number in sorted(entries, reverse=True):
        left = _take_back_entry(work, entries[number], two_way=draft.filter.two_way)
        done.undone += left.undone
        done.left += [f"{contact}.{number}: {reason}" for reason in left.left]
    after = _wanted(work, cause, run)
    if after != link:
        draft.put(after)
    return done


def _wanted(work: _Work, cause: str, run: str) -> Link:
    link = work.link
    if work.restored:
        return replace(anew(link), undoing=Undoing(cause, run))
    undoing = Undoing(cause, run, work.planfix, work.google, unlink=UNDONE if work.unlink else "")
    if work.unlink and link.resource is None and link.pending is None:
        return replace(settle.let_go(link, UNDONE), undoing=Undoing(cause, run))
    if not (work.unlink or work.planfix or work.google):
        return link
    # What was refused before is tried again when a person asks.
    waits = link.hold is not None and link.hold.state not in ("quarantined", "held_back")
    return replace(link, undoing=undoing, hold=link.hold if waits and not work.unlink else None)


def _take_back_entry(work: _Work, entry: Entry, *, two_way: bool) -> TakenBack:
    link, operation = work.link, entry.get("operation")
    kept_out = bool(link.dismissed) and not work.restored
    if link.merged_into is not None or operation == "merged":
        return TakenBack(left=[MERGED])
    match operation:
        case "dismissed" | "removed" if not link.member and not link.kept:
            return TakenBack(left=[NOT_BACK])
        case "dismissed" | "removed":
            work.restored |= kept_out
            return TakenBack(undone=1) if kept_out else TakenBack(left=["it is back already"])
        case _ if work.restored:
            return TakenBack(left=["it comes back first"])
        case "created" | "linked" | "restored" if kept_out:
            return TakenBack(left=[DISMISSED])
        case "created" | "restored":
            work.unlink, work.planfix, work.google = True, {}, {}
            return TakenBack(undone=1)
        case "linked":
            left = _turn_back(work, entry, only_google=True) if link.merges else TakenBack()
            work.unlink, work.planfix = True, {}
            return TakenBack(undone=1, left=left.left)
        case "updated":
            reason = _unwritable(link, kept_out, two_way)
            return TakenBack(left=[reason]) if reason else _turn_back(work, entry)
        case _:
            return TakenBack(left=[NOTHING])


def _unwritable(link: Link, kept_out: bool, two_way: bool) -> str:
    if kept_out:
        return DISMISSED
    if link.resource is None or link.google is None:
        return "it is not linked with a person now"
    if not link.merges:
        return ELSEWHERE
    if not two_way:
        return ONE_WAY
    return READ_ONLY if link.read_only else ""


def _turn_back(work: _Work, entry: Entry, *, only_google: bool = False) -> TakenBack:
    """Wanted are the values from before, where both sides still hold those from after."""
    back = entry.get("back")
    if back is None:
        return TakenBack(left=["its values are not kept"])
    planfix = {} if only_google else turns_from_json(back["planfix"])
    google = turns_from_json(back["google"])
    done = TakenBack()
    for slot in dict.fromkeys((*planfix, *google)):
        sides = [
            (work.planfix, work.link.planfix or {}, planfix.get(slot)),
            (work.google, work.link.google or {}, google.get(slot)),
        ]
        moved = [(turns, contact, turn) for turns, contact, turn in sides if turn is not None]
        now = [_now(turns, contact, slot) for turns, contact, _ in moved]
        if not all(slots.knows(dict(contact), slot) for _, contact, _ in moved):
            done.left.append(f"{slots.field_of(slot)} is not known now")
        elif all(slots.same(value, turn.before) for value, (_, _, turn) in zip(now, moved, strict=True)):
            done.undone = 1
        elif not all(slots.same(value, turn.after) for value, (_, _, turn) in zip(now, moved, strict=True)):
            done.left.append(f"{slots.field_of(slot)} was edited since")
        else:
            done.undone = 1
            for turns, contact, turn in moved:
                turns[slot] = Turn(turn.before, slots.value_at(contact, slot))
    done.left = list(dict.fromkeys(done.left))
    return done


def _now(turns: Turns, contact: Mapping[str, Any], slot: str) -> slots.Value:
    """The slot's value as it will be once the turns so far are taken back."""
    return turns[slot].before if slot in turns else slots.value_at(dict(contact), slot)


# --- figures ----------------------------------------------------------------------------------------------


def _counted(progress: Progress, done: TakenBack) -> Progress:
    room = WHY_MAX - len(progress.why)
    return replace(
        progress,
        undone=progress.undone + done.undone,
        left=progress.left + len(done.left),
        why=(*progress.why, *done.left[:room]),
    )


def _run(request_id: str) -> str:
    return f"undo-{request_id}"
