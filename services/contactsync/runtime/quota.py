"""The vendors' quotas, shared by all processes: wait here before every request (2-semantics I9).

`pacing.py` decides; the state is one record in STATE per Google account and one for Planfix, changed by
compare-and-set, so that a request leaves only after the record says so. Within a process waiters stand in
line by class, then by arrival. Records hold wall time, waiting is done in monotonic time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from contactsync.errors import Unavailable
from contactsync.runtime import pacing
from contactsync.runtime.bus import Bus
from contactsync.runtime.shared_record import Clock, Line, SharedRecord
from contactsync_contracts.messages import Class

__all__ = ["Clock", "GoogleLimits", "GoogleQuota", "Permit", "PlanfixLimits", "PlanfixQuota", "Quotas"]

WAIT_MAX_S: Final = 150.0
"""A longer wait is no waiting: Unavailable tells the caller to come back. Two windows fit in it."""
LATE_TRIES: Final = 3
SENT_WITHIN_S: Final = 5.0

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
        )
        self._lines: dict[tuple[str, ...], Line] = {}

    def metrics(self, operation: str) -> tuple[str, ...]:
        """The buckets that an operation is charged to."""
        return tuple(metric for metric, cost in pacing.GOOGLE_COSTS[operation].items() if cost)

    async def acquire(self, operation: str, cls: Class, *, wait_max_s: float = WAIT_MAX_S) -> None:
        """Wait until one request of this operation may leave, and count it. Send it at once.

        Raises Unavailable with the bucket and the time when that is further away than `wait_max_s`.
        """
        costs = pacing.GOOGLE_COSTS[operation]
        line = self._lines.setdefault(self.metrics(operation), Line(self._clock))
        because = ""

        async def attempt() -> float:
            nonlocal because

            def step(book: pacing.Book) -> tuple[pacing.Book, tuple[float, str]]:
                after, wait_s, metric = pacing.reserve_all(book, self._clock.wall(), costs, self._limits, cls)
                return after, (wait_s, metric)

            wait_s, metric = await self._record.change(step)
            because = metric or because
            if wait_s > wait_max_s:
                raise Unavailable(f"the quota {metric} of the Google account is used up", wait_s, metric)
            return wait_s

        waited_s = await line.pass_through(pacing.RANK[cls], attempt)
        if self._waited is not None and because:
            self._waited(because, waited_s)

    async def penalise(self, buckets: Sequence[str], pause_s: float) -> None:
        """Google said that these are used up: nothing more of them for this long."""
        await self._record.change(
            lambda book: (pacing.close(book, self._clock.wall(), tuple(buckets), pause_s), None)
        )

    async def back_off(self) -> float:
        """Google's own limit of the account is reached; the seconds without mutations, more each time."""
        return await self._record.change(lambda book: pacing.back_off(book, self._clock.wall()))

    def remaining(self) -> dict[str, int]:
        """What is left of each limited bucket, as far as this process knows."""
        return pacing.remaining(self._record.value, self._clock.wall(), self._limits)


class Permit:
    """The right to one request to Planfix. Call `sent` when it is put on the wire, `dropped` if it will not
    be.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.done = anyio.Event()
        self.at = clock.monotonic()

    def sent(self) -> None:
        """The next one leaves a full spacing after this moment, however late it is."""
        if not self.done.is_set():
            self.at = self._clock.monotonic()
            self.done.set()

    def ended(self) -> None:
        """The answer is there, or nobody waits for it any more: it has arrived by now, if ever."""
        self.at = self._clock.monotonic()
        self.done.set()

    def dropped(self) -> None:
        self.done.set()


class PlanfixQuota:
    """The quota of the Planfix account. Made by `Quotas.planfix`."""

    def __init__(self, limits: PlanfixLimits, bus: Bus, clock: Clock, waited: Waited | None) -> None:
        self._limits = limits
        self._spacing_s = pacing.spacing(limits.requests_per_second)
        self._clock = clock
        self._waited = waited
        limited = bool(limits.requests_per_second or limits.requests_per_day)
        self._record = SharedRecord(
            bus if limited else None, "quota.planfix", pacing.Pace(), pacing.pace_json, pacing.to_pace, clock
        )
        self._limited = limited
        self._line = Line(clock)
        self._last: Permit | None = None

    async def acquire(self, cls: Class, *, wait_max_s: float = WAIT_MAX_S) -> Permit:
        """Wait until one request may start, and count it. Raises Unavailable when that is too far away."""
        late = 0
        granted = Permit(self._clock)

        async def attempt() -> float:
            nonlocal late, granted
            wait_s = await self._after_last()
            if wait_s > 0:
                return wait_s
            began = self._clock.monotonic()
            wait_s = await self._record.change(self._step(cls))
            if wait_s > wait_max_s:
                raise Unavailable("the requests to Planfix are used up", wait_s, "planfix")
            if wait_s > 0:
                return wait_s
            if self._clock.monotonic() - began > self._tolerance_s and late < LATE_TRIES:
                # Granted too long ago: it would come close to the next one of another process.
                late += 1
                return self._spacing_s
            granted = self._last = Permit(self._clock)
            return 0.0

        waited_s = await self._line.pass_through(pacing.RANK[cls], attempt)
        if self._waited is not None and waited_s > 0:
            self._waited("planfix", waited_s)
        return granted

    @property
    def _tolerance_s(self) -> float:
        return min(0.05, self._spacing_s / 20) if self._spacing_s else float("inf")

    def _step(self, cls: Class) -> Callable[[pacing.Pace], tuple[pacing.Pace, float]]:
        def step(pace: pacing.Pace) -> tuple[pacing.Pace, float]:
            if not self._limited:
                return pace, max(0.0, pace.day.closed_until - self._clock.wall())
            return pacing.start(pace, self._clock.wall(), self._spacing_s, self._limits.requests_per_day, cls)

        return step

    async def _after_last(self) -> float:
        """A stall of the event loop must not squeeze two requests together: count from the wire, not the
        grant.
        """
        if self._last is None or not self._spacing_s:
            return 0.0
        if not self._last.done.is_set():
            with anyio.move_on_after(SENT_WITHIN_S):
                await self._last.done.wait()
            self._last.dropped()
        return self._last.at + self._spacing_s - self._clock.monotonic()

    async def answered(self) -> None:
        """A request was answered or given up: other processes leave a spacing after this moment."""
        if self._spacing_s:
            await self._record.change(lambda pace: (pacing.ended(pace, self._clock.wall()), None))

    async def penalise(self, pause_s: float) -> None:
        """Planfix answered 429."""
        await self._record.change(lambda pace: (pacing.halt(pace, self._clock.wall(), pause_s), None))

    async def told(self, left: int) -> None:
        """`X-RateLimit-Remaining` of an answer."""
        if self._limited:
            await self._record.change(lambda pace: (pacing.told(pace, self._clock.wall(), left), None))

    def remaining(self) -> dict[str, int]:
        """What is left of the day, as far as this process knows."""
        if not self._limits.requests_per_day:
            return {}
        left = pacing.day_left(self._record.value, self._clock.wall(), self._limits.requests_per_day)
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
