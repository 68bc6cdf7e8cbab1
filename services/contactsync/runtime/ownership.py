"""Who works on what: partitions of a component shared among its replicas, their mailboxes, one actor for each key.

A component (reconciler, writer, google-watcher, planfix-watcher) reads one work-queue stream cut into 64 partitions.
`Component.run` holds a lease, claims a fair share of the partitions (a new epoch each, whose sequence fences
`Bus.commit`), pulls their messages in strict order and calls the handler: one call at a time for a key, keys side by
side. A partition may be claimed only when its owner gave it back or the owner's lease is gone; an owner does nothing
past the deadline of its lease (`tenure`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import Enum, auto

import anyio
from anyio.abc import TaskGroup

from contactsync.runtime import tenure
from contactsync.runtime.bus import (
    TYPE,
    Bus,
    Conflict,
    Deposed,
    Fence,
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
)
from contactsync.runtime.feed import Feed
from contactsync.runtime.lease import Lease
from contactsync.runtime.mailbox import (
    PARTITIONS,
    Accepted,
    Delivery,
    Held,
    Mailbox,
    Partition,
    partition_of,
)
from contactsync.runtime.memory import give_back
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.shares import FREE, Claim, View, moves, view_of
from contactsync.runtime.timers import Timers
from contactsync_contracts.messages import MESSAGES

log = logging.getLogger(__name__)

AT_ONCE = 16
HINTS_SETTLE_S = 0.05
"""Changes of owners come in swarms; they are looked at together."""

EXPIRY_LOOK_S = 0.25
"""How often to look while a lease that was not renewed should be gone."""

OVERDUE_S = 3.0
"""For how long. After that it is the renewals that are not heard, and the regular look has to do."""

FAILURE_DELAY_MAX_S = 60.0
LAPSED = "its lease was not renewed in time"

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
    "partition_of",
]


class Component:
    """One component in one process; replicas in others share its partitions. `run` once.

    `now`: Unix seconds, for `wake`. `elapsed`: as `tenure.elapsed`, for the lease.
    """

    def __init__(
        self,
        bus: Bus,
        spec: ComponentSpec,
        *,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = tenure.elapsed,
        metrics: Metrics | None = None,
    ) -> None:
        self.spec = spec
        self._metrics = metrics
        self._bus = bus
        self._lease = Lease(bus, spec.name, spec.lease_s, elapsed)
        self._owned: dict[int, _Owned] = {}
        self._heard: dict[str, float] = {}
        self._trouble: str | None = "starting"
        self._stopping = anyio.Event()
        self._look = anyio.Event()
        self._timers = Timers(now, self.poke)
        self._at_once = anyio.CapacityLimiter(AT_ONCE)
        self._failure: Exception | None = None
        self._awake: dict[str, float] = {}
        """Keys that were handled since they last rested, the longest ago first, and when (monotonic)."""

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

    # ---- what is seen from outside

    @property
    def trouble(self) -> str | None:
        """Why this replica could not own anything at the moment; None when it could, whether it does or not."""
        if self._trouble is None and not self._lease.valid:
            return LAPSED
        return self._trouble

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are ours and at work."""
        return frozenset(number for number, owned in self._owned.items() if owned.at_work)

    @property
    def actors(self) -> int:
        """Keys being worked on or waiting (metric contactsync_actors)."""
        return sum(len(owned.mail.boxes) for owned in self._owned.values())

    async def waiting(self) -> int:
        """Messages that wait for this component, delivered or not (metric contactsync_queue_lag)."""
        found: list[int] = []

        async def ask(consumer: str) -> None:
            async with self._at_once:
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
        """Until `stop` or cancellation: then no new work, running handlers finish within `grace_s`, and the
        partitions are given back.

        Raises NotProvisioned, or what `gained` raised.
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
            listening: list[Subscription] = []
            try:
                for subject, sink in (("epoch", self._hear_claim), ("lease", self._hear_lease)):
                    listening.append(await self._bus.listen(f"{subject}.{self.spec.name}.*", sink))
                await self._work_until_stopped(handler)
            except Exception as error:
                self._failure = _cause(error)
            finally:
                forget()
                for subscription in listening:
                    await subscription.close()
        if self._failure is not None:
            outer.cancel_scope.cancel()

    async def _work_until_stopped(self, handler: Handler) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._handler = handler
                tasks.start_soon(self._timers.run)
                tasks.start_soon(self._tell_working)
                tasks.start_soon(self._let_rest)
                tasks.start_soon(self._govern)
                await self._stopping.wait()
                if self._lease.valid:
                    await self._lease.leave()
                await self._give_back(list(self._owned.values()))
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(self.spec.grace_s):
                for owned in list(self._owned.values()):
                    await self._let_go(owned)
            self._trouble = "stopped"
            await self._lease.end()

    # ---- the lease, and who owns what

    async def _govern(self) -> None:
        """Hold a lease; while it holds, own a fair share. Without it, nothing."""
        while not self._stopping.is_set():
            try:
                await self._lease.acquire()
            except (Transient, Conflict) as error:
                self._trouble = f"no lease yet: {error}"
                await anyio.sleep(getattr(error, "retry_after_s", 1.0))
                continue
            self._trouble = None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._share)
                await self._renew_until_lapsed()
                self._trouble = LAPSED
                log.warning("the lease has lapsed", extra={"component": self.spec.name})
                tasks.cancel_scope.cancel()
            self._end(self._owned.values(), Ending.LOST)
            for owned in list(self._owned.values()):
                await owned.gone.wait()

    async def _renew_until_lapsed(self) -> None:
        every_s = self._lease.ttl_s / 4
        while self._lease.valid:
            await anyio.sleep(max(0.0, min(every_s, self._lease.left_s)))
            with suppress(Transient, Conflict), anyio.move_on_after(every_s):
                if not await self._lease.renew():
                    return

    async def _share(self) -> None:
        while True:
            try:
                view = view_of((await self._bus.peek(self._patterns())).values())
                done = await self._move(view)
            except (Transient, Conflict) as error:
                view, done = View(), False
                await anyio.sleep(getattr(error, "retry_after_s", 1.0))
            with anyio.move_on_after(self._next_look_s(view) if done else HINTS_SETTLE_S):
                await self._look.wait()
                await anyio.sleep(HINTS_SETTLE_S)
            self._look = anyio.Event()

    def _patterns(self) -> list[str]:
        return [f"epoch.{self.spec.name}.*", f"lease.{self.spec.name}.*"]

    def _next_look_s(self, view: View) -> float:
        """Until the regular look, or until a lease that is not renewed should be gone."""
        now = anyio.current_time()
        self._heard = {name: self._heard.get(name, now) for name in view.replicas if name != self._lease.replica}
        gone_in_s = [at + self._lease.ttl_s - now for at in self._heard.values()]
        soon_s = [max(left_s, EXPIRY_LOOK_S) for left_s in gone_in_s if left_s > -OVERDUE_S]
        return min([self.spec.look_every_s, *soon_s])

    async def _move(self, view: View) -> bool:
        """Towards a fair share; False when somebody else was quicker, so that it is worth looking again."""
        self._check(view)
        going = {number for number, owned in self._owned.items() if owned.ending is not None}
        mine = [number for number in self._owned if number not in going]
        wanted = moves(view, self._lease.replica, mine, self.spec.consumers)
        if wanted.give_back:
            log.info("gives partitions to another replica", extra=self._about(wanted.give_back))
            await self._give_back([self._owned[number] for number in wanted.give_back])
            return True
        claims = [claim for claim in wanted.claims if claim.partition not in going]
        owned = await self._claim(claims)
        await self._gain(owned)
        return len(owned) == len(claims)

    def _check(self, view: View) -> None:
        """What the view says is somebody else's may be so: the view may be old, so the leader is asked."""
        for number, owned in self._owned.items():
            held = view.epochs.get(number)
            if held is None or held.seq > owned.mail.fence.epoch:
                owned.doubted = True
                owned.notify()

    async def _claim(self, claims: Sequence[Claim]) -> list[_Owned]:
        """Those that could be had. The owners' leases are asked for at the leader: a view may be too old to
        show a new one."""
        absent = {name: await self._absent(name) for name in {claim.of for claim in claims if claim.of}}
        won: list[_Owned] = []

        async def take(claim: Claim) -> None:
            key = Fence(self.spec.name, claim.partition, 0).key
            async with self._at_once:
                if not self._lease.valid or self._stopping.is_set():
                    return
                with suppress(Conflict, Transient):  # after a lost answer the record says that it is ours
                    epoch = await self._bus.cas(key, self._lease.replica.encode(), claim.seq)
                    fence = Fence(self.spec.name, claim.partition, epoch)
                    won.append(self._new_owned(fence, taken_over=claim.of is not None))

        async with anyio.create_task_group() as tasks:
            for claim in claims:
                if claim.of is None or absent[claim.of]:
                    tasks.start_soon(take, claim)
        return won

    async def _absent(self, replica: str) -> bool:
        return await self._bus.get(f"lease.{self.spec.name}.{replica}") is None

    def _new_owned(self, fence: Fence, *, taken_over: bool) -> _Owned:
        mail = Partition(fence)
        owned = _Owned(mail)
        owned.feed = Feed(
            self._bus,
            self.spec,
            self.spec.consumers[fence.partition],
            mail,
            lambda pulled: self._receive(owned, pulled),
            taken_over=taken_over,
        )
        self._owned[fence.partition] = owned
        return owned

    async def _gain(self, won: Sequence[_Owned]) -> None:
        if not won:
            return
        log.info("owns more partitions", extra=self._about(owned.mail.fence.partition for owned in won))
        while True:
            try:
                with tenure.held(lambda: self._lease.valid):
                    await self._handler.gained([owned.mail.fence for owned in won if owned.ending is None])
                break
            except Exception as error:
                match _cause(error):
                    case Transient() as later:
                        await anyio.sleep(later.retry_after_s)
                    case Deposed():
                        break
                    case _:
                        raise
        for owned in won:
            owned.ready = True
            self._tasks.start_soon(self._tend, owned)
            for box in list(owned.mail.boxes.values()):
                self._start_work(owned, box)

    # ---- letting go

    def _end(self, owned: Iterable[_Owned], ending: Ending) -> None:
        """From now on nothing new is begun; if they are lost, nothing goes on either."""
        owned = list(owned)
        if ending is Ending.LOST and owned:
            log.warning("lost partitions", extra=self._about(one.mail.fence.partition for one in owned))
        for one in owned:
            if one.ending is not Ending.LOST:
                one.ending = ending
            if ending is Ending.LOST:
                for scope in one.scopes:
                    scope.cancel()
            if not one.ready:  # it has no task of its own yet
                self._tasks.start_soon(self._finish, one)
            one.notify()

    async def _give_back(self, owned: Sequence[_Owned]) -> None:
        """Let running handlers finish, then tell everybody that these are free."""
        self._end(owned, Ending.GIVEN_BACK)
        with anyio.move_on_after(self.spec.grace_s + 5.0):
            for one in owned:
                await one.gone.wait()

    async def _finish(self, owned: _Owned) -> None:
        """The end of a partition here, whichever it is."""
        with anyio.move_on_after(self.spec.grace_s):
            while owned.scopes:
                await owned.wait(0.05)
        for scope in owned.scopes:
            scope.cancel()
        while owned.scopes:
            await owned.wait(0.05)
        await self._let_go(owned)

    async def _let_go(self, owned: _Owned) -> None:
        if owned.leaving:
            return
        owned.leaving = True
        assert owned.feed is not None
        await owned.feed.close()
        number, fence = owned.mail.fence.partition, owned.mail.fence
        self._timers.drop(lambda key: self.spec.partition_of(key) == number)
        for key in [key for key in self._awake if self.spec.partition_of(key) == number]:
            del self._awake[key]
        await self._handler.lost(number)
        if owned.ending is not Ending.LOST:
            with suppress(Conflict, Transient), anyio.move_on_after(2.0):
                async with self._at_once:
                    await self._bus.cas(fence.key, FREE.encode(), fence.epoch)
        del self._owned[number]
        owned.gone.set()
        self._look.set()

    # ---- one partition

    async def _tend(self, owned: _Owned) -> None:
        """Keep its messages coming until it is no longer ours. Woken by events."""
        while owned.ending is None:
            try:
                await self._tend_once(owned)
            except Transient as error:
                await owned.wait(error.retry_after_s)
        await self._finish(owned)

    async def _tend_once(self, owned: _Owned) -> None:
        assert owned.feed is not None
        if owned.doubted:
            record = await self._bus.get(owned.mail.fence.key)
            owned.doubted = False
            if record is None or record.seq != owned.mail.fence.epoch:
                self._end([owned], Ending.LOST)
                return
        if owned.again:
            tokens, owned.again = owned.again, []
            await self._bus.ack(tokens)
        room = self.spec.unacked_max - len(owned.mail.held) if self._bytes_left() > 0 else 0
        until = await owned.feed.tend(room)
        await owned.wait(until - anyio.current_time())

    def _receive(self, owned: _Owned, pulled: Pulled) -> None:
        if owned.ending is not None:
            return
        assert owned.feed is not None
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
                if owned.feed.hungry:
                    owned.notify()
            case Accepted.AGAIN:
                pass
            case Accepted.DONE:
                owned.again.append(pulled.ack)
                owned.notify()
            case Accepted.GAP:
                log.warning("a delivery was lost", extra=self._about([owned.mail.fence.partition]))
                owned.feed.restart()
                owned.notify()

    def _bytes_left(self) -> int:
        return self.spec.held_bytes_max - sum(owned.mail.held_bytes for owned in self._owned.values())

    # ---- one key

    def _start_work(self, owned: _Owned, box: Mailbox) -> None:
        if owned.at_work and not box.busy and box.waiting:
            box.busy = True
            self._tasks.start_soon(self._work, owned, box)

    async def _work(self, owned: _Owned, box: Mailbox) -> None:
        """The actor of a key, for as long as its mailbox has something."""
        scope = anyio.CancelScope()
        owned.scopes.add(scope)
        try:
            with scope, tenure.held(lambda: self._lease.valid and owned.ending is not Ending.LOST):
                while box.waiting and owned.ending is None:
                    await self._handle_once(owned, box)
        finally:
            owned.scopes.discard(scope)
            box.busy = False
            if not box.waiting:
                owned.mail.boxes.pop(box.key, None)
            if owned.ending is not None:
                owned.notify()

    async def _handle_once(self, owned: _Owned, box: Mailbox) -> None:
        chosen = box.oldest(self.spec.batch_max, self.spec.bytes_max)
        box.poked = False
        self._awake.pop(box.key, None)
        self._awake[box.key] = anyio.current_time()
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
                self._end([owned], Ending.LOST)
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
            await owned.ends.wait()

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

    async def _let_rest(self) -> None:
        while True:
            await anyio.sleep(self.spec.rest_after_s / 4)
            before = anyio.current_time() - self.spec.rest_after_s
            idle = []
            for key, at in self._awake.items():
                if at > before:
                    break
                owned = self._owned.get(self.spec.partition_of(key))
                if owned is not None and owned.at_work and key not in owned.mail.boxes:
                    idle.append(key)
            if idle:
                rested = list(self._handler.rest(idle))
                for key in rested:
                    del self._awake[key]
                if rested:
                    give_back()

    def _after_reconnection(self) -> None:
        for owned in self._owned.values():
            assert owned.feed is not None
            owned.feed.restart()
            owned.doubted = True
            owned.notify()
        self._look.set()

    def _hear_claim(self, subject: str, owner: bytes) -> None:
        """Somebody tries to claim or gives back; whether it succeeded is for the stream's leader to say."""
        number = subject.rsplit(".", 1)[-1]
        if owner.decode(errors="replace") == self._lease.replica:
            return
        if number.isdecimal() and (owned := self._owned.get(int(number))) is not None:
            owned.doubted = True
            owned.notify()
        self._look.set()

    def _hear_lease(self, subject: str, _: bytes) -> None:
        replica = subject.rsplit(".", 1)[-1]
        if replica == self._lease.replica:
            return
        if replica not in self._heard:
            self._look.set()
        self._heard[replica] = anyio.current_time()

    def _about(self, partitions: Iterable[int]) -> dict[str, object]:
        return {"component": self.spec.name, "partitions": sorted(partitions)}


class Ending(Enum):
    """Why a partition stops being ours."""

    GIVEN_BACK = auto()
    """By us: what runs finishes first."""
    LOST = auto()
    """Somebody else may own it: what runs is cancelled, nothing is acknowledged."""


class _Owned:
    """A partition that is ours. ready: its handler has loaded what it needs. gone: nothing of it is left here."""

    def __init__(self, mail: Partition) -> None:
        self.mail = mail
        self.feed: Feed | None = None
        self.ready = False
        self.doubted = False
        self.leaving = False
        self.ending: Ending | None = None
        self.again: list[str] = []
        self.scopes: set[anyio.CancelScope] = set()
        self.ends = anyio.Event()
        self.gone = anyio.Event()
        self._event = anyio.Event()

    @property
    def at_work(self) -> bool:
        return self.ready and self.ending is None

    def notify(self) -> None:
        self._event.set()
        if self.ending is not None:
            self.ends.set()

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
