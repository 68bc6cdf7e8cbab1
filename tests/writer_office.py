"""The writer on a simulated Planfix account, through the real client over a real socket; shared by its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from contactsync.planfix.client import PlanfixRest
from contactsync.planfix.mapping import MappingConfig
from contactsync.simulators.wire import Request
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import LookPlanfix, Mutate, PlanfixContact, PlanfixMutation
from simulated_planfix import Account
from writer_world import Clock, World


class NoLimit:
    """A quota that gives every permit at once."""

    async def acquire(self, _cls: object) -> NoLimit:
        return self

    async def answered(self, _: object) -> None:

        pass

    async def told(self, left: int) -> None: ...

    async def penalise(self, pause_s: float) -> None: ...

    flight = ""

    def require(self) -> None: ...


class SimulatorClock(Clock):
    """The world's clock is the simulated account's."""

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def now(self) -> float:
        return self._account.clock.now_s

    @now.setter
    def now(self, value: float) -> None:
        self._account.clock.now_s = value


class Office:
    """An account with a filter's owner, and a writer that writes to it. `lose`: (method, path) of requests whose
    answer is lost after they took effect; `cut`: of those that never arrive; `say`: what is answered instead of the
    truth after they took effect. `hidden_until`: so long lists lack the contacts that we made; `markers_kept`:
    whether they show `sourceObjectId`."""

    def __init__(self, **options: Any) -> None:
        self.account = Account(**options)
        self.planfix = self.account.planfix
        self.owner = self.planfix.add_employee("Owner", email="owner@example.com")
        self.lose: list[tuple[str, str]] = []
        self.cut: list[tuple[str, str]] = []
        self.say: list[tuple[tuple[str, str], web.Response]] = []
        self.lose_after: dict[tuple[str, str], int] = {}
        """Requests of which so many are answered before an answer is lost."""
        self.hidden_until = 0.0
        self.markers_kept = True
        self.asked: list[tuple[str, str]] = []
        self.world: World

    async def answer(self, request: web.Request) -> web.Response:
        line = (request.method, request.path.removeprefix("/rest/"))
        self.asked.append(line)
        body = await request.read()
        if line in self.cut:
            self.cut.remove(line)
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPInternalServerError
        query = {key: request.query.getall(key) for key in request.query}
        headers = {key.lower(): value for key, value in request.headers.items()}
        told = self.planfix.handle(Request(request.method, request.path, query, headers, body))
        if self.lose_after.get(line) == 0:
            self.lose.append(line)
        if line in self.lose_after:
            self.lose_after[line] -= 1
        if line in self.lose:
            self.lose.remove(line)
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPInternalServerError
        if self.say and self.say[0][0] == line:
            return self.say.pop(0)[1]
        body = self._shown(told.body) if line[1] == "contact/list" else told.body
        return web.Response(status=told.status, body=body, headers=dict(told.headers))

    def _shown(self, body: bytes) -> bytes:
        answer = orjson.loads(body)
        if self.account.clock.now_s < self.hidden_until:
            answer["contacts"] = [row for row in answer["contacts"] if not row.get("sourceObjectId")]
        if not self.markers_kept:
            answer["contacts"] = [row | {"sourceObjectId": ""} for row in answer["contacts"]]
        return orjson.dumps(answer)

    def writes(self) -> list[tuple[str, str]]:
        return [line for line in self.asked if line[0] == "POST" and line[1] not in ("contact/list", "user/list")]

    def read(self, contact: int, field: str) -> Any:
        return self.account.read(contact, field)[field]

    def put(self, *mutations: PlanfixMutation, filter_id: str = "1") -> None:
        self.world.put(Mutate(filter_id=filter_id, target="planfix", epoch=1, planfix=mutations))

    def update(self, contact: int, fields: Contact, expected: Contact, revision: int = 1) -> PlanfixMutation:
        return PlanfixMutation(
            contact=contact,
            mutation_id=f"p-{contact}-{revision}",
            revision=revision,
            op="update",
            fields=fields,
            expected=expected,
            owner=self.owner,
        )

    def create(self, marker: str, fields: Contact) -> PlanfixMutation:
        return PlanfixMutation(
            arrival=f"arrival-{marker}",
            mutation_id=f"c-{marker}",
            revision=1,
            op="create",
            fields=fields,
            owner=self.owner,
            marker=marker,
        )

    def marked(self, marker: str) -> list[int]:
        listed = self.account.call("POST", "/contact/list", {"fields": "id,sourceObjectId"})[1]["contacts"]
        return [row["id"] for row in listed if row.get("sourceObjectId") == marker]

    def looks(self) -> list[LookPlanfix]:
        stored = self.world.server.streams["LOOK"].messages.values()
        return [LookPlanfix.model_validate_json(message.data) for message in stored]

    def answered(self, mutation_id: str) -> PlanfixContact:
        contact = self.world.item(mutation_id).planfix
        assert contact is not None
        return contact


@asynccontextmanager
async def office(*, stamped: bool = False, **options: Any) -> AsyncIterator[Office]:
    """`stamped`: a custom field of Planfix holds our marker, too."""
    place = Office(**options)
    stamp_field = place.planfix.add_custom_field("Stamp") if stamped else None
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", place.answer)
    async with (
        TestServer(app) as server,
        PlanfixRest(
            str(server.make_url("/rest")),
            "simulated-planfix-token",
            quota=NoLimit(),
            config=MappingConfig(region="US"),
            clock=place.account.clock,
            stamp_field=stamp_field,
        ) as client,
    ):
        place.world = World("planfix", client, clock=SimulatorClock(place.account))
        await place.world.start()
        yield place
