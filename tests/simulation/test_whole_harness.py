"""The simulation itself: time, kills and faults do what they say, so that a green story means something."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Element
from whole import World, check
from whole.system import SERVICES


def test_hours_of_polling_cost_no_waiting_and_write_nothing() -> None:
    with World() as world:
        office = world.office(3)
        assert world.idle(6) == []
        assert world.now > 3600
        assert [row["state"] for row in world.contacts(office.filter_id)] == ["in_sync"] * 3
        check(world)


def test_a_contact_deleted_in_google_stays_deleted() -> None:
    with World() as world:
        office = world.office(3)
        ann = office.contacts[0]
        world.hands.delete_person(office.account.email, world.person(ann, office.account), ann)
        world.settle()
        row = world.row(office.filter_id, ann)
        assert row is not None
        assert row["state"] == "dismissed"
        check(world)


def test_edits_of_both_sides_meet() -> None:
    with World() as world:
        office = world.office(2)
        ann, email = office.contacts[0], office.account.email
        person = world.person(ann, office.account)
        phone = Element("+4915119999999", "+49 151 19999999", "home")
        phones = (world.hands.in_planfix(ann) or {})["phones"]
        assert isinstance(phones, tuple)
        world.hands.edit_planfix(email, ann, "notes", "typed in Planfix")
        world.hands.edit_google(email, person, "phones", (*phones, phone), ann)
        world.settle()
        assert (world.hands.in_google(email, person) or {})["notes"] == "typed in Planfix"
        assert [e.key for e in (world.hands.in_planfix(ann) or {})["phones"]][-1] == phone.key
        check(world)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_any_early_step_of_a_first_sync_leaves_nothing_behind(service: str, when: str) -> None:
    for nth in (1, 2, 4, 8):
        with World() as world:
            office = world.office(2, go=False)
            world.start()
            world.kill(service, when, "", nth)  # type: ignore[arg-type]
            world.enable(office.filter_id, office.account)
            world.settle()
            assert world.system.kills == 1
            check(world)


def test_a_killed_service_says_nothing_any_more() -> None:
    with World() as world:
        office = world.office(1)
        world.system.supervised = False
        for service in SERVICES:
            world.kill(service)
        requests = world.vendors.requests
        world.hands.edit_planfix(office.account.email, office.contacts[0], "notes", "nobody sees it")
        world.run_for(3600.0)
        assert world.vendors.requests == requests
        world.system.supervised = True
        world.start()
        world.settle()
        check(world)


@pytest.mark.parametrize("broken", ["lost edit", "second person", "unlabelled"])
def test_the_checks_see_what_is_broken(broken: str) -> None:
    with World() as world:
        office = world.office(2)
        email, ann = office.account.email, office.contacts[0]
        person = world.person_json(ann, office.account)
        world.stop("planfix-watcher", "google-watcher", "writer")
        match broken:
            case "lost edit":
                world.hands.edit_planfix(email, ann, "notes", "never arrives")
            case "second person":
                world.google.add_person(email, {"names": person["names"], "clientData": person["clientData"]})
            case _:
                world.google.remove_from_label(email, person["resourceName"], "Clients")
        with pytest.raises(AssertionError, match=r"I1|I2"):
            check(world, quiet=False)
