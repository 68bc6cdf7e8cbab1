"""The real server, killed and restarted: nothing lost, nothing out of order, one server for one directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import pytest

from contactsync.runtime.bus import Bus, Fence, Message, Put, Transient
from contactsync.runtime.embedded import DataDirInUse, EmbeddedNats
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings, LinkState
from contactsync.runtime.ownership import (
    GOOGLE_WATCHER,
    PLANFIX_WATCHER,
    RECONCILER,
    Component,
    Delivery,
    partition_of,
)
from contactsync.runtime.provision import MAILBOXES, PartitionsDiffer, provision, streams

pytestmark = pytest.mark.nats

KEYS = [str(number) for number in range(20)]
EACH = 30


@dataclass
class Ledger:
    """A handler whose state is in the bus: per key the last number, refused when a message comes out of turn."""

    bus: Bus
    last: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    handled: int = 0
    lost_: list[int] = field(default_factory=list)

    async def gained(self, fences: Sequence[Fence]) -> None:
        pass

    async def lost(self, partition: int) -> None:
        self.lost_.append(partition)

    def rest(self, idle: Sequence[str]) -> Sequence[str]:
        return ()

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        for delivery in deliveries:
            number, last = int(delivery.data), self.last.get(key, 0)
            if number <= last:
                self.repeated += 1
                continue
            assert number == last + 1, f"{key}: {number} after {last}"
            await self.bus.commit(fence, [Put(f"state.ledger.{key}", delivery.data)])
            self.last[key] = number
            self.handled += 1


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - the server decides
            await anyio.sleep(0.01)


async def publish_all(bus: Bus, after: int = 0) -> None:
    async def line(key: str) -> None:
        for number in range(after + 1, after + EACH + 1):
            await bus.publish(
                f"contacts.v1.filter.{key}.sync", str(number).encode(), msg_id=f"{key}.{number}", type_="T.v1"
            )

    async with anyio.create_task_group() as tasks:
        for key in KEYS:
            tasks.start_soon(line, key)


async def test_a_server_killed_in_mid_stream_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path) as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        ledger = Ledger(bus)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Component(bus, RECONCILER).run, ledger)
            tasks.start_soon(publish_all, bus)
            await until(lambda: ledger.handled > len(KEYS) * EACH // 4)
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: ledger.handled == len(KEYS) * EACH)
            assert server.restarts == 1

            async def left() -> int:
                return int((await bus.link.api("STREAM.INFO.FILTERS"))["state"]["messages"])

            # One time in six the server keeps a message below the acknowledgement floor (nats-server 2.15.1).
            with anyio.fail_after(10):
                while await left():  # noqa: ASYNC110 - the server decides
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        assert ledger.last == dict.fromkeys(KEYS, EACH)
        kept = await bus.load_keys([f"state.ledger.{key}" for key in KEYS])
        assert {record.value for record in kept.values()} == {str(EACH).encode()}
        assert len(kept) == len(KEYS)
        info = await bus.link.api("STREAM.INFO.FILTERS")
        assert info["state"]["last_seq"] == len(KEYS) * EACH, "a message was stored twice"


async def test_a_disk_that_hangs_again_and_again_delays_and_loses_nothing(tmp_path: Path) -> None:
    """The server stands still as it does while a write does not come back from the disk, for less than a lease."""
    async with EmbeddedNats(tmp_path) as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        ledger, component = Ledger(bus), Component(bus, RECONCILER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(component.run, ledger)
            tasks.start_soon(publish_all, bus)
            await until(lambda: ledger.handled > 0)
            for _ in range(6):
                os.kill(server.pid, signal.SIGSTOP)
                await anyio.sleep(0.8)
                os.kill(server.pid, signal.SIGCONT)
                await anyio.sleep(0.05)
            await until(lambda: ledger.handled == len(KEYS) * EACH)
            assert component.trouble is None
            assert (ledger.lost_, ledger.repeated, server.restarts) == ([], 0, 0)
            tasks.cancel_scope.cancel()
        assert ledger.last == dict.fromkeys(KEYS, EACH)


async def test_more_messages_for_one_key_than_are_held_at_once_are_all_handled_in_their_order(tmp_path: Path) -> None:
    many = RECONCILER.unacked_max + 500
    key = KEYS[0]
    neighbour = next(str(n) for n in range(1000) if str(n) != key and partition_of(str(n)) == partition_of(key))
    handled: dict[str, list[int]] = {key: [], neighbour: []}
    go = anyio.Event()
    held: list[int] = []

    class Slow(Ledger):
        async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
            held.append(component.unacked)
            await go.wait()
            handled[key] += [int(delivery.data) for delivery in deliveries]

    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        messages = [
            Message(f"contacts.v1.filter.{key}.sync", str(n).encode(), f"{key}.{n}", "T.v1") for n in range(many)
        ]
        await bus.publish_many(messages)
        await bus.publish(f"contacts.v1.filter.{neighbour}.sync", b"0", msg_id="neighbour", type_="T.v1")
        component = Component(bus, RECONCILER)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(component.run, Slow(bus))
            await until(lambda: component.unacked == RECONCILER.unacked_max)
            go.set()
            await until(lambda: len(handled[key]) == many and len(handled[neighbour]) == 1, seconds=60)
            tasks.cancel_scope.cancel()
    assert handled[key] == list(range(many))
    assert max(held) <= RECONCILER.unacked_max


async def test_a_second_replica_takes_its_share_in_order_while_messages_flow(tmp_path: Path) -> None:
    async with (
        EmbeddedNats(tmp_path, sync_interval="2m") as server,
        connect(LinkSettings(server.url, name="first")) as one,
        connect(LinkSettings(server.url, name="second")) as two,
    ):
        await provision(one.link)
        old = Ledger(one)
        new = Ledger(two, last=old.last)  # a shared memory stands for loading the state
        first, second = Component(one, RECONCILER), Component(two, RECONCILER)
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(first.run, old, stop=stop))
            tasks.start_soon(publish_all, one)
            await until(lambda: old.handled > 50)
            tasks.start_soon(second.run, new)
            await until(lambda: len(first.partitions) == len(second.partitions) == 32)
            tasks.start_soon(publish_all, one, EACH)
            await until(lambda: new.handled > 50)
            stop.set()
            await until(lambda: len(second.partitions) == 64)
            await until(lambda: old.last == dict.fromkeys(KEYS, 2 * EACH))
            tasks.cancel_scope.cancel()
        assert len(old.lost_) == 64
        assert old.handled + new.handled == len(KEYS) * 2 * EACH


async def test_what_a_replica_cut_off_from_nats_owned_goes_to_the_other(tmp_path: Path) -> None:
    """It holds its connection, but nothing comes through any more: as a process that was stopped, or killed."""
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as two:
        await provision(two.link)
        frozen = await anyio.open_process(
            [sys.executable, "-c", _REPLICA, server.url], stdout=subprocess.PIPE, stderr=None
        )
        try:
            assert frozen.stdout is not None
            assert (await frozen.stdout.receive()).startswith(b"64")
            os.kill(frozen.pid, signal.SIGSTOP)
            new = Ledger(two)
            component = Component(two, RECONCILER)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(component.run, new)
                tasks.start_soon(publish_all, two)
                await until(lambda: len(component.partitions) == 64)
                await until(lambda: new.last == dict.fromkeys(KEYS, EACH))
                os.kill(frozen.pid, signal.SIGCONT)
                await until(lambda: len(component.partitions) == 32)  # it comes back, under a new lease
                tasks.cancel_scope.cancel()
        finally:
            os.kill(frozen.pid, signal.SIGKILL)
            await frozen.wait()


_REPLICA = """
import anyio, sys
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.ownership import RECONCILER, Component
class Idle:
    async def gained(self, fences): pass
    async def lost(self, partition): pass
    def rest(self, idle): return ()
    async def handle(self, key, deliveries, fence): await anyio.sleep(0.01)
async def main():
    async with connect(LinkSettings(sys.argv[1])) as bus, anyio.create_task_group() as tasks:
        component = Component(bus, RECONCILER)
        tasks.start_soon(component.run, Idle())
        while len(component.partitions) < 64:
            await anyio.sleep(0.01)
        print(64, flush=True)
anyio.run(main)
"""


async def test_the_server_partitions_as_we_do_and_looks_survive_a_reset(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        for number in range(200):
            key = f"account-{number}"
            ack = await bus.publish(f"contacts.v1.look.{key}", b"", msg_id=key, type_="T.v1")
            stored = await bus.link.api("STREAM.MSG.GET.LOOK", {"seq": ack.seq})
            assert stored["message"]["subject"] == f"look.{partition_of(key)}.{key}"
        await bus.publish("contacts.v1.look.planfix", b"", msg_id="p", type_="T.v1")
        seen: dict[str, list[str]] = {"google": [], "planfix": []}

        class Watcher:
            def __init__(self, name: str) -> None:
                self.name = name

            async def gained(self, fences: Sequence[Fence]) -> None: ...

            async def lost(self, partition: int) -> None: ...

            def rest(self, idle: Sequence[str]) -> Sequence[str]:
                return ()

            async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
                seen[self.name].extend(delivery.key for delivery in deliveries)

        async def left() -> int:
            return int((await bus.link.api("STREAM.INFO.LOOK"))["state"]["messages"])

        for _ in range(2):  # the second run finds nothing left, in spite of its RESET
            async with anyio.create_task_group() as tasks:
                google = Component(bus, GOOGLE_WATCHER)
                tasks.start_soon(google.run, Watcher("google"))
                tasks.start_soon(Component(bus, PLANFIX_WATCHER).run, Watcher("planfix"))
                with anyio.fail_after(10):
                    while await left() or len(google.partitions) < 64:  # noqa: ASYNC110 - the server decides
                        await anyio.sleep(0.02)
                tasks.cancel_scope.cancel()
        assert seen["planfix"] == ["planfix"]
        assert sorted(seen["google"]) == sorted(f"account-{number}" for number in range(200))


async def test_twenty_five_thousand_keys_are_loaded_whole_and_fast(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        fence = Fence("reconciler", 1, await bus.cas("epoch.reconciler.1", b"", 0))
        for start in range(0, 25_000, 1000):
            puts = [Put(f"state.filter.5.link.{n}", bytes(900)) for n in range(start, start + 1000)]
            await bus.commit(fence, puts)
        began = anyio.current_time()
        keys = {record.key async for record in bus.load("state.filter.5.")}
        took_s = anyio.current_time() - began
        assert len(keys) == 25_000
        assert await bus.count("state.filter.5.") == 25_000
        assert took_s < 3  # 0.2 s on an idle machine


async def test_provisioning_twice_changes_nothing_and_other_partitions_are_refused(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        assert len(await provision(bus.link)) == len(streams()) + len(MAILBOXES)
        assert await provision(bus.link) == []
        config = (await bus.link.api("STREAM.INFO.FILTERS"))["config"]
        config["subject_transform"]["dest"] = "filters.{{partition(32,1)}}.{{wildcard(1)}}.{{wildcard(2)}}"
        await bus.link.api("STREAM.UPDATE.FILTERS", config)
        with pytest.raises(PartitionsDiffer, match="32"):
            await provision(bus.link)


async def test_two_servers_on_one_directory_are_refused(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path):
        with pytest.raises(DataDirInUse):
            async with EmbeddedNats(tmp_path):
                pytest.fail("a second server started")


_PARENT = """
import anyio, sys
from pathlib import Path
from contactsync.runtime.embedded import EmbeddedNats
async def main():
    async with EmbeddedNats(Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and PDEATHSIG")
async def test_a_server_whose_parent_was_killed_ends_and_its_directory_serves_again(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - only started here
    assert parent.stdout is not None
    pid = int(await anyio.to_thread.run_sync(parent.stdout.readline))
    parent.kill()
    await anyio.to_thread.run_sync(parent.wait)
    parent.stdout.close()
    async with EmbeddedNats(tmp_path) as server, connect(LinkSettings(server.url)) as bus:
        assert server.pid != pid
        await provision(bus.link)
        with pytest.raises((ProcessLookupError, FileNotFoundError)):
            _still_serving(pid)


def _still_serving(pid: int) -> None:
    """Raises when the process is gone or a zombie that nobody has reaped yet."""
    if Path(f"/proc/{pid}/cmdline").read_bytes() == b"":
        raise ProcessLookupError(pid)


async def test_a_server_that_is_not_there_is_tried_again_and_reported_once(tmp_path: Path) -> None:
    reports: list[LinkState] = []
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server:
        url = server.url

    async def use() -> None:
        async with connect(LinkSettings(url), lambda state, _: reports.append(state)) as bus:
            await provision(bus.link)
            assert bus.connected

    with anyio.move_on_after(1.5):
        await use()
    assert reports == [LinkState.UNREACHABLE]


async def test_a_commit_without_a_server_ends_at_its_deadline(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Transient):
                await bus.commit(None, [Put("state.t.a", b"1"), Put("state.t.b", b"1")], deadline_s=0.3)
            with pytest.raises(Transient):
                await bus.publish("contacts.v1.event.a", b"", msg_id="frozen", type_="T.v1", deadline_s=0.3)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await bus.commit(None, [Put("state.t.a", b"1"), Put("state.t.b", b"1")])
        again = await bus.publish("contacts.v1.event.a", b"", msg_id="frozen", type_="T.v1")
        assert again.duplicate


async def test_an_attempt_that_arrives_late_does_not_undo_a_later_commit(tmp_path: Path) -> None:
    async with EmbeddedNats(tmp_path, sync_interval="2m") as server, connect(LinkSettings(server.url)) as bus:
        await provision(bus.link)
        for puts in ([Put("state.t.a", b"1")], [Put("state.t.a", b"1"), Put("state.t.b", b"1")]):
            os.kill(server.pid, signal.SIGSTOP)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bus.commit, None, puts)
                await anyio.sleep(0.1)
                assert bus.link.connected
                for scope in bus.link._asking:  # the answer is given up on, as when it takes too long
                    scope.cancel()
                await anyio.sleep(0.1)  # the second attempt is on its way behind the first
                os.kill(server.pid, signal.SIGCONT)
            record = await bus.get("state.t.a")
            state = (await bus.link.api("STREAM.INFO.STATE"))["state"]
            assert record is not None
            assert state["last_seq"] == record.seq + len(puts) - 1, "the commit was applied twice"
