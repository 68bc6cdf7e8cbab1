"""What happens to filters, as it happens: one subscription of this process, however many pages are open.

An event only says that something is new; what is shown is asked for, once for each filter whoever looks at it, and no
more often than people can read. Losing an event delays a page by one regular look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import orjson

from contactsync.runtime.bus import Bus, BusError
from contactsync.runtime.logs import get_logger
from contactsync_contracts import subjects

Json = dict[str, Any]

LOOK_EVERY_S: Final = 15.0
"""Without any event."""
PAUSE_S: Final = 1.0
"""Between two looks at the same filter."""
FOLLOWERS_MAX: Final = 500

log = get_logger("gateway")


@dataclass(slots=True)
class _Subject:
    """A filter that somebody looks at. `version` counts the looks; `progress` is the last that an event said of a
    run: {done, total, run_id, at}."""

    followers: int = 0
    stirred: anyio.Event = field(default_factory=anyio.Event)
    changed: anyio.Event = field(default_factory=anyio.Event)
    version: int = 0
    status: Json | None = None
    progress: Json | None = None
    first: Json | None = None


class TooManyPages(Exception):
    """More pages are open than this process serves; the page goes on without news."""


class Live:
    """`look` asks for a filter's status; None when there is nothing (any more)."""

    def __init__(self, bus: Bus, look: Callable[[str], Awaitable[Json | None]]) -> None:
        self._bus = bus
        self._look = look
        self._subjects: dict[str, _Subject] = {}
        self._started: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        subscription = await self._bus.listen("contacts.v1.event.*", self._hear)
        try:
            async with anyio.create_task_group() as tasks:
                self._started = tasks
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._started = None
            await subscription.close()

    @property
    def followers(self) -> int:
        return sum(one.followers for one in self._subjects.values())

    async def follow(self, filter_id: str) -> AsyncIterator[tuple[Json | None, Json | None]]:
        """(status, progress), now and whenever something is new, until the filter is gone. Raises TooManyPages."""
        if self.followers >= FOLLOWERS_MAX or self._started is None:
            raise TooManyPages
        subject = self._subjects.get(filter_id)
        if subject is None:
            subject = self._subjects[filter_id] = _Subject()
            self._started.start_soon(self._watch, filter_id, subject)
        subject.followers += 1
        try:
            seen = 0
            while True:
                if subject.version == seen:
                    await subject.changed.wait()
                    continue
                seen = subject.version
                yield subject.status, subject.progress
                if subject.status is None:
                    return
        finally:
            subject.followers -= 1

    async def _watch(self, filter_id: str, subject: _Subject) -> None:
        """Looks while somebody follows."""
        shown: tuple[Json | None, Json | None] | None = None
        while True:
            subject.stirred = anyio.Event()
            try:
                subject.status = await self._look(filter_id)
            except BusError:
                await anyio.sleep(PAUSE_S)
                continue
            if subject.status is None or not subject.status.get("run"):
                subject.progress = None
            if (now := (subject.status, subject.progress)) != shown:
                shown = now
                subject.version += 1
                subject.changed.set()
                subject.changed = anyio.Event()
            if subject.status is None:
                break
            await anyio.sleep(PAUSE_S)
            with anyio.move_on_after(LOOK_EVERY_S):
                await subject.stirred.wait()
            if not subject.followers:
                break
        if self._subjects.get(filter_id) is subject:
            del self._subjects[filter_id]

    def _hear(self, subject_: str, data: bytes) -> None:
        try:
            filter_id = subjects.untoken(subject_.rsplit(".", 1)[1])
        except ValueError:
            return
        subject = self._subjects.get(filter_id)
        if subject is None:
            return
        try:
            event = orjson.loads(data)
        except ValueError:
            return  # anybody may publish anything
        if isinstance(event, dict) and isinstance(event.get("done"), int):
            progress = {name: event.get(name) for name in ("done", "total", "run_id", "at")}
            if subject.first is None or subject.first["run_id"] != progress["run_id"]:
                subject.first = progress
            subject.progress = progress | {"left_s": left_s(subject.first, progress)}
        subject.stirred.set()


def left_s(first: Json, now: Json) -> int | None:
    """Seconds until the run's end at the pace since its first news; None while nobody can know."""
    total: object = now.get("total")
    done: int = now["done"]
    pace: float = (
        (done - first["done"]) / elapsed if (elapsed := (now.get("at") or 0) - (first.get("at") or 0)) > 0 else 0
    )
    if not isinstance(total, int) or total < done or pace <= 0:
        return None
    return round((total - done) / pace)
