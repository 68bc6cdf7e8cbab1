"""Where people reach the gateway, and its cookies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from contactsync.runtime.settings import Settings
from contactsync_contracts import subjects

_LOCAL: Final = re.compile(r"(?:filters/[A-Za-z0-9_-]{1,300}(?:/contacts)?|system)?")


@dataclass(frozen=True, slots=True)
class Places:
    """`root` is the address under which people reach us, `base` its path; both end with a slash."""

    root: str
    base: str
    https: bool
    allowed_domains: tuple[str, ...]
    google: str
    """The origin of Google's consent page."""

    @property
    def callback(self) -> str:
        return f"{self.root}oauth/google/callback"

    def link(self, signed: str) -> str:
        return f"{self.root}activate/{signed}"

    def filter(self, filter_id: str) -> str:
        """The path of a filter's page."""
        return f"{self.base}filters/{subjects.token(filter_id)}"

    def local(self, then: str) -> str:
        """The path of a page of ours that somebody asked to be led to; the first page for anything else."""
        return self.base + (then if _LOCAL.fullmatch(then) else "")

    def set_cookie(self, response: web.Response, name: str, value: str, max_age_s: int) -> None:
        response.set_cookie(
            name, value, max_age=max_age_s, path=self.base, httponly=True, samesite="Lax", secure=self.https
        )

    def drop_cookie(self, response: web.Response, name: str) -> None:
        response.del_cookie(name, path=self.base, httponly=True, samesite="Lax", secure=self.https)


def places_of(settings: Settings) -> Places:
    parts, consent = urlsplit(settings.public_url), urlsplit(settings.google_auth_url)
    return Places(
        root=settings.public_url,
        base=parts.path or "/",
        https=parts.scheme == "https",
        allowed_domains=settings.google_allowed_domains,
        google=f"{consent.scheme}://{consent.netloc}",
    )
