"""The writer: one target per key, a Google account or Planfix, whatever the filter.

The shell around `google_target.py` and `planfix_target.py`: `runtime.ownership` calls it, one call at a time for a
target; mutations of one Google account are therefore strictly sequential, accounts go side by side.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio

from contactsync.google.mapping import MappingConfig
from contactsync.google.port import PeopleApi
from contactsync.planfix.port import PlanfixApi
from contactsync.runtime.bus import Bus, Fence
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.ownership import Delivery, Mailboxes, partition_of
from contactsync.writer.forgetting import Release, keep_grant
from contactsync.writer.google_target import GoogleRules, GoogleTarget
from contactsync.writer.letters import Clock
from contactsync.writer.planfix_target import PlanfixTarget
from contactsync_contracts import subjects

DayLeft = Callable[[str], Awaitable[int | None]]
"""Account token -> writes of the day that are left, None for no limit."""


async def no_limit(account: str) -> int | None:
    return None


class Writer:
    """Handler of the component `writer`. `people`: account token -> its People API; `config`: of Google's mapping;
    `kept_people`: of how many people of idle accounts the identity maps stay in memory, a quarter of a kilobyte
    each."""

    def __init__(
        self,
        bus: Bus,
        mailboxes: Mailboxes,
        *,
        planfix: PlanfixApi,
        people: Callable[[str], PeopleApi],
        config: MappingConfig,
        rules: GoogleRules | None = None,
        day_left: DayLeft = no_limit,
        clock: Clock = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        metrics: Metrics | None = None,
        release: Release = keep_grant,
        kept_people: int = 0,
    ) -> None:
        self._kept_people = kept_people
        self._release = release
        self._metrics = metrics
        self._bus, self._mailboxes, self._people, self._config = bus, mailboxes, people, config
        self._rules = rules or GoogleRules()
        self._day_left, self._clock = day_left, clock
        self._planfix_api, self._sleep = planfix, sleep
        self._planfix = self._new_planfix()
        self._accounts: dict[str, GoogleTarget] = {}

    async def gained(self, fences: Sequence[Fence]) -> None:
        """Wake the accounts that have something under way: creates without an answer, or waiting for more."""
        ours = {fence.partition for fence in fences}
        for pattern in ("state.account.*.intent", "state.account.*.held.*.*"):
            async for record in self._bus.load(pattern):
                account = record.key.split(".")[2]
                if partition_of(account) in ours:
                    self._mailboxes.wake(account, self._clock())

    async def lost(self, partition: int) -> None:
        for account in [one for one in self._accounts if partition_of(one) == partition]:
            del self._accounts[account]
        if partition_of(subjects.PLANFIX) == partition:
            self._planfix = self._new_planfix()

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        people = sum(target.people for target in self._accounts.values())
        for key in idle:
            target = self._accounts.get(key)
            if people > self._kept_people and target is not None and target.idle:
                people -= target.people
                del self._accounts[key]
                yield key

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        if key == subjects.PLANFIX:
            await self._planfix.handle(deliveries, fence)
        else:
            await self._account(key).handle(deliveries, fence)

    def _new_planfix(self) -> PlanfixTarget:
        return PlanfixTarget(
            api=self._planfix_api,
            bus=self._bus,
            clock=self._clock,
            sleep=self._sleep,
            metrics=self._metrics,
            lag_s=self._rules.lag_s,
        )

    def _account(self, account: str) -> GoogleTarget:
        if account not in self._accounts:
            self._accounts[account] = GoogleTarget(
                account,
                people=self._people(account),
                bus=self._bus,
                config=self._config,
                rules=self._rules,
                clock=self._clock,
                wake=lambda at: self._mailboxes.wake(account, at),
                day_left=lambda: self._day_left(account),
                metrics=self._metrics,
                release=self._release,
            )
        return self._accounts[account]
