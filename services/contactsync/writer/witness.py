"""What was settled before: a mutation that comes again is answered from memory, one from an older state is told so.

Revisions of a link only grow. One at or below the last settled is a copy, if it says the same; else whoever asks has
lost the latest state (a store rolled back, a link lost), and must neither be told that its write was done nor undo a
newer one: it learns the latest revision, and what became of the person meanwhile. `google_target.py` asks here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from contactsync.google.port import PeopleApi
from contactsync.writer.google_work import item_of
from contactsync.writer.identity import Ask, IdentityMap, Known, mark_of
from contactsync.writer.intent import Intent, Sent
from contactsync_contracts.messages import Class, GooglePerson, Outcome, SettledItem

OLDER = "the state that this was decided on is older than what was done"
GONE = "the person was thrown away in Google since"


class Standing(Enum):
    FRESH = "not settled yet"
    SETTLED = "settled before"
    BEHIND = "decided on an older state"


def standing(known: Known | None, ask: Ask) -> Standing:
    want = known.wants.get(ask.filter_id) if known is not None else None
    if want is None or want.rev < ask.mutation.revision:
        return Standing.FRESH
    same = want.rev == ask.mutation.revision and want.mark in ("", mark_of(ask.mutation))
    return Standing.SETTLED if same else Standing.BEHIND


def other_owner(people: IdentityMap, ask: Ask, claimed: dict[str, int]) -> int | None:
    """The contact whose person this mutation would write, if it is another one: people were merged in Google, and the
    identity map names who keeps the person, else it is the first of them (2-semantics 2.2). claimed: resource name to
    contact, of the asks before."""
    mutation = ask.mutation
    if not mutation.resource or mutation.op not in ("update", "adopt"):
        return None
    owner = people.owner_of(mutation.resource) or claimed.setdefault(mutation.resource, mutation.contact)
    return owner if owner != mutation.contact else None


def merged(ask: Ask, owner: int) -> SettledItem:
    item = item_of(ask, Outcome.GONE, reason="the person is another contact's")
    return item.model_copy(update={"merged_into": owner})


def doubted(asks: Iterable[Ask], known: IdentityMap, intent: Intent, before: float) -> Intent:
    """Creates decided before this moment, of contacts without a person: if our state was rolled back, they may have
    been done. They are looked for by their stamps first, as if they had been sent."""
    found = dict(intent)
    for ask in asks:
        mutation = ask.mutation
        if mutation.op != "ensure" or not 0 < mutation.at < before or mutation.contact in intent:
            continue
        record = known.get(mutation.contact)
        if not mutation.resource and (record is None or not record.wants):
            found[mutation.contact] = Sent(mutation.at, tries=0)
    return found


async def behind(
    people: PeopleApi, asks: Sequence[tuple[Ask, Known]], labels: Mapping[str, str], lost: frozenset[str]
) -> list[tuple[Ask, SettledItem]]:
    """Answers to those that are behind. labels: filter to its label's resource name; lost: labels that are not there
    any more, whose absence says nothing about a person."""
    names = [known.resource for _, known in asks if known.resource]
    found = await people.get_people(list(dict.fromkeys(names)), cls=Class.CHANGE) if names else {}
    return [
        (ask, _answer(ask, known, found.get(known.resource), labels.get(ask.filter_id, ""), lost))
        for ask, known in asks
    ]


def _answer(ask: Ask, known: Known, person: GooglePerson | None, label: str, lost: frozenset[str]) -> SettledItem:
    want = known.wants[ask.filter_id]
    outcome, reason = Outcome.STALE, OLDER
    if want.active and known.resource and ask.mutation.op not in ("remove", "release"):
        off = person is not None and label and label not in person.labels and label not in lost
        if person is None or off:
            outcome, reason = Outcome.GONE, GONE
    item = item_of(ask, outcome, person=person, kept=known.kept, reason=reason)
    return item.model_copy(update={"latest": want.rev})
