"""Filters and accounts in which nothing happens take no memory, and a message finds them as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contactsync.google_watcher.index import Index
from contactsync.reconciler.actor import Actor
from contactsync.runtime.bus import TYPE
from contactsync.writer.google_target import GoogleTarget
from whole import World, check


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Every actor, target and index that was made."""
    made: dict[str, list[Any]] = {"actors": [], "targets": [], "indexes": []}

    def noted(kind: str, cls: type) -> Callable[..., None]:
        make = cls.__init__

        def init(self: Any, *args: Any, **more: Any) -> None:
            make(self, *args, **more)
            made[kind].append(self)

        return init

    for kind, cls in (("actors", Actor), ("targets", GoogleTarget), ("indexes", Index)):
        monkeypatch.setattr(cls, "__init__", noted(kind, cls))
    return made


def in_memory(alive: dict[str, list[Any]]) -> tuple[int, int]:
    return sum(one.links for one in alive["actors"]), max(one.unfolded for one in alive["indexes"])


@pytest.mark.parametrize("kept", ["0", "25000"])
def test_an_idle_filter_lets_go_of_its_memory_and_wakes_as_it_was(alive: dict[str, list[Any]], kept: str) -> None:
    with World(settings={"IDLE_CONTACTS_KEPT": kept}) as world:
        office = world.office(contacts=5)
        world.run_for(250.0)
        world.server.streams["EVENTS"].messages.clear()
        assert in_memory(alive) == ((0, 0) if kept == "0" else (5, 5))
        targets = len(alive["targets"])
        ann = office.contacts[0]
        world.hands.edit_planfix(office.account.email, ann, "position", "Boss")
        world.settle()
        assert world.person_json(ann, office.account)["organizations"][0]["title"] == "Boss"
        assert (len(alive["targets"]) > targets) is (kept == "0")
        told = [event.headers[TYPE] for event in world.server.streams["EVENTS"].messages.values()]
        assert "ContactChanged.v1" in told
        assert "SyncFinished.v1" not in told, "what was said before it rested is not said again"
        check(world)
