"""What every bus promises: the same tests for the bus in memory and for NATS."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import anyio
import pytest
import pytest_asyncio
from anyio.from_thread import start_blocking_portal

from contactsync.runtime.bus import (
    Bus,
    Conflict,
    Deposed,
    Event,
    Fence,
    Handler,
    Message,
    NoAnswer,
    NotMine,
    NotProvisioned,
    Pulled,
    Put,
    Record,
    Refused,
)
from contactsync.runtime.embedded import EmbeddedNats
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.ownership import partition_of
from contactsync.runtime.provision import provision


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedNats(tmp_path_factory.mktemp("nats"), sync_interval="2m")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        portal.call(_provision, server.url)
        yield server.url


async def _provision(url: str) -> None:
    async with connect(LinkSettings(url)) as bus:
        await provision(bus.link)


@pytest_asyncio.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus(MemoryServer())
        return
    url: str = request.getfixturevalue("nats_url")
    ready, done = anyio.Event(), anyio.Event()
    held: list[Bus] = []

    async def hold() -> None:  # one task for both ends: a fixture's two halves may run in different ones
        async with connect(LinkSettings(url)) as connected:
            held.append(connected)
            ready.set()
            await done.wait()

    holder = asyncio.get_running_loop().create_task(hold())
    await ready.wait()
    yield held[0]
    done.set()
    await holder


def unique() -> str:
    return uuid.uuid4().hex[:12]


async def claim(bus: Bus, component: str, partition: int = 0) -> Fence:
    key = Fence(component, partition, 0).key
    record = await bus.get(key)
    return Fence(component, partition, await bus.cas(key, b"owner", record.seq if record else 0))


async def loaded(bus: Bus, pattern: str) -> list[Record]:
    return [record async for record in bus.load(pattern)]


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    with anyio.fail_after(5):
        while True:
            outcome = condition()
            if outcome if isinstance(outcome, bool) else await outcome:
                return
            await anyio.sleep(0.01)


# ---- publishing


async def test_a_message_published_twice_under_one_id_is_stored_once(bus: Bus) -> None:
    subject, one = f"contacts.v1.event.{unique()}", unique()
    first = await bus.publish(subject, b"1", msg_id=one, type_="T.v1")
    again = await bus.publish(subject, b"1", msg_id=one, type_="T.v1")
    other = await bus.publish(subject, b"2", msg_id=unique(), type_="T.v1")
    assert (first.duplicate, again.duplicate, other.duplicate) == (False, True, False)
    assert again.seq == first.seq < other.seq


async def test_the_id_and_type_travel_as_headers(bus: Bus) -> None:
    subject, one = f"contacts.v1.event.{unique()}", unique()
    await bus.publish(subject, b"{}", msg_id=one, type_="SyncStarted.v1", headers={"traceparent": "00-1"})
    events = bus.events(subject, start="all")
    event = await anext(events)
    await events.aclose()
    assert event.headers["Nats-Msg-Id"] == one
    assert event.headers["Contactsync-Type"] == "SyncStarted.v1"
    assert event.headers["traceparent"] == "00-1"


async def test_many_messages_keep_the_order_of_their_subject(bus: Bus) -> None:
    root = unique()
    messages = [
        Message(f"contacts.v1.event.{root}.{n % 3}", str(n).encode(), f"{root}.{n}", "T.v1") for n in range(60)
    ]
    acks = await bus.publish_many(messages)
    for line in range(3):
        seqs = [ack.seq for n, ack in enumerate(acks) if n % 3 == line]
        assert seqs == sorted(seqs)
    assert len({ack.seq for ack in acks}) == 60


async def test_a_subject_without_a_stream_is_not_provisioned(bus: Bus) -> None:
    with pytest.raises(NotProvisioned):
        await bus.publish("nowhere.at.all", b"", msg_id="1", type_="T.v1")


async def test_a_message_that_is_too_large_is_refused_before_it_is_sent(bus: Bus) -> None:
    with pytest.raises(ValueError, match="larger"):
        await bus.publish("contacts.v1.event.x", bytes(950_000), msg_id="1", type_="T.v1")


async def test_events_from_now_on_leave_out_the_past(bus: Bus) -> None:
    subject = f"contacts.v1.event.{unique()}"
    await bus.publish(subject, b"past", msg_id=unique(), type_="T.v1")
    heard: list[Event] = []

    async def read() -> None:
        async with contextlib.aclosing(bus.events(subject)) as events:
            async for event in events:
                heard.append(event)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.1)
        for data in (b"1", b"2", b"3"):
            await bus.publish(subject, data, msg_id=unique(), type_="T.v1")
        await eventually(lambda: len(heard) == 3)
        tasks.cancel_scope.cancel()
    assert [event.data for event in heard] == [b"1", b"2", b"3"]


# ---- mailboxes


async def test_a_message_arrives_under_its_partition_and_an_acknowledged_one_never_again(bus: Bus) -> None:
    key = unique()
    partition = partition_of(key)
    got: list[Pulled] = []
    await bus.publish(f"contacts.v1.filter.{key}.sync", b"1", msg_id=unique(), type_="T.v1")
    await bus.publish(f"contacts.v1.filter.{key}.google", b"2", msg_id=unique(), type_="T.v1")
    intake = await bus.open_intake("FILTERS", f"p{partition}", got.append)
    await intake.pull(10, 5)
    await eventually(lambda: len(got) == 2)
    assert [message.subject for message in got] == [
        f"filters.{partition}.{key}.sync",
        f"filters.{partition}.{key}.google",
    ]
    assert [message.consumer_seq for message in got] == [1, 2]
    assert await intake.delivered() == 2
    await bus.ack([got[0].ack])
    await anyio.sleep(0.1)  # an acknowledgement still on its way when the RESET comes means a redelivery
    await intake.close()

    again: list[Pulled] = []
    second = await bus.open_intake("FILTERS", f"p{partition}", again.append)
    await second.pull(10, 5)
    await eventually(lambda: len(again) == 1)
    assert again[0].data == b"2"
    assert (again[0].consumer_seq, again[0].attempt) == (1, 1)
    assert again[0].stream_seq == got[1].stream_seq
    await bus.ack([again[0].ack])
    await second.close()
    assert len(got) == 2


async def test_messages_wait_for_their_consumer_until_they_are_acknowledged(bus: Bus) -> None:
    key = unique()
    consumer = f"p{partition_of(key)}"
    before = await bus.waiting("FILTERS", consumer)
    got: list[Pulled] = []
    for number in (1, 2):
        await bus.publish(f"contacts.v1.filter.{key}.sync", b"", msg_id=f"{key}{number}", type_="T.v1")
    assert await bus.waiting("FILTERS", consumer) == before + 2
    intake = await bus.open_intake("FILTERS", consumer, got.append)
    await intake.pull(before + 2, 5)
    await eventually(lambda: len(got) == before + 2)
    assert await bus.waiting("FILTERS", consumer) == before + 2, "delivered is not done"
    await bus.ack([message.ack for message in got])
    await intake.close()
    with anyio.fail_after(2):
        while await bus.waiting("FILTERS", consumer):  # noqa: ASYNC110 - the server decides
            await anyio.sleep(0.02)


async def test_an_open_pull_gets_what_comes_later_but_no_more_than_it_asked_for(bus: Bus) -> None:
    key = unique()
    got: list[Pulled] = []
    intake = await bus.open_intake("WRITER", f"p{partition_of(key)}", got.append)
    await intake.pull(2, 5)
    for number in range(3):
        await bus.publish(f"contacts.v1.writer.{key}.mutate", str(number).encode(), msg_id=unique(), type_="T.v1")
    await eventually(lambda: len(got) == 2)
    await anyio.sleep(0.05)
    assert [message.data for message in got] == [b"0", b"1"]
    assert got[0].subject == f"writer.{partition_of(key)}.{key}"
    await intake.pull(5, 5)
    await eventually(lambda: len(got) == 3)
    await bus.ack([message.ack for message in got])
    await intake.close()


async def test_a_look_at_planfix_reaches_the_planfix_watcher_and_accounts_do_not(bus: Bus) -> None:
    account = unique()
    planfix: list[Pulled] = []
    google: list[Pulled] = []
    intake = await bus.open_intake("LOOK", "planfix", planfix.append)
    other = await bus.open_intake("LOOK", f"p{partition_of(account)}", google.append)
    await intake.pull(10, 5)
    await other.pull(10, 5)
    await bus.publish("contacts.v1.look.planfix", b"p", msg_id=unique(), type_="T.v1")
    await bus.publish(f"contacts.v1.look.{account}", b"g", msg_id=unique(), type_="T.v1")
    await eventually(lambda: bool(planfix and google))
    await anyio.sleep(0.05)
    assert [message.data for message in planfix] == [b"p"]
    assert b"g" in [message.data for message in google]
    await bus.ack([message.ack for message in [*planfix, *google]])
    await intake.close()
    await other.close()


async def test_a_missing_consumer_is_not_provisioned(bus: Bus) -> None:
    with pytest.raises(NotProvisioned):
        await bus.open_intake("FILTERS", "p99", lambda _: None)


# ---- state


async def test_a_commit_applies_all_its_puts(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    fence = await claim(bus, unique())
    seq = await bus.commit(fence, [Put(f"{root}.a", b"1"), Put(f"{root}.b", b"2")])
    a, b = await bus.get(f"{root}.a"), await bus.get(f"{root}.b")
    assert a is not None
    assert b == Record(f"{root}.b", b"2", seq)
    assert a.value == b"1"


@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_a_deposed_owner_changes_nothing(bus: Bus, size: int) -> None:
    component, root = unique(), f"state.t.{unique()}"
    old = await claim(bus, component)
    new = await claim(bus, component)
    with pytest.raises(Deposed):
        await bus.commit(old, [Put(f"{root}.{n}", b"old") for n in range(size)])
    assert await loaded(bus, f"{root}.") == []
    await bus.commit(new, [Put(f"{root}.{n}", b"new") for n in range(size)])
    assert len(await loaded(bus, f"{root}.")) == size


async def test_one_wrong_expectation_refuses_the_whole_commit_and_is_named(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    fence = await claim(bus, unique())
    seq = await bus.commit(fence, [Put(f"{root}.a", b"1")])
    with pytest.raises(Conflict) as caught:
        await bus.commit(fence, [Put(f"{root}.b", b"2"), Put(f"{root}.a", b"2", expect_seq=seq - 1)])
    assert caught.value.key == f"{root}.a"
    assert await bus.get(f"{root}.b") is None
    await bus.commit(
        fence, [Put(f"{root}.a", b"2", expect_seq=seq), Put(f"{root}.b", b"3", expect_seq=0)]
    )  # every put expects something: the fence still holds
    with pytest.raises(Deposed):
        await bus.commit(Fence(fence.component, 0, fence.epoch - 1), [Put(f"{root}.c", b"", expect_seq=0)])
    assert {record.key: record.value for record in await loaded(bus, f"{root}.*")} == {
        f"{root}.a": b"2",
        f"{root}.b": b"3",
    }


async def test_a_commit_of_nothing_of_too_much_or_of_a_key_twice_is_an_error_of_the_caller(bus: Bus) -> None:
    for puts in ([], [Put(f"state.t.{n}", b"") for n in range(1001)], [Put("state.t.a", b"")] * 2):
        with pytest.raises(ValueError):  # noqa: PT011 - whichever it is
            await bus.commit(None, puts)
    with pytest.raises(ValueError, match="not a key"):
        await bus.commit(None, [Put("state.t.*", b"")])


async def test_a_deleted_key_is_absent_at_once_and_can_be_made_anew(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    await bus.commit(None, [Put(f"{root}.a", b"1"), Put(f"{root}.b", b"1")])
    await bus.commit(None, [Put(f"{root}.a", None)])
    assert await bus.get(f"{root}.a") is None
    assert [record.key for record in await loaded(bus, f"{root}.")] == [f"{root}.b"]
    assert list(await bus.load_keys([f"{root}.a", f"{root}.b"])) == [f"{root}.b"]
    seq = await bus.cas(f"{root}.a", b"2", 0)
    assert await bus.get(f"{root}.a") == Record(f"{root}.a", b"2", seq)


async def test_a_value_with_a_time_to_live_vanishes(bus: Bus) -> None:
    root = f"lease.{unique()}"
    await bus.cas(f"{root}.a", b"me", 0, ttl_s=1)
    await bus.commit(None, [Put(f"{root}.b", b"", ttl_s=1), Put(f"{root}.c", b"")])
    assert len(await loaded(bus, f"{root}.")) == 3

    async def one_left() -> bool:
        return [record.key for record in await loaded(bus, f"{root}.")] == [f"{root}.c"]

    await eventually(one_left)
    assert await bus.get(f"{root}.a") is None
    assert await bus.cas(f"{root}.a", b"other", 0) > 0


async def test_compare_and_set_lets_one_of_two_win(bus: Bus) -> None:
    key = f"quota.{unique()}"
    first = await bus.cas(key, b"1", 0)
    with pytest.raises(Conflict):
        await bus.cas(key, b"2", 0)
    second = await bus.cas(key, b"2", first)
    with pytest.raises(Conflict):
        await bus.cas(key, b"3", first)
    assert await bus.get(key) == Record(key, b"2", second)


async def test_a_pattern_loads_its_keys_and_no_others(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    keys = [f"{root}.1", f"{root}.1.link.7", f"{root}.1.link.8", f"{root}.2", f"{root}.2.link.7"]
    await bus.commit(None, [Put(key, key.encode()) for key in keys])
    assert {record.key for record in await loaded(bus, f"{root}.*")} == {f"{root}.1", f"{root}.2"}
    assert {record.key for record in await loaded(bus, f"{root}.1.link.")} == set(keys[1:3])
    assert await bus.count(f"{root}.") == 5
    assert await loaded(bus, f"{root}.3.") == []


async def test_named_keys_are_loaded_in_any_number(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    keys = [f"{root}.{number}" for number in range(1500)]
    for start in (0, 1000):
        await bus.commit(None, [Put(key, b"v") for key in keys[start : start + 1000]])
    found = await bus.load_keys([*keys, f"{root}.missing"])
    assert set(found) == set(keys)


async def test_a_peek_shows_what_is_there_by_key_and_not_what_was_deleted(bus: Bus) -> None:
    name = unique()
    seq = await bus.cas(f"epoch.{name}.1", b"a", 0)
    await bus.cas(f"lease.{name}.a", b"1", 0, ttl_s=60)
    await bus.cas(f"lease.{name}.b", b"2", 0, ttl_s=60)
    await bus.cas(f"epoch.{name}x.1", b"other", 0)
    await bus.commit(None, [Put(f"lease.{name}.b", None)])
    seen = await bus.peek([f"epoch.{name}.*", f"lease.{name}.*"])
    assert {key: record.value for key, record in seen.items()} == {f"epoch.{name}.1": b"a", f"lease.{name}.a": b"1"}
    assert seen[f"epoch.{name}.1"] == Record(f"epoch.{name}.1", b"a", seq)
    assert await bus.peek([f"epoch.{unique()}.*"]) == {}


async def test_the_servers_time_passes(bus: Bus) -> None:
    began = await bus.time()
    await anyio.sleep(0.05)
    assert 0.02 < await bus.time() - began < 30


async def test_the_state_is_on_one_server_here(bus: Bus) -> None:
    assert await bus.copies() == 1


async def since(bus: Bus, pattern: str, seq: int) -> list[tuple[str, bytes, bool]]:
    return [(one.key.rsplit(".", 1)[1], one.value, one.deleted) async for one in bus.load(pattern, since_seq=seq)]


async def test_what_was_written_since_a_sequence_comes_in_order_with_what_was_just_deleted(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    await bus.commit(None, [Put(f"{root}.{name}", b"1") for name in "abc"])
    seq = await bus.commit(None, [Put(f"{root}.d", b"1"), Put(f"{root}x.e", b"other")])
    assert await since(bus, f"{root}.", seq) == []
    assert await since(bus, f"{root}.", 0) == [(name, b"1", False) for name in "abcd"]
    await bus.commit(None, [Put(f"{root}.c", None), Put(f"{root}.a", b"2"), Put(f"{root}x.e", b"more")])
    assert await since(bus, f"{root}.", seq) == [("c", b"", True), ("a", b"2", False)]
    assert [record.key for record in await loaded(bus, f"{root}.")] == [f"{root}.{name}" for name in "bda"]
    await bus.commit(None, [Put(f"{root}.c", b"3")])
    assert await since(bus, f"{root}.", seq) == [("a", b"2", False), ("c", b"3", False)]


async def test_a_deletion_that_does_not_come_any_more_shows_among_the_keys(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    seq = await bus.commit(None, [Put(f"{root}.{name}", b"1") for name in "abc"])
    assert await bus.keys(f"{root}.") == {f"{root}.{name}" for name in "abc"}
    await bus.commit(None, [Put(f"{root}.b", None)])

    async def forgotten() -> bool:
        return await since(bus, f"{root}.", seq) == []

    await eventually(forgotten)
    assert await bus.keys(f"{root}.") == {f"{root}.a", f"{root}.c"}
    await bus.purge(f"{root}.a")
    assert await since(bus, f"{root}.", seq) == []
    assert await bus.keys(f"{root}.") == {f"{root}.c"}
    assert await bus.keys(f"{root}.nobody.") == set()


@pytest.mark.parametrize("many", [63, 64, 65, 1000, 1500])
async def test_any_number_of_changes_comes_once_and_in_order(bus: Bus, many: int) -> None:
    root = f"state.t.{unique()}"
    seq = await bus.commit(None, [Put(f"{root}.first", b"")])
    names = [str(number) for number in range(many)]
    for start in range(0, many, 1000):
        await bus.commit(None, [Put(f"{root}.{name}", b"v") for name in names[start : start + 1000]])
    await bus.commit(None, [Put(f"{root}.0", None), Put(f"{root}.after", b"v")])
    found = await since(bus, f"{root}.", seq)
    assert found == [(name, b"v", False) for name in names[1:]] + [("0", b"", True), ("after", b"v", False)]


async def test_a_stream_that_ends_before_the_sequence_is_another_one(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    seq = await bus.commit(None, [Put(f"{root}.a", b"1")])
    with pytest.raises(Conflict):
        await since(bus, f"{root}.", seq + 1_000_000)


async def test_purged_keys_are_gone_and_others_stay(bus: Bus) -> None:
    root = f"state.t.{unique()}"
    await bus.commit(None, [Put(f"{root}.1.a", b""), Put(f"{root}.1.b", b""), Put(f"{root}.2.a", b"")])
    assert await bus.purge(f"{root}.1.") == 2
    assert [record.key for record in await loaded(bus, f"{root}.")] == [f"{root}.2.a"]


async def test_a_limits_stream_is_read_to_its_end_and_messages_taken_out(bus: Bus) -> None:
    root = f"contacts.v1.dead.{unique()}"
    for name in ("a", "b", "c"):
        await bus.publish(f"{root}.{name}", name.encode(), msg_id=unique(), type_="T.v1", headers={"X": name})
    kept = [event async for event in bus.stored(f"{root}.>", stream="DEAD")]
    assert [(event.subject, event.data, event.headers["X"]) for event in kept] == [
        (f"{root}.{name}", name.encode(), name) for name in ("a", "b", "c")
    ]
    assert all("T" in event.headers["Nats-Time-Stamp"] for event in kept)
    await bus.remove("DEAD", kept[1].seq)
    await bus.remove("DEAD", kept[1].seq)
    left = [event.data async for event in bus.stored(f"{root}.>", stream="DEAD", start=kept[0].seq + 1)]
    assert left == [b"c"]
    assert [event async for event in bus.stored(f"{root}.nobody", stream="DEAD")] == []


# ---- asking


async def test_a_query_is_answered(bus: Bus) -> None:
    verb = f"contacts.v1.query.{unique()}"

    async def answer(subject: str, data: bytes) -> bytes:
        return subject.encode() + b" " + data

    serving = await bus.serve("reconciler", verb, answer)
    assert await bus.request(verb, b"?", 2) == verb.encode() + b" ?"
    await serving.close()
    with pytest.raises(NoAnswer):
        await bus.request(verb, b"?", 0.2)


async def test_a_question_to_everyone_is_answered_by_the_one_whom_it_concerns(bus: Bus) -> None:
    verb = f"contacts.v1.query.{unique()}"
    heard: list[str] = []

    def replica(name: str) -> Handler:
        async def answer(_: str, data: bytes) -> bytes:
            heard.append(name)
            if data != name.encode():
                raise NotMine
            return data

        return answer

    serving = [await bus.serve("google-watcher", verb, replica(name), everyone=True) for name in ("a", "b", "c")]
    for name in ("a", "b", "c", "a"):
        assert await bus.request(verb, name.encode(), 2) == name.encode()
    with pytest.raises(NoAnswer):
        await bus.request(verb, b"d", 0.2)
    assert set(heard) == {"a", "b", "c"}
    for one in serving:
        await one.close()


async def test_a_refusal_travels_to_the_one_who_asked(bus: Bus) -> None:
    verb = f"contacts.v1.query.{unique()}"

    async def refuse(subject: str, data: bytes) -> bytes:
        raise Refused("no such filter", 404)

    serving = await bus.serve("gateway", verb, refuse)
    with pytest.raises(Refused, match="no such filter") as caught:
        await bus.request(verb, b"", 2)
    assert caught.value.code == 404
    await serving.close()


async def test_a_claim_is_heard(bus: Bus) -> None:
    component = unique()
    heard: list[tuple[str, bytes]] = []
    listening = await bus.listen(f"epoch.{component}.*", lambda subject, data: heard.append((subject, data)))
    await claim(bus, component, 3)
    await eventually(lambda: heard == [(f"epoch.{component}.3", b"owner")])
    await listening.close()
