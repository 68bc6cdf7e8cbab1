"""Requests to Planfix's REST API, one at a time unless the account allows more: turn, pace, bearer token, deadline,
no redirects.

`answers.py` says what came of it; `client.py` knows the requests. Requests of this process take turns, humans'
first; `runtime/quota.py` is the quota that all replicas share.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from types import SimpleNamespace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import anyio
import orjson

from contactsync.errors import OutcomeUnknown, Unavailable, VendorError
from contactsync.planfix.answers import Answer, Asked, content_of
from contactsync.runtime import tenure
from contactsync.runtime.logs import get_logger
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.tenure import HeldUp
from contactsync_contracts.messages import Class

CONNECT_S: Final = 5.0
TOTAL_S: Final = 30.0
BYTES_MAX: Final = 32 * 1024 * 1024

_LOG: Final = get_logger("planfix-client")
_RANK: Final[Mapping[Class, int]] = {Class.HUMAN: 0, Class.CHANGE: 1, Class.BACKGROUND: 2}


class Permit(Protocol):
    """The right to one request, for a moment. `flight`: its name."""

    @property
    def flight(self) -> str: ...

    def require(self) -> None:
        """Asked immediately before the first byte. Raises HeldUp when it is too late."""


class Quota(Protocol):
    """What the transport needs of `runtime/quota.py`'s `PlanfixQuota`."""

    async def acquire(self, cls: Class) -> Permit:
        """Returns when a request may start at once; cancelled while waiting if a higher class arrives."""

    async def told(self, left: int) -> None:
        """`X-RateLimit-Remaining` of an answer."""

    async def answered(self, permit: Permit) -> None:
        """The request was answered, given up or never sent; it arrived no later than now."""

    async def penalise(self, pause_s: float) -> None:
        """Planfix said that its limit is reached, for this long."""


@dataclass(slots=True)
class Turns:
    """`at_once` places, of which the highest class gets the next one; who only waits for the quota gives way to a
    higher class.
    """

    quota: Quota
    at_once: int = 1
    _waiting: list[tuple[int, int, anyio.Event]] = field(default_factory=list)
    _seen: int = 0
    _busy: int = 0
    _pacing: dict[int, tuple[int, anyio.CancelScope]] = field(default_factory=dict)
    """By place in the line: its rank, and what takes it out of there."""

    @asynccontextmanager
    async def turn(self, cls: Class) -> AsyncIterator[Permit]:
        rank = _RANK[cls]
        self._seen += 1
        place = self._seen
        while True:
            await self._enter(rank, place)
            try:
                permit: Permit | None = None
                with anyio.CancelScope() as scope:
                    self._pacing[place] = rank, scope
                    try:
                        permit = await self.quota.acquire(cls)
                    finally:
                        del self._pacing[place]
                if permit is not None:
                    yield permit
                    return
            finally:
                self._leave()

    async def _enter(self, rank: int, place: int) -> None:
        if self._busy < self.at_once:
            self._busy += 1
            return
        last, scope = max(self._pacing.values(), key=itemgetter(0), default=(rank, None))
        if scope is not None and rank < last:
            scope.cancel()
        entry = (rank, place, anyio.Event())
        heapq.heappush(self._waiting, entry)
        try:
            await entry[2].wait()
        except BaseException:
            if entry in self._waiting:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            else:  # the turn was handed over at the very moment of the cancellation
                self._leave()
            raise

    def _leave(self) -> None:
        """Hands the turn over without a gap in which somebody else could take it."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._busy -= 1


class Carrier(Protocol):
    """Takes one request there and its answer back. Raises aiohttp's errors, OSError and TimeoutError; calls `sent`
    when the request's headers are on the wire. A simulation gives another one than `HttpCarrier`."""

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
    ) -> Answer: ...


class HttpCarrier:
    """Over HTTP, `at_once` requests side by side."""

    def __init__(self, total_s: float, at_once: int = 1) -> None:
        self._total_s = total_s
        self._at_once = at_once
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_headers_sent)
        trace.on_connection_create_start.append(_connect_once)
        self._session = aiohttp.ClientSession(
            # A connection of its own for each request: one that turns out to be dead would cost a write its
            # certainty. A write that found no connection surely did nothing.
            connector=aiohttp.TCPConnector(limit=self._at_once, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self._total_s, connect=CONNECT_S, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        if self._session is None:
            raise RuntimeError("the transport is not open")
        async with self._session.request(
            verb,
            url,
            params=query,
            data=body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=SimpleNamespace(done=False, sent=sent),
        ) as response:
            raw = await _read(response)
            return Answer(response.status, raw, {name.lower(): value for name, value in response.headers.items()})


class Transport:
    """Requests below one base address. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        token: str,
        quota: Quota,
        *,
        metrics: Metrics | None = None,
        total_s: float = TOTAL_S,
        carrier: Carrier | None = None,
        at_once: int = 1,
    ) -> None:
        self._base = base_url.rstrip("/") + "/"
        self._token = token
        self._quota = quota
        self._metrics = metrics
        self._turns = Turns(quota, at_once)
        self._carrier = carrier or HttpCarrier(total_s, at_once)
        self._limited = 0

    def __repr__(self) -> str:
        return f"Transport({urlsplit(self._base).hostname})"

    async def __aenter__(self) -> Transport:
        await self._carrier.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._carrier.close()

    async def request(
        self,
        verb: str,
        path: str,
        asked: Asked,
        *,
        cls: Class,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and content of a success. Raises `contactsync.errors`."""
        async with self._turns.turn(cls) as permit:
            try:
                with tenure.checked(permit.require):
                    answer = await self._exchange(verb, path, asked, body, query)
            except HeldUp as error:
                raise Unavailable("the request to Planfix was held up before it left", 1.0) from error
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                    await _noted(self._quota.answered(permit))
            await self._tell_remaining(answer)
            try:
                content = content_of(answer, asked, attempt=self._limited)
            except Unavailable as error:
                if error.bucket is not None:
                    self._limited += 1
                    await _noted(self._quota.penalise(error.retry_after_s))
                raise
            self._limited = 0
            return answer.status, content

    async def _exchange(
        self,
        verb: str,
        path: str,
        asked: Asked,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> Answer:
        began = time.monotonic()
        on_wire = False
        status = 0

        def sent() -> None:
            nonlocal on_wire
            on_wire = True

        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = await self._carrier.carry(
                verb,
                self._base + path,
                query=query,
                headers=headers,
                body=None if body is None else orjson.dumps(body),
                sent=sent,
            )
            status = answer.status
            return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _lost(error, asked, sent=on_wire) from error
        finally:
            if self._metrics is not None:
                self._metrics.api_requests.labels("planfix", asked.method, str(status)).inc()
                self._metrics.api_seconds.labels("planfix", asked.method).observe(time.monotonic() - began)

    async def _tell_remaining(self, answer: Answer) -> None:
        remaining = answer.headers.get("x-ratelimit-remaining", "").strip()
        if remaining.isascii() and remaining.isdigit():
            await _noted(self._quota.told(int(remaining)))


async def _noted(note: Awaitable[None]) -> None:
    """Whatever is wrong with the quota's record must not hide what became of a write."""
    try:
        await note
    except Exception:
        _LOG.warning("could not note what Planfix said about its limits", exc_info=True)


async def _headers_sent(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    tenure.require()  # nothing has been written yet: the last moment to hold it back
    context.trace_request_ctx.done = True
    context.trace_request_ctx.sent()


async def _connect_once(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateStartParams,
) -> None:
    """The library repeats a GET whose connection was closed on it: a request past the quota."""
    if context.trace_request_ctx.done:
        raise aiohttp.ServerDisconnectedError


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The whole body; one that is larger than any honest answer counts as truncated."""
    parts = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        parts += chunk
        if len(parts) > BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(parts)


def _lost(error: Exception, asked: Asked, *, sent: bool) -> VendorError:
    kind = "in time" if isinstance(error, TimeoutError) else "completely"
    if not sent:
        return Unavailable("Planfix cannot be reached")
    if asked.write:
        return OutcomeUnknown(f"Planfix did not answer a write {kind}")
    return Unavailable(f"Planfix did not answer {kind}")
