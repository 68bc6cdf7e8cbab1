"""Ownership over the bus in memory: order, retries, timers, deposition, stopping."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import anyio
import pytest

from contactsync.runtime.bus import Fence, Pulled, Put, Transient
from contactsync.runtime.dead import dead_letter
from contactsync.runtime.mailbox import Accepted, Partition
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import (
    GOOGLE_WATCHER,
    PLANFIX_WATCHER,
    RECONCILER,
    Component,
    ComponentSpec,
    Delivery,
    partition_of,
)

SMALL = ComponentSpec("reconciler", "FILTERS", RECONCILER.consumers, batch_max=3, grace_s=1)

Act = Callable[[str, Sequence[Delivery], Fence], Awaitable[None]]


@dataclass
class Seen:
    """A handler that notes what it got, then does what the test says."""

    act: Act | None = None
    calls: list[tuple[str, list[bytes]]] = field(default_factory=list)
    finished: list[tuple[str, bytes]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    gained_: list[int] = field(default_factory=list)
    lost_: list[int] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    idle: list[list[str]] = field(default_factory=list)
    sleepless: set[str] = field(default_factory=set)

    async def gained(self, fences: Sequence[Fence]) -> None:
        self.gained_.extend(fence.partition for fence in fences)

    async def lost(self, partition: int) -> None:
        self.lost_.append(partition)

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        self.idle.append(list(idle))
        return [key for key in idle if key not in self.sleepless]

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        assert key not in self.active, "two calls at once for a key"
        self.active.add(key)
        try:
            self.calls.append((key, [delivery.data for delivery in deliveries]))
            self.deliveries.extend(deliveries)
            if self.act:
                await self.act(key, deliveries, fence)
            self.finished.extend((key, delivery.data) for delivery in deliveries)
        finally:
            self.active.discard(key)

    def of(self, key: str) -> list[bytes]:
        return [data for name, data in self.finished if name == key]


async def send(bus: MemoryBus, key: str, *texts: str, kind: str = "sync") -> None:
    for text in texts:
        await bus.publish(f"contacts.v1.filter.{key}.{kind}", text.encode(), msg_id=f"{key}.{text}", type_="T.v1")


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await anyio.sleep(0.002)


def stored(server: MemoryServer, stream: str = "FILTERS") -> int:
    return len(server.streams[stream].messages)


async def test_messages_of_a_key_are_handled_in_order_in_batches_and_acknowledged() -> None:
    bus, seen = MemoryBus(), Seen()
    await send(bus, "7", *"abcde")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    assert seen.of("7") == [b"a", b"b", b"c", b"d", b"e"]
    assert max(len(batch) for _, batch in seen.calls) == 3
    first = seen.deliveries[0]
    assert (first.key, first.kind, first.attempt) == ("7", "sync", 1)


async def test_one_key_is_never_handled_twice_at_once_and_a_slow_one_holds_up_no_other() -> None:
    gate = anyio.Event()

    async def act(key: str, _: Sequence[Delivery], __: Fence) -> None:
        if key == "slow":
            await gate.wait()

    bus, seen = MemoryBus(), Seen(act)
    neighbours = [name for name in map(str, range(2000)) if partition_of(name) == partition_of("slow")][:5]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        for text in "abcdefgh":
            await send(bus, "slow", text)
            for name in neighbours:
                await send(bus, name, text)
        await until(lambda: all(len(seen.of(name)) == 8 for name in neighbours))
        assert seen.of("slow") == []
        gate.set()
        await until(lambda: len(seen.of("slow")) == 8)
        tasks.cancel_scope.cancel()
    assert seen.of("slow") == [bytes([code]) for code in b"abcdefgh"]


async def test_keys_without_work_may_rest_once_the_longest_idle_first() -> None:
    gate = anyio.Event()

    async def act(key: str, deliveries: Sequence[Delivery], _: Fence) -> None:
        if deliveries[0].data == b"long":
            await gate.wait()

    bus, seen = MemoryBus(), Seen(act, sleepless={"3"})

    def rested(key: str) -> int:
        return sum(key in idle for idle in seen.idle)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, replace(SMALL, rest_after_s=0.2)).run, seen)
        for key in ("1", "2", "3"):
            await send(bus, key, "a")
            await until(lambda key=key: seen.of(key) == [b"a"])
        await send(bus, "2", "long")
        await until(lambda: rested("1") == 1 and rested("3") > 2)
        assert not rested("2")
        gate.set()
        await until(lambda: rested("2") == 1)
        await send(bus, "1", "b")
        await until(lambda: rested("1") == 2)
        tasks.cancel_scope.cancel()
    assert rested("2") == 1
    assert ["3", "2"] in seen.idle


async def test_a_transient_failure_is_retried_with_the_same_messages_while_others_go_on() -> None:
    tries: list[int] = []

    async def act(key: str, deliveries: Sequence[Delivery], _: Fence) -> None:
        if key == "1" and len(tries) < 2:
            tries.append(deliveries[0].attempt)
            raise Transient("quota", retry_after_s=0.05)

    bus, seen = MemoryBus(), Seen(act)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        await send(bus, "1", "a", "b")
        await send(bus, "2", "x")
        await until(lambda: seen.of("2") == [b"x"])
        assert seen.of("1") == []
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    assert tries == [1, 2]
    assert seen.of("1") == [b"a", b"b"]


async def test_a_failure_inside_a_task_group_of_the_handler_counts_as_what_it_is() -> None:
    async def fail() -> None:
        raise Transient("busy", retry_after_s=0.01)

    async def act(_: str, deliveries: Sequence[Delivery], __: Fence) -> None:
        if deliveries[0].attempt == 1:
            async with anyio.create_task_group() as inner:
                inner.start_soon(fail)

    bus, seen = MemoryBus(), Seen(act)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        await send(bus, "1", "a")
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    assert [delivery.attempt for delivery in seen.deliveries] == [1, 2]


async def test_a_refused_commit_drops_the_partition_without_acknowledging() -> None:
    server = MemoryServer()
    bus = MemoryBus(server)

    async def act(key: str, _: Sequence[Delivery], fence: Fence) -> None:
        await bus.cas(fence.key, b"somebody", fence.epoch)
        await bus.cas("lease.reconciler.somebody", b"{}", 0)
        await bus.commit(fence, [Put(f"state.{key}", b"")])

    seen = Seen(act)
    async with anyio.create_task_group() as tasks:
        component = Component(bus, SMALL)
        tasks.start_soon(component.run, seen)
        await send(bus, "7", "a")
        await until(lambda: seen.lost_ == [partition_of("7")])
        assert stored(server) == 1
        await anyio.sleep(0.2)
        assert component.fence("7") is None
        tasks.cancel_scope.cancel()


async def test_a_key_is_woken_at_its_time_and_when_poked() -> None:
    now = [1000.0]
    bus, seen = MemoryBus(), Seen()
    component = Component(bus, SMALL, now=lambda: now[0])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(component.run, seen)
        await until(lambda: len(component.partitions) == 64)
        component.wake("late", 1000.2)
        component.wake("never", 1000.01)
        component.wake("never", None)
        component.poke("now")
        await until(lambda: ("now", []) in seen.calls)
        assert seen.calls == [("now", [])]
        now[0] = 1000.3
        await until(lambda: ("late", []) in seen.calls)
        tasks.cancel_scope.cancel()
    assert "never" not in [key for key, _ in seen.calls]


async def test_stopping_lets_a_running_handler_finish_and_acknowledge_but_starts_nothing_new() -> None:
    gate, stop = anyio.Event(), anyio.Event()

    async def act(_: str, __: Sequence[Delivery], ___: Fence) -> None:
        await gate.wait()

    bus, seen = MemoryBus(), Seen(act)
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await Component(bus, SMALL).run(seen, stop=stop)
            tasks.cancel_scope.cancel()

        tasks.start_soon(run)
        await send(bus, "7", *"abcd")
        await until(lambda: bool(seen.calls))
        stop.set()
        await anyio.sleep(0.02)
        gate.set()
        await anyio.sleep(5)
    done = len(seen.finished)
    assert 1 <= done <= 3
    assert stored(bus.server) == 4 - done
    assert len(seen.lost_) == 64


async def test_cancellation_also_lets_a_running_handler_finish() -> None:
    gate = anyio.Event()

    async def act(_: str, __: Sequence[Delivery], ___: Fence) -> None:
        await gate.wait()

    bus, seen = MemoryBus(), Seen(act)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        await send(bus, "7", "a")
        await until(lambda: bool(seen.calls))
        tasks.cancel_scope.cancel()
        gate.set()
    assert seen.of("7") == [b"a"]
    assert stored(bus.server) == 0


async def test_a_handler_that_does_not_end_is_given_up_after_the_grace_period() -> None:
    async def act(_: str, __: Sequence[Delivery], ___: Fence) -> None:
        await anyio.sleep_forever()

    bus, seen = MemoryBus(), Seen(act)
    spec = ComponentSpec("reconciler", "FILTERS", RECONCILER.consumers, grace_s=0.05)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, spec).run, seen)
        await send(bus, "7", "a")
        await until(lambda: bool(seen.calls))
        tasks.cancel_scope.cancel()
    assert stored(bus.server) == 1


async def test_after_a_reconnection_nothing_is_lost_or_handled_twice() -> None:
    bus, seen = MemoryBus(), Seen()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, seen)
        await send(bus, "7", *"abc")
        await until(lambda: stored(bus.server) == 0)
        bus.server.disconnect()
        bus.server.reconnect()
        await send(bus, "7", *"def")
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    assert b"".join(seen.of("7")) == b"abcdef"


async def test_no_more_messages_are_held_than_the_limit_of_a_partition() -> None:
    gate = anyio.Event()

    async def act(_: str, __: Sequence[Delivery], ___: Fence) -> None:
        await gate.wait()

    spec = ComponentSpec("reconciler", "FILTERS", RECONCILER.consumers, batch_max=2, unacked_max=5, grace_s=1)
    bus, seen = MemoryBus(), Seen(act)
    component = Component(bus, spec)
    await send(bus, "7", *"abcdefghijkl")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(component.run, seen)
        await until(lambda: component.unacked == 5)
        await anyio.sleep(0.02)
        assert component.unacked == 5
        gate.set()
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    assert b"".join(seen.of("7")) == b"abcdefghijkl"


async def test_looks_at_planfix_go_to_its_watcher_and_looks_at_accounts_to_the_other() -> None:
    bus, planfix, google = MemoryBus(), Seen(), Seen()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, PLANFIX_WATCHER).run, planfix)
        tasks.start_soon(Component(bus, GOOGLE_WATCHER).run, google)
        await bus.publish("contacts.v1.look.planfix", b"p", msg_id="1", type_="T.v1")
        await bus.publish("contacts.v1.look.account-1", b"g", msg_id="2", type_="T.v1")
        await until(lambda: stored(bus.server, "LOOK") == 0)
        tasks.cancel_scope.cancel()
    assert planfix.finished == [("planfix", b"p")]
    assert google.finished == [("account-1", b"g")]


async def test_a_message_that_fits_no_contract_ends_among_the_dead() -> None:
    bus = MemoryBus()

    async def act(key: str, deliveries: Sequence[Delivery], _: Fence) -> None:
        await dead_letter(bus, "reconciler", key, deliveries[0], "no such kind")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Component(bus, SMALL).run, Seen(act))
        await send(bus, "7", "a")
        await until(lambda: stored(bus.server) == 0)
        tasks.cancel_scope.cancel()
    (dead,) = bus.server.streams["DEAD"].messages.values()
    assert (dead.subject, dead.data) == ("contacts.v1.dead.reconciler.7", b"a")
    assert dead.headers["Contactsync-Reason"] == "no such kind"


def pulled(stream_seq: int, consumer_seq: int, key: str = "7") -> Pulled:
    return Pulled(f"filters.1.{key}.sync", b"x", {}, stream_seq, consumer_seq, 1, f"{stream_seq}/{consumer_seq}")


def test_a_number_out_of_turn_is_a_gap_and_what_is_held_survives_the_new_generation() -> None:
    partition = Partition(Fence("reconciler", 1, 9))
    assert partition.accept(pulled(5, 1), 0.0)[0] is Accepted.NEW
    assert partition.accept(pulled(8, 3), 0.0)[0] is Accepted.GAP
    partition.new_generation()
    assert partition.accept(pulled(5, 1), 0.0)[0] is Accepted.AGAIN
    for number, seq in enumerate((7, 8), start=2):
        assert partition.accept(pulled(seq, number), 0.0)[0] is Accepted.NEW
    box = partition.box("7")
    assert [held.delivery.stream_seq for held in box.queue] == [5, 7, 8]
    assert partition.finish(box, box.oldest(1, 100)) == ["5/1"]
    partition.new_generation()
    assert partition.accept(pulled(5, 1), 0.0)[0] is Accepted.DONE


def test_a_batch_is_bounded_in_messages_and_bytes_but_never_empty() -> None:
    partition = Partition(Fence("reconciler", 1, 9))
    for number in range(1, 6):
        partition.accept(pulled(number, number), 0.0)
    box = partition.box("7")
    assert len(box.oldest(3, 100)) == 3
    assert len(box.oldest(10, 2)) == 2
    assert len(box.oldest(10, 0)) == 1


@pytest.mark.parametrize(("key", "partition"), [("planfix", 53), ("1", 28), ("45", 34), ("account-1", 22)])
def test_the_partition_of_a_key_never_changes(key: str, partition: int) -> None:
    assert partition_of(key) == partition
