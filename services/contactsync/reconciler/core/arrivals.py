"""People whom a human put under the label and who have no contact yet (semantics 2.4): matched with a Planfix
contact that the owner can see, or created there. They are never bounced out: what cannot be keeps its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contactsync.hashing import Hasher, content_hash
from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.link import Arrival, Link, mutation_id
from contactsync.reconciler.core.match import NameKey, planfix_partners
from contactsync_contracts.contact import NAME_FIELDS, Contact
from contactsync_contracts.messages import ArrivalMatches, GooglePerson, Kept, Outcome, PlanfixContact, SettledItem


@dataclass(frozen=True, slots=True)
class Matched:
    """The person is this Planfix contact."""

    contact: PlanfixContact


@dataclass(frozen=True, slots=True)
class Others:
    """Of the contacts that a person could be. taken: those linked with somebody else; wanted: those that somebody
    else could be, too; apart: those that a human said it is not."""

    taken: set[int]
    wanted: set[int]
    apart: set[int]


def arrival_of(person: GooglePerson, known: Arrival | None) -> Arrival:
    """The person as seen; a held-back one is tried again when its content has changed."""
    stamp = min(person.stamps, key=lambda s: s.contact) if person.stamps else None
    fresh = Arrival(
        source_id=person.source_id,
        resource=person.resource,
        etag=person.etag,
        google=person.fields,
        google_at=person.updated_at,
        raw=person.raw,
        stamp_contact=stamp.contact if stamp is not None else None,
        stamp_kept=stamp.kept if stamp is not None else None,
        stamps_many=len(person.stamps) > 1,
    )
    if known is None:
        return fresh
    if stamp is not None and known.stamp_contact != stamp.contact:
        return replace(fresh, revision=known.revision)  # it has become a contact's meanwhile
    if known.stage == "held" and content_hash(known.google) != content_hash(person.fields):
        return replace(fresh, revision=known.revision)
    return replace(
        known,
        resource=person.resource,
        etag=person.etag,
        google=person.fields,
        google_at=person.updated_at,
        raw=person.raw,
        stamps_many=len(person.stamps) > 1,
    )


def decide_arrival(arrival: Arrival, *, two_way: bool, active: bool, now: float) -> Arrival:
    """First ask Planfix who it may be. Later steps come with the answers (`matches`, `settled`)."""
    if not active or arrival.stage in ("matching", "creating"):
        return arrival
    if not two_way:
        return _held(arrival, reasons.REVERSE_OFF)
    if arrival.stage == "held":
        return replace(arrival, stage="matching", asked_at=now) if arrival.reason == reasons.REVERSE_OFF else arrival
    if not arrival.same and not any(arrival.google.get(name) for name in NAME_FIELDS):
        return _held(arrival, reasons.NAMELESS)
    return replace(arrival, stage="matching", asked_at=now)


def matches(
    arrival: Arrival, answer: ArrivalMatches, hasher: Hasher, filter_id: str, others: Others, now: float
) -> Arrival | Matched:
    """Who the person is, as far as one contact alone comes into question and it alone for that contact."""
    if arrival.same:
        named = [contact for contact in answer.contacts if contact.contact == arrival.same]
        if not named:
            return _held(replace(arrival, same=0), reasons.NAMED_GONE)
        if arrival.same in others.taken:
            return _held(replace(arrival, same=0), reasons.TAKEN_CONTACT, reasons.POSSIBLE_DUPLICATE)
        return Matched(named[0])
    found = [c for c in _partners(arrival, answer.contacts, hasher) if c.contact not in others.apart]
    arrival = replace(arrival, candidates=tuple(contact.contact for contact in found))
    if len(found) > 1:
        return _held(arrival, reasons.MANY_CONTACTS, reasons.POSSIBLE_DUPLICATE)
    if found and found[0].contact in others.taken:
        return _held(arrival, reasons.TAKEN_CONTACT, reasons.POSSIBLE_DUPLICATE)
    if found and found[0].contact in others.wanted:
        return _held(arrival, reasons.RIVALS, reasons.POSSIBLE_DUPLICATE)
    if found:
        return Matched(found[0])
    if answer.invisible:
        return _held(arrival, reasons.INVISIBLE)
    revision = arrival.revision + 1
    return replace(
        arrival,
        stage="creating",
        revision=revision,
        mutation_id=mutation_id(filter_id, arrival.source_id, revision, now),
        source=arrival.google,
        asked_at=now,
        passed=False,
    )


def could_be(arrival: Arrival, contact: PlanfixContact, hasher: Hasher) -> bool:
    """Whether a person could be this contact, by address and name."""
    return bool(_partners(arrival, [contact], hasher))


def _partners(arrival: Arrival, contacts: Sequence[PlanfixContact], hasher: Hasher) -> tuple[PlanfixContact, ...]:
    named = [(contact, name_key(contact.fields, hasher)) for contact in contacts]
    return planfix_partners(arrival.google, name_key(arrival.google, hasher), named)


def created(arrival: Arrival, item: SettledItem, answered_at: float, now: float) -> Link | Arrival:
    """The new contact's link; whether Planfix counts it to the filter is asked next."""
    if item.outcome is not Outcome.DONE or item.planfix is None or item.contact is None:
        state = "quarantined" if item.outcome is Outcome.REFUSED else "held_back"
        return _held(arrival, reasons.refused("planfix", item.reason), state)
    link = link_of(arrival, item.planfix, answered_at, now)
    source = arrival.source or arrival.google
    both = item.planfix.fields.keys() & source.keys()
    limits = dict(link.limits)
    for name, reason in item.refused.items():
        limits[name] = reason
    return replace(
        link,
        planfix_wrote=answered_at,
        base_planfix={name: item.planfix.fields[name] for name in both},
        base_google={name: source[name] for name in both},
        limits=limits,
    )


def link_of(arrival: Arrival, contact: PlanfixContact, seen_at: float, now: float) -> Link:
    """A labelled person and its contact. Without a stamp it is not ours, and gets one with the first write."""
    return Link(
        contact=contact.contact,
        is_company=contact.is_company,
        member=False,
        kept=reasons.BY_HAND,
        planfix=contact.fields,
        planfix_hash=content_hash(contact.fields),
        planfix_at=seen_at,
        resource=arrival.resource,
        source_id=arrival.source_id,
        etag=arrival.etag,
        google=arrival.google,
        google_hash=content_hash(arrival.google),
        google_at=arrival.google_at,
        raw=arrival.raw,
        labelled=True,
        own=arrival.stamp_kept or Kept.ADOPTED,
        asked="membership",
        asked_at=now,
        matched=True,
    )


def name_key(fields: Contact, hasher: Hasher) -> NameKey:
    given, family = fields.get("given", ""), fields.get("family", "")
    return NameKey(*hasher.names(str(given), str(family)))


def _held(arrival: Arrival, reason: str, state: str = "held_back") -> Arrival:
    return replace(arrival, stage="held", reason=reason, state=state, source=None)
