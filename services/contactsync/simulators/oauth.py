"""Google's sign-in as the gateway meets it: consent page, codes with PKCE, tokens, id tokens, revocation.

`GoogleSimulator` asks `grant_of` whose access token it was. What people do on the page are links; a test follows
them, or names the account beforehand (`login_hint`, `auto_account`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import orjson

from .wire import Request, Response

CONTACTS_SCOPE: Final = "https://www.googleapis.com/auth/contacts"
ACCESS_TOKEN_LIFE_S: Final = 3599
CODE_LIFE_S: Final = 600.0
AUTH_PATH: Final = "/o/oauth2/v2/auth"
PATHS: Final = frozenset({AUTH_PATH, "/token", "/userinfo", "/v1/userinfo", "/revoke"})
_LONG_NAMES: Final = {
    "email": "https://www.googleapis.com/auth/userinfo.email",
    "profile": "https://www.googleapis.com/auth/userinfo.profile",
}
_JSON: Final = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
_HTML: Final = {"Content-Type": "text/html; charset=UTF-8"}


@dataclass(slots=True)
class OAuthOptions:
    """``client_id`` None accepts every client. ``redirect_uris`` empty accepts every loopback and https address."""

    client_id: str | None = None
    client_secret: str | None = None
    redirect_uris: tuple[str, ...] = ()
    issuer: str = "https://accounts.google.com"
    auto_account: str | None = None
    """Consents at once as this account, without the page."""
    seed: int = 1


@dataclass(slots=True)
class Grant:
    """What a person allowed one client. Revoking it ends its access tokens too."""

    email: str
    scopes: frozenset[str]
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class _Code:
    grant: Grant
    query: Mapping[str, str]
    expires_s: float


class _OAuthError(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.response = Response(
            status, orjson.dumps({"error": error, "error_description": description}), dict(_JSON)
        )


class OAuthSimulator:
    """``handle`` answers the paths of `PATHS`. Accounts are known by `add_account`."""

    def __init__(self, clock: Callable[[], float], options: OAuthOptions | None = None) -> None:
        self.clock = clock
        self.options = options or OAuthOptions()
        self._rng = random.Random(f"oauth {self.options.seed}")
        self._subs: dict[str, str] = {}
        self._codes: dict[str, _Code] = {}
        self._refresh: dict[str, Grant] = {}
        self._access: dict[str, tuple[Grant, float]] = {}

    # -- accounts and grants -------------------------------------------------------------------------------

    def add_account(self, email: str, sub: str) -> None:
        self._subs[email] = sub

    def issue(self, email: str, scopes: frozenset[str]) -> dict[str, str]:
        """Tokens as if the person had consented."""
        if email not in self._subs:
            raise ValueError(f"there is no account {email}")
        grant = Grant(email, scopes)
        refresh = self._secret("1//0")
        self._refresh[refresh] = grant
        return {"access_token": self._new_access(grant), "refresh_token": refresh}

    def grant_of(self, access_token: str) -> Grant | None:
        """None for an unknown, expired or revoked token."""
        grant, expires_s = self._access.get(access_token, (None, 0.0))
        return None if grant is None or grant.revoked or self.clock() >= expires_s else grant

    def revoke_all(self, email: str) -> int:
        """Every grant of the account, as on its security page; how many there were."""
        alive = {id(grant): grant for grant in self._refresh.values()} | {
            id(grant): grant for grant, _ in self._access.values()
        }
        ended = [grant for grant in alive.values() if grant.email == email and not grant.revoked]
        for grant in ended:
            grant.revoked = True
        return len(ended)

    def expire_access_tokens(self, email: str) -> None:
        self._access = {
            token: (grant, 0.0 if grant.email == email else expires_s)
            for token, (grant, expires_s) in self._access.items()
        }

    # -- endpoints -----------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        try:
            match request.method, request.path:
                case "GET", path if path == AUTH_PATH:
                    return self._authorise(request)
                case "POST", "/token":
                    return self._token(_form(request))
                case "GET" | "POST", "/userinfo" | "/v1/userinfo":
                    return self._userinfo(request)
                case "POST", "/revoke":
                    return self._revoke({**_single(request.query), **_form(request)})
                case _:
                    return Response(405, b"", dict(_HTML))
        except _OAuthError as error:
            return error.response

    def _authorise(self, request: Request) -> Response:
        query = _single(request.query)
        problem = self._problem(query)
        if problem is not None:
            return Response(400, f"<h1>Error 400</h1><p>{html.escape(problem)}</p>".encode(), dict(_HTML))
        if query.get("decision") == "deny":
            return _redirect(query, {"error": "access_denied"})
        chosen = query.get("select_account") or self.options.auto_account or query.get("login_hint")
        if chosen not in self._subs:
            return Response(200, self._page(query).encode(), dict(_HTML))
        asked = query["scope"].split()
        untick = set(query.get("untick", "").split())
        grant = Grant(chosen, frozenset(scope for scope in asked if scope not in untick))
        code = self._secret("4/0")
        self._codes[code] = _Code(grant, query, self.clock() + CODE_LIFE_S)
        granted = " ".join(scope for scope in asked if scope in grant.scopes)
        return _redirect(query, {"code": code, "scope": granted, "authuser": "0", "prompt": "consent"})

    def _problem(self, query: Mapping[str, str]) -> str | None:
        for name in ("client_id", "redirect_uri", "response_type", "scope", "state"):
            if not query.get(name):
                return f"Required parameter is missing: {name}"
        if self.options.client_id is not None and query["client_id"] != self.options.client_id:
            return "invalid_client: The OAuth client was not found."
        uri = query["redirect_uri"]
        allowed = self.options.redirect_uris
        if uri not in allowed if allowed else not _plausible_redirect(uri):
            return "redirect_uri_mismatch"
        if query["response_type"] != "code":
            return "unsupported_response_type"
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
            return "invalid_request: code challenge with method S256 is required"
        if query.get("access_type", "online") not in ("online", "offline"):
            return "invalid_request: access_type"
        if set(query.get("prompt", "").split()) - {"none", "consent", "select_account"}:
            return "invalid_request: prompt"
        return None

    def _page(self, query: Mapping[str, str]) -> str:
        def link(text: str, **extra: str) -> str:
            target = f"{AUTH_PATH}?{urlencode({**query, **extra})}"
            kind = next(iter(extra))
            return f'<p><a class="{kind}" href="{html.escape(target)}">{html.escape(text)}</a></p>'

        rows = [link("Cancel", decision="deny")]
        for email in self._subs:
            rows.append(link(f"Continue as {email}", select_account=email))
            rows.append(link(f"Continue as {email} without contacts", untick=CONTACTS_SCOPE, select_account=email))
        return (
            f"<!DOCTYPE html><html><title>Choose an account</title><h1>Choose an account</h1>{''.join(rows)}</html>"
        )

    def _token(self, form: Mapping[str, str]) -> Response:
        wrong_id = self.options.client_id is not None and form.get("client_id") != self.options.client_id
        secret = self.options.client_secret
        if wrong_id or (secret is not None and form.get("client_secret") != secret):
            raise _OAuthError("invalid_client", "The OAuth client was not found.", 401)
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form)
            case "refresh_token":
                grant = self._refresh.get(form.get("refresh_token", ""))
                if grant is None or grant.revoked:
                    raise _OAuthError("invalid_grant", "Token has been expired or revoked.")
                return _json(self._tokens(grant))
            case _:
                raise _OAuthError("unsupported_grant_type", "Invalid grant_type.")

    def _exchange(self, form: Mapping[str, str]) -> Response:
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or code.expires_s <= self.clock():
            raise _OAuthError("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != code.query["redirect_uri"]:
            raise _OAuthError("redirect_uri_mismatch", "Bad Request")
        if form.get("client_id", code.query["client_id"]) != code.query["client_id"]:
            raise _OAuthError("invalid_grant", "The code was issued to another client.")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not hmac.compare_digest(_b64(digest), code.query["code_challenge"]):
            raise _OAuthError("invalid_grant", "Invalid code verifier.")
        answer = self._tokens(code.grant)
        offline = code.query.get("access_type") == "offline"
        if offline and "consent" in code.query.get("prompt", "").split():
            answer["refresh_token"] = self._secret("1//0")
            self._refresh[answer["refresh_token"]] = code.grant
        if "openid" in code.grant.scopes:
            answer["id_token"] = self._id_token(code)
        return _json(answer)

    def _tokens(self, grant: Grant) -> dict[str, Any]:
        return {
            "access_token": self._new_access(grant),
            "expires_in": ACCESS_TOKEN_LIFE_S,
            "scope": " ".join(sorted(_LONG_NAMES.get(scope, scope) for scope in grant.scopes)),
            "token_type": "Bearer",
        }

    def _new_access(self, grant: Grant) -> str:
        token = self._secret("ya29.")
        self._access[token] = (grant, self.clock() + ACCESS_TOKEN_LIFE_S)
        return token

    def _id_token(self, code: _Code) -> str:
        now = int(self.clock())
        claims: dict[str, Any] = {
            "iss": self.options.issuer,
            "aud": code.query["client_id"],
            "azp": code.query["client_id"],
            "iat": now,
            "exp": now + ACCESS_TOKEN_LIFE_S + 1,
            **self._identity(code.grant),
        }
        if code.query.get("nonce"):
            claims["nonce"] = code.query["nonce"]
        head = {"alg": "HS256", "kid": "simulated", "typ": "JWT"}
        signed = f"{_b64(orjson.dumps(head))}.{_b64(orjson.dumps(claims))}"
        key = (self.options.client_secret or "simulated").encode()
        return f"{signed}.{_b64(hmac.digest(key, signed.encode(), 'sha256'))}"

    def _identity(self, grant: Grant) -> dict[str, Any]:
        who: dict[str, Any] = {"sub": self._subs[grant.email]}
        if grant.scopes & {"email", "https://www.googleapis.com/auth/userinfo.email"}:
            who |= {"email": grant.email, "email_verified": True}
        return who

    def _userinfo(self, request: Request) -> Response:
        grant = self.grant_of(bearer(request))
        if grant is None:
            raise _OAuthError("invalid_request", "Invalid Credentials", 401)
        return _json(self._identity(grant))

    def _revoke(self, form: Mapping[str, str]) -> Response:
        token = form.get("token", "")
        grant = self._refresh.get(token) or self._access.get(token, (None, 0.0))[0]
        if grant is None or grant.revoked:
            raise _OAuthError("invalid_token", "Token expired or revoked")
        grant.revoked = True
        return _json({})

    def _secret(self, prefix: str) -> str:
        return prefix + _b64(self._rng.randbytes(30))


def bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _plausible_redirect(uri: str) -> bool:
    return uri.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]"))


def _redirect(query: Mapping[str, str], answer: Mapping[str, str]) -> Response:
    uri = query["redirect_uri"]
    joint = "&" if "?" in uri else "?"
    location = f"{uri}{joint}{urlencode({'state': query['state'], **answer})}"
    return Response(302, b"", {"Location": location, "Cache-Control": "no-store"})


def _single(query: Mapping[str, Any]) -> dict[str, str]:
    return {name: values[-1] for name, values in query.items() if values}


def _form(request: Request) -> dict[str, str]:
    if "json" in request.headers.get("content-type", ""):
        raise _OAuthError("invalid_request", "The body must be a form.")
    return _single(parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(200, orjson.dumps(answer), dict(_JSON))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
