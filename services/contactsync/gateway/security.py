"""What every answer of the gateway carries and what no request may do: headers, sizes, unexpected errors."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from contactsync.gateway.pages import Pages
from contactsync.gateway.problems import Problem, Refusal
from contactsync.runtime.bus import BusError
from contactsync.runtime.logs import get_logger

BODY_BYTES_MAX: Final = 64 * 1024

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

log = get_logger("gateway")


def middlewares(pages: Pages, *, https: bool) -> list[Middleware]:
    """Outermost first: headers on everything, then refusals as pages."""
    headers = dict(_HEADERS)
    if https:
        headers["Strict-Transport-Security"] = "max-age=31536000"

    @web.middleware
    async def with_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            for name, value in headers.items():
                answer.headers.setdefault(name, value)
            raise
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        return response

    @web.middleware
    async def with_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            log.info("request refused", problem=refusal.problem.value, status=refusal.problem.status)
            return pages.problem(request, refusal)
        except web.HTTPNotFound:
            return pages.problem(request, Refusal(Problem.NO_PAGE))
        except BusError as error:
            log.warning("request failed: NATS does not answer", kind=type(error).__name__)
            return pages.problem(request, Refusal(Problem.NATS_DOWN))
        except web.HTTPException:
            raise
        except Exception:
            log.exception("request failed", route=_route(request))
            return pages.problem(request, Refusal(Problem.BROKEN))

    return [with_headers, with_pages]


def _route(request: web.Request) -> str:
    """The pattern, not the path: that may be a signed link."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
