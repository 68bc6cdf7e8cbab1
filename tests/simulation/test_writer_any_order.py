"""The writer under any sequence of wishes, lost answers, lying listings, full accounts and kills, by seed."""

from __future__ import annotations

import os
import random

import pytest

from contactsync.errors import NotConnected, OutcomeUnknown, Unavailable
from contactsync.google.port import Json
from contactsync.writer.google_target import GoogleRules
from contactsync_contracts.messages import GoogleMutation, Outcome
from writer_world import ACCOUNT, LAG_S, Crash, DyingBus, World, ensure, label, mutate

CALLS = ("create_people", "update_people", "delete_person", "create_label", "list_page", "get_people", "list_labels")
FAULTS: tuple[tuple[Exception, bool], ...] = (
    (OutcomeUnknown("lost"), True),
    (Crash("killed"), True),
    (Unavailable("busy", 3.0), False),
    (NotConnected("reconnect"), False),
)
"""What a request can end with, and whether it may have taken effect then."""
FILTERS = ("1", "2")
PEOPLE_MAX = 30
SEEDS = int(os.environ.get("WRITER_SEEDS", "12"))


def number_of(body: Json) -> int:
    name = str((body.get("names") or [{}])[0].get("givenName", ""))
    return int(name.removeprefix("Given") or 1) if name.startswith("Given") else 1


class Play:
    """`wanted`: what each filter asked for last of each contact; settled revisions go up one by one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(rules=GoogleRules(lag_s=LAG_S, people_max=PEOPLE_MAX))
        self.revisions: dict[tuple[str, int], int] = {}
        self.wanted: dict[tuple[str, int], bool] = {}
        self.private = 5

    async def begin(self) -> None:
        world = self.world
        for filter_id in FILTERS:
            world.put(label(filter_id, f"Label {filter_id}"))
        for _ in range(self.private):
            world.google.add(names=[{"givenName": "Private"}])
        await self.start()

    async def start(self) -> None:
        dies = self.random.random() < 0.5
        left, after = self.random.randrange(40), self.random.random() < 0.5
        bus = DyingBus(self.world.bus, left, after=after) if dies else None
        try:
            await self.world.start(bus)
        except Crash:
            await self.world.start()

    async def step(self) -> None:
        draw, world = self.random, self.world
        match draw.randrange(11):
            case 0 | 1 | 2:
                self.ask(draw.choice(FILTERS), draw.sample(range(1, 41), draw.randrange(1, 15)))
            case 3:
                error, after = draw.choice(FAULTS)
                when = draw.choice(("before", "after")) if after else "before"
                world.google.fail(draw.choice(CALLS), when, error)
            case 4:
                keep = draw.random()
                world.google.cut = draw.choice(
                    (lambda shown: shown, lambda shown: shown[: int(len(shown) * keep)], lambda shown: shown[:-1])
                )
            case 5:
                world.google.list_lag_s = draw.choice((0.0, 8.0, LAG_S * 0.9))
            case 6:
                world.clock.now += draw.choice((1.0, 10.0, LAG_S, 4 * LAG_S))
            case 7:
                await self.start()
            case 8:
                unlucky = draw.choice((0, 3, 7))
                world.google.refuse = lambda body: bool(unlucky and number_of(body) % unlucky == 0)
                world.google.partly, world.google.names_bad = draw.random() < 0.5, draw.random() < 0.5
            case 9:
                world.google.room = draw.choice((25_000, len(world.google.people) + draw.randrange(4)))
            case _:
                world.google.stamps_answered = draw.random() < 0.7
        await self.turn()

    async def turn(self) -> None:
        at = self.world.mailboxes.times.get(ACCOUNT)
        if at is not None and self.random.random() < 0.7:
            self.world.clock.now = max(self.world.clock.now, at)
        try:
            await self.world.turn()
        except Crash:
            await self.start()

    def ask(self, filter_id: str, contacts: list[int], *, remove_some: bool = True) -> None:
        mutations = []
        for contact in contacts:
            key = filter_id, contact
            revision = self.revisions[key] = self.revisions.get(key, 0) + 1
            remove = remove_some and self.wanted.get(key, False) and self.random.random() < 0.4
            self.wanted[key] = not remove
            wish = ensure(contact, filter_id=filter_id, revision=revision)
            if remove:
                wish = GoogleMutation(contact=contact, mutation_id=wish.mutation_id, revision=revision, op="remove")
            mutations.append(wish)
        now = self.world.clock.now
        self.world.put(
            mutate(
                *mutations,
                filter_id=filter_id,
                since=float(filter_id),
                people_total=len(self.world.google.people),
                people_at=now,
            )
        )

    async def end(self) -> None:
        """Everything works again; every filter asks once more for what it wants."""
        world = self.world
        world.google.faults.clear()
        world.google.cut, world.google.refuse, world.google.room = lambda shown: shown, lambda body: False, 25_000
        world.google.list_lag_s, world.google.stamps_answered = 8.0, True
        await world.start()
        await world.run()
        for filter_id in FILTERS:
            again = [contact for (of, contact), wanted in self.wanted.items() if of == filter_id and wanted]
            self.ask(filter_id, again, remove_some=False)
            await world.run()

    def check(self) -> None:
        world = self.world
        wanted = {contact for (_, contact), wanted in self.wanted.items() if wanted}
        there = {contact: len(world.google.named(contact)) for contact in range(1, 41)}
        assert all(count <= 1 for count in there.values()), there
        assert {contact for contact, count in there.items() if count} <= wanted
        assert len(world.google.people) == self.private + sum(there.values())
        assert len(world.google.labels) == len(FILTERS)
        labels = {one.stamp: one.resource for one in world.google.labels.values()}
        for (filter_id, contact), wants in self.wanted.items():
            item = world.item(f"{filter_id}-{contact}-{self.revisions[filter_id, contact]}")
            if not wants:
                assert item.outcome is Outcome.DONE
            elif there[contact]:
                assert item.outcome in (Outcome.DONE, Outcome.LABELLED)
                assert labels[filter_id] in world.google.named(contact)[0].labels
            else:
                assert item.outcome is Outcome.FULL
        assert f"state.account.{ACCOUNT}.intent" not in world.server.values
        assert not [key for key in world.server.values if ".held." in key]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens_each_contact_has_one_person_and_every_wish_an_answer(seed: int) -> None:
    play = Play(seed)
    await play.begin()
    for _ in range(60):
        await play.step()
    await play.end()
    play.check()
