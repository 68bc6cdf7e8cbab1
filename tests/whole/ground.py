"""What every part of a world stands on: the loop, the vendors, the services, and how the outside acts on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Self, TypeVar

import anyio
import anyio.lowlevel
import structlog

from contactsync.runtime import ownership
from contactsync.simulators.invariants import Checker, Snapshot

from .hands import Hands
from .system import Collected, FailedHandlers, System, settings_of
from .vendors import GoogleAccount, Vendors
from .virtual_time import VirtualLoop

T = TypeVar("T")
LONG_LEASE_S = 6 * 3600.0
"""Hours of a world with one replica of each service cost nothing where nobody renews. Those that are killed are
forgotten by the time that they start again."""


class Ground:
    """A context manager; everything of it ends with the block."""

    def __init__(
        self,
        *,
        planfix: Mapping[str, Any] | None = None,
        google: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        filters_max: int = 3,
        accounts_max: int = 2,
        lease_s: float | None = LONG_LEASE_S,
        trace: bool = False,
    ) -> None:
        self.loop = VirtualLoop()
        self.vendors = Vendors(self.loop)
        self.google, self.planfix, self.faults = self.vendors.google, self.vendors.planfix, self.vendors.faults
        if planfix:
            self.planfix.set_options(**planfix)
        if google:
            self.google.set_options(**google)
        first = self.planfix.store.next_filter
        self.settings = settings_of(settings or {})
        subs = [str(101 + number) for number in range(accounts_max)]
        self.system = System(
            self.loop,
            self.vendors,
            filters=[str(first + number) for number in range(filters_max)],
            accounts=subs,
            settings=self.settings,
            lease_s=lease_s,
        )
        self._subs = iter(subs)
        self.server, self.bus = self.system.server, self.system.bus
        self.checker = Checker(self.settings.planfix_account, self.settings.default_region)
        self.hands = Hands(self.vendors, self.checker)
        self.synced: dict[str, GoogleAccount] = {}
        self.before: Snapshot | None = None
        self.excused_absence: set[int] = set()
        self._requests = 0
        self._replays = 0
        self._closed = False
        if trace:
            self._trace_to_terminal()
        self._failures = FailedHandlers(self.system)
        logging.getLogger(ownership.__name__).addHandler(self._failures)
        self._logs = structlog.get_config()
        structlog.configure(processors=[Collected(self.system)], cache_logger_on_first_use=False)

    def _trace_to_terminal(self) -> None:
        def show(line: str) -> None:
            print(f"{self.now:9.2f} {line}")

        self.vendors.trace = self.system.trace = self.server.trace = show

    # ---- life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self.run(self.system.end())
                self.run(self._drain())
            finally:
                structlog.configure(**self._logs)
                logging.getLogger(ownership.__name__).removeHandler(self._failures)
                self.loop.close()

    async def _drain(self) -> None:
        """What is still on its way to the vendors arrives."""
        for arriving in list(self.vendors.under_way):
            await arriving

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """A coroutine to its end in virtual time."""
        try:
            return self.loop.run_until_complete(work)
        except RuntimeError as error:
            if not self.system.server.last:
                raise
            raise AssertionError(f"messages go round and round: {self.system.server.last}") from error

    def _inside(self, act: Callable[[], Any]) -> None:
        """Something that wakes tasks up, which only works while the loop runs."""

        async def within() -> None:
            act()
            await anyio.lowlevel.checkpoint()

        self.run(within())

    @property
    def now(self) -> float:
        """Virtual seconds since the start; the wall clock is START_S later."""
        return self.loop.time()

    def run_for(self, seconds: float) -> None:
        self.run(anyio.sleep(seconds))
