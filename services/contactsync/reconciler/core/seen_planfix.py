"""What Planfix shows: contacts, what a filter holds, what is gone, and the filter itself.

Called by `machine.py`; whether an observation tells anything new is `observe.py`'s to say.
"""

from __future__ import annotations

from contactsync.hashing import content_hash
from contactsync.reconciler.core import (
    freeze,
    guard,
    joining,
    labelling,
    observe,
    places,
    reasons,
    rebuilding,
    runs,
    settle,
)
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import ASK_AGAIN_S, Draft
from contactsync.reconciler.core.link import Arrival, Hold, Link
from contactsync.reconciler.core.step import EXISTS
from contactsync_contracts.messages import (
    ContactHeldBack,
    ContactState,
    FilterObserved,
    FilterState,
    PlanfixConfirmed,
    PlanfixContact,
    PlanfixListed,
    PlanfixObserved,
)

UNDER_WAY_S = 30.0
"""A contact that we may be creating ourselves is looked at again after so long."""
UNPROVEN_MAX = 10
"""Without a known member, at most so many contacts are asked for one by one."""


def quiet(draft: Draft, contact: int, event: PlanfixObserved) -> bool:
    entry = draft.index.get(contact)
    if entry is None:
        return True
    if entry.asked == "membership" or entry.held or (event.member and not entry.member):
        return False
    return _hash_of(draft, event, contact) == entry.planfix_hash


def contacts_observed(draft: Draft, event: PlanfixObserved, now: float) -> None:
    if event.member and event.contacts:
        guard.list_is_not_empty(draft)
    places.hinted(draft, event)
    for contact in event.contacts:
        number = contact.contact
        entry = draft.index.get(number)
        hash_ = _hash_of(draft, event, number)
        if entry is None and draft.links.get(number) is None:
            source = _source_of(draft, contact)
            arrival = draft.arrivals.stamped(number) or _made_from(draft, source, number)
            if arrival is not None and arrival.stage == "creating":
                draft.wishes.planfix_contacts[number] = now + UNDER_WAY_S  # the answer says more
            elif arrival is not None:
                joining.join_as_told(draft, arrival, contact, event, now)
            elif event.member and event.seen_at <= draft.filter.left_at:
                # It may be one that has left since: what it is now decides.
                draft.wishes.planfix_contacts[number] = 0.0
            elif event.member and not source and _may_be_under_way(draft, contact):
                draft.wishes.planfix_contacts[number] = now + UNDER_WAY_S
            elif event.member:
                draft.put(
                    Link(
                        contact=number,
                        is_company=contact.is_company,
                        planfix=contact.fields,
                        planfix_hash=hash_,
                        planfix_at=event.seen_at,
                        planfix_source=source,
                        member_at=event.seen_at,
                        revision=draft.filter.revisions,
                    )
                )
            continue
        link = draft.links.get(number)
        if link is None:
            if entry is not None:
                entry.planfix_at = max(entry.planfix_at, event.seen_at)
                if event.member:
                    entry.member_at = max(entry.member_at, event.seen_at)
                draft.confirming.pop(number, None)
            continue
        seen = observe.planfix_seen(link, contact, hash_, event.seen_at, event.member)
        if isinstance(seen, observe.Doubt):
            draft.wishes.planfix_contacts[number] = seen.not_before
            continue
        if event.member and seen.hold is not None and seen.hold.reason == reasons.CHECKING:
            seen = replace(seen, hold=None)
        held = seen.hold is not None and seen.hold.state == reasons.POSSIBLE_DUPLICATE
        if held and seen.planfix_hash != link.planfix_hash:
            seen = replace(seen, matched=False)
        draft.put(seen)


def _source_of(draft: Draft, contact: PlanfixContact) -> str:
    """The source id of the person of this account that we created the contact from, empty where that is not said."""
    account, _, source = contact.made_from.rpartition(":")
    return source if account == draft.filter.account else ""


def _made_from(draft: Draft, source: str, number: int) -> Arrival | None:
    """The person under the label that the contact was created from, if it is still nobody's."""
    arrival = draft.arrivals.get(source) if source else None
    if arrival is None or arrival.stamp_contact is not None or draft.decisions.apart(number, arrival.resource):
        return None
    return arrival


def _may_be_under_way(draft: Draft, contact: PlanfixContact) -> bool:
    """Whether it may be one that we are just creating for a person under the label: its answer is still to come, and
    without a number or an address nothing but that answer says whose it is."""
    keyless = not contact.fields.get("phones") and not contact.fields.get("emails")
    return keyless and any(arrival.stage == "creating" for arrival in draft.arrivals.values())


def back_again(draft: Draft, event: PlanfixListed) -> list[int]:
    """Those that one answer lacked, no look-up could decide about, and this listing has: what was tried is tried
    again. (What did not change since is told in listings alone.)"""
    listed = (draft.index.get(contact) for contact in event.members)
    return [entry.contact for entry in listed if entry is not None and entry.checking]


def contacts_listed(draft: Draft, event: PlanfixListed, now: float) -> None:
    members = set(event.members)
    for contact in back_again(draft, event):
        link = draft.links.get(contact)
        if link is not None:
            draft.put(replace(link, hold=None))
    missing = sorted(
        entry.contact
        for entry in draft.index
        if entry.member
        and event.low <= entry.contact <= event.high
        and entry.contact not in members
        and entry.planfix_at < event.began_at
        and now - draft.confirming.get(entry.contact, -ASK_AGAIN_S) >= ASK_AGAIN_S
    )
    unproven = not event.members and len(missing) > UNPROVEN_MAX
    if event.members:
        guard.list_is_not_empty(draft)
    elif event.last:
        guard.list_is_empty(draft, len(missing), event.began_at)
    if unproven:
        draft.events.append(
            ContactHeldBack(
                filter_id=draft.filter.filter_id,
                at=now,
                contact=None,
                state=ContactState.HELD_BACK,
                reason=reasons.EMPTY_LIST,
            )
        )
    elif missing:
        draft.confirm(missing, [c for c in event.members if draft.index.get(c) is not None], now)
    rebuilding.planfix_listed(draft, event)
    if event.last:
        if draft.filter.phase == "planfix":
            draft.amend(phase="done")
            draft.touched_arrivals.update(draft.arrivals.source_ids)
        draft.record = runs.answered(draft.filter, "planfix", event.request_id)
        draft.amend(planfix_seen_at=event.began_at)
        labelling.say_again(draft, now)


def contacts_confirmed(draft: Draft, event: PlanfixConfirmed) -> None:
    if event.request_id == EXISTS:
        _collect(draft, event)
        return
    for contact in (*event.gone, *event.present, *event.undecided):
        draft.confirming.pop(contact, None)
    for contact in (*event.gone, *event.undecided):
        arrival = draft.arrivals.stamped(contact)
        if arrival is not None:
            draft.put_arrival(replace(arrival, stage="held", reason=reasons.CONTACT_GONE))
    for contact in event.gone:
        link, entry = draft.links.get(contact), draft.index.get(contact)
        if link is not None and link.kept and link.hold is not None and link.hold.reason == reasons.CHECKING:
            draft.put(replace(link, hold=Hold("held_back", reasons.CONTACT_GONE)))
        if link is not None and not link.member and settle.is_gone(link):
            draft.wishes.exists.append(contact)
        if link is None or not link.member:
            continue
        if max(link.member_at, entry.member_at if entry is not None else 0.0) < event.seen_at:
            draft.put(replace(link, member=False, member_at=event.seen_at))
            if settle.is_gone(link):
                draft.wishes.exists.append(contact)
    for contact in event.present:
        link = draft.links.get(contact)
        if link is not None and link.hold is not None and link.hold.reason == reasons.CHECKING:
            draft.put(replace(link, hold=None))


def _collect(draft: Draft, event: PlanfixConfirmed) -> None:
    """Neither side has it any more: nothing is left to remember (D37)."""
    for contact in event.gone:
        link = draft.links.get(contact)
        if link is not None and not link.member and settle.is_gone(link) and link.member_at < event.seen_at:
            draft.put_or_drop(contact, None)


def filter_observed(draft: Draft, event: FilterObserved) -> None:
    if event.seen_at < draft.filter.filter_at:
        return
    draft.amend(filter_at=event.seen_at)
    record = draft.filter
    if event.problem is not None:
        problem = event.problem.value
        draft.amend(problem=problem, problem_reason=reasons.problem(problem, event.detail))
        return
    if event.owner is not None and event.owner != record.owner:
        draft.amend(problem=FilterState.OWNER_GONE.value, problem_reason=reasons.OTHER_OWNER)
        return
    if record.problem in ("plan_needed", "filter_gone", "owner_gone"):
        draft.record = freeze.cleared(record)
    if event.name and event.name != record.name:
        draft.amend(name=event.name)
        if record.label:
            labelling.ask_label(draft, "rename")


def _hash_of(draft: Draft, event: PlanfixObserved, contact: int) -> int:
    if draft.hashed is not event:
        draft.hashed = event
        draft.hashes = {c.contact: content_hash(c.fields) for c in event.contacts}
    return draft.hashes[contact]
