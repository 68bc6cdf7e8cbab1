"""The writer is killed at every step, and answers are lost: exactly one person per contact, everything settled."""

from __future__ import annotations

import pytest

from contactsync.errors import OutcomeUnknown
from contactsync_contracts.messages import GoogleMutation, Outcome
from writer_world import ACCOUNT, Crash, DyingBus, World, ensure, given, label, mutate

CONTACTS = range(1, 9)


def fill(world: World) -> None:
    """A first sync of two filters that share contacts, then a removal."""
    world.put(label("1", "First"))
    world.put(label("2", "Second"))
    world.put(mutate(*(ensure(n) for n in CONTACTS)))
    world.put(mutate(ensure(3, filter_id="2"), ensure(20, filter_id="2"), filter_id="2", since=5.0))
    gone = GoogleMutation(contact=8, mutation_id="1-8-2", revision=2, op="remove")
    world.put(mutate(gone))


def check(world: World) -> None:
    for contact in (*range(1, 8), 20):
        assert len(world.google.named(contact)) == 1, contact
    assert world.google.named(8) == []
    assert len(world.google.people) == 8
    assert len(world.google.labels) == 2
    labels = {one.stamp: one.resource for one in world.google.labels.values()}
    assert set(labels.values()) <= set(world.google.named(3)[0].labels)
    answered = world.items()
    wanted = {f"1-{n}-1" for n in range(1, 8)} | {"1-8-2", "2-3-1", "2-20-1"}
    assert wanted <= answered.keys()
    assert all(answered[one][-1].outcome in (Outcome.DONE, Outcome.LABELLED) for one in wanted)
    assert {m.label.mutation_id for m in world.messages() if m.label} >= {"label-1-1", "label-2-1"}
    assert f"state.account.{ACCOUNT}.intent" not in world.server.values
    assert not [key for key in world.server.values if ".held." in key]


async def die(world: World, bus: DyingBus | None) -> bool:
    """Run until the crash; whether there was one."""
    try:
        await world.start(bus)
        await world.run()
    except Crash:
        return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_at_every_operation_on_the_bus_nothing_is_made_twice(after: bool) -> None:
    died = 0
    for operations in range(200):
        world = World()
        fill(world)
        if not await die(world, DyingBus(world.bus, operations, after=after)):
            break
        died += 1
        world.clock.now += 0.5
        await world.start()
        await world.run()
        check(world)
    assert died > 8


@pytest.mark.parametrize("call", ["create_people", "update_people", "delete_person", "create_label", "get_people"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_inside_a_request_to_google_nothing_is_made_twice(call: str, when: str) -> None:
    world = World()
    fill(world)
    if call in ("update_people", "get_people", "delete_person"):
        world.queue.pop()
        await world.start()
        await world.run()
        fill(world)
        del world.queue[:-1]
        if call == "update_people":
            world.queue.clear()
            world.put(mutate(ensure(4, filter_id="2"), filter_id="2", since=5.0))
            world.put(mutate(GoogleMutation(contact=8, mutation_id="1-8-2", revision=2, op="remove")))
    world.google.fail(call, when, Crash(call))
    assert await die(world, None)
    world.clock.now += 0.5
    await world.start()
    await world.run()
    check(world)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("call", ["create_people", "update_people", "delete_person", "create_label", "update_label"])
async def test_lost_answers_make_no_duplicates(call: str, when: str, times: int) -> None:
    world = World()
    fill(world)
    for _ in range(times):
        world.google.fail(call, when, OutcomeUnknown("lost"))
    await world.start()
    await world.run()
    check(world)


async def test_a_create_without_an_answer_is_not_sent_again_before_the_lists_can_be_trusted() -> None:
    world = World()
    world.put(label("1", "First"))
    await world.start()
    await world.run()
    world.google.list_lag_s = 100.0
    world.google.fail("create_people", "after")
    world.put(mutate(*(ensure(n) for n in CONTACTS)))
    await world.run()
    assert world.google.count("create_people") == 1
    assert len(world.google.people) == 8
    assert {world.item(f"1-{n}-1").outcome for n in CONTACTS} == {Outcome.DONE}


async def test_other_contacts_go_on_while_one_create_has_no_answer() -> None:
    world = World()
    world.put(label("1", "First"))
    await world.start()
    await world.run()
    world.google.fail("create_people", "before")
    world.put(mutate(ensure(1)))
    assert await world.turn()
    world.put(mutate(ensure(2)))
    assert await world.turn()
    assert [len(world.google.named(n)) for n in (1, 2)] == [0, 1]
    await world.run()
    assert [len(world.google.named(n)) for n in (1, 2)] == [1, 1]


async def test_a_contact_on_which_google_always_fails_is_refused_in_the_end() -> None:
    world = World()
    world.put(label("1", "First"))
    await world.start()
    await world.run()
    honest = world.google.create_people

    async def failing(bodies, *, cls):  # type: ignore[no-untyped-def]
        if any(body["names"][0]["givenName"] == "Given3" for body in bodies):
            raise OutcomeUnknown("500")
        return await honest(bodies, cls=cls)

    world.google.create_people = failing  # type: ignore[method-assign]
    world.put(mutate(*(ensure(n) for n in CONTACTS)))
    await world.run()
    assert world.item("1-3-1").outcome is Outcome.REFUSED
    assert all(len(world.google.named(n)) == 1 for n in CONTACTS if n != 3)


async def test_an_update_whose_answer_was_lost_is_recognised_as_done() -> None:
    world = World()
    world.put(label("1", "First"))
    world.put(mutate(ensure(1)))
    await world.start()
    await world.run()
    person = world.google.named(1)[0]
    world.google.fail("update_people", "after")
    wish = GoogleMutation(
        contact=1, mutation_id="u", revision=2, op="update", fields={"given": "New"},
        resource=person.resource, etag=person.etag, raw=person.raw,
    )  # fmt: skip
    world.put(mutate(wish))
    await world.run()
    assert world.google.count("update_people") == 1
    assert given(world.google.named(1)[0]) == "New"
    assert world.item("u").outcome is Outcome.DONE


async def test_the_first_sync_of_twenty_five_thousand_takes_at_most_126_batches() -> None:
    world = World()
    world.put(label("1", "First"))
    await world.start()
    await world.run()
    pages = list(range(1, 25_001, 100))
    for number, start in enumerate(pages):
        world.put(mutate(*(ensure(n) for n in range(start, start + 100)), more=number < len(pages) - 1))
        if number % 7 == 6:
            await world.turn()
        world.clock.now += 1.0
    await world.run()
    batches = [size for call, size in world.google.calls if call == "create_people"]
    assert sum(batches) == 25_000
    assert len(batches) <= 126
