"""Creates whose answer was lost, against listings that lie and answers that say little: nobody is made twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contactsync.errors import OutcomeUnknown, Rejected
from contactsync.google.port import PartlyDone
from contactsync_contracts.messages import Outcome
from writer_world import ACCOUNT, LAG_S, Crash, World, ensure, label, mutate

FIRST, LOST = range(1, 9), range(11, 19)


async def with_some(world: World | None = None) -> World:
    """Eight people of ours, for long."""
    world = world or World()
    world.put(label("1", "First"))
    world.put(mutate(*(ensure(n) for n in FIRST)))
    await world.start()
    await world.run()
    world.clock.now += 10 * LAG_S
    return world


def check(world: World) -> None:
    for contact in (*FIRST, *LOST):
        assert len(world.google.named(contact)) == 1, contact
        assert world.item(f"1-{contact}-1").outcome is Outcome.DONE
    assert f"state.account.{ACCOUNT}.intent" not in world.server.values


SHORT: dict[str, Callable[[list[str]], list[str]]] = {
    "its second half is missing": lambda shown: shown[: len(shown) // 2],
    "exactly the new ones are missing": lambda shown: shown[:8],
    "the new ones and one known are missing": lambda shown: shown[:7],
    "the oldest are missing": lambda shown: shown[8:16],
    "nobody is there": lambda shown: [],
}


@pytest.mark.parametrize("cut", SHORT.values(), ids=SHORT.keys())
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted each time"])
async def test_listings_that_are_silently_short_the_same_way_every_time_prove_nothing(
    cut: Callable[[list[str]], list[str]], restarted: bool
) -> None:
    world = await with_some()
    world.google.cut = cut
    world.google.fail("create_people", "after")
    world.put(mutate(*(ensure(n) for n in LOST)))
    assert await world.turn()
    for _ in range(30):
        world.clock.now = max(world.clock.now, world.mailboxes.times.get(ACCOUNT, 0.0))
        if restarted:
            await world.start()
        await world.turn()
    assert world.google.count("list_page") >= 3
    assert len(world.google.people) == 16
    world.google.cut = lambda shown: shown
    await world.run()
    check(world)


async def test_a_listing_that_stays_short_is_asked_for_ever_more_rarely() -> None:
    world = await with_some()
    world.google.cut = lambda shown: shown[:8]
    world.google.fail("create_people", "after")
    world.put(mutate(*(ensure(n) for n in LOST)))
    assert await world.turn()
    while world.clock.now < 1_000_000.0 + 10 * LAG_S + 7200.0:
        world.clock.now = max(world.clock.now, world.mailboxes.times[ACCOUNT])
        await world.turn()
    assert world.google.count("list_page") < 40


async def test_people_deleted_meanwhile_do_not_keep_a_create_waiting() -> None:
    world = await with_some()
    world.google.fail("create_people", "before")
    world.put(mutate(*(ensure(n) for n in LOST)))
    assert await world.turn()
    gone = world.google.named(3)[0].resource
    del world.google.people[gone]
    began = world.clock.now
    await world.run()
    assert world.clock.now - began < LAG_S + 120.0
    assert all(len(world.google.named(n)) == 1 for n in LOST)


async def test_many_people_deleted_meanwhile_are_looked_up_a_few_hundred_at_a_time() -> None:
    world = World()
    world.put(label("1", "First"))
    world.put(mutate(*(ensure(n) for n in range(1, 1001))))
    await world.start()
    await world.run()
    world.clock.now += 10 * LAG_S
    world.google.fail("create_people", "before")
    world.put(mutate(ensure(2000)))
    assert await world.turn()
    world.google.people.clear()
    await world.run()
    assert max(size for call, size in world.google.calls if call == "get_people") <= 200
    assert len(world.google.named(2000)) == 1


@pytest.mark.parametrize("deleted", [False, True], ids=["", "somebody is deleted meanwhile"])
async def test_creates_that_go_on_do_not_keep_a_lost_one_waiting_for_ever(deleted: bool) -> None:
    world = await with_some()
    world.google.fail("create_people", "before")
    world.put(mutate(ensure(11), people_total=8, people_at=world.clock.now - 1.0))
    assert await world.turn()
    if deleted:
        del world.google.people[world.google.named(3)[0].resource]
    began = world.clock.now
    number = 100
    while not world.google.named(11):
        number += 1
        world.put(mutate(ensure(number)))
        assert await world.turn()
        world.clock.now += 4.0
    assert world.clock.now - began < LAG_S + 60.0


async def test_an_answer_without_stamps_is_read_again_by_name() -> None:
    world = await with_some()
    world.google.stamps_answered = False
    world.put(mutate(*(ensure(n) for n in LOST)))
    await world.run()
    check(world)
    assert world.google.count("list_page") == 0


@pytest.mark.parametrize("number", [1, 8], ids=["alone", "in a batch"])
async def test_an_answer_without_stamps_that_cannot_be_read_again_is_found_in_the_lists(number: int) -> None:
    world = await with_some()
    world.google.stamps_answered = False
    world.google.fail("get_people", "before", OutcomeUnknown("lost"))
    world.put(mutate(*(ensure(n) for n in [*LOST][:number])))
    await world.run()
    world.put(mutate(*(ensure(n) for n in [*LOST][number:])))
    await world.run()
    check(world)


@pytest.mark.parametrize("named", [True, False], ids=["all accounted for", "one not accounted for"])
async def test_a_batch_done_in_part_is_told_apart_by_stamps_not_by_place(named: bool) -> None:
    """The answer is shuffled: the failure at place 2 is not the contact's at place 2."""
    world = await with_some()
    honest = world.google.create_people

    async def partly(bodies, *, cls):  # type: ignore[no-untyped-def]
        good = [body for body in bodies if body["names"][0]["givenName"] != "Given15"]
        if len(good) == len(bodies):
            return await honest(bodies, cls=cls)
        if len(bodies) == 1:
            if named:
                raise Rejected("a bad value")
            return await honest(bodies, cls=cls)
        made = await honest(good, cls=cls)
        done = {person.resource: person for person in reversed(made)}
        raise PartlyDone("some", done, {"2": "a bad value"} if named else {}, complete=named)

    world.google.create_people = partly  # type: ignore[method-assign]
    world.put(mutate(*(ensure(n) for n in LOST)))
    await world.run()
    outcomes = {n: world.item(f"1-{n}-1").outcome for n in LOST}
    assert {outcome for n, outcome in outcomes.items() if n != 15} == {Outcome.DONE}
    assert outcomes[15] is (Outcome.REFUSED if named else Outcome.DONE)
    assert all(len(world.google.named(n)) == 1 for n in LOST if n != 15)
    assert len(world.google.named(15)) == (0 if named else 1)


async def test_a_batch_with_several_reasons_is_sent_again_one_by_one() -> None:
    world = await with_some()
    honest = world.google.create_people
    reasons = {"Given12": "too long", "Given16": "two birthdays"}

    async def partly(bodies, *, cls):  # type: ignore[no-untyped-def]
        bad = [name for body in bodies if (name := body["names"][0]["givenName"]) in reasons]
        good = [body for body in bodies if body["names"][0]["givenName"] not in reasons]
        if len(bodies) == 1 and bad:
            raise Rejected(reasons[bad[0]])
        made = await honest(good, cls=cls) if good else []
        if not bad:
            return made
        items = {str(place): reasons[name] for place, name in enumerate(reversed(bad))}
        raise PartlyDone("some", {person.resource: person for person in made}, items, complete=True)

    world.google.create_people = partly  # type: ignore[method-assign]
    world.put(mutate(*(ensure(n) for n in LOST)))
    await world.run()
    refused = {n: item.reason for n in LOST if (item := world.item(f"1-{n}-1")).outcome is Outcome.REFUSED}
    assert refused == {12: "too long", 16: "two birthdays"}
    assert all(len(world.google.named(n)) == 1 for n in LOST if n not in refused)


@pytest.mark.parametrize("call", ["list_page", "get_people", "get_label"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_while_looking_for_a_lost_create(call: str, when: str) -> None:
    world = await with_some()
    world.google.people.pop(world.google.named(2)[0].resource)
    world.google.fail("create_people", "before")
    world.put(mutate(*(ensure(n) for n in LOST)))
    assert await world.turn()
    world.google.fail(call, when, Crash(call))
    with pytest.raises(Crash):
        await world.run()
    await world.start()
    await world.run()
    assert all(len(world.google.named(n)) == 1 for n in LOST)


@pytest.mark.parametrize("count", [8, 200, 201], ids=["a few", "a batch", "more than a batch"])
async def test_killed_in_the_middle_of_many_creates_it_sleeps_until_it_can_look(count: int) -> None:
    world = await with_some()
    many = range(11, 11 + count)
    world.google.fail("create_people", "after", Crash("create_people"))
    world.put(mutate(*(ensure(n) for n in many), more=True))
    world.clock.now += 10  # nothing waits for a full batch any more
    with pytest.raises(Crash):
        await world.run()
    await world.start()
    for _ in range(40):
        world.mailboxes.times.clear()
        await world.turn()
        at = world.mailboxes.times.get(ACCOUNT)
        if at is None and not world.queue:
            break
        assert at is None or at > world.clock.now
        world.clock.now = max(world.clock.now, at or 0.0)
    assert all(len(world.google.named(n)) == 1 for n in many)
