"""The gateway's pages: templates with texts in the reader's language. Nothing from elsewhere, no script in a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contactsync.gateway.problems import Refusal
from contactsync.gateway.texts import PROBLEMS, STATES, WORDS, language_of
from contactsync.gateway.words import CONSOLE
from contactsync_contracts import subjects

STATIC: Final = Path(__file__).parent / "static"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_WORDS: Final = {language: {**WORDS[language], **CONSOLE[language]} for language in WORDS}


class Pages:
    """Renders. `base` is the path under which people reach us, `/` or `/contactsync/`."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, auto_reload=False
        )
        self._environment.filters |= {"when": _when, "token": subjects.token, "shown": _shown}

    def problem(self, request: web.Request, refusal: Refusal) -> web.Response:
        text = PROBLEMS[refusal.problem][_language(request)]
        return self.show(
            request,
            "problem.html",
            status=refusal.problem.status,
            title=text.title,
            body=text.body.format_map(refusal.values),
            again=refusal.again,
        )

    def show(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        html = self._render(request, template, **{"who": None, "who_name": "", "done": ""} | values)
        return web.Response(text=html, status=status, content_type="text/html", headers={"Vary": "Accept-Language"})

    def news(
        self,
        request: web.Request,
        status: Mapping[str, Any],
        progress: Mapping[str, Any] | None,
        freshness_s: tuple[float, float],
    ) -> str:
        """The piece of a filter's page that changes by itself."""
        return self._render(request, "_news.html", filter=status, progress=progress, freshness_s=freshness_s)

    def _render(self, request: web.Request, template: str, **values: Any) -> str:
        language = _language(request)
        words = _WORDS[language]

        def seconds(number: float) -> str:
            whole = max(1, round(number))
            return words["seconds"].format(n=whole) if whole < 90 else words["minutes"].format(n=round(whole / 60))

        return self._environment.get_template(template).render(
            base=self._base,
            language=language,
            words=words,
            states=STATES[language],
            field=lambda name: words.get(f"field_{name}", name),
            seconds=seconds,
            **values,
        )


def _language(request: web.Request) -> Any:
    return language_of(request.headers.get("Accept-Language", ""))


def _when(moment: object) -> str:
    """Unix seconds as a date that a person reads; UTC, since the server cannot know where they are."""
    if not isinstance(moment, int | float):
        return ""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _shown(value: object) -> str:
    """A value of a contact as one line."""
    match value:
        case None:
            return ""
        case dict():
            kind = value.get("kind") or value.get("type")
            return f"{value.get('value', '')}{f' ({kind})' if kind else ''}"
        case list():
            return ", ".join(map(_shown, value))
    return str(value)
