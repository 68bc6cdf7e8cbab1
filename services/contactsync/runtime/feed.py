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
SETTLES_S = 0.2
"""A delivery that the server has counted may be on its way for so long."""

LOOKS_AFTER_S = (2.0, 4.0, 8.0, 16.0, 31.0)
"""When to ask for what went to the earlier owner of a partition that was taken over: a pull of his may be open for as
long as pulls last, and what it gets is counted as delivered."""


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
        self._pull_until = 0.0
        now = anyio.current_time()
        self._looks = [now + after_s for after_s in LOOKS_AFTER_S] if taken_over else []
        self._broken = True

    def restart(self) -> None:
        """A new generation at the next `tend`: after a reconnection, a gap, a failure."""
        self._broken = True

    @property
    def hungry(self) -> bool:
        return self._asked <= PULL_BATCH // 2

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
        look = bool(self._looks) and now >= self._looks[0]
        if look or now >= self._pull_until > 0:
            self._looks = [at for at in self._looks if at > now]
            await self._check_tail(self._intake)
            if self._broken:
                return now
        if now >= self._pull_until:
            self._asked, self._pull_until = 0, now + self._spec.pull_expires_s
        if self.hungry and room > 0:
            batch = min(PULL_BATCH, room)
            # Spread, so that idle partitions do not ask all at the same moment.
            expires_s = self._spec.pull_expires_s * (0.7 + 0.3 * self._mail.fence.partition / PARTITIONS)
            self._asked += batch
            self._pull_until = now + expires_s
            await self._intake.pull(batch, expires_s)
        return min([self._pull_until, *self._looks])

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
        self._asked, self._pull_until = 0, 0.0
        generation = self._generation

        def receive(pulled: Pulled) -> None:
            if generation == self._generation and not self._broken:
                self._asked -= 1
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
