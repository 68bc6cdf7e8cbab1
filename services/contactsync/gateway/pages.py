"""The gateway's pages: templates with texts in the reader's language. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contactsync.gateway.problems import Refusal
from contactsync.gateway.texts import PROBLEMS, STATES, WORDS, language_of

STATIC: Final = Path(__file__).parent / "static"
_TEMPLATES: Final = Path(__file__).parent / "templates"
REFRESH_S: Final = 5


class Pages:
    """Renders. `base` is the path under which people reach us, `/` or `/contactsync/`."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined
        )
        self._environment.filters["when"] = _when

    def problem(self, request: web.Request, refusal: Refusal) -> web.Response:
        text = PROBLEMS[refusal.problem][_language(request)]
        return self._page(
            request,
            "problem.html",
            status=refusal.problem.status,
            title=text.title,
            body=text.body.format_map(refusal.values),
            again=refusal.again,
        )

    def filter(self, request: web.Request, status: Mapping[str, Any], *, details: bool, fresh: bool) -> web.Response:
        """`details`: names and figures too; `fresh`: the browser comes straight from the activation."""
        language = _language(request)
        state = str(status.get("state", ""))
        return self._page(
            request,
            "filter.html",
            filter=status,
            state=STATES[language].get(state, state),
            details=details,
            fresh=fresh,
            refresh_s=REFRESH_S,
        )

    def home(self, request: web.Request, *, healthy: bool) -> web.Response:
        return self._page(request, "home.html", healthy=healthy)

    def _page(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        language = _language(request)
        html = self._environment.get_template(template).render(
            base=self._base, language=language, words=WORDS[language], **values
        )
        return web.Response(text=html, status=status, content_type="text/html", headers={"Vary": "Accept-Language"})


def _language(request: web.Request) -> Any:
    return language_of(request.headers.get("Accept-Language", ""))


def _when(moment: object) -> str:
    """Unix seconds as a date that a person reads; UTC, since the server cannot know where they are."""
    if not isinstance(moment, int | float):
        return ""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
