"""The history and the export as people ask for them: pages of what is stored, each as large as one answer may be.

`core/history.py` says what an entry holds. An entry's name is `<contact>.<number>`; people see it with its filter in
front. The arrangement of pages is pure, but for reading; `service.py` answers with them.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

import orjson

from contactsync.runtime.bus import Bus, Refused
from contactsync_contracts import subjects

ANSWER_BYTES_MAX: Final = 700_000
ENTRY_BYTES_MAX: Final = 400_000
CLIPPED: Final = 10_000
OTHERS: Final = ("arrival", "decided", "request")

Place = tuple[float, int, int]
"""Where an entry stands in a history: when, contact, number."""


def name_of(key: str) -> tuple[int, int]:
    """The contact and the number in an entry's key."""
    contact, number = key.split(".")[2:4]
    return int(contact), int(number)


def kept(entry: dict[str, object]) -> bytes:
    """An entry as it is stored. Where its values are so large that the server would not take them, it is without what
    an undo needs, and then with the beginnings of values only."""
    stored = orjson.dumps(entry)
    if len(stored) > ENTRY_BYTES_MAX:
        stored = orjson.dumps({name: value for name, value in entry.items() if name != "back"})
    if len(stored) > ENTRY_BYTES_MAX:
        stored = orjson.dumps({name: _clipped(value) for name, value in entry.items() if name != "back"})
    return stored


def _clipped(value: object) -> object:
    match value:
        case str():
            return value if len(value) <= CLIPPED else value[:CLIPPED] + "…"
        case list():
            return [_clipped(item) for item in value[:100]]
        case dict():
            return {name: _clipped(item) for name, item in value.items()}
        case _:
            return value


# --- the history ------------------------------------------------------------------------------------------


def cursor(text: str) -> Place | None:
    """`<when>:<contact>.<number>`, as `Page.answer` says it; None for anything else."""
    when, _, name = text.rpartition(":")
    try:
        contact, number = name.split(".")
        return float(when), int(contact), int(number)
    except ValueError:
        return None


class Page:
    """The newest `limit` entries before a place; the others are not kept in memory."""

    def __init__(self, limit: int, *, run: str = "", before: Place | None = None) -> None:
        self._limit, self._run, self._before = max(1, limit), run, before
        self._newest: dict[Place, bytes] = {}
        self._heap: list[Place] = []
        self._more = False

    def see(self, key: str, value: bytes) -> None:
        """One stored entry, in any order; one that is seen twice counts once."""
        entry = orjson.loads(value)
        place = (float(entry["at"]), *name_of(key))
        if (self._run and entry.get("run") != self._run) or (self._before is not None and place >= self._before):
            return
        if place not in self._newest:
            heapq.heappush(self._heap, place)
        self._newest[place] = value
        if len(self._heap) > self._limit:
            del self._newest[heapq.heappop(self._heap)]
            self._more = True

    def answer(self, filter_id: str) -> bytes:
        rows: list[dict[str, Any]] = []
        size, last = 0, ""
        for place in sorted(self._newest, reverse=True):
            value = self._newest[place]
            size += len(value) + 200
            if rows and size > ANSWER_BYTES_MAX:
                self._more = True
                break
            at, contact, number = place
            rows.append({"id": f"{filter_id}:{contact}.{number}", "contact": contact, **orjson.loads(value)})
            last = f"{at!r}:{contact}.{number}"
        return orjson.dumps({"entries": rows, "next": last if self._more else None})


# --- the export -------------------------------------------------------------------------------------------


class Export:
    """Everything that the reconciler stores of one filter, in clear."""

    def __init__(self, bus: Bus, filter_id: str) -> None:
        self._bus, self._filter_id = bus, filter_id
        self._key = subjects.filter_key(filter_id)

    async def overview(self) -> bytes:
        record = await self._bus.get(self._key)
        contacts: set[int] = set()
        async for stored in self._bus.load(f"{self._key}.link."):
            contacts.add(int(stored.key.rsplit(".", 1)[1]))
        async for stored in self._bus.load(subjects.history_prefix(self._filter_id)):
            contacts.add(name_of(stored.key)[0])
        return orjson.dumps(
            {
                "filter": None if record is None else orjson.loads(record.value),
                "contacts": sorted(contacts),
            }
        )

    async def others(self, kind: str, after: str) -> bytes:
        """What is stored beside the links, by key: people under the label without a contact, what humans decided,
        which requests were carried out; `next`: the last one told."""
        if kind not in OTHERS:
            raise Refused(f"nothing of the kind {kind!r} is stored")
        stored = {s.key: s.value async for s in self._bus.load(f"{self._key}.{kind}.")}
        found: list[Any] = []
        size, last = 0, after
        for key in sorted(stored):
            if key <= after:
                continue
            if size and size + len(stored[key]) > ANSWER_BYTES_MAX:
                return orjson.dumps({"others": found, "next": last})
            size += len(stored[key]) + 100
            name = key.removeprefix(f"{self._key}.{kind}.")
            found.append({"key": name, **orjson.loads(stored[key])})
            last = key
        return orjson.dumps({"others": found, "next": None})

    async def links(self, contacts: list[int]) -> bytes:
        """Those of the first contacts, in their order; `next`: how many contacts are answered."""
        keys = {contact: subjects.link_key(self._filter_id, contact) for contact in contacts}
        stored = await self._bus.load_keys(list(keys.values()))
        found: list[Any] = []
        size = 0
        for position, contact in enumerate(contacts):
            link = stored.get(keys[contact])
            if link is None:
                continue
            if size and size + len(link.value) > ANSWER_BYTES_MAX:
                return orjson.dumps({"links": found, "next": position})
            size += len(link.value) + 100
            found.append(orjson.loads(link.value))
        return orjson.dumps({"links": found, "next": len(contacts)})

    async def history(self, contacts: list[int], after: int) -> bytes:
        """Entries of the first contacts, in order, of the very first one those after the number `after`; `next`: how
        many contacts are answered to their end, and after which number to go on with the following one."""
        found: list[Any] = []
        size = 0
        for position, contact in enumerate(contacts):
            prefix = f"{subjects.history_prefix(self._filter_id)}{contact}."
            entries = {name_of(stored.key)[1]: stored.value async for stored in self._bus.load(prefix)}
            told = after if position == 0 else 0
            for number in sorted(number for number in entries if number > told):
                if size and size + len(entries[number]) > ANSWER_BYTES_MAX:
                    return orjson.dumps({"history": found, "next": [position, told]})
                size += len(entries[number]) + 100
                found.append({"id": f"{self._filter_id}:{contact}.{number}", **orjson.loads(entries[number])})
                told = number
        return orjson.dumps({"history": found, "next": [len(contacts), 0]})
