"""Secrets at rest: what is encrypted before it touches NATS, and the keys derived for signing and matching.

`SECRET_KEYS` are any texts; the first encrypts, all decrypt. Each use has a key of its own, derived by HKDF.
Grants, the gateway's signed links and the watchers' keyed hashes use it.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from contactsync.runtime.bus import Bus, Conflict, Record

MATCH_KEY: Final = "state.match_key"
MATCH_KEY_BYTES: Final = 32
_SALT: Final = b"contactsync"


class Undecryptable(Exception):
    """None of the keys opens it: a key was taken out of SECRET_KEYS too early, or it is not ours."""


class Vault:
    """Raises ValueError without any key."""

    def __init__(self, keys: Sequence[str]) -> None:
        given = [key for key in (key.strip() for key in keys) if key]
        if not given:
            raise ValueError("at least one secret key is needed")
        self._keys = given
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(key, "encryption"))) for key in given])

    def encrypt(self, plain: bytes) -> bytes:
        return self._fernet.encrypt(plain)

    def decrypt(self, sealed: bytes) -> bytes:
        """Raises Undecryptable."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise Undecryptable("none of the secret keys opens this") from error

    def rotate(self, sealed: bytes) -> bytes:
        """The same content under the first key. Raises Undecryptable."""
        try:
            return self._fernet.rotate(sealed)
        except InvalidToken as error:
            raise Undecryptable("none of the secret keys opens this") from error

    def signing_keys(self, purpose: str) -> list[bytes]:
        """For itsdangerous' `secret_key`: oldest first, since it signs with the last one and accepts all."""
        return [_derive(key, f"signing {purpose}") for key in reversed(self._keys)]

    async def match_key(self, bus: Bus) -> bytes:
        """The key of the keyed hashes of names and addresses: made once for all replicas and never changed, since
        every hash would change with it. Raises Undecryptable and the bus's errors."""
        record = await bus.get(MATCH_KEY)
        if record is None:
            made = self.encrypt(os.urandom(MATCH_KEY_BYTES))
            with contextlib.suppress(Conflict):  # another replica was first: its key counts
                await bus.cas(MATCH_KEY, made, 0)
            record = await bus.get(MATCH_KEY)
        return self.decrypt(_there(record).value)

    async def reseal_match_key(self, bus: Bus) -> None:
        """After a rotation of SECRET_KEYS: the same match key under the first of them."""
        record = await bus.get(MATCH_KEY)
        if record is not None:
            await bus.cas(MATCH_KEY, self.rotate(record.value), record.seq)


def _there(record: Record | None) -> Record:
    if record is None:
        raise Undecryptable("the match key was written and is not there")
    return record


def _derive(key: str, use: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=_SALT, info=use.encode()).derive(key.encode())
