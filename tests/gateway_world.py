"""A gateway on a free port, between a simulated Planfix and Google over HTTP and a bus in memory."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from contactsync.gateway.service import Gateway
from contactsync.google.oauth import OAuth
from contactsync.runtime.bus import Refused
from contactsync.runtime.clock import Clock as ServerClock
from contactsync.runtime.grants import AccessTokens
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.settings import Settings, load_settings
from contactsync.runtime.vault import Vault
from contactsync.simulators.oauth import OAuthOptions, OAuthSimulator
from contactsync.simulators.planfix import PlanfixSimulator
from contactsync.simulators.planfix_options import PlanfixOptions
from contactsync.simulators.wire import Request
from contactsync.wiring import google_endpoints, planfix_rest, quotas_of
from contactsync_contracts import subjects
from contactsync_contracts.messages import ContactState

SECRET_KEY = "0123456789abcdef0123456789abcdef"
WEBHOOK_SECRET = "webhook-secret"
OWNER_EMAIL = "olga@acme.example"
OTHER_EMAIL = "peter@acme.example"


@dataclass
class Clock:
    now_s: float = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Answer:
    """What a browser got. `text` has its HTML entities resolved."""

    status: int
    text: str
    url: URL
    headers: Any


@dataclass
class Browser:
    """Follows no redirect by itself but those of `open`."""

    session: aiohttp.ClientSession

    async def get(self, url: str, *, follow: bool = False, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(url, allow_redirects=follow, headers=named) as response:
            text = html.unescape(await response.text())
            return Answer(response.status, text, response.url, response.headers)

    async def post(self, url: str, form: dict[str, str], **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(url, data=form, allow_redirects=False, headers=named) as response:
            text = html.unescape(await response.text())
            return Answer(response.status, text, response.url, response.headers)

    async def sign_in(self, root: str, email: str, then: str = "") -> Answer:
        """With Google; where that ends."""
        page = await self.get(f"{root}login/google?then={then}", follow=True)
        return await self.get(choice(page, f"Continue as {email}"), follow=True)

    async def chooser(self, link: str) -> Answer:
        """Google's page that the link leads to."""
        return await self.get(link, follow=True)

    async def activate(self, link: str, email: str = OWNER_EMAIL, *, words: str = "") -> Answer:
        """Open the link and choose an account (`words`: " without contacts"); where that ends."""
        page = await self.chooser(link)
        return await self.get(choice(page, f"Continue as {email}{words}"), follow=True)


def secret_in(page: Answer) -> str:
    """What the page's forms have to bring."""
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def choice(page: Answer, words: str) -> str:
    """The address behind these words."""
    found = re.search(rf'href="([^"]+)">{re.escape(words)}</a>', page.text)
    assert found is not None, page.text
    return str(page.url.join(URL(found[1], encoded=True)))


@dataclass
class World:
    clock: Clock
    planfix: PlanfixSimulator
    google: OAuthSimulator
    server: MemoryServer
    bus: MemoryBus
    settings: Settings
    gateway: Gateway
    root: str
    owner: int
    stranger: int
    filter_id: str
    local: str
    """Host and port where it listens."""
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the reconciler would answer."""
    contacts: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    """About contacts, that were asked."""
    refused: str = ""
    """Why the next commands are not carried out."""

    async def link(self, **options: Any) -> str:
        answer = await self.bus.request(
            subjects.query("link"), orjson.dumps({"filter_id": self.filter_id, **options})
        )
        return str(orjson.loads(answer)["url"])

    async def link_refusal(self, **options: Any) -> Refused:
        try:
            await self.link(**options)
        except Refused as refused:
            return refused
        raise AssertionError("a link was given")

    def signed(self, filter_id: str, user: int, *, relink: bool = False) -> str:
        """A link that no check was made for."""
        text, _ = self.gateway._signer.link(filter_id, user, relink=relink)
        return f"{self.root}activate/{text}"

    def sent(self, stream: str = "FILTERS") -> list[dict[str, Any]]:
        return [orjson.loads(one.data) for one in self.server.streams[stream].messages.values()]

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            yield Browser(session)


@asynccontextmanager
async def world(**extra: str) -> AsyncIterator[World]:
    """`extra`: settings by name in lower case."""
    clock = Clock()
    planfix = PlanfixSimulator(clock, PlanfixOptions(requests_per_second=0.0, requests_per_day=0))
    google = OAuthSimulator(clock, OAuthOptions(client_id="simulated-client", client_secret="simulated-secret"))
    google.add_account(OWNER_EMAIL, "1001")
    google.add_account(OTHER_EMAIL, "1002")
    owner = planfix.add_employee("Olga", lastname="Owner", email=OWNER_EMAIL)
    stranger = planfix.add_employee("Peter", lastname="Stranger", email=OTHER_EMAIL)
    contact = planfix.add_contact({"name": "Ada", "lastname": "Adams"})
    filter_id = planfix.add_filter("Clients", owner, {"kind": "ids", "ids": [contact]})
    async with AsyncExitStack() as stack:
        simulators = await stack.enter_async_context(served(simulated_app(planfix, google)))
        port = free_port()
        settings = settings_for(simulators, port, extra)
        server = MemoryServer(clock)
        bus = MemoryBus(server)
        metrics = Metrics()
        vault = Vault([key.get_secret_value() for key in settings.secret_keys])
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        oauth = OAuth(google_endpoints(settings), session)
        quotas = quotas_of(settings, bus, metrics, ServerClock())
        rest = await stack.enter_async_context(planfix_rest(settings, quotas, metrics, clock))
        gateway = Gateway(
            bus=bus,
            settings=settings,
            planfix=rest,
            vault=vault,
            grants=AccessTokens(bus, vault, oauth, now=clock),
            oauth=oauth,
            clock=clock,
            metrics=metrics,
        )
        await stack.enter_async_context(gateway.serving("127.0.0.1", port))
        made = World(
            clock=clock,
            planfix=planfix,
            google=google,
            server=server,
            bus=bus,
            settings=settings,
            gateway=gateway,
            root=settings.public_url,
            owner=owner,
            stranger=stranger,
            filter_id=filter_id,
            local=f"127.0.0.1:{port}",
        )

        async def status(_subject: str, data: bytes) -> bytes:
            asked = orjson.loads(data)["filter_id"]
            if asked not in made.statuses:
                raise Refused("not synchronised", 404)
            return orjson.dumps(made.statuses[asked])

        async def filters(_subject: str, _data: bytes) -> bytes:
            return orjson.dumps({"filters": list(made.statuses.values())})

        async def outcome(_subject: str, _data: bytes) -> bytes:
            return orjson.dumps({"done": True, "refused": made.refused})

        async def contacts(_subject: str, data: bytes) -> bytes:
            made.questions.append(orjson.loads(data))
            rows = made.contacts
            return orjson.dumps(
                {"contacts": rows, "total": len(rows), "states": {"in_sync": len(rows)}, "next": None}
            )

        async def contact(_subject: str, data: bytes) -> bytes:
            row = next((one for one in made.contacts if one["contact"] == orjson.loads(data)["contact"]), None)
            if row is None:
                raise Refused("no such contact", 404)
            values = {"given": "Ada", "phones": [{"value": "+1 555 0100", "kind": "mobile"}]}
            return orjson.dumps(row | {"planfix": values, "google": values | {"given": "Adah"}, "limits": {}})

        async def history(_subject: str, _data: bytes) -> bytes:
            return orjson.dumps({"entries": made.entries, "next": None})

        answers = {
            "status": status,
            "filters": filters,
            "request": outcome,
            "contacts": contacts,
            "contact": contact,
            "history": history,
        }
        for verb, answer in answers.items():
            await bus.serve("reconciler", subjects.query(verb), answer)
        yield made


def status(here: World, google_account: str) -> dict[str, Any]:
    """The filter's status as the reconciler answers it."""
    return {
        "filter_id": here.filter_id,
        "name": "Clients",
        "state": "in_sync",
        "reason": "",
        "two_way": True,
        "owner": here.owner,
        "google_account": google_account,
        "label": "Clients",
        "new_contact": {},
        "contacts": {state.value: 0 for state in ContactState} | {"in_sync": 5, "held_back": 1},
        "plans": [],
        "conflict": "",
        "breakers": {},
        "people_in_account": 6,
        "run": None,
        "planfix_seen_at": 1_795_000_060.0,
        "google_seen_at": 1_795_000_060.0,
        "last_sync": {
            "run_id": "r1",
            "started_at": 1_795_000_000.0,
            "finished_at": 1_795_000_060.0,
            "outcome": "succeeded",
            "created": 5,
            "updated": 0,
            "removed": 0,
        },
    }


def settings_for(simulators: str, port: int, extra: dict[str, str]) -> Settings:
    values = {
        "planfix_url": f"{simulators}rest/",
        "planfix_token": "simulated-planfix-token",
        "planfix_requests_per_second": "0",
        "planfix_requests_per_day": "0",
        "planfix_timezone": "Europe/Berlin",
        "google_client_id": "simulated-client",
        "google_client_secret": "simulated-secret",
        "google_people_url": simulators,
        "google_auth_url": f"{simulators}o/oauth2/v2/auth",
        "google_token_url": f"{simulators}token",
        "google_revoke_url": f"{simulators}revoke",
        "google_userinfo_url": f"{simulators}userinfo",
        "public_url": f"http://127.0.0.1:{port}/",
        "webhook_secret": WEBHOOK_SECRET,
        "secret_keys": SECRET_KEY,
    } | extra
    return load_settings({f"CONTACTSYNC_{name.upper()}": value for name, value in values.items()}, dotenv=None)


def simulated_app(planfix: PlanfixSimulator, google: OAuthSimulator) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        asked = Request(
            request.method,
            request.path,
            {name: request.query.getall(name) for name in request.query},
            {name.lower(): value for name, value in request.headers.items()},
            await request.read(),
        )
        side = planfix if request.path.startswith("/rest/") else google
        found = side.handle(asked)
        return web.Response(status=found.status, body=found.body, headers=dict(found.headers))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The application's address, with a final slash."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
