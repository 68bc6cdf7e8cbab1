"""The ways in: Google's OpenID Connect for employees, the operator's token, and out again.

An activation link is the third way in (`activation.py`): it opens its own filter only.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hmac import compare_digest
from typing import Final
from urllib.parse import urlencode

import anyio
import orjson
from aiohttp import web

from contactsync.errors import AccessDenied, Rejected, VendorError
from contactsync.gateway.directory import Directory
from contactsync.gateway.links import OAUTH_VALID_S, Signer
from contactsync.gateway.places import Places
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.sessions import SESSION_VALID_S, Kind, Sessions, same
from contactsync.gateway.visits import browser_of, visit_key
from contactsync.google.oauth import Identity, OAuth, authorisation_url, identity_of
from contactsync.records import known_to
from contactsync.runtime.bus import Bus, Conflict, Put
from contactsync.runtime.logs import get_logger

SIGNED_IN_COOKIE: Final = "contactsync_signed_in"
LOGIN_COOKIE: Final = "contactsync_login"
LOGIN: Final = "login-"
"""Begins the id of a sign-in, to tell it from an activation's: both come back to the address that Google knows."""
LOGIN_SCOPES: Final = ("openid", "email")
GOOGLE_WAIT_S: Final = 45.0
WRONG_A_MINUTE: Final = 10
"""Wrong operator's tokens that this process takes."""

log = get_logger("gateway")


@dataclass(frozen=True, slots=True)
class _Visit:
    """The server's half of one sign-in. `browser`: hash of the cookie that has to come back. `then`: where to."""

    browser: str
    verifier: str
    nonce: str
    then: str


class SignIn:
    """The routes `login/google`, `login/operator`, `logout`; `oauth` is None while no Google client is set up."""

    def __init__(
        self,
        *,
        bus: Bus,
        sessions: Sessions,
        directory: Directory,
        oauth: OAuth | None,
        signer: Signer,
        places: Places,
        admin_token: str,
        clock: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._sessions = sessions
        self._directory = directory
        self._oauth = oauth
        self._signer = signer
        self._places = places
        self._admin_token = admin_token
        self._clock = clock
        self._wrong: deque[float] = deque()

    @property
    def with_google(self) -> bool:
        return self._oauth is not None

    @property
    def with_token(self) -> bool:
        return bool(self._admin_token)

    def add_routes(self, app: web.Application) -> None:
        base = self._places.base
        app.router.add_get(f"{base}login/google", self.to_google)
        app.router.add_post(f"{base}login/operator", self.operator)
        app.router.add_post(f"{base}logout", self.out)

    async def to_google(self, request: web.Request) -> web.Response:
        if self._oauth is None:
            raise Refusal(Problem.GOOGLE_NOT_SET, again="login")
        cookie, visit_id = secrets.token_urlsafe(32), LOGIN + secrets.token_hex(16)
        visit = _Visit(
            browser=browser_of(cookie),
            verifier=secrets.token_urlsafe(48),
            nonce=secrets.token_urlsafe(24),
            then=request.query.get("then", "")[:400],
        )
        await self._bus.commit(None, [Put(visit_key(visit_id), orjson.dumps(asdict(visit)), ttl_s=OAUTH_VALID_S)])
        address = authorisation_url(
            self._oauth.endpoints,
            redirect_uri=self._places.callback,
            state=self._signer.state(visit_id),
            nonce=visit.nonce,
            verifier=visit.verifier,
            scopes=LOGIN_SCOPES,
            lasting=False,
        )
        response = web.Response(status=302, headers={"Location": address})
        self._places.set_cookie(response, LOGIN_COOKIE, cookie, OAUTH_VALID_S)
        return response

    async def callback(self, request: web.Request, visit_id: str) -> web.Response:
        """The rest of a sign-in whose state was ours and not too old."""
        visit = await self._used_up(visit_id, request.cookies.get(LOGIN_COOKIE))
        again = login_path(visit.then)
        if error := request.query.get("error"):
            raise Refusal(Problem.DENIED if error == "access_denied" else Problem.GOOGLE_ERROR, again=again)
        identity = await self._who(request.query.get("code", ""), visit, again)
        if not identity.email_verified or not identity.email:
            raise Refusal(Problem.EMAIL_UNVERIFIED, again=again)
        found = (await self._directory.listing(at_most_s=5.0)).by_email(identity.email)
        if len(found) != 1:
            raise Refusal(Problem.NO_EMPLOYEE if not found else Problem.MANY_EMPLOYEES, again=again)
        token = await self._sessions.begin(Kind.EMPLOYEE, employee=found[0].number)
        log.info("an employee signed in", employee=found[0].number)
        response = web.Response(status=303, headers={"Location": self._places.local(visit.then)})
        self.keep(response, token)
        self._places.drop_cookie(response, LOGIN_COOKIE)
        return response

    async def operator(self, request: web.Request) -> web.Response:
        form = await request.post()
        now = self._clock()
        while self._wrong and self._wrong[0] <= now - 60.0:
            self._wrong.popleft()
        if len(self._wrong) >= WRONG_A_MINUTE:
            raise Refusal(Problem.TOO_MANY, again="login")
        if not same(str(form.get("token", "")), self._admin_token):
            self._wrong.append(now)
            log.warning("a wrong operator's token was given")
            raise Refusal(Problem.TOKEN_WRONG, again="login")
        token = await self._sessions.begin(Kind.OPERATOR)
        log.info("the operator signed in")
        response = web.Response(status=303, headers={"Location": self._places.base})
        self.keep(response, token)
        return response

    async def out(self, request: web.Request) -> web.Response:
        await self._sessions.end(request.cookies.get(SIGNED_IN_COOKIE))
        response = web.Response(status=303, headers={"Location": f"{self._places.base}login"})
        self._places.drop_cookie(response, SIGNED_IN_COOKIE)
        return response

    def keep(self, response: web.Response, token: str) -> None:
        """Sign the browser in with what `Sessions.begin` gave."""
        self._places.set_cookie(response, SIGNED_IN_COOKIE, token, SESSION_VALID_S)

    async def _used_up(self, visit_id: str, cookie: str | None) -> _Visit:
        """The visit, which can be used once, by the browser that began it."""
        record = await self._bus.get(visit_key(visit_id))
        if record is None:
            raise Refusal(Problem.STATE_INVALID, again="login")
        visit = _Visit(**known_to(_Visit, orjson.loads(record.value)))
        if not cookie or not compare_digest(browser_of(cookie), visit.browser):
            raise Refusal(Problem.OTHER_BROWSER, again="login")
        try:
            await self._bus.commit(None, [Put(visit_key(visit_id), None, expect_seq=record.seq)])
        except Conflict as error:
            raise Refusal(Problem.STATE_INVALID, again="login") from error
        return visit

    async def _who(self, code: str, visit: _Visit, again: str) -> Identity:
        """What Google says, by its token endpoint and the nonce; tokens are not kept."""
        if self._oauth is None:
            raise Refusal(Problem.GOOGLE_NOT_SET, again=again)
        try:
            with anyio.fail_after(GOOGLE_WAIT_S):
                tokens = await self._oauth.exchange(code, verifier=visit.verifier, redirect_uri=self._places.callback)
                said = identity_of(tokens.claims, self._oauth.endpoints.client_id) if tokens.claims else None
                identity = await self._oauth.userinfo(tokens.access_token)
        except Rejected as error:
            raise Refusal(Problem.CODE_STALE, again=again) from error
        except AccessDenied as error:
            raise Refusal(Problem.GOOGLE_ERROR, again=again) from error
        except (VendorError, TimeoutError) as error:
            raise Refusal(Problem.GOOGLE_DOWN, again=again) from error
        if said is not None and not (
            said.sub == identity.sub and compare_digest((said.nonce or "").encode(), visit.nonce.encode())
        ):
            raise Refusal(Problem.IDENTITY_WRONG, again=again)
        return identity


def login_path(then: str) -> str:
    """Where to sign in, and be led to a page of ours afterwards (checked by `Places.local`)."""
    return f"login?{urlencode({'then': then})}" if then else "login"
