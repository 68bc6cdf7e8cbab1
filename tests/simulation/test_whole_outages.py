"""A vendor, NATS or the clock is out of order for long: nothing spins or piles up, it shows, and all is well then."""

from __future__ import annotations

from typing import Any

import pytest

from whole import World, check
from whole.world import Office

HOUR_S = 3600.0
AWAY = {
    "no connection": {"kind": "reset"},
    "errors of 503": {"kind": "status", "status": 503},
    "pages of HTML": {"kind": "html"},
    "silence": {"kind": "delay", "seconds": 600.0},
}
PATHS = {"google": r"^/v1/|/token", "planfix": r"^/rest/"}


def edit_both(world: World, office: Office, text: str) -> None:
    ann, bob = office.contacts[:2]
    world.hands.edit_planfix(office.account.email, ann, "position", text)
    world.hands.edit_google(office.account.email, world.person(bob, office.account), "notes", text, bob)


def waiting(world: World) -> int:
    """Messages that nobody has acknowledged."""
    return sum(len(world.server.streams[name].messages) for name in ("FILTERS", "WRITER", "LOOK"))


def requests(world: World, vendor: str) -> int:
    log: Any = world.google.log if vendor == "google" else world.planfix.log
    return len(log)


@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("vendor", PATHS)
def test_a_vendor_that_is_gone_for_an_hour_costs_a_few_requests_and_nothing_else(vendor: str, how: str) -> None:
    with World() as world:
        office = world.office(contacts=5)
        fault = world.fault(**AWAY[how], path=PATHS[vendor], times=None)
        edit_both(world, office, "while it was away")
        world.run_for(HOUR_S)
        # Polls, and one try a minute at most of each of writer and watcher.
        assert 10 < fault.hits <= 5 * 60, "neither given up nor spinning"
        assert waiting(world) < 20
        assert any(vendor in line.casefold() and "does not answer" in line for line in world.system.log)
        world.mended()
        world.settle()
        check(world)
        ann, bob = office.contacts[:2]
        assert world.person_json(ann, office.account)["organizations"][0]["title"] == "while it was away"
        assert world.hands.in_planfix(bob)["notes"] == "while it was away"


def test_nats_that_is_gone_for_ten_minutes_costs_no_request_and_nothing_else() -> None:
    with World() as world:
        office = world.office(contacts=5)
        edit_both(world, office, "while it was away")
        before = world.vendors.requests
        world.nats_away(600.0)
        assert world.vendors.requests - before <= 4, "without NATS nobody owns anything"
        world.settle()
        check(world)


@pytest.mark.parametrize("step_s", [2 * HOUR_S, -2 * HOUR_S, 400 * 86_400.0], ids=["ahead", "back", "another year"])
def test_a_machines_clock_that_is_set_changes_nothing(step_s: float) -> None:
    with World() as world:
        office = world.office(contacts=5)
        world.lose_answer("writer", "POST /v1/people:createContact")
        new = world.contact("New", "Contact", group=office.group)
        edit_both(world, office, "before")
        world.run_for(110.0)
        world.system.off_s = step_s
        edit_both(world, office, "after")
        world.run_for(250.0)
        assert world.person(new, office.account)
        assert world.hands.in_planfix(office.contacts[1])["notes"] == "after", "as soon as with a clock that is right"
        assert world.person_json(office.contacts[0], office.account)["organizations"][0]["title"] == "after"
        world.settle()
        check(world)
