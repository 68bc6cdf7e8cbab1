"""The invariants at the end of a story, from the contents of both simulators (2-semantics 2.1).

What the services say is believed in one respect only: a contact that the `contacts` query shows as held back,
dismissed and so on may differ, if something happened in the story that makes it plausible.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from contactsync.simulators.invariants import Finding, Snapshot, Synced
from contactsync_contracts.contact import ELEMENT_FIELDS, Contact
from contactsync_contracts.messages import GooglePerson, Kept

from .hands import PLANFIX_TEXTS, Claim, holds
from .world import World

Row = Mapping[str, Any]
HEALTHY = ("in_sync", "pending")
HELD = ("held_back", "possible_duplicate", "quarantined")
"""States in which the sides of a contact may differ in every filter that holds it: one of them merges its fields."""


def check(world: World, *, quiet: bool = True, formatted: Collection[str] = ()) -> None:
    """Every invariant of a world at rest; an AssertionError names all that are broken.

    formatted: fields whose texts one server tidied up, so that the sides may differ in them (2.3).
    """
    now = world.snapshot()
    filters = [one for one in world.synced_filters() if one.label]
    rows = {one.filter_id: world.contacts(one.filter_id) for one in filters}
    findings = [
        *health(world),
        *states(world, filters),
        *convergence(world, now, filters, rows, formatted),
        *duplicates(world, now, _held(rows), _merged_away(rows)),
        *nothing_lost(world, now, filters, rows),
        *planfix_kept(world, now),
        *foreign(world, now),
        *isolation(world, now, filters),
        *absences(world, now, filters),
        *quotas(world),
    ]
    if quiet:
        findings += [f"I7: a quiet cycle wrote: {write}" for write in world.idle(1)]
    assert not findings, "\n".join(findings)


def told(finding: Finding) -> list[str]:
    return [f"{finding.name}: {one}" for one in finding.broken]


def health(world: World) -> list[str]:
    """No service ended by itself, no handler failed, no message was put aside."""
    dead = world.server.streams["DEAD"].messages.values()
    return [
        *(f"crash: {one}" for one in world.system.crashes),
        *(f"a handler failed: {one}" for one in world.system.errors),
        *(f"dead letter: {one.subject} {dict(one.headers)} {one.data[:300]!r}" for one in dead),
    ]


def states(world: World, filters: Iterable[Synced]) -> list[str]:
    found = []
    for one in filters:
        status = world.status(one.filter_id)
        if status["state"] != "in_sync":
            found.append(f"filter {one.filter_id} ends as {status['state']}: {status['reason']}")
        pending = [row for row in world.contacts(one.filter_id) if row["state"] == "pending"]
        found += [f"contact {row['contact']} is still pending: {row['reason']}" for row in pending]
    return found


# ---- I1


def convergence(
    world: World,
    now: Snapshot,
    filters: Iterable[Synced],
    rows: Mapping[str, list[dict[str, Any]]],
    formatted: Collection[str] = (),
) -> list[str]:
    broken: list[str] = []
    contacts = world.checker.contacts(now.planfix)
    for synced in filters:
        members = _members(world, synced) & contacts.keys()
        people = world.checker.people(now.google[synced.account])
        partners = {s.contact: p for p in people.values() for s in p.stamps if synced.label in p.labels}
        by_number = {row["contact"]: row for row in rows[synced.filter_id] if row["contact"]}
        held = _held(rows)
        for number in sorted(members):
            row = by_number.get(number)
            if row is not None and row["state"] not in HEALTHY:
                broken += _implausible(world, row)
                continue
            if (person := partners.get(number)) is None:
                broken.append(f"contact {number} has no person under {synced.label}")
                continue
            # What one side cannot hold is said by the filter that merges the fields.
            notes = " ".join(
                note for one in rows.values() for r in one if r["contact"] == number for note in r["notes"]
            )
            mine = contacts[number].fields
            broken += [
                f"contact {number}: {name} differs: {mine.get(name)!r} and {person.fields.get(name)!r}"
                for name in _differing(mine, person, kept=world.hands.state_lost and not synced.two_way)
                if number not in held
                and name not in formatted
                and name not in _hidden(world)
                and f"{name}:" not in notes
                and "read-only" not in notes.casefold()
            ]
        # An emptied filter proves nothing (2-semantics 2.5: a listing that shrinks to nothing is held).
        for number in sorted(partners.keys() - members if members else ()):
            row = by_number.get(number)
            said = [one["reason"] for one in rows[synced.filter_id] if one["person"] == partners[number].resource]
            # "Not counted to the filter" is said in a note, "not in Planfix any more" as the reason of its person.
            if not any(said) and (row is None or not row["notes"]):
                broken.append(f"contact {number} is under {synced.label} but not in filter {synced.filter_id}")
        for row in rows[synced.filter_id]:
            if row["contact"] is None and not row["reason"]:
                broken.append(f"the person {row['person']} is kept waiting without a reason")
    return [f"I1: {one}" for one in broken]


def _hidden(world: World) -> set[str]:
    """Fields that Planfix does not show us: nobody can know what stands there."""
    return {name for name, text in PLANFIX_TEXTS.items() if text in world.planfix.options.hidden_fields}


def _held(rows: Mapping[str, list[dict[str, Any]]]) -> set[int]:
    return {row["contact"] for theirs in rows.values() for row in theirs if row["state"] in HELD and row["reason"]}


def _merged_away(rows: Mapping[str, list[dict[str, Any]]]) -> set[int]:
    """Contacts whose person went into another contact's, as every filter that has them says."""
    told = [
        (row["contact"], row["state"] == "merged" and bool(row["reason"])) for one in rows.values() for row in one
    ]
    return {contact for contact, merged in told if merged} - {contact for contact, merged in told if not merged}


def _members(world: World, synced: Synced) -> set[int]:
    """As the filter's owner sees them."""
    store = world.planfix.store
    saved = store.filters.get(synced.filter_id)
    if saved is None:
        return set()
    owner = store.employees[saved.owner]
    return {n for n in store.members(saved.id, None) if store.may_see(owner, store.contacts[n])}


def _differing(planfix: Contact, person: GooglePerson, *, kept: bool) -> list[str]:
    """An adopted person may have values of its own that Planfix never had, and so may any other if `kept`."""
    adopted = kept or any(stamp.kept is Kept.ADOPTED for stamp in person.stamps)
    found = []
    for name, value in planfix.items():
        other = person.fields.get(name)
        if other is None:
            continue
        if name in ELEMENT_FIELDS:
            mine, theirs = _kinds(value), _kinds(other)
            missing = mine.keys() - theirs.keys()
            extra = set() if adopted else theirs.keys() - mine.keys()
            kinds = [k for k in mine.keys() & theirs.keys() if mine[k] and theirs[k] and mine[k] != theirs[k]]
            if missing or extra or kinds:
                found.append(name)
        elif value != other and not (adopted and not value):
            found.append(name)
    return found


def _kinds(value: Any) -> dict[str, str]:
    return {element.key: element.kind for element in value}


def _implausible(world: World, row: Row) -> list[str]:
    """A state that nothing in the story explains."""
    number, state, reason = row["contact"], row["state"], row["reason"]
    if not reason:
        return [f"contact {number} is {state} without a reason"]
    hands = world.hands
    plausible = {
        "dismissed": number in hands.dismissing,
        "merged": number in hands.dismissing,
        "possible_duplicate": bool(hands.touched) or number in hands.dismissing,
    }.get(state, True)
    return [] if plausible else [f"contact {number} is {state} for no reason: {reason}"]


# ---- I2, I4, I6


def duplicates(world: World, now: Snapshot, held: Collection[int], merged: Collection[int]) -> list[str]:
    """Two people with one stamp, unless a human copied or merged them. `held`: contacts that wait for a person with a
    reason: what was merged into theirs keeps its stamp until then. `merged`: contacts that are merged into another
    one: when that one left, the person belongs to nobody and is not written any more."""
    broken = []
    for account in now.google:
        for contact, people in world.hands.people_of(account).items():
            if len(people) > 1:
                broken.append(f"I2: contact {contact} has {len(people)} people in {account}")
        for resource, person in world.checker.people(now.google[account]).items():
            ours = {world.label(filter_id) for filter_id in world.synced} & set(person.labels)
            waits = any(stamp.contact in held for stamp in person.stamps)
            waits = waits or all(stamp.contact in merged for stamp in person.stamps)
            if len(person.stamps) > 1 and ours and not waits:  # one that was thrown away is left alone
                broken.append(f"I2: {resource} has the stamps of {[s.contact for s in person.stamps]}")
    markers: dict[str, list[int]] = {}
    for row in now.planfix["contacts"]:
        if row.get("sourceObjectId"):
            markers.setdefault(row["sourceObjectId"], []).append(row["id"])
    broken += [f"I2: contacts {numbers} were created for one person" for numbers in markers.values() if numbers[1:]]
    return broken


def isolation(world: World, now: Snapshot, filters: Iterable[Synced]) -> list[str]:
    """With one account `convergence` says it all, and knows who is outside the filter with reason."""
    apart = [one for one in filters if _members(world, one)]
    return told(world.checker.isolation(now, apart)) if len({one.account for one in apart}) > 1 else []


def planfix_kept(world: World, now: Snapshot) -> list[str]:
    assert world.before is not None
    return told(world.checker.planfix_kept(world.before, now, world.hands.trashed, world.planfix.violations))


def foreign(world: World, now: Snapshot) -> list[str]:
    assert world.before is not None
    people = {r: p for dump in now.google.values() for r, p in world.checker.people(dump).items()}
    ours = {resource for resource, person in people.items() if person.stamps} | world.hands.adopted
    return told(world.checker.foreign_data(world.before, now, world.hands.touched | ours))


# ---- I3


def nothing_lost(
    world: World, now: Snapshot, filters: Iterable[Synced], rows: Mapping[str, list[dict[str, Any]]]
) -> list[str]:
    """A value may stand in the history of any filter that holds the contact."""
    broken = []
    for claim in world.hands.claims:
        theirs = [one for one in filters if one.account == claim.account]
        mine = [row for one in theirs for row in rows[one.filter_id] if row["contact"] == claim.contact]
        member = any(claim.contact in _members(world, one) for one in theirs)
        if claim.field in _hidden(world):
            continue
        if (mine or member) and not _in_history(world, theirs, claim):
            broken += _lost(world, claim, mine, member)
    return [f"I3: {one}" for one in broken]


def _lost(world: World, claim: Claim, rows: list[Row], member: bool) -> list[str]:
    planfix = world.hands.in_planfix(claim.contact)
    resource = world.hands.person_of(claim.contact, claim.account)
    google = None if resource is None else world.hands.in_google(claim.account, resource)
    sides = {"planfix": holds(claim, planfix), "google": holds(claim, google)}
    notes = " ".join(note for row in rows for note in row["notes"])
    if all(sides.values()) or f"{claim.field}:" in notes:
        return []
    if claim.side == "google" and any(row["state"] == "merged" for row in rows):
        return []  # typed on a person that had the stamps of several contacts: it is the survivor's now
    states = {row["state"] for row in rows}
    linked = member and resource is not None and states & {*HEALTHY} and not states & {*HELD}
    if not linked and (sides[claim.side] or (claim.side == "google" and sides["planfix"])):
        return []
    if "read-only" in notes.casefold() and claim.side == "google":
        return []
    return [f"{claim} is lost: {sides}, {rows}"]


def _in_history(world: World, filters: Iterable[Synced], claim: Claim) -> bool:
    wanted = claim.key or claim.value
    entries = [entry for one in filters for entry in world.history(one.filter_id, claim.contact)]
    return any(wanted in str(entry) or claim.value in str(entry) for entry in entries)


# ---- I5, I9


def absences(world: World, now: Snapshot, filters: Iterable[Synced]) -> list[str]:
    """The sync deletes people only of contacts that were at some time not in the filter, as its owner sees it."""
    broken = []
    for write in world.vendors.writes:
        if write.vendor != "google" or not write.path.endswith(":deleteContact") or write.status != 200:
            continue
        resource = write.path.removeprefix("/v1/").removesuffix(":deleteContact")
        contact = world.hands.contact_of_deleted(resource)
        if contact is not None and contact not in world.hands.left:
            broken.append(f"I5: the person of contact {contact} was deleted although it never left")
    return broken


def quotas(world: World) -> list[str]:
    refused = {name: n for name, n in world.google.counters()["refused"].items() if name != "full_sync" and n}
    found = [f"I9: Google refused {n} requests for {name}" for name, n in refused.items()]
    if (count := world.planfix.counters["too_many_requests"]) and not world.vendors.late:
        found.append(f"I9: Planfix refused {count} requests")
    return found + [f"I9: {violation}" for violation in world.google.violations]
