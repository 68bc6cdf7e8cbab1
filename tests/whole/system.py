"""The product in one process: four services as `wiring.py` makes them, each in incarnations that can be killed."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio
import structlog

from contactsync import wiring
from contactsync.google.client import GooglePeople
from contactsync.google.session import PeopleSession
from contactsync.planfix.client import PlanfixRest
from contactsync.planfix.mapping import MappingConfig as PlanfixMapping
from contactsync.runtime.bus import MSG_ID, TYPE, PubAck, Transient
from contactsync.runtime.clock import Clock
from contactsync.runtime.grants import AccessTokens
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.ownership import ComponentSpec, partition_of
from contactsync.runtime.quota import Quotas
from contactsync.runtime.settings import Settings
from contactsync.runtime.vault import Vault

from .process import Killed, Life, Point, ProcessBus, leaves
from .vendors import PEOPLE_URL, PLANFIX_URL, TOKEN, GoogleCarrier, PlanfixCarrier, SignIn, Vendors
from .virtual_time import VirtualLoop

SERVICES: Final = ("planfix-watcher", "google-watcher", "reconciler", "writer")
RESTART_S: Final = 2.0
SETTINGS: Final = {
    "PLANFIX_URL": PLANFIX_URL,
    "PLANFIX_TOKEN": TOKEN,
    "PLANFIX_TIMEZONE": "Europe/Berlin",
    "GOOGLE_CLIENT_ID": "c",
    "GOOGLE_CLIENT_SECRET": "s",
    "GOOGLE_PEOPLE_URL": PEOPLE_URL,
    "GOOGLE_LIST_LAG_SECONDS": "30",
    "SECRET_KEYS": "one-secret-key-of-the-simulation",
    "POLL_PLANFIX_SECONDS": "100",
    "POLL_GOOGLE_SECONDS": "100",
    "FULL_SCAN_SECONDS": "600",
    "IDLE_CONTACTS_KEPT": "0",
}
_METRICS: Final = Metrics()
VAULT: Final = Vault([SETTINGS["SECRET_KEYS"]])


def settings_of(changes: Mapping[str, str]) -> Settings:
    return Settings({f"CONTACTSYNC_{name}": value for name, value in {**SETTINGS, **changes}.items()})


_STANDARD: Final = settings_of({})


@dataclass(frozen=True, slots=True)
class Published:
    """A message that was stored in a mailbox, for replays."""

    at: float
    subject: str
    data: bytes
    headers: Mapping[str, str]


AT_ONCE_MAX: Final = 20_000


class Server(MemoryServer):
    """Remembers what went through the filters' mailboxes. `runaway`: called when messages go round and round without
    any time passing."""

    def __init__(self, now: Callable[[], float], runaway: Callable[[], None]) -> None:
        super().__init__(now)
        self.runaway = runaway
        self.at_once = (0.0, 0)
        self.last = ""
        self.published: list[Published] = []
        self.trace: Callable[[str], None] | None = None

    def store(self, subject: str, data: bytes, headers: dict[str, str]) -> PubAck:
        ack = super().store(subject, data, headers)
        if not ack.duplicate and subject.startswith("contacts.v1.filter."):
            self.published.append(Published(self.now(), subject, data, headers))
        at, number = self.at_once
        self.at_once = (self.now(), number + 1 if at == self.now() else 0)
        if number == AT_ONCE_MAX:
            self.last = f"{subject} {headers.get(TYPE)} {data[:600].decode(errors='replace')}"
            self.runaway()
        if self.trace is not None:
            mark = " (duplicate)" if ack.duplicate else ""
            self.trace(f"{subject} {headers.get(TYPE)} {data[:600].decode(errors='replace')}{mark}")
        return ack

    def deliver_again(self) -> None:
        """What was not acknowledged in time. The server in memory looks only when something else happens."""
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                self.deliver(stream, consumer)

    def keep_only(self, partitions: frozenset[int]) -> None:
        """A mailbox stream has 64 consumers; a world uses a few of them."""
        names = {f"p{number}" for number in partitions} | {"planfix"}
        for stream in self.streams.values():
            stream.consumers = {name: one for name, one in stream.consumers.items() if name in names}


@dataclass(slots=True)
class Incarnation:
    life: Life
    stop: anyio.Event
    task: asyncio.Task[None]
    bus: ProcessBus


@dataclass(slots=True)
class System:
    """Running services over one server in memory. Killed ones start again after RESTART_S unless told otherwise.

    crashes: exceptions with which a service ended by itself; errors: of handlers that failed and are tried again.
    """

    loop: VirtualLoop
    vendors: Vendors
    filters: Sequence[str]
    accounts: Sequence[str]
    settings: Settings = _STANDARD
    lease_s: float | None = None
    server: Server = field(init=False)
    running: dict[str, Incarnation] = field(default_factory=dict)
    elders: list[Incarnation] = field(default_factory=list)
    points: dict[str, list[Point]] = field(default_factory=lambda: {name: [] for name in SERVICES})
    crashes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    lives: int = 0
    kills: int = 0
    supervised: bool = True
    off_s: float = 0.0
    stopped: set[str] = field(default_factory=set)
    trace: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        self.server = Server(self.loop.wall, self.loop.stop)
        self.server.keep_only(self._partitions(self.filters) | self._partitions(self.accounts))
        self.bus = MemoryBus(self.server)

    bus: MemoryBus = field(init=False)

    # ---- lives

    def start(self, name: str) -> None:
        assert name not in self.running, f"{name} is running"
        self.stopped.discard(name)
        self.lives += 1
        life = Life(name, self.lives, self.points[name], trace=self.trace)
        bus, stop = ProcessBus(self.server, life), anyio.Event()
        task = self.loop.create_task(self._live(life, bus, stop), name=f"{name}-{self.lives}")
        self.running[name] = Incarnation(life, stop, task, bus)

    def kill(self, name: str) -> None:
        """At once, as by `kill -9`; its supervisor starts it again."""
        if (one := self.running.get(name)) is not None:
            one.life.die()

    async def stop(self, name: str) -> None:
        """As by SIGTERM, to its end; one that was killed is not started again either."""
        self.stopped.add(name)
        one = self.running.get(name)
        if one is not None:
            one.stop.set()
            await asyncio.wait([one.task])

    def beside(self, name: str) -> Incarnation:
        """Another replica of a service that runs; the earlier one, for whose end `end` cares."""
        earlier = self.running.pop(name)
        self.elders.append(earlier)
        self.start(name)
        return earlier

    async def end(self) -> None:
        """All of it, as the machine's power: nothing is left."""
        self.supervised = False
        tasks = [one.task for one in self.running.values()]
        for name in list(self.running):
            self.kill(name)
        for elder in self.elders:
            elder.life.die()
        tasks += [elder.task for elder in self.elders]
        if tasks:
            await asyncio.wait(tasks)

    async def _live(self, life: Life, bus: ProcessBus, stop: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tasks:

                async def until_killed() -> None:
                    await life.ended.wait()
                    raise Killed(life.name)

                tasks.start_soon(until_killed)
                await self._run(life, bus, stop)
                tasks.cancel_scope.cancel()
        except BaseException as error:
            for leaf in leaves(error):
                if isinstance(leaf, Transient):  # without NATS a service does not start; its supervisor tries again
                    life.die()
                elif not isinstance(leaf, Killed):
                    self.crashes.append(f"{life.name}: {leaf!r}")
        finally:
            if (one := self.running.get(life.name)) is not None and one.life is life:
                del self.running[life.name]
            if life.dead and self.lease_s is not None:
                self._forget_leases(life)
        if not life.dead:
            return
        restarts = self.supervised and not any(one.life is life for one in self.elders)
        if restarts:
            self.kills += 1
            await anyio.sleep(RESTART_S)
        if restarts and self.supervised and not {life.name} & (self.running.keys() | self.stopped):
            self.start(life.name)

    def _forget_leases(self, life: Life) -> None:
        """At once, as if the time was over for which the server keeps them: nobody waits for hours."""
        for key in life.leases:
            self.server.values.pop(key, None)

    def wall(self) -> float:
        """The services' machines' clock, which somebody may set (`off_s`)."""
        return self.loop.wall() + self.off_s

    # ---- as wiring.py does it

    async def _run(self, life: Life, bus: ProcessBus, stop: anyio.Event) -> None:
        settings = self.settings
        time = Clock(wall=self.wall, monotonic=self.loop.time, sleep=anyio.sleep)
        clock = time.now
        quotas = Quotas(
            bus,
            wiring.google_limits(settings),
            wiring.planfix_limits(settings),
            clock=time,
        )
        tokens = AccessTokens(bus, VAULT, SignIn(self.vendors, life), now=clock)
        session = PeopleSession(carrier=GoogleCarrier(self.vendors, life))
        people: dict[str, GooglePeople] = {}

        def people_of(account: str) -> GooglePeople:
            if account not in people:
                people[account] = GooglePeople(
                    account,
                    session=session,
                    people_url=settings.google_people_url,
                    tokens=tokens,
                    quota=quotas.google(account),
                    config=wiring.google_mapping_of(settings),
                )
            return people[account]

        planfix = PlanfixRest(
            PLANFIX_URL,
            TOKEN,
            quota=quotas.planfix(),
            config=PlanfixMapping(settings.default_region, tuple(settings.custom_fields)),
            timezone=settings.planfix_timezone,
            stamp_field=settings.planfix_stamp_field,
            clock=clock,
            carrier=PlanfixCarrier(self.vendors, life),
        )
        parts = wiring.Parts(
            settings,
            bus,
            _METRICS,
            VAULT,
            quotas,
            planfix,
            None,
            tokens,
            people_of,
            time,
            self._layout,
            self.loop.time,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(time.keep, bus)
            await wiring.SERVICES[life.name](parts, stop)
            tasks.cancel_scope.cancel()

    def _layout(self, spec: ComponentSpec) -> ComponentSpec:
        """Only the partitions that this world's filters and accounts fall into."""
        if len(spec.consumers) > 1:
            keys = self.filters if spec.name == "reconciler" else self.accounts
            numbers = self._partitions(keys)
            if spec.name == "writer":
                numbers |= {partition_of("planfix")}
            spec = replace(spec, consumers={number: f"p{number}" for number in sorted(numbers)})
        quiet: dict[str, Any] = {}
        if self.lease_s is not None:
            quiet = {"lease_s": self.lease_s, "look_every_s": self.lease_s / 4}
        return replace(spec, pull_expires_s=3600.0, working_every_s=140.0, grace_s=5.0, **quiet)

    def _partitions(self, keys: Sequence[str]) -> frozenset[int]:
        return frozenset(partition_of(key) for key in keys) | {partition_of("planfix")}


class Collected:
    """structlog's processor while a world lives: lines go to the world, none to the terminal."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __call__(self, _logger: Any, method: str, event: Any) -> Any:
        self._system.log.append(f"{self._system.loop.time():9.2f} {method} {event}")
        raise structlog.DropEvent


class FailedHandlers(logging.Handler):
    """Whatever ownership logs as an error: a handler that raised what nobody expected."""

    def __init__(self, system: System) -> None:
        super().__init__(logging.ERROR)
        self._system = system

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        where = "".join(traceback.format_exception(error)[-3:]) if error else ""
        self._system.errors.append(f"{record.getMessage()} {getattr(record, 'component', '')}: {error!r} {where}")


def mail(published: Published, number: int) -> tuple[str, bytes, dict[str, str]]:
    """The same message once more, as a new one."""
    return published.subject, published.data, {**published.headers, MSG_ID: f"replay.{number}"}
