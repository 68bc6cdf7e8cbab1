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
from contactsync_contracts.messages import Class


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


@pytest.mark.parametrize("seed", range(4))
async def test_five_machines_with_clocks_that_are_off_and_pauses_never_exceed_a_minute(seed: int) -> None:
    """What counts is when requests arrive, in true time: a machine may stand still between the grant and the request,
    or be killed with a place that it never uses."""
    time = Time()
    server = MemoryServer(time.clock.wall)
    limit, random = 30, Random(seed)
    limits = GoogleLimits(critical_reads_per_minute=limit, daily_writes=0)
    arrived: list[float] = []
    unused = 0

    def process(off_s: float) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            nonlocal unused
            quota = machine(server, time, off_s, limits).google("a")
            while time.now < 10_000 + 3600:
                place = await quota.acquire("get_person", Class.CHANGE)
                stall_s = random.choice([0.0] * 40 + [0.3, 0.9, 5.0, 70.0])
                if stall_s:
                    await time.sleep(stall_s)
                try:
                    place.require()
                except HeldUp:
                    unused += 1
                    continue
                if random.random() < 0.02:  # killed: started anew
                    unused += 1
                    quota = machine(server, time, off_s, limits).google("a")
                    continue
                arrived.append(time.now)

        return run

    await time.run(*(process(off_s) for off_s in (0.0, 3.0, -3.0, 1.5, 60.0)))
    arrived.sort()
    for first, at in enumerate(arrived):
        inside = sum(1 for other in arrived[first : first + limit + 1] if other < at + 60)
        assert inside <= limit
    minutes = (arrived[-1] - arrived[0]) / 60
    assert len(arrived) + unused >= 0.95 * limit * minutes, "used to the full"


async def test_five_machines_never_start_two_requests_to_planfix_within_a_second() -> None:
    time = Time()
    server = MemoryServer(time.clock.wall)
    random = Random(1)
    arrived: list[float] = []

    def process(off_s: float) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            quota = machine(server, time, off_s, GoogleLimits()).planfix()
            while time.now < 10_000 + 900:
                permit = await quota.acquire(random.choice([Class.HUMAN, Class.CHANGE, Class.BACKGROUND]))
                await time.sleep(random.choice([0.0] * 20 + [2.0, 4.9, 30.0]))  # a stall, a slow connection
                try:
                    permit.require()
                except HeldUp:
                    await quota.answered(permit)
                    continue
                await time.sleep(random.uniform(0.0, 0.9))  # on its way
                arrived.append(time.now)
                if random.random() < 0.05:  # killed before the answer
                    quota = machine(server, time, off_s, GoogleLimits()).planfix()
                    continue
                await time.sleep(0.2)
                await quota.answered(permit)

        return run

    await time.run(*(process(off_s) for off_s in (0.0, 3.0, -3.0, 60.0, -60.0)))
    arrived.sort()
    assert len(arrived) > 200
    assert all(later - sooner >= 1.0 for sooner, later in itertools.pairwise(arrived))


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
