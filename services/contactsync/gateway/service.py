"""The gateway: console and REST routes for people and programs, Planfix's webhooks, and its queries over NATS.

Nothing of its own to lose: any replica finishes what another began. `activation.py` is its main business, `desk.py`
what people may do besides; the composition root (`wiring.py`) makes a `Gateway` and runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
from aiohttp import web

from contactsync.gateway import security
from contactsync.gateway.activation import Activation, Grants, status_of
from contactsync.gateway.api import Api, problem_json
from contactsync.gateway.console import Console
from contactsync.gateway.desk import Desk
from contactsync.gateway.directory import Directory
from contactsync.gateway.links import Signer
from contactsync.gateway.live import Live
from contactsync.gateway.notices import Notices, ways_of
from contactsync.gateway.pages import STATIC, Pages
from contactsync.gateway.places import places_of
from contactsync.gateway.problems import Refusal
from contactsync.gateway.queries import handlers
from contactsync.gateway.rate import Rate
from contactsync.gateway.sessions import Sessions, Tokens
from contactsync.gateway.signin import SignIn
from contactsync.gateway.webhooks import Webhooks
from contactsync.google.oauth import OAuth
from contactsync.planfix.port import PlanfixApi
from contactsync.runtime.bus import Bus, NoAnswer
from contactsync.runtime.logs import get_logger
from contactsync.runtime.metrics import Metrics, Ready, add_routes
from contactsync.runtime.settings import Settings
from contactsync.runtime.vault import Vault
from contactsync_contracts import rest, subjects

SERVICE: Final = "gateway"
DRAIN_S: Final = 5.0

log = get_logger(SERVICE)


class Gateway:
    """`app()` for a server of the caller's, `serving()` for one of its own."""

    def __init__(
        self,
        *,
        bus: Bus,
        settings: Settings,
        planfix: PlanfixApi,
        vault: Vault,
        grants: Grants,
        oauth: OAuth | None,
        clock: Callable[[], float],
        metrics: Metrics,
        ready: Ready | None = None,
    ) -> None:
        self._bus = bus
        self._metrics = metrics
        self._ready = ready or (lambda: None if bus.connected else "NATS is not connected")
        self._signer = Signer(vault, clock)
        self._places = places = places_of(settings)
        self._pages = Pages(places.base)
        self._planfix = planfix
        admin_token = settings.admin_token.get_secret_value() if settings.admin_token else ""
        directory, sessions = Directory(planfix, clock), Sessions(bus)
        signin = SignIn(
            bus=bus,
            sessions=sessions,
            directory=directory,
            oauth=oauth,
            signer=self._signer,
            places=places,
            admin_token=admin_token,
            clock=clock,
        )
        self.activation = Activation(
            bus=bus,
            planfix=planfix,
            grants=grants,
            oauth=oauth,
            signer=self._signer,
            places=places,
            sessions=sessions,
            signin=signin,
        )
        desk = Desk(bus, directory, operator_sees_contacts=settings.operator_sees_contacts)
        self._live = Live(bus, self._status)
        console = Console(
            desk=desk,
            sessions=sessions,
            signin=signin,
            activation=self.activation,
            live=self._live,
            pages=self._pages,
            places=places,
            freshness_s=(settings.poll_planfix_seconds, settings.poll_google_seconds),
            healthy=lambda: self._ready() is None,
        )
        api = Api(
            desk=desk,
            sessions=sessions,
            tokens=Tokens(bus, clock),
            live=self._live,
            places=places,
            admin_token=admin_token,
            rate=Rate(clock),
        )
        self._routes = (signin, console, api, self.activation)
        self._notices = Notices(
            bus,
            ways_of(settings, directory),
            page=lambda filter_id: f"{places.root}filters/{subjects.token(filter_id)}",
            clock=clock,
        )
        secret = settings.webhook_secret
        self._webhooks = Webhooks(bus, secret.get_secret_value() if secret else None, clock)

    def app(self) -> web.Application:
        app = web.Application(
            middlewares=security.middlewares(self._shown, security.headers_of(self._places)),
            client_max_size=security.BODY_BYTES_MAX,
        )
        base = self._places.base
        for one in self._routes:
            one.add_routes(app)
        self._webhooks.add_routes(app, base)
        app.router.add_static(f"{base}static/", STATIC)
        add_routes(app, self._metrics, self._ready)
        return app

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Everything runs while the context lasts; yields the port (a free one for 0). OSError: port taken."""
        async with AsyncExitStack() as stack:
            for verb, handler in handlers(self.activation, self._planfix).items():
                subscription = await self._bus.serve(SERVICE, subjects.query(verb), handler)
                stack.push_async_callback(subscription.close)
            await stack.enter_async_context(self._live.running())
            runner = web.AppRunner(
                self.app(), access_log=None, handle_signals=False, shutdown_timeout=DRAIN_S, keepalive_timeout=30
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host, port).start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._webhooks.run)
                if self._notices.ways:
                    tasks.start_soon(self._notices.run)
                yield int(runner.addresses[0][1])
                tasks.cancel_scope.cancel()

    async def _status(self, filter_id: str) -> dict[str, Any] | None:
        try:
            return await status_of(self._bus, filter_id)
        except Refusal as refusal:
            raise NoAnswer(str(refusal)) from refusal

    def _shown(self, request: web.Request, refusal: Refusal) -> web.StreamResponse:
        if request.path.startswith(self._places.base.rstrip("/") + rest.PREFIX):
            return problem_json(refusal)
        return self._pages.problem(request, refusal)
