"""Signed links and states: what the gateway gives away and gets back, and cannot be made by anybody else.

Keys come from the vault: the first of SECRET_KEYS signs, all are accepted, so that they can be rotated.
`activation.py` uses links up, `queries.py` makes them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from contactsync.runtime.vault import Vault

Clock = Callable[[], float]

LINK_VALID_S: Final = 7 * 86_400
OAUTH_VALID_S: Final = 15 * 60


class LinkForged(Exception):
    """Nothing that we signed, or damaged on the way."""


class LinkExpired(Exception):
    """We signed it, too long ago."""


@dataclass(frozen=True, slots=True)
class Link:
    """An invitation of the employee `user` to synchronise a filter; `jti` is used up once. `relink`: with another
    account than the one of before; `shared`: even with one that another employee uses."""

    filter_id: str
    user: int
    jti: str
    relink: bool = False
    shared: bool = False


class Signer:
    """Signs links and OAuth states; each has its own key, so that none passes for another."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self._clock = clock
        self._link = _serializer(vault, "link", clock)
        self._state = _serializer(vault, "oauth state", clock)

    def link(self, filter_id: str, user: int, *, relink: bool, shared: bool = False) -> tuple[str, float]:
        """The signed text of a new link, and when it expires (Unix seconds)."""
        body = {"f": filter_id, "u": user, "j": secrets.token_hex(16), "r": relink, "s": shared}
        return _text(self._link.dumps(body)), self._clock() + LINK_VALID_S

    def read_link(self, text: str) -> Link:
        """Raises LinkForged, LinkExpired."""
        match _loads(self._link, text, LINK_VALID_S):
            case {"f": str(filter_id), "u": int(user), "j": str(jti), "r": bool(relink), **rest}:
                return Link(filter_id, user, jti, relink, shared=rest.get("s") is True)
        raise LinkForged

    def state(self, state_id: str) -> str:
        return _text(self._state.dumps(state_id))

    def read_state(self, text: str) -> str:
        """Raises LinkForged, LinkExpired."""
        state_id = _loads(self._state, text, OAUTH_VALID_S)
        if not isinstance(state_id, str):
            raise LinkForged
        return state_id


def _serializer(vault: Vault, purpose: str, clock: Clock) -> URLSafeTimedSerializer:
    class ClockSigner(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(clock())

    return URLSafeTimedSerializer(
        vault.signing_keys(purpose),
        salt=f"contactsync {purpose}",
        signer=ClockSigner,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


def _loads(serializer: URLSafeTimedSerializer, text: str, valid_s: int) -> Any:
    try:
        return serializer.loads(text, max_age=valid_s)
    except SignatureExpired as error:
        raise LinkExpired from error
    except BadData as error:
        raise LinkForged from error


def _text(signed: str | bytes) -> str:
    return signed if isinstance(signed, str) else signed.decode()
