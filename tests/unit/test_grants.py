"""Access tokens: asked for once, shared by all processes, and never from a dead grant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contactsync.errors import NotConnected, OutcomeUnknown, Rejected, Unavailable
from contactsync.google.oauth import (
    CONTACTS_SCOPE,
    GoogleEndpoints,
    OAuth,
    TokenAnswer,
    authorisation_url,
    identity_of,
)
from contactsync.runtime.grants import AccessTokens, all_accounts
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.vault import Vault
from contactsync_contracts.subjects import grant_key

FIRST = TokenAnswer("AT0", 3600.0, "RT", frozenset({"openid", CONTACTS_SCOPE}))


class TokenEndpoint:
    """A token endpoint that answers what the test says and counts."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.body: Any = None
        self.delay_s = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append({key: str(value) for key, value in (await request.post()).items()})
        await anyio.sleep(self.delay_s)
        body = self.body or {"access_token": f"AT{len(self.asked)}", "expires_in": 3599, "surprise": [1]}
        return web.json_response(body, status=self.status)


class World:
    def __init__(self, google: TokenEndpoint, oauth: OAuth) -> None:
        self.google = google
        self.oauth = oauth
        self.now = 1_000_000.0
        self.server = MemoryServer()

    def process(self, keys: str = "k") -> AccessTokens:
        return AccessTokens(MemoryBus(self.server), Vault([keys]), self.oauth, now=lambda: self.now)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    google = TokenEndpoint()
    app = web.Application()
    app.router.add_post("/token", google.handle)
    app.router.add_post("/revoke", google.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        root = str(server.make_url("/"))
        endpoints = GoogleEndpoints(root, root + "auth?hd=x", root + "token", root + "revoke", root, "cid", "secret")
        yield World(google, OAuth(endpoints, session))


async def test_a_token_is_used_until_it_nearly_expires(world: World) -> None:
    tokens = world.process()
    await tokens.store_grant("a", "a@x.test", FIRST)
    world.now += 3600 - 121
    assert await tokens.token("a") == "AT0"
    world.now += 2
    assert await tokens.token("a") == "AT1"
    assert await tokens.token("a") == "AT1"
    assert [form["refresh_token"] for form in world.google.asked] == ["RT"]


async def test_many_tasks_of_many_processes_refresh_once(world: World) -> None:
    world.google.delay_s = 0.05
    processes = [world.process() for _ in range(3)]
    await processes[0].store_grant("a", "a@x.test", FIRST)
    world.now += 4000
    found: list[str] = []

    async def ask(tokens: AccessTokens) -> None:
        found.append(await tokens.token("a"))

    async with anyio.create_task_group() as tasks:
        for tokens in processes * 5:
            tasks.start_soon(ask, tokens)
    assert found == ["AT1"] * 15
    assert len(world.google.asked) == 1


async def test_a_refused_token_is_replaced_once_for_all(world: World) -> None:
    first, second = world.process(), world.process()
    await first.store_grant("a", "a@x.test", FIRST)
    assert await second.token("a") == "AT0"
    assert await first.refreshed("a", "AT0") == "AT1"
    assert await second.refreshed("a", "AT0") == "AT1"
    assert len(world.google.asked) == 1


async def test_a_dead_grant_is_asked_once_and_lives_again_after_reconnecting(world: World) -> None:
    world.google.status, world.google.body = 400, {"error": "invalid_grant"}
    tokens, other = world.process(), world.process()
    await tokens.store_grant("a", "a@x.test", FIRST)
    world.now += 4000
    for process in (tokens, tokens, other):
        with pytest.raises(NotConnected):
            await process.token("a")
    assert len(world.google.asked) == 1
    grant = await tokens.grant("a")
    assert grant is not None
    assert (grant.version, bool(grant.dead)) == (2, True)
    await other.store_grant("a", "a@x.test", TokenAnswer("NEW", 3600.0, "RT2", frozenset({CONTACTS_SCOPE})))
    assert await tokens.token("a") == "NEW"


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_trouble_at_google_does_not_kill_a_grant(world: World, status: int) -> None:
    tokens = world.process()
    await tokens.store_grant("a", "a@x.test", FIRST)
    world.now += 4000
    world.google.status, world.google.body = status, {"error": {"code": status}}
    with pytest.raises(Unavailable):
        await tokens.token("a")
    world.google.status, world.google.body = 200, None
    assert await tokens.token("a") == "AT2"


async def test_a_grant_without_contacts_is_not_connected(world: World) -> None:
    tokens = world.process()
    await tokens.store_grant("a", "a@x.test", TokenAnswer("AT", 3600.0, "RT", frozenset({"openid"})))
    with pytest.raises(NotConnected, match="contacts"):
        await tokens.token("a")


async def test_an_account_that_nobody_connected_is_not_connected(world: World) -> None:
    with pytest.raises(NotConnected):
        await world.process().token("nobody")


async def test_the_record_shows_no_token_and_is_erased(world: World) -> None:
    tokens, bus = world.process(), MemoryBus(world.server)
    await tokens.store_grant("a", "a@x.test", FIRST)
    await tokens.store_grant("b", "b@x.test", FIRST)
    record = await bus.get(grant_key("a"))
    assert record is not None
    assert b'"RT"' not in record.value
    assert b'"AT0"' not in record.value
    assert await all_accounts(bus) == ["a", "b"]
    held = await tokens.forget_grant("a")
    assert held is not None
    assert held.refresh_token == "RT"
    assert await all_accounts(bus) == ["b"]
    with pytest.raises(NotConnected):
        await tokens.token("a")


async def test_a_lost_secret_key_asks_for_reconnecting(world: World) -> None:
    await world.process().store_grant("a", "a@x.test", FIRST)
    with pytest.raises(NotConnected, match="secret keys"):
        await world.process(keys="another").token("a")


async def test_a_code_that_was_used_is_rejected(world: World) -> None:
    world.google.status, world.google.body = 400, {"error": "invalid_grant"}
    with pytest.raises(Rejected):
        await world.oauth.exchange("code", verifier="v", redirect_uri="http://x.test/cb")


async def test_an_unreachable_sign_in_is_unavailable() -> None:
    endpoints = GoogleEndpoints("", "", "http://127.0.0.1:9/token", "", "", "cid", "secret")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Unavailable):
            await OAuth(endpoints, session).refresh("RT")


def test_the_address_for_signing_in_carries_the_protections(world: World) -> None:
    url = authorisation_url(
        world.oauth.endpoints, redirect_uri="http://x.test/cb", state="S", nonce="N", verifier="dBjftJeZ4CVP"
    )
    for part in ("auth?hd=x&", "state=S", "nonce=N", "code_challenge_method=S256", "access_type=offline"):
        assert part in url
    assert "dBjftJeZ4CVP" not in url


def test_an_identity_for_another_application_is_denied() -> None:
    claims = {"sub": "1", "aud": "other", "email": "a@x.test", "email_verified": True}
    assert identity_of(claims).email_verified
    with pytest.raises(Exception, match="another application"):
        identity_of(claims, "cid")


async def test_a_grant_that_is_released_is_revoked_first_and_then_erased(world: World) -> None:
    tokens = world.process()
    await tokens.store_grant("1001", "a@x", FIRST)
    world.google.status = 503
    with pytest.raises(OutcomeUnknown):
        await tokens.release("1001")
    assert await tokens.grant("1001") is not None
    world.google.status = 400  # it is over already
    await tokens.release("1001")
    await tokens.release("1001")
    assert await tokens.grant("1001") is None
    assert [asked.get("token") for asked in world.google.asked] == ["RT", "RT"]
    with pytest.raises(NotConnected):
        await tokens.token("1001")


async def test_a_grant_that_no_key_opens_is_erased_all_the_same(world: World) -> None:
    await world.process("lost key").store_grant("1001", "a@x", FIRST)
    await world.process("k").release("1001")
    assert grant_key("1001") not in world.server.values
