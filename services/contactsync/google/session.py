"""The HTTP session that aiogoogle sends through, with deadlines and bounded answers; used by `client.py`.

aiogoogle 5.19 passes "no timeout" with every request, decodes with the slow json module, keeps its session in a
ContextVar that tasks started earlier do not see, and raises differently for each kind of answer. One session of
this class, made by the caller and given to every Aiogoogle as its factory's result, mends all four.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson
from aiogoogle.models import Request, Response
from aiogoogle.sessions.abc import AbstractSession

ANSWER_BYTES_MAX: Final = 96 * 1024 * 1024
"""1,000 people of a listing, each far below Google's 128 kB."""


class AnswerTooLarge(aiohttp.ClientError):
    """The answer is larger than ANSWER_BYTES_MAX."""


class PeopleSession(AbstractSession):
    """Make it inside the running loop, close it at the end; any number of accounts share it."""

    def __init__(self, *, total_s: float = 60.0, connect_s: float = 5.0, read_s: float = 30.0) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s, sock_read=read_s),
            connector=aiohttp.TCPConnector(limit=100, limit_per_host=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )
        # aiohttp would send a GET, PUT or DELETE again over a new connection, past our count of the quota.
        self._session._retry_connection = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def send(self, *requests: Request, **_: Any) -> Response:
        """Send one request (several at once are what Google asks not to do) and read the answer to its end.

        `Response.json` is the decoded answer if it is a JSON object, else None. Raises aiohttp's errors and
        TimeoutError.
        """
        (request,) = requests
        headers = {**(request.headers or {}), "Accept-Encoding": "gzip"}
        async with self._session.request(
            str(request.method), str(request.url), headers=headers, json=request.json, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise AnswerTooLarge(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        try:
            decoded = orjson.loads(bytes(body))
        except orjson.JSONDecodeError:
            decoded = None
        return Response(
            url=str(response.url),
            headers=response.headers,
            status_code=response.status,
            json=decoded if isinstance(decoded, dict) else None,
            reason=response.reason,
            req=request,
        )
