"""Planfix's filters and employees as the console needs them: read together, kept for a minute.

A page must not cost a request to Planfix each time that somebody looks at it, nor may a burst of people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from contactsync.gateway.rights import planfix_answers
from contactsync.planfix.port import Employee, Filter, PlanfixApi
from contactsync_contracts.messages import Class

KEPT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Listing:
    """`filters` as Planfix lists them; `employees` by number."""

    read_at: float
    filters: Sequence[Filter]
    employees: Mapping[int, Employee]

    def is_active(self, employee: int) -> bool:
        found = self.employees.get(employee)
        return found is not None and found.active

    def by_email(self, email: str) -> list[Employee]:
        """Active employees with this e-mail as login or as another address; more than one is nobody's proof."""
        wanted = email.casefold()
        return [
            one
            for one in self.employees.values()
            if one.active and wanted in {text.casefold() for text in (one.email, *one.emails) if text}
        ]


class Directory:
    def __init__(self, planfix: PlanfixApi, clock: Callable[[], float]) -> None:
        self._planfix = planfix
        self._clock = clock
        self._lock = anyio.Lock()
        self._listing: Listing | None = None

    async def listing(self, *, at_most_s: float = KEPT_S) -> Listing:
        """Not older than that. Raises Refusal when Planfix cannot be asked."""
        async with self._lock:
            if self._listing is not None and 0 <= self._clock() - self._listing.read_at <= at_most_s:
                return self._listing
            began = self._clock()
            async with planfix_answers():
                filters = await self._planfix.filters(cls=Class.HUMAN)
                employees = {one.number: one for one in await self._planfix.employees(cls=Class.HUMAN)}
            self._listing = Listing(began, filters, employees)
            return self._listing
