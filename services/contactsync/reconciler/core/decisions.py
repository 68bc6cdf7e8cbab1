"""What a human decides about possible duplicates (semantics 2.2): *same*, *separate*, *new*, for one or for all.

A decision is remembered (`decided.py`) and the contact, or the person under the label, is matched again in its light;
`joining.py` does that. What cannot be decided so is refused with the reason.
"""

from __future__ import annotations

from contactsync.reconciler.core import reasons, sweeping
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import DECIDED, Arrival, Link
from contactsync_contracts.messages import ContactState, Decide


def needs(draft: Draft, event: Decide) -> set[int]:
    """Contacts whose links the decision looks at."""
    owner = draft.index.owner_of(event.person) if event.person is not None else None
    return {contact for contact in (event.contact, owner) if contact is not None}


def decide(draft: Draft, event: Decide) -> str:
    """Carry it out; why it cannot be, or nothing."""
    if event.contact is None and event.person is None:
        return _all_new(draft) if event.decision == "new" else "Say which contact, or that all of them are new."
    if event.decision == "same":
        if event.contact is None or event.person is None:
            return "Say which contact and which person are the same."
        return _same(draft, event.contact, event.person)
    if event.contact is not None:
        return _contact_is_new(draft, event.contact)
    return _person_is_new(draft, event.person or "")


def _all_new(draft: Draft) -> str:
    for arrival in list(draft.arrivals.values()):
        if _undecided(arrival):
            _make_new(draft, arrival)
    sweeping.start(draft, sweeping.NEW)
    return ""


def _contact_is_new(draft: Draft, contact: int) -> str:
    link = draft.links.get(contact)
    if link is None:
        return reasons.not_here(contact)
    if link.hold is None or link.hold.state != reasons.POSSIBLE_DUPLICATE:
        return reasons.no_duplicate(f"Contact {contact}")
    draft.decisions.part(contact, link.hold.candidates)
    draft.put(replace(link, matched=False, cause=DECIDED))
    _match_arrivals(draft, contact)
    return ""


def _person_is_new(draft: Draft, resource: str) -> str:
    arrival = draft.arrivals.named(resource)
    if arrival is None:
        return _unknown_person(draft, resource)
    if arrival.stage != "held" or arrival.frozen is not None:
        return reasons.no_duplicate(resource)
    _make_new(draft, arrival)
    return ""


def _make_new(draft: Draft, arrival: Arrival) -> None:
    for contact in _offered(arrival):
        draft.decisions.part(contact, [arrival.resource])
    draft.put_arrival(replace(arrival, stage="new", stamp_contact=None, same=0, candidates=()))
    draft.match_rivals(arrival)


def _same(draft: Draft, contact: int, resource: str) -> str:
    owner = draft.index.owner_of(resource)
    if owner == contact:
        return ""
    if owner is not None:
        return reasons.person_taken(resource, owner)
    link, arrival = draft.links.get(contact), draft.arrivals.named(resource)
    if link is None:
        return _arrival_is(draft, arrival, contact, resource)
    if (why := _not_free(link)) is not None:
        return why
    draft.decisions.join(contact, resource)
    draft.drop_named(resource)
    draft.put(replace(link, hold=None, resource=resource, adopt=True, matched=True, asked="", cause=DECIDED))
    _match_arrivals(draft, contact)
    return ""


def _not_free(link: Link) -> str | None:
    if link.merged_into is not None:
        return reasons.merged_away(link.contact, link.merged_into)
    if link.dismissed:
        return f"Contact {link.contact} was dismissed in Google Contacts: `restore` it first."
    if link.resource is not None:
        return reasons.contact_taken(link.contact, link.resource)
    if link.hold is None or link.hold.state != reasons.POSSIBLE_DUPLICATE:
        return reasons.no_duplicate(f"Contact {link.contact}")
    return None


def _arrival_is(draft: Draft, arrival: Arrival | None, contact: int, resource: str) -> str:
    """A person under the label is a contact that the filter does not hold: whether the owner sees it is asked."""
    if arrival is None:
        return reasons.not_here(contact)
    if arrival.stage != "held" or arrival.frozen is not None:
        return reasons.no_duplicate(resource)
    draft.decisions.join(contact, resource)
    draft.put_arrival(replace(arrival, stage="new", stamp_contact=None, same=contact))
    return ""


def _match_arrivals(draft: Draft, contact: int) -> None:
    for arrival in list(draft.arrivals.values()):
        if contact in arrival.candidates:
            draft.match_arrival(arrival)


def _unknown_person(draft: Draft, resource: str) -> str:
    owner = draft.index.owner_of(resource)
    if owner is not None:
        return f"{resource} stands for contact {owner}: there is nothing to decide."
    return f"No person under the label is called {resource}, or it does not wait for a decision."


def _undecided(arrival: Arrival) -> bool:
    return arrival.stage == "held" and arrival.state == ContactState.POSSIBLE_DUPLICATE.value


def _offered(arrival: Arrival) -> set[int]:
    stamped = () if arrival.stamp_contact is None else (arrival.stamp_contact,)
    return {*arrival.candidates, *stamped}
