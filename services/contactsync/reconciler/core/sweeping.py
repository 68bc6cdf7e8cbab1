"""What concerns many contacts at once, worked through in chunks by number: a filter may hold 25,000.

The record remembers how far each sweep is (`sweeps`: kind -> the last number that was seen to), so that a restart
goes on there. `machine.due` hands out the chunks and `machine.touch` lets this module see to them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Final

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.index import Entry
from contactsync.reconciler.core.link import RESTORED, Link, anew
from contactsync_contracts.messages import ContactState

NEW: Final = "new"
"""All possible duplicates are new: a human said so."""
ADOPT: Final = "adopt"
"""Partners that the first sync found by match: all contacts have come, and nobody else claims them."""
RESTORE: Final = "restore"
"""All dismissed contacts come back."""
RETRY: Final = "retry"
"""What was refused is tried again."""
REMATCH: Final = "rematch"
"""Possible duplicates are matched again: a candidate may have gone."""


def start(draft: Draft, kind: str) -> bool:
    """Whether there is anybody to see to."""
    if not any(_WANTED[kind](entry) for entry in draft.index):
        return False
    draft.amend(sweeps={**draft.filter.sweeps, kind: 0})
    return True


def chunk(draft: Draft, most: int) -> set[int]:
    """The next contacts of the first sweep that is under way."""
    while (kind := _first(draft)) is not None:
        found = heapq.nsmallest(most, _left(draft, kind))
        if found:
            return set(found)
        _end(draft, kind)
    return set()


def see_to(draft: Draft, contacts: Iterable[int]) -> None:
    """Do what the sweep under way is for with these, which `chunk` named. The links are read."""
    kind = _first(draft)
    if kind is None:
        return
    for contact in contacts:
        link = draft.links.get(contact)
        if link is not None:
            draft.put(_seen_to(draft, kind, link))
    draft.amend(sweeps={**draft.filter.sweeps, kind: max(contacts, default=0)})


def tidy(draft: Draft) -> None:
    """At the end of a step: sweeps that are through are over."""
    for kind in [kind for kind in _WANTED if kind in draft.filter.sweeps]:
        if not any(True for _ in _left(draft, kind)):
            _end(draft, kind)


def retriable(link: Link) -> bool:
    """A full account and a contact that is being looked up are tried again when there is news of them."""
    waits = (reasons.ACCOUNT_FULL, reasons.CHECKING)
    return link.hold is not None and link.hold.state in _RETRIED and link.hold.reason not in waits


def _seen_to(draft: Draft, kind: str, link: Link) -> Link:
    held = link.hold
    match kind:
        case "restore" if link.dismissed:
            return replace(anew(link), cause=RESTORED)
        case "retry" if retriable(link):
            return replace(link, hold=None)
        case "rematch" if held is not None and held.state == reasons.POSSIBLE_DUPLICATE:
            return replace(link, matched=False)
        case "new" if held is not None and held.state == reasons.POSSIBLE_DUPLICATE:
            draft.decisions.part(link.contact, held.candidates)
            return replace(link, matched=False)
        case _:
            return link


def _first(draft: Draft) -> str | None:
    return next((kind for kind in _WANTED if kind in draft.filter.sweeps), None)


def _left(draft: Draft, kind: str) -> Iterable[int]:
    after, wanted = draft.filter.sweeps[kind], _WANTED[kind]
    return (entry.contact for entry in draft.index if entry.contact > after and wanted(entry))


def _end(draft: Draft, kind: str) -> None:
    draft.amend(sweeps={name: after for name, after in draft.filter.sweeps.items() if name != kind})


def _held(entry: Entry) -> bool:
    return entry.state is ContactState.POSSIBLE_DUPLICATE


_RETRIED = frozenset({"quarantined", "held_back"})
_WANTED: Final[dict[str, Callable[[Entry], bool]]] = {
    NEW: _held,
    ADOPT: lambda entry: entry.unbegun,
    RESTORE: lambda entry: entry.state is ContactState.DISMISSED,
    RETRY: lambda entry: entry.held and entry.state.value in _RETRIED,
    REMATCH: _held,
}
"""In this order: what humans decided goes before what is tried by itself."""
