"""Two filters of one account hold one contact: another one merges its fields once the first cannot any more (2.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whole import Office, World, check


def second(world: World, office: Office) -> str:
    """A younger filter of the same contacts."""
    filter_id = world.filter("Second", office.owner, contacts=office.contacts)
    world.enable(filter_id, office.account)
    world.settle()
    return filter_id


def typed(world: World, office: Office, name: str, value: str) -> None:
    """Into the first contact's person; some time passes."""
    ann = office.contacts[0]
    world.hands.edit_google(office.account.email, world.person(ann, office.account), name, value, ann)
    world.run_for(400.0)


def shown(world: World, office: Office, name: str) -> object:
    return (world.hands.in_planfix(office.contacts[0]) or {}).get(name)


Turn = Callable[[World, str], None]
TURNS: dict[str, tuple[Turn, Turn]] = {
    "paused": (lambda world, one: world.pause(one), lambda world, one: world.resume(one)),
    "one-way": (lambda world, one: world.two_way(one, False), lambda world, one: world.two_way(one, True)),
}


@pytest.mark.parametrize(("turn", "back"), TURNS.values(), ids=TURNS)
def test_while_the_older_filter_cannot_the_younger_carries_over_what_is_typed_in_google(
    turn: Turn, back: Turn
) -> None:
    with World() as world:
        office = world.office(contacts=2)
        second(world, office)
        turn(world, office.filter_id)
        world.run_for(60.0)
        typed(world, office, "notes", "by the younger")
        assert shown(world, office, "notes") == "by the younger"
        typed(world, office, "notes", "")
        assert shown(world, office, "notes") == ""
        back(world, office.filter_id)
        world.settle()
        typed(world, office, "position", "by the older")
        assert shown(world, office, "position") == "by the older"
        world.settle()
        check(world)


def test_the_word_about_a_pause_is_not_lost_with_the_one_who_says_it_or_hears_it() -> None:
    for service, when in (
        ("reconciler", "before"),
        ("reconciler", "after"),
        ("writer", "before"),
        ("writer", "after"),
    ):
        with World() as world:
            office = world.office(contacts=1)
            second(world, office)
            world.kill(service, when, "publish|commit", 2)  # type: ignore[arg-type]
            world.pause(office.filter_id)
            world.run_for(120.0)
            typed(world, office, "notes", service)
            assert shown(world, office, "notes") == service, (service, when)
