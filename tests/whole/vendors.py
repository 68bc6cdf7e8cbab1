"""Both vendors in the same process: requests reach the simulators without a socket, with faults and in virtual time.

A request is on its way for a moment, takes effect at once, and its answer comes back a moment later. Once sent it
arrives, whatever becomes of the one who sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import orjson

from contactsync.errors import NotConnected, Unavailable
from contactsync.google.oauth import TokenAnswer
from contactsync.google.session import Carried
from contactsync.planfix.answers import Answer
from contactsync.runtime import tenure
from contactsync.simulators.faults import Faults, answer_of, judge
from contactsync.simulators.google import GoogleSimulator
from contactsync.simulators.google_errors import GoogleError
from contactsync.simulators.google_options import GoogleOptions
from contactsync.simulators.planfix import PlanfixSimulator
from contactsync.simulators.planfix_options import PlanfixOptions
from contactsync.simulators.wire import Request, Response

from .process import Life
from .virtual_time import VirtualLoop

PLANFIX_URL = "https://acme.planfix.test/rest/"
PEOPLE_URL = "https://people.google.test/"
TOKEN = "simulated-planfix-token"
WAY_S = 0.02
EFFECT_S = 0.05
PLANFIX_WRITES = frozenset({"/rest/contact/", "/rest/contact/import"})
_READS = frozenset({"GET"})


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    email: str
    sub: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write that reached a vendor. status: of its answer, 0 where the connection was cut before any effect. mask:
    the fields that an update of people names."""

    at: float
    vendor: str
    service: str
    method: str
    path: str
    body: Any
    status: int
    mask: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.vendor} {self.method} {self.path} {self.status} by {self.service}: {str(self.body)[:200]}"


@dataclass(slots=True)
class Vendors:
    """The simulators and the network to them. writes: every write that took effect, oldest first."""

    loop: VirtualLoop
    faults: Faults = field(default_factory=Faults)
    writes: list[Write] = field(default_factory=list)
    requests: int = 0
    late: int = 0
    """Requests that arrived when their sender had given up, so that the limits could not be kept."""
    trace: Callable[[str], None] = lambda line: None
    google: GoogleSimulator = field(init=False)
    planfix: PlanfixSimulator = field(init=False)

    def __post_init__(self) -> None:
        self.google = GoogleSimulator(self.loop.wall, GoogleOptions(), self.faults)
        self.planfix = PlanfixSimulator(self.loop.wall, PlanfixOptions(), self.faults)

    async def exchange(self, request: Request, life: Life, *, within_s: float) -> Response:
        """The answer. Raises ConnectionResetError where the connection is cut, TimeoutError."""
        return await life.step(f"{request.method} {request.path}", lambda: self._send(request, life, within_s))

    async def _send(self, request: Request, life: Life, within_s: float) -> Response:
        tenure.require()  # as the carriers over HTTP do before the first byte
        life.requests.append(self.loop.time())
        answer: asyncio.Future[Response] = self.loop.create_future()
        arriving = self.loop.create_task(self._arrive(request, life.name, answer))
        self.under_way.add(arriving)
        arriving.add_done_callback(self.under_way.discard)
        with anyio.fail_after(within_s):
            return await answer

    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def _arrive(self, request: Request, service: str, answer: asyncio.Future[Response]) -> None:
        verdict = judge(self.faults, request)
        await asyncio.sleep(WAY_S)
        self.requests += 1
        self.late += answer.cancelled()
        try:
            if verdict.cut_before or verdict.response is not None:
                response = answer_of(verdict, request, _nobody)
            else:
                response = await self._effect(request, service, verdict)
        except Exception as error:
            await asyncio.sleep(WAY_S + verdict.delay_s)
            if not answer.done():
                answer.set_exception(error)
        else:
            await asyncio.sleep(WAY_S + verdict.delay_s)  # it is the answer that comes late
            if not answer.done():
                answer.set_result(response)

    async def _effect(self, request: Request, service: str, verdict: Any) -> Response:
        if request.path.startswith("/rest"):

            def planfix(arrived: Request) -> Response:
                return self._noted("planfix", service, arrived, self.planfix.handle(arrived))

            return answer_of(verdict, request, planfix)

        def google(arrived: Request) -> Response:
            return self._noted("google", service, arrived, self.google.handle(arrived))

        try:
            flight = self.google.begin(request)
        except GoogleError as error:
            return error.response()
        try:
            if flight is not None:
                await asyncio.sleep(EFFECT_S)
            return answer_of(verdict, request, google)
        finally:
            self.google.end(flight)

    def _noted(self, vendor: str, service: str, request: Request, response: Response) -> Response:
        if _writes(vendor, request):
            body = orjson.loads(request.body) if request.body else None
            mask = request.query.get("updatePersonFields") or [(body or {}).get("updateMask") or ""]
            names = frozenset(name for name in ",".join(mask).split(",") if name)
            at = self.loop.wall()
            write = Write(at, vendor, service, request.method, request.path, body, response.status, names)
            self.writes.append(write)
            self.trace(str(write))
        return response


def _writes(vendor: str, request: Request) -> bool:
    if vendor == "google":
        return request.method != "GET" and request.path.startswith("/v1/")
    number = request.path.removeprefix("/rest/contact/").removeprefix("contact:")
    return request.method == "POST" and (request.path in PLANFIX_WRITES or number.isdigit())


def _nobody(request: Request) -> Response:
    raise AssertionError("answered before it arrived")


@dataclass(slots=True)
class GoogleCarrier:
    """`google.session.Carrier` of one process."""

    vendors: Vendors
    life: Life

    async def close(self) -> None: ...

    async def carry(self, method: str, url: str, *, headers: Mapping[str, str], json: Any) -> Carried:
        parts = urlsplit(url)
        request = Request(
            method,
            unquote(parts.path),
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in headers.items()},
            b"" if json is None else orjson.dumps(json),
        )
        response = await self.vendors.exchange(request, self.life, within_s=60.0)
        return Carried(response.status, response.body, response.headers, url)


@dataclass(slots=True)
class PlanfixCarrier:
    """`planfix.transport.Carrier` of one process."""

    vendors: Vendors
    life: Life

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def carry(
        self,
        verb: str,
        url: str,
        *,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: bytes | None,
        sent: Callable[[], None],
    ) -> Answer:
        sent()
        request = Request(
            verb,
            unquote(urlsplit(url).path),
            {name: [value] for name, value in (query or {}).items()},
            {name.lower(): value for name, value in headers.items()},
            body or b"",
        )
        response = await self.vendors.exchange(request, self.life, within_s=30.0)
        return Answer(response.status, response.body, {k.lower(): v for k, v in response.headers.items()})


@dataclass(slots=True)
class SignIn:
    """`runtime.grants.TokenEndpoint` of one process."""

    vendors: Vendors
    life: Life

    async def refresh(self, refresh_token: str) -> TokenAnswer:
        form = f"grant_type=refresh_token&client_id=c&client_secret=s&refresh_token={refresh_token}"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = Request("POST", "/token", {}, headers, form.encode())
        try:
            response = await self.vendors.exchange(request, self.life, within_s=20.0)
        except (OSError, TimeoutError) as error:
            raise Unavailable("Google's sign-in is not reachable") from error
        try:
            content = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            content = {}
        if content.get("error") == "invalid_grant":
            raise NotConnected("the permission was withdrawn or has expired")
        if response.status != 200 or "access_token" not in content:
            raise Unavailable(f"Google's sign-in answered {response.status}", 10.0)
        return granted(content)

    async def revoke(self, token: str) -> None:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = Request("POST", "/revoke", {}, headers, f"token={token}".encode())
        try:
            response = await self.vendors.exchange(request, self.life, within_s=20.0)
        except (OSError, TimeoutError) as error:
            raise Unavailable("Google's sign-in is not reachable") from error
        if response.status >= 500:
            raise Unavailable(f"Google answered {response.status} to a revocation", 10.0)


def granted(content: Mapping[str, Any]) -> TokenAnswer:
    scope = content.get("scope")
    return TokenAnswer(
        access_token=content["access_token"],
        expires_in_s=float(content.get("expires_in", 3599)),
        refresh_token=content.get("refresh_token"),
        scopes=frozenset(scope.split()) if scope else None,
        claims={},
    )
