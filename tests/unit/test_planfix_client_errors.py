"""Every answer of Planfix, and every missing one, becomes exactly one of the errors that callers can act on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from anyio.abc import SocketStream

from contactsync.errors import (
    AccessDenied,
    Gone,
    OutcomeUnknown,
    PlanNeeded,
    Rejected,
    Unavailable,
    VendorError,
)
from contactsync.planfix.answers import Answer, Asked, content_of, retry_after_s
from contactsync.planfix.client import PlanfixRest
from contactsync.planfix.mapping import MappingConfig
from contactsync.planfix.port import Query
from contactsync_contracts.messages import Class, NewContactDefaults

READ = Asked("contact/list")
WRITE = Asked("contact/update", write=True)
CLS = Class.CHANGE


def answer(status: int, body: object = None, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Answer(status, raw, {name.replace("_", "-"): value for name, value in headers.items()})


def failed(status: int, code: int) -> Answer:
    return answer(status, {"result": "fail", "code": code, "error": "whatever"})


@pytest.mark.parametrize(
    ("told", "asked", "error", "reason"),
    [
        (failed(401, 1), READ, AccessDenied, "does not know this token"),
        (failed(401, 2), READ, AccessDenied, "not active"),
        (failed(405, 5), WRITE, AccessDenied, "scope for contact/update"),
        (failed(400, 6), WRITE, AccessDenied, "does not allow"),
        (failed(403, 16), READ, AccessDenied, "employee is not active"),
        (failed(403, 20), READ, PlanNeeded, "not paid"),
        (failed(403, 21), READ, PlanNeeded, "paid plan"),
        (failed(403, 11), READ, PlanNeeded, "frozen"),
        (failed(400, 24), READ, PlanNeeded, "billing"),
        (failed(403, 22), READ, Unavailable, "limit"),
        (failed(200, 22), WRITE, Unavailable, "limit"),
        (answer(429), WRITE, Unavailable, "limit"),
        (failed(404, 2000), READ, Gone, "not in Planfix"),
        (failed(200, 2000), WRITE, Gone, "not in Planfix"),
        (failed(404, 0), WRITE, Rejected, "PLANFIX_URL"),
        (failed(400, 41), Asked("contact/list", filtered=True), Gone, "filter"),
        (failed(400, 41), READ, Rejected, "value"),
        (failed(400, 40), READ, Rejected, "parameter"),
        (failed(500, 30), WRITE, Rejected, "could not read"),
        (failed(400, 2001), WRITE, Rejected, "did not add"),
        (failed(400, 23), WRITE, Rejected, "as many contacts"),
        (failed(500, 0), READ, Unavailable, "HTTP 500"),
        (failed(500, 0), WRITE, OutcomeUnknown, "HTTP 500"),
        (failed(200, 0), WRITE, OutcomeUnknown, "unknown failure"),
        (answer(200, {"result": "failure", "message": "x"}), READ, Unavailable, "unknown failure"),
        (answer(200, b"<html>"), READ, Unavailable, "usable"),
        (answer(200, b'{"result":"succ'), WRITE, OutcomeUnknown, "usable"),
        (answer(200, [1]), READ, Unavailable, "usable"),
        (answer(200), WRITE, OutcomeUnknown, "usable"),
        (answer(502, b"<html>"), WRITE, OutcomeUnknown, "502"),
        (answer(302, None, location="https://own.example/rest/ping?x=1"), READ, AccessDenied, "to own.example:"),
    ],
)
def test_each_answer_means_one_thing(told: Answer, asked: Asked, error: type[VendorError], reason: str) -> None:
    with pytest.raises(error) as caught:
        content_of(told, asked)
    assert type(caught.value) is error
    assert reason in caught.value.reason


def test_a_success_and_an_empty_202_are_successes() -> None:
    assert content_of(answer(200, {"result": "success", "id": 1}), WRITE)["id"] == 1
    assert content_of(answer(202), WRITE) == {}


@pytest.mark.parametrize(("code", "field"), [(2004, "emails"), (2005, "emails"), (2006, "given")])
def test_a_refused_field_is_named(code: int, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        content_of(failed(400, code), WRITE)
    assert list(caught.value.items) == [field]


@pytest.mark.parametrize(
    ("headers", "body", "attempt", "seconds"),
    [
        ({"x_ratelimit_reset": "3600"}, {"timeToReset": 5}, 0, 3600.0),
        ({"x_ratelimit_reset": "3600", "x_ratelimit_remaining": "0"}, {}, 0, 3600.0),
        ({"x_ratelimit_reset": "3600", "x_ratelimit_remaining": "900"}, {}, 0, 1.0),
        ({"x_ratelimit_reset": "3600", "x_ratelimit_remaining": "900"}, {"timeToReset": 7000}, 0, 7.0),
        ({}, {"timeToReset": 90_000}, 0, 90.0),
        ({}, {"timeToReset": 90}, 0, 90.0),
        ({}, {"timeToReset": "soon"}, 3, 8.0),
        ({"retry_after": "4"}, {}, 0, 4.0),
        ({}, {}, 50, 600.0),
    ],
)
def test_how_long_a_limit_lasts(headers: dict[str, str], body: dict[str, Any], attempt: int, seconds: float) -> None:
    assert retry_after_s(answer(429, **headers), body, attempt) == seconds


# -- over a socket ---------------------------------------------------------------------------------------------

Calls = dict[str, Callable[[PlanfixRest], Awaitable[object]]]
READS: Calls = {
    "list": lambda api: api.list_contacts(Query(), cls=CLS),
    "get": lambda api: api.get_contact(1, cls=CLS),
    "filters": lambda api: api.filters(cls=CLS),
    "employees": lambda api: api.employees(cls=CLS),
}
WRITES: Calls = {
    "update": lambda api: api.update_contact(1, {"family": "B"}, is_company=False, phones=(), cls=CLS),
    "create": lambda api: api.create_contact(
        {"given": "A"}, is_company=False, owner=1, defaults=NewContactDefaults(), marker="m", cls=CLS
    ),
}


class NoLimit:
    """A quota that gives every permit at once and writes down what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float]] = []

    async def acquire(self, _cls: Class) -> NoLimit:
        return self

    async def answered(self, _: object) -> None:
        self.heard.append(("answered", 0))

    async def told(self, left: int) -> None:
        self.heard.append(("left", left))

    async def penalise(self, pause_s: float) -> None:
        self.heard.append(("limited", pause_s))

    flight = ""

    def require(self) -> None:
        self.heard.append(("sent", 0))


def client(url: str, **options: Any) -> PlanfixRest:
    return PlanfixRest(url, "secret-token", **({"quota": NoLimit()} | options), config=MappingConfig())


@asynccontextmanager
async def answering(status: int, body: bytes, seen: list[web.Request] | None = None) -> AsyncIterator[PlanfixRest]:
    async def answer_all(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request)
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer_all)
    async with TestServer(app) as server, client(str(server.make_url("/rest/"))) as api:
        yield api


@asynccontextmanager
async def raw_server(behave: Callable[[SocketStream], Awaitable[None]], **options: Any) -> AsyncIterator[PlanfixRest]:
    """A server that reads the head of a request and then does what it is told."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await behave(stream)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with client(f"http://127.0.0.1:{port}/rest/", **options) as api:
            yield api
        group.cancel_scope.cancel()


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(
    "body", [b'{"result":"success"}', b'{"result":"success","contacts":[5],"filters":{},"users":null,"contact":[]}']
)
async def test_a_success_without_its_content_is_no_empty_list(name: str, body: bytes) -> None:
    async with answering(200, body) as api:
        with pytest.raises(Unavailable):
            await READS[name](api)


async def test_a_create_without_a_number_may_have_happened() -> None:
    async with answering(201, b'{"result":"success"}') as api:
        with pytest.raises(OutcomeUnknown):
            await WRITES["create"](api)


@pytest.mark.parametrize("name", [*READS, *WRITES])
async def test_a_refused_connection_did_nothing(name: str) -> None:
    quota = NoLimit()
    async with client(f"http://127.0.0.1:{unused_port()}/rest/", quota=quota) as api:
        with pytest.raises(Unavailable):
            await (READS | WRITES)[name](api)
    assert quota.heard == [("answered", 0)]


async def close(_stream: SocketStream) -> None:
    return None


async def half_an_answer(stream: SocketStream) -> None:
    await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"result":"success","id":1')


async def silence(_stream: SocketStream) -> None:
    await anyio.sleep_forever()


@pytest.mark.parametrize("behave", [close, half_an_answer, silence])
@pytest.mark.parametrize("name", [*READS, *WRITES])
async def test_a_lost_answer_says_nothing_about_a_write(
    name: str, behave: Callable[[SocketStream], Awaitable[None]]
) -> None:
    async with raw_server(behave, total_s=0.1) as api:
        with pytest.raises(Unavailable if name in READS else OutcomeUnknown):
            await (READS | WRITES)[name](api)


async def test_the_token_travels_in_the_header_and_never_in_an_address() -> None:
    seen: list[web.Request] = []
    async with answering(200, b'{"result":"success","contact":{"id":1},"id":1}', seen) as api:
        for call in (*WRITES.values(), READS["get"]):
            await call(api)
        assert "secret-token" not in repr(api)
    assert len(seen) == 3
    for request in seen:
        assert request.headers["Authorization"] == "Bearer secret-token"
        assert "secret-token" not in str(request.url)
    assert [request.path_qs.startswith("/rest/contact/1?silent=true") for request in seen] == [True, False, False]


async def test_a_get_on_a_dead_connection_is_not_repeated_behind_the_quotas_back() -> None:
    count = 0

    async def closing(_stream: SocketStream) -> None:
        nonlocal count
        count += 1

    async with raw_server(closing) as api:
        for expected in (1, 2):
            with pytest.raises(Unavailable):
                await READS["get"](api)
            assert count == expected


async def test_more_than_a_hundred_numbers_do_not_fit_a_page() -> None:
    async with answering(200, b"{}") as api:
        with pytest.raises(ValueError, match="100"):
            await api.list_contacts(Query(numbers=tuple(range(1, 102))), cls=CLS)


async def test_a_broken_quota_record_does_not_hide_what_became_of_a_write() -> None:
    class Broken(NoLimit):
        async def answered(self, _: object) -> None:
            pass

        async def told(self, left: int) -> None:
            raise Unavailable("no connection to NATS")

    async def answer_all(_request: web.Request) -> web.Response:
        return web.json_response({"id": 7}, headers={"X-RateLimit-Remaining": "5"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer_all)
    async with (
        TestServer(app) as server,
        client(str(server.make_url("/rest/")), quota=Broken()) as api,
    ):
        assert await WRITES["create"](api) == 7
