"""The bus in memory: the same promises as `nats_bus`, for tests and simulations under any clock.

Deterministic: nothing happens but by a call or by the passing of `now` (seconds). Several `MemoryBus` on one
`MemoryServer` are several replicas. Faults of the network are the test's to play: `server.reachable = False`
makes everything Transient, `server.reconnect()` tells the clients.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import anyio
import anyio.lowlevel

from contactsync.runtime.bus import (
    MSG_ID,
    TYPE,
    VALUE_BYTES_MAX,
    Bus,
    Conflict,
    Deposed,
    Event,
    Fence,
    Handler,
    Intake,
    Message,
    NoAnswer,
    NotMine,
    NotProvisioned,
    PubAck,
    Pulled,
    Put,
    Record,
    Refused,
    Subscription,
    Transient,
)
from contactsync.runtime.memory_server import Consumer, MemoryServer, Pull, Stream, matches
from contactsync.runtime.nats_state import check_commit, check_key

__all__ = ["MemoryBus", "MemoryServer"]


class MemoryBus(Bus):
    """One client of the server. Every call is a checkpoint, so that others get their turn as over a network."""

    def __init__(self, server: MemoryServer | None = None) -> None:
        self.server = server or MemoryServer()
        self._closers: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        return self.server.reachable

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        self.server.hooks.append(hook)
        return lambda: self.server.hooks.remove(hook) if hook in self.server.hooks else None

    async def close(self) -> None:
        for closer in self._closers:
            closer()
        self._closers.clear()

    # ---- messages

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str,
        type_: str,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = 30.0,
    ) -> PubAck:
        if len(data) > VALUE_BYTES_MAX:
            raise ValueError(f"a message for {subject} is larger than {VALUE_BYTES_MAX} bytes")
        await self._reach(deadline_s)
        return self.server.store(subject, data, {**(headers or {}), MSG_ID: msg_id, TYPE: type_})

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float = 60.0) -> list[PubAck]:
        return [
            await self.publish(
                message.subject,
                message.data,
                msg_id=message.msg_id,
                type_=message.type_,
                headers=message.headers,
                deadline_s=deadline_s,
            )
            for message in messages
        ]

    async def open_intake(self, stream: str, consumer: str, sink: Callable[[Pulled], None]) -> Intake:
        await anyio.lowlevel.checkpoint()
        source = self.server.stream(stream)
        if consumer not in source.consumers:
            raise NotProvisioned(f"{stream} {consumer}")
        reader = source.consumers[consumer]
        reader.generation += 1
        reader.next_seq, reader.consumer_seq = 1, 0
        reader.attempts.clear()
        reader.pending.clear()
        intake = MemoryIntake(self.server, source, reader, sink)
        self._closers.append(intake.forget)
        return intake

    async def waiting(self, stream: str, consumer: str) -> int:
        await anyio.lowlevel.checkpoint()
        return sum(consumer in stored.owed for stored in self.server.stream(stream).messages.values())

    async def ack(self, tokens: Sequence[str]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.server.reachable:
            for token in tokens:
                self.server.settle(token, done=True)

    async def working(self, tokens: Sequence[str]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.server.reachable:
            for token in tokens:
                self.server.settle(token, done=False)

    async def events(
        self, subject: str, *, stream: str = "EVENTS", start: Literal["new", "all"] | int = "new"
    ) -> AsyncGenerator[Event, None]:
        await anyio.lowlevel.checkpoint()
        source = self.server.stream(stream)
        seq = source.last_seq + 1 if start == "new" else 1 if start == "all" else start
        while True:
            arrival = self.server.arrival
            for stored in self.server.aged(source):
                if stored.seq >= seq and matches(subject, stored.subject):
                    seq = stored.seq + 1
                    yield Event(stored.subject, stored.data, stored.headers, stored.seq)
            await arrival.wait()

    async def stored(self, subject: str, *, stream: str, start: int = 1) -> AsyncIterator[Event]:
        await anyio.lowlevel.checkpoint()
        for stored in self.server.aged(self.server.stream(stream)):
            if stored.seq >= start and matches(subject, stored.subject):
                at = datetime.fromtimestamp(stored.at, UTC).isoformat()
                yield Event(stored.subject, stored.data, {**stored.headers, "Nats-Time-Stamp": at}, stored.seq)

    async def remove(self, stream: str, seq: int) -> None:
        await anyio.lowlevel.checkpoint()
        self.server.stream(stream).messages.pop(seq, None)

    # ---- state

    async def commit(self, fence: Fence | None, puts: Sequence[Put], *, deadline_s: float = 30.0) -> int:
        check_commit(puts)
        await self._reach(deadline_s)
        self._require_state()
        if fence is not None:
            epoch = self.server.value(fence.key)
            if epoch is None or epoch.seq != fence.epoch:
                raise Deposed(f"{fence.component} partition {fence.partition}: epoch {fence.epoch} is over")
        for put in puts:
            if not self.server.expected(put):
                raise Conflict(put.key)
        return [self.server.put(put) for put in puts][-1]

    async def cas(self, key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
        put = Put(check_key(key), value, ttl_s, last_seq)
        check_commit([put])
        await anyio.lowlevel.checkpoint()
        self._require_state()
        if not self.server.expected(put):
            raise Conflict(key)
        return self.server.put(put)

    async def get(self, key: str) -> Record | None:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        found = self.server.value(check_key(key))
        return Record(key, found.value, found.seq) if found else None

    async def load(self, pattern: str, since_seq: int | None = None) -> AsyncIterator[Record]:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        if since_seq is None:
            records = self.server.matching(pattern)
        elif since_seq > self.server.state_seq:
            raise Conflict(pattern)
        else:
            records = [one for one in self.server.written(pattern) if one.seq > since_seq]
        for record in records:
            yield record

    async def load_keys(self, keys: Sequence[str]) -> dict[str, Record]:
        found = [await self.get(key) for key in keys]
        return {record.key: record for record in found if record is not None}

    async def peek(self, patterns: Sequence[str]) -> dict[str, Record]:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        return {record.key: record for pattern in patterns for record in self.server.matching(pattern)}

    async def copies(self) -> int:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        return 1

    async def time(self) -> float:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        return self.server.now()

    async def keys(self, pattern: str) -> set[str]:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        return {record.key for record in self.server.written(pattern)}

    async def count(self, pattern: str) -> int:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        return len(self.server.matching(pattern))

    async def purge(self, pattern: str) -> int:
        await anyio.lowlevel.checkpoint()
        self._require_state()
        gone = self.server.matching(pattern)
        for record in gone:
            del self.server.values[record.key]
        return len(gone)

    # ---- asking

    async def request(self, subject: str, data: bytes, timeout_s: float = 5.0) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.server.require()
        for pattern, handlers in self.server.served.items():
            for _ in range(len(handlers) if matches(pattern, subject) else 0):
                handlers.append(handlers.pop(0))  # replicas take turns
                try:
                    with anyio.fail_after(timeout_s):
                        return await handlers[-1](subject, data)
                except NotMine:
                    continue
                except TimeoutError as error:
                    raise NoAnswer(f"{subject} did not answer in {timeout_s} s") from error
                except Refused:
                    raise
                except Transient as error:
                    raise Refused(str(error), 503) from error
                except Exception as error:
                    raise Refused("internal error") from error
        raise NoAnswer(f"nobody serves {subject}")

    async def serve(self, service: str, subject: str, handler: Handler, *, everyone: bool = False) -> Subscription:
        await anyio.lowlevel.checkpoint()
        handlers = self.server.served.setdefault(subject, [])
        handlers.append(handler)
        return self._subscription(lambda: handlers.remove(handler) if handler in handlers else None)

    async def listen(self, subject: str, sink: Callable[[str, bytes], None]) -> Subscription:
        await anyio.lowlevel.checkpoint()
        entry = (subject, sink)
        self.server.listeners.append(entry)
        listeners = self.server.listeners
        return self._subscription(lambda: listeners.remove(entry) if entry in listeners else None)

    def _subscription(self, forget: Callable[[], None]) -> Subscription:
        self._closers.append(forget)
        return MemorySubscription(forget)

    def _require_state(self) -> None:
        self.server.require()
        if not self.server.provisioned:
            raise NotProvisioned("STATE")

    async def _reach(self, deadline_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(deadline_s):
            while not self.server.reachable:
                await self.server.back.wait()
        self.server.require()


class MemoryIntake(Intake):
    def __init__(
        self, server: MemoryServer, stream: Stream, consumer: Consumer, sink: Callable[[Pulled], None]
    ) -> None:
        self._server = server
        self._stream = stream
        self._consumer = consumer
        self._generation = consumer.generation
        self._sink = sink
        self._open = True

    async def pull(self, batch: int, expires_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        self._server.require()
        if self._open:
            until = self._server.now() + expires_s
            self._consumer.pulls.append(Pull(batch, until, self._receive, self._generation))
            self._server.deliver(self._stream, self._consumer)

    async def delivered(self) -> int:
        await anyio.lowlevel.checkpoint()
        self._server.require()
        return self._consumer.consumer_seq

    async def close(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._open = False
        self._consumer.pulls = [pull for pull in self._consumer.pulls if pull.sink != self._receive]

    def _receive(self, pulled: Pulled) -> None:
        if self._open:
            self._sink(pulled)


class MemorySubscription(Subscription):
    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget

    async def close(self) -> None:
        self._forget()
