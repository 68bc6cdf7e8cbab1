"""Who may switch a filter on: its owner, while active in Planfix, on a paid plan (1-mission A2, A5, A6, A7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from contactsync.errors import AccessDenied, PlanNeeded, VendorError
from contactsync.gateway.problems import Problem, Refusal
from contactsync.planfix.port import Employee, Filter, PlanfixApi
from contactsync_contracts.messages import Class

PLANFIX_WAIT_S: Final = 20.0
"""A person waits no longer for Planfix; its quota counts too."""


async def activatable(planfix: PlanfixApi, filter_id: str, user: int | None) -> tuple[Filter, int]:
    """The filter and its owner, if `user` (None: whoever owns it) may switch it on. Raises Refusal."""
    async with planfix_answers():
        found = next((one for one in await planfix.filters(cls=Class.HUMAN) if one.filter_id == filter_id), None)
        if found is None:
            raise Refusal(Problem.FILTER_MISSING)
        if found.owner is None:
            raise Refusal(Problem.FILTER_NO_OWNER)
        if user is not None and found.owner != user:
            raise Refusal(Problem.NOT_OWNER)
        employees = await planfix.employees(cls=Class.HUMAN, until=(found.owner,))
    if not any(one.number == found.owner and one.active for one in employees):
        raise Refusal(Problem.OWNER_INACTIVE)
    return found, found.owner


async def filters_with_owners(planfix: PlanfixApi) -> list[tuple[Filter, Employee | None]]:
    """All filters that Planfix lists, each with its owner. Raises Refusal when Planfix cannot be asked."""
    async with planfix_answers():
        filters = await planfix.filters(cls=Class.HUMAN)
        employees = {one.number: one for one in await planfix.employees(cls=Class.HUMAN)}
    return [(one, employees.get(one.owner) if one.owner is not None else None) for one in filters]


@asynccontextmanager
async def planfix_answers() -> AsyncIterator[None]:
    """What Planfix refuses becomes a Refusal; so does waiting too long."""
    try:
        with anyio.fail_after(PLANFIX_WAIT_S):
            yield
    except PlanNeeded as error:
        raise Refusal(Problem.PLAN_NEEDED) from error
    except AccessDenied as error:
        raise Refusal(Problem.PLANFIX_DENIED) from error
    except (VendorError, TimeoutError) as error:
        raise Refusal(Problem.PLANFIX_DOWN) from error
