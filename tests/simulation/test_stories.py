"""Disasters that other contact syncs have had (spec, 5-scenarios), D1 to D20: each told once, with the fault on.

The vendors play the harsher way wherever their behaviour is not known (`whole/telling.py`). What must hold is read
from the vendors' contents, and at the end of nearly every story all invariants are checked.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from whole import World, check
from whole.telling import (
    answer_all,
    defaults,
    harsh,
    in_trash,
    labels,
    members,
    named,
    people,
    states,
    thrown_away,
    told,
    type_in,
    without_versions,
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
    "a truncated body": {"kind": "truncate_body"},
    "a count that does not fit": {"kind": "short_page", "honest": True},
}


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
        world.run_for(1900.0)
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
            type_in(world, office, names=named("Eve", "Typed"), phoneNumbers=[{"value": "+4930987654"}])
            world.settle()
        assert any(fault.hits for fault in world.faults.rules) or world.system.kills
        assert len(people(world, office)) == len(members(world, office))
        assert (
            len(world.planfix.store.contacts) == len(members(world, office)) == count + (what == "a Planfix contact")
        )
        assert list(labels(world, office).values()) == ["Clients"]
        check(world)
