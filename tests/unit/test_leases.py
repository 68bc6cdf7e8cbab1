"""Several replicas of one component over the bus in memory, in virtual time: who owns what, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from contactsync.runtime import tenure
from contactsync.runtime.bus import Deposed, Fence, Put, Transient
from contactsync.runtime.lease import ALONE_S, MARGIN_S, REPLICATED_S, Lease
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import (
    PLANFIX_WATCHER,
    RECONCILER,
    Component,
    ComponentSpec,
    Delivery,
    partition_of,
)
from whole.process import Killed, Life, Point, ProcessBus
from whole.virtual_time import VirtualLoop

SPEC = replace(RECONCILER, grace_s=2.0)
KEYS = [str(number) for number in range(40)]

Act = Callable[[str, Sequence[Delivery], Fence], Awaitable[None]]


@dataclass
class Replica:
    """A process with one component; it notes what it handled, and commits each message under its fence."""

    scene: Scene
    name: str
    spec: ComponentSpec
    act: Act | None = None
    handled: list[str] = field(default_factory=list)
    lost_: list[int] = field(default_factory=list)
    gained_calls: int = 0
    stop: anyio.Event = field(default_factory=anyio.Event)
    failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.life = Life(self.name, 1)
        self.bus = ProcessBus(self.scene.server, self.life)
        self.component = Component(self.bus, self.spec, now=self.scene.loop.time, elapsed=self.scene.loop.time)
        self.task = self.scene.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:

                async def until_killed() -> None:
                    await self.life.ended.wait()
                    raise Killed(self.name)

                tasks.start_soon(until_killed)
                await self.component.run(self, stop=self.stop)
                tasks.cancel_scope.cancel()
        except BaseException as error:
            self.failure = error

    async def gained(self, fences: Sequence[Fence]) -> None:
        self.gained_calls += 1

    async def lost(self, partition: int) -> None:
        self.lost_.append(partition)

    def rest(self, idle: Sequence[str]) -> Sequence[str]:
        return ()

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        if self.act is not None:
            await self.act(key, deliveries, fence)
        for delivery in deliveries:
            text = delivery.data.decode()
            record = await self.bus.get(f"state.done.{key}")
            done = record.value.decode().split(",") if record else []
            if text in done:
                continue
            assert not done or int(text) == int(done[-1]) + 1, f"{key}: {text} after {done}"
            await self.bus.commit(fence, [Put(f"state.done.{key}", ",".join([*done, text]).encode())])
            self.handled.append(f"{key}.{text}")

    @property
    def owns(self) -> int:
        return len(self.component.partitions)


class Scene:
    """A server, replicas, and time. A context manager."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.server = MemoryServer(self.loop.time)
        self.bus = MemoryBus(self.server)
        self.replicas: list[Replica] = []
        self.sent = 0

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.life.die()
        tasks = [replica.task for replica in self.replicas]
        self.run(asyncio.wait(tasks))
        self.loop.close()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def wait(self, seconds: float) -> None:
        self.run(anyio.sleep(seconds))

    def replica(self, name: str, spec: ComponentSpec = SPEC, act: Act | None = None) -> Replica:
        async def make() -> Replica:
            return Replica(self, name, spec, act)

        made: Replica = self.run(make())
        self.replicas.append(made)
        return made

    def send(self, each: int = 1) -> None:
        async def publish() -> None:
            for _ in range(each):
                self.sent += 1
                for key in KEYS:
                    await self.bus.publish(
                        f"contacts.v1.filter.{key}.sync",
                        str(self.sent).encode(),
                        msg_id=f"{key}.{self.sent}",
                        type_="T.v1",
                    )

        self.run(publish())

    def assert_all_done(self) -> None:
        """Each message of each key once, in order."""
        for key in KEYS:
            done = self.server.values[f"state.done.{key}"].value.decode().split(",")
            assert done == [str(number) for number in range(1, self.sent + 1)]
        assert not self.server.streams["FILTERS"].messages

    def until(self, condition: Callable[[], bool], within_s: float) -> float:
        """Seconds until it holds."""
        began = self.loop.time()
        while not condition():
            assert self.loop.time() - began <= within_s, "it took too long"
            self.wait(0.05)
        return self.loop.time() - began


@pytest.fixture
def scene() -> Any:
    with Scene() as made:
        yield made


def test_replicas_share_fairly_as_they_come_and_hand_over_between_two_messages(scene: Scene) -> None:
    first = scene.replica("first")
    scene.wait(1.0)
    assert first.owns == 64
    assert first.gained_calls == 1, "gained is told of all at once"
    scene.send(5)
    second = scene.replica("second")
    scene.send(5)
    scene.wait(3.0)
    assert (first.owns, second.owns) == (32, 32)
    third = scene.replica("third")
    scene.send(5)
    scene.wait(3.0)
    assert sorted([first.owns, second.owns, third.owns]) == [21, 21, 22]
    scene.send(5)
    scene.wait(1.0)
    scene.assert_all_done()
    assert third.handled


def test_what_a_killed_one_owned_is_taken_over_when_its_lease_is_gone(scene: Scene) -> None:
    first, second = scene.replica("first"), scene.replica("second")
    scene.wait(3.0)
    scene.send(3)
    first.life.die()
    scene.send(3)
    scene.wait(ALONE_S * 0.75 - 1.0)
    assert second.owns == 32, "its lease was there"
    assert scene.until(lambda: second.owns == 64, within_s=5.0) > 0
    scene.wait(1.0)
    scene.assert_all_done()


def test_who_stops_hands_over_at_once(scene: Scene) -> None:
    first, second = scene.replica("first"), scene.replica("second")
    scene.wait(3.0)
    scene.send(2)
    first.stop.set()
    assert scene.until(lambda: second.owns == 64, within_s=1.0) <= 1.0
    scene.wait(0.5)
    assert first.task.done()
    assert first.failure is None
    assert not [
        key for key in scene.server.values if key.startswith("lease.") and first.component._lease.replica in key
    ]
    scene.send(2)
    scene.wait(1.0)
    scene.assert_all_done()


def test_a_stop_waits_for_what_runs_and_others_get_its_partition_only_afterwards(scene: Scene) -> None:
    running: list[str] = []

    async def slow(key: str, _: Sequence[Delivery], __: Fence) -> None:
        running.append(key)
        await anyio.sleep(1.0)
        running.remove(key)

    first = scene.replica("first", act=slow)
    scene.wait(1.0)
    second = scene.replica("second", act=slow)
    scene.wait(3.0)
    scene.send()
    first.stop.set()
    scene.wait(0.5)
    busy = {partition_of(key) for key in running}
    assert busy & first.component.partitions == set()
    assert {number for number in busy if number in second.component.partitions} == {
        number for number in busy if number not in first.component._owned
    }
    scene.wait(5.0)
    assert second.owns == 64
    scene.assert_all_done()


def test_without_nats_a_lease_lapses_and_everything_is_let_go_and_had_again(scene: Scene) -> None:
    first = scene.replica("first")
    scene.wait(2.0)
    assert first.component.trouble is None
    scene.run(_later(scene.server.disconnect))
    scene.wait(ALONE_S)
    assert first.owns == 0
    assert first.component.trouble is not None
    scene.wait(60.0)
    assert first.failure is None
    scene.run(_later(scene.server.reconnect))
    scene.wait(3.0)
    assert first.owns == 64
    assert first.component.trouble is None
    scene.send(2)
    scene.wait(1.0)
    scene.assert_all_done()


def test_a_short_outage_costs_nobody_anything(scene: Scene) -> None:
    first, second = scene.replica("first"), scene.replica("second")
    scene.wait(3.0)
    epochs = {key: value.seq for key, value in scene.server.values.items() if key.startswith("epoch.")}
    scene.run(_later(scene.server.disconnect))
    scene.wait(ALONE_S / 4)
    scene.run(_later(scene.server.reconnect))
    scene.send(2)
    scene.wait(10.0)
    assert (first.owns, second.owns) == (32, 32)
    assert epochs == {key: value.seq for key, value in scene.server.values.items() if key.startswith("epoch.")}
    scene.assert_all_done()


def test_a_lost_answer_to_a_renewal_is_no_lapse(scene: Scene) -> None:
    first = scene.replica("first")
    scene.wait(2.0)
    for _ in range(3):
        first.life.points.extend([Point(r"^cas lease", 1, "lost"), Point(r"^cas lease", 1, "lost")])
        scene.wait(6.0)
    assert first.life.points == []
    assert first.owns == 64
    assert first.lost_ == []


def test_a_claim_with_a_lost_answer_is_not_owned_by_nobody(scene: Scene) -> None:
    first = scene.replica("first")
    first.life.points.extend(Point(rf"^cas epoch\.reconciler\.{number}$", 1, "lost") for number in (3, 5, 8))
    scene.wait(3.0)
    assert first.life.points == []
    assert first.owns == 64


def test_one_planfix_watcher_works_and_the_others_stand_by(scene: Scene) -> None:
    replicas = [scene.replica(name, PLANFIX_WATCHER) for name in ("first", "second", "third")]
    scene.wait(30.0)
    assert sorted(one.owns for one in replicas) == [0, 0, 1]
    assert [one.component.trouble for one in replicas] == [None] * 3
    (owner,) = [one for one in replicas if one.owns]
    owner.life.die()
    scene.wait(6.0)
    assert sorted(one.owns for one in replicas if one is not owner) == [0, 1]


def test_a_frozen_owner_commits_and_sends_nothing_when_it_wakes(scene: Scene) -> None:
    outcomes: list[str] = []

    async def act(key: str, _: Sequence[Delivery], fence: Fence) -> None:
        if key != "7" or outcomes:
            return
        outcomes.append("began")
        first.life.sleep(20.0)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20.0)
        with pytest.raises(Deposed):
            tenure.require()
        outcomes.append("sends nothing")
        with anyio.CancelScope(shield=True), pytest.raises(Deposed):
            await first.bus.commit(fence, [Put("state.late", b"")])
        outcomes.append("commits nothing")
        raise Deposed

    first = scene.replica("first", act=act)
    scene.wait(1.0)
    scene.send()
    scene.wait(1.0)
    second = scene.replica("second")
    scene.wait(30.0)
    assert outcomes == ["began", "sends nothing", "commits nothing"]
    assert "state.late" not in scene.server.values
    assert first.owns + second.owns == 64
    scene.assert_all_done()


def test_a_tenure_ends_with_the_lease_and_outside_of_one_nothing_is_required() -> None:
    tenure.require()
    holds = True
    with tenure.held(lambda: holds):
        tenure.require()
        holds = False
        with pytest.raises(Deposed):
            tenure.require()
    tenure.require()
    assert tenure.elapsed() > 0


class Copied(MemoryBus):
    async def copies(self) -> int:
        return 3


async def test_a_lease_is_trusted_less_long_than_it_lasts_and_longer_on_several_servers() -> None:
    now = [100.0]
    for bus, ttl_s in ((MemoryBus(), ALONE_S), (Copied(), REPLICATED_S)):
        lease = Lease(bus, "writer", None, lambda: now[0])
        assert not lease.valid
        await lease.acquire()
        assert lease.deadline == now[0] + ttl_s - MARGIN_S
        now[0] += ttl_s - MARGIN_S
        assert not lease.valid


async def test_a_lease_that_is_gone_is_not_renewed_and_the_next_has_another_name() -> None:
    bus = MemoryBus()
    lease = Lease(bus, "writer", None, lambda: 0.0)
    await lease.acquire()
    name = lease.replica
    assert await lease.renew()
    await bus.commit(None, [Put(lease.key, None)])
    assert not await lease.renew()
    await lease.acquire()
    assert lease.replica != name


async def test_the_end_of_a_lease_never_raises() -> None:
    bus = MemoryBus()
    lease = Lease(bus, "writer", None, lambda: 0.0)
    await lease.end()
    await lease.acquire()
    bus.server.reachable = False
    with pytest.raises(Transient):
        await lease.renew()
    await lease.leave()
    await lease.end()
    assert not lease.valid


async def _later(act: Callable[[], None]) -> None:
    """Inside the loop, as whatever wakes tasks must be."""
    act()
