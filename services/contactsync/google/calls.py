"""One request to the People API: a token, the quota, the wire, and what went wrong; `client.py` says what to ask.

Mutations of the account are sent one after another, as Google asks. aiogoogle builds the requests and carries
them; tokens, deadlines and errors are ours (its refreshing has no lock, and it raises differently for each kind
of answer).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

import aiohttp
import anyio
from aiogoogle.client import Aiogoogle
from aiogoogle.models import Request, Response

from contactsync.errors import OutcomeUnknown, Rejected, Unavailable, VendorError
from contactsync.google import answers
from contactsync.google.port import Json
from contactsync.google.session import PeopleSession
from contactsync.runtime import tenure
from contactsync.runtime.tenure import HeldUp
from contactsync_contracts.messages import Class

Observe = Callable[[str, str, float], None]
"""(method, HTTP status or name of the transport's error, seconds)"""


LEAVE_S: Final = (1.0, 1.0, 8.0)
"""How long a request may take to leave, at the first try and after: the last one has time for a new connection."""


class Tokens(Protocol):
    """`runtime/grants.py`. Both raise NotConnected and Unavailable."""

    async def token(self, account: str) -> str: ...

    async def refreshed(self, account: str, bad_token: str) -> str:
        """Google has just refused `bad_token`: another one."""


class Place(Protocol):
    def require(self) -> None:
        """Raises HeldUp when it is too late for the request to leave."""


class Quota(Protocol):
    """`runtime/quota.py`, of this account."""

    async def acquire(self, operation: str, cls: Class, *, leave_s: float = ...) -> Place:
        """Wait for a place; the request leaves within `leave_s`."""

    async def penalise(self, buckets: Sequence[str], pause_s: float) -> None: ...

    async def back_off(self) -> float:
        """Google's own limit of the account is reached: no mutations for the (growing) seconds returned."""

    def metrics(self, operation: str) -> tuple[str, ...]: ...


class PeopleCalls:
    """The calls of one account. `session` is shared by all accounts and closed by whoever made it."""

    def __init__(
        self,
        account: str,
        *,
        session: PeopleSession,
        tokens: Tokens,
        quota: Quota,
        observe: Observe | None,
    ) -> None:
        self._account = account
        # Its own session would live in a ContextVar that tasks started earlier do not see, and would leak.
        self._google = Aiogoogle(session_factory=cast(Any, lambda: session))
        self._tokens = tokens
        self._quota = quota
        self._observe = observe
        self._mutating = anyio.Lock()

    async def read(
        self,
        operation: str,
        method: Any,
        cls: Class,
        *,
        has_token: bool = False,
        first_page: bool = False,
        **parameters: Any,
    ) -> Json:
        return await self._call(
            operation,
            method,
            cls,
            write=False,
            has_token=has_token,
            first_page=first_page,
            parameters=parameters,
        )

    async def write(
        self, operation: str, method: Any, cls: Class, *, json: Json | None = None, **parameters: Any
    ) -> Json:
        async with self._mutating:
            return await self._call(operation, method, cls, write=True, json=json, parameters=parameters)

    async def _call(
        self,
        operation: str,
        method: Any,
        cls: Class,
        *,
        write: bool,
        parameters: Mapping[str, Any],
        json: Json | None = None,
        has_token: bool = False,
        first_page: bool = False,
    ) -> Json:
        token = await self._tokens.token(self._account)
        response = await self._send(operation, method, cls, token, write, parameters, json)
        if response.status_code == 401:
            token = await self._tokens.refreshed(self._account, token)
            response = await self._send(operation, method, cls, token, write, parameters, json)
        if 200 <= response.status_code < 300:
            if not isinstance(response.json, dict):
                raise answers.malformed(write=write)
            body: Json = response.json
            return body
        found = answers.failure(
            response.status_code,
            response.json,
            write=write,
            metrics=self._quota.metrics(operation),
            has_token=has_token,
            first_page=first_page,
            retry_after_s=_retry_after(response.headers),
        )
        if found.empty:
            await self._quota.penalise(found.empty, found.pause_s)
        if found.backend:
            pause_s = await self._quota.back_off()
            raise Unavailable(found.error.reason, pause_s, "backend")
        raise found.error

    async def _send(
        self,
        operation: str,
        method: Any,
        cls: Class,
        token: str,
        write: bool,
        parameters: Mapping[str, Any],
        json: Json | None,
    ) -> Response:
        given = {name: value for name, value in parameters.items() if value is not None}
        if "resourceName" in given:
            _check_name(given["resourceName"])
        request: Request = method(json=json, **given)
        request.headers["Authorization"] = f"Bearer {token}"
        for leave_s in LEAVE_S:
            place = await self._quota.acquire(operation, cls, leave_s=leave_s)
            try:
                with tenure.checked(place.require):
                    return await self._exchange(request, operation, write=write)
            except HeldUp:
                continue
        raise Unavailable("requests to Google are held up before they leave", 5.0)

    async def _exchange(self, request: Request, operation: str, *, write: bool) -> Response:
        began = time.monotonic()
        status = "none"
        try:
            google: Any = self._google
            response: Response = await google.as_anon(request, full_res=True, raise_for_status=False)
            status = str(response.status_code)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status = type(error).__name__
            raise transport_failure(error, write=write) from error
        finally:
            if self._observe is not None:
                self._observe(operation, status, time.monotonic() - began)
        return response


def transport_failure(error: Exception, *, write: bool) -> VendorError:
    """A connection that was never made carried no request; after that a write may have taken effect."""
    never_sent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
    if write and not never_sent:
        return OutcomeUnknown(f"the answer of Google got lost ({type(error).__name__})")
    return Unavailable(f"Google is not reachable ({type(error).__name__})", 5.0)


def _retry_after(headers: Mapping[str, str] | None) -> float:
    value = (headers or {}).get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def _check_name(resource: str) -> None:
    """A name with anything else in it would become another address."""
    if resource != quote(resource, safe="/") or ".." in resource:
        raise Rejected("this is not a resource name of Google")
