"""From a signed link over Google's consent page to an enabled filter (2-semantics 2.4, 3-architecture 3.6).

A GET of a link uses nothing up, since mail scanners fetch links; only the successful callback does. Its order is:
keep the grant, publish `Enable`, remember the link as used; dying in between leaves a link that can be repeated.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Any, Final, Protocol

import anyio
import orjson
from aiohttp import web

from contactsync.errors import AccessDenied, Rejected, VendorError
from contactsync.gateway.links import OAUTH_VALID_S, Link, LinkExpired, LinkForged, Signer
from contactsync.gateway.owners import Owners
from contactsync.gateway.places import Places
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.rights import activatable
from contactsync.gateway.sessions import Kind, Sessions
from contactsync.gateway.signin import LOGIN, SIGNED_IN_COOKIE, SignIn
from contactsync.gateway.visits import Visit, Visits, WrongBrowser
from contactsync.google.oauth import Identity, OAuth, TokenAnswer, authorisation_url, identity_of
from contactsync.planfix.port import PlanfixApi
from contactsync.runtime.bus import Bus, NoAnswer, Refused
from contactsync.runtime.logs import get_logger
from contactsync_contracts import subjects
from contactsync_contracts.messages import Enable, type_of

BROWSER_COOKIE: Final = "contactsync_visit"
GOOGLE_WAIT_S: Final = 45.0
QUERY_WAIT_S: Final = 5.0

log = get_logger("gateway")


class Grants(Protocol):
    """What activation needs of `runtime/grants.py`. `account` is the account's token."""

    async def store_grant(self, account: str, email: str, answer: TokenAnswer) -> object: ...


class Activation:
    """The two routes. `oauth` is None while no Google client is set up."""

    def __init__(
        self,
        *,
        bus: Bus,
        planfix: PlanfixApi,
        grants: Grants,
        oauth: OAuth | None,
        signer: Signer,
        places: Places,
        sessions: Sessions,
        signin: SignIn,
    ) -> None:
        self._bus = bus
        self._planfix = planfix
        self._grants = grants
        self._oauth = oauth
        self._signer = signer
        self._places = places
        self._sessions = sessions
        self._signin = signin
        self._visits = Visits(bus)
        self._owners = Owners(bus)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get(f"{self._places.base}activate/{{signed}}", self.activate)
        app.router.add_get(f"{self._places.base}oauth/google/callback", self.callback)

    async def new_link(
        self, filter_id: str, user: int | None, *, relink: bool, shared: bool = False
    ) -> tuple[str, float]:
        """A link for the filter's owner and its expiry. Raises Refusal where it could not be used."""
        _, owner = await activatable(self._planfix, filter_id, user)
        signed, expires_at = self._signer.link(filter_id, owner, relink=relink, shared=shared)
        return self._places.link(signed), expires_at

    async def activate(self, request: web.Request) -> web.Response:
        signed = request.match_info["signed"]
        link = self._read(signed)
        again = f"activate/{signed}"
        if await self._visits.is_used(link.jti):
            raise Refusal(Problem.LINK_USED)
        if self._oauth is None:
            raise Refusal(Problem.GOOGLE_NOT_SET, again=again)
        try:
            found, _ = await activatable(self._planfix, link.filter_id, link.user)
        except Refusal as refusal:
            retry = refusal.problem in (Problem.PLANFIX_DOWN, Problem.PLAN_NEEDED, Problem.PLANFIX_DENIED)
            refusal.again = again if retry else None
            raise
        cookie = _plausible(request.cookies.get(BROWSER_COOKIE)) or secrets.token_urlsafe(32)
        visit_id, visit = await self._visits.begin(link, signed, found.name, cookie)
        address = authorisation_url(
            self._oauth.endpoints,
            redirect_uri=self._places.callback,
            state=self._signer.state(visit_id),
            nonce=visit.nonce,
            verifier=visit.verifier,
        )
        response = web.Response(status=302, headers={"Location": address})
        self._places.set_cookie(response, BROWSER_COOKIE, cookie, OAUTH_VALID_S)
        return response

    async def callback(self, request: web.Request) -> web.Response:
        visit_id = self._state(request)
        if visit_id.startswith(LOGIN):
            return await self._signin.callback(request, visit_id)
        visit = await self._visit(request, visit_id)
        again = f"activate/{visit.signed}"
        if error := request.query.get("error"):
            problem = Problem.DENIED if error == "access_denied" else Problem.GOOGLE_ERROR
            await self._visits.end(visit_id)
            raise Refusal(problem, again=again)
        if not await self._visits.end(visit_id):
            raise Refusal(Problem.STATE_INVALID, again=again)
        tokens, identity = await self._who(request.query.get("code", ""), visit, again)
        account = subjects.token(identity.sub)
        await self._require_free(account, identity, visit, again)
        if await self._visits.is_used(visit.jti):
            raise Refusal(Problem.LINK_USED)
        if not await self._owners.claim(account, visit.user) and not visit.shared:
            raise Refusal(Problem.ACCOUNT_TAKEN, again=again)
        await self._enable(account, identity, tokens, visit)
        await self._visits.use_up(visit.jti)
        log.info(
            "filter activated", filter=visit.filter_id, account=account, employee=visit.user, relink=visit.relink
        )
        path = f"{self._places.base}filters/{subjects.token(visit.filter_id)}"
        response = web.Response(status=303, headers={"Location": f"{path}?activated=1"})
        before = await self._sessions.find(request.cookies.get(SIGNED_IN_COOKIE))
        if before is None or before.kind is not Kind.EMPLOYEE or before.employee != visit.user:
            # A link may have been handed on: it opens its own filter, and no other one of that employee.
            token = await self._sessions.begin(Kind.LINK, employee=visit.user, filter_id=visit.filter_id)
            self._signin.keep(response, token)
        return response

    def _read(self, signed: str) -> Link:
        try:
            return self._signer.read_link(signed)
        except LinkExpired as error:
            raise Refusal(Problem.LINK_EXPIRED) from error
        except LinkForged as error:
            raise Refusal(Problem.LINK_FORGED) from error

    def _state(self, request: web.Request) -> str:
        """The id of the visit that the state names, ours and not too old."""
        try:
            return self._signer.read_state(request.query.get("state", ""))
        except (LinkExpired, LinkForged) as error:
            raise Refusal(Problem.STATE_INVALID) from error

    async def _visit(self, request: web.Request, visit_id: str) -> Visit:
        """That visit, if this is the browser that began it."""
        try:
            visit = await self._visits.find(visit_id, request.cookies.get(BROWSER_COOKIE))
        except WrongBrowser as error:
            raise Refusal(Problem.OTHER_BROWSER) from error
        if visit is None:
            raise Refusal(Problem.STATE_INVALID)
        return visit

    async def _who(self, code: str, visit: Visit, again: str) -> tuple[TokenAnswer, Identity]:
        """Exchange the code and check everything that Google says about the account."""
        if self._oauth is None:
            raise Refusal(Problem.GOOGLE_NOT_SET, again=again)
        try:
            with anyio.fail_after(GOOGLE_WAIT_S):
                tokens = await self._oauth.exchange(code, verifier=visit.verifier, redirect_uri=self._places.callback)
                # State and PKCE bind the code to this visit; an id token, where there is one, has to agree.
                claims = tokens.claims
                said = identity_of(claims, self._oauth.endpoints.client_id) if claims else None
                identity = await self._oauth.userinfo(tokens.access_token)
        except Rejected as error:
            raise Refusal(Problem.CODE_STALE, again=again) from error
        except AccessDenied as error:
            log.warning("Google refuses the sign-in", reason=error.reason)
            raise Refusal(Problem.GOOGLE_ERROR, again=again) from error
        except (VendorError, TimeoutError) as error:
            raise Refusal(Problem.GOOGLE_DOWN, again=again) from error
        if said is not None and not (
            said.sub == identity.sub and compare_digest((said.nonce or "").encode(), visit.nonce.encode())
        ):
            raise Refusal(Problem.IDENTITY_WRONG, again=again)
        self._require_usable(tokens, identity, again)
        return tokens, identity

    def _require_usable(self, tokens: TokenAnswer, identity: Identity, again: str) -> None:
        if not identity.email_verified or not identity.email:
            raise Refusal(Problem.EMAIL_UNVERIFIED, again=again)
        allowed = self._places.allowed_domains
        if allowed and identity.email.rpartition("@")[2].lower() not in allowed:
            raise Refusal(Problem.DOMAIN_REFUSED, again=again, domains=", ".join(allowed))
        if not tokens.may_write_contacts:
            raise Refusal(Problem.SCOPE_MISSING, again=again)
        if tokens.refresh_token is None:
            raise Refusal(Problem.NO_REFRESH_TOKEN, again=again)

    async def _require_free(self, account: str, identity: Identity, visit: Visit, again: str) -> None:
        """The account is nobody else's unless the operator allowed that, and the filter is not another account's
        unless re-linking is asked for."""
        owner = await self._owners.owner(account)
        if owner is not None and owner != visit.user and not visit.shared:
            raise Refusal(Problem.ACCOUNT_TAKEN, again=again)
        status = await status_of(self._bus, visit.filter_id)
        if status is None:
            return
        connected = status.get("account")
        if status.get("state") == "disconnecting" and connected != account:
            raise Refusal(Problem.LEAVING, again=again)
        same = connected == account if connected else _same_email(status.get("google_account"), identity.email)
        if not same and not visit.relink:
            raise Refusal(Problem.OTHER_ACCOUNT, again=again)

    async def _enable(self, account: str, identity: Identity, tokens: TokenAnswer, visit: Visit) -> None:
        await self._grants.store_grant(account, identity.email, tokens)
        message = Enable(
            request_id=visit.jti,
            filter_id=visit.filter_id,
            filter_name=visit.filter_name,
            owner=visit.user,
            account=account,
            google_email=identity.email,
            relink=visit.relink,
        )
        await self._bus.publish(
            subjects.mailbox(visit.filter_id, "command"),
            message.model_dump_json().encode(),
            msg_id=f"{subjects.token(visit.filter_id)}.command.{visit.jti}",
            type_=type_of(message),
        )


async def status_of(bus: Bus, filter_id: str) -> dict[str, Any] | None:
    """The reconciler's status of a filter, None when it is not synchronised. Raises Refusal when nobody answers."""
    try:
        answer = await bus.request(
            subjects.query("status"), orjson.dumps({"filter_id": filter_id}), timeout_s=QUERY_WAIT_S
        )
    except Refused as error:
        if error.code == 404:
            return None
        raise Refusal(Problem.NATS_DOWN) from error
    except NoAnswer as error:
        raise Refusal(Problem.NATS_DOWN) from error
    found: dict[str, Any] = orjson.loads(answer)
    return found


def _same_email(connected: object, email: str) -> bool:
    return not connected or (isinstance(connected, str) and connected.casefold() == email.casefold())


def _plausible(cookie: str | None) -> str | None:
    return cookie if cookie and 32 <= len(cookie) <= 64 else None
