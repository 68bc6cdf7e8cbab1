"""What the command line asks of running services over NATS, and what it tells them.

Questions go to `contacts.v1.query.<verb>`, requests and commands into a filter's mailbox, events come back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, Literal

import anyio
import orjson

from contactsync.runtime.bus import Bus, NoAnswer, NotProvisioned, Refused, Transient
from contactsync.runtime.nats_bus import NatsBus
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    MESSAGES,
    ChangeSettings,
    Command,
    Disconnect,
    Model,
    Pause,
    Rebuild,
    Resume,
    SyncFinished,
    SyncProgress,
    SyncRequest,
    SyncStarted,
    Undo,
    type_of,
)

Json = dict[str, Any]

QUERY_WAIT_S: Final = 10.0
LINK_WAIT_S: Final = 60.0
"""A link is checked with Planfix, whose quota may make it wait."""
PREVIEW_WAIT_S: Final = 1800.0
COMMAND_WAIT_S: Final = 15.0
KEPT: Final = "the command is kept and will be carried out, but the reconciler has not done it yet: is it running?"
LOOK_EVERY_S: Final = 0.2
SCAN_WAIT_S: Final = 60.0
"""A question that is answered from everything stored of a filter."""
UNDO_WAIT_S: Final = 600.0
PAGE: Final = 1000
EXPORT_PAGE: Final = 200


class NotReachable(Exception):
    """Nobody answers; the text says what to do."""


class Declined(Exception):
    """A service refused; the text is its reason."""


class Client:
    """Raises NotReachable and Declined."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @property
    def nats(self) -> NatsBus:
        """The connection itself, for provisioning."""
        assert isinstance(self._bus, NatsBus)
        return self._bus

    async def filters(self) -> list[Json]:
        """The status of every synchronised filter."""
        found: list[Json] = (await self._ask("filters", {}))["filters"]
        return found

    async def status(self, filter_id: str) -> Json:
        return await self._ask("status", {"filter_id": filter_id})

    async def contacts(self, filter_id: str, state: str | None) -> list[Json]:
        """All contacts of the filter (in that state), page after page; people without a contact come first."""
        found: list[Json] = []
        question: Json = {"filter_id": filter_id, "state": state, "limit": PAGE}
        while True:
            page: list[Json] = (await self._ask("contacts", question))["contacts"]
            found += page
            if len(page) < PAGE or not page[-1]["contact"]:
                return found
            question = {**question, "after": page[-1]["contact"]}

    async def contact_page(
        self,
        filter_id: str,
        *,
        state: str | None = None,
        search: str = "",
        after: int = 0,
        limit: int = 100,
        names: bool = True,
    ) -> Json:
        """One page: {contacts, total, states, next}. `total` are in the state and match the search, `states` says how
        many match it in each; `next` is the `after` of the following page, None on the last. With names a row has
        `name`, `email`, `phone`, and where it is known `updated_at`. Raises Declined also where a field is malformed.
        """
        question: Json = {"filter_id": filter_id, "state": state, "search": search, "after": after, "limit": limit}
        return await self._ask("contacts", question | {"names": names})

    async def contact(self, filter_id: str, number: int) -> Json:
        """The contact's row with names, `planfix` and `google`: the content last seen there by field (a text, or a
        list of {value, type}; None where nothing was seen), and `limits`: why one side cannot hold a field. Raises
        Declined where there is no such contact."""
        return await self._ask("contact", {"filter_id": filter_id, "contact": number})

    async def preview(self, filter_id: str, two_way: bool | None = None) -> Json:
        """What a sync would do now (or in that direction); waits as long as reading both sides takes."""
        return await self._ask("preview", {"filter_id": filter_id, "two_way": two_way}, PREVIEW_WAIT_S)

    async def history(
        self, filter_id: str, contact: int | None = None, *, run: str | None = None, limit: int = PAGE
    ) -> list[Json]:
        """The newest entries of the history, at most `limit`."""
        found: list[Json] = []
        question: Json = {"filter_id": filter_id, "contact": contact, "run": run}
        while len(found) < limit:
            page = await self._ask("history", {**question, "limit": min(PAGE, limit - len(found))}, SCAN_WAIT_S)
            found += page["entries"]
            if not page["next"]:
                break
            question["before"] = page["next"]
        return found

    async def export(self, filter_id: str) -> AsyncGenerator[tuple[str, Json], None]:
        """Everything that is stored of the filter, piece by piece and kind by kind: (`filter`, `arrival`,
        `decided`, `request`, `link` or `history`, it)."""
        overview = await self._ask("export", {"filter_id": filter_id}, SCAN_WAIT_S)
        yield "filter", overview["filter"]
        for kind in ("arrival", "decided", "request"):
            after: str | None = ""
            while after is not None:
                others = {"filter_id": filter_id, "others": kind, "after": after}
                page = await self._ask("export", others, SCAN_WAIT_S)
                for one in page["others"]:
                    yield kind, one
                after = page["next"]
        left: list[int] = overview["contacts"]
        while left:
            page = await self._ask("export", {"filter_id": filter_id, "links": left[:EXPORT_PAGE]}, SCAN_WAIT_S)
            for link in page["links"]:
                yield "link", link
            left = left[page["next"] :]
        left, told = overview["contacts"], 0
        while left:
            question = {"filter_id": filter_id, "history": left[:EXPORT_PAGE], "after": told}
            page = await self._ask("export", question, SCAN_WAIT_S)
            for entry in page["history"]:
                yield "history", entry
            answered, told = page["next"]
            left = left[answered:]

    async def planfix_filters(self) -> list[Json]:
        found: list[Json] = (await self._ask("planfix_filters", {}, LINK_WAIT_S))["filters"]
        return found

    async def link(self, filter_id: str, user: int | None, *, relink: bool, shared: bool = False) -> Json:
        question = {"filter_id": filter_id, "user": user, "relink": relink, "shared": shared}
        return await self._ask("link", question, LINK_WAIT_S)

    async def sync(self, filter_id: str) -> str:
        """Ask for a sync; the request's id."""
        request = SyncRequest(request_id=uuid.uuid4().hex, filter_id=filter_id, reason="command line")
        await self._publish(request, filter_id, "sync", request.request_id)
        return request.request_id

    async def sync_and_follow(
        self, filter_id: str, report: Callable[[SyncStarted | SyncProgress], None]
    ) -> SyncFinished:
        """Ask for a sync and wait for its end; `report` hears what happens before."""
        start = await self._events_from_now()
        request_id = await self.sync(filter_id)
        run_id: str | None = None
        async with aclosing(self._events(filter_id, start)) as events:
            async for event in events:
                match event:
                    case SyncStarted() if event.request_id == request_id:
                        run_id = event.run_id
                        report(event)
                    case SyncProgress() if event.run_id == run_id:
                        report(event)
                    case SyncFinished() if event.request_id == request_id or event.run_id == run_id:
                        return event
                    case _:
                        pass
        raise NotReachable("the events ended")

    async def change(self, filter_id: str, **settings: Any) -> Json:
        """Change these of `ChangeSettings`; the status afterwards."""
        return await self.command(ChangeSettings(request_id=uuid.uuid4().hex, filter_id=filter_id, **settings))

    async def pause(self, filter_id: str) -> Json:
        return await self.command(Pause(request_id=uuid.uuid4().hex, filter_id=filter_id))

    async def resume(self, filter_id: str) -> Json:
        """Go on with a paused or frozen filter; the status that shows it."""
        before = (await self.status(filter_id))["state"]
        command = Resume(request_id=uuid.uuid4().hex, filter_id=filter_id)

        def shown(status: Json) -> bool:
            return before not in ("paused", "frozen") or status["state"] != before

        return await self.command(command, shown)

    async def rebuild(self, filter_id: str) -> str:
        """Have links found again by stamp; the id of the run that does it."""
        command = Rebuild(request_id=uuid.uuid4().hex, filter_id=filter_id)
        await self.command(command)
        return command.request_id

    async def disconnect(self, filter_id: str, *, remove_contacts: bool) -> Json | None:
        """Have the filter stopped and forgotten; its status if that takes longer, None once nothing is left of it."""
        command = Disconnect(request_id=uuid.uuid4().hex, filter_id=filter_id, remove_contacts=remove_contacts)
        status: Json | None = await self.status(filter_id)  # says so when there is no such filter
        await self._publish(command, filter_id, "command", command.request_id)
        for _ in range(round(COMMAND_WAIT_S / LOOK_EVERY_S)):
            try:
                status = await self.status(filter_id)
                outcome = await self._ask("request", {"filter_id": filter_id, "request_id": command.request_id})
            except Declined:
                return None
            if outcome["refused"]:
                raise Declined(outcome["refused"])
            await anyio.sleep(LOOK_EVERY_S)
        return status

    async def undo(self, filter_id: str, *, entry: str | None = None, run: str | None = None) -> Json:
        """Take back an entry (`<contact>.<number>`) or a run; how many entries were `undone` and `left`, and `why`.
        The values follow like any edit."""
        command = Undo(request_id=uuid.uuid4().hex, filter_id=filter_id, entry=entry, run=run)
        await self.status(filter_id)
        await self._publish(command, filter_id, "command", command.request_id)
        for _ in range(round((UNDO_WAIT_S if run else COMMAND_WAIT_S) / LOOK_EVERY_S)):
            outcome = await self._ask("request", {"filter_id": filter_id, "request_id": command.request_id})
            if outcome["refused"]:
                raise Declined(outcome["refused"])
            found: Json | None = outcome.get("undo")
            if outcome["done"] and found is not None and found["finished"]:
                return found
            await anyio.sleep(LOOK_EVERY_S)
        raise NotReachable(KEPT)

    async def filter_of_run(self, run: str) -> str:
        """The filter whose history knows this run. Raises Declined."""
        for one in await self.filters():
            if await self.history(one["filter_id"], run=run, limit=1):
                return str(one["filter_id"])
        raise Declined(f"no history knows the run {run}")

    async def command(self, command: Command, shown: Callable[[Json], bool] = lambda status: True) -> Json:
        """Give a command and wait until it was carried out; the first status that is `shown`. Raises Declined where
        it cannot be."""
        filter_id, request_id = command.filter_id, command.request_id
        await self.status(filter_id)  # says so when there is no such filter
        await self._publish(command, filter_id, "command", request_id)
        for _ in range(round(COMMAND_WAIT_S / LOOK_EVERY_S)):
            outcome = await self._ask("request", {"filter_id": filter_id, "request_id": request_id})
            if outcome["refused"]:
                raise Declined(outcome["refused"])
            if outcome["done"] and shown(status := await self.status(filter_id)):
                return status
            await anyio.sleep(LOOK_EVERY_S)
        raise NotReachable(KEPT)

    async def _publish(self, message: Model, filter_id: str, kind: str, request_id: str) -> None:
        try:
            await self._bus.publish(
                subjects.mailbox(filter_id, kind),
                message.model_dump_json(exclude_unset=True).encode(),
                msg_id=f"{subjects.token(filter_id)}.{kind}.{request_id}",
                type_=type_of(message),
                deadline_s=QUERY_WAIT_S,
            )
        except NotProvisioned as error:
            raise NotReachable("NATS has no streams yet: run `contactsync provision`") from error
        except Transient as error:
            raise NotReachable("NATS does not take the request: try again") from error

    async def _ask(self, verb: str, question: Json, wait_s: float = QUERY_WAIT_S) -> Json:
        try:
            answer = await self._bus.request(subjects.query(verb), orjson.dumps(question), timeout_s=wait_s)
        except Refused as error:
            raise Declined(str(error)) from error
        except NoAnswer as error:
            service = "gateway" if verb in ("link", "planfix_filters") else "reconciler"
            raise NotReachable(
                f"nobody answers: is the {service} running (`contactsync run {service}` or `contactsync up`)?"
            ) from error
        except Transient as error:
            raise NotReachable("NATS does not answer: try again") from error
        found: Json = json.loads(answer)
        return found

    async def _events_from_now(self) -> int | Literal["all"]:
        """A position that misses nothing of what is published after this call."""
        if isinstance(self._bus, NatsBus):
            try:
                info = await self._bus.link.api("STREAM.INFO.EVENTS")
            except NotProvisioned as error:
                raise NotReachable("NATS has no streams yet: run `contactsync provision`") from error
            except Transient as error:
                raise NotReachable("NATS does not answer: try again") from error
            return int(info["state"]["last_seq"]) + 1
        return "all"

    async def _events(self, filter_id: str, start: int | Literal["all"]) -> AsyncGenerator[Model, None]:
        async with aclosing(self._bus.events(subjects.event(filter_id), start=start)) as events:
            async for event in events:
                kind = MESSAGES.get(event.headers.get("Contactsync-Type", ""))
                if kind is not None:
                    yield kind.model_validate_json(event.data)
