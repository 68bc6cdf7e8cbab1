"""Several processes, one quota: the records in STATE, under virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import anyio
import pytest

from contactsync.errors import Unavailable
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.quota import Clock, GoogleLimits, PlanfixLimits, Quotas
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
    time, server = Time(), MemoryServer(lambda: 0.0)
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
    time, server = Time(), MemoryServer(lambda: 0.0)
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
    time, server = Time(), MemoryServer(lambda: 0.0)
    first, second = (quotas(server, time, GoogleLimits()).google("a") for _ in range(2))
    await second.acquire("get_person", Class.CHANGE)
    await first.penalise(("critical_read",), 61.0)
    began = time.now

    async def run() -> None:
        await second.acquire("get_person", Class.HUMAN)

    await time.run(run)
    assert time.now - began == pytest.approx(61.0)


async def test_a_wait_of_hours_is_an_answer_not_a_wait() -> None:
    time, server = Time(), MemoryServer(lambda: 0.0)
    quota = quotas(server, time, GoogleLimits()).google("a")
    assert await quota.back_off() == 300
    with pytest.raises(Unavailable) as caught:
        await quota.acquire("create_person", Class.HUMAN)
    assert (caught.value.bucket, caught.value.retry_after_s) == ("mutations", 300)
    await quota.acquire("get_person", Class.HUMAN)


async def test_without_limits_nothing_is_recorded_but_a_pause_still_counts() -> None:
    time, server = Time(), MemoryServer(lambda: 0.0)
    quota = quotas(server, time, GoogleLimits(0, 0, 0, 0, 0)).google("a")
    for _ in range(1000):
        await quota.acquire("create_people", Class.BACKGROUND)
    assert [key async for key in MemoryBus(server).load("quota.")] == []
    await quota.penalise(("critical_write",), 3600.0)
    with pytest.raises(Unavailable):
        await quota.acquire("create_person", Class.CHANGE)


async def test_planfix_requests_of_two_processes_never_start_within_a_second() -> None:
    time, server = Time(), MemoryServer(lambda: 0.0)
    starts: list[float] = []

    def process() -> Callable[[], Awaitable[None]]:
        quota = quotas(server, time, GoogleLimits(), PlanfixLimits(1.0, 20_000)).planfix()

        async def run() -> None:
            for _ in range(8):
                permit = await quota.acquire(Class.CHANGE)
                permit.sent()
                starts.append(time.now)

        return run

    await time.run(process(), process())
    assert all(later - sooner >= 1.0 for sooner, later in itertools.pairwise(starts))
    assert time.now - 10_000 < 16 * 1.2


async def test_a_request_that_left_late_delays_the_next_one() -> None:
    time, server = Time(), MemoryServer(lambda: 0.0)
    quota = quotas(server, time, GoogleLimits(), PlanfixLimits(1.0, 0)).planfix()
    starts: list[float] = []

    async def one(stall_s: float) -> None:
        permit = await quota.acquire(Class.CHANGE)
        await time.sleep(stall_s)
        permit.sent()
        starts.append(time.now)

    await time.run(lambda: one(0.9), lambda: one(0.0))
    assert starts[1] - starts[0] >= 1.0


async def test_what_is_left_is_known() -> None:
    time, server = Time(), MemoryServer(lambda: 0.0)
    quota = quotas(server, time, GoogleLimits()).google("a")
    await quota.acquire("create_people", Class.CHANGE)
    assert quota.remaining() == {
        "critical_read": 54,
        "critical_write": 24,
        "write": 30,
        "group_read": 90,
        "daily": 99_800,
    }
