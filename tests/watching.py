"""A watcher's surroundings in memory: a clock of the test's, the bus, noted wake-ups, and what was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from contactsync.runtime.bus import TYPE, Fence
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import Delivery
from contactsync_contracts import subjects
from contactsync_contracts.messages import MESSAGES, Model, type_of

_M = TypeVar("_M", bound=Model)
START_S = 1_790_000_000.0


@dataclass
class Clock:
    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Wakes:
    """`ownership.Mailboxes` that only notes when the handler wants to be called. `ours`: whether everything is."""

    at: dict[str, float] = field(default_factory=dict)
    ours: bool = True

    def poke(self, key: str) -> None:
        self.at[key] = 0.0

    def wake(self, key: str, at: float | None) -> None:
        if at is None:
            self.at.pop(key, None)
        else:
            self.at[key] = at

    def fence(self, key: str) -> Fence | None:
        return Fence("google-watcher", 0, 1) if self.ours else None


@dataclass
class Scene:
    component: str
    clock: Clock = field(default_factory=Clock)
    wakes: Wakes = field(default_factory=Wakes)
    claims: int = 0
    looks: int = 0
    read_to: int = 0

    def __post_init__(self) -> None:
        self.server = MemoryServer(self.clock)
        self.bus = MemoryBus(self.server)

    async def claim(self) -> Fence:
        """As a replica takes the partition over."""
        key = f"epoch.{self.component}.0"
        before = await self.bus.get(key)
        return Fence(self.component, 0, await self.bus.cas(key, b"{}", before.seq if before else 0))

    async def put(self, key: str, value: bytes) -> None:
        before = await self.bus.get(key)
        await self.bus.cas(key, value, before.seq if before else 0)

    def delivery(self, key: str, look: Model) -> Delivery:
        self.looks += 1
        subject = subjects.look(key)
        headers = {TYPE: type_of(look)}
        return Delivery(key, "look", subject, look.model_dump_json().encode(), headers, self.looks, 1)

    def told(self, filter_id: str | None = None) -> list[Model]:
        """What was published to the filters since the last call."""
        stored = [one for seq, one in self.server.streams["FILTERS"].messages.items() if seq > self.read_to]
        self.read_to = self.server.streams["FILTERS"].last_seq
        models = [MESSAGES[one.headers[TYPE]].model_validate_json(one.data) for one in stored]
        return [m for m in models if filter_id in (None, m.filter_id)]  # type: ignore[attr-defined]

    def dead(self) -> Sequence[bytes]:
        return [one.data for one in self.server.streams["DEAD"].messages.values()]


def only(models: list[Model], kind: type[_M]) -> list[_M]:
    return [model for model in models if isinstance(model, kind)]
