"""What a NATS server holds, in memory: streams with their consumers, and state. `memory_bus` is the client
of it.

Plain functions under one clock; nothing here awaits. Deliveries happen inside the call that makes them
possible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from contactsync.runtime.bus import MSG_ID, Handler, NotProvisioned, PubAck, Pulled, Put, Record, Transient
from contactsync.runtime.mailbox import partition_of
from contactsync.runtime.nats_state import as_filter
from contactsync.runtime.provision import ACK_WAIT_S, DAY_S, MAILBOXES, UNACKED_MAX

DUPLICATE_WINDOW_S = 120.0
TOMBSTONE_S = 1.0


def matches(pattern: str, subject: str) -> bool:
    """NATS' rule: `*` is one token, `>` one or more at the end."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > position
        if position >= len(tokens) or token not in ("*", tokens[position]):
            return False
    return len(wanted) == len(tokens)


@dataclass(slots=True)
class Stored:
    seq: int
    subject: str
    data: bytes
    headers: dict[str, str]
    at: float
    owed: set[str] = field(default_factory=set)
    """Consumers that have not acknowledged it."""


@dataclass(slots=True)
class Pull:
    left: int
    until: float
    sink: Callable[[Pulled], None]
    generation: int


@dataclass(slots=True)
class Consumer:
    name: str
    pattern: str
    generation: int = 0
    next_seq: int = 1
    consumer_seq: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    pending: dict[int, float] = field(default_factory=dict)
    """stream seq -> when it is delivered again"""
    pulls: list[Pull] = field(default_factory=list)


@dataclass(slots=True)
class Stream:
    name: str
    public: str
    prefix: str | None = None
    max_age_s: float | None = None
    consumers: dict[str, Consumer] = field(default_factory=dict)
    messages: dict[int, Stored] = field(default_factory=dict)
    ids: dict[str, tuple[float, int]] = field(default_factory=dict)
    last_seq: int = 0

    def stored_subject(self, subject: str) -> str:
        if self.prefix is None:
            return subject
        tokens = subject.split(".")[3:]
        if self.name == "WRITER":
            tokens = tokens[:1]
        return ".".join([self.prefix, str(partition_of(tokens[0])), *tokens])


@dataclass(slots=True)
class Value:
    value: bytes
    seq: int
    until: float | None


class MemoryServer:
    """What a NATS server holds, already provisioned unless told otherwise. `now`: seconds, never backwards."""

    def __init__(self, now: Callable[[], float] = anyio.current_time, *, provisioned: bool = True) -> None:
        self.now = now
        self.reachable = True
        self.back = anyio.Event()
        self.streams: dict[str, Stream] = {}
        self.values: dict[str, Value] = {}
        self.tombstones: dict[str, Value] = {}
        """Of keys deleted within the last second."""
        self.state_seq = 0
        self.served: dict[str, list[Handler]] = {}
        self.listeners: list[tuple[str, Callable[[str, bytes], None]]] = []
        self.arrival = anyio.Event()
        self.hooks: list[Callable[[], None]] = []
        self.provisioned = provisioned
        if provisioned:
            self._provision()

    def _provision(self) -> None:
        for box in MAILBOXES:
            stream = Stream(box.stream, box.public, box.prefix)
            stream.consumers = {name: Consumer(name, pattern) for name, pattern in box.consumers.items()}
            self.streams[box.stream] = stream
        self.streams["EVENTS"] = Stream("EVENTS", "contacts.v1.event.>", max_age_s=7 * DAY_S)
        self.streams["DEAD"] = Stream("DEAD", "contacts.v1.dead.>", max_age_s=30 * DAY_S)

    def disconnect(self) -> None:
        self.reachable = False
        self.back = anyio.Event()

    def reconnect(self) -> None:
        """As after a restart: open pulls are forgotten, nothing stored is."""
        self.reachable = True
        self.back.set()
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                consumer.pulls.clear()
        for hook in list(self.hooks):
            hook()

    def require(self) -> None:
        if not self.reachable:
            raise Transient("NATS is not reachable")

    def stream(self, name: str) -> Stream:
        self.require()
        if name not in self.streams:
            raise NotProvisioned(name)
        return self.streams[name]

    # ---- streams

    def store(self, subject: str, data: bytes, headers: dict[str, str]) -> PubAck:
        self.require()
        stream = next((found for found in self.streams.values() if matches(found.public, subject)), None)
        if stream is None:
            raise NotProvisioned(f"no stream for {subject}")
        now = self.now()
        stream.ids = {name: seen for name, seen in stream.ids.items() if now - seen[0] < DUPLICATE_WINDOW_S}
        if (seen := stream.ids.get(headers[MSG_ID])) is not None:
            return PubAck(seen[1], True)
        stream.last_seq += 1
        stream.ids[headers[MSG_ID]] = (now, stream.last_seq)
        stored = Stored(stream.last_seq, stream.stored_subject(subject), data, headers, now)
        stored.owed = {c.name for c in stream.consumers.values() if matches(c.pattern, stored.subject)}
        stream.messages[stored.seq] = stored
        self.tell(subject, data)
        for name in sorted(stored.owed):
            self.deliver(stream, stream.consumers[name])
        return PubAck(stored.seq, False)

    def deliver(self, stream: Stream, consumer: Consumer) -> None:
        """Serve open pulls: what timed out first, then what is new, in stream order."""
        now = self.now()
        while consumer.pulls:
            pull = consumer.pulls[0]
            if pull.left == 0 or pull.until <= now:
                consumer.pulls.pop(0)
                continue
            stored = self._next(stream, consumer, now)
            if stored is None:
                return
            pull.left -= 1
            consumer.consumer_seq += 1
            consumer.attempts[stored.seq] = consumer.attempts.get(stored.seq, 0) + 1
            consumer.pending[stored.seq] = now + ACK_WAIT_S
            pull.sink(
                Pulled(
                    stored.subject,
                    stored.data,
                    stored.headers,
                    stored.seq,
                    consumer.consumer_seq,
                    consumer.attempts[stored.seq],
                    f"{stream.name} {consumer.name} {stored.seq}",
                )
            )

    def _next(self, stream: Stream, consumer: Consumer, now: float) -> Stored | None:
        for seq in sorted(seq for seq, until in consumer.pending.items() if until <= now):
            if seq in stream.messages:
                return stream.messages[seq]
        if len(consumer.pending) >= UNACKED_MAX:
            return None
        while consumer.next_seq <= stream.last_seq:
            stored = stream.messages.get(consumer.next_seq)
            consumer.next_seq += 1
            if stored is not None and consumer.name in stored.owed:
                return stored
        return None

    def settle(self, token: str, *, done: bool) -> None:
        stream_name, consumer_name, number = token.split(" ")
        stream = self.streams[stream_name]
        consumer, seq = stream.consumers[consumer_name], int(number)
        if seq not in consumer.pending:
            return
        if not done:
            consumer.pending[seq] = self.now() + ACK_WAIT_S
            return
        del consumer.pending[seq]
        consumer.attempts.pop(seq, None)
        stored = stream.messages[seq]
        stored.owed.discard(consumer_name)
        if not stored.owed:
            del stream.messages[seq]
        self.deliver(stream, consumer)

    def aged(self, stream: Stream) -> list[Stored]:
        oldest = self.now() - stream.max_age_s if stream.max_age_s else float("-inf")
        return [stored for stored in stream.messages.values() if stored.at >= oldest]

    def tell(self, subject: str, data: bytes) -> None:
        for pattern, sink in list(self.listeners):
            if matches(pattern, subject):
                sink(subject, data)
        self.arrival.set()
        self.arrival = anyio.Event()

    # ---- state

    def value(self, key: str) -> Value | None:
        found = self.values.get(key)
        if found is not None and found.until is not None and found.until <= self.now():
            del self.values[key]
            return None
        return found

    def put(self, put: Put) -> int:
        self.state_seq += 1
        self.tombstones.pop(put.key, None)
        if put.value is None:
            self.values.pop(put.key, None)
            self.tombstones[put.key] = Value(b"", self.state_seq, self.now() + TOMBSTONE_S)
        else:
            until = None if put.ttl_s is None else self.now() + put.ttl_s
            self.values.pop(put.key, None)  # the newest comes last
            self.values[put.key] = Value(put.value, self.state_seq, until)
        self.tell(put.key, put.value or b"")
        return self.state_seq

    def expected(self, put: Put) -> bool:
        there = self.value(put.key)
        return put.expect_seq is None or (there.seq if there else 0) == put.expect_seq

    def matching(self, pattern: str) -> list[Record]:
        wanted = as_filter(pattern)
        found = [key for key in self.values if matches(wanted, key)]
        values = [(key, self.value(key)) for key in found]
        return [Record(key, value.value, value.seq) for key, value in values if value is not None]

    def written(self, pattern: str) -> list[Record]:
        """As `matching`, with the keys that were deleted a moment ago."""
        now = self.now()
        self.tombstones = {
            key: left for key, left in self.tombstones.items() if left.until is not None and left.until > now
        }
        wanted = as_filter(pattern)
        gone = [Record(key, b"", left.seq, True) for key, left in self.tombstones.items() if matches(wanted, key)]
        return sorted([*self.matching(pattern), *gone], key=lambda record: record.seq)
