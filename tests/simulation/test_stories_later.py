"""Disasters that other contact syncs have had (spec, 5-scenarios), D21 to D39: each told once, with the fault on.

Told as in `test_stories.py`: the vendors play the harsher way, what must hold is read from their contents, and at the
end of nearly every story all invariants are checked.
"""

from __future__ import annotations

from typing import Any

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import Decide
from whole import World, check
from whole.telling import (
    defaults,
    harsh,
    in_trash,
    labels,
    members,
    named,
    people,
    states,
    thrown_away,
    type_in,
    without_versions,
)
from whole.vendors import Write
from whole.world import Office


def creates(writes: list[Write]) -> list[Write]:
    """What makes people, labels or Planfix contacts."""
    return [
        one
        for one in writes
        if "createContact" in one.path.lower().replace("batchcreatecontacts", "createContact")
        or (one.method == "POST" and one.path in ("/v1/contactGroups", "/rest/contact/", "/rest/contact/import"))
    ]


# ---- D21


BORN: dict[str, tuple[str, dict[str, int]]] = {
    "a leap day": ("29-02-1980", {"year": 1980, "month": 2, "day": 29}),
    "a day without a year": ("24-12-1900", {"month": 12, "day": 24}),
    "the first of a year": ("01-01-1970", {"year": 1970, "month": 1, "day": 1}),
    "the last of a year": ("31-12-1999", {"year": 1999, "month": 12, "day": 31}),
}


@pytest.mark.parametrize("born", BORN.values(), ids=BORN)
def test_d21_a_birthday_of_planfix_is_the_same_day_in_google(born: tuple[str, dict[str, int]]) -> None:
    """A sync put birthdays through a time stamp: 29 February became 1 March, other days moved with the time zone."""
    text, date = born
    with harsh(planfix={"robot_timezone": "Asia/Vladivostok"}) as world:
        office = world.office(2)
        ann = office.contacts[0]
        world.planfix.edit_contact(ann, {"birthDate": {"date": text}})
        world.settle()
        assert [one["date"] for one in world.person_json(ann, office.account)["birthdays"]] == [date]
        mark = world.mark()
        world.hands.edit_google(
            office.account.email, world.person(ann, office.account), "notes", "with a birthday", ann
        )
        world.settle()
        assert len(world.writes(mark)) == 1
        shown: Any = world.planfix.shown(ann)["birthDate"]
        assert shown["date"] == text
        check(world)


TYPED: dict[str, tuple[dict[str, int], str]] = {
    "a leap day": ({"year": 1984, "month": 2, "day": 29}, "29-02-1984"),
    "a leap day without a year": ({"month": 2, "day": 29}, ""),
    "a day without a year": ({"month": 7, "day": 1}, ""),
    "a year alone": ({"year": 1984}, ""),
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_d21_a_birthday_of_google_reaches_planfix_whole_or_stays_where_it_is(typed: tuple[Any, str]) -> None:
    """And the other way round: a birthday without a year came back as one of the year 1604, or was cleared."""
    date, text = typed
    with harsh() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        world.hands.touched.add(person)
        mark = world.mark()
        world.google.edit_person(email, person, {"birthdays": [{"date": date}]})
        world.settle()
        born: Any = world.planfix.shown(ann)["birthDate"]
        assert ((born or {}).get("date") or "") == text
        assert [one["date"] for one in world.person_json(ann, office.account)["birthdays"]] == [date]
        assert len(world.writes(mark)) == (1 if text else 0)
        row = world.row(office.filter_id, ann)
        assert row is not None
        assert any(note.startswith("birthday:") for note in row["notes"]) == (not text)
        world.hands.edit_planfix(email, ann, "position", "Chief")
        world.settle()
        assert [one["date"] for one in world.person_json(ann, office.account)["birthdays"]] == [date]
        check(world)


@pytest.mark.parametrize(
    ("fraction", "digits"), [(0.0, 0), (0.25, 4), (0.123456, 7)], ids=["none", "three digits", "six digits"]
)
def test_d21_an_edit_at_a_time_with_any_number_of_digits_arrives(fraction: float, digits: int) -> None:
    """A parser wanted fractional seconds; Google left them out at the full second, and the edit was lost."""
    with harsh() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        world.hands.edit_planfix(email, ann, "position", "the earlier")
        world.stop()
        world.run_for(3600.0 - world.loop.wall() % 1.0 + fraction)
        world.hands.edit_google(email, person, "notes", "at a certain second", ann)
        shown = world.google.shown(email, person) or {}
        (typed_at,) = {one["updateTime"] for one in shown["metadata"]["sources"] if one["type"] == "CONTACT"}
        assert len(typed_at.partition(".")[2]) == digits
        world.start()
        world.settle()
        assert (world.hands.in_planfix(ann) or {})["notes"] == "at a certain second"
        assert (world.hands.in_google(email, person) or {})["position"] == "the earlier"
        check(world)


# ---- D22


def test_d22_two_people_of_one_name_are_two_people() -> None:
    """A sync matched by name: father and son of one name shared one card from then on."""
    with harsh() as world:
        office = world.office(0, go=False)
        email = office.account.email
        elder = world.contact("John", "Smith", phones=[{"number": "+4930111001", "type": 1}], group=office.group)
        son = world.contact("John", "Smith", email="john.jr@people.test", group=office.group)
        private = world.google.add_person(
            email, {"names": named("John", "Smith"), "phoneNumbers": [{"value": "+4930111009"}]}
        )
        world.run_for(60.0)
        before = without_versions(world.google.shown(email, private))
        world.enable(office.filter_id, office.account, defaults=defaults(office))
        world.settle()
        assert states(world, office) == {elder: "in_sync", son: "in_sync"}
        assert len(members(world, office)) == 2
        assert private not in members(world, office)
        assert without_versions(world.google.shown(email, private)) == before
        third = type_in(world, office, names=named("John", "Smith"), phoneNumbers=[{"value": "+4930111003"}])
        world.settle()
        assert len(members(world, office)) == len(world.planfix.store.contacts) == 3
        assert third == world.person(max(world.planfix.store.contacts), office.account)
        check(world)


def test_d22_a_family_with_one_phone_stays_a_family() -> None:
    """A sync matched by phone: husband, wife and child with one number at home became one contact."""
    with harsh() as world:
        office = world.office(0, go=False)
        email = office.account.email
        home = "+4930222333"
        family = [
            world.contact(given, "Miller", phones=[{"number": home, "type": 3}], group=office.group)
            for given in ("Anna", "Bert", "Carl")
        ]
        dora = world.google.add_person(
            email, {"names": named("Dora", "Miller"), "phoneNumbers": [{"value": home, "type": "home"}]}
        )
        world.run_for(60.0)
        before = without_versions(world.google.shown(email, dora))
        world.enable(office.filter_id, office.account, defaults=defaults(office))
        world.settle()
        assert states(world, office) == dict.fromkeys(family, "in_sync")
        assert without_versions(world.google.shown(email, dora)) == before
        assert len(people(world, office)) == 4
        emil = type_in(world, office, names=named("Emil", "Miller"), phoneNumbers=[{"value": home}])
        world.settle()
        assert len(world.planfix.store.contacts) == 4
        assert emil in {name for names in world.hands.people_of(email).values() for name in names}
        given = sorted(str(one["name"]) for one in map(world.planfix.shown, world.planfix.store.contacts))
        assert given == ["Anna", "Bert", "Carl", "Emil"]
        check(world)


# ---- D23


@pytest.mark.parametrize(
    ("key", "contacts", "doubles"),
    [("phone", 1, 2), ("phone", 2, 1), ("phone", 2, 2), ("phone", 3, 2), ("e-mail", 1, 2)],
)
def test_d23_duplicates_from_before_the_first_sync_wait_for_a_human(key: str, contacts: int, doubles: int) -> None:
    """A first sync met people who were there twice already and made them four, then eight."""
    with harsh() as world:
        office = world.office(2, go=False)
        email = office.account.email
        own: dict[str, Any] = {"phones": [{"number": "+4930444555", "type": 1}]}
        theirs: dict[str, Any] = {"phoneNumbers": [{"value": "+49 30 444555"}]}
        if key == "e-mail":  # an address is in Planfix once at most
            own, theirs = {"email": "eve@people.test"}, {"emailAddresses": [{"value": "Eve@People.test"}]}
        numbers = [world.contact("Eve", "Double", group=office.group, **own) for _ in range(contacts)]
        twice = [world.google.add_person(email, {"names": named("Eve", "Double"), **theirs}) for _ in range(doubles)]
        world.run_for(60.0)
        before = [without_versions(world.google.shown(email, one)) for one in twice]
        world.hands.touched |= set(twice)
        world.enable(office.filter_id, office.account)
        world.settle()
        for _ in range(3):
            world.sync(office.filter_id)
            world.settle()
        found = states(world, office)
        assert [found[number] for number in numbers] == ["possible_duplicate"] * contacts
        assert [found[number] for number in office.contacts] == ["in_sync"] * 2
        assert len(people(world, office)) == 2 + doubles
        assert len(world.planfix.store.contacts) == 2 + contacts
        assert [without_versions(world.google.shown(email, one)) for one in twice] == before
        row = world.row(office.filter_id, numbers[0])
        assert row is not None
        assert set(row["candidates"]) == set(twice)
        assert row["reason"]
        check(world)


def test_d23_a_humans_word_settles_them_for_good() -> None:
    """The list of duplicates came back after each sync, whatever had been said."""
    with harsh() as world:
        office = world.office(1, go=False)
        email = office.account.email
        eve = world.contact("Eve", "Double", email="eve@people.test", group=office.group)
        first, second = (
            world.google.add_person(
                email, {"names": named("Eve", "Double"), "emailAddresses": [{"value": "eve@people.test"}]}
            )
            for _ in range(2)
        )
        world.run_for(60.0)
        world.hands.adopted.add(first)
        world.enable(office.filter_id, office.account)
        world.settle()
        world.command(
            Decide(
                request_id=world.request_id(),
                filter_id=office.filter_id,
                decision="same",
                contact=eve,
                person=first,
            )
        )
        world.settle()
        world.restart()
        world.google.expire_sync_tokens(email)
        world.settle()
        assert states(world, office)[eve] == "in_sync"
        assert world.person(eve, office.account) == first
        assert second not in members(world, office)
        assert len(people(world, office)) == 3
        check(world)


# ---- D24




@pytest.mark.parametrize("op", ["created", "changed"])
def test_d24_one_contact_that_google_refuses_holds_up_nobody_else(op: str) -> None:
    """One contact that the server refused failed its batch, and with it 200 others, night after night."""
    with harsh(settings={"BREAKER_UPDATE": "1000,100"}) as world:
        office = world.office(60, go=op == "changed")
        bad = office.contacts[31]
        if op == "created":
            world.planfix.edit_contact(bad, POISON)
            world.enable(office.filter_id, office.account)
        else:
            for number in office.contacts:
                world.planfix.edit_contact(number, {"position": "Chief"} | (POISON if number == bad else {}))
        world.settle()
        found = states(world, office)
        assert {number for number, state in found.items() if state != "in_sync"} == {bad}
        assert found[bad] == "quarantined"
        row = world.row(office.filter_id, bad)
        assert row is not None
        assert "Google Contacts does not take this contact" in row["reason"]
        assert len(people(world, office)) == (59 if op == "created" else 60)
        check(world)
        world.planfix.edit_contact(bad, CURE)
        world.settle()
        assert set(states(world, office).values()) == {"in_sync"}
        assert len(people(world, office)) == 60
        check(world)


POISON: dict[str, Any] = {"phones": [{"number": f"+4915200{n:05}", "type": 1} for n in range(600)]}
CURE: dict[str, Any] = {"phones": [{"number": "+491520000001", "type": 1}]}
