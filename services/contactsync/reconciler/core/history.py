"""What a contact's history tells: one entry for one write, and one for each turn of its fate without a write.

An entry's number is a revision of its link, so that a step played again writes the same entry again. What loses a
conflict stands there from the moment when the write is decided, since that write may be overtaken; its answer puts
the whole entry in its place. Entries are `Draft.remember`ed here and stored by the actor; `undoing.py` reads them.
"""

from __future__ import annotations

from typing import Any, Final

from contactsync.reconciler.core import reasons, slots
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft, Fate, fate_of
from contactsync.reconciler.core.link import RESTORED, Link, Pending
from contactsync.reconciler.core.merge import Lost, Side
from contactsync.reconciler.core.plan import FilterRules
from contactsync.reconciler.core.slots import Turn, Turns
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Outcome, SettledItem

EDITED: Final = {Side.PLANFIX: "edited in Planfix", Side.GOOGLE: "edited in Google"}
LABEL_BACK: Final = "The label was put on again in Google."
HOUR_S: Final = 3600
OPERATIONS: Final = {"ensure": "created", "adopt": "linked", "remove": "removed"}


def run_of(draft: Draft) -> str:
    """The sync under way; else one for each hour, so that what happened by itself can be named together, too."""
    run = draft.filter.run
    return run.run_id if run is not None else f"auto-{int(draft.now // HOUR_S)}"


# --- a write is decided -----------------------------------------------------------------------------------


def begun(draft: Draft, link: Link, after: Link, lost: tuple[Lost, ...]) -> Link:
    """`after`: the link as decided, `link`: before that. A write that begins knows why; what loses by it is kept."""
    if after.pending is None or link.pending is not None:
        return after
    undoing = link.undoing
    pending = replace(
        after.pending,
        cause=_cause(link, after.pending, draft.rules),
        run=undoing.run if undoing is not None else run_of(draft),
        lost=lost,
    )
    if lost:
        draft.remember(link.contact, pending.revision, _entry(pending) | {"written": False})
    return replace(after, pending=pending, cause="")


def _cause(link: Link, pending: Pending, rules: FilterRules) -> str:
    if link.undoing is not None and not (pending.side is Side.PLANFIX and pending.source):
        return link.undoing.cause
    if link.cause:
        return link.cause
    match pending.op:
        case "ensure":
            return "in the list"
        case "adopt":
            return "found in Google by e-mail or phone" if link.adopt else "put under the label in Google"
        case "remove":
            return "left the list"
    if not pending.target:
        return "the label was missing"
    if pending.side is Side.PLANFIX:
        return EDITED[Side.GOOGLE]
    bases = link.base_planfix or {}
    moved = any(bases.get(name) != value for name, value in pending.source.items())
    if moved or rules.two_way:
        return EDITED[Side.PLANFIX]
    return f"{EDITED[Side.GOOGLE]}, but the list is one-way"


# --- it is answered ---------------------------------------------------------------------------------------


def settled(draft: Draft, link: Link, after: Link | None, item: SettledItem) -> None:
    """`link`: with the write under way, `after`: without it."""
    pending = link.pending
    if pending is None or pending.op == "release" or _is_word_alone(link, pending):
        return
    entry: dict[str, Any] | None = None
    if item.outcome is Outcome.DONE:
        entry = _done(link, pending, item)
    elif item.outcome is Outcome.LABELLED:
        entry = _entry(pending) | {"operation": "labelled", "cause": "in another list of this account, too"}
    elif item.outcome is Outcome.READ_ONLY and link.undoing is not None:
        entry = _entry(pending) | {"operation": "refused", "reason": reasons.READ_ONLY}
    elif pending.lost and not (_is_known(pending, item) and _all_stand(pending.lost, after)):
        return  # it may have been written all the same: what has lost stays told
    if entry is not None or pending.lost:
        draft.remember(link.contact, pending.revision, entry)
    if after is not None and pending.op == "remove":
        draft.fates[link.contact] = fate_of(after)  # an entry tells it already


def _is_word_alone(link: Link, pending: Pending) -> bool:
    """Only the writer had to hear that this filter wants the person again."""
    return link.released and not pending.target and pending.op == "update" and link.labelled and link.stamped


def _done(link: Link, pending: Pending, item: SettledItem) -> dict[str, Any] | None:
    entry = _entry(pending)
    if pending.op in ("ensure", "remove"):
        return entry
    if not pending.target:
        return entry | {"operation": "linked" if pending.op == "adopt" else "labelled"}
    shown = item.person.fields if item.person is not None else item.planfix.fields if item.planfix is not None else {}
    answer = {name: shown.get(name, value) for name, value in pending.target.items()}
    fields = {name: [_plain(pending.before.get(name)), _plain(value)] for name, value in answer.items()}
    changed = {name: pair for name, pair in fields.items() if pair[0] != pair[1] or name not in item.refused}
    if not changed and pending.op == "update":
        return None  # all of it was refused
    return entry | {"fields": changed, "back": _back(link, pending, answer)}


def _back(link: Link, pending: Pending, answer: Contact) -> dict[str, Any]:
    """What an undo plays backwards, of each side: the written one went from `before` to the answer; the other from
    its base to what was carried over. Of a conflict's field both go back to what lost. Where there was no base, the
    other side was not changed by anybody; only a person that was adopted gets its own values back then."""
    written = slots.turns(pending.before, answer)
    if link.undoing is not None and not pending.source:
        other = {slot: turn.reversed() for slot, turn in link.undoing.google.items() if slot in written}
    else:
        other = _other_side(link, pending, written)
    if pending.op != "adopt":
        written = {slot: turn for slot, turn in written.items() if slot in other}
    planfix, google = (written, other) if pending.side is Side.PLANFIX else (other, written)
    if pending.op == "adopt":
        planfix = {}
    return {"planfix": slots.turns_to_json(planfix), "google": slots.turns_to_json(google)}


def _other_side(link: Link, pending: Pending, written: Turns) -> Turns:
    bases = (link.base_google if pending.side is Side.PLANFIX else link.base_planfix) or {}
    lost = {item.field for item in pending.lost}
    found: Turns = {}
    for slot, turn in written.items():
        after = slots.value_at(pending.source, slot)
        if slot in lost:
            found[slot] = Turn(turn.before, after)
        elif slots.knows(bases, slot):
            found[slot] = Turn(slots.value_at(bases, slot), after)
    return found


def _is_known(pending: Pending, item: SettledItem) -> bool:
    """Whether the answer shows what became of the side, or says for certain that nothing was written."""
    shown = item.planfix if pending.side is Side.PLANFIX else item.person
    return item.outcome is not Outcome.STALE or shown is not None


def _all_stand(lost: tuple[Lost, ...], after: Link | None) -> bool:
    """Whether every value that was to lose is still where it was, as far as is known."""
    if after is None:
        return False
    sides = {Side.PLANFIX: after.planfix or {}, Side.GOOGLE: after.google or {}}
    return all(_stands(slots.value_at(sides[item.side], item.field), item) for item in lost)


def _stands(value: slots.Value, item: Lost) -> bool:
    if isinstance(value, str):
        return value == item.value
    return item.value == "" if value is None else item.value in (value.kind, value.value)


# --- without a write --------------------------------------------------------------------------------------


def fate(draft: Draft, link: Link) -> Link:
    """Dismissed, restored or merged since the step began: an entry under a revision of its own."""
    was, is_now = draft.fates.get(link.contact, Fate("", None)), fate_of(link)
    if is_now == was:
        return link
    draft.fates[link.contact] = is_now
    if link.merged_into is not None:
        return _turned(draft, link, "merged", f"merged into contact {link.merged_into} in Google")
    if link.dismissed:
        told = link if was.dismissed else _turned(draft, link, "dismissed", _wish(link) or link.dismissed)
        return replace(told, cause="", undoing=None)
    return _turned(draft, link, "restored", _wish(link) or (LABEL_BACK if link.labelled else RESTORED))


def _wish(link: Link) -> str:
    return link.undoing.cause if link.undoing is not None else link.cause


def created_in_planfix(draft: Draft, link: Link) -> Link:
    return _turned(draft, link, "created", "put under the label in Google", Side.PLANFIX)


def _turned(draft: Draft, link: Link, operation: str, cause: str, side: Side = Side.GOOGLE) -> Link:
    numbered = replace(link, revision=link.revision + 1)
    run = link.undoing.run if link.undoing is not None else run_of(draft)
    entry: dict[str, object] = {"side": side.value, "operation": operation, "run": run, "cause": cause}
    draft.remember(link.contact, numbered.revision, entry)
    return numbered


def _entry(pending: Pending) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "side": pending.side.value,
        "operation": OPERATIONS.get(pending.op, "updated"),
        "run": pending.run,
        "cause": pending.cause,
    }
    if pending.lost:
        entry["lost"] = {item.field: [item.side.value, item.value] for item in pending.lost}
    return entry


def _plain(value: object) -> object:
    """A field's value for people: a text, or the spellings of its elements."""
    if isinstance(value, tuple):
        return [getattr(element, "value", element) for element in value]
    return value
