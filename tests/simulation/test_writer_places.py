"""The writer on an account with fewer places than contacts (D19): the lowest numbers, the same ones on each run."""

from __future__ import annotations

from typing import Any

import pytest

from contactsync.writer.google_target import GoogleRules
from contactsync_contracts.messages import GoogleMutation, Mutate, Outcome
from writer_world import LAG_S, Crash, DyingBus, World, ensure, label, mutate

HERE = 1_000_000.0


def asks(world: World, *contacts: int, revision: int = 1, total: int = 0, at: float = HERE, **more: Any) -> Mutate:
    filter_id = str(more.get("filter_id", "1"))
    mutations = [ensure(n, filter_id=filter_id, revision=revision) for n in contacts]
    return mutate(*mutations, people_total=total, people_at=at, **more)


async def account(people_max: int = 24_900, private: int = 0) -> World:
    world = World(rules=GoogleRules(lag_s=LAG_S, people_max=people_max))
    world.put(label("1", "First"))
    world.put(label("2", "Second"))
    for _ in range(private):
        world.google.add(names=[{"givenName": "Private"}])
    await world.start()
    await world.run()
    return world


def placed(world: World) -> list[int]:
    return sorted(n for n in range(1, 400) if world.google.named(n))


def outcomes(world: World, revision: int = 1, filter_id: str = "1") -> dict[Outcome, list[int]]:
    found: dict[Outcome, list[int]] = {}
    for mutation_id, items in world.items().items():
        of, contact, rev = mutation_id.split("-")
        if (of, int(rev)) == (filter_id, revision):
            found.setdefault(items[-1].outcome, []).append(int(contact))
    return {outcome: sorted(contacts) for outcome, contacts in found.items()}


async def test_private_people_count_and_the_rest_is_told_without_a_request() -> None:
    world = await account(people_max=10, private=4)
    world.put(asks(world, *range(12, 0, -1), total=4))
    await world.run()
    assert outcomes(world) == {Outcome.DONE: [1, 2, 3, 4, 5, 6], Outcome.FULL: [7, 8, 9, 10, 11, 12]}
    assert [size for call, size in world.google.calls if call == "create_people"] == [6]


@pytest.mark.parametrize("room", [0, 1, 5, 11, 12])
async def test_googles_own_word_is_final_and_its_places_go_to_the_lowest_numbers(room: int) -> None:
    world = await account()
    world.google.room = room
    world.put(asks(world, *range(12, 0, -1)))
    await world.run()
    assert placed(world) == list(range(1, room + 1))
    assert outcomes(world).get(Outcome.FULL, []) == list(range(room + 1, 13))
    world.google.calls.clear()
    world.put(asks(world, 99, at=HERE))
    await world.run()
    assert world.item("1-99-1").outcome is Outcome.FULL
    assert world.google.count("create_people") == (1 if room == 12 else 0)


async def test_a_lower_number_that_waits_is_not_overtaken_by_another_filter() -> None:
    world = await account(people_max=10)
    world.put(asks(world, *range(10, 16), total=10))
    world.put(asks(world, 1, 2, 3, total=10, filter_id="2", since=5.0))
    await world.run()
    assert placed(world) == []
    # A human deleted two people. Both filters hear of it; the higher numbers ask first.
    world.put(asks(world, *range(10, 16), revision=2, total=8, at=HERE + 900))
    await world.run()
    assert placed(world) == []
    world.put(asks(world, 1, 2, 3, revision=2, total=8, at=HERE + 900, filter_id="2", since=5.0))
    await world.run()
    assert placed(world) == [1, 2]
    assert outcomes(world, 2, "2") == {Outcome.DONE: [1, 2], Outcome.FULL: [3]}


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_claim_of_a_contact_that_does_not_ask_again_lapses(restarts: bool) -> None:
    world = await account(people_max=10)
    world.put(asks(world, 1, total=10, filter_id="2", since=5.0))
    world.put(asks(world, 10, total=10))
    await world.run()
    for round_ in (1, 2):
        assert placed(world) == []
        world.clock.now += 86_400.0
        if restarts:
            await world.start()
        world.put(asks(world, 10, revision=1 + round_, total=9, at=world.clock.now))
        await world.run()
    assert placed(world) == [10]


async def test_people_who_are_there_are_updated_in_a_full_account() -> None:
    world = await account(people_max=3)
    world.put(asks(world, 1, 2, 3, 4))
    await world.run()
    person = world.google.named(2)[0]
    change = GoogleMutation(
        contact=2, mutation_id="1-2-2", revision=2, op="update", fields={"notes": "x"},
        resource=person.resource, etag=person.etag, raw=person.raw,
    )  # fmt: skip
    world.put(mutate(change))
    world.put(mutate(ensure(3, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    assert world.item("1-2-2").outcome is Outcome.DONE
    assert world.item("2-3-1").outcome is Outcome.LABELLED
    assert placed(world) == [1, 2, 3]


async def test_a_create_without_an_answer_keeps_its_place() -> None:
    world = await account(people_max=3)
    world.google.fail("create_people", "after")
    world.put(asks(world, 5, 6))
    assert await world.turn()
    world.put(asks(world, 1, 2))
    await world.run()
    assert placed(world) == [1, 5, 6]
    assert outcomes(world) == {Outcome.DONE: [1, 5, 6], Outcome.FULL: [2]}


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_at_every_operation_the_same_contacts_get_the_places(after: bool) -> None:
    died = 0
    for operations in range(60):
        world = await account(people_max=10, private=4)
        world.put(asks(world, *range(20, 8, -1), total=4))
        world.put(asks(world, *range(1, 4), total=4, filter_id="2", since=5.0))
        try:
            await world.start(DyingBus(world.bus, operations, after=after))
            await world.run()
            break
        except Crash:
            died += 1
        world.clock.now += 0.5
        await world.start()
        await world.run()
        assert placed(world) == [1, 2, 3, 9, 10, 11], operations
    assert died > 5


async def test_a_filter_that_leaves_is_not_told_that_there_is_no_place_for_another_ones_wish() -> None:
    world = await account(people_max=3)
    world.put(asks(world, 5, total=3))
    world.put(asks(world, 5, total=3, filter_id="2", since=5.0))
    await world.run()
    assert world.item("1-5-1").outcome is world.item("2-5-1").outcome is Outcome.FULL
    world.put(mutate(GoogleMutation(contact=5, mutation_id="1-5-2", revision=2, op="remove")))
    world.put(asks(world, 5, revision=2, total=3, filter_id="2", since=5.0))
    await world.run()
    assert world.item("2-5-2").outcome is Outcome.FULL
    item = world.item("1-5-2")
    assert (item.outcome, item.removed, item.reason) == (Outcome.DONE, True, "")
