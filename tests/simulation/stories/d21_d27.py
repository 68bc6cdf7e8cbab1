"""D21 to D27 of the disasters that other contact syncs have had: dates, duplicates, poison, tokens, lost state.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

from typing import Any

import pytest
from stories.shared import LOSSES, assert_both_arrived, creates, edit_both_sides, lose

from contactsync_contracts.messages import Decide
from whole import check
from whole.telling import (
    defaults,
    harsh,
    members,
    named,
    people,
    states,
    thrown_away,
    type_in,
    without_versions,
)

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


@pytest.mark.parametrize("how", ["typed in", "changed"])
def test_d24_one_contact_that_planfix_refuses_holds_up_nobody_else(how: str) -> None:
    """And towards the CRM: one name with a rocket in it, and nothing typed in after it arrived."""
    with harsh(planfix={"emoji": "reject"}) as world:
        office = world.office(12)
        email = office.account.email
        fields = dict.fromkeys(office.contacts, "Chief") | {office.contacts[4]: "Chief \N{ROCKET}"}
        if how == "changed":
            for contact, text in fields.items():
                person = world.person(contact, office.account)
                world.hands.edit_google(email, person, "position", text, contact if text == "Chief" else 0)
        else:
            for contact, text in fields.items():
                phones = [{"value": f"+4930777{contact:03}"}]
                type_in(world, office, names=named(f"Typed{contact}", text), phoneNumbers=phones)
        world.settle()
        stuck = [row for row in world.contacts(office.filter_id) if row["state"] != "in_sync"]
        assert [row["state"] for row in stuck] == ["quarantined"], stuck
        assert "Planfix does not take this contact" in stuck[0]["reason"]
        if how == "changed":
            found = [(world.hands.in_planfix(contact) or {})["position"] for contact in office.contacts]
            assert found == ["" if contact == office.contacts[4] else "Chief" for contact in office.contacts]
        else:
            assert len(world.planfix.store.contacts) == 12 + 11
        check(world)


# ---- D25

NO_GOOD = '{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}'
REFUSALS: dict[str, dict[str, Any]] = {
    "Google changes": {"path": "batchUpdateContacts|updateContact", "body": NO_GOOD},
    "Google creates": {"path": "batchCreateContacts|createContact", "body": NO_GOOD},
    "Planfix changes": {"path": "/contact/[0-9]+$", "method": "POST", "body": '{"result":"fail","code":2004}'},
    "Planfix creates": {"path": "/contact/$", "method": "POST", "body": '{"result":"fail","code":2004}'},
}


@pytest.mark.parametrize("what", REFUSALS)
def test_d25_what_is_refused_for_good_is_tried_a_few_times_and_told_once(what: str) -> None:
    """A sync sent the same bad request every five minutes for weeks, and nobody was told."""
    with harsh() as world:
        office = world.office(4)
        ann, email = office.contacts[0], office.account.email
        refusal = world.fault("status", times=None, status=400, **REFUSALS[what])
        match what:
            case "Google changes":
                world.planfix.edit_contact(ann, {"position": "Chief"})
            case "Google creates":
                world.contact("Eve", "New", email="eve@people.test", group=office.group)
            case "Planfix changes":
                world.hands.edit_google(email, world.person(ann, office.account), "position", "Chief", 0)
            case _:
                type_in(world, office, names=named("Eve", "New"), phoneNumbers=[{"value": "+4930987654"}])
        world.settle()
        tries = refusal.hits
        assert 1 <= tries <= 5
        world.run_for(43_200.0)
        assert refusal.hits == tries
        (row,) = [row for row in world.contacts(office.filter_id) if row["state"] != "in_sync" or row["notes"]]
        assert row["reason"] or row["notes"]
        held = [
            one
            for one in world.server.streams["EVENTS"].messages.values()
            if one.headers.get("Contactsync-Type") == "ContactHeldBack.v1"
        ]
        assert len(held) <= 1
        assert world.status(office.filter_id)["state"] == "in_sync"
        world.mended()
        world.sync(office.filter_id)
        world.settle()
        assert set(states(world, office).values()) == {"in_sync"}


# ---- D26


@pytest.mark.parametrize("pages", [1, 2], ids=["at the first page", "in the middle of the pages"])
@pytest.mark.parametrize("often", [1, 4], ids=["once", "again and again"])
def test_d26_an_expired_sync_token_costs_a_listing_and_nobody(pages: int, often: int) -> None:
    """A sync token expired (400, not 410); it was used for ever after, or those not in the answer were deleted."""
    with harsh() as world:
        office = world.office(6, go=False)
        email = office.account.email
        private = world.google.add_private_people(email, 1_050 if pages == 2 else 5)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        everybody, mark = people(world, office), world.mark()
        ann, bob = office.contacts[:2]
        world.hands.touched |= set(private)
        expiry = world.fault("expire_sync_tokens", "connections", times=often, skip=pages - 1)
        world.google.touch_all(email)
        world.hands.edit_google(email, world.person(ann, office.account), "notes", "typed meanwhile", ann)
        world.hands.delete_person(email, world.person(bob, office.account), bob)
        world.run_for(2_000.0)
        assert expiry.hits == often
        world.settle()
        assert (world.hands.in_planfix(ann) or {})["notes"] == "typed meanwhile"
        assert states(world, office)[bob] == "dismissed"
        assert thrown_away(world.writes(mark)) == []
        assert len(world.writes(mark)) == 1
        assert len(people(world, office)) == len(everybody) - 1
        before = world.google.counters()["requests"].get("people.connections.list", 0)
        world.run_for(3_000.0)
        listed = world.google.counters()["requests"].get("people.connections.list", 0) - before
        assert listed <= 3_000 / 100 + 2 * (1 + pages)
        check(world)


@pytest.mark.parametrize("moment", ["at rest", "in the first sync", "with something to write"])
def test_d26_a_revoked_grant_asks_for_the_person_within_one_cycle(moment: str) -> None:
    """A revoked grant was refreshed in a loop for months; the user saw "syncing"."""
    with harsh() as world:
        office = world.office(5, go=False)
        email, ann = office.account.email, office.contacts[0]
        asked = world.fault("delay", "^/token", times=None)
        world.enable(office.filter_id, office.account)
        if moment == "in the first sync":
            world.run_for(3.0)
        else:
            world.settle()
        world.revoke(office.account)
        if moment == "with something to write":
            world.hands.edit_planfix(email, ann, "notes", "while it was revoked")
        world.run_for(world.settings.poll_google_seconds + 30.0)
        assert world.status(office.filter_id)["state"] == "reconnect_needed"
        assert "Connect it again" in world.status(office.filter_id)["reason"]
        world.hands.edit_planfix(email, ann, "notes", "while it was revoked, too")
        tried, mark = asked.hits, world.mark()
        requests = sum(world.google.counters()["requests"].values())
        world.run_for(20_000.0)
        assert asked.hits - tried <= 1
        assert sum(world.google.counters()["requests"].values()) == requests
        assert world.writes(mark) == []
        world.enable(office.filter_id, office.account)
        world.settle()
        assert (world.hands.in_google(email, world.person(ann, office.account)) or {})["notes"] == (
            "while it was revoked, too"
        )
        assert len(people(world, office)) == 5
        check(world)


# ---- D27


@pytest.mark.parametrize("meanwhile", [False, True], ids=["edited afterwards", "edited meanwhile"])
@pytest.mark.parametrize("what", LOSSES)
def test_d27_a_lost_state_costs_nobody_and_doubles_nobody(what: str, meanwhile: bool) -> None:
    """A sync's database was gone; the empty one was taken for "all deleted", and the other side was emptied."""
    with harsh() as world:
        office = world.office(6, go=False)
        email = office.account.email
        adopted = world.google.add_person(
            email,
            {"names": named("Given6", "Family6"), "emailAddresses": [{"value": f"p6.{office.group}@people.test"}]},
        )
        world.hands.adopted.add(adopted)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        everybody, pairs, mark = people(world, office), world.hands.people_of(email), world.mark()
        lose(world, office, what)
        if meanwhile:
            edit_both_sides(world, office)
        world.enable(office.filter_id, office.account)
        world.sync(office.filter_id)
        world.settle()
        if not meanwhile:
            edit_both_sides(world, office)
            world.settle()
        assert thrown_away(world.writes(mark)) == []
        assert creates(world.writes(mark)) == []
        assert people(world, office) == everybody
        assert world.hands.people_of(email) == pairs
        assert_both_arrived(world, office)
        check(world)


@pytest.mark.parametrize("fences", [True, False], ids=["fences kept", "fences lost, too"])
def test_d27_an_old_copy_of_the_state_undoes_nothing(fences: bool) -> None:
    """Somebody restored last week's backup of the database, and the phones went back a week, deletions included."""
    with harsh() as world:
        office = world.office(6)
        email = office.account.email
        cem, dan = office.contacts[2:4]
        world.stop()
        saved = world.copy_state()
        world.start()
        edit_both_sides(world, office)
        world.hands.delete_person(email, world.person(cem, office.account), cem)
        world.hands.trash(dan)
        world.hands.note_absences()
        eve = world.contact("Eve", "New", email="eve@people.test", group=office.group)
        fay = type_in(world, office, names=named("Fay", "Typed"), phoneNumbers=[{"value": "+4930987654"}])
        world.settle()
        typed = next(contact for contact, names in world.hands.people_of(email).items() if fay in names)
        everybody, pairs, mark = people(world, office), world.hands.people_of(email), world.mark()
        world.stop()
        world.roll_back(saved, keep=("epoch.",) if fences else ("nothing",))
        world.start()
        world.sync(office.filter_id)
        world.settle()
        assert thrown_away(world.writes(mark)) == []
        assert creates(world.writes(mark)) == []
        assert people(world, office) == everybody
        assert world.hands.people_of(email) == pairs
        assert {eve, typed} <= pairs.keys()
        assert_both_arrived(world, office)
        assert states(world, office)[cem] == "dismissed"
        check(world)


def test_d27_after_a_loss_nobody_comes_back_who_was_thrown_away_until_somebody_agrees() -> None:
    """With the state went the memory of what had been deleted by hand: everything came back at once."""
    with harsh() as world:
        office = world.office(6)
        email = office.account.email
        for gone in office.contacts[:2]:
            world.hands.delete_person(email, world.person(gone, office.account), gone)
        world.settle()
        assert len(people(world, office)) == 4
        lose(world, office, "everything")
        mark = world.mark()
        world.enable(office.filter_id, office.account)
        world.settle()
        assert creates(world.writes(mark)) == []
        assert len(people(world, office)) == 4
        status = world.status(office.filter_id)
        assert status["state"] == "frozen"
        assert [(plan["kind"], plan["actions"]) for plan in status["plans"]] == [("again", 2)]
        edit = office.contacts[3]
        world.hands.edit_planfix(email, edit, "notes", "goes on meanwhile")
        world.settle()
        assert (world.hands.in_google(email, world.person(edit, office.account)) or {})[
            "notes"
        ] == "goes on meanwhile"
        assert len(world.approve(office.filter_id)) == 1
        world.settle()
        assert len(people(world, office)) == len(members(world, office)) == 6
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)
