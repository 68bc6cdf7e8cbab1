"""What the services need from NATS, as a Protocol with two implementations.

`nats_bus.NatsBus` speaks to JetStream, `memory_bus.MemoryBus` plays it in memory under a clock of the test's
choosing; both pass `tests/conformance/test_bus.py`. Services see neither: they see this, and their mailboxes
through `ownership`.

Streams are those of `provision`. A *key* is a subject of the stream STATE (`state.…`, `history.…`, `epoch.…`,
`lease.…`, `quota.…`) which holds one value; a *pattern* is a NATS subject filter over keys, or a prefix
ending in a dot, which means everything beneath it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

COMMIT_MAX = 1000
"""Messages in one atomic batch; the server refuses more (ADR-50)."""

VALUE_BYTES_MAX = 900_000
"""A value or message larger than this would pass the server's 1 MB with its headers; ValueError before it is
sent.
"""

LISTED_MAX = 100_000
"""Keys that the server lists in one answer, as of one moment."""

MSG_ID = "Nats-Msg-Id"
TYPE = "Contactsync-Type"


class BusError(Exception):
    """Anything below; the caller decides by the class, never by the text."""


class Transient(BusError):
    """Not now: repeat the same thing after `retry_after_s`. Also raised by handlers of `ownership`."""

    def __init__(self, reason: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(reason or "try again later")
        self.retry_after_s = retry_after_s


class Deposed(BusError):
    """Another replica has claimed the partition: stop working on it, acknowledge nothing."""


class Conflict(BusError):
    """The key is not at the sequence that was expected."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class NotProvisioned(BusError):
    """A stream or consumer is missing: `contactsync provision` has not run."""


class Refused(BusError):
    """The one that was asked answered with an error (`request`), or the server rejects this for good."""

    def __init__(self, reason: str, code: int = 500) -> None:
        super().__init__(reason)
        self.code = code


class NotMine(BusError):
    """Another replica may answer this (see `Bus.serve`); raised by handlers of queries."""


class NoAnswer(Transient):
    """Nobody serves the subject, or the answer did not come in time."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to change what belongs to one partition.

    `epoch` is the stream sequence of `epoch.<component>.<partition>`: whoever claims later has a higher one,
    and the server refuses the commits of all earlier ones.
    """

    component: str
    partition: int
    epoch: int

    @property
    def key(self) -> str:
        return f"epoch.{self.component}.{self.partition}"


@dataclass(frozen=True, slots=True)
class Put:
    """One change of a commit. `value=None` deletes. `ttl_s`: whole seconds, at least 1, after which the key
    is gone.

    `expect_seq`: the sequence the key must have now, 0 for "does not exist"; None for whatever.
    """

    key: str
    value: bytes | None
    ttl_s: int | None = None
    expect_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A key as stored. `deleted`: not there any more, told only by `Bus.load` with `since_seq`."""

    key: str
    value: bytes
    seq: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish. `type_` is the contract's name and version, e.g. `SyncRequest.v1`."""

    subject: str
    data: bytes
    msg_id: str
    type_: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PubAck:
    """The stream's acknowledgement; `duplicate` when its `Nats-Msg-Id` was seen within two minutes."""

    seq: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A message of a stream read in order without consuming it."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    seq: int


@dataclass(frozen=True, slots=True)
class Pulled:
    """A message delivered by a work-queue consumer. `ack` is the token for `Bus.ack` and `Bus.working`."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    stream_seq: int
    consumer_seq: int
    attempt: int
    ack: str


class Intake(Protocol):
    """One RESET generation of one consumer: everything not acknowledged comes again, numbered 1, 2, 3, …

    A number out of turn means a lost delivery: open a new intake. Messages of older generations never arrive
    here.
    """

    async def pull(self, batch: int, expires_s: float) -> None:
        """Ask for up to `batch` messages, to be delivered as they come during `expires_s`."""

    async def delivered(self) -> int:
        """The number of the last message the server has sent to this generation. Raises Transient."""

    async def close(self) -> None:
        """Stop deliveries; open pulls end with it. Never raises."""


class Subscription(Protocol):
    async def close(self) -> None: ...


Handler = Callable[[str, bytes], Awaitable[bytes]]
"""A query's handler: (subject, data) -> answer. A `Refused` it raises travels to the one who asked."""


class Bus(Protocol):
    """See the module. All methods may raise Transient (deadline passed) and NotProvisioned."""

    @property
    def connected(self) -> bool: ...

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call `hook` (plain, quick) after every reconnection; the result takes the hook away again."""

    async def close(self) -> None:
        """Flush what is buffered and leave. Never raises."""

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
        """Publish into a stream, repeated under the same id until the stream has acknowledged."""

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float = 60.0) -> list[PubAck]:
        """Publish all; those of one subject in their order, different subjects at once. Answers in the order
        given.
        """

    async def open_intake(self, stream: str, consumer: str, sink: Callable[[Pulled], None]) -> Intake:
        """RESET the consumer and deliver what `Intake.pull` asks for to `sink` (a plain, quick function)."""

    async def waiting(self, stream: str, consumer: str) -> int:
        """Messages that the consumer has not acknowledged yet, delivered or not."""

    async def ack(self, tokens: Sequence[str]) -> None:
        """Acknowledge without waiting for the server: an acknowledgement that gets lost means a redelivery."""

    async def working(self, tokens: Sequence[str]) -> None:
        """Start the redelivery time-out of these messages anew."""

    def events(
        self, subject: str, *, stream: str = "EVENTS", start: Literal["new", "all"] | int = "new"
    ) -> AsyncGenerator[Event, None]:
        """Read a limits stream in order, for ever; survives reconnections. `start` may be a stream sequence.

        The position for "new" is taken at the first step of the iteration.
        """

    def stored(self, subject: str, *, stream: str, start: int = 1) -> AsyncIterator[Event]:
        """What a limits stream holds at the moment from sequence `start` on, in order, to its end. Headers have the
        server's `Nats-Time-Stamp`. Raises Transient."""

    async def remove(self, stream: str, seq: int) -> None:
        """Take one message out of a limits stream; nothing where it is gone already."""

    # ---- state

    async def commit(self, fence: Fence | None, puts: Sequence[Put], *, deadline_s: float = 30.0) -> int:
        """Apply all puts or none, if the fence still holds; the stream sequence of the last one.

        At most COMMIT_MAX puts, each key once (ValueError). Raises Deposed, Conflict, Transient. Commits of
        one fence run one after another, at most eight at once in a process. After Transient the outcome is
        unknown; committing the same again is harmless, but `expect_seq` may then conflict with what that
        attempt wrote.
        """

    async def cas(self, key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
        """Set the key if it is at `last_seq` (0: absent); its new sequence. Raises Conflict, Transient.

        Tried once: after Transient, `get` tells whether it happened.
        """

    async def get(self, key: str) -> Record | None:
        """The value now (read from the stream's leader), None when absent or deleted."""

    def load(self, pattern: str, since_seq: int | None = None) -> AsyncIterator[Record]:
        """All records of a pattern in the order they were written; complete or an exception, never less.

        A key that is changed meanwhile may come twice; the later one counts.

        `since_seq`: only what has a higher stream sequence, up to what the stream's leader had when this began.
        A key deleted within the last second comes as `deleted`; one deleted earlier does not come at all, `keys`
        tells those: what is not among the keys listed afterwards is gone. Raises Conflict where the stream ends
        before `since_seq`: it was made anew or restored, and what was read of it is worth nothing.
        """

    async def load_keys(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of these keys; absent keys are left out. Any number of keys."""

    async def peek(self, patterns: Sequence[str]) -> dict[str, Record]:
        """The records of these patterns, at most a thousand keys; on several servers they may be a moment old."""

    async def copies(self) -> int:
        """How many servers keep the state."""

    async def time(self) -> float:
        """The server's clock in Unix seconds, at some moment between the call and its answer."""

    async def keys(self, pattern: str) -> set[str]:
        """The keys of this pattern as the stream's leader has them; those deleted within the last second may still be
        among them. Of more than LISTED_MAX keys some that are deleted or made meanwhile may be missing or too many.
        """

    async def count(self, pattern: str) -> int:
        """How many keys of this pattern exist; those deleted a moment ago may still be counted."""

    async def purge(self, pattern: str) -> int:
        """Remove keys from the disk at once (erasure); how many. Not fenced."""

    # ---- asking

    async def request(self, subject: str, data: bytes, timeout_s: float = 5.0) -> bytes:
        """Ask whoever serves the subject. Raises NoAnswer, Refused."""

    async def serve(self, service: str, subject: str, handler: Handler, *, everyone: bool = False) -> Subscription:
        """Answer requests on the subject; replicas of one service share them. `everyone`: each replica hears each,
        and those whose handler raises NotMine are silent."""

    async def listen(self, subject: str, sink: Callable[[str, bytes], None]) -> Subscription:
        """Hear what is published on a subject while listening; a hint, not a guarantee."""


BusFactory = Callable[[], AbstractAsyncContextManager[Bus]]
