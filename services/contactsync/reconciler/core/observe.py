"""Facts of one link from what was seen: the rules of order of semantics 2.3, no decisions.

Each function answers with the link as it now is, or with `Doubt` where the observation may not be compared and the
contact has to be looked at again by id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.link import Hold, Link
from contactsync.reconciler.core.merge import edited
from contactsync_contracts.contact import ELEMENT_FIELDS, Contact
from contactsync_contracts.messages import GooglePerson, Kept, PlanfixContact

PLANFIX_SETTLE_S = 5.0
"""A Planfix read that began this soon after our write's answer may still show the old values."""

LISTS_LAG_S = 300.0
"""So long after a write, lists of people and counts of labels may still show what was before it."""

RETRIED_ON_CHANGE = frozenset({"quarantined", "held_back"})


@dataclass(frozen=True, slots=True)
class Doubt:
    """Not comparable: look again, not before this moment (our clock)."""

    not_before: float


def planfix_seen(
    link: Link, contact: PlanfixContact, hash_: int, seen_at: float, member: bool | None
) -> Link | Doubt:
    """`member`: whether the filter holds the contact; None where the read could not tell."""
    same = hash_ == link.planfix_hash
    settled_at = link.planfix_wrote + PLANFIX_SETTLE_S if link.planfix_wrote else 0.0
    if not same and (seen_at <= link.planfix_at or seen_at <= settled_at):
        return Doubt(not_before=settled_at + 1.0)
    if member and seen_at > link.member_at:
        link = replace(link, member=True, member_at=seen_at, kept="", leaving=False)
    elif member is None and link.asked == "membership":
        link = replace(link, kept=reasons.NOT_IN_FILTER)
    if link.asked == "membership":
        link = replace(link, asked="")
    if same:
        return planfix_now(link, link.planfix, hash_, seen_at) if seen_at > link.planfix_at else link
    return replace(
        planfix_now(link, contact.fields, hash_, seen_at),
        is_company=contact.is_company,
        limits={name: reason for name, reason in link.limits.items() if not _stands(name, contact.fields)},
        hold=_after_change(link.hold),
    )


def planfix_now(link: Link, content: Contact | None, hash_: int, at: float) -> Link:
    """Planfix's side as it was at `at`. An edit was made before it was first seen, not before it was last seen."""
    same = hash_ == link.planfix_hash
    return replace(
        link,
        planfix=content,
        planfix_hash=hash_,
        planfix_at=at,
        planfix_since=(link.planfix_since or link.planfix_at) if same else 0.0,
    )


def google_seen(
    link: Link, person: GooglePerson, hash_: int, seen_at: float, label: str, *, by_name: bool
) -> Link | Doubt:
    """`label`: the resource name of the filter's label. A missing label is only noted (`labelled`); what it means is
    decided after the label itself was looked at. Only a read by name (`by_name`) that began after it was asked for is
    the answer: lists lag. A list's news must be newer than what is known; where it names no time, or the same one,
    the person is read by name."""
    moved = bool(link.source_id) and link.source_id != person.source_id
    answers = link.asked == "person" and by_name and seen_at >= link.asked_at
    if link.google is not None and not moved and not answers:
        news = hash_ != link.google_hash or (label in person.labels) is not link.labelled
        old = person.updated_at < link.google_at or (not by_name and news and person.updated_at == link.google_at)
        if link.asked == "person" or old or not (person.updated_at or by_name):
            return Doubt(not_before=0.0)
    content_changed = hash_ != link.google_hash
    stamp = next((s for s in person.stamps if s.contact == link.contact), None)
    first = link.google is None
    at = person.updated_at if moved else max(person.updated_at, link.google_at)
    return replace(
        google_now(link, person, hash_, at),
        labelled=label in person.labels,
        **_ownership(link, person, moved),
        adopt=link.adopt and not (first and (label in person.labels or stamp is not None)),
        asked="" if link.asked == "person" and (answers or first) else link.asked,
        limits=_limits(link, person) if content_changed else link.limits,
        hold=_after_change(link.hold) if content_changed else link.hold,
    )


def google_now(link: Link, person: GooglePerson, hash_: int, at: float) -> Link:
    """Google's side as it was at `at`; the time moves without an edit, too. While an edit waits to be carried over,
    an earlier one may hide in the next: of all of them only the first one's beginning is certain."""
    same = hash_ == link.google_hash
    waits = link.google is not None and link.base_google is not None and edited(link.google, link.base_google)
    return replace(
        link,
        resource=person.resource,
        source_id=person.source_id,
        etag=person.etag,
        google=person.fields,
        google_hash=hash_,
        google_at=at,
        google_since=(link.google_since or link.google_at) if same else 0.0,
        google_prev=link.google_prev if same or waits else link.google_at,
        raw=person.raw,
    )


def _ownership(link: Link, person: GooglePerson, moved: bool) -> dict[str, Any]:
    """A person that a link moved to was somebody else's before: adopted, whatever its stamp says (2.2). Stamped is
    who carries this contact's stamp alone, and one that says the same; else it is written anew."""
    stamp = next((s for s in person.stamps if s.contact == link.contact), None)
    own = Kept.ADOPTED if moved else link.own or (stamp.kept if stamp is not None else None)
    alone = not any(s.contact != link.contact for s in person.stamps)
    known = link.stamped and not moved
    return {"own": own, "stamped": alone and (known or (stamp is not None and stamp.kept is own))}


def _limits(link: Link, person: GooglePerson) -> dict[str, str]:
    """What Google shows but Planfix cannot hold is named anew; what Planfix refused stays named while it stands."""
    kept = {
        name: reason
        for name, reason in link.limits.items()
        if (_stands(name, person.fields) if element_of(name) else name in person.fields)
    }
    return {**kept, **person.limits}


def _stands(name: str, fields: Contact) -> bool:
    about = element_of(name)
    return about is not None and shows(fields, *about)


def element_of(name: str) -> tuple[str, str] | None:
    """Field and key of the element that a reason (`Link.limits`) is about."""
    field, _, key = name.partition(":")
    return (field, key) if key and field in ELEMENT_FIELDS else None


def shows(contact: Contact, field: str, key: str) -> bool:
    value = contact.get(field, ())
    return any(element.key == key for element in value if not isinstance(element, str))


def _after_change(hold: Hold | None) -> Hold | None:
    """A refused contact is tried again when either side's content changes."""
    return None if hold is not None and hold.state in RETRIED_ON_CHANGE else hold
