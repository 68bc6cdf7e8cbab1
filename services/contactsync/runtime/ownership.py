"""Who works on what: partitions of a component, their mailboxes, and one actor at a time for each key.

A component (reconciler, writer, google-watcher, planfix-watcher) reads one work-queue stream cut into 64
partitions. `Component.run` claims the partitions (a new epoch each, whose sequence fences `Bus.commit`),
pulls their messages in strict order and calls the handler: one call at a time for a key, keys side by side.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from contactsync.runtime.bus import (
    TYPE,
    Bus,
    Conflict,
    Deposed,
    Fence,
    Intake,
    NotProvisioned,
    Pulled,
    Subscription,
    Transient,
)
from contactsync.runtime.components import (
    GOOGLE_WATCHER,
    PLANFIX_WATCHER,
    RECONCILER,
    WRITER,
    ComponentSpec,
    Handler,
    Mailboxes,
    dead_letter,
)
from contactsync.runtime.mailbox import (
    PARTITIONS,
    Accepted,
    Delivery,
    Held,
    Mailbox,
    Partition,
    partition_of,
)
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.timers import Timers
from contactsync_contracts.messages import MESSAGES

log = logging.getLogger(__name__)

CLAIMS_AT_ONCE = 16
PULL_BATCH = 256
CHECK_AFTER_TAKEOVER_S = 2.0
FAILURE_DELAY_MAX_S = 60.0

__all__ = [
    "GOOGLE_WATCHER",
    "PARTITIONS",
    "PLANFIX_WATCHER",
    "RECONCILER",
    "WRITER",
    "Component",
    "ComponentSpec",
    "Delivery",
    "Handler",
    "Mailboxes",
    "dead_letter",
    "partition_of",
]


class Component:
    """One component in one process, owner of all its partitions: the latest to start deposes the earlier.

    Leases with fair shares would decide *which* partitions `_own` runs for; nothing else would change.
    `run` once. `now`: Unix seconds, for `wake`.
    """

    def __init__(
        self,
        bus: Bus,
        spec: ComponentSpec,
        *,
        now: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self.spec = spec
        self._metrics = metrics
        self._bus = bus
        self._owner = uuid.uuid4().hex.encode()
        self._owned: dict[int, _Owned] = {}
        self._lost = 0
        self._stopping = anyio.Event()
        self._running = 0
        self._idle = anyio.Event()
        self._timers = Timers(now, self.poke)
        self._claims = anyio.CapacityLimiter(CLAIMS_AT_ONCE)
        self._asking = anyio.CapacityLimiter(CLAIMS_AT_ONCE)
        self._failure: Exception | None = None

    # ---- what services ask

    def poke(self, key: str) -> None:
        if (owned := self._owned.get(self.spec.partition_of(key))) is not None:
            box = owned.mail.box(key)
            box.poked = True
            self._start_work(owned, box)

    def wake(self, key: str, at: float | None) -> None:
        self._timers.set(key, at)

    def fence(self, key: str) -> Fence | None:
        owned = self._owned.get(self.spec.partition_of(key))
        return owned.mail.fence if owned else None

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are ours and at work."""
        return frozenset(number for number, owned in self._owned.items() if owned.ready)

    @property
    def actors(self) -> int:
        """Keys being worked on or waiting (metric contactsync_actors)."""
        return sum(len(owned.mail.boxes) for owned in self._owned.values())

    async def waiting(self) -> int:
        """Messages that wait for this component, delivered or not (metric contactsync_queue_lag)."""
        found: list[int] = []

        async def ask(consumer: str) -> None:
            async with self._asking:
                found.append(await self._bus.waiting(self.spec.stream, consumer))

        async with anyio.create_task_group() as tasks:
            for consumer in self.spec.consumers.values():
                tasks.start_soon(ask, consumer)
        return sum(found)

    @property
    def unacked(self) -> int:
        return sum(len(owned.mail.held) for owned in self._owned.values())

    # ---- running

    async def run(self, handler: Handler, *, stop: anyio.Event | None = None) -> None:
        """Until `stop` or cancellation: then no new work, running handlers finish within `grace_s`.

        Raises Deposed when another replica has taken all partitions, NotProvisioned, or what `gained` raised.
        """
        async with anyio.create_task_group() as outer:
            outer.start_soon(self._shielded, handler, outer)
            try:
                await (stop.wait() if stop else anyio.sleep_forever())
            finally:
                self._stopping.set()
        if self._failure is not None:
            raise self._failure

    async def _shielded(self, handler: Handler, outer: TaskGroup) -> None:
        with anyio.CancelScope(shield=True):
            forget = self._bus.on_reconnect(self._after_reconnection)
            listening: Subscription | None = None
            try:
                listening = await self._bus.listen(f"epoch.{self.spec.name}.*", self._hear_claim)
                await self._work_until_stopped(handler)
            except Exception as error:
                self._failure = _cause(error)
            finally:
                forget()
                if listening:
                    await listening.close()
        if self._failure is not None:
            outer.cancel_scope.cancel()

    async def _work_until_stopped(self, handler: Handler) -> None:
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self._handler = handler
            tasks.start_soon(self._timers.run)
            tasks.start_soon(self._tell_working)
            for number, consumer in self.spec.consumers.items():
                tasks.start_soon(self._own, number, consumer)
            await self._stopping.wait()
            with anyio.move_on_after(self.spec.grace_s):
                while self._running:
                    self._idle = anyio.Event()
                    await self._idle.wait()
            tasks.cancel_scope.cancel()
        for number in list(self._owned):
            del self._owned[number]
            with anyio.move_on_after(self.spec.grace_s):
                await handler.lost(number)

    # ---- one partition

    async def _own(self, number: int, consumer: str) -> None:
        """Claim, work, and let go when deposed; or stop with everything else."""
        async with self._claims:
            fence, taken_over = await self._claim(number)
            owned = _Owned(Partition(fence))
            self._owned[number] = owned
            await self._gain(owned)
        owned.ready = True
        if taken_over:  # the earlier owner may take a message before it notices
            owned.check_at = anyio.current_time() + CHECK_AFTER_TAKEOVER_S
        for box in list(owned.mail.boxes.values()):
            self._start_work(owned, box)
        await self._tend(owned, consumer)
        if not owned.deposed:
            return
        log.error("partition lost", extra={"component": self.spec.name, "partition": number})
        for scope in owned.scopes:
            scope.cancel()
        while owned.scopes:
            await owned.wait(0.05)
        del self._owned[number]
        self._timers.drop(lambda key: self.spec.partition_of(key) == number)
        await self._handler.lost(number)
        self._lost += 1
        if self._lost == len(self.spec.consumers):
            log.error("another replica has taken over", extra={"component": self.spec.name})
            raise Deposed(f"another replica has taken over {self.spec.name}")

    async def _gain(self, owned: _Owned) -> None:
        while not owned.deposed:
            try:
                await self._handler.gained(owned.mail.fence.partition, owned.mail.fence)
                return
            except Exception as error:
                match _cause(error):
                    case Deposed():
                        owned.deposed = True
                    case Transient() as later:
                        await anyio.sleep(later.retry_after_s)
                    case _:
                        raise

    async def _claim(self, number: int) -> tuple[Fence, bool]:
        key = Fence(self.spec.name, number, 0).key
        while True:
            try:
                record = await self._bus.get(key)
                epoch = await self._bus.cas(key, self._owner, record.seq if record else 0)
            except Conflict:
                continue  # somebody claimed at the same time, or we did and lost the answer: the last one counts
            except Transient as error:
                await anyio.sleep(error.retry_after_s)
            else:
                return Fence(self.spec.name, number, epoch), record is not None

    async def _tend(self, owned: _Owned, consumer: str) -> None:
        """Keep a valid intake with open pulls. Woken by events; otherwise once in `pull_expires_s`."""
        try:
            while not (self._stopping.is_set() or owned.deposed):
                try:
                    await self._tend_once(owned, consumer)
                except Transient as error:
                    owned.broken = True
                    await owned.wait(error.retry_after_s)
        finally:
            if owned.intake:
                with anyio.CancelScope(shield=True):
                    await owned.intake.close()

    async def _tend_once(self, owned: _Owned, consumer: str) -> None:
        if owned.doubted:
            owned.doubted = False
            try:
                record = await self._bus.get(owned.mail.fence.key)
            except Transient:
                owned.doubted = True
                raise
            if record is None or record.seq != owned.mail.fence.epoch:
                owned.deposed = True
                return
        if owned.broken:
            await self._open(owned, consumer)
        if owned.again:
            tokens, owned.again = owned.again, []
            await self._bus.ack(tokens)
        now = anyio.current_time()
        assert owned.intake is not None
        if now >= owned.check_at or now >= owned.pull_until > 0:
            await self._check_tail(owned, owned.intake)
        if owned.broken:
            return
        room = self.spec.unacked_max - len(owned.mail.held)
        if now >= owned.pull_until:
            owned.asked = 0
        if owned.asked <= PULL_BATCH // 2 and room > 0 and self._bytes_left() > 0:
            batch = min(PULL_BATCH, room)
            # Spread, so that idle partitions do not ask all at the same moment.
            expires_s = self.spec.pull_expires_s * (0.7 + 0.3 * owned.mail.fence.partition / PARTITIONS)
            owned.asked += batch
            owned.pull_until = now + expires_s
            await owned.intake.pull(batch, expires_s)
        await owned.wait(min(owned.pull_until, owned.check_at) - anyio.current_time())

    async def _open(self, owned: _Owned, consumer: str) -> None:
        """A new generation: new inbox, RESET."""
        if owned.intake:
            await owned.intake.close()
            owned.intake = None
        owned.broken = False
        owned.mail.new_generation()
        owned.asked, owned.pull_until = 0, 0.0
        owned.generation += 1
        generation = owned.generation

        def receive(pulled: Pulled) -> None:
            if generation == owned.generation and not owned.broken:
                self._receive(owned, pulled)

        owned.intake = await self._bus.open_intake(self.spec.stream, consumer, receive)

    async def _check_tail(self, owned: _Owned, intake: Intake) -> None:
        """A lost delivery shows at the next one; without a next one only the server's count shows it."""
        owned.check_at = float("inf")
        expected = owned.mail.expected
        if await intake.delivered() < expected:
            return
        await anyio.sleep(0.2)  # it may be on its way
        if owned.mail.expected == expected:
            owned.broken = True

    def _receive(self, owned: _Owned, pulled: Pulled) -> None:
        if self._stopping.is_set() or owned.deposed:
            return
        owned.asked -= 1
        outcome, box = owned.mail.accept(pulled, anyio.current_time())
        match outcome:
            case Accepted.NEW:
                assert box is not None
                if box.key in self.spec.ignored_keys:
                    owned.again.extend(owned.mail.finish(box, list(box.queue)))
                    del owned.mail.boxes[box.key]
                    owned.notify()
                else:
                    self._start_work(owned, box)
                if owned.asked <= PULL_BATCH // 2:
                    owned.notify()
            case Accepted.AGAIN:
                pass
            case Accepted.DONE:
                owned.again.append(pulled.ack)
                owned.notify()
            case Accepted.GAP:
                log.warning(
                    "a delivery was lost",
                    extra={"component": self.spec.name, "partition": owned.mail.fence.partition},
                )
                owned.broken = True
                owned.notify()

    def _bytes_left(self) -> int:
        return self.spec.held_bytes_max - sum(owned.mail.held_bytes for owned in self._owned.values())

    # ---- one key

    def _start_work(self, owned: _Owned, box: Mailbox) -> None:
        if owned.ready and not box.busy and box.waiting and not self._stopping.is_set():
            box.busy = True
            self._tasks.start_soon(self._work, owned, box)

    async def _work(self, owned: _Owned, box: Mailbox) -> None:
        """The actor of a key, for as long as its mailbox has something."""
        self._running += 1
        scope = anyio.CancelScope()
        owned.scopes.add(scope)
        try:
            with scope:
                while box.waiting and not (self._stopping.is_set() or owned.deposed):
                    await self._handle_once(owned, box)
        finally:
            owned.scopes.discard(scope)
            box.busy = False
            if not box.waiting:
                owned.mail.boxes.pop(box.key, None)
            self._running -= 1
            if not self._running:
                self._idle.set()
            if owned.deposed:
                owned.notify()

    async def _handle_once(self, owned: _Owned, box: Mailbox) -> None:
        chosen = box.oldest(self.spec.batch_max, self.spec.bytes_max)
        box.poked = False
        try:
            await self._handler.handle(box.key, [held.delivery for held in chosen], owned.mail.fence)
        except Exception as error:
            await self._failed(owned, box, chosen, _cause(error))
            return
        self._count(chosen, "done")
        full = len(owned.mail.held) >= self.spec.unacked_max or self._bytes_left() <= 0
        tokens = owned.mail.finish(box, chosen)
        if full:
            for other in self._owned.values():
                other.notify()
        if tokens:
            with suppress(Transient):  # it comes again and is known
                await self._bus.ack(tokens)

    async def _failed(self, owned: _Owned, box: Mailbox, chosen: Sequence[Held], error: Exception) -> None:
        box.failed(chosen)
        where = {"component": self.spec.name, "key": box.key, "failures": box.failures}
        match error:
            case Deposed():
                owned.deposed = True
                owned.notify()
                return
            case Transient():
                self._count(chosen, "put_off")
                delay_s = error.retry_after_s
                log.info("put off", extra={**where, "retry_after_s": delay_s, "reason": str(error)})
            case _:
                self._count(chosen, "failed")
                delay_s = min(2.0 ** (box.failures - 1), FAILURE_DELAY_MAX_S)
                log.error("a handler failed", exc_info=error, extra={**where, "retry_after_s": delay_s})
        with anyio.move_on_after(delay_s):
            await self._stopping.wait()

    def _count(self, chosen: Sequence[Held], outcome: str) -> None:
        if self._metrics is None:
            return
        for held in chosen:
            dead = held.delivery.fate.dead and outcome == "done"
            kind = _type_of(held.delivery)
            self._metrics.messages.labels(self.spec.name, kind, "dead" if dead else outcome).inc()
            if dead:
                self._metrics.dead_messages.labels(self.spec.name).inc()

    # ---- all partitions

    async def _tell_working(self) -> None:
        """Messages that wait here longer than the server's time-out must not be delivered again meanwhile."""
        while True:
            await anyio.sleep(self.spec.working_every_s)
            now = anyio.current_time()
            for owned in list(self._owned.values()):
                silent = owned.mail.silent_since(now - self.spec.working_every_s)
                with suppress(Transient):
                    await self._bus.working([held.ack for held in silent])
                    for held in silent:
                        held.touched = now

    def _after_reconnection(self) -> None:
        for owned in self._owned.values():
            owned.broken = owned.doubted = True
            owned.notify()

    def _hear_claim(self, subject: str, owner: bytes) -> None:
        """Somebody tries to claim; whether it succeeded is for the stream's leader to say."""
        number = subject.rsplit(".", 1)[-1]
        if owner != self._owner and number.isdecimal() and (owned := self._owned.get(int(number))):
            owned.doubted = True
            owned.notify()


class _Owned:
    """A partition that is ours, and the state of its intake."""

    def __init__(self, mail: Partition) -> None:
        self.mail = mail
        self.intake: Intake | None = None
        self.generation = 0
        self.asked = 0
        self.pull_until = 0.0
        self.check_at = float("inf")
        self.ready = False
        self.broken = True
        self.doubted = False
        self.deposed = False
        self.again: list[str] = []
        self.scopes: set[anyio.CancelScope] = set()
        self._event = anyio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """For a notification or some time; a notification during the last step is not missed."""
        with anyio.move_on_after(max(seconds, 0)):
            await self._event.wait()
        self._event = anyio.Event()


def _type_of(delivery: Delivery) -> str:
    """The message's type if it is one of ours: anybody may publish, and every label value is kept for ever."""
    name = delivery.headers.get(TYPE) or ("SyncRequest.v1" if delivery.kind == "sync" else "")
    return name if name in MESSAGES else "unknown"


def _cause(error: Exception) -> Exception:
    """What a task group wrapped: what all partitions suffer from alike before all else, then a single cause."""
    if not isinstance(error, ExceptionGroup):
        return error
    for kind in (NotProvisioned, Deposed, Transient):
        if (found := error.subgroup(kind)) is not None:
            return _cause(found.exceptions[0])
    return _cause(error.exceptions[0]) if len(error.exceptions) == 1 else error
