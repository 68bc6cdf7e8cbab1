"""Planfix's webhook: a contact number comes in, a look at that contact goes out; many at once become one look.

Planfix is answered at once; what is collected goes to the planfix-watcher, whose reads decide what changed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any, Final

import anyio
import orjson
from aiohttp import web

from contactsync.runtime.bus import Bus, BusError
from contactsync.runtime.logs import get_logger
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class, LookPlanfix, type_of

COLLECT_S: Final = 0.3
LOOK_SIZE_MAX: Final = 100
WAITING_MAX: Final = 10_000

_KEYS: Final = ("id", "contact", "contact_id", "contactId")
_NUMBER: Final = re.compile(r"(?:contact:)?([0-9]{1,15})")

log = get_logger("gateway")


class Webhooks:
    """The route, and `run` beside it, which carries what was collected to NATS."""

    def __init__(self, bus: Bus, secret: str | None, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._secret = secret
        self._clock = clock
        self._waiting: dict[int, None] = {}
        self._arrived = anyio.Event()
        self._overflowed = False

    def add_routes(self, app: web.Application, base: str) -> None:
        app.router.add_post(f"{base}webhooks/planfix/{{secret}}", self.receive)

    async def receive(self, request: web.Request) -> web.Response:
        given = request.match_info["secret"].encode()
        if self._secret is None or not compare_digest(given, self._secret.encode()):
            raise web.HTTPNotFound
        number = contact_in(await _body(request))
        if number is None:
            log.info("webhook without a contact number", size=request.content_length)
        elif len(self._waiting) < WAITING_MAX:
            self._waiting[number] = None
            self._arrived.set()
            self._overflowed = False
        elif not self._overflowed:
            self._overflowed = True
            log.warning("webhooks come faster than they are carried on; polling will find them", waiting=WAITING_MAX)
        return web.Response(text="ok\n")

    async def run(self) -> None:
        """For ever: collect for a moment, then publish looks; what could not be published waits."""
        failing = False
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            await anyio.sleep(COLLECT_S)
            while self._waiting:
                batch = tuple(self._waiting)[:LOOK_SIZE_MAX]
                try:
                    await self._publish(batch)
                except BusError as error:
                    if not failing:
                        log.warning("webhooks wait: NATS does not take them", kind=type(error).__name__)
                    failing = True
                    await anyio.sleep(1.0)
                    continue
                if failing:
                    log.info("webhooks go on")
                failing = False
                for number in batch:
                    self._waiting.pop(number, None)

    async def _publish(self, contacts: tuple[int, ...]) -> None:
        look = LookPlanfix(
            request_id=f"webhook-{uuid.uuid4().hex}",
            what="contacts",
            contacts=contacts,
            not_before=self._clock(),
            cls=Class.HUMAN,
            reason="webhook",
        )
        await self._bus.publish(
            subjects.look(subjects.PLANFIX),
            look.model_dump_json().encode(),
            msg_id=f"planfix.look.{look.request_id}",
            type_=type_of(look),
        )


async def _body(request: web.Request) -> object:
    """JSON or a form, whatever the header says; None for anything else."""
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return dict(await request.post())
    raw = await request.read()
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def contact_in(body: object, *, nested: bool = True) -> int | None:
    """The contact's number in a webhook's body, as `{"id": 12}` or `{"contact": {"id": "contact:12"}}`, or None."""
    if not isinstance(body, Mapping):
        return None
    for key in _KEYS:
        value: Any = body.get(key)
        if (number := _number(value)) is not None:
            return number
        if nested and (number := contact_in(value, nested=False)) is not None:
            return number
    if nested:
        for value in body.values():
            if (number := contact_in(value, nested=False)) is not None:
                return number
    return None


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    found = _NUMBER.fullmatch(str(value).strip()) if isinstance(value, int | str) else None
    return int(found[1]) or None if found else None
