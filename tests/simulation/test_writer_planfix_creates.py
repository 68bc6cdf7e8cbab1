"""New contacts in Planfix whose answer was lost, garbled or late: each is made once (D5)."""

from __future__ import annotations

import pytest
from aiohttp import web

from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Outcome
from writer_office import Office, office
from writer_world import Crash, DyingBus

CREATE = ("POST", "contact/")
EMAIL = (Element(key="ann@example.com", value="ann@example.com"),)
PHONE = (Element(key="+12025550143", value="+1 202-555-0143", kind="mobile"),)
FULL: Contact = {"given": "Ann", "family": "Bell", "emails": EMAIL, "phones": PHONE}
NAME: Contact = {"given": "Ann", "family": "Bell"}


def made(place: Office) -> list[int]:
    return place.account.listed()


def check(place: Office, mutation_id: str = "c-m1") -> None:
    (number,) = made(place)
    item = place.world.item(mutation_id)
    assert (item.outcome, item.contact) == (Outcome.DONE, number)
    assert not [key for key in place.world.server.values if ".intent." in key]


def answers() -> dict[str, web.Response]:
    return {
        "500": web.json_response({"result": "fail", "code": 0, "error": "Rest API error"}, status=500),
        "502 page": web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html"),
        "200 page": web.Response(status=200, text="<html>One moment</html>", content_type="text/html"),
        "half an answer": web.Response(status=201, body=b'{"result":"succ'),
        "no number": web.json_response({"result": "success"}, status=201),
        "202": web.Response(status=202),
        "success that says fail": web.json_response({"result": "fail", "code": 0}, status=200),
    }


@pytest.mark.parametrize("name", answers().keys())
@pytest.mark.parametrize("fields", [FULL, NAME], ids=["full", "name only"])
async def test_an_answer_that_says_nothing_about_what_took_effect(name: str, fields: Contact) -> None:
    async with office() as place:
        place.say.append((CREATE, answers()[name]))
        place.put(place.create("m1", fields))
        await place.world.run()
        check(place)
        assert place.writes() == [CREATE]


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("fields", [FULL, NAME], ids=["full", "name only"])
async def test_lists_may_lag_by_minutes(stamped: bool, fields: Contact) -> None:
    async with office(stamped=stamped) as place:
        place.lose.append(CREATE)
        place.hidden_until = place.account.clock.now_s + 110.0
        place.put(place.create("m1", fields))
        began = place.account.clock.now_s
        await place.world.run()
        check(place)
        assert place.writes() == [CREATE]
        assert place.account.clock.now_s - began < 125.0


async def test_a_create_that_never_arrived_is_sent_again_when_the_lists_can_be_trusted() -> None:
    async with office() as place:
        place.cut.append(CREATE)
        began = place.account.clock.now_s
        place.put(place.create("m1", FULL))
        await place.world.run()
        check(place)
        assert place.account.clock.now_s - began >= place.world.rules.lag_s


async def test_others_go_on_while_a_hundred_wait_for_their_answer() -> None:
    async with office() as place:
        place.cut.extend([CREATE] * 100)
        for n in range(100):
            place.put(place.create(f"m{n}", {"given": f"N{n}"}))
        place.put(place.create("last", {"given": "Last"}))
        began = place.account.clock.now_s
        while not place.marked("last"):
            await place.world.turn()
            assert place.account.clock.now_s - began < 60.0
        await place.world.run()
        assert all(len(place.marked(f"m{n}")) == 1 for n in (0, 50, 98))
        assert {place.world.item(f"c-m{n}").outcome for n in range(100)} == {Outcome.DONE}
        assert place.planfix.counters["writes"] == 101


@pytest.mark.parametrize("fields", [FULL, {**NAME, "phones": PHONE}], ids=["by e-mail", "by phone"])
async def test_where_planfix_keeps_no_marker_the_contact_is_known_by_its_address(fields: Contact) -> None:
    async with office() as place:
        place.planfix.add_contact(
            {"name": "Ann", "lastname": "Other", "phones": [{"number": "12025550143", "type": 1}]}
        )
        place.markers_kept = False
        place.lose.append(CREATE)
        place.put(place.create("m1", fields))
        await place.world.run()
        assert len(made(place)) == 2
        assert place.world.item("c-m1").contact == max(made(place))
        assert place.writes() == [CREATE]


async def test_an_e_mail_that_is_taken_by_the_very_contact_that_was_made_is_no_reason_for_another() -> None:
    """The state of the writer was lost after the create, and the person is asked for again."""
    async with office() as place:
        place.put(place.create("m1", FULL))
        await place.world.run()
        for key in [key for key in place.world.server.values if key.startswith("state.planfix.")]:
            del place.world.server.values[key]
        await place.world.start()
        again = place.create("m1", FULL).model_copy(update={"mutation_id": "again"})
        place.put(again)
        await place.world.run()
        check(place, "again")


async def test_with_a_stamp_field_a_contact_made_before_a_loss_of_state_is_found_by_it() -> None:
    async with office(stamped=True) as place:
        place.put(place.create("m1", NAME))
        place.put(place.create("m2", {"given": "Bob"}))
        await place.world.run()
        (first,) = place.marked("m1")
        place.planfix.edit_contact(first, {"lastname": "Married"})
        for key in [key for key in place.world.server.values if key.startswith("state.planfix.")]:
            del place.world.server.values[key]
        await place.world.start()
        place.put(place.create("m1", NAME).model_copy(update={"mutation_id": "again"}))
        place.put(place.create("m3", NAME))
        await place.world.run()
        assert place.world.item("again").contact == first
        assert place.world.item("c-m3").contact not in (None, first)
        assert len(made(place)) == 3


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_at_every_operation_while_an_answer_is_missing(
    stamped: bool, arrives: bool, after: bool
) -> None:
    died = 0
    for operations in range(40):
        async with office(stamped=stamped) as place:
            (place.lose if arrives else place.cut).append(CREATE)
            place.hidden_until = place.account.clock.now_s + 20.0
            place.put(place.create("m1", NAME))
            try:
                await place.world.start(DyingBus(place.world.bus, operations, after=after))
                await place.world.run()
                break
            except Crash:
                died += 1
            await place.world.start()
            await place.world.run()
            check(place)
    assert died > 3


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "answer lost"])
async def test_a_person_under_two_labels_becomes_one_contact(lost: bool) -> None:
    """Two filters ask for it at once; the marker is the person's."""
    async with office() as place:
        if lost:
            place.lose.append(CREATE)
            place.hidden_until = place.account.clock.now_s + 50.0
        place.put(place.create("m1", NAME))
        place.put(place.create("m1", NAME).model_copy(update={"mutation_id": "other"}), filter_id="2")
        await place.world.run()
        check(place)
        check(place, "other")
        assert place.writes() == [CREATE]


async def test_a_contact_that_was_trashed_since_is_made_anew() -> None:
    async with office() as place:
        place.put(place.create("m1", NAME))
        await place.world.run()
        place.planfix.trash_contact(place.marked("m1")[0])
        place.put(place.create("m1", NAME).model_copy(update={"mutation_id": "again"}))
        await place.world.run()
        check(place, "again")


async def test_what_planfix_refuses_in_a_new_contact_is_held_back_and_the_rest_follows() -> None:
    """It does not say which field it is: the contact is made with its name, and then the rest is tried."""
    async with office(emoji="reject") as place:
        place.put(place.create("m1", {**FULL, "notes": "a party \U0001f389", "position": "boss"}))
        await place.world.run()
        check(place)
        (number,) = made(place)
        read = place.account.read(number, "name,email,position,description,phones")
        assert (read["name"], read["email"], read["position"]) == ("Ann", "ann@example.com", "boss")
        assert len(read["phones"]) == 1
        assert place.world.item("c-m1").refused.keys() == {"notes"}


async def test_a_new_contact_whose_name_planfix_does_not_take_is_refused_once() -> None:
    async with office(emoji="reject") as place:
        place.put(place.create("m1", {"given": "\U0001f600", "notes": "x"}))
        await place.world.run()
        assert made(place) == []
        assert place.world.item("c-m1").outcome is Outcome.REFUSED
        assert len(place.world.items()["c-m1"]) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_between_a_new_contact_and_the_rest_of_it(after: bool) -> None:
    died = 0
    for operations in range(40):
        async with office(emoji="reject") as place:
            place.put(place.create("m1", {**FULL, "notes": "\U0001f389", "position": "boss"}))
            try:
                await place.world.start(DyingBus(place.world.bus, operations, after=after))
                await place.world.run()
                break
            except Crash:
                died += 1
            await place.world.start()
            await place.world.run()
            check(place)
            read = place.account.read(made(place)[0], "email,position")
            assert (read["email"], read["position"]) == ("ann@example.com", "boss"), operations
    assert died > 3
