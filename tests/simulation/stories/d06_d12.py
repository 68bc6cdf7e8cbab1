"""D6 to D12 of the disasters that other contact syncs have had: false changes, other tools, flipping filters, merges.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

from typing import Any

import pytest
from stories.shared import WAYS

from whole import check
from whole.telling import (
    copy_back,
    harsh,
    in_trash,
    members,
    named,
    people,
    states,
    thrown_away,
)

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


FORMATTED = {"spaces": ("notes", "position", "given"), "a site": ("site",), "an address": ("address",)}


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
        check(world, formatted=FORMATTED.get(what, ()))


def test_d07_the_same_number_typed_in_two_ways_on_both_sides_is_one() -> None:
    """And both people were right: each had typed the number as it is usual there."""
    with harsh(planfix={"reformats": True}, settings={"DEFAULT_REGION": "DE"}) as world:
        office = world.office(2)
        ann = office.contacts[0]
        person = world.person(ann, office.account)
        world.hands.touched.add(person)
        mark = world.mark()
        world.planfix.edit_contact(ann, {"phones": [{"number": "030 123456", "type": 2}]})
        world.google.edit_person(
            office.account.email, person, {"phoneNumbers": [{"value": "+49 (30) 12-34-56", "type": "work"}]}
        )
        world.settle()
        assert [write for write in world.writes(mark) if write.status == 200] == []
        assert world.person_json(ann, office.account)["phoneNumbers"][0]["value"] == "+49 (30) 12-34-56"
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


@pytest.mark.parametrize("survivor", ["the private person", "our person"])
@pytest.mark.parametrize("away", [False, True], ids=["seen at once", "while nobody watched"])
def test_d10_our_person_merged_with_a_private_one_stays_the_contacts(survivor: str, away: bool) -> None:
    """The same tool made the merged contact once more, since the name it knew was gone."""
    with harsh() as world:
        office = world.office(3)
        ann, email = office.contacts[0], office.account.email
        ours = world.person(ann, office.account)
        private = world.google.add_person(
            email,
            {"names": named("Annie", ""), "nicknames": [{"value": "A."}], "urls": [{"value": "https://a.test"}]},
        )
        world.settle()
        if away:
            world.stop()
        kept, gone = (private, ours) if survivor == "the private person" else (ours, private)
        world.hands.touched |= {kept, gone}
        world.google.merge_people(email, kept, gone)
        world.start()
        world.settle()
        assert states(world, office) == dict.fromkeys(office.contacts, "in_sync")
        assert world.person(ann, office.account) == kept
        assert world.person_json(ann, office.account)["nicknames"][0]["value"] == "A."
        assert len(people(world, office)) == 3
        assert in_trash(world, office) == []
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


# ---- D12


@pytest.mark.parametrize("two_way", WAYS, ids=WAYS.values())
@pytest.mark.parametrize("how", ["deleted", "label taken off"])
def test_d12_what_is_thrown_away_in_google_stays_away(how: str, two_way: bool) -> None:
    """Salesforce made a deleted contact again at the next sync, "by design"."""
    with harsh() as world:
        office = world.office(4)
        ann, email = office.contacts[0], office.account.email
        world.two_way(office.filter_id, two_way)
        world.settle()
        person = world.person(ann, office.account)
        if how == "deleted":
            world.hands.delete_person(email, person, ann)
        else:
            world.hands.touched.add(person)
            world.hands.dismissing.add(ann)
            world.google.remove_from_label(email, person, "Clients")
        world.settle()
        assert states(world, office)[ann] == "dismissed"
        mark = world.mark()
        world.planfix.edit_contact(ann, {"description": "edited later"})
        world.settle()
        world.planfix.remove_from_filter(office.filter_id, ann)
        world.hands.note_absences()
        world.settle()
        world.planfix.put_into_filter(office.filter_id, ann)
        world.settle()
        assert world.idle(3) == []
        assert world.writes(mark) == []
        assert states(world, office)[ann] == "dismissed"
        assert len(members(world, office)) == 3
        assert world.planfix.store.live(ann) is not None
        check(world)


@pytest.mark.parametrize("two_way", WAYS, ids=WAYS.values())
@pytest.mark.parametrize("how", ["trashed", "out of the filter", "not visible any more"])
@pytest.mark.parametrize("kept", ["ours", "adopted"])
def test_d12_what_leaves_in_planfix_leaves_the_phone_and_stays_away(how: str, kept: str, two_way: bool) -> None:
    """The other direction: the deleted contact's copy was taken for a new one and came back into the CRM."""
    with harsh() as world:
        office = world.office(4, go=False)
        ann, email = office.contacts[0], office.account.email
        if kept == "adopted":
            fields = {
                "names": named("Given1", "Family1"),
                "emailAddresses": [{"value": f"p1.{office.group}@people.test"}],
            }
            world.hands.adopted.add(world.google.add_person(email, fields))
            world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.two_way(office.filter_id, two_way)
        world.settle()
        person, contacts = world.person(ann, office.account), len(world.planfix.store.contacts)
        if how == "trashed":
            world.hands.trash(ann)
        elif how == "out of the filter":
            world.planfix.remove_from_filter(office.filter_id, ann)
        else:
            world.planfix.set_visible(office.owner, [ann], False)
        world.hands.note_absences()
        world.settle()
        assert person not in members(world, office)
        assert (person in people(world, office)) == (kept == "adopted")
        assert world.idle(3) == []
        assert len(world.planfix.store.contacts) == contacts
        assert len(members(world, office)) == 3
        check(world)
