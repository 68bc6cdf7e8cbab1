"""What every answer of the gateway carries and what no request may do: headers, sizes, forged requests, unexpected
errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from contactsync.gateway.places import Places
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.sessions import Who, same
from contactsync.runtime.bus import BusError
from contactsync.runtime.logs import get_logger

BODY_BYTES_MAX: Final = 64 * 1024
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE: Final = ("GET", "HEAD", "OPTIONS")

Shown = Callable[[web.Request, Refusal], web.StreamResponse]
"""How a refusal is told: as a page, or as problem+json to a program."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'{onward}; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

log = get_logger("gateway")


def headers_of(places: Places) -> dict[str, str]:
    """What every answer carries; the middlewares see to it, but for an answer that is begun before they see it."""
    # The form that switches a filter on leads to Google, and a browser holds redirects of forms to the policy, too.
    onward = f" {places.google}" if places.google else ""
    headers = _HEADERS | {"Content-Security-Policy": _POLICY.format(onward=onward)}
    return headers | ({"Strict-Transport-Security": "max-age=31536000"} if places.https else {})


def middlewares(shown: Shown, headers: Mapping[str, str]) -> list[Middleware]:
    """Outermost first: headers on everything, then refusals as pages."""

    @web.middleware
    async def with_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            for name, value in headers.items():
                answer.headers.setdefault(name, value)
            raise
        if not response.prepared:
            for name, value in headers.items():
                response.headers.setdefault(name, value)
        return response

    @web.middleware
    async def with_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            log.info("request refused", problem=refusal.problem.value, status=refusal.problem.status)
            return shown(request, refusal)
        except web.HTTPNotFound:
            return shown(request, Refusal(Problem.NO_PAGE))
        except web.HTTPRequestEntityTooLarge:
            return shown(request, Refusal(Problem.TOO_LARGE))
        except BusError as error:
            log.warning("request failed: NATS does not answer", kind=type(error).__name__)
            return shown(request, Refusal(Problem.NATS_DOWN))
        except web.HTTPException:
            raise
        except ConnectionError:
            raise  # whoever asked has gone away
        except Exception:
            log.exception("request failed", route=route_of(request))
            return shown(request, Refusal(Problem.BROKEN))

    return [with_headers, with_pages]


def require_same_site(request: web.Request, root: str) -> None:
    """A form comes from a page of ours. Raises Refusal.

    Browsers say where a POST comes from in `Sec-Fetch-Site` or `Origin`; who says neither is no browser of today and
    has to bring the session's secret, as all others.
    """
    site = request.headers.get("Sec-Fetch-Site")
    wanted = urlsplit(root)
    ours = (None, "null", f"{wanted.scheme}://{wanted.netloc}")  # our own pages say null, since they send no referrer
    if site not in (None, "same-origin", "none") or (site is None and request.headers.get("Origin") not in ours):
        raise Refusal(Problem.FORGERY)


def require_csrf(given: str, who: Who) -> None:
    """The secret of the session's forms. Raises Refusal."""
    if not same(given, who.csrf):
        raise Refusal(Problem.FORGERY)


def route_of(request: web.Request) -> str:
    """The pattern, not the path: that may be a signed link."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
