"""Both simulators behind a real server on a loopback port, with faults that really cut connections.

`serve` starts it; `/_control/<google|planfix|faults>/<method>` reaches what people do, from loopback only. The
simulators themselves know nothing of sockets.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio
import orjson
from aiohttp import web

from .faults import Faults, answer_of, judge
from .google import GoogleSimulator
from .google_errors import GoogleError
from .wire import Request, Response

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
_FIGURES: Final = frozenset({"count_people", "dump", "counters", "violations", "statistics", "journal"})


class Simulator(Protocol):
    """What is served: Planfix here, and anything alike. ``CONTROL`` names what the control endpoint may call."""

    @property
    def CONTROL(self) -> frozenset[str]: ...  # noqa: N802 - a constant of the class

    def handle(self, request: Request) -> Response: ...


@dataclass(frozen=True, slots=True)
class Simulators:
    """``faults`` is the one rule set; give it to both simulators too, for their semantic faults.

    ``latency_s`` delays every answer. Paths under ``planfix_prefix`` go to Planfix, all others to Google.
    """

    google: GoogleSimulator | None = None
    planfix: Simulator | None = None
    faults: Faults = field(default_factory=Faults)
    latency_s: float = 0.0
    planfix_prefix: str = "/rest"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; ``url`` ends with a slash."""

    url: str
    simulators: Simulators

    @property
    def people_url(self) -> str:
        return self.url

    @property
    def planfix_url(self) -> str:
        return self.url.rstrip("/") + self.simulators.planfix_prefix + "/"

    @property
    def auth_url(self) -> str:
        return f"{self.url}o/oauth2/v2/auth"

    @property
    def token_url(self) -> str:
        return f"{self.url}token"

    @property
    def revoke_url(self) -> str:
        return f"{self.url}revoke"

    @property
    def userinfo_url(self) -> str:
        return f"{self.url}userinfo"

    def settings(self) -> dict[str, str]:
        """The environment variables that point Contactsync here."""
        return {
            "CONTACTSYNC_PLANFIX_URL": self.planfix_url,
            "CONTACTSYNC_GOOGLE_PEOPLE_URL": self.people_url,
            "CONTACTSYNC_GOOGLE_AUTH_URL": self.auth_url,
            "CONTACTSYNC_GOOGLE_TOKEN_URL": self.token_url,
            "CONTACTSYNC_GOOGLE_REVOKE_URL": self.revoke_url,
            "CONTACTSYNC_GOOGLE_USERINFO_URL": self.userinfo_url,
        }


@asynccontextmanager
async def serve(simulators: Simulators, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """A server until the block ends; port 0 takes a free one. Raises OSError where the port is taken."""
    runner = web.AppRunner(application(simulators), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in str(bound[0]) else bound[0]
        yield Running(f"http://{shown}:{bound[1]}/", simulators)
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


def application(simulators: Simulators) -> web.Application:
    app = web.Application(client_max_size=BODY_BYTES_MAX)

    async def control(request: web.Request) -> web.Response:
        return await _control(simulators, request)

    async def vendor(request: web.Request) -> web.Response:
        return await _vendor(simulators, request)

    app.router.add_route("*", "/_control/{side}/{method}", control)
    app.router.add_route("*", "/{path:.*}", vendor)
    return app


# -- the vendors ---------------------------------------------------------------------------------------------------


async def _vendor(simulators: Simulators, incoming: web.Request) -> web.Response:
    request = Request(
        incoming.method,
        incoming.path,
        {name: incoming.query.getall(name) for name in incoming.query},
        {name.lower(): value for name, value in incoming.headers.items()},
        await incoming.read(),
    )
    verdict = judge(simulators.faults, request)
    if verdict.delay_s + simulators.latency_s > 0:
        await anyio.sleep(verdict.delay_s + simulators.latency_s)
    prefix = simulators.planfix_prefix
    is_planfix = request.path == prefix or request.path.startswith(prefix + "/")
    try:
        if verdict.cut_before or verdict.response is not None:
            # Before any effect, and before it counts as a mutation under way.
            response = answer_of(verdict, request, _nobody)
        elif is_planfix:
            response = answer_of(verdict, request, simulators.planfix.handle if simulators.planfix else _nobody)
        else:
            response = await _google(simulators, request, verdict_of=lambda call: answer_of(verdict, request, call))
    except ConnectionResetError:
        if incoming.transport is not None:
            incoming.transport.abort()
        # Nobody reads this: the connection is gone.
        return web.Response(status=500)
    return web.Response(status=response.status, body=response.body, headers=response.headers)


async def _google(
    simulators: Simulators,
    request: Request,
    verdict_of: Callable[[Callable[[Request], Response]], Response],
) -> Response:
    google = simulators.google
    if google is None:
        return _nobody(request)
    try:
        flight = google.begin(request)
    except GoogleError as error:
        return error.response()
    try:
        if flight is not None and google.options.mutation_latency_s:
            await anyio.sleep(google.options.mutation_latency_s)
        return verdict_of(google.handle)
    finally:
        google.end(flight)


def _nobody(request: Request) -> Response:
    return Response(404, b"nobody is served here", {"Content-Type": "text/plain"})


# -- control ---------------------------------------------------------------------------------------------------


async def _control(simulators: Simulators, incoming: web.Request) -> web.Response:
    """POST with JSON arguments calls a method; GET shows a figure. 403 from elsewhere than loopback."""
    if not _is_loopback(incoming.remote):
        return _json({"error": "the control endpoint is for loopback"}, 403)
    side, method = incoming.match_info["side"], incoming.match_info["method"]
    sides: Mapping[str, Any] = {
        "google": simulators.google,
        "planfix": simulators.planfix,
        "faults": simulators.faults,
    }
    target = sides.get(side)
    shown = _FIGURES if incoming.method == "GET" else frozenset()
    if target is None or method not in target.CONTROL | shown or not hasattr(target, method):
        return _json({"error": f"there is no {side} {method}"}, 404)
    raw = await incoming.read()
    try:
        arguments = orjson.loads(raw) if raw.strip() else {}
        if incoming.method == "GET":
            arguments = dict(incoming.query)
        return _json({"result": _call(getattr(target, method), arguments)})
    except (ValueError, TypeError, LookupError) as error:
        return _json({"error": str(error)}, 400)


def _call(attribute: Any, arguments: Mapping[str, Any]) -> Any:
    if not callable(attribute):
        return attribute
    inspect.signature(attribute).bind(**arguments)
    return attribute(**arguments)


def _json(content: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(content, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(status=status, body=body, content_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError


def _is_loopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
