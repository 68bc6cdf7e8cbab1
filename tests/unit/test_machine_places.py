"""Conversations with the machine: an account that has fewer places than the filter has contacts."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from contactsync.reconciler.core.machine import Event
from contactsync.reconciler.core.places import probe
from contactsync.reconciler.core.reasons import ACCOUNT_FULL
from contactsync_contracts.messages import (
    PEOPLE_MAX,
    GoogleListed,
    LookPlanfix,
    Model,
    Mutate,
    Pause,
    Resume,
    SyncFinished,
)
from reconciler_world import ACCOUNT, FILTER, LAST, World

MODES = ["steady", "restarts", "crashes"]


@dataclass
class Account(World):
    """`phases`: of the first sync, when something was written to Google; `told`: what the others were told."""

    phases: list[str] = field(default_factory=list)
    told: list[Model] = field(default_factory=list)

    def answers(self, message: Model) -> list[Event]:
        self.told.append(message)
        if isinstance(message, Mutate) and message.google:
            self.phases.append(self.record.phase)
        return super().answers(message)


def world_with(mode: str, contacts: int, places: int, **more: bool) -> Account:
    world = Account(restarts=mode == "restarts", crashes=mode == "crashes", **more)
    world.crowd = PEOPLE_MAX - places
    for number in range(1, contacts + 1):
        world.contact(number, given=f"N{number}")
    return world


def created(world: World) -> list[int]:
    return [int(write.split()[-1]) for write in world.writes if write.startswith("google ensure")]


def listed(world: World, total: int) -> GoogleListed:
    resources = tuple(sorted(world.people))
    return GoogleListed(
        filter_id=FILTER,
        account=ACCOUNT,
        began_at=world.now,
        low="",
        high=LAST,
        resources=resources,
        people_total=total,
        last=True,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backwards", [False, True], ids=["lowest first", "highest first"])
def test_the_places_go_to_the_lowest_numbers_whatever_the_order_of_the_pages(mode: str, backwards: bool) -> None:
    world = world_with(mode, 11, 4, backwards=backwards)
    world.enable()
    assert sorted(created(world)) == [1, 2, 3, 4]
    waiting = {c: link.hold.reason for c, link in world.links.items() if link.hold is not None}
    assert waiting == dict.fromkeys(range(5, 12), ACCOUNT_FULL)
    assert "empty its Trash" in ACCOUNT_FULL
    finished = [event for event in world.events if isinstance(event, SyncFinished)]
    assert {(event.outcome, event.created) for event in finished} == {("succeeded", 4)}
    assert not world.record.crowded
    assert not [c for c, link in world.links.items() if link.due]


@pytest.mark.parametrize(("places", "waits"), [(6, False), (5, True)], ids=["it fits", "it does not fit"])
def test_only_a_filter_that_fits_is_created_while_its_pages_arrive(places: int, waits: bool) -> None:
    world = world_with("steady", 6, places)
    waited = []
    world.on_step = lambda step: waited.append(step.record is not None and step.record.crowded)
    world.enable()
    assert any(waited) is waits
    assert set(world.phases) == {"done"}
    assert sorted(created(world)) == list(range(1, places + 1))


@pytest.mark.parametrize("mode", MODES)
def test_those_who_wait_ask_again_when_a_listing_shows_places(mode: str) -> None:
    world = world_with(mode, 6, 3)
    world.enable()
    assert sorted(created(world)) == [1, 2, 3]
    world.run(listed(world, PEOPLE_MAX))
    assert sorted(created(world)) == [1, 2, 3]
    world.crowd -= 2
    world.run(listed(world, PEOPLE_MAX - 2))
    assert sorted(created(world)) == [1, 2, 3, 4, 5]
    assert [c for c, link in world.links.items() if link.hold and link.hold.reason == ACCOUNT_FULL] == [6]


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_while_crowded_changes_nothing(mode: str) -> None:
    world = world_with(mode, 7, 4)
    world.silent.add("match")
    world.enable()
    world.run(Pause(request_id="p", filter_id=FILTER))
    world.silent.clear()
    world.run(Resume(request_id="r", filter_id=FILTER))
    world.now += 400
    world.deliver()
    world.run()
    assert sorted(created(world)) == [1, 2, 3, 4]


def test_the_writer_is_told_how_many_people_there_are_and_the_watcher_how_many_fit() -> None:
    world = world_with("steady", 2, 100)
    world.enable()
    creates = [m for m in world.told if isinstance(m, Mutate) and m.google]
    assert {(m.people_total, m.people_at > 0) for m in creates} == {(PEOPLE_MAX - 100, True)}
    assert [m.probe for m in world.told if isinstance(m, LookPlanfix) and m.what == "listing"] == [100]
    assert probe(world.record) is None
