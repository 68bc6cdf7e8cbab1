"""The lease of one replica of one component: `lease.<component>.<replica>`, a record with a time to live.

Whoever holds it may own partitions; who sees it missing may take them over. So its holder trusts it less long than
the server does: until `deadline`, counted from before the renewal was sent. A lease that has lapsed is never taken
up again: its replica goes on under a new name, and what the old name owned is anybody's.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Awaitable, Callable, Mapping
from math import ceil

import anyio

from contactsync.runtime.bus import Bus, Conflict, Put, Transient
from contactsync.runtime.shares import Standing, lease_value

MARGIN_S = 0.5
"""By this much a replica stops before the server forgets its lease: for the way there and for clocks that run at
different speed."""

ALONE_S = 4.0
"""Time to live where the state is on one server: a replica that was killed is replaced within five seconds."""

REPLICATED_S = 6.0
"""The same where it is on several, which may take some seconds to agree on a new leader."""


class Lease:
    """`elapsed`: seconds as of `tenure.elapsed`. Not held at first: `acquire`."""

    def __init__(self, bus: Bus, component: str, ttl_s: float | None, elapsed: Callable[[], float]) -> None:
        self._bus = bus
        self._component = component
        self._elapsed = elapsed
        self._ttl_s = ttl_s
        self._seq = 0
        self._standing = Standing.WORKING
        self._about: Mapping[str, object] = {"host": platform.node(), "pid": os.getpid()}
        self.replica = ""
        self.deadline = float("-inf")

    @property
    def key(self) -> str:
        return f"lease.{self._component}.{self.replica}"

    @property
    def ttl_s(self) -> float:
        """Seconds for which the server keeps it; known after `acquire`."""
        return self._ttl_s or ALONE_S

    @property
    def valid(self) -> bool:
        return self._elapsed() < self.deadline

    @property
    def left_s(self) -> float:
        return self.deadline - self._elapsed()

    async def acquire(self) -> None:
        """Under a new name. Raises Transient, NotProvisioned."""
        if self._ttl_s is None:
            self._ttl_s = REPLICATED_S if await self._bus.copies() > 1 else ALONE_S
        self.replica, self._standing = uuid.uuid4().hex, Standing.WORKING
        await self._write(0)

    async def renew(self) -> bool:
        """False when it is gone for good. Raises Transient: not renewed, or not known."""
        try:
            await self._write(self._seq)
        except Conflict:
            # Either an earlier renewal had got through and only its answer was lost, or it ran out.
            record = await self._bus.get(self.key)
            if record is None:
                return False
            self._seq = record.seq
            await self._write(record.seq)
        return True

    async def leave(self) -> None:
        """Say that this replica takes no more. It is a courtesy: never raises."""
        self._standing = Standing.LEAVING
        await self._attempt(self.renew)

    async def end(self) -> None:
        """Give it up, after everything that was owned under it. Never raises."""
        self.deadline = float("-inf")
        if not self.replica:
            return

        async def remove() -> None:
            await self._bus.commit(None, [Put(self.key, None)], deadline_s=1.0)

        await self._attempt(remove)

    async def _attempt(self, act: Callable[[], Awaitable[object]]) -> None:
        try:
            with anyio.move_on_after(1.0):
                await act()
        except (Transient, Conflict):
            pass

    async def _write(self, seq: int) -> None:
        before = self._elapsed()
        value = lease_value(self._standing, self._about)
        self._seq = await self._bus.cas(self.key, value, seq, ttl_s=ceil(self.ttl_s))
        self.deadline = before + self.ttl_s - MARGIN_S
