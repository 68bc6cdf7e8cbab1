"""Facts of one link from what was seen: the rules of order of semantics 2.3, no decisions.

Each function answers with the link as it now is, or with `Doubt` where the observation may not be compared and the
contact has to be looked at again by id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from contactsync.reconciler.core.link import Hold, Link
from contactsync_contracts.messages import GooglePerson, PlanfixContact

PLANFIX_SETTLE_S = 5.0
"""A Planfix read that began this soon after our write's answer may still show the old values."""

RETRIED_ON_CHANGE = frozenset({"quarantined", "held_back"})
NOT_IN_FILTER = "It carries the label, but Planfix does not count it to this list."


@dataclass(frozen=True, slots=True)
class Doubt:
    """Not comparable: look again, not before this moment (our clock)."""

    not_before: float


def planfix_seen(
    link: Link, contact: PlanfixContact, hash_: int, seen_at: float, member: bool | None, last_same_at: float
) -> Link | Doubt:
    """`last_same_at`: when the content that the link knows was last seen unchanged."""
    same = hash_ == link.planfix_hash
    settled_at = link.planfix_wrote + PLANFIX_SETTLE_S if link.planfix_wrote else 0.0
    if not same and (seen_at <= link.planfix_at or seen_at <= settled_at):
        return Doubt(not_before=settled_at + 1.0)
    if member and seen_at > link.member_at:
        link = replace(link, member=True, member_at=seen_at, kept="", leaving=False)
    elif member is None and link.asked == "membership":
        link = replace(link, kept=NOT_IN_FILTER)
    if link.asked == "membership":
        link = replace(link, asked="")
    if same:
        return link if seen_at <= link.planfix_at else replace(link, planfix_at=seen_at)
    return replace(
        link,
        planfix=contact.fields,
        planfix_hash=hash_,
        planfix_prev=max(link.planfix_at, last_same_at),
        planfix_at=seen_at,
        is_company=contact.is_company,
        hold=_after_change(link.hold),
    )


def google_seen(
    link: Link, person: GooglePerson, hash_: int, seen_at: float, label: str, *, by_name: bool = True
) -> Link | Doubt:
    """`label`: the resource name of the filter's label. A missing label is only noted (`labelled`); what it means is
    decided after the label itself was looked at. Only a read that began after it was asked for is the answer. Where
    the server names no time of the last change, only a person read by name may be compared (`by_name`)."""
    moved = link.resource != person.resource
    answers = link.asked == "person" and seen_at >= link.asked_at
    comparable = link.google is None or moved or answers
    old = person.updated_at < link.google_at or not (person.updated_at or by_name)
    if not comparable and (link.asked == "person" or old):
        return Doubt(not_before=0.0)
    content_changed = hash_ != link.google_hash
    stamp = next((s for s in person.stamps if s.contact == link.contact), None)
    return replace(
        link,
        resource=person.resource,
        source_id=person.source_id,
        etag=person.etag,
        google=person.fields,
        google_hash=hash_,
        google_prev=link.google_at if content_changed else link.google_prev,
        google_at=person.updated_at if moved else max(person.updated_at, link.google_at),
        raw=person.raw,
        labelled=label in person.labels,
        stamped=link.stamped or stamp is not None,
        own=link.own or (stamp.kept if stamp is not None else None),
        asked="" if link.asked == "person" and (answers or link.google is None) else link.asked,
        limits=_limits(link, person) if content_changed else link.limits,
        hold=_after_change(link.hold) if content_changed else link.hold,
    )


def _limits(link: Link, person: GooglePerson) -> dict[str, str]:
    """What Google shows but Planfix cannot hold is named anew; what Planfix refused stays named while it stands."""
    kept = {name: reason for name, reason in link.limits.items() if _stands(name, person)}
    return {**kept, **person.limits}


def _stands(name: str, person: GooglePerson) -> bool:
    field, _, key = name.partition(":")
    value = person.fields.get(field)
    if isinstance(value, tuple) and key:
        return any(element.key == key for element in value)
    return name in person.fields


def _after_change(hold: Hold | None) -> Hold | None:
    """A refused contact is tried again when either side's content changes."""
    return None if hold is not None and hold.state in RETRIED_ON_CHANGE else hold
