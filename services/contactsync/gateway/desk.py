"""What whoever is signed in may ask and tell; the console (`console.py`) and the REST routes (`api.py`) are two ways
to say it.

Every method first makes sure whose the filter is: an employee's while Planfix says that they own it (A7, I10). A
filter of somebody else is not distinguished from one that does not exist.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from contactsync.client import Client, Declined, NotReachable
from contactsync.gateway.directory import Directory
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.sessions import Kind, Who
from contactsync.gateway.system import overview
from contactsync.runtime import dead
from contactsync.runtime.bus import Bus
from contactsync_contracts.messages import Approve, Command, Decide, Restore

Json = dict[str, Any]
T = TypeVar("T")

HISTORY_PAGE: Final = 50


class Desk:
    """Raises Refusal: not theirs, refused by a service (with its reason), or nobody answers."""

    def __init__(self, bus: Bus, directory: Directory, *, operator_sees_contacts: bool) -> None:
        self._bus = bus
        self._client = Client(bus)
        self._directory = directory
        self._operator_sees_contacts = operator_sees_contacts

    def sees_contacts(self, who: Who) -> bool:
        return not who.operator or self._operator_sees_contacts

    async def name_of(self, who: Who) -> str:
        """How the page greets them; empty where Planfix cannot be asked now."""
        if who.operator:
            return ""
        try:
            employee = (await self._directory.listing()).employees.get(who.employee)
        except Refusal:
            return ""
        return employee.name if employee else ""

    # ---- filters

    async def filters(self, who: Who) -> list[Json]:
        """Their filters: `filter_id`, `name`, `status` (None: not synchronised yet), `owner`, `owner_name`; by name.

        Those that are synchronised are shown when Planfix cannot be asked; those that could be are missing then.
        """
        statuses = {one["filter_id"]: one for one in await self._answer(self._client.filters())}
        try:
            listing = await self._directory.listing()
        except Refusal:
            listing = None
        employees = listing.employees if listing else {}
        if listing is not None and not who.operator and not listing.is_active(who.employee):
            return []
        found: dict[str, Json] = {}
        for one in listing.filters if listing else ():
            if one.owner is not None and self._theirs(who, one.filter_id, one.owner):
                found[one.filter_id] = {"filter_id": one.filter_id, "name": one.name, "owner": one.owner}
        for filter_id, status in statuses.items():
            if filter_id not in found and self._theirs(who, filter_id, status.get("owner")):
                found[filter_id] = {"filter_id": filter_id, "name": status["name"], "owner": status.get("owner")}
        for filter_id, entry in found.items():
            owner = employees.get(entry["owner"] or 0)
            entry.update(status=statuses.get(filter_id), owner_name=owner.name if owner else "")
        return sorted(
            found.values(), key=lambda one: (one["status"] is None, one["name"].casefold(), one["filter_id"])
        )

    async def status(self, who: Who, filter_id: str) -> Json:
        """The reconciler's status of a filter of theirs. Raises Refusal(NOT_SYNCED) for all others."""
        try:
            status = await self._client.status(filter_id)
        except Declined as error:
            raise Refusal(Problem.NOT_SYNCED) from error
        except NotReachable as error:
            raise Refusal(Problem.NATS_DOWN) from error
        if not self._theirs(who, filter_id, await self._owner(filter_id, status)):
            raise Refusal(Problem.NOT_SYNCED)
        return status

    async def may_activate(self, who: Who, filter_id: str) -> bool:
        """Whether this filter, not synchronised, is theirs to switch on."""
        listing = await self._directory.listing()
        return any(
            one.filter_id == filter_id
            and one.owner is not None
            and self._theirs(who, filter_id, one.owner)
            and listing.is_active(one.owner)
            for one in listing.filters
        )

    async def preview(self, who: Who, filter_id: str) -> Json:
        """What a sync would do now, and the frozen plans; values of contacts only for who may see them."""
        await self.status(who, filter_id)
        found = await self._answer(self._client.preview(filter_id))
        if not self.sees_contacts(who):
            for group in (*found["plans"], *found["would"]):
                group["examples"] = []
        return found

    # ---- contacts

    async def contacts(self, who: Who, filter_id: str, **question: Any) -> Json:
        """One page: see `Client.contact_page`."""
        await self._contacts_of(who, filter_id)
        return await self._answer(self._client.contact_page(filter_id, names=True, **question))

    async def contact(self, who: Who, filter_id: str, contact: int) -> Json:
        """One contact with both sides' values; `history` has its newest entries."""
        await self._contacts_of(who, filter_id)
        try:
            found = await self._client.contact(filter_id, contact)
        except Declined as error:
            raise Refusal(Problem.NO_CONTACT) from error
        except NotReachable as error:
            raise Refusal(Problem.NATS_DOWN) from error
        return found

    async def history(
        self, who: Who, filter_id: str, contact: int | None = None, limit: int = HISTORY_PAGE
    ) -> list[Json]:
        await self._contacts_of(who, filter_id)
        return await self._answer(self._client.history(filter_id, contact, limit=limit))

    async def _contacts_of(self, who: Who, filter_id: str) -> None:
        await self.status(who, filter_id)
        if not self.sees_contacts(who):
            raise Refusal(Problem.CONTACTS_HIDDEN)

    # ---- what they tell

    async def sync(self, who: Who, filter_id: str) -> str:
        """The request's id."""
        await self.status(who, filter_id)
        return await self._answer(self._client.sync(filter_id))

    async def pause(self, who: Who, filter_id: str) -> Json:
        await self.status(who, filter_id)
        return await self._answer(self._client.pause(filter_id))

    async def resume(self, who: Who, filter_id: str) -> Json:
        await self.status(who, filter_id)
        return await self._answer(self._client.resume(filter_id))

    async def change(self, who: Who, filter_id: str, **settings: Any) -> Json:
        await self.status(who, filter_id)
        try:
            return await self._answer(self._client.change(filter_id, **settings))
        except ValidationError as error:
            raise Refusal(Problem.BAD_INPUT, what=wrong_in(error)) from error

    async def approve(self, who: Who, filter_id: str, hash_: str) -> Json:
        return await self._command(who, filter_id, lambda i: Approve(request_id=i, filter_id=filter_id, hash=hash_))

    async def decide(self, who: Who, filter_id: str, **said: Any) -> Json:
        return await self._command(who, filter_id, lambda i: Decide(request_id=i, filter_id=filter_id, **said))

    async def restore(self, who: Who, filter_id: str, contact: int | None) -> Json:
        return await self._command(
            who, filter_id, lambda i: Restore(request_id=i, filter_id=filter_id, contact=contact)
        )

    async def undo(self, who: Who, filter_id: str, *, entry: str | None = None, run: str | None = None) -> Json:
        """What was undone and what was left, and why."""
        await self.status(who, filter_id)
        return await self._answer(self._client.undo(filter_id, entry=entry, run=run))

    async def rebuild(self, who: Who, filter_id: str) -> str:
        await self.status(who, filter_id)
        return await self._answer(self._client.rebuild(filter_id))

    async def disconnect(self, who: Who, filter_id: str, *, remove_contacts: bool) -> Json | None:
        """None once nothing is left of it."""
        await self.status(who, filter_id)
        return await self._answer(self._client.disconnect(filter_id, remove_contacts=remove_contacts))

    async def _command(self, who: Who, filter_id: str, made: Callable[[str], Command]) -> Json:
        await self.status(who, filter_id)
        try:
            command = made(uuid.uuid4().hex)
        except ValidationError as error:
            raise Refusal(Problem.BAD_INPUT, what=wrong_in(error)) from error
        return await self._answer(self._client.command(command))

    # ---- the whole system, for the operator

    async def dead_letters(self, who: Who) -> list[dead.DeadLetter]:
        self._require_operator(who)
        return await dead.letters(self._bus)

    async def resend(self, who: Who, number: int) -> None:
        self._require_operator(who)
        found = await dead.letter(self._bus, number)
        if found is None:
            raise Refusal(Problem.NO_PAGE)
        await dead.resend(self._bus, [found])

    async def system(self, who: Who) -> Json:
        """`replicas` by component, `quotas` and how many messages wait in `queues`; no data of contacts."""
        self._require_operator(who)
        return await overview(self._bus)

    def _require_operator(self, who: Who) -> None:
        if not who.operator:
            raise Refusal(Problem.NO_PAGE)

    # ---- whose it is

    def _theirs(self, who: Who, filter_id: str, owner: object) -> bool:
        match who.kind:
            case Kind.OPERATOR:
                return True
            case Kind.EMPLOYEE:
                return owner == who.employee
            case Kind.LINK:
                return owner == who.employee and filter_id == who.filter_id
        raise AssertionError(who.kind)

    async def _owner(self, filter_id: str, status: Json) -> object:
        """As Planfix says it, None for who has left; while it cannot be asked, as the watcher has seen it last."""
        try:
            listing = await self._directory.listing()
        except Refusal:
            return status.get("owner")
        listed = next((one for one in listing.filters if one.filter_id == filter_id), None)
        owner = status.get("owner") if listed is None else listed.owner
        return owner if isinstance(owner, int) and listing.is_active(owner) else None

    @staticmethod
    async def _answer(asked: Awaitable[T]) -> T:
        try:
            return await asked
        except Declined as error:
            raise Refusal(Problem.REFUSED, what=str(error)) from error
        except NotReachable as error:
            raise Refusal(Problem.NATS_DOWN) from error


def wrong_in(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
