"""The vendors' quotas, shared by all processes: wait here before every request (2-semantics I9).

`pacing.py` decides; the state is one record in STATE per Google account and one for Planfix, changed by
compare-and-set, so that a request leaves only after the record says so. Within a process waiters stand in
line by class, then by arrival. Records hold the NATS server's time, which all processes follow; waiting is done in
monotonic time. A place in a quota is good for a moment only: a process that stood still after it was granted sends
nothing (`Place.require`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from contactsync.errors import Unavailable
from contactsync.runtime import pacing
from contactsync.runtime.bus import Bus
from contactsync.runtime.clock import Clock
from contactsync.runtime.shared_record import Line, SharedRecord
from contactsync.runtime.tenure import HeldUp
from contactsync_contracts.messages import Class

__all__ = [
    "Clock",
    "GoogleLimits",
    "GoogleQuota",
    "HeldUp",
    "Permit",
    "Place",
    "PlanfixLimits",
    "PlanfixQuota",
    "Quotas",
]

WAIT_MAX_S: Final = 150.0
"""A longer wait is no waiting: Unavailable tells the caller to come back. Two windows fit in it."""
SENT_WITHIN_S: Final = 5.0
"""Of a request to Planfix: a second before it would count as arrived."""
LOOK_S: Final = 0.2
"""How often to look whether another process's request has its answer."""

Waited = Callable[[str, float], None]
"""(bucket, seconds waited), for the metrics."""


@dataclass(frozen=True, slots=True)
class GoogleLimits:
    """Per account; 0 = no limit."""

    critical_reads_per_minute: int = 60
    critical_writes_per_minute: int = 30
    writes_per_minute: int = 30
    group_reads_per_minute: int = 90
    daily_writes: int = 100_000

    def by_metric(self) -> dict[str, int]:
        return {
            pacing.READ: self.critical_reads_per_minute,
            pacing.WRITE: self.critical_writes_per_minute,
            pacing.DELETE: self.writes_per_minute,
            pacing.GROUP: self.group_reads_per_minute,
            pacing.DAILY: self.daily_writes,
        }


@dataclass(frozen=True, slots=True)
class PlanfixLimits:
    """For all processes together; 0 = no limit."""

    requests_per_second: float = 1.0
    requests_per_day: int = 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """The right to send one request until some moment (`Clock.monotonic`)."""

    clock: Clock
    until: float

    def require(self) -> None:
        """Asked immediately before the first byte. Raises HeldUp."""
        if self.clock.monotonic() > self.until:
            raise HeldUp


class GoogleQuota:
    """The quotas of one Google account. Made by `Quotas.google`."""

    def __init__(self, account: str, limits: GoogleLimits, bus: Bus, clock: Clock, waited: Waited | None) -> None:
        self._limits = limits.by_metric()
        self._clock = clock
        self._waited = waited
        self._record = SharedRecord(
            bus if any(self._limits.values()) else None,
            f"quota.google.{account}",
            pacing.Book(),
            pacing.book_json,
            pacing.to_book,
            clock,
            lambda now: pacing.full_book(now, self._limits),
        )
        self._lines: dict[tuple[str, ...], Line] = {}

    def metrics(self, operation: str) -> tuple[str, ...]:
        """The buckets that an operation is charged to."""
        return tuple(metric for metric, cost in pacing.GOOGLE_COSTS[operation].items() if cost)

    async def acquire(
        self, operation: str, cls: Class, *, wait_max_s: float = WAIT_MAX_S, leave_s: float = pacing.LEAVE_S
    ) -> Place:
        """Wait until one request of this operation may leave within `leave_s`, and count it.

        Raises Unavailable with the bucket and the time when that is further away than `wait_max_s`.
        """
        place = Place(self._clock, 0.0)
        costs = pacing.GOOGLE_COSTS[operation]
        line = self._lines.setdefault(self.metrics(operation), Line(self._clock))
        because = ""

        async def attempt() -> float:
            nonlocal because

            def step(book: pacing.Book) -> tuple[pacing.Book, tuple[float, str]]:
                nonlocal place
                place = Place(self._clock, self._clock.monotonic() + leave_s)
                after, wait_s, metric = pacing.reserve_all(book, self._clock.now(), costs, self._limits, cls, leave_s)
                return after, (wait_s, metric)

            wait_s, metric = await self._record.change(step)
            because = metric or because
            if wait_s > wait_max_s:
                raise Unavailable(f"the quota {metric} of the Google account is used up", wait_s, metric)
            return wait_s

        waited_s = await line.pass_through(pacing.RANK[cls], attempt)
        if self._waited is not None and because:
            self._waited(because, waited_s)
        return place

    async def penalise(self, buckets: Sequence[str], pause_s: float) -> None:
        """Google said that these are used up: nothing more of them for this long."""
        await self._record.change(lambda book: (pacing.close(book, self._clock.now(), tuple(buckets), pause_s), None))

    async def back_off(self) -> float:
        """Google's own limit of the account is reached; the seconds without mutations, more each time."""
        return await self._record.change(lambda book: pacing.back_off(book, self._clock.now()))

    def remaining(self) -> dict[str, int]:
        """What is left of each limited bucket, as far as this process knows."""
        return pacing.remaining(self._record.value, self._clock.now(), self._limits)


class Flight(Protocol):
    @property
    def flight(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to one request to Planfix, until `PlanfixQuota.answered`. flight: its name in the record."""

    flight: str
    place: Place

    def require(self) -> None:
        """Raises HeldUp: nothing has left, and it is too late for it to."""
        self.place.require()


class PlanfixQuota:
    """The quota of the Planfix account. Made by `Quotas.planfix`.

    One request at a time over all processes, and a full spacing after its answer: what Planfix counts are arrivals,
    and a request may arrive at any moment until it is answered. One that gets none counts as arrived after a few
    seconds, so that a killed process holds up nobody for longer.
    """

    def __init__(self, limits: PlanfixLimits, bus: Bus, clock: Clock, waited: Waited | None) -> None:
        self._limits = limits
        self._spacing_s = pacing.spacing(limits.requests_per_second)
        self._clock = clock
        self._waited = waited
        limited = bool(limits.requests_per_second or limits.requests_per_day)
        self._record = SharedRecord(
            bus if limited else None,
            "quota.planfix",
            pacing.Pace(),
            pacing.pace_json,
            pacing.to_pace,
            clock,
            pacing.full_pace,
        )
        self._limited = limited
        self._line = Line(clock)

    async def acquire(self, cls: Class, *, wait_max_s: float = WAIT_MAX_S) -> Permit:
        """Wait until one request may start, and count it. Raises Unavailable when that is too far away."""
        granted = Permit("", Place(self._clock, 0.0))
        busy = False

        async def attempt() -> float:
            nonlocal busy

            def step(pace: pacing.Pace) -> tuple[pacing.Pace, tuple[float, bool]]:
                nonlocal granted
                now, name = self._clock.now(), uuid.uuid4().hex[:12] if self._spacing_s else ""
                until = self._clock.monotonic() + SENT_WITHIN_S if self._spacing_s else float("inf")
                granted = Permit(name, Place(self._clock, until))
                if not self._limited:
                    return pace, (max(0.0, pace.day.closed_until - now), False)
                after, wait_s = pacing.start(pace, now, self._spacing_s, self._limits.requests_per_day, cls, name)
                return after, (wait_s, pacing.in_flight(pace, now))

            wait_s, busy = await self._record.change(step, fresh=busy)
            if busy:
                return min(wait_s, LOOK_S)
            if wait_s > wait_max_s:
                raise Unavailable("the requests to Planfix are used up", wait_s, "planfix")
            return wait_s

        try:
            waited_s = await self._line.pass_through(pacing.RANK[cls], attempt)
        except BaseException:
            # Who gives way to a person in the moment of the grant must not hold up that person's request.
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0), suppress(Unavailable):
                await self.answered(granted, fresh=True)
            raise
        if self._waited is not None and waited_s > 0:
            self._waited("planfix", waited_s)
        return granted

    async def answered(self, permit: Flight, *, fresh: bool = False) -> None:
        """The request was answered, given up or never sent: the next one leaves a spacing after this moment. `fresh`:
        whether it was granted at all is not known here."""
        if self._spacing_s and permit.flight:
            await self._record.change(
                lambda pace: (pacing.ended(pace, self._clock.now(), permit.flight), None), fresh=fresh
            )

    async def penalise(self, pause_s: float) -> None:
        """Planfix answered 429."""
        await self._record.change(lambda pace: (pacing.halt(pace, self._clock.now(), pause_s), None))

    async def told(self, left: int) -> None:
        """`X-RateLimit-Remaining` of an answer."""
        if self._limited:
            await self._record.change(lambda pace: (pacing.told(pace, self._clock.now(), left), None))

    def remaining(self) -> dict[str, int]:
        """What is left of the day, as far as this process knows."""
        if not self._limits.requests_per_day:
            return {}
        left = pacing.day_left(self._record.value, self._clock.now(), self._limits.requests_per_day)
        return {"planfix_day": left}


class Quotas:
    """All quotas of one process; one object per account, so that its waiters stand in one line."""

    def __init__(
        self,
        bus: Bus,
        google: GoogleLimits,
        planfix: PlanfixLimits,
        *,
        clock: Clock | None = None,
        waited: Waited | None = None,
    ) -> None:
        self._bus = bus
        self._google_limits = google
        self._clock = clock or Clock()
        self._waited = waited
        self._google: dict[str, GoogleQuota] = {}
        self._planfix = PlanfixQuota(planfix, bus, self._clock, waited)

    def google(self, account: str) -> GoogleQuota:
        if account not in self._google:
            self._google[account] = GoogleQuota(account, self._google_limits, self._bus, self._clock, self._waited)
        return self._google[account]

    def planfix(self) -> PlanfixQuota:
        return self._planfix

    def remaining(self) -> dict[str, int]:
        """What is left of each limited bucket, of Google's accounts the least; as far as this process knows."""
        left = self._planfix.remaining()
        for quota in self._google.values():
            for bucket, number in quota.remaining().items():
                left[bucket] = min(number, left.get(bucket, number))
        return left

    def forget(self, account: str) -> None:
        """The account is not used here any more."""
        self._google.pop(account, None)
