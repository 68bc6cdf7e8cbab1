"""A filter leaves an account: what is forgotten, who goes on, and that nothing old comes back."""

from __future__ import annotations

import orjson
import pytest

from contactsync.errors import NotConnected, Unavailable
from contactsync.runtime.bus import Put
from contactsync.writer.identity import decode
from contactsync_contracts import subjects
from contactsync_contracts.messages import Forget, GoogleMutation, LabelMutation, Mutate, Outcome
from writer_world import ACCOUNT, Crash, DyingBus, World, ensure, given, label, mutate

GRANT = subjects.grant_key(ACCOUNT)


def named(filter_id: str, name: str, since: float, revision: int = 1) -> Mutate:
    """The filter that was born at `since` has this label."""
    wish = LabelMutation(mutation_id=f"label-{filter_id}-{revision}", revision=revision, op="ensure", name=name)
    return Mutate(filter_id=filter_id, target=ACCOUNT, epoch=1, since=since, label=wish)


def forget(filter_id: str = "1", since: float = 1.0, *, emptied: bool = False) -> Mutate:
    wish = Forget(mutation_id=f"{filter_id}.forget.{since}", emptied=emptied)
    return Mutate(filter_id=filter_id, target=ACCOUNT, epoch=1, since=since, forget=wish)


def remove(contact: int, filter_id: str = "1", revision: int = 2) -> GoogleMutation:
    name = f"{filter_id}-{contact}-{revision}"
    return GoogleMutation(contact=contact, mutation_id=name, revision=revision, op="remove")


async def two_filters(world: World) -> None:
    """Filter 1 has the contacts 1 to 4, filter 2 the contacts 4 and 5; filter 1 merges the fields of 4."""
    grant = orjson.dumps({"account": ACCOUNT})
    await world.bus.commit(None, [Put(GRANT, grant), Put(f"state.account.{ACCOUNT}.cursor", b"{}")])
    world.put(named("1", "First", 1.0))
    world.put(named("2", "Second", 2.0))
    world.put(mutate(*(ensure(n) for n in (1, 2, 3, 4))))
    world.put(mutate(ensure(4, filter_id="2"), ensure(5, filter_id="2"), filter_id="2", since=2.0))
    await world.start()
    await world.run()
    world.google.calls.clear()


def forgotten(world: World) -> list[str]:
    return [m.forgotten for m in world.messages() if m.forgotten]


def people(world: World) -> dict[int, set[str]]:
    """Contact -> filters that want it, as stored."""
    prefix = f"state.account.{ACCOUNT}.person."
    stored = [(key, world.server.values[key]) for key in world.server.values if key.startswith(prefix)]
    return {int(key.rpartition(".")[2]): set(decode(value.value).wants) for key, value in stored if value}


async def test_only_what_no_other_filter_wants_is_forgotten_and_google_stays_as_it_is() -> None:
    world = World()
    await two_filters(world)
    before = {name: dict(person) for name, person in world.google.people.items()}
    world.put(forget())
    await world.run()
    assert forgotten(world) == ["1.forget.1.0"]
    assert people(world) == {4: {"2"}, 5: {"2"}}
    assert world.google.people == before
    assert not world.google.calls
    assert not world.released


async def test_who_merges_the_fields_from_now_on_is_told() -> None:
    world = World()
    await two_filters(world)
    world.put(forget())
    await world.run()
    handed = [(m.filter_id, h.contact) for m in world.messages() for h in m.handovers]
    assert handed == [("2", 4)]


async def test_with_the_last_filter_the_grant_and_everything_of_the_account_go() -> None:
    world = World()
    await two_filters(world)
    world.put(forget())
    world.put(forget("2", 2.0))
    await world.run()
    assert world.released == [ACCOUNT]
    left = {key for key in world.server.values if key.startswith(f"state.account.{ACCOUNT}.")}
    assert left == {subjects.label_key(ACCOUNT, "1"), subjects.label_key(ACCOUNT, "2")}
    assert sorted(forgotten(world)) == ["1.forget.1.0", "2.forget.2.0"]


async def test_an_account_that_a_filter_is_about_to_use_keeps_its_grant() -> None:
    world = World()
    await two_filters(world)
    record = orjson.dumps({"filter_id": "3", "account": ACCOUNT, "since": 9.0})
    await world.bus.commit(None, [Put("state.filter.3", record)])
    world.put(forget())
    world.put(forget("2", 2.0))
    await world.run()
    assert not world.released
    assert GRANT in world.server.values


async def test_two_filters_that_leave_at_once_do_not_wait_for_each_other() -> None:
    world = World()
    await two_filters(world)
    for name, since in (("1", 1.0), ("2", 2.0)):
        record = orjson.dumps({"filter_id": name, "account": ACCOUNT, "since": since, "state": "disconnecting"})
        await world.bus.commit(None, [Put(f"state.filter.{name}", record)])
    world.put(forget())
    world.put(forget("2", 2.0))
    await world.run()
    assert world.released == [ACCOUNT]


async def test_a_revocation_that_google_does_not_answer_is_repeated() -> None:
    world = World()
    await two_filters(world)
    world.release_fails.append(Unavailable("not now"))
    world.put(forget())
    world.put(forget("2", 2.0))
    await world.run()
    assert world.released == [ACCOUNT, ACCOUNT]
    assert len(forgotten(world)) == 2


async def test_what_waited_when_the_filter_left_is_not_done_any_more() -> None:
    world = World()
    await two_filters(world)
    world.put(mutate(ensure(6), remove(1), more=True))
    world.put(forget())
    await world.run()
    assert not world.google.named(6)
    assert len(world.google.named(1)) == 1
    assert not [key for key in world.server.values if ".held." in key]


@pytest.mark.parametrize("last", [False, True], ids=["another filter stays", "it was the last"])
async def test_old_messages_of_a_filter_that_is_gone_write_nothing(last: bool) -> None:
    world = World()
    await two_filters(world)
    world.put(forget())
    if last:
        world.put(forget("2", 2.0))
    await world.run()
    before = {name: dict(person) for name, person in world.google.people.items()}
    world.google.calls.clear()
    world.put(named("1", "First", 1.0))
    world.put(mutate(*(ensure(n) for n in (1, 2, 3, 4, 7)), remove(2, revision=5)))
    world.put(forget())
    await world.start()
    await world.run()
    assert world.google.people == before
    assert not world.google.calls


async def test_a_filter_that_comes_back_is_served_and_its_old_messages_are_not() -> None:
    world = World()
    await two_filters(world)
    world.clock.now += 100
    world.put(forget())
    world.put(named("1", "First", 50.0, revision=900))
    world.put(mutate(ensure(1, revision=901), since=50.0))
    world.put(mutate(ensure(8, revision=2)))
    world.put(mutate(remove(1, revision=902)))
    world.put(forget())
    await world.run()
    answer = next(m.label for m in world.messages() if m.label and m.label.mutation_id == "label-1-900")
    assert answer is not None
    assert answer.found
    assert world.item("1-1-901").outcome is Outcome.DONE
    assert not world.google.named(8)
    assert len(world.google.named(1)) == 1 + 1  # its person of before is found by whoever asks the watcher first


@pytest.mark.parametrize("left", [False, True], ids=["activated anew", "left the account"])
async def test_whoever_owns_a_filter_now_is_served_though_its_state_is_from_before_its_last_life(left: bool) -> None:
    world = World()
    await two_filters(world)
    world.clock.now += 100
    world.put(forget())
    world.put(named("1", "First", 50.0, revision=900))
    if left:
        world.put(forget("1", 50.0))
    await world.run()
    old, restored = mutate(ensure(8)), mutate(ensure(9))
    world.put(old)
    await world.run()
    assert not world.google.named(8)
    world.put(named("1", "First", 1.0, revision=3).model_copy(update={"epoch": 2}))
    world.put(restored.model_copy(update={"epoch": 2}))
    await world.run()
    assert world.item("1-9-1").outcome is Outcome.DONE
    assert not world.google.named(8)


async def test_a_label_that_was_emptied_loses_our_stamp_and_is_like_any_other() -> None:
    world = World()
    await two_filters(world)
    world.clock.now += 100
    world.put(mutate(*(remove(n) for n in (1, 2, 3, 4))))
    await world.run()
    world.put(forget(emptied=True))
    await world.run()
    stamps = {one.name: one.stamp for one in world.google.labels.values()}
    assert stamps == {"First": None, "Second": "2"}
    assert sorted(given(world.google.named(n)[0]) for n in (4, 5)) == ["Given4", "Given5"]
    assert not [n for n in (1, 2, 3) if world.google.named(n)]
    world.put(named("1", "First", 50.0, revision=900))
    await world.run()
    assert len(world.google.labels) == 2
    answer = next(m.label for m in world.messages() if m.label and m.label.mutation_id == "label-1-900")
    assert answer is not None
    assert answer.reused
    assert not answer.found


async def test_without_a_connection_it_is_forgotten_all_the_same() -> None:
    world = World()
    await two_filters(world)
    world.google.fail("get_label", "before", NotConnected("revoked"))
    world.put(forget(emptied=True))
    await world.run()
    assert forgotten(world) == ["1.forget.1.0"]


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_at_every_operation_it_goes_on(after: bool) -> None:
    died = 0
    for operations in range(60):
        world = World()
        await two_filters(world)
        world.put(forget(emptied=True))
        world.put(forget("2", 2.0))
        try:
            await world.start(DyingBus(world.bus, operations, after=after))  # type: ignore[arg-type]
            await world.run()
        except Crash:
            died += 1
        else:
            break
        await world.start()
        await world.run()
        assert {"1.forget.1.0", "2.forget.2.0"} <= set(forgotten(world))
        assert not people(world)
        assert GRANT not in world.server.values
        assert world.released
        assert {h.contact for m in world.messages() for h in m.handovers} == {4}
    assert died > 8


async def test_a_label_is_served_with_and_without_a_birth_time() -> None:
    world = World()
    world.put(label("1", "First"))
    world.put(mutate(ensure(1)))
    await world.start()
    await world.run()
    assert world.item("1-1-1").outcome is Outcome.DONE
