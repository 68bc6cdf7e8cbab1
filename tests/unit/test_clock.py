"""Everything goes by the NATS server's time."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest

from contactsync.runtime.bus import Transient
from contactsync.runtime.clock import FOLLOW_S, Clock


@dataclass
class Server:
    """Its time is `ahead_s` of the machine's monotonic clock."""

    machine: Machine
    ahead_s: float = 1000.0
    gone: bool = False
    asked: int = 0

    async def time(self) -> float:
        self.asked += 1
        if self.gone:
            raise Transient("not connected")
        return self.machine.now_s + self.ahead_s


@dataclass
class Machine:
    now_s: float = 50.0
    wall_s: float = 9_000.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await anyio.lowlevel.checkpoint()


def clock_of(machine: Machine) -> Clock:
    return Clock(wall=lambda: machine.wall_s, monotonic=lambda: machine.now_s, sleep=machine.sleep)


async def test_the_machines_own_clock_counts_until_the_server_was_asked_and_never_again() -> None:
    machine = Machine()
    clock, server = clock_of(machine), Server(machine)
    assert clock.now() == 9_000.0
    await clock.follow(server)  # type: ignore[arg-type]  # it only asks for the time
    assert clock.now() == 1_050.0
    machine.wall_s = 0.0
    machine.now_s += 5.0
    assert (clock.now(), clock.off_s) == (1_055.0, -1_055.0)


@pytest.mark.parametrize(("moved_s", "shown"), [(-0.4, 1_110.0), (0.4, 1_110.4), (-30.0, 1_080.0)])
async def test_it_does_not_go_back_by_what_two_answers_differ_in(moved_s: float, shown: float) -> None:
    machine = Machine()
    clock, server = clock_of(machine), Server(machine)
    await clock.follow(server)  # type: ignore[arg-type]
    machine.now_s += FOLLOW_S
    assert clock.now() == 1_110.0
    server.ahead_s += moved_s
    await clock.follow(server)  # type: ignore[arg-type]
    assert clock.now() == pytest.approx(shown)


async def test_it_is_followed_through_a_loss_of_the_server() -> None:
    machine = Machine()
    clock, server = clock_of(machine), Server(machine, gone=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.keep, server)
        while server.asked < 3:
            await anyio.lowlevel.checkpoint()
        server.gone = False
        while server.asked < 6:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert set(machine.slept) == {FOLLOW_S}
    assert clock.now() == machine.now_s + 1000.0
