"""Who joins whom: people put under the label by hand with contacts, and contacts with people of the account.

Called by `machine.py` for answers about candidates and by `seen_planfix.py` and `seen_google.py` for what they see;
`match.py` and `arrivals.py` say who fits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from contactsync.reconciler.core import arrivals as arriving
from contactsync.reconciler.core import observe, settle
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.index import Entry
from contactsync.reconciler.core.link import Arrival, Hold, Link
from contactsync.reconciler.core.match import partners
from contactsync_contracts.messages import (
    Candidate,
    ContactState,
    GoogleCandidates,
    GooglePerson,
    PlanfixContact,
    PlanfixMatched,
    PlanfixObserved,
)

LISTS_LAG_S = 300.0
"""So long after a contact left, a list of people may still show its person as it was."""
DUPLICATE = "More than one person in Google Contacts could be this contact."
SHARED = "More than one contact of this list could be the matching person in Google Contacts."


def stranger_seen(draft: Draft, person: GooglePerson, seen_at: float, *, by_name: bool) -> None:
    record = draft.filter
    known = draft.arrivals.get(person.source_id)
    if known is not None and person.updated_at < known.google_at:
        return
    if not record.label or record.label not in person.labels:
        if known is not None:
            draft.drop_arrival(person.source_id)
            draft.amend(left_at=draft.now)
        return
    lag_s = 0.0 if by_name else LISTS_LAG_S
    if known is None and record.left_at and seen_at <= record.left_at + lag_s:
        # It may be one that was removed since, and lists lag: what it is now decides.
        draft.wishes.people.add(person.resource)
        return
    arrival = arriving.arrival_of(_unmerged(draft, person), known)
    if arrival.stamp_contact is not None and draft.index.get(arrival.stamp_contact) is not None:
        arrival = replace(arrival, stage="held", reason=arriving.COPY, state="possible_duplicate")
    draft.put_arrival(arrival if known is not None else replace(arrival, revision=record.revisions))


def _unmerged(draft: Draft, person: GooglePerson) -> GooglePerson:
    """Without the stamps of contacts that are known to be merged into others."""
    entries = {stamp.contact: draft.index.get(stamp.contact) for stamp in person.stamps}
    gone = {contact for contact, e in entries.items() if e is not None and e.state is ContactState.MERGED}
    stamps = tuple(stamp for stamp in person.stamps if stamp.contact not in gone)
    return person.model_copy(update={"stamps": stamps}) if gone else person


def join_by_stamp(
    draft: Draft, arrival: Arrival, contact: PlanfixContact, event: PlanfixObserved, now: float
) -> None:
    """A labelled person with our stamp whose contact the filter did not hold: it says itself who it is."""
    draft.drop_arrival(arrival.source_id)
    joined = arriving.link_of(arrival, contact, event.seen_at, now)
    link = replace(joined, stamped=True, revision=draft.filter.revisions)
    if event.member:
        link = replace(link, member=True, member_at=event.seen_at, kept="", asked="")
    elif event.member is None:
        link = replace(link, kept=observe.NOT_IN_FILTER, asked="")
    draft.put(link)


def contacts_matched(draft: Draft, event: PlanfixMatched, now: float) -> None:
    for answer in event.answers:
        arrival = draft.arrivals.get(answer.arrival)
        if arrival is None or arrival.stage != "matching":
            continue
        if not draft.filter.active or not draft.filter.two_way:
            draft.put_arrival(replace(arrival, stage="new"))
            continue
        taken = {
            c.contact
            for c in answer.contacts
            if (e := draft.index.get(c.contact)) is not None and not _is_free(e, arrival.resource)
        }
        result = arriving.matches(arrival, answer, draft.hasher, draft.filter.filter_id, taken, now)
        if isinstance(result, Arrival):
            draft.put_arrival(result)
            continue
        draft.drop_arrival(arrival.source_id)
        joined = arriving.link_of(arrival, result.contact, event.seen_at, now)
        link = draft.links.get(result.contact.contact)
        if link is None:
            joined = replace(joined, revision=draft.filter.revisions)
        else:
            joined = replace(joined, revision=link.revision, member_at=link.member_at)
            if link.member:
                joined = replace(joined, member=True, kept="", asked="")
        draft.put(joined)


def candidates_found(draft: Draft, event: GoogleCandidates) -> None:
    answers: list[tuple[Link, tuple[Candidate, ...]]] = []
    for answer in event.answers:
        link = draft.links.get(answer.contact)
        if link is None or link.asked != "match":
            continue
        name = arriving.name_key(link.planfix or {}, draft.hasher)
        answers.append((link, partners(name, answer.candidates)))
    wanted = Counter(c.resource for _, found in answers for c in found if c.by != "stamp")
    for link, found in answers:
        asked = replace(link, asked="", matched=True)
        if not found or link.resource is not None:
            draft.put(asked)
            continue
        by_stamp = found[0].by == "stamp"
        chosen = min(found, key=lambda c: (len(c.resource), c.resource))
        other = draft.index.owner_of(chosen.resource)
        if by_stamp and other is not None and other != link.contact:
            draft.put(settle.merged(asked, other))  # one person with the stamps of both (2.2)
        elif (other is not None and other != link.contact) or wanted[chosen.resource] > 1:
            draft.put(replace(asked, hold=Hold("possible_duplicate", SHARED, (chosen.resource,))))
        elif len(found) > 1 and not by_stamp:
            draft.put(replace(asked, hold=Hold("possible_duplicate", DUPLICATE, tuple(c.resource for c in found))))
        else:
            draft.put(replace(asked, resource=chosen.resource, adopt=not by_stamp))


def _is_free(entry: Entry, resource: str) -> bool:
    """Whether a labelled person may become this contact's: nobody else is, and nobody is being made. A label put on
    ends a dismissal."""
    if entry.state is ContactState.DISMISSED:
        return True
    if entry.state is ContactState.MERGED:
        return False
    return entry.resource == resource or (entry.resource is None and not entry.open)
