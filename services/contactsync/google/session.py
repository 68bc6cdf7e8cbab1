"""The session that aiogoogle sends through, with deadlines and bounded answers; used by `client.py`.

aiogoogle 5.19 passes "no timeout" with every request, decodes with the slow json module, keeps its session in a
ContextVar that tasks started earlier do not see, and raises differently for each kind of answer. One session of
this class, made by the caller and given to every Aiogoogle as its factory's result, mends all four. What really
goes over the network is its carrier's; a simulation gives another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
import orjson
from aiogoogle.models import Request, Response
from aiogoogle.sessions.abc import AbstractSession

from contactsync.runtime import tenure

ANSWER_BYTES_MAX: Final = 96 * 1024 * 1024
"""1,000 people of a listing, each far below Google's 128 kB."""


class AnswerTooLarge(aiohttp.ClientError):
    """The answer is larger than ANSWER_BYTES_MAX."""


@dataclass(frozen=True, slots=True)
class Carried:
    """An answer read to its end."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    url: str = ""
    reason: str | None = None


class Carrier(Protocol):
    """Takes one request there and its answer back. Raises aiohttp's errors, OSError and TimeoutError."""

    async def carry(self, method: str, url: str, *, headers: Mapping[str, str], json: Any) -> Carried: ...

    async def close(self) -> None: ...


class HttpCarrier:
    """Over HTTP. Make it inside the running loop."""

    def __init__(self, *, total_s: float, connect_s: float, read_s: float) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_still_ours)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, sock_read=read_s),
            connector=aiohttp.TCPConnector(limit=100, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            json_serialize=lambda value: orjson.dumps(value).decode(),
            trace_configs=[trace],
        )
        # aiohttp would send a GET, PUT or DELETE again over a new connection, past our count of the quota.
        self._session._retry_connection = False

    async def close(self) -> None:
        await self._session.close()

    async def carry(self, method: str, url: str, *, headers: Mapping[str, str], json: Any) -> Carried:
        async with self._session.request(
            method, url, headers={**headers, "Accept-Encoding": "gzip"}, json=json, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise AnswerTooLarge(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        return Carried(response.status, bytes(body), response.headers, str(response.url), response.reason)


async def _still_ours(*_: object) -> None:
    """Called when the connection is there and nothing has been written yet: the last moment to hold it back."""
    tenure.require()


class PeopleSession(AbstractSession):
    """Make it inside the running loop, close it at the end; any number of accounts share it."""

    def __init__(
        self, *, total_s: float = 60.0, connect_s: float = 5.0, read_s: float = 30.0, carrier: Carrier | None = None
    ) -> None:
        self._carrier = carrier or HttpCarrier(total_s=total_s, connect_s=connect_s, read_s=read_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._carrier.close()

    async def send(self, *requests: Request, **_: Any) -> Response:
        """Send one request (several at once are what Google asks not to do) and read the answer to its end.

        `Response.json` is the decoded answer if it is a JSON object, else None. Raises aiohttp's errors and
        TimeoutError.
        """
        (request,) = requests
        tenure.require()
        answer = await self._carrier.carry(
            str(request.method), str(request.url), headers=request.headers or {}, json=request.json
        )
        try:
            decoded = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            decoded = None
        return Response(
            url=answer.url,
            headers=answer.headers,
            status_code=answer.status,
            json=decoded if isinstance(decoded, dict) else None,
            reason=answer.reason,
            req=request,
        )
