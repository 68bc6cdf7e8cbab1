"""The way of a person to Google and back, kept in STATE so that any replica can finish what another began.

A visit is the server's half of one OAuth round trip; a used link is remembered until it would have expired anyway.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass
from hmac import compare_digest
from typing import Final

import orjson

from contactsync.gateway.links import LINK_VALID_S, OAUTH_VALID_S, Link
from contactsync.records import known_to
from contactsync.runtime.bus import Bus, Conflict, Put, Transient
from contactsync.runtime.logs import get_logger

log = get_logger("gateway")

_USED_TTL_S: Final = LINK_VALID_S + 86_400


@dataclass(frozen=True, slots=True)
class Visit:
    """`browser` is the hash of the cookie that the callback has to bring; `signed` is the link's text."""

    browser: str
    verifier: str
    nonce: str
    signed: str
    jti: str
    filter_id: str
    filter_name: str
    user: int
    relink: bool
    shared: bool = False


class Visits:
    """All methods raise `bus.Transient` when NATS does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def begin(self, link: Link, signed: str, filter_name: str, cookie: str) -> tuple[str, Visit]:
        """A new visit and its id."""
        visit_id = secrets.token_hex(16)
        visit = Visit(
            browser=browser_of(cookie),
            verifier=secrets.token_urlsafe(48),
            nonce=secrets.token_urlsafe(24),
            signed=signed,
            jti=link.jti,
            filter_id=link.filter_id,
            filter_name=filter_name,
            user=link.user,
            relink=link.relink,
            shared=link.shared,
        )
        put = Put(visit_key(visit_id), orjson.dumps(asdict(visit)), ttl_s=OAUTH_VALID_S)
        await self._bus.commit(None, [put])
        return visit_id, visit

    async def find(self, visit_id: str, cookie: str | None) -> Visit | None:
        """None when it is over. Raises WrongBrowser when another browser began it; it stays open then."""
        record = await self._bus.get(visit_key(visit_id))
        if record is None:
            return None
        visit = Visit(**known_to(Visit, orjson.loads(record.value)))
        if cookie is None or not compare_digest(browser_of(cookie), visit.browser):
            raise WrongBrowser
        return visit

    async def end(self, visit_id: str) -> bool:
        """Use the visit up; False when somebody else has done that a moment ago."""
        key = visit_key(visit_id)
        record = await self._bus.get(key)
        if record is None:
            return False
        try:
            await self._bus.commit(None, [Put(key, None, expect_seq=record.seq)])
        except Conflict:
            return False
        return True

    async def is_used(self, jti: str) -> bool:
        return await self._bus.get(_used_key(jti)) is not None

    async def use_up(self, jti: str) -> None:
        """Remember that the link is used. Losing that to an outage is harmless: the link's one activation can
        only be repeated by its owner, with the same outcome."""
        for _ in range(3):
            try:
                await self._bus.commit(None, [Put(_used_key(jti), b"1", ttl_s=_USED_TTL_S)])
            except Transient:
                continue
            return
        log.warning("could not remember that a link is used", link=jti)


class WrongBrowser(Exception):
    """The cookie is not that of the browser that began the visit."""


def browser_of(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def visit_key(visit_id: str) -> str:
    return f"state.oauth.{visit_id}"


def _used_key(jti: str) -> str:
    return f"state.used.{jti}"
