"""Which people may be a contact's partner (semantics 2.2): on keyed hashes in Google's direction, on names in
clear where a labelled person looks for its Planfix contact. A name alone never matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Candidate, PlanfixContact


@dataclass(frozen=True, slots=True)
class NameKey:
    """A name's parts, folded (or hashed after folding): equal texts mean equal parts, empty means none."""

    given: str
    given_initial: str
    given_is_initial: bool
    family: str


def compatible(a: NameKey, b: NameKey, *, by_phone: bool) -> bool:
    """Whether two names may be one person's. For phones at least one part must be equal and filled, since a
    number is often shared by a family."""
    family_equal = a.family == b.family
    if not (family_equal or not a.family or not b.family):
        return False
    given_equal = a.given == b.given
    initials = (a.given_is_initial or b.given_is_initial) and a.given_initial == b.given_initial
    if not (given_equal or not a.given or not b.given or initials):
        return False
    if not by_phone:
        return True
    return (family_equal and bool(a.family)) or (given_equal and bool(a.given))


def partners(name: NameKey, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that stand: a stamp wins, then whom the contact was created from; else e-mail before phone, by
    compatible name."""
    if told := certain(candidates):
        return told
    for by in ("email", "phone"):
        found = tuple(c for c in candidates if c.by == by and compatible(name, _key(c), by_phone=by == "phone"))
        if found:
            return found
    return ()


def certain(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that a stamp names, else whom the contact was created from: nobody who is only alike counts then."""
    for by in ("stamp", "source"):
        if told := tuple(c for c in candidates if c.by == by):
            return told
    return ()


def _key(candidate: Candidate) -> NameKey:
    return NameKey(candidate.given, candidate.given_initial, candidate.given_is_initial, candidate.family)


def planfix_partners(
    person: Contact, name: NameKey, contacts: Sequence[tuple[PlanfixContact, NameKey]]
) -> tuple[PlanfixContact, ...]:
    """Planfix contacts that a labelled person may be: by e-mail first, then by phone."""
    for field, by_phone in (("emails", False), ("phones", True)):
        keys = {e.key for e in person.get(field, ()) if not isinstance(e, str)}
        found = tuple(
            contact
            for contact, other in contacts
            if keys & {e.key for e in contact.fields.get(field, ()) if not isinstance(e, str)}
            and compatible(name, other, by_phone=by_phone)
        )
        if found:
            return found
    return ()
