"""D13 to D20 of the disasters that other contact syncs have had: what must live on, fields, places, mix-ups.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

from typing import Any

import pytest
from stories.shared import WAYS

from contactsync.simulators.invariants import Checker
from contactsync_contracts.contact import Element
from whole import check
from whole.telling import (
    changed_fields,
    harsh,
    members,
    named,
    people,
    states,
    type_in,
    without,
    without_versions,
)

# ---- D13


@pytest.mark.parametrize("two_way", WAYS, ids=WAYS.values())
@pytest.mark.parametrize("side", ["planfix", "google"])
def test_d13_what_was_made_on_one_side_lives_after_the_second_sync(side: str, two_way: bool) -> None:
    """TbSync deleted a record made on one side at the second sync: it did not recognise it."""
    with harsh() as world:
        office = world.office(2)
        email = office.account.email
        world.two_way(office.filter_id, two_way)
        world.settle()
        if side == "planfix":
            eve = world.contact("Eve", "New", phones=[{"number": "+4930987654", "type": 1}], group=office.group)
        else:
            person = type_in(world, office, names=named("Eve", "New"), phoneNumbers=[{"value": "+4930987654"}])
        for _ in range(2):
            world.sync(office.filter_id)
            world.settle()
        if side == "google" and not two_way:
            assert person in members(world, office)
            assert len(world.planfix.store.contacts) == 2
            reasons = [row["reason"] for row in world.contacts(office.filter_id) if row["person"] == person]
            assert "Reverse sync is off" in reasons[0]
            return
        if side == "planfix":
            person = world.person(eve, office.account)
            world.hands.edit_google(email, person, "position", "Chief", eve if two_way else 0)
        else:
            eve = max(world.planfix.store.contacts)
            world.hands.edit_planfix(email, eve, "position", "Chief")
        for _ in range(2):
            world.sync(office.filter_id)
            world.settle()
        assert world.person(eve, office.account) == person
        assert world.planfix.store.live(eve) is not None
        assert (world.hands.in_planfix(eve) or {})["position"] == ("Chief" if two_way else "")
        assert (world.hands.in_google(email, person) or {})["position"] == ("Chief" if two_way else "")
        assert len(members(world, office)) == 3
        check(world)


# ---- D14


def test_d14_an_edit_in_google_outlives_the_contacts_leaving_of_the_filter() -> None:
    """vdirsyncer let a deletion win over the edit on the other side, and the edit was gone."""
    with harsh() as world:
        office = world.office(3)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        world.stop()
        world.planfix.remove_from_filter(office.filter_id, ann)
        world.hands.note_absences()
        world.hands.edit_google(email, person, "notes", "called on Monday", ann)
        world.start()
        world.settle()
        assert (world.hands.in_planfix(ann) or {})["notes"] == "called on Monday"
        assert person not in people(world, office)
        check(world)


def test_d14_an_edit_in_google_of_a_contact_trashed_in_planfix_stands_in_the_history() -> None:
    """The same where nothing can be written any more: the value must be found somewhere."""
    with harsh() as world:
        office = world.office(3)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        world.stop()
        world.hands.trash(ann)
        world.hands.note_absences()
        world.hands.edit_google(email, person, "notes", "called on Monday", ann)
        world.start()
        world.settle()
        assert "called on Monday" in str(world.history(office.filter_id, ann))
        assert person not in people(world, office)
        check(world)


def test_d14_an_edit_in_planfix_outlives_the_persons_deletion_in_google() -> None:
    """And the other way round."""
    with harsh() as world:
        office = world.office(3)
        ann, email = office.contacts[0], office.account.email
        world.stop()
        world.hands.delete_person(email, world.person(ann, office.account), ann)
        world.hands.edit_planfix(email, ann, "notes", "called on Monday")
        world.start()
        world.settle()
        assert (world.hands.in_planfix(ann) or {})["notes"] == "called on Monday"
        assert states(world, office)[ann] == "dismissed"
        check(world)


@pytest.mark.parametrize("edited", ["planfix", "google"])
def test_d14_a_phone_edited_on_one_side_outlives_its_removal_on_the_other(edited: str) -> None:
    """And within one contact: the number that somebody had just corrected was removed."""
    with harsh() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        phones = (world.hands.in_planfix(ann) or {})["phones"]
        first = phones[0]
        assert isinstance(first, Element)
        corrected = (Element(first.key, first.value, "work"),)
        world.stop()
        if edited == "planfix":
            world.hands.edit_planfix(email, ann, "phones", corrected)
            world.hands.edit_google(email, person, "phones", (), ann)
        else:
            world.hands.edit_google(email, person, "phones", corrected, ann)
            world.hands.edit_planfix(email, ann, "phones", ())
        world.start()
        world.settle()
        for side in (world.hands.in_planfix(ann), world.hands.in_google(email, person)):
            assert [(one.key, one.kind) for one in (side or {})["phones"] if isinstance(one, Element)] == [
                (first.key, "work")
            ]
        check(world)


# ---- D15

FOREIGN: dict[str, Any] = {
    "names": [{"givenName": "Given1", "familyName": "Family1", "honorificPrefix": "Dr.", "phoneticGivenName": "Gi"}],
    "organizations": [
        {"title": "Chief", "name": "Acme", "department": "Sales", "location": "Berlin", "symbol": "AC"}
    ],
    "nicknames": [{"value": "Annie"}],
    "events": [{"date": {"year": 2001, "month": 2, "day": 3}, "type": "anniversary"}],
    "relations": [{"person": "Bob", "type": "spouse"}],
    "interests": [{"value": "chess"}],
    "externalIds": [{"value": "77", "type": "customer"}],
    "calendarUrls": [{"url": "https://calendar.test/ann", "type": "home"}],
    "sipAddresses": [{"value": "sip:ann@acme.test", "type": "work"}],
    "userDefined": [{"key": "shoe size", "value": "38"}],
    "clientData": [{"key": "csync-uid", "value": "another application's"}],
    "addresses": [{"streetAddress": "1 High Street", "city": "Springfield", "postalCode": "12345", "type": "home"}],
    "urls": [{"value": "https://ann.test", "type": "homePage"}, {"value": "https://blog.ann.test", "type": "blog"}],
    "imClients": [{"username": "ann", "protocol": "jabber"}],
}
EDITS: dict[str, tuple[dict[str, Any], str]] = {
    "family name": ({"lastname": "Married"}, "names"),
    "position": ({"position": "Owner"}, "organizations"),
    "notes": ({"description": "called on Monday"}, "biographies"),
    "phones": ({"phones": [{"number": "+4930111222", "type": 2}]}, "phoneNumbers"),
    "site": ({"site": "https://new.ann.test"}, "urls"),
    "skype": ({"skype": "ann.lee"}, "imClients"),
    "a birthday": ({"birthDate": {"date": "29-02-1980"}}, "birthdays"),
}
MAPPED_PARTS = {
    "names": ("familyName", "displayName", "displayNameLastFirst", "unstructuredName"),
    "organizations": ("title",),
}


@pytest.mark.parametrize("what", EDITS)
def test_d15_a_write_names_what_differs_and_leaves_all_else_as_it_was(what: str) -> None:
    """Frappe sent a mask with fields that the body lacked: the organisation was wiped on each save."""
    edit, field = EDITS[what]
    with harsh() as world:
        office = world.office(2, go=False)
        email = office.account.email
        person = world.google.add_person(
            email, {**FOREIGN, "emailAddresses": [{"value": f"p1.{office.group}@people.test"}]}
        )
        world.google.set_photo(email, person, "https://photos.test/ann")
        friends = world.google.create_label(email, "Friends")
        world.google.add_to_label(email, person, friends)
        world.hands.adopted.add(person)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        ann = office.contacts[0]
        assert world.person(ann, office.account) == person
        before, mark = without_versions(world.google.shown(email, person)), world.mark()
        world.planfix.edit_contact(ann, edit)
        world.settle()
        after = without_versions(world.google.shown(email, person))
        assert [write.mask for write in world.writes(mark)] == [{field}]
        assert changed_fields(before, after) == {field}
        parts = MAPPED_PARTS.get(field, ())
        for old, new in zip(before.get(field, ()), after[field], strict=False):
            if parts:
                assert {k: v for k, v in old.items() if k not in parts} == {
                    k: v for k, v in new.items() if k not in parts
                }
        for kept in before.get(field, ()):
            if kept.get("type") == "blog" or kept.get("protocol") == "jabber":
                assert kept in after[field]
        assert person in members(world, office, friends)
        check(world)


# ---- D16

EMAILS = [{"value": f"ann{n}@mail.test", "type": ("home", "work", "assistant", "")[n % 4]} for n in range(10)]
PHONES = [
    {"value": f"+4930111{n:03}", "type": ("mobile", "work", "homeFax", "pager", "ski hut")[n % 5]} for n in range(10)
]
TWICE = {"value": "030 111 000", "type": "car"}
"""The first number once more, written otherwise."""


@pytest.mark.parametrize("additional", ["ignored", "refused", "writable"])
def test_d16_ten_addresses_and_ten_numbers_of_any_type_are_kept(additional: str) -> None:
    """Products that know three e-mails deleted the fourth; numbers of a custom type were skipped, then removed."""
    with harsh(planfix={"additional_emails": additional}, settings={"DEFAULT_REGION": "DE"}) as world:
        office = world.office(1)
        email = office.account.email
        person = type_in(
            world, office, names=named("Ann", "Many"), emailAddresses=EMAILS, phoneNumbers=[*PHONES, TWICE]
        )
        world.settle()
        ann = max(world.planfix.store.contacts)
        assert world.person(ann, office.account) == person
        assert len((world.hands.in_planfix(ann) or {})["phones"]) == 10
        assert len((world.hands.in_planfix(ann) or {})["emails"]) == (10 if additional == "writable" else 1)
        numbers = [{"number": f"4930111{n:03}", "type": 2} for n in (3, 1, 2, 0, 9, 8, 7, 6, 5, 4)]
        world.planfix.edit_contact(ann, {"description": "called", "phones": numbers})
        world.settle()
        shown = world.person_json(ann, office.account)
        assert [(one["value"], one.get("type", "")) for one in shown["emailAddresses"]] == [
            (one["value"], one["type"]) for one in EMAILS
        ]
        assert {one["value"] for one in shown["phoneNumbers"]} == {one["value"] for one in [*PHONES, TWICE]}
        types = {one["value"]: one["type"] for one in shown["phoneNumbers"]}
        assert {types[one["value"]] for one in PHONES if one["type"] == "ski hut"} <= {"ski hut", "work"}
        mark = world.mark()
        world.google.edit_person(
            email, person, {"emailAddresses": EMAILS[::-1], "phoneNumbers": shown["phoneNumbers"][::-1]}
        )
        world.settle()
        assert not [one for one in world.writes(mark) if one.vendor == "google"]
        assert len(world.person_json(ann, office.account)["emailAddresses"]) == 10
        check(world)


def test_d16_the_fourth_address_and_a_removed_one_from_planfix() -> None:
    """The same from the CRM's side, where one of the ten was removed on purpose."""
    with harsh() as world:
        office = world.office(1)
        ann = office.contacts[0]
        addresses = [one["value"] for one in EMAILS]
        world.planfix.edit_contact(ann, {"email": addresses[0], "additionalEmailAddresses": addresses[1:]})
        world.settle()
        assert [one["value"] for one in world.person_json(ann, office.account)["emailAddresses"]] == addresses
        world.planfix.edit_contact(ann, {"additionalEmailAddresses": [*addresses[1:4], *addresses[5:]]})
        world.settle()
        left = [one["value"] for one in world.person_json(ann, office.account)["emailAddresses"]]
        assert left == [*addresses[:4], *addresses[5:]]
        check(world)


# ---- D17

FULL: dict[str, tuple[dict[str, Any], Any]] = {
    "middle": ({"midname": "Maria"}, {"midname": ""}),
    "family": ({"lastname": "Family1"}, {"lastname": ""}),
    "notes": ({"description": "called"}, {"description": ""}),
    "position": ({"position": "Chief"}, {"position": ""}),
    "company": ({}, {"companies": []}),
    "address": ({"address": "1 High Street"}, {"address": ""}),
    "birthday": ({"birthDate": {"date": "12-03-1980"}}, {"birthDate": None}),
    "gender": ({"gender": "Female"}, {"gender": "NotDefined"}),
    "site": ({"site": "https://ann.test"}, {"site": ""}),
    "skype": ({"skype": "ann.lee"}, {"skype": ""}),
    "telegram": ({"telegram": "https://t.me/annlee"}, {"telegram": ""}),
    "viber": ({"viberId": "annviber"}, {"viberId": ""}),
    "facebook": ({"facebook": "https://facebook.com/ann"}, {"facebook": ""}),
    "instagram": ({"instagram": "https://instagram.com/ann"}, {"instagram": ""}),
    "custom:10": (
        {"customFieldData": [{"field": {"id": 10}, "value": "38"}]},
        {"customFieldData": [{"field": {"id": 10}, "value": ""}]},
    ),
    "emails": ({}, {"email": "", "additionalEmailAddresses": []}),
    "phones": ({}, {"phones": []}),
}


CLEARED = [("planfix", "empty"), ("planfix", "null"), ("google", "empty"), ("google", "absent")]
"""Where, and how Planfix shows a field without a value. (One that it leaves out is unknown to us, not empty.)"""


@pytest.mark.parametrize(("side", "empty"), CLEARED)
@pytest.mark.parametrize("name", FULL)
def test_d17_a_field_cleared_on_one_side_is_cleared_on_the_other_once(name: str, side: str, empty: str) -> None:
    """A cleared field came back with each sync in one product, and never went away on the other side in another."""
    with harsh(
        planfix={"empty_text": empty, "empty_object": "absent" if empty == "absent" else "null"},
        settings={"CUSTOM_FIELDS": '{"10": "Shoe size"}'},
    ) as world:
        world.checker = Checker(world.settings.planfix_account, custom_fields={"10": "Shoe size"})
        world.hands.checker = world.checker
        world.planfix.add_custom_field("Shoe size")
        office = world.office(1, go=False)
        acme, ann = (
            world.planfix.add_contact({"name": "Acme", "isCompany": True, "template": {"id": 2}}),
            office.contacts[0],
        )
        for filled, _ in FULL.values():
            world.planfix.edit_contact(ann, filled)
        world.planfix.edit_contact(ann, {"companies": [{"id": acme}]})
        world.enable(office.filter_id, office.account)
        world.settle()
        email, person = office.account.email, world.person(ann, office.account)
        assert all((world.hands.in_google(email, person) or {}).get(one) for one in FULL)
        mark = world.mark()
        if side == "planfix":
            world.planfix.edit_contact(ann, FULL[name][1])
        else:
            world.hands.touched.add(person)
            world.google.edit_person(email, person, without(world.person_json(ann, office.account), name))
        world.settle()
        for fields in (world.hands.in_planfix(ann), world.hands.in_google(email, person)):
            assert not (fields or {}).get(name)
            assert all((fields or {}).get(other) for other in FULL if other != name)
        assert len(world.writes(mark)) == 1
        check(world)


def test_d17_a_given_name_cleared_in_google_is_restored_there() -> None:
    """Planfix cannot do without one: clearing it must not go back and forth for ever either."""
    with harsh() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        world.hands.edit_google(email, person, "given", "", 0)
        world.settle()
        assert (world.hands.in_google(email, person) or {})["given"] == "Given1"
        assert (world.hands.in_planfix(ann) or {})["given"] == "Given1"
        check(world)


# ---- D18


def test_d18_a_company_that_planfix_does_not_have_costs_neither_side_its_value() -> None:
    """Lightning Sync could not resolve a reference, took it for empty and removed the company on the other side."""
    with harsh() as world:
        office = world.office(2, go=False)
        acme = world.planfix.add_contact({"name": "Acme", "isCompany": True, "template": {"id": 2}})
        ann, bob = office.contacts
        world.planfix.edit_contact(ann, {"companies": [{"id": acme}]})
        world.enable(office.filter_id, office.account)
        world.settle()
        email = office.account.email
        for contact in (ann, bob):
            person = world.person(contact, office.account)
            world.hands.touched.add(person)
            world.google.edit_person(email, person, {"organizations": [{"name": "Newco", "title": "Chief"}]})
        world.settle()
        for contact, company in ((ann, "Acme"), (bob, "")):
            person = world.person(contact, office.account)
            assert (world.hands.in_google(email, person) or {})["company"] == "Newco"
            assert (world.hands.in_planfix(contact) or {})["company"] == company
            assert (world.hands.in_planfix(contact) or {})["position"] == "Chief"
            row = world.row(office.filter_id, contact)
            assert row is not None
            assert any("company:" in note for note in row["notes"])
        check(world)
        world.planfix.add_contact({"name": "Newco", "isCompany": True, "template": {"id": 2}})
        world.google.edit_person(email, person, {"organizations": [{"name": "Newco", "title": "Owner"}]})
        world.settle()
        assert (world.hands.in_planfix(bob) or {})["position"] == "Owner"
        assert (world.hands.in_google(email, person) or {})["company"] == "Newco"
        check(world)


@pytest.mark.parametrize("field", ["companies", "description", "phones", "birthDate"])
def test_d18_a_field_that_planfix_stops_showing_is_unknown_and_not_empty(field: str) -> None:
    """The same through a lost right: the field was missing in the answers, and was cleared for everybody."""
    with harsh() as world:
        office = world.office(2, go=False)
        world.contact("Plain", "Person", group=office.group)  # who has none of it: Planfix shows what is empty
        acme = world.planfix.add_contact({"name": "Acme", "isCompany": True, "template": {"id": 2}})
        for contact in office.contacts:
            more = {"description": "called", "birthDate": {"date": "12-03-1980"}, "companies": [{"id": acme}]}
            world.planfix.edit_contact(contact, more)
        world.enable(office.filter_id, office.account)
        world.settle()
        before = [without_versions(world.person_json(contact, office.account)) for contact in office.contacts]
        mark = world.mark()
        world.planfix.set_options(hidden_fields=frozenset({field}), hidden_as="absent")
        world.planfix.touch_all()
        world.settle()
        assert world.writes(mark) == []
        world.planfix.edit_contact(office.contacts[0], {"position": "Chief"})
        world.settle()
        after = [without_versions(world.person_json(contact, office.account)) for contact in office.contacts]
        assert changed_fields(before[0], after[0]) == {"organizations"}
        assert after[0]["organizations"][0]["name"] == "Acme"
        assert after[1] == before[1]


# ---- D19


@pytest.mark.parametrize("trash_counts", [True, False], ids=["the trash counts", "the trash is free"])
def test_d19_places_go_to_the_lowest_numbers_and_nobody_is_removed_to_make_room(trash_counts: bool) -> None:
    """Salesforce for Outlook took a random 5,000 of more than 5,000, other ones on each run."""
    slowly = {"POLL_PLANFIX_SECONDS": "900", "POLL_GOOGLE_SECONDS": "900", "FULL_SCAN_SECONDS": "3600"}
    with harsh(google={"contacts_max": 14, "trash_counts": trash_counts}, settings=slowly) as world:
        office = world.office(16, go=False)
        email = office.account.email
        late, *others = office.contacts
        world.planfix.remove_from_filter(office.filter_id, late)
        world.google.add_private_people(email, 4)
        world.run_for(60.0)
        world.hands.note_absences()
        world.enable(office.filter_id, office.account)
        world.settle()
        lucky = dict.fromkeys(others[:10], "in_sync")
        waiting = dict.fromkeys(others[10:], "held_back")
        assert states(world, office) == {**lucky, **waiting}
        reasons = {row["reason"] for row in world.contacts(office.filter_id, "held_back")}
        assert len(reasons) == 1
        assert "full" in reasons.pop()
        world.planfix.put_into_filter(office.filter_id, late)
        world.sync(office.filter_id)
        world.settle()
        world.restart()
        world.settle()
        assert states(world, office) == {**lucky, **waiting, late: "held_back"}
        leaves = others[3]
        world.planfix.remove_from_filter(office.filter_id, leaves)
        world.hands.note_absences()
        world.run_for(30 * 3600.0)
        del lucky[leaves]
        now = "held_back" if trash_counts else "in_sync"
        assert states(world, office) == {**lucky, **waiting, late: now}
        assert len(people(world, office)) == (13 if trash_counts else 14)
        check(world)


# ---- D20


@pytest.mark.parametrize("batches", ["atomic", "atomic, nobody named", "item by item", "killed half-way"])
def test_d20_answers_in_another_order_and_in_part_mix_nobody_up(batches: str) -> None:
    """A's name with B's phones: a batch's answers were matched with its questions by their place."""
    options = {
        "atomic": {"named_errors": True},
        "item by item": {"atomic_batches": False, "named_errors": True},
    }.get(batches, {})
    with harsh(google={**options, "shuffle_created": True}) as world:
        office = world.office(0, go=False)
        numbers = [
            world.contact(
                "Anna",
                "Schmidt",
                phones=[{"number": f"+4930222{n:03}", "type": 1}],
                description=f"the {n}th" + "!" * (150_000 if n == 7 else 0),
                group=office.group,
            )
            for n in range(16)
        ]
        world.start()
        if batches == "killed half-way":
            world.kill("writer", "after", "batchCreate")
        world.enable(office.filter_id, office.account)
        world.settle()
        found = world.hands.people_of(office.account.email)
        for n, contact in enumerate(numbers):
            if n == 7:
                assert contact not in found
                assert states(world, office)[contact] in ("held_back", "quarantined")
                continue
            shown = world.person_json(contact, office.account)
            assert [one["canonicalForm"] for one in shown["phoneNumbers"]] == [f"+4930222{n:03}"]
            assert shown["biographies"][0]["value"] == f"the {n}th"
        for n, contact in enumerate(numbers):
            world.planfix.edit_contact(contact, {"position": f"Chief {n}"})
        world.settle()
        for n, contact in enumerate(numbers):
            if n != 7:
                assert world.person_json(contact, office.account)["organizations"][0]["title"] == f"Chief {n}"
        world.planfix.edit_contact(numbers[7], {"description": "the 7th"})
        world.settle()
        assert world.person_json(numbers[7], office.account)["biographies"][0]["value"] == "the 7th"
        check(world)


def test_d20_a_number_and_a_name_that_move_to_another_contact_take_nobody_along() -> None:
    """The same through people: Ann's number went to Bob, Bob was renamed, and the two cards changed places."""
    with harsh() as world:
        office = world.office(2)
        ann, bob = office.contacts
        cards = {contact: world.person(contact, office.account) for contact in (ann, bob)}
        numbers = [f"+4915117{office.group:02}000{n}" for n in (1, 2)]
        world.planfix.edit_contact(ann, {"phones": [], "name": "Given2", "lastname": "Family2"})
        world.planfix.edit_contact(bob, {"phones": [{"number": numbers[0], "type": 1}], "name": "Given1"})
        world.planfix.edit_contact(bob, {"lastname": "Family1", "email": "new@people.test"})
        world.planfix.edit_contact(ann, {"email": f"p2.{office.group}@people.test"})
        world.settle()
        assert {contact: world.person(contact, office.account) for contact in (ann, bob)} == cards
        assert "phoneNumbers" not in world.person_json(ann, office.account)
        assert world.person_json(bob, office.account)["phoneNumbers"][0]["canonicalForm"] == numbers[0]
        assert world.person_json(bob, office.account)["names"][0]["familyName"] == "Family1"
        check(world)
