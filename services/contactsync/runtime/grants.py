"""What employees granted us: refresh tokens, sealed, and access tokens fresh from them.

One record `state.account.<a>.grant` per Google account, changed by compare-and-set. An access token is
refreshed by one process at a time (a lease) and one task in it; all others read its result. A dead grant is
not tried again until its record changes. `google/oauth.py` asks Google; `google/calls.py` uses the tokens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from uuid import uuid4

import anyio
import orjson

from contactsync.errors import NotConnected, Unavailable
from contactsync.runtime.bus import Bus, Conflict, Put, Record, Transient
from contactsync.runtime.vault import Undecryptable, Vault
from contactsync_contracts.subjects import grant_key

GRANTS: Final = "state.account.*.grant"
EXPIRES_EARLY_S: Final = 120.0
LEASE_TTL_S: Final = 15
WAIT_STEP_S: Final = 0.1
ATTEMPTS: Final = 20
NO_CONTACTS: Final = "the permission to use the contacts was not given"


class TokenAnswer(Protocol):
    """What the token endpoint said: `google/oauth.py` has it. `scopes` is None where the answer does not say."""

    @property
    def access_token(self) -> str: ...

    @property
    def expires_in_s(self) -> float: ...

    @property
    def refresh_token(self) -> str | None: ...

    @property
    def scopes(self) -> frozenset[str] | None: ...

    @property
    def may_write_contacts(self) -> bool: ...


class TokenEndpoint(Protocol):
    async def refresh(self, refresh_token: str) -> TokenAnswer:
        """Raises NotConnected when the grant is dead, Unavailable when it cannot be asked."""

    async def revoke(self, token: str) -> None:
        """One that is over already is no error. Raises Unavailable, OutcomeUnknown."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`dead`: why a person has to reconnect. `version` grows with every change; `expires_at` is Unix seconds."""

    account: str
    email: str
    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    expires_at: float
    scopes: tuple[str, ...]
    version: int = 1
    dead: str | None = None


class AccessTokens:
    """Valid access tokens of the accounts. One per process; `now` is wall time."""

    def __init__(self, bus: Bus, vault: Vault, oauth: TokenEndpoint, *, now: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._vault = vault
        self._oauth = oauth
        self._now = now
        self._holder = uuid4().hex.encode()
        self._fresh: dict[str, Grant] = {}
        self._locks: dict[str, anyio.Lock] = {}

    async def token(self, account: str) -> str:
        """An access token good for two minutes at least. Raises NotConnected, Unavailable."""
        return await self._usable(account, None)

    async def refreshed(self, account: str, bad_token: str) -> str:
        """Google has just refused `bad_token`: another one. Raises NotConnected, Unavailable."""
        return await self._usable(account, bad_token)

    async def store_grant(self, account: str, email: str, answer: TokenAnswer) -> Grant:
        """A person has just granted access (again).

        Without a refresh token in the answer the one that we hold stays, if it is alive; else NotConnected.
        """
        for _ in range(ATTEMPTS):
            record, held = await self._load(account)
            refresh = answer.refresh_token or (held.refresh_token if held and not held.dead else None)
            if refresh is None:
                raise NotConnected("Google gave no lasting permission")
            grant = Grant(
                account=account,
                email=email,
                refresh_token=refresh,
                access_token=answer.access_token,
                expires_at=self._now() + answer.expires_in_s,
                scopes=tuple(sorted(answer.scopes or ())),
                version=held.version + 1 if held else 1,
                dead=None if answer.may_write_contacts else NO_CONTACTS,
            )
            if await self._save(grant, record):
                return grant
        raise Unavailable("the grant's record cannot be changed", 2.0)

    async def forget_grant(self, account: str) -> Grant | None:
        """Erase what we hold; the grant as it was, so that its refresh token can be revoked."""
        try:
            _, held = await self._load(account)
        except NotConnected:
            held = None
        self._fresh.pop(account, None)
        await self._bus.commit(None, [Put(grant_key(account), None)])
        return held

    async def release(self, account: str) -> None:
        """End the grant at Google, then erase it; repeated after a crash it finds less to do. Raises Unavailable,
        OutcomeUnknown."""
        try:
            _, held = await self._load(account)
        except NotConnected:
            held = None
        if held is not None:
            await self._oauth.revoke(held.refresh_token)
        await self.forget_grant(account)

    async def grant(self, account: str) -> Grant | None:
        """As it is now. Raises NotConnected when it cannot be opened."""
        return (await self._load(account))[1]

    async def mark_dead(self, account: str, reason: str) -> None:
        """A person has to reconnect; nothing happens to a grant that is dead or gone already."""
        for _ in range(ATTEMPTS):
            record, held = await self._load(account)
            if held is None or held.dead:
                return
            if await self._save(replace(held, dead=reason, version=held.version + 1), record):
                return

    # ---- inside

    async def _usable(self, account: str, bad_token: str | None) -> str:
        cached = self._fresh.get(account)
        if cached is not None and self._good(cached, bad_token):
            return cached.access_token
        async with self._locks.setdefault(account, anyio.Lock()):
            try:
                with anyio.fail_after(3 * LEASE_TTL_S):
                    while True:
                        _, held = await self._load(account)
                        if held is None:
                            raise NotConnected("no Google account is connected")
                        if held.dead:
                            raise NotConnected(held.dead)
                        if self._good(held, bad_token):
                            self._fresh[account] = held
                            return held.access_token
                        if (lease := await self._lease(account)) is None:
                            await anyio.sleep(WAIT_STEP_S)
                            continue
                        try:
                            renewed = await self._refresh(account, bad_token)
                        finally:
                            await self._release(account, lease)
                        if renewed is not None:
                            return renewed.access_token
            except TimeoutError as error:
                raise Unavailable("another process is refreshing the token", 5.0) from error
            except Transient as error:
                raise Unavailable("the grant's record cannot be read", error.retry_after_s) from error

    def _good(self, grant: Grant, bad_token: str | None) -> bool:
        return grant.access_token != bad_token and grant.expires_at - EXPIRES_EARLY_S > self._now()

    async def _refresh(self, account: str, bad_token: str | None) -> Grant | None:
        """Under the lease: ask Google once and write what came of it. None: look at the record again."""
        record, held = await self._load(account)
        if held is None or held.dead or self._good(held, bad_token):
            return None
        try:
            answer = await self._oauth.refresh(held.refresh_token)
        except NotConnected as error:
            self._fresh.pop(account, None)
            await self._save(replace(held, dead=error.reason, version=held.version + 1), record)
            return None
        renewed = replace(
            held,
            refresh_token=answer.refresh_token or held.refresh_token,
            access_token=answer.access_token,
            # Shorter than our own margin would mean refreshing before every call.
            expires_at=self._now() + max(answer.expires_in_s, EXPIRES_EARLY_S + 30.0),
            scopes=tuple(sorted(answer.scopes)) if answer.scopes else held.scopes,
            version=held.version + 1,
            dead=None if answer.may_write_contacts else NO_CONTACTS,
        )
        return renewed if await self._save(renewed, record) and not renewed.dead else None

    async def _lease(self, account: str) -> int | None:
        try:
            return await self._bus.cas(_lease_key(account), self._holder, 0, LEASE_TTL_S)
        except Conflict:
            return None

    async def _release(self, account: str, seq: int) -> None:
        """Otherwise it runs out by itself."""
        with anyio.move_on_after(2.0, shield=True), contextlib.suppress(Conflict, Transient):
            await self._bus.commit(None, [Put(_lease_key(account), None, expect_seq=seq)])

    async def _load(self, account: str) -> tuple[Record | None, Grant | None]:
        record = await self._bus.get(grant_key(account))
        return record, None if record is None else _open(record, self._vault)

    async def _save(self, grant: Grant, record: Record | None) -> bool:
        try:
            await self._bus.cas(grant_key(grant.account), _seal(grant, self._vault), record.seq if record else 0)
        except Conflict:
            return False
        if grant.dead:
            self._fresh.pop(grant.account, None)
        else:
            self._fresh[grant.account] = grant
        return True


async def all_accounts(bus: Bus) -> list[str]:
    """The accounts that have a grant, dead ones too."""
    return sorted([str(orjson.loads(record.value)["account"]) async for record in bus.load(GRANTS)])


def _lease_key(account: str) -> str:
    return f"lease.refresh.{account}"


def _seal(grant: Grant, vault: Vault) -> bytes:
    return orjson.dumps(
        {
            "account": grant.account,
            "email": grant.email,
            "refresh_token": vault.encrypt(grant.refresh_token.encode()).decode(),
            "access_token": vault.encrypt(grant.access_token.encode()).decode(),
            "expires_at": grant.expires_at,
            "scopes": grant.scopes,
            "version": grant.version,
            "dead": grant.dead,
        }
    )


def _open(record: Record, vault: Vault) -> Grant:
    json: dict[str, Any] = orjson.loads(record.value)
    try:
        refresh = vault.decrypt(json["refresh_token"].encode()).decode()
        access = vault.decrypt(json["access_token"].encode()).decode()
    except Undecryptable as error:
        raise NotConnected("the stored permission cannot be opened with the secret keys") from error
    return Grant(
        account=json["account"],
        email=json["email"],
        refresh_token=refresh,
        access_token=access,
        expires_at=float(json["expires_at"]),
        scopes=tuple(json["scopes"]),
        version=int(json["version"]),
        dead=json["dead"],
    )
