"""D1 to D5 of the disasters that other contact syncs have had: order, lists that lie, lost answers.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from whole import check
from whole.telling import (
    answer_all,
    defaults,
    harsh,
    labels,
    members,
    named,
    people,
    states,
    thrown_away,
    told,
    type_in,
    warnings,
)

# ---- D1


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
def test_d01_history_told_again_in_any_order_deletes_nothing(order: str) -> None:
    """Shared Contacts got its history out of order, deletes after re-creates, and threw the re-created away."""
    with harsh() as world:
        office = world.office(4)
        ann, bob, cem, dan = office.contacts
        email = office.account.email
        for text in ("first", "second", "first"):
            world.hands.edit_planfix(email, ann, "notes", text)
            world.hands.edit_google(email, world.person(bob, office.account), "notes", text, bob)
            world.run_for(250.0)
        world.planfix.remove_from_filter(office.filter_id, cem)
        world.hands.note_absences()
        world.settle()
        world.planfix.put_into_filter(office.filter_id, cem)
        world.google.rename_person_resource(email, world.person(dan, office.account))
        world.settle()
        gone = world.person(ann, office.account)
        world.hands.delete_person(email, gone, ann)
        world.settle()
        assert states(world, office)[ann] == "dismissed"
        world.google.restore_person(email, gone)
        world.settle()
        everybody, mark = people(world, office), world.mark()
        numbers = list(range(told(world)))
        if order == "newest first":
            numbers.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(numbers)
        for number in numbers:
            world.replay(told(world) - 1 - number)
            world.run_for(1.0)
        world.settle()
        assert world.writes(mark) == []
        assert people(world, office) == everybody
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


# ---- D2

NOTHING: dict[str, Any] = {"kind": "empty_page", "path": "contactGroups$", "times": None}
TAKEN: dict[str, Any] = {
    "kind": "status",
    "path": "contactGroups$",
    "method": "POST",
    "times": None,
    "status": 409,
    "body": '{"error":{"code":409,"message":"Contact group name already exists.","status":"ALREADY_EXISTS"}}',
}


@pytest.mark.parametrize("meanwhile", ["nobody does anything", "the filter is renamed", "our state is lost"])
def test_d02_an_empty_list_of_labels_costs_no_label_and_no_membership(meanwhile: str) -> None:
    """Contacts+ saw no groups for a while, was refused new ones with 409, and deleted: all labels were gone."""
    with harsh() as world:
        office = world.office(4)
        friends = world.google.create_label(office.account.email, "Friends")
        for contact in office.contacts[:2]:
            person = world.person(contact, office.account)
            world.hands.touched.add(person)
            world.google.add_to_label(office.account.email, person, friends)
        world.settle()
        before, ours = labels(world, office), members(world, office)
        if meanwhile == "our state is lost":
            world.stop()
            world.lose_state("state.account.", "state.filter.")
        world.fault(**NOTHING)
        world.fault(**TAKEN)
        mark = world.mark()
        if meanwhile == "the filter is renamed":
            world.planfix.rename_filter(office.filter_id, "Customers")
        if meanwhile == "our state is lost":
            world.enable(office.filter_id, office.account)
        world.run_for(1300.0)
        assert thrown_away(world.writes(mark)) == []
        assert labels(world, office).keys() == before.keys()
        assert members(world, office, next(iter(before))) == ours
        world.mended()
        world.settle()
        answer_all(world, office)
        assert labels(world, office).keys() == before.keys()
        assert members(world, office) == ours
        assert len(members(world, office, friends)) == 2
        check(world)


def test_d02_a_label_of_the_persons_own_with_the_filters_name_is_left_alone() -> None:
    """The same tool took a name that was taken for a reason to delete whoever had it."""
    with harsh() as world:
        office = world.office(3, go=False)
        email = office.account.email
        own = world.google.create_label(email, "Clients")
        mum = world.google.add_person(email, {"names": named("Mum", ""), "phoneNumbers": [{"value": "+4930123456"}]})
        world.google.add_to_label(email, mum, own)
        world.run_for(60.0)
        world.fault(**{**NOTHING, "times": 3})
        world.enable(office.filter_id, office.account)
        world.settle()
        assert members(world, office, own) == {mum}
        assert labels(world, office)[own] == "Clients"
        assert len(members(world, office)) == 3
        check(world)


# ---- D3

CUTS: dict[str, dict[str, Any]] = {
    "a short page": {"kind": "short_page"},
    "an empty page": {"kind": "empty_page"},
    "a page of one": {"kind": "short_page", "keep": 1},
    "fifteen in all": {"kind": "capped_list", "keep": 15},
    "a truncated body": {"kind": "truncate_body"},
    "a count that does not fit": {"kind": "short_page", "honest": True},
}


TELLING = {"truncate_body": ("connections", "contact/list")}
"""Lists of each polling that show by themselves that something is missing. (Planfix tells no counts.)"""


@pytest.mark.parametrize("lists", ["connections", "contact/list", "contactGroups", "contact/filters|user/list"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_d03_a_list_without_its_end_deletes_nobody(lists: str, cut: dict[str, Any]) -> None:
    """gContactSync took the people that Google's capped page left out for deleted ones: 151 of 301."""
    with harsh() as world:
        office = world.office(24)
        everybody, ours, mark = people(world, office), members(world, office), world.mark()
        world.fault(path=lists, times=None, **cut)
        world.google.expire_sync_tokens(office.account.email)
        world.sync(office.filter_id)
        lines = len(world.system.log)
        world.run_for(550.0)
        if lists in TELLING.get(cut["kind"], ()) or (cut.get("honest") and lists == "connections"):
            assert len(warnings(world, lines)) == 1
        world.run_for(1350.0)
        assert world.writes(mark) == []
        world.mended()
        world.run_for(3700.0)
        world.sync(office.filter_id)
        world.settle()
        assert world.writes(mark) == []
        assert people(world, office) == everybody
        assert members(world, office) == ours
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


@pytest.mark.parametrize("at_most", [1, 2, 3, 5])
@pytest.mark.parametrize("lists", ["connections", "contact/list", "contactGroups"])
def test_d03_a_list_that_is_always_cut_at_the_same_length_deletes_nobody(lists: str, at_most: int) -> None:
    """The same with few contacts, where whoever is asked about may be cut off each time, too."""
    with harsh() as world:
        office = world.office(7)
        everybody, mark = people(world, office), world.mark()
        world.fault("capped_list", lists, times=None, keep=at_most)
        world.google.expire_sync_tokens(office.account.email)
        world.sync(office.filter_id)
        world.run_for(1900.0)
        assert world.writes(mark) == []
        world.mended()
        world.settle()
        assert people(world, office) == everybody
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


@pytest.mark.parametrize("at_most", [3, 4, 5])
def test_d03_a_cut_list_of_who_may_be_edited_locks_nobody(at_most: int) -> None:
    """The same list of rights: whoever was cut off looked locked, and what people typed on the phone was undone."""
    with harsh() as world:
        office = world.office(7)
        email = office.account.email
        world.fault("capped_list", "contact/list", times=None, keep=at_most)
        for contact in office.contacts:
            world.hands.edit_google(
                email, world.person(contact, office.account), "position", f"Chief {contact}", contact
            )
        world.run_for(1500.0)
        for contact in office.contacts:
            person = world.person(contact, office.account)
            assert (world.hands.in_google(email, person) or {})["position"] == f"Chief {contact}"
        world.mended()
        world.settle()
        for contact in office.contacts:
            assert (world.hands.in_planfix(contact) or {})["position"] == f"Chief {contact}"
        check(world)


# ---- D4


def test_d04_our_own_echo_makes_nothing() -> None:
    """A peer's 200 contacts became 603 in five idle runs; in Frappe each contact came fifteen times."""
    with harsh() as world:
        office = world.office(9, go=False)
        world.google.add_private_people(office.account.email, 6)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        assert len(people(world, office)) == 15
        contacts = len(world.planfix.store.contacts)
        assert world.idle(5) == []
        world.google.expire_sync_tokens(office.account.email)
        world.restart()
        assert world.idle(5) == []
        assert len(people(world, office)) == 15
        assert len(world.planfix.store.contacts) == contacts
        check(world)


# ---- D5

LOST: dict[str, dict[str, Any]] = {
    "cut": {"kind": "lost_answer"},
    "503": {"kind": "status_after", "status": 503},
    "half a body": {"kind": "truncate_body"},
    "killed": {},
}
CREATES = {
    "one person": ("people:createContact", "POST", 2),
    "a batch of people": ("batchCreateContacts", "POST", 9),
    "a label": ("contactGroups$", "POST", 2),
    "a Planfix contact": ("contact/$", "POST", 2),
}
TYPED: dict[str, dict[str, Any]] = {
    "a name alone": {"names": named("Eve", "Typed")},
    "a number": {"names": named("Eve", "Typed"), "phoneNumbers": [{"value": "+4930987654"}]},
    "an address": {"names": named("Eve", "Typed"), "emailAddresses": [{"value": "eve@typed.test"}]},
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize("what", CREATES)
def test_d05_what_was_stored_and_not_answered_is_not_made_twice(what: str, lost: dict[str, Any]) -> None:
    """davdroid's server stored the contact, the answer got lost, and the next sync made it once more."""
    path, method, count = CREATES[what]
    with harsh() as world:
        office = world.office(count, go=False)
        world.start()
        if lost:
            world.fault(path=path, method=method, times=2, **lost)
        else:
            world.kill("writer", "after", f"{method} .*{path}")
        world.enable(office.filter_id, office.account, defaults=defaults(office))
        world.settle()
        if what == "a Planfix contact":
            type_in(world, office, **TYPED["a number"])
            world.settle()
        assert any(fault.hits for fault in world.faults.rules) or world.system.kills
        assert len(people(world, office)) == len(members(world, office))
        assert (
            len(world.planfix.store.contacts) == len(members(world, office)) == count + (what == "a Planfix contact")
        )
        assert list(labels(world, office).values()) == ["Clients"]
        check(world)


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@pytest.mark.parametrize("fields", TYPED.values(), ids=TYPED)
def test_d05_a_contact_made_in_planfix_without_an_answer_is_found_by_whatever_it_has(
    fields: dict[str, Any], lost: dict[str, Any]
) -> None:
    """The same towards the CRM, which refuses a second e-mail, but takes a second contact without one."""
    with harsh() as world:
        office = world.office(2)
        if lost:
            world.fault(path="contact/$", method="POST", times=2, **lost)
        else:
            world.kill("writer", "after", "POST .*contact/$")
        person = type_in(world, office, **fields)
        world.settle()
        assert any(fault.hits for fault in world.faults.rules) or world.system.kills
        assert len(world.planfix.store.contacts) == 3
        assert world.person(max(world.planfix.store.contacts), office.account) == person
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


def test_d05_a_contact_that_two_filters_hold_is_made_once_although_the_answer_was_lost() -> None:
    """The same with two lists of one employee: the second one met the contact before the first one's answer came."""
    with harsh() as world:
        office = world.office(2)
        second = world.filter("Second", office.owner, group=office.group)
        world.enable(second, office.account)
        world.settle()
        world.fault("lost_answer", "contact/$", method="POST")
        world.fault("delay", r"contact/list|contact/\d+", times=None, seconds=25.0)
        type_in(world, office, **TYPED["a name alone"])
        world.settle()
        assert len(people(world, office)) == 3
        check(world)
