"""Commits in batches, and what only a clock of our own can show of the bus in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.runtime.bus import COMMIT_MAX, Conflict, Fence, Pulled, Put, Transient
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import partition_of
from contactsync.runtime.provision import ACK_WAIT_S
from contactsync.runtime.state import BATCH_BYTES_MAX, batches, commit_all
from contactsync.runtime.timers import Timers


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@given(st.integers(0, 2100), st.integers(0, 3))
def test_batches_keep_the_order_and_the_last_ones_stay_together(number: int, last: int) -> None:
    puts = [Put(f"state.{n}", b"") for n in range(number)]
    cursor = [Put(f"state.cursor.{n}", b"") for n in range(last)]
    made = list(batches(puts, cursor))
    assert [put for batch in made for put in batch] == [*puts, *cursor]
    assert all(1 <= len(batch) < COMMIT_MAX for batch in made)
    if cursor:
        assert made[-1][-last:] == cursor


def test_batches_are_bounded_in_bytes() -> None:
    puts = [Put(f"state.{n}", bytes(900_000)) for n in range(20)]
    made = list(batches(puts))
    assert [put for batch in made for put in batch] == puts
    assert all(sum(len(put.value or b"") for put in batch) <= BATCH_BYTES_MAX for batch in made)


async def test_a_large_change_is_committed_whole_and_stops_at_the_first_refusal() -> None:
    bus = MemoryBus(MemoryServer(Clock()))
    fence = Fence("reconciler", 0, await bus.cas("epoch.reconciler.0", b"", 0))
    puts = [Put(f"state.f.{n}", b"v") for n in range(2500)]
    await commit_all(bus, fence, puts, [Put("state.cursor", b"1")])
    assert await bus.count("state.f.") == 2500
    with pytest.raises(Conflict):
        await commit_all(bus, fence, [Put("state.g", b"v")], [Put("state.cursor", b"2", expect_seq=1)])
    assert await bus.get("state.g") is None


async def test_an_id_is_forgotten_after_two_minutes() -> None:
    clock = Clock()
    bus = MemoryBus(MemoryServer(clock))

    async def duplicate() -> bool:
        return (await bus.publish("contacts.v1.event.1", b"", msg_id="a", type_="T.v1")).duplicate

    assert not await duplicate()
    clock.s += 119
    assert await duplicate()
    clock.s += 2
    assert not await duplicate()


async def test_what_is_not_acknowledged_in_time_is_delivered_again_unless_it_is_being_worked_on() -> None:
    clock = Clock()
    bus = MemoryBus(MemoryServer(clock))
    got: list[Pulled] = []
    for name in ("a", "b"):
        await bus.publish("contacts.v1.filter.7.sync", name.encode(), msg_id=name, type_="T.v1")
    intake = await bus.open_intake("FILTERS", f"p{partition_of('7')}", got.append)
    await intake.pull(10, 30)
    clock.s += ACK_WAIT_S - 1
    await bus.working([got[0].ack])
    clock.s += 2
    await intake.pull(10, 30)
    assert [(message.data, message.attempt, message.consumer_seq) for message in got] == [
        (b"a", 1, 1),
        (b"b", 1, 2),
        (b"b", 2, 3),
    ]


async def test_without_the_server_everything_is_transient_and_nothing_is_lost() -> None:
    bus = MemoryBus()
    await bus.cas("state.a", b"1", 0)
    bus.server.disconnect()
    with pytest.raises(Transient):
        await bus.get("state.a")
    with pytest.raises(Transient):
        await bus.publish("contacts.v1.event.1", b"", msg_id="a", type_="T.v1", deadline_s=0.01)
    assert not bus.connected
    bus.server.reconnect()
    assert await bus.get("state.a") is not None


def test_a_replaced_time_fires_once_and_at_the_new_time() -> None:
    clock = Clock()
    fired: list[str] = []
    timers = Timers(clock, fired.append)
    timers.set("a", clock.s + 10)
    timers.set("a", clock.s + 20)
    timers.set("b", clock.s + 15)
    timers.set("c", clock.s + 1)
    timers.drop(lambda key: key == "c")
    clock.s += 16
    timers.fire_due()
    assert fired == ["b"]
    clock.s += 5
    timers.fire_due()
    assert fired == ["b", "a"]
