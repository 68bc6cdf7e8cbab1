"""The rows of the filters that somebody looks at, kept between questions: a page costs no reading of all links.

Before every answer a filter's rows are brought up to date: what was written since comes from the stream's leader, and
what is not among the keys that it lists afterwards is gone. So an answer is never older than its question, whoever
owns the filter. What the rows show, and what a search finds, is `core/listing.py`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter
from typing import Final

import anyio
import anyio.lowlevel
import orjson

from contactsync.reconciler.core.listing import Row, row_of, row_of_arrival
from contactsync.runtime.bus import LISTED_MAX, Bus, Conflict, Record
from contactsync_contracts import subjects

ROWS_MAX: Final = 100_000
KEPT_S: Final = 120.0
_AT_ONCE: Final = 500
"""Rows that are made without letting others have their turn."""

_by_number = attrgetter("contact")


class Shelf:
    """rows_max: of all filters together; the one asked for least lately goes first. kept_s: how long a filter's rows
    are kept without a question. `now` in seconds."""

    def __init__(
        self,
        bus: Bus,
        now: Callable[[], float] = time.monotonic,
        *,
        rows_max: int = ROWS_MAX,
        kept_s: float = KEPT_S,
    ) -> None:
        self._bus = bus
        self._now = now
        self._rows_max = rows_max
        self._kept_s = kept_s
        self._boards: OrderedDict[str, _Board] = OrderedDict()
        # A server that comes back from a crash may have lost what it had acknowledged, and give its sequences again.
        bus.on_reconnect(self._boards.clear)

    async def rows(self, filter_id: str) -> tuple[Row, ...]:
        """All of the filter as stored now: people without a contact, then contacts by number. Raises Transient."""
        self.sweep()
        board = self._boards.get(filter_id)
        if board is None:
            board = self._boards[filter_id] = _Board(self._bus, filter_id)
        self._boards.move_to_end(filter_id)
        board.asked_at = self._now()
        rows = await board.refreshed()
        self._make_room()
        return rows

    def sweep(self) -> None:
        """Drop what nobody has asked for lately."""
        oldest = self._now() - self._kept_s
        for filter_id in [name for name, board in self._boards.items() if board.asked_at < oldest]:
            del self._boards[filter_id]

    @property
    def size(self) -> int:
        """Rows kept."""
        return sum(map(len, self._boards.values()))

    def _make_room(self) -> None:
        for filter_id in [name for name, board in self._boards.items() if len(board) > self._rows_max]:
            del self._boards[filter_id]
        size = self.size
        while size > self._rows_max:
            _, board = self._boards.popitem(last=False)
            size -= len(board)


class _Board:
    """The rows of one filter by key, and the stream sequence up to which they were read."""

    def __init__(self, bus: Bus, filter_id: str) -> None:
        self._bus = bus
        self._prefix = f"{subjects.filter_key(filter_id)}."
        self._turn = anyio.Lock()
        self._rows: dict[str, Row] = {}
        self._shown: tuple[Row, ...] | None = None
        self._seq: int | None = None
        self.asked_at = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    async def refreshed(self) -> tuple[Row, ...]:
        async with self._turn:
            try:
                try:
                    await self._refresh()
                except Conflict:  # the state was restored: all that we know is of another time
                    self._forget()
                    await self._refresh()
            except BaseException:
                self._forget()
                raise
            if self._shown is None:
                self._shown = tuple(sorted(self._rows.values(), key=_by_number))
            return self._shown

    async def _refresh(self) -> None:
        if self._seq is None:
            self._seq = 0
            await self._take(None)  # many at once, but on several servers perhaps from one that lags behind
        await self._take(self._seq)
        listed = await self._bus.keys(self._prefix)
        if gone := self._rows.keys() - listed:
            for key in gone:
                del self._rows[key]
            self._shown = None
        if len(listed) > LISTED_MAX:  # not of one moment: a row may be missing that comes again with no change
            self._seq = None

    async def _take(self, since: int | None) -> None:
        taken = 0
        async for record in self._bus.load(self._prefix, since):
            self._see(record)
            taken += 1
            if taken % _AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    def _see(self, record: Record) -> None:
        self._seq = record.seq
        match record.key.removeprefix(self._prefix).partition(".")[0]:
            case "link":
                make = row_of
            case "arrival":
                make = row_of_arrival
            case _:
                return
        self._shown = None
        if record.deleted:
            self._rows.pop(record.key, None)
        else:
            self._rows[record.key] = make(orjson.loads(record.value))

    def _forget(self) -> None:
        self._rows, self._shown, self._seq = {}, None, None
