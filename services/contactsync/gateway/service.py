"""The gateway: the HTTP routes for people and Planfix, and its queries over NATS.

Nothing of its own to lose: any replica finishes what another began. `activation.py` is its main business; the
composition root (`wiring.py`) makes a `Gateway` and runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import anyio
from aiohttp import web

from contactsync.gateway import security
from contactsync.gateway.activation import SESSION_COOKIE, Activation, Grants, Places, status_of
from contactsync.gateway.links import Signer
from contactsync.gateway.pages import STATIC, Pages
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.queries import handlers
from contactsync.gateway.webhooks import Webhooks
from contactsync.google.oauth import OAuth
from contactsync.planfix.port import PlanfixApi
from contactsync.runtime.bus import Bus
from contactsync.runtime.logs import get_logger
from contactsync.runtime.metrics import Metrics, Ready, add_routes
from contactsync.runtime.settings import Settings
from contactsync.runtime.vault import Vault
from contactsync_contracts import subjects

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
        self._places = places_of(settings)
        self._pages = Pages(self._places.base)
        self._planfix = planfix
        self.activation = Activation(
            bus=bus, planfix=planfix, grants=grants, oauth=oauth, signer=self._signer, places=self._places
        )
        secret = settings.webhook_secret
        self._webhooks = Webhooks(bus, secret.get_secret_value() if secret else None, clock)

    def app(self) -> web.Application:
        app = web.Application(
            middlewares=security.middlewares(self._pages, https=self._places.https),
            client_max_size=security.BODY_BYTES_MAX,
        )
        base = self._places.base
        self.activation.add_routes(app)
        self._webhooks.add_routes(app, base)
        app.router.add_get(base, self._home)
        app.router.add_get(f"{base}filters/{{filter}}", self._filter)
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
            runner = web.AppRunner(
                self.app(), access_log=None, handle_signals=False, shutdown_timeout=DRAIN_S, keepalive_timeout=30
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host, port).start()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._webhooks.run)
                yield int(runner.addresses[0][1])
                tasks.cancel_scope.cancel()

    async def _home(self, request: web.Request) -> web.Response:
        return self._pages.home(request, healthy=self._ready() is None)

    async def _filter(self, request: web.Request) -> web.Response:
        try:
            filter_id = subjects.untoken(request.match_info["filter"])
        except ValueError as error:
            raise Refusal(Problem.NOT_SYNCED) from error
        session = self._signer.read_session(request.cookies.get(SESSION_COOKIE))
        details = session is not None and session.filter_id == filter_id
        fresh = details and "activated" in request.query
        status = await status_of(self._bus, filter_id)
        if status is None:
            if not fresh:
                raise Refusal(Problem.NOT_SYNCED)
            # The command is on its way to the filter's actor.
            status = {"filter_id": filter_id, "name": "", "state": "enabling", "two_way": True}
        shown = {"reason": "", "google_account": None, "contacts": None, "last_sync": None} | status
        return self._pages.filter(request, shown, details=details, fresh=fresh)


def places_of(settings: Settings) -> Places:
    parts = urlsplit(settings.public_url)
    return Places(
        root=settings.public_url,
        base=parts.path or "/",
        https=parts.scheme == "https",
        allowed_domains=settings.google_allowed_domains,
    )
