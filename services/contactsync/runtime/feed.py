"""What the server delivers of one partition: pulls, RESET generations, lost deliveries.

`ownership` has one feed for each partition that it owns. The rules of order are `mailbox.Partition`'s.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from contactsync.runtime.bus import Bus, Intake, Pulled, Transient
from contactsync.runtime.components import ComponentSpec
from contactsync.runtime.mailbox import PARTITIONS, Partition

PULL_BATCH = 256
BUSY_PULL_S = 3.0
"""How long a pull for many messages is open, while some come: no longer than a lease, so that a process that stands
still does not swallow what its successor waits for. Where nothing comes a pull is for one message and for long, as
thousands of pulls a minute for nothing would cost a tenth of a core."""

SETTLES_S = 0.2
"""A delivery that the server has counted may be on its way for so long."""

LOOK_S = 2.0
LOOKS = 16
"""How often, and how many times, to ask whether something went to the earlier owner of a partition that was taken
over: its pull for one message may be open for as long as pulls last, and what that gets is counted as delivered."""


class Feed:
    """`receive` is called with every message of the present generation, in order or not."""

    def __init__(
        self,
        bus: Bus,
        spec: ComponentSpec,
        consumer: str,
        mail: Partition,
        receive: Callable[[Pulled], None],
        *,
        taken_over: bool,
    ) -> None:
        self._bus = bus
        self._spec = spec
        self._consumer = consumer
        self._mail = mail
        self._receive = receive
        self._intake: Intake | None = None
        self._generation = 0
        self._asked = 0
        self._batch = PULL_BATCH
        self._came = True
        self._pull_until = 0.0
        self._looks = LOOKS if taken_over else 0
        self._look_at = anyio.current_time() + LOOK_S
        self._broken = True

    def restart(self) -> None:
        """A new generation at the next `tend`: after a reconnection, a gap, a failure."""
        self._broken = True

    @property
    def hungry(self) -> bool:
        return self._asked <= self._batch // 2

    async def tend(self, room: int) -> float:
        """Keep pulls open for up to `room` messages; when to come again (as of `anyio.current_time`), at the latest.

        Raises Transient.
        """
        try:
            return await self._tend(room)
        except Transient:
            self._broken = True
            raise

    async def _tend(self, room: int) -> float:
        if self._broken:
            await self._open()
        now = anyio.current_time()
        assert self._intake is not None
        look = self._looks > 0 and now >= self._look_at
        if look:
            self._looks, self._look_at = self._looks - 1, now + LOOK_S
        if look or now >= self._pull_until > 0:
            await self._check_tail(self._intake)
            if self._broken:
                return now
        if now >= self._pull_until:
            self._asked, self._pull_until = 0, now + self._spec.pull_expires_s
        if self.hungry and room > 0:
            await self._pull(self._intake, room)
        return min(self._pull_until, self._look_at) if self._looks else self._pull_until

    async def _pull(self, intake: Intake, room: int) -> None:
        if self._came:
            batch, expires_s = min(PULL_BATCH, room), min(BUSY_PULL_S, self._spec.pull_expires_s)
        else:
            # Spread, so that idle partitions do not ask all at the same moment.
            batch, expires_s = 1, self._spec.pull_expires_s * (0.7 + 0.3 * self._mail.fence.partition / PARTITIONS)
        self._came = False
        self._batch = batch
        self._asked += batch
        self._pull_until = anyio.current_time() + expires_s
        await intake.pull(batch, expires_s)

    async def close(self) -> None:
        """No delivery comes after this. Never raises."""
        self._generation += 1
        if self._intake is not None:
            intake, self._intake = self._intake, None
            with anyio.CancelScope(shield=True):
                await intake.close()

    async def _open(self) -> None:
        """A new generation: new inbox, RESET."""
        await self.close()
        self._broken = False
        self._mail.new_generation()
        self._asked, self._pull_until, self._came = 0, 0.0, True
        generation = self._generation

        def receive(pulled: Pulled) -> None:
            if generation == self._generation and not self._broken:
                self._asked -= 1
                self._came = True
                self._receive(pulled)

        self._intake = await self._bus.open_intake(self._spec.stream, self._consumer, receive)

    async def _check_tail(self, intake: Intake) -> None:
        """A lost delivery shows at the next one; without a next one only the server's count shows it."""
        expected = self._mail.expected
        if await intake.delivered() < expected:
            return
        await anyio.sleep(SETTLES_S)
        if self._mail.expected == expected:
            self._broken = True
