"""Google's OAuth 2 and OpenID Connect endpoints: the address to send people to, codes, tokens, who it was.

Plain aiohttp with deadlines: aiogoogle's own client has none, refuses unknown keys in an answer and refreshes
without a lock. The gateway does the activation with it, `runtime/grants.py` the refreshing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
import orjson

from contactsync.errors import AccessDenied, NotConnected, OutcomeUnknown, Rejected, Unavailable, VendorError

CONTACTS_SCOPE: Final = "https://www.googleapis.com/auth/contacts"
SCOPES: Final = ("openid", "email", CONTACTS_SCOPE)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=12, sock_connect=5)
"""Below the lease of a refresh, so that no second process asks meanwhile."""
_ANSWER_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class GoogleEndpoints:
    people_url: str
    auth_url: str
    token_url: str
    revoke_url: str
    userinfo_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """`scopes` is None where the answer does not say. `claims`: of the id token, empty without one."""

    access_token: str = field(repr=False)
    expires_in_s: float
    refresh_token: str | None = field(default=None, repr=False)
    scopes: frozenset[str] | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def may_write_contacts(self) -> bool:
        return self.scopes is None or CONTACTS_SCOPE in self.scopes


@dataclass(frozen=True, slots=True)
class Identity:
    """`sub` is Google's lasting id of the account; the e-mail counts only if it is verified."""

    sub: str
    email: str
    email_verified: bool
    nonce: str | None = None


def challenge(verifier: str) -> str:
    """PKCE S256 (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def authorisation_url(
    endpoints: GoogleEndpoints,
    *,
    redirect_uri: str,
    state: str,
    nonce: str,
    verifier: str,
    login_hint: str | None = None,
    scopes: tuple[str, ...] = SCOPES,
    lasting: bool = True,
) -> str:
    """Where a person grants access. `lasting`: `prompt=consent` makes Google give a refresh token every time; without
    it there is none, as befits a mere sign-in (an account's hundredth refresh token ends its first)."""
    query = {
        "response_type": "code",
        "client_id": endpoints.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "access_type": "offline" if lasting else "online",
        "prompt": "consent select_account" if lasting else "select_account",
    }
    if login_hint:
        query["login_hint"] = login_hint
    parts = urlsplit(endpoints.auth_url)
    joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
    return urlunsplit(parts._replace(query=joined))


def identity_of(claims: Mapping[str, Any], client_id: str | None = None) -> Identity:
    """From an id token's claims or a userinfo answer.

    `client_id` checks the audience of an id token. Raises AccessDenied when it is for somebody else or names
    nobody. The nonce is for the caller to compare.
    """
    audience = claims.get("aud")
    if client_id is not None and client_id not in (audience if isinstance(audience, list) else [audience]):
        raise AccessDenied("the identity is meant for another application")
    sub = claims.get("sub", claims.get("id"))  # the older userinfo's name
    if isinstance(sub, int) and not isinstance(sub, bool):
        sub = str(sub)
    if not isinstance(sub, str) or not sub:
        raise AccessDenied("Google did not say which account this is")
    return Identity(
        sub=sub,
        email=str(claims.get("email") or ""),
        email_verified=claims.get("email_verified", claims.get("verified_email")) in (True, "true"),
        nonce=claims.get("nonce"),
    )


class OAuth:
    """`session` belongs to the caller. Every method raises Unavailable when Google cannot be asked."""

    def __init__(self, endpoints: GoogleEndpoints, session: aiohttp.ClientSession) -> None:
        self.endpoints = endpoints
        self._session = session

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> TokenAnswer:
        """A code of the callback for tokens, once. Raises Rejected for a code that is not good (any more)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        try:
            return await self._token(form)
        except NotConnected as error:
            raise Rejected("Google does not take the code: it is used, expired or not its own") from error

    async def refresh(self, refresh_token: str) -> TokenAnswer:
        """A new access token. Raises NotConnected when the grant is dead (`invalid_grant`)."""
        return await self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def revoke(self, token: str) -> None:
        """End a grant (by its refresh token). One that is over already is no error."""
        status, _ = await self._send("POST", self.endpoints.revoke_url, form={"token": token})
        if status >= 500 or status == 429:
            raise OutcomeUnknown(f"Google answered {status} to a revocation")

    async def userinfo(self, access_token: str) -> Identity:
        status, body = await self._send("GET", self.endpoints.userinfo_url, bearer=access_token)
        if status == 401:
            raise NotConnected("Google refuses the access token")
        if status != 200 or body is None:
            raise _judge(status, body)
        return identity_of(body)

    async def _token(self, form: Mapping[str, str]) -> TokenAnswer:
        credentials = {
            "client_id": self.endpoints.client_id,
            "client_secret": self.endpoints.client_secret,
        }
        status, body = await self._send("POST", self.endpoints.token_url, form={**credentials, **form})
        if status != 200 or body is None:
            raise _judge(status, body)
        access = body.get("access_token")
        if not isinstance(access, str) or not access:
            raise Unavailable("the token answer holds no token")
        refresh, scope = body.get("refresh_token"), body.get("scope")
        return TokenAnswer(
            access_token=access,
            expires_in_s=_seconds(body.get("expires_in")),
            refresh_token=refresh if isinstance(refresh, str) and refresh else None,
            scopes=frozenset(scope.split()) if isinstance(scope, str) else None,
            claims=_claims(body.get("id_token")),
        )

    async def _send(
        self, method: str, url: str, *, form: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> tuple[int, dict[str, Any] | None]:
        headers = {"Accept": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        try:
            async with self._session.request(
                method, url, data=form, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                content = await response.content.read(_ANSWER_BYTES_MAX)
                while chunk := await response.content.read(_ANSWER_BYTES_MAX - len(content)):
                    content += chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"Google's sign-in is not reachable ({type(error).__name__})") from error
        try:
            decoded = orjson.loads(content)
        except orjson.JSONDecodeError:
            decoded = None
        return response.status, decoded if isinstance(decoded, dict) else None


def _judge(status: int, body: Mapping[str, Any] | None) -> VendorError:
    code = (body or {}).get("error")
    match code:
        case "invalid_grant":
            return NotConnected("the permission was withdrawn or has expired")
        case "invalid_client" | "unauthorized_client" | "invalid_request" | "unsupported_grant_type":
            return AccessDenied(f"Google refuses this application ({code})")
        case _ if status in (400, 401, 403) and body is not None:
            return AccessDenied(f"Google refuses the request ({status})")
        case _:
            return Unavailable(f"Google's sign-in answered {status}", 10.0)


def _seconds(value: object) -> float:
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return 300.0  # it did not say: ask again soon


def _claims(id_token: object) -> dict[str, Any]:
    """The claims of an id token. It came straight from the token endpoint, so that the connection vouches for it
    in the place of its signature (OpenID Connect Core 3.1.3.7, 6)."""
    parts = id_token.split(".") if isinstance(id_token, str) else []
    if len(parts) != 3:
        return {}
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
