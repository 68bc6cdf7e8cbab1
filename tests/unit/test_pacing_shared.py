"""Several processes, one quota: the records in STATE, under virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from random import Random

import anyio
import pytest
from structlog.testing import capture_logs

from contactsync.errors import Unavailable
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.pacing import FLIGHT_S, LEAVE_S
from contactsync.runtime.quota import LOOK_S, SENT_WITHIN_S, Clock, GoogleLimits, HeldUp, PlanfixLimits, Quotas
from contactsync.runtime.shared_record import Line
from contactsync_contracts.messages import Class
from whole.virtual_time import VirtualLoop


class Time:
    """Virtual time for tasks that only sleep and talk to the memory bus: it moves when all of them sleep."""

    def __init__(self) -> None:
        self.now = 10_000.0
        self.sleepers: list[tuple[float, anyio.Event]] = []
        self.clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        self.sleepers.append((self.now + seconds, event))
        await event.wait()

    async def run(self, *tasks: Callable[[], Awaitable[None]]) -> None:
        left = len(tasks)

        async def counted(task: Callable[[], Awaitable[None]]) -> None:
            nonlocal left
            await task()
            left -= 1

        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(counted, task)
            while left:
                await anyio.wait_all_tasks_blocked()
                if left and self.sleepers:
                    self.sleepers.sort(key=lambda sleeper: sleeper[0])
                    at, event = self.sleepers.pop(0)
                    self.now = max(self.now, at)
                    event.set()


def quotas(server: MemoryServer, time: Time, google: GoogleLimits, planfix: PlanfixLimits | None = None) -> Quotas:
    return Quotas(MemoryBus(server), google, planfix or PlanfixLimits(0, 0), clock=time.clock)


async def test_three_processes_together_stay_within_the_minute() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    limits = GoogleLimits(critical_reads_per_minute=10, daily_writes=0)
    sent: list[float] = []

    def process() -> Callable[[], Awaitable[None]]:
        quota = quotas(server, time, limits).google("a")

        async def run() -> None:
            for _ in range(12):
                await quota.acquire("get_person", Class.CHANGE)
                sent.append(time.now)

        return run

    await time.run(process(), process(), process())
    assert len(sent) == 36
    assert max(sum(1 for at in sent if begin <= at < begin + 60) for begin in sent) == 10
    assert time.now - 10_000 < 4 * 65, "three full windows and no more"


async def test_a_person_goes_before_those_who_waited_longer() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    quota = quotas(server, time, GoogleLimits(critical_reads_per_minute=1)).google("a")
    await quota.acquire("get_person", Class.CHANGE)
    order: list[str] = []

    async def one(name: str, cls: Class, after_s: float) -> None:
        await time.sleep(after_s)
        await quota.acquire("get_person", cls)
        order.append(name)

    await time.run(
        lambda: one("listing", Class.BACKGROUND, 1),
        lambda: one("change", Class.CHANGE, 2),
        lambda: one("human", Class.HUMAN, 3),
    )
    assert order == ["human", "change", "listing"]


async def test_a_pause_that_one_process_was_told_holds_for_all() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    first, second = (quotas(server, time, GoogleLimits()).google("a") for _ in range(2))
    await second.acquire("get_person", Class.CHANGE)
    await first.penalise(("critical_read",), 61.0)
    began = time.now

    async def run() -> None:
        await second.acquire("get_person", Class.HUMAN)

    await time.run(run)
    assert time.now - began == pytest.approx(61.0)


async def test_a_wait_of_hours_is_an_answer_not_a_wait() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    quota = quotas(server, time, GoogleLimits()).google("a")
    assert await quota.back_off() == 300
    with pytest.raises(Unavailable) as caught:
        await quota.acquire("create_person", Class.HUMAN)
    assert (caught.value.bucket, caught.value.retry_after_s) == ("mutations", 300)
    await quota.acquire("get_person", Class.HUMAN)


async def test_without_limits_nothing_is_recorded_but_a_pause_still_counts() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    quota = quotas(server, time, GoogleLimits(0, 0, 0, 0, 0)).google("a")
    for _ in range(1000):
        await quota.acquire("create_people", Class.BACKGROUND)
    assert [key async for key in MemoryBus(server).load("quota.")] == []
    await quota.penalise(("critical_write",), 3600.0)
    with pytest.raises(Unavailable):
        await quota.acquire("create_person", Class.CHANGE)


async def test_planfix_requests_of_two_processes_never_start_within_a_second() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    starts: list[float] = []

    def process() -> Callable[[], Awaitable[None]]:
        quota = quotas(server, time, GoogleLimits(), PlanfixLimits(1.0, 20_000)).planfix()

        async def run() -> None:
            for _ in range(8):
                permit = await quota.acquire(Class.CHANGE)
                permit.require()
                starts.append(time.now)
                await time.sleep(0.1)
                await quota.answered(permit)

        return run

    await time.run(process(), process())
    assert all(later - sooner >= 1.0 for sooner, later in itertools.pairwise(starts))
    assert time.now - 10_000 < 16 * (0.1 + 1.05 + LOOK_S)


async def test_a_request_that_left_late_delays_the_next_one() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    quota = quotas(server, time, GoogleLimits(), PlanfixLimits(1.0, 0)).planfix()
    starts: list[float] = []

    async def one(stall_s: float) -> None:
        permit = await quota.acquire(Class.CHANGE)
        await time.sleep(stall_s)
        permit.require()
        starts.append(time.now)
        await quota.answered(permit)

    await time.run(lambda: one(0.9), lambda: one(0.0))
    assert starts[1] - starts[0] >= 1.0


async def test_what_is_left_is_known() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    quota = quotas(server, time, GoogleLimits()).google("a")
    await quota.acquire("create_people", Class.CHANGE)
    assert quota.remaining() == {
        "critical_read": 54,
        "critical_write": 24,
        "write": 30,
        "group_read": 90,
        "daily": 99_800,
    }


# ---- several machines


def machine(server: MemoryServer, time: Time, off_s: float, limits: GoogleLimits) -> Quotas:
    """One whose clock is off."""
    clock = Clock(wall=lambda: time.now + off_s, monotonic=lambda: time.now + off_s, sleep=time.sleep)
    return Quotas(MemoryBus(server), limits, PlanfixLimits(1.0, 0), clock=clock)


class Machines:
    """Five machines in virtual time, one task each, whose clocks are off. `arrived`: when a request came to the
    vendor, in true time; `unused`: places that nobody used."""

    OFF_S = (0.0, 3.0, -3.0, 60.0, -60.0)

    def __init__(self, seed: int, limits: GoogleLimits) -> None:
        self.loop = VirtualLoop()
        self.server = MemoryServer(self.loop.wall)
        self.random = Random(seed)
        self.limits = limits
        self.arrived: list[float] = []
        self.unused = 0

    def quotas(self, off_s: float) -> Quotas:
        """As a process has it that was just started."""
        clock = Clock(
            wall=lambda: self.loop.wall() + off_s, monotonic=lambda: self.loop.time() + off_s, sleep=anyio.sleep
        )
        return Quotas(MemoryBus(self.server), self.limits, PlanfixLimits(1.0, 0), clock=clock)

    def play(self, seconds: float, turn: Callable[[Quotas], Awaitable[bool]]) -> None:
        """`turn`: one request; True when the process was killed in it."""

        async def live(off_s: float) -> None:
            quotas = self.quotas(off_s)
            while self.loop.time() < seconds:
                if await turn(quotas):
                    quotas = self.quotas(off_s)

        async def all_of_them() -> None:
            async with anyio.create_task_group() as tasks:
                for off_s in self.OFF_S:
                    tasks.start_soon(live, off_s)

        self.loop.run_until_complete(all_of_them())
        self.loop.close()
        self.arrived.sort()


@pytest.mark.parametrize("seed", range(4))
def test_five_machines_with_clocks_that_are_off_and_pauses_never_exceed_a_minute(seed: int) -> None:
    """What counts is when requests arrive, in true time: a machine may stand still between the grant and the request,
    or be killed with a place that it never uses."""
    limit = 30
    machines = Machines(seed, GoogleLimits(critical_reads_per_minute=limit, daily_writes=0))

    async def turn(quotas: Quotas) -> bool:
        place = await quotas.google("a").acquire("get_person", Class.CHANGE)
        await anyio.sleep(machines.random.choice([0.0] * 40 + [0.3, 0.9, 5.0, 70.0]))
        killed = machines.random.random() < 0.02
        try:
            place.require()
        except HeldUp:
            machines.unused += 1
        else:
            machines.unused += killed
            if not killed:
                machines.arrived.append(machines.loop.time())
        return killed

    machines.play(3600.0, turn)
    arrived = machines.arrived
    for first, at in enumerate(arrived):
        assert sum(other < at + 60 for other in arrived[first : first + limit + 1]) <= limit
    minutes = (arrived[-1] - arrived[0]) / 60
    assert len(arrived) + machines.unused >= 0.95 * limit * minutes, "used to the full"


@pytest.mark.parametrize("seed", range(4))
def test_five_machines_never_reach_planfix_twice_within_a_second(seed: int) -> None:
    machines = Machines(seed, GoogleLimits())
    random = machines.random

    async def turn(quotas: Quotas) -> bool:
        quota = quotas.planfix()
        permit = await quota.acquire(random.choice([Class.HUMAN, Class.CHANGE, Class.BACKGROUND]))
        await anyio.sleep(random.choice([0.0] * 20 + [2.0, 4.9, 30.0]))  # a stall, a slow connection
        try:
            permit.require()
        except HeldUp:
            await quota.answered(permit)
            return False
        await anyio.sleep(random.uniform(0.0, 0.9))  # on its way
        machines.arrived.append(machines.loop.time())
        if random.random() < 0.05:  # killed before the answer
            return True
        await anyio.sleep(0.2)
        await quota.answered(permit)
        return False

    machines.play(1800.0, turn)
    assert len(machines.arrived) > 500
    assert all(later - sooner >= 1.0 for sooner, later in itertools.pairwise(machines.arrived))


async def test_who_was_killed_with_a_request_to_planfix_holds_up_others_for_seconds_only() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    await machine(server, time, 0.0, GoogleLimits()).planfix().acquire(Class.CHANGE)
    other = machine(server, time, 0.0, GoogleLimits()).planfix()

    async def run() -> None:
        await other.acquire(Class.CHANGE)

    await time.run(run)
    assert FLIGHT_S < time.now - 10_000 <= FLIGHT_S + 1.05 + LOOK_S


async def test_a_place_is_good_for_a_moment_only() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    both = machine(server, time, 0.0, GoogleLimits())
    place = await both.google("a").acquire("get_person", Class.CHANGE)
    permit = await both.planfix().acquire(Class.CHANGE)
    time.now += LEAVE_S
    place.require()
    time.now += 0.01
    with pytest.raises(HeldUp):
        place.require()
    permit.require()
    time.now += SENT_WITHIN_S
    with pytest.raises(HeldUp):
        permit.require()


async def test_a_damaged_record_is_taken_as_used_up_and_made_anew() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    bus = MemoryBus(server)
    await bus.cas("quota.google.a", b"\xff", 0)
    quota = machine(server, time, 0.0, GoogleLimits()).google("a")

    async def run() -> None:
        await quota.acquire("get_person", Class.HUMAN)

    await time.run(run)
    assert 60 <= time.now - 10_000 <= 62
    record = await bus.get("quota.google.a")
    assert record is not None
    assert record.value.startswith(b"{")


async def test_a_clock_that_is_off_is_noticed_once_and_does_no_harm() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    ahead = [120.0]
    clock = Clock(wall=lambda: time.now + ahead[0], monotonic=lambda: time.now, sleep=time.sleep)
    assert clock.off_s == 0.0
    with capture_logs() as said:
        for _ in range(3):
            await clock.follow(MemoryBus(server))
            time.now += 61.0
        assert clock.now() == time.now
        assert clock.off_s == pytest.approx(120.0)
        ahead[0] = 0.0  # somebody set it
        await clock.follow(MemoryBus(server))
        assert clock.off_s == pytest.approx(0.0)
    assert [line["event"] for line in said] == ["this machine's clock is off"]


class SlowAnswers(MemoryBus):
    """What is changed is changed, but the answer takes its time."""

    async def cas(self, key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
        seq = await super().cas(key, value, last_seq, ttl_s)
        await anyio.sleep(0.05)
        return seq


async def test_who_gives_way_in_the_moment_of_the_grant_holds_up_nobody() -> None:
    """A person's request cancels the background's that waits for the quota; the grant may just have been written."""
    server = MemoryServer()
    clock = Clock(wall=anyio.current_time, monotonic=anyio.current_time)
    slow = Quotas(SlowAnswers(server), GoogleLimits(), PlanfixLimits(100.0, 0), clock=clock).planfix()
    with anyio.move_on_after(0.02) as given_way:
        await slow.acquire(Class.BACKGROUND)
    assert given_way.cancelled_caught
    record = await MemoryBus(server).get("quota.planfix")
    assert record is not None
    assert b'"flight":""' in record.value


async def test_a_rest_too_short_for_any_clock_is_not_asked_for_without_end() -> None:
    """Found by 10,000 random edits: a quarter of a microsecond was left, a timer is over before that passes."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await anyio.lowlevel.checkpoint()

    async def attempt() -> float:
        # The moment comes when a clock that knows milliseconds has moved.
        return 0.0 if sum(slept) >= 0.001 else 2.4e-7

    with anyio.fail_after(5):
        await Line(Clock(sleep=sleep)).pass_through(0, attempt)
    assert len(slept) == 1
