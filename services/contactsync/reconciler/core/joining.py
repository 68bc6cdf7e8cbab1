"""Who joins whom: people put under the label by hand with contacts, and contacts with people of the account.

Called by `machine.py` for answers about candidates and by `seen_planfix.py` and `seen_google.py` for what they see;
`match.py` and `arrivals.py` say who fits.
"""

from __future__ import annotations

from collections.abc import Iterable

from contactsync.reconciler.core import arrivals as arriving
from contactsync.reconciler.core import reasons, settle, sweeping
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.index import Entry, is_unbegun
from contactsync.reconciler.core.link import Arrival, Hold, Link, anew
from contactsync.reconciler.core.match import partners
from contactsync.reconciler.core.observe import LISTS_LAG_S
from contactsync_contracts.messages import (
    ArrivalMatches,
    Candidate,
    ContactState,
    GoogleCandidates,
    GooglePerson,
    PlanfixContact,
    PlanfixMatched,
    PlanfixObserved,
)


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
    arrival = replace(arriving.arrival_of(_unmerged(draft, person), known), stamps_many=len(person.stamps) > 1)
    stamp = arrival.stamp_contact
    if stamp is not None and draft.decisions.apart(stamp, person.resource):
        arrival = replace(arrival, stamp_contact=None)
    elif stamp is not None and draft.index.get(stamp) is not None:
        arrival = replace(arrival, stage="held", reason=reasons.COPY, state=reasons.POSSIBLE_DUPLICATE)
    draft.put_arrival(arrival if known is not None else replace(arrival, revision=record.revisions))


def _unmerged(draft: Draft, person: GooglePerson) -> GooglePerson:
    """Without the stamps of contacts that are known to be merged into others."""
    entries = {stamp.contact: draft.index.get(stamp.contact) for stamp in person.stamps}
    gone = {contact for contact, e in entries.items() if e is not None and e.state is ContactState.MERGED}
    stamps = tuple(stamp for stamp in person.stamps if stamp.contact not in gone)
    return person.model_copy(update={"stamps": stamps}) if gone else person


def join_as_told(draft: Draft, arrival: Arrival, contact: PlanfixContact, event: PlanfixObserved, now: float) -> None:
    """A labelled person with our stamp whose contact the filter did not hold: it says itself who it is. Or the
    contact says it was created from this person."""
    draft.drop_arrival(arrival.source_id)
    joined = arriving.link_of(arrival, contact, event.seen_at, now)
    stamped = arrival.stamp_contact is not None and not arrival.stamps_many
    link = replace(joined, stamped=stamped, revision=draft.filter.revisions)
    if event.member:
        link = replace(link, member=True, member_at=event.seen_at, kept="", asked="")
    elif event.member is None:
        link = replace(link, kept=reasons.NOT_IN_FILTER, asked="")
    draft.put(link)


def contacts_matched(draft: Draft, event: PlanfixMatched, now: float) -> None:
    for answer in event.answers:
        arrival = draft.arrivals.get(answer.arrival)
        if arrival is None or arrival.stage != "matching":
            continue
        if not draft.filter.active or not draft.filter.two_way:
            draft.put_arrival(replace(arrival, stage="new"))
            continue
        others = _others(draft, arrival, answer)
        result = arriving.matches(arrival, answer, draft.hasher, draft.filter.filter_id, others, now)
        if isinstance(result, Arrival):
            draft.put_arrival(result)
            continue
        draft.drop_arrival(arrival.source_id)
        joined = arriving.link_of(arrival, result.contact, event.seen_at, now)
        link = draft.links.get(result.contact.contact)
        if link is None:
            joined = replace(joined, revision=draft.filter.revisions)
        else:
            joined = replace(joined, revision=link.revision, member_at=link.member_at, released=link.released)
            if link.member:
                joined = replace(joined, member=True, kept="", asked="")
        draft.put(joined)


def needs(draft: Draft, event: GoogleCandidates) -> set[int]:
    """Contacts whose links the answers concern: those that asked, and those whom the same people were promised to."""
    names = {candidate.resource for answer in event.answers for candidate in answer.candidates}
    promised = {c for name in names if (c := _promised_to(draft, name)) is not None}
    return promised | {answer.contact for answer in event.answers}


def _others(draft: Draft, arrival: Arrival, answer: ArrivalMatches) -> arriving.Others:
    resource = arrival.resource
    apart = {c.contact for c in answer.contacts if draft.decisions.apart(c.contact, resource)}
    taken, wanted = set(), set()
    for contact in answer.contacts:
        number, entry = contact.contact, draft.index.get(contact.contact)
        if entry is not None and not _is_free(entry, resource):
            taken.add(number)
        elif draft.decisions.same(number) == resource:
            continue
        elif (entry is not None and entry.candidates) or _rival_arrivals(draft, arrival, contact):
            wanted.add(number)
    return arriving.Others(taken, wanted, apart)


def _rival_arrivals(draft: Draft, arrival: Arrival, contact: PlanfixContact) -> bool:
    """Whether another person under the label could be the contact; one whose answer is still to come counts, too."""
    return any(
        other.source_id != arrival.source_id
        and not draft.decisions.apart(contact.contact, other.resource)
        and other.stamp_contact is None
        and arriving.could_be(other, contact, draft.hasher)
        for other in draft.arrivals.sharing(contact.fields)
    )


def candidates_found(draft: Draft, event: GoogleCandidates) -> None:
    answers: list[tuple[Link, tuple[Candidate, ...]]] = []
    for answer in event.answers:
        link = draft.links.get(answer.contact)
        if link is None or link.asked != "match":
            continue
        name = arriving.name_key(link.planfix or {}, draft.hasher)
        offered = [c for c in answer.candidates if not draft.decisions.apart(link.contact, c.resource)]
        answers.append((link, partners(name, offered)))
    claims: dict[str, set[int]] = {}
    for link, found in answers:
        for resource in _offered(found):
            claims.setdefault(resource, set()).add(link.contact)
    for resource, contacts in claims.items():
        _unpromise(draft, resource, contacts)
    for link, found in answers:
        asked = replace(link, asked="", matched=True, hold=_other(link.hold))
        if link.resource is not None:
            draft.put(asked)
        elif found and found[0].by == "stamp":
            _join_stamped(draft, asked, found)
        else:
            _join_matched(draft, asked, _offered(found), claims)


def end_first_matching(draft: Draft) -> None:
    """All contacts of the first sync have come and were matched: partners that nobody else claims are adopted."""
    if draft.filter.phase != "done" or not draft.filter.active:
        return
    if (draft.index.matching | draft.index.due) - draft.touched:
        return
    if not any(_to_be_matched(draft.links.get(contact)) for contact in draft.touched):
        draft.amend(first_matching=False)
        sweeping.start(draft, sweeping.ADOPT)


def _to_be_matched(link: Link | None) -> bool:
    if link is None or link.asked == "match":
        return link is not None
    return link.resource is None and not link.matched and not link.dismissed and link.merged_into is None


def match_again(draft: Draft, contacts: Iterable[int]) -> None:
    """Possible duplicates whose rival has gone."""
    loose = draft.index.loose.intersection(contacts)
    draft.index.tighten(loose)
    for contact in loose:
        link = draft.links.get(contact)
        if link is not None and _other(link.hold) is not link.hold:
            draft.put(replace(link, matched=False))


def _join_stamped(draft: Draft, link: Link, found: tuple[Candidate, ...]) -> None:
    chosen = min(found, key=lambda c: (len(c.resource), c.resource))
    other = draft.index.owner_of(chosen.resource)
    if other is not None and other != link.contact:
        draft.put(settle.merged(link, other))  # one person with the stamps of both (2.2)
    else:
        draft.put(replace(link, resource=chosen.resource, adopt=False))


def _join_matched(draft: Draft, link: Link, offered: tuple[str, ...], claims: dict[str, set[int]]) -> None:
    """What a human decided goes first; else only a single candidate whom nobody else could be is linked (2.2)."""
    contact, decided = link.contact, draft.decisions.same(link.contact)
    if decided and draft.index.owner_of(decided) in (None, contact):
        draft.put(replace(link, resource=decided, adopt=True))
        return
    if not offered:
        draft.put(link)
        return
    owner = draft.index.owner_of(offered[0])
    if len(offered) > 1:
        held = Hold(reasons.POSSIBLE_DUPLICATE, reasons.MANY_PEOPLE, offered)
    elif owner is not None and owner != contact:
        held = Hold(reasons.POSSIBLE_DUPLICATE, reasons.TAKEN_PERSON, offered)
    elif _rivals(draft, contact, offered[0], claims):
        held = Hold(reasons.POSSIBLE_DUPLICATE, reasons.SHARED, offered)
    else:
        draft.put(replace(link, resource=offered[0], adopt=True))
        return
    _hold(draft, replace(link, hold=held))


def _offered(found: tuple[Candidate, ...]) -> tuple[str, ...]:
    """The candidates; none where a stamp tells."""
    return tuple(dict.fromkeys(c.resource for c in found if c.by != "stamp"))


def _rivals(draft: Draft, contact: int, resource: str, claims: dict[str, set[int]]) -> set[int]:
    """Other contacts that could be the same person, as far as nobody has decided that they are not."""
    arrival = draft.arrivals.named(resource)
    could = arrival.candidates if arrival is not None and contact in arrival.candidates else ()
    found = {*claims.get(resource, ()), *draft.index.claims(resource), *could} - {contact}
    return {other for other in found if not draft.decisions.apart(other, resource)}


def _promised_to(draft: Draft, resource: str) -> int | None:
    """The contact that this person was found for, if nothing ties them yet: the first sync is still matching."""
    if not draft.filter.first_matching:
        return None
    owner = draft.index.owner_of(resource)
    entry = draft.index.get(owner) if owner is not None else None
    return owner if entry is not None and entry.unbegun else None


def _unpromise(draft: Draft, resource: str, claiming: set[int]) -> None:
    """Another contact of the first sync claims the person, too: then nobody gets it before a human decides."""
    owner = _promised_to(draft, resource)
    link = draft.links.get(owner) if owner is not None else None
    if link is None or not is_unbegun(link) or claiming <= {link.contact}:
        return
    if draft.decisions.same(link.contact) == resource:
        return
    held = Hold(reasons.POSSIBLE_DUPLICATE, reasons.SHARED, (resource,))
    _hold(draft, replace(anew(link), matched=True, hold=held))


def _hold(draft: Draft, link: Link) -> None:
    draft.put(link)
    draft.index.put(link)  # at once, so that the next answers of this step heed the claim


def _other(hold: Hold | None) -> Hold | None:
    """The hold, unless it is about a possible duplicate."""
    return None if hold is not None and hold.state == reasons.POSSIBLE_DUPLICATE else hold


def _is_free(entry: Entry, resource: str) -> bool:
    """Whether a labelled person may become this contact's: nobody else is, and nobody is being made. A label put on
    ends a dismissal."""
    if entry.state is ContactState.DISMISSED:
        return True
    if entry.state is ContactState.MERGED:
        return False
    return entry.resource == resource or (entry.resource is None and not entry.open)
