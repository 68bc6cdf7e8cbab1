"""What Google shows: people as they are now, people who are gone, and the end of a listing.

Called by `machine.py`; people who are no contact's go to `joining.py`, and what is seen of a partner is ordered by
`observe.py`.
"""

from __future__ import annotations

from contactsync.hashing import content_hash
from contactsync.reconciler.core import (
    joining,
    observe,
    places,
    reasons,
    rebuilding,
    runs,
    settle,
    stamped,
    sweeping,
)
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.step import BY_NAME
from contactsync_contracts.messages import ContactState, GoogleGone, GoogleListed, GoogleObserved, GooglePerson


def owners(draft: Draft, person: GooglePerson) -> set[int]:
    names = (person.resource, *person.previous)
    found = {c for name in names if (c := draft.index.owner_of(name)) is not None}
    return found | {s.contact for s in person.stamps if draft.index.get(s.contact) is not None}


def quiet(draft: Draft, contact: int, person: GooglePerson) -> bool:
    entry = draft.index.get(contact)
    return (
        entry is not None
        and entry.resource == person.resource
        and entry.etag == person.etag
        and (not entry.labelled or draft.filter.label in person.labels)  # a label's end may leave etags alone
        and not (entry.gone and draft.filter.label in person.labels)  # back from the bin, perhaps
        and entry.asked not in ("person", "label")
    )


def people_observed(draft: Draft, event: GoogleObserved, now: float) -> None:
    by_name = event.request_id == BY_NAME
    for person in event.people:
        owner = _partner_of(draft, person)
        stamped.stamps_seen(draft, person, owner)
        if owner is None:
            joining.stranger_seen(draft, person, event.seen_at, by_name=by_name)
            continue
        link = draft.links.get(owner)
        if link is None:
            continue  # quiet
        draft.drop_named(person.resource)
        _person_seen(draft, link, person, event.seen_at, now, by_name=by_name)


def people_gone(draft: Draft, event: GoogleGone, now: float) -> None:
    for resource in sorted(event.resources, key=lambda name: (draft.index.owner_of(name) or 0, name)):
        if draft.drop_named(resource):
            draft.amend(left_at=draft.now)
        contact = draft.index.owner_of(resource)
        link = draft.links.get(contact) if contact is not None else None
        if link is None or contact is None:
            continue
        if link.pending is not None and link.pending.side is Side.GOOGLE:
            continue  # the writer finds out by itself and says so
        if event.seen_at < link.google_at:
            draft.wishes.people.add(resource)  # it has been there since
            continue
        if (followed := stamped.followed(draft, link, now)) is not None:
            draft.put(followed)
            continue
        draft.decisions.forget_same(contact, resource)
        free = replace(link, asked="") if link.asked == "person" else link
        draft.put_or_drop(contact, settle.person_gone(free, event.seen_at, now))


def people_listed(draft: Draft, event: GoogleListed, now: float) -> None:
    present = set(event.resources)
    for entry in draft.index:
        resource = entry.resource
        if not resource or resource in present or not event.low <= resource <= event.high:
            continue
        if entry.state.value not in ("dismissed", "merged") and not entry.open:
            draft.wishes.people.add(resource)
    if draft.filter.phase == "done":  # who is under the label and nobody's here: what we knew may be lost
        strangers = {name for name in present if draft.index.owner_of(name) is None}
        draft.wishes.people |= strangers - set(draft.arrivals.resources)
    for resource in draft.arrivals.resources:
        if resource not in present and event.low <= resource <= event.high:
            draft.wishes.people.add(resource)
    if not event.last:
        return
    rebuilding.google_listed(draft, event)
    draft.amend(google_seen_at=event.began_at)
    places.listed(draft, event)
    sweeping.start(draft, sweeping.REMATCH)
    if draft.filter.phase == "google":
        draft.amend(phase="planfix", first_matching=True)
        draft.wishes.planfix_listing = draft.filter.run.run_id if draft.filter.run else ""
    draft.record = runs.answered(draft.filter, "google", event.request_id)


def _partner_of(draft: Draft, person: GooglePerson) -> int | None:
    """The contact that this person is the partner of. A stamp joins a link that has no person yet; it never moves
    a link to a person that is another contact's (2.2)."""
    owner = draft.index.owner_of(person.resource)
    if owner is not None:
        _follow_merge(draft, owner, person)
        return owner
    before = {other for name in person.previous if (other := draft.index.owner_of(name)) is not None}
    if before:
        owner = min(before)
        _follow_merge(draft, owner, person)
        return owner
    for stamp in sorted(person.stamps, key=lambda s: s.contact):
        entry = draft.index.get(stamp.contact)
        if entry is None or entry.state is ContactState.MERGED:
            continue
        if draft.decisions.apart(stamp.contact, person.resource):
            continue
        again = entry.state is ContactState.DISMISSED and draft.filter.label in person.labels
        if entry.resource is None or again:
            return stamp.contact
    return None


def _follow_merge(draft: Draft, owner: int, person: GooglePerson) -> None:
    """People of two contacts were merged into this one: the other contact's link ends in it."""
    for name in person.previous:
        other = draft.index.owner_of(name)
        link = draft.links.get(other) if other is not None else None
        if other is not None and other != owner and link is not None:
            draft.put(settle.merged(link, owner))
            draft.amend(left_at=draft.now)  # the name that it had is a stranger's now


def _person_seen(
    draft: Draft, link: Link, person: GooglePerson, seen_at: float, now: float, *, by_name: bool
) -> None:
    record = draft.filter
    if link.gone_at and person.resource == link.resource and not (by_name and seen_at > link.gone_at):
        draft.wishes.people.add(person.resource)  # as it was before, or back from the bin: by name it is told
        return
    hash_ = content_hash(person.fields)
    was_labelled = link.labelled
    seen = observe.google_seen(link, person, hash_, seen_at, record.label, by_name=by_name)
    if isinstance(seen, observe.Doubt):
        if link.asked != "person":
            draft.wishes.people.add(person.resource)
        return
    seen = replace(seen, gone_at=0.0)
    if seen.labelled and seen.dismissed:
        seen = replace(seen, dismissed="")
    if seen.hold is not None and seen.hold.state == reasons.POSSIBLE_DUPLICATE:
        seen = replace(seen, hold=None)  # its stamp says who it is
    removing = link.pending is not None and link.pending.op == "remove"
    lost_label = was_labelled and not seen.labelled and record.label and link.own is not None
    if record.restored_at and person.updated_at <= record.restored_at:
        lost_label = False  # it was lost before everybody was put back
    if lost_label and seen.member and not removing and not seen.dismissed:
        seen = replace(seen, asked="label", asked_at=now)
        draft.wishes.label = True
    draft.put(seen)
