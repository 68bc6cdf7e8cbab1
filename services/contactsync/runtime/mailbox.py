"""The mailboxes of one partition, as plain data: what was delivered, in which order, and what is done.

Pure: `ownership.Component` feeds it what the server delivers and takes from it what the handler gets. Order
rests on one rule: within a generation (a RESET of the consumer) only the numbers 1, 2, 3, … are accepted.
What is held survives a new generation; being delivered again only renews its acknowledgement token.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from contactsync.runtime.bus import Fence, Pulled

PARTITIONS = 64
DONE_MAX = 8192
"""Finished messages remembered for each partition, in case their acknowledgement was lost."""


def partition_of(key: str, partitions: int = PARTITIONS) -> int:
    """The partition of a key: FNV-1a-32 of the token modulo the number, as the server's `partition(64,1)`."""
    digest = 0x811C9DC5
    for byte in key.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return digest % partitions


@dataclass(slots=True)
class Fate:
    """What became of a message besides being handled. dead: it was put aside among the dead letters."""

    dead: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a mailbox. `attempt` counts the calls of the handler with it in this process, from 1."""

    key: str
    kind: str
    subject: str
    data: bytes
    headers: Mapping[str, str]
    stream_seq: int
    attempt: int
    fate: Fate = field(default_factory=Fate, compare=False)


@dataclass(slots=True)
class Held:
    """A delivery that is not acknowledged yet, with the token to do so and when the server last heard of it."""

    delivery: Delivery
    ack: str
    touched: float


class Accepted(Enum):
    NEW = auto()
    AGAIN = auto()
    """Already held: only the token is newer."""
    DONE = auto()
    """Finished before, the acknowledgement was lost: acknowledge again."""
    GAP = auto()
    """A delivery is missing: start a new generation."""


@dataclass(slots=True)
class Mailbox:
    """Of one key. `busy`: a worker is on it. `poked`: call the handler even without messages."""

    key: str
    queue: deque[Held] = field(default_factory=deque)
    busy: bool = False
    poked: bool = False
    failures: int = 0

    @property
    def waiting(self) -> bool:
        return bool(self.queue) or self.poked

    def oldest(self, batch_max: int, bytes_max: int) -> list[Held]:
        """What the next call of the handler gets: at least one if there is any."""
        chosen: list[Held] = []
        size = 0
        for held in self.queue:
            size += len(held.delivery.data)
            if chosen and (len(chosen) >= batch_max or size > bytes_max):
                break
            chosen.append(held)
        return chosen

    def failed(self, chosen: Sequence[Held]) -> None:
        """The same again later, counted."""
        self.failures += 1
        self.poked = self.poked or not chosen
        for held in chosen:
            held.delivery = replace(held.delivery, attempt=held.delivery.attempt + 1)


class Partition:
    """All mailboxes of a partition that is ours. Stored subjects are `<stream>.<partition>.<key>[.<kind>]`."""

    def __init__(self, fence: Fence) -> None:
        self.fence = fence
        self.boxes: dict[str, Mailbox] = {}
        self.held: dict[int, Held] = {}
        self.held_bytes = 0
        self._done: OrderedDict[int, None] = OrderedDict()
        self.expected = 1

    def new_generation(self) -> None:
        self.expected = 1

    def box(self, key: str) -> Mailbox:
        if (found := self.boxes.get(key)) is None:
            found = self.boxes[key] = Mailbox(key)
        return found

    def accept(self, pulled: Pulled, now: float) -> tuple[Accepted, Mailbox | None]:
        if pulled.consumer_seq != self.expected:
            return Accepted.GAP, None
        self.expected += 1
        seq = pulled.stream_seq
        if (held := self.held.get(seq)) is not None:
            held.ack, held.touched = pulled.ack, now
            return Accepted.AGAIN, None
        if seq in self._done:
            return Accepted.DONE, None
        _, _, key, *kind = pulled.subject.split(".", 3)
        delivery = Delivery(key, kind[0] if kind else "", pulled.subject, pulled.data, pulled.headers, seq, attempt=1)
        held = Held(delivery, pulled.ack, now)
        self.held[seq] = held
        self.held_bytes += len(pulled.data)
        box = self.box(key)
        box.queue.append(held)
        return Accepted.NEW, box

    def finish(self, box: Mailbox, chosen: Sequence[Held]) -> list[str]:
        """The chosen oldest are done; their tokens."""
        box.failures = 0
        for held in chosen:
            assert box.queue[0] is held
            box.queue.popleft()
            seq = held.delivery.stream_seq
            del self.held[seq]
            self.held_bytes -= len(held.delivery.data)
            self._done[seq] = None
        while len(self._done) > DONE_MAX:
            self._done.popitem(last=False)
        return [held.ack for held in chosen]

    def silent_since(self, moment: float) -> list[Held]:
        """Held messages of which the server has not heard since: their time-out is running."""
        return [held for held in self.held.values() if held.touched <= moment]
