"""Disasters that other contact syncs have had (spec, 5-scenarios), D1 to D20: each told once, with the fault on.

The vendors play the harsher way wherever their behaviour is not known (`whole/telling.py`). What must hold is read
from the vendors' contents, and at the end of nearly every story all invariants are checked.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from whole import check
from whole.telling import (
    answer_all,
    copy_back,
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


# ---- D6


@pytest.mark.parametrize("side", ["google", "planfix", "both"])
def test_d06_times_and_etags_that_move_without_a_change_write_nothing(side: str) -> None:
    """Mailing somebody and Google's night jobs moved `updateTime`: 4,300 of 4,300 people came in one delta."""
    with harsh() as world:
        office = world.office(8)
        mark = world.mark()
        for _ in range(4):
            if side != "planfix":
                world.google.touch_all(office.account.email)
            if side != "google":
                world.planfix.touch_all()
            world.run_for(350.0)
        world.settle()
        assert world.writes(mark) == []
        check(world)


# ---- D7


UNTIDY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "phones": (
        {"phones": [{"number": "+49 (0)30 / 123-456", "type": 2}, {"number": "(212) 555-0123", "type": 3}]},
        {"phoneNumbers": [{"value": "+49.30.123456", "type": "work"}, {"value": "212 555 0199"}]},
    ),
    "an address": (
        {"address": "1  High Street ,  Springfield "},
        {"addresses": [{"formattedValue": " 2  High   Street\nSpringfield "}]},
    ),
    "spaces": (
        {"description": "two  spaces ", "position": " Head  of Sales"},
        {"names": [{"givenName": " Ann  Lee "}]},
    ),
    "case": ({"email": "Ann.Lee@Acme.TEST"}, {"emailAddresses": [{"value": "ANN.LEE@acme.Test", "type": "work"}]}),
    "Unicode form": (
        {"lastname": "Mu\u0308ller", "description": "cafe\u0301"},
        {"names": [{"givenName": "Rene\u0301", "familyName": "Mu\u0308ller"}]},
    ),
    "a site": ({"site": "example.test/Ann"}, {"urls": [{"value": "Example.test/ann", "type": "homePage"}]}),
}


@pytest.mark.parametrize("side", ["planfix", "google"])
@pytest.mark.parametrize("what", UNTIDY)
def test_d07_servers_that_tidy_up_what_is_written_get_one_write(what: str, side: str) -> None:
    """Two syncs of phone numbers, each with a format of its own, wrote to each other for ever."""
    with harsh(google={"reformat": True}, planfix={"reformats": True, "emoji": "strip"}) as world:
        office = world.office(2)
        ann = office.contacts[0]
        mark = world.mark()
        if side == "planfix":
            world.planfix.edit_contact(ann, UNTIDY[what][0])
        else:
            person = world.person(ann, office.account)
            world.hands.touched.add(person)
            world.google.edit_person(office.account.email, person, UNTIDY[what][1])
        world.settle()
        writes = world.writes(mark)
        assert 1 <= len(writes) <= 2
        assert max(sum(one.vendor == vendor for one in writes) for vendor in ("planfix", "google")) == 1
        assert world.idle(3) == []
        check(world)


# ---- D8


@pytest.mark.parametrize("where", ["google", "planfix", "both"])
def test_d08_another_tool_that_copies_contacts_back_is_stopped_within_three_cycles(where: str) -> None:
    """Two tools synced one list and each copied the other's copies under new ids, until the account was full."""
    with harsh() as world:
        office = world.office(4)
        email = office.account.email
        ours = set(office.contacts)
        cycles, made = 0, 0
        while world.status(office.filter_id)["state"] != "frozen" and cycles < 8:
            cycles += 1
            for contact in sorted(ours):
                made += copy_back(world, office, contact, where)
            world.run_for(800.0)
        mark = world.mark()
        assert cycles <= 3, world.contacts(office.filter_id)
        assert "another tool" in world.status(office.filter_id)["reason"]
        world.run_for(1500.0)
        assert world.writes(mark) == []
        assert len(people(world, office)) + len(world.planfix.store.contacts) <= 8 + 2 * made
        assert not in_trash(world, office)
        assert set(world.hands.people_of(email)) >= ours


@pytest.mark.parametrize("side", ["google", "planfix"])
def test_d08_another_tool_that_writes_its_own_value_back_is_stopped(side: str) -> None:
    """The same two tools over one field: each held its own value for the newer one."""
    with harsh() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        for turn in range(12):
            if world.status(office.filter_id)["state"] == "frozen":
                break
            text = ("theirs", "ours")[turn % 2]
            if side == "planfix":
                world.planfix.edit_contact(ann, {"position": text})
            else:
                world.hands.edit_google(email, person, "position", text, 0)
            world.run_for(400.0)
        assert turn <= 6
        assert "another tool" in world.status(office.filter_id)["reason"]


# ---- D9


EMPTIED = ["conditions", "access lost", "403", "an empty answer", "most of it"]


@pytest.mark.parametrize("how", EMPTIED)
def test_d09_a_filter_that_empties_and_fills_again_keeps_its_people(how: str) -> None:
    """Somebody changed a list's conditions for an hour, or lost a right: everybody's phone was emptied."""
    with harsh() as world:
        office = world.office(24)
        everybody, mark = people(world, office), world.mark()
        match how:
            case "conditions":
                world.planfix.set_filter_condition(office.filter_id, {"kind": "group", "group": 9999})
            case "most of it":
                world.planfix.set_filter_members(office.filter_id, office.contacts[:2])
            case "access lost":
                world.planfix.set_visible(office.owner, None, False)
            case "403":
                world.fault("status", "contact/list", times=None, status=403, body='{"result":"fail","code":7}')
            case _:
                world.fault("empty_page", "contact/list", times=None)
        world.hands.note_absences()
        world.run_for(2000.0)
        assert len(thrown_away(world.writes(mark))) <= 10
        assert not [one for one in world.writes(mark) if one.vendor == "planfix"]
        frozen = bool(world.status(office.filter_id)["plans"])
        assert frozen == (how != "403")
        world.planfix.set_visible(office.owner, None, True)
        world.planfix.set_filter_condition(office.filter_id, {"kind": "group", "group": office.group})
        world.mended()
        world.settle()
        assert people(world, office) == everybody
        assert len(members(world, office)) == 24
        assert set(states(world, office).values()) == {"in_sync"}
        assert world.status(office.filter_id)["plans"] == []
        check(world)


def test_d09_an_empty_filter_that_is_meant_so_is_approved_once() -> None:
    """The other half of it: a guard that nobody could get past."""
    with harsh() as world:
        office = world.office(12)
        world.planfix.set_filter_condition(office.filter_id, {"kind": "group", "group": 9999})
        world.hands.note_absences()
        world.settle()
        assert len(people(world, office)) == 12
        assert len(world.approve(office.filter_id)) == 1
        world.settle()
        assert people(world, office) == []
        assert all(world.planfix.store.live(contact) for contact in office.contacts)
        world.planfix.set_filter_condition(office.filter_id, {"kind": "group", "group": office.group})
        world.settle()
        assert len(members(world, office)) == 12
        check(world)


# ---- D10


@pytest.mark.parametrize("named_previous", [True, False], ids=["previous name told", "previous name not told"])
def test_d10_two_people_merged_in_google_leave_both_contacts_in_planfix(named_previous: bool) -> None:
    """GoogleMonicaSync followed "Merge & fix" and destroyed the history of the CRM's record."""
    with harsh(google={"merge_names_previous": named_previous}) as world:
        office = world.office(3)
        ann, bob, _ = office.contacts
        email = office.account.email
        kept, gone = world.person(ann, office.account), world.person(bob, office.account)
        world.hands.touched |= {kept, gone}
        world.hands.dismissing |= {ann, bob}
        before = world.planfix.shown(bob)
        world.google.merge_people(email, kept, gone)
        world.settle()
        assert states(world, office) == {ann: "in_sync", bob: "merged", office.contacts[2]: "in_sync"}
        row = world.row(office.filter_id, bob)
        assert row is not None
        assert str(ann) in row["reason"] or "Family1" in row["reason"]
        assert {k: v for k, v in world.planfix.shown(bob).items() if k != "dateOfLastUpdate"} == {
            k: v for k, v in before.items() if k != "dateOfLastUpdate"
        }
        assert world.planfix.store.live(ann) is not None
        world.planfix.edit_contact(bob, {"description": "edited later"})
        world.settle()
        assert len(people(world, office)) == 2
        check(world)


# ---- D11


def test_d11_two_contacts_merged_in_planfix_leave_the_survivors_link() -> None:
    """A CRM's merge left a zombie: the loser's person stayed on the phone and was made again after each removal."""
    with harsh() as world:
        office = world.office(4)
        ann, bob, *_ = office.contacts
        person = world.person(ann, office.account)
        world.planfix.merge_contacts(ann, bob)
        world.hands.trashed.add(bob)
        world.hands.note_absences()
        world.settle()
        assert world.person(ann, office.account) == person
        assert bob not in world.hands.people_of(office.account.email)
        assert states(world, office) == {number: "in_sync" for number in office.contacts if number != bob}
        numbers = {one.get("canonicalForm") for one in world.person_json(ann, office.account)["phoneNumbers"]}
        assert len(numbers) == 2
        assert len(people(world, office)) == 3
        check(world)


def test_d11_a_contact_archived_and_brought_back_has_one_person() -> None:
    """The CRM's archive: an archived contact came back as two."""
    with harsh() as world:
        office = world.office(3)
        ann = office.contacts[0]
        world.hands.trash(ann)
        world.hands.note_absences()
        world.settle()
        assert ann not in states(world, office)
        assert len(people(world, office)) == 2
        world.planfix.restore_contact(ann)
        world.settle()
        assert states(world, office)[ann] == "in_sync"
        assert len(people(world, office)) == 3
        check(world)
