"""One incarnation of a service: it can be killed before or after any single thing that it does outside itself.

Whatever a process does that others can see goes through `Life.step`: every call of the bus and every request to a
vendor. After its death nothing gets through any more, as after `kill -9`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import anyio

from contactsync.runtime.bus import (
    Bus,
    Event,
    Fence,
    Handler,
    Intake,
    Message,
    PubAck,
    Pulled,
    Put,
    Record,
    Subscription,
    Transient,
)
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer

T = TypeVar("T")
When = Literal["before", "after"]


class Killed(BaseException):
    """Raised inside a dead process wherever it would have gone on; nothing of ours catches it."""


@dataclass(slots=True)
class Point:
    """Something to happen to the `left`-th next step whose name matches. `lost`: it takes effect, but the process is
    told that the server did not answer. `asleep`: the machine stands still before it, for so many seconds."""

    pattern: str
    left: int
    what: Literal["before", "after", "lost", "asleep"]
    seconds: float = 0.0
    hits: int = 0


@dataclass(slots=True)
class Life:
    """name: the service. Steps are `publish SUBJECT`, `commit KEY`, `ack`, `POST /v1/people:createContact`, …"""

    name: str
    number: int
    points: list[Point] = field(default_factory=list)
    """Shared by all incarnations of a service: what a killed one does not reach, its successor may."""
    dead: bool = False
    steps: int = 0
    ended: anyio.Event = field(default_factory=anyio.Event)
    at_death: list[Callable[[], None]] = field(default_factory=list)
    asleep_until: float = 0.0
    requests: list[float] = field(default_factory=list)
    """When a request to a vendor left."""
    leases: set[str] = field(default_factory=set)
    """Keys of the leases that it took."""
    trace: Callable[[str], None] = lambda line: None

    def die(self) -> None:
        if not self.dead:
            self.dead = True
            self.ended.set()
            for forget in self.at_death:
                forget()

    def check(self) -> None:
        if self.dead:
            raise Killed(self.name)

    def sleep(self, seconds: float) -> None:
        """As a machine that is suspended: nothing goes out, and what comes in is read when it wakes up."""
        self.asleep_until = anyio.current_time() + seconds

    async def awake(self) -> None:
        if self.asleep_until > anyio.current_time():
            with anyio.CancelScope(shield=True):  # no timer fires either; what was about to be done is done first
                await anyio.sleep_until(self.asleep_until)

    async def step(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        self.check()
        self.steps += 1
        point = self._point(name)
        await self.awake()
        if point == "before":
            self.trace(f"{self.name} killed before {name}")
            self.die()
        self.check()
        try:
            result = await act()
            await self.awake()
        finally:
            if point == "after":
                self.trace(f"{self.name} killed after {name}")
                self.die()
            self.check()
        if point == "lost":
            self.trace(f"{self.name}: the answer to {name} got lost")
            raise Transient("the answer got lost")
        return result

    def _point(self, name: str) -> str | None:
        for point in self.points:
            if point.left > 0 and re.search(point.pattern, name):
                point.left -= 1
                if point.left == 0:
                    self.points.remove(point)
                    point.hits += 1
                    if point.what == "asleep":
                        self.trace(f"{self.name} falls asleep before {name}")
                        self.sleep(point.seconds)
                    return point.what
        return None


class ProcessBus(Bus):
    """A process's connection to the server in memory."""

    def __init__(self, server: MemoryServer, life: Life) -> None:
        self._bus = MemoryBus(server)
        self._life = life
        self._hooks: list[Callable[[], None]] = []
        self.acks_to_lose = 0
        life.at_death.append(self._forget)

    def _forget(self) -> None:
        for forget in (*self._bus._closers, *self._hooks):
            forget()
        self._bus._closers.clear()

    @property
    def connected(self) -> bool:
        return self._bus.connected and not self._life.dead

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        forget = self._bus.on_reconnect(hook)
        self._hooks.append(forget)
        return forget

    async def close(self) -> None:
        self._forget()

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
        return await self._life.step(
            f"publish {subject}",
            lambda: self._bus.publish(
                subject, data, msg_id=msg_id, type_=type_, headers=headers, deadline_s=deadline_s
            ),
        )

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float = 60.0) -> list[PubAck]:
        return [
            await self.publish(
                one.subject,
                one.data,
                msg_id=one.msg_id,
                type_=one.type_,
                headers=one.headers,
                deadline_s=deadline_s,
            )
            for one in messages
        ]

    async def open_intake(self, stream: str, consumer: str, sink: Callable[[Pulled], None]) -> Intake:
        def guarded(pulled: Pulled) -> None:
            if not self._life.dead:
                sink(pulled)

        intake = await self._life.step(
            f"open {stream} {consumer}", lambda: self._bus.open_intake(stream, consumer, guarded)
        )
        return ProcessIntake(intake, self._life)

    async def waiting(self, stream: str, consumer: str) -> int:
        return await self._life.step("waiting", lambda: self._bus.waiting(stream, consumer))

    async def ack(self, tokens: Sequence[str]) -> None:
        if self.acks_to_lose:
            self.acks_to_lose -= 1
            self._life.check()
            return
        await self._life.step("ack", lambda: self._bus.ack(tokens))

    async def working(self, tokens: Sequence[str]) -> None:
        self._life.check()
        await self._bus.working(tokens)

    async def events(
        self, subject: str, *, stream: str = "EVENTS", start: Literal["new", "all"] | int = "new"
    ) -> AsyncGenerator[Event, None]:
        async for event in self._bus.events(subject, stream=stream, start=start):
            self._life.check()
            yield event

    async def stored(self, subject: str, *, stream: str, start: int = 1) -> AsyncIterator[Event]:
        async for event in self._bus.stored(subject, stream=stream, start=start):
            self._life.check()
            yield event

    async def remove(self, stream: str, seq: int) -> None:
        await self._life.step(f"remove {stream}", lambda: self._bus.remove(stream, seq))

    async def commit(self, fence: Fence | None, puts: Sequence[Put], *, deadline_s: float = 30.0) -> int:
        name = f"commit {puts[-1].key}" if puts else "commit"
        return await self._life.step(name, lambda: self._bus.commit(fence, puts, deadline_s=deadline_s))

    async def cas(self, key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
        if key.startswith("lease."):
            self._life.leases.add(key)
        return await self._life.step(f"cas {key}", lambda: self._bus.cas(key, value, last_seq, ttl_s))

    async def get(self, key: str) -> Record | None:
        return await self._life.step(f"get {key}", lambda: self._bus.get(key))

    async def load(self, pattern: str, since_seq: int | None = None) -> AsyncIterator[Record]:
        self._life.check()
        async for record in self._bus.load(pattern, since_seq):
            self._life.check()
            yield record

    async def load_keys(self, keys: Sequence[str]) -> dict[str, Record]:
        return await self._life.step("load_keys", lambda: self._bus.load_keys(keys))

    async def peek(self, patterns: Sequence[str]) -> dict[str, Record]:
        return await self._life.step("peek", lambda: self._bus.peek(patterns))

    async def copies(self) -> int:
        return await self._life.step("copies", self._bus.copies)

    async def time(self) -> float:
        return await self._life.step("time", self._bus.time)

    async def keys(self, pattern: str) -> set[str]:
        return await self._life.step("keys", lambda: self._bus.keys(pattern))

    async def count(self, pattern: str) -> int:
        return await self._life.step("count", lambda: self._bus.count(pattern))

    async def purge(self, pattern: str) -> int:
        return await self._life.step("purge", lambda: self._bus.purge(pattern))

    async def request(self, subject: str, data: bytes, timeout_s: float = 5.0) -> bytes:
        return await self._life.step(f"request {subject}", lambda: self._bus.request(subject, data, timeout_s))

    async def serve(self, service: str, subject: str, handler: Handler, *, everyone: bool = False) -> Subscription:
        async def alive(about: str, data: bytes) -> bytes:
            try:
                self._life.check()
                return await handler(about, data)
            except Killed:
                raise Transient("the one who was asked is gone") from None

        return await self._kept(await self._bus.serve(service, subject, alive, everyone=everyone))

    async def listen(self, subject: str, sink: Callable[[str, bytes], None]) -> Subscription:
        return await self._kept(await self._bus.listen(subject, sink))

    async def _kept(self, subscription: Subscription) -> Subscription:
        """Unless the process died while it subscribed."""
        if self._life.dead:
            await subscription.close()
        self._life.check()
        return subscription


class ProcessIntake(Intake):
    def __init__(self, intake: Intake, life: Life) -> None:
        self._intake = intake
        self._life = life

    async def pull(self, batch: int, expires_s: float) -> None:
        self._life.check()
        await self._intake.pull(batch, expires_s)

    async def delivered(self) -> int:
        self._life.check()
        return await self._intake.delivered()

    async def close(self) -> None:
        await self._intake.close()


def leaves(error: BaseException) -> list[BaseException]:
    """The single errors in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]
