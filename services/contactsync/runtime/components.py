"""Which components there are, what they read, and what they and their owner ask of each other.

A component (reconciler, writer, google-watcher, planfix-watcher) reads one work-queue stream cut into 64 partitions;
`ownership.py` runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contactsync.runtime.bus import Fence
from contactsync.runtime.mailbox import PARTITIONS, Delivery, partition_of


class Handler(Protocol):
    """A service's side of a component.

    `handle` is called with the oldest queued messages of the key (up to `batch_max` and `bytes_max`), or
    with none when the key was woken or poked. Returning means done: the messages are acknowledged. Raising
    `bus.Transient` keeps them for another call after its `retry_after_s`; `bus.Deposed` drops the partition;
    anything else is logged and retried with a growing delay.
    """

    async def gained(self, fences: Sequence[Fence]) -> None:
        """These partitions are ours: load what wakes by itself, all at once. No `handle` of them runs before
        this returns.
        """

    async def lost(self, partition: int) -> None:
        """The partition is no longer ours: forget everything of it. No `handle` of it runs any more."""

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None: ...

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        """These keys have had nothing to do for `rest_after_s`, the longest first: let go of what is only kept in
        memory to be quick, and say of which keys. They are not named again before their next `handle`.
        """


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """What a component reads and how much at once.

    name: in epochs, logs and metrics. stream and consumers: partition -> durable consumer (p0…p63, or one
    `planfix`). batch_max, bytes_max: messages and bytes of one call of the handler.
    unacked_max: messages of one partition held here; pulling stops there. held_bytes_max: the same for all
    together. grace_s: how long running handlers may take to finish after a stop, or before their partition is
    given to another replica. lease_s: time to live of the lease, None for what the server's kind asks for.
    look_every_s: how often replicas look at who owns what, besides when they hear of a change. rest_after_s: how long
    a key's actor has nothing to do before it may let go of its memory.
    """

    name: str
    stream: str
    consumers: Mapping[int, str]
    batch_max: int = 64
    bytes_max: int = 4_000_000
    unacked_max: int = 4096
    held_bytes_max: int = 256_000_000
    grace_s: float = 20.0
    pull_expires_s: float = 30.0
    working_every_s: float = 60.0
    lease_s: float | None = None
    look_every_s: float = 5.0
    rest_after_s: float = 60.0
    ignored_keys: frozenset[str] = frozenset()

    def partition_of(self, key: str) -> int:
        """The partition of a key; a component with a single consumer has but one."""
        return partition_of(key) if len(self.consumers) > 1 else next(iter(self.consumers))


def _partitions() -> dict[int, str]:
    return {number: f"p{number}" for number in range(PARTITIONS)}


RECONCILER = ComponentSpec("reconciler", "FILTERS", _partitions())
WRITER = ComponentSpec("writer", "WRITER", _partitions(), batch_max=256)
GOOGLE_WATCHER = ComponentSpec("google-watcher", "LOOK", _partitions(), ignored_keys=frozenset({"planfix"}))
PLANFIX_WATCHER = ComponentSpec("planfix-watcher", "LOOK", {0: "planfix"}, batch_max=256)


class Mailboxes(Protocol):
    """What a service may ask of its component: `Component(bus, spec)` has these and `run(handler,
    stop=Event)`.
    """

    def poke(self, key: str) -> None:
        """Call the handler for this key soon (with no messages if none wait). Nothing if its partition is
        not ours.
        """

    def wake(self, key: str, at: float | None) -> None:
        """Call the handler for this key at `at` (Unix seconds); one time per key, a new one replaces it,
        None clears.
        """

    def fence(self, key: str) -> Fence | None:
        """The fence under which the key is worked on, None when it is not ours."""
