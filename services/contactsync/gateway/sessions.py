"""Who is signed in: one record each in STATE under the hash of a cookie, so that any replica knows it and signing out
ends it everywhere.

A session never changes what it may do: every way in makes a new one, with a new cookie (nothing to fixate).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Any, Final

import orjson

from contactsync.records import known_to
from contactsync.runtime.bus import Bus, Conflict, Put

SESSION_VALID_S: Final = 12 * 3600
TOKEN_BYTES: Final = 32
TOKEN_PREFIX: Final = "cs_"
"""Lets secret scanners find a token that was committed somewhere."""
ID_LENGTH: Final = 16


class Kind(StrEnum):
    EMPLOYEE = "employee"
    """Sees the filters that they own in Planfix at the moment."""
    LINK = "link"
    """Came by the activation link of one filter and sees that one, while its owner owns it."""
    OPERATOR = "operator"
    """Has the operator's token; sees all filters, and contacts only where the setting allows it."""


@dataclass(frozen=True, slots=True)
class Who:
    """`employee`: number in Planfix, 0 for the operator. `filter_id`: of a LINK. `csrf`: what a form of this session
    has to bring, empty where no cookie is involved."""

    kind: Kind
    employee: int = 0
    filter_id: str = ""
    csrf: str = ""

    @property
    def operator(self) -> bool:
        return self.kind is Kind.OPERATOR


class Sessions:
    """All methods raise `bus.Transient` when NATS does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def begin(self, kind: Kind, *, employee: int = 0, filter_id: str = "") -> str:
        """The cookie's text of a new session."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        who = Who(kind, employee, filter_id, csrf=secrets.token_urlsafe(TOKEN_BYTES))
        put = Put(_key(token), orjson.dumps(asdict(who)), ttl_s=SESSION_VALID_S)
        await self._bus.commit(None, [put])
        return token

    async def find(self, token: str | None) -> Who | None:
        """Whose cookie this is; None for one that is over, was never given, or is not readable."""
        if not token or len(token) > 100:
            return None
        record = await self._bus.get(_key(token))
        if record is None:
            return None
        stored = known_to(Who, orjson.loads(record.value))
        return Who(**stored | {"kind": Kind(stored["kind"])})

    async def end(self, token: str | None) -> None:
        record = await self._bus.get(_key(token)) if token else None
        if token and record is not None:
            try:
                await self._bus.commit(None, [Put(_key(token), None, expect_seq=record.seq)])
            except Conflict:
                return  # somebody else has ended it a moment ago


class Tokens:
    """Bearer tokens for programs, each acting as whoever made it; only hashes are stored. Raises `bus.Transient`."""

    def __init__(self, bus: Bus, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock

    async def make(self, who: Who, name: str) -> tuple[str, str]:
        """The token, shown this once, and the id under which it can be ended."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        token_id = _hashed(secret)[:ID_LENGTH]
        value = {
            "hash": _hashed(secret),
            "kind": who.kind.value,
            "employee": who.employee,
            "filter_id": who.filter_id,
            "name": name,
            "made_at": self._clock(),
        }
        await self._bus.cas(_token_key(token_id), orjson.dumps(value), 0)
        return secret, token_id

    async def find(self, secret: str) -> Who | None:
        if not secret.startswith(TOKEN_PREFIX) or len(secret) > 200:
            return None
        record = await self._bus.get(_token_key(_hashed(secret)[:ID_LENGTH]))
        if record is None:
            return None
        stored = orjson.loads(record.value)
        if not same(_hashed(secret), stored["hash"]):
            return None
        return Who(Kind(stored["kind"]), int(stored["employee"]), str(stored["filter_id"]))

    async def of(self, who: Who) -> list[dict[str, object]]:
        """Theirs: `id`, `name` and `made_at`, the newest first."""
        found = []
        async for record in self._bus.load("state.token.*"):
            stored = orjson.loads(record.value)
            if _makers(stored) == (who.kind.value, who.employee, who.filter_id):
                token_id = record.key.rsplit(".", 1)[1]
                found.append({"id": token_id, "name": stored["name"], "made_at": stored["made_at"]})
        return sorted(found, key=lambda one: -one["made_at"])

    async def end(self, who: Who, token_id: str) -> bool:
        """False where there is none of theirs with this id."""
        if len(token_id) != ID_LENGTH or not token_id.isalnum():
            return False
        record = await self._bus.get(_token_key(token_id))
        if record is None or _makers(orjson.loads(record.value)) != (who.kind.value, who.employee, who.filter_id):
            return False
        await self._bus.commit(None, [Put(_token_key(token_id), None, expect_seq=record.seq)])
        return True


def _makers(stored: dict[str, Any]) -> tuple[object, ...]:
    return stored["kind"], stored["employee"], stored["filter_id"]


def same(given: str, wanted: str) -> bool:
    """Compared in constant time; an empty secret is no secret and equals nothing."""
    return bool(wanted) and compare_digest(given.encode(), wanted.encode())


def _key(token: str) -> str:
    """Whoever reads the store cannot sign in with what is there."""
    return f"state.session.{_hashed(token)}"


def _token_key(token_id: str) -> str:
    return f"state.token.{token_id}"


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
