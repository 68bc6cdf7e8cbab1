"""The reconciler's shell: mailboxes of filters to actors, and the questions that people ask about filters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from contactsync.hashing import Hasher
from contactsync.reconciler import past
from contactsync.reconciler.actor import HISTORY_DAYS, SERVICE, Actor
from contactsync.reconciler.core.describe import filter_status
from contactsync.reconciler.core.filter import FilterRecord, filter_from_json
from contactsync.reconciler.core.listing import contact_of, page, question_of, whole_contact
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.measures import Measures
from contactsync.reconciler.preview import Previewer
from contactsync.reconciler.shelf import Shelf
from contactsync.runtime.bus import Bus, Fence, Refused, Subscription
from contactsync.runtime.dead import dead_letter
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.ownership import Delivery, Mailboxes, partition_of
from contactsync_contracts import subjects
from contactsync_contracts.messages import NewContactDefaults

MALFORMED = 400
NOT_FOUND = 404
PAGE_MAX = 1000


class Reconciler:
    """The handler of the component `reconciler`: key is a filter's token. kept_links: how many of idle filters stay
    in memory, about half a kilobyte each; a filter that rests reads its links again before its next action."""

    def __init__(
        self,
        bus: Bus,
        mailboxes: Mailboxes,
        hasher: Hasher,
        defaults: NewContactDefaults | None = None,
        now: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
        policy: Policy | None = None,
        history_days: int = HISTORY_DAYS,
        kept_links: int = 0,
    ) -> None:
        self._kept_links = kept_links
        self._history_days = history_days
        self._policy = policy or Policy()
        self._measures = Measures(metrics or Metrics())
        self._bus = bus
        self._mailboxes = mailboxes
        self._hasher = hasher
        self._defaults = defaults or NewContactDefaults()
        self._now = now
        self._actors: dict[str, Actor] = {}
        self._shelf = Shelf(bus, now)

    # ---- ownership

    async def gained(self, fences: Sequence[Fence]) -> None:
        """Actors with something under way are woken; the others sleep until a message comes."""
        ours = {fence.partition for fence in fences}
        async for stored in self._bus.load("state.filter.*"):
            token = stored.key.rsplit(".", 1)[1]
            if partition_of(token) not in ours:
                continue
            record = filter_from_json(orjson.loads(stored.value))
            if record.unfinished:
                self._mailboxes.wake(token, self._now())

    async def lost(self, partition: int) -> None:
        for token in [t for t in self._actors if partition_of(t) == partition]:
            del self._actors[token]

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        if not _is_name(key):
            for delivery in deliveries:
                await dead_letter(self._bus, SERVICE, None, delivery, "no filter can have this name")
            return
        actor = self._actors.get(key)
        if actor is None:
            actor = self._actors[key] = Actor(
                self._bus,
                key,
                fence,
                self._hasher,
                self._defaults,
                self._measures.count,
                self._policy,
                self._history_days,
            )
        again_at = await actor.handle(deliveries, self._now)
        self._mailboxes.wake(key, again_at)

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        links = self.links
        for key in idle:
            actor = self._actors.get(key)
            if actor is None:
                continue
            actor.pause()
            if links > self._kept_links and (freed := actor.rest()) is not None:
                links -= freed
                yield key

    @property
    def actors(self) -> int:
        return len(self._actors)

    @property
    def links(self) -> int:
        """Of the filters that do not rest."""
        return sum(actor.links for actor in self._actors.values())

    async def measure(self) -> None:
        """Refresh the figures of the filters that are ours; what nobody looks at any more is dropped meanwhile."""
        self._shelf.sweep()
        records = []
        async for stored in self._bus.load("state.filter.*"):
            if self._mailboxes.fence(stored.key.rsplit(".", 1)[1]) is not None:
                records.append(filter_from_json(orjson.loads(stored.value)))
        self._measures.show(records)

    # ---- questions

    async def serve(self) -> list[Subscription]:
        """Answer questions about filters (read from the state, so any replica can)."""
        verbs = {
            "filters": self._filters,
            "status": self._status,
            "contacts": self._contacts,
            "contact": self._contact,
            "request": self._request,
            "preview": self._preview,
            "history": self._history,
            "export": self._export,
        }
        return [await self._bus.serve("reconciler", subjects.query(verb), answer) for verb, answer in verbs.items()]

    async def _filters(self, _subject: str, _data: bytes) -> bytes:
        found = []
        async for stored in self._bus.load("state.filter.*"):
            found.append(filter_status(filter_from_json(orjson.loads(stored.value))))
        return orjson.dumps({"filters": sorted(found, key=lambda f: f["filter_id"])})

    async def _status(self, _subject: str, data: bytes) -> bytes:
        return orjson.dumps(filter_status(await self._record(_asked(data))))

    async def _preview(self, _subject: str, data: bytes) -> bytes:
        """{filter_id, two_way?}: what a sync would do now, or in the other direction; takes as long as reading both
        sides does."""
        previewer = Previewer(self._bus, self._hasher, self._defaults, self._policy, self._now)
        return orjson.dumps(await previewer.of(_asked(data), two_way=orjson.loads(data).get("two_way")))

    async def _request(self, _subject: str, data: bytes) -> bytes:
        """{filter_id, request_id}: what came of a command: {done, refused, undo}; not done while it still waits.
        undo: of an undo, what was taken back and what was not."""
        asked = orjson.loads(data)
        key = subjects.request_key(str(asked.get("filter_id", "")), str(asked.get("request_id", "")))
        stored = await self._bus.get(key)
        refused = orjson.loads(stored.value).get("refused", "") if stored is not None else ""
        answer: dict[str, Any] = {"done": stored is not None, "refused": refused}
        if stored is not None and not refused:
            undo = (await self._record(str(asked["filter_id"]))).undo
            if undo is not None and undo.request_id == asked["request_id"]:
                answer["undo"] = asdict(undo)
        return orjson.dumps(answer)

    async def _history(self, _subject: str, data: bytes) -> bytes:
        """{filter_id, contact?, run?, before?, limit?}: entries of the history, the newest first, as many as one
        answer holds; `next` is the `before` of the following ones, or null."""
        asked = orjson.loads(data)
        record = await self._record(str(asked.get("filter_id", "")))
        limit = min(int(asked.get("limit") or PAGE_MAX), PAGE_MAX)
        page = past.Page(limit, run=asked.get("run") or "", before=past.cursor(asked.get("before") or ""))
        contact = f"{int(asked['contact'])}." if asked.get("contact") else ""
        async for stored in self._bus.load(subjects.history_prefix(record.filter_id) + contact):
            page.see(stored.key, stored.value)
        return page.answer(record.filter_id)

    async def _export(self, _subject: str, data: bytes) -> bytes:
        """{filter_id}: the record and the numbers of all contacts with a link or a history; with {links: contacts}
        or {history: contacts, after}: as many of theirs as one answer holds; with {others: kind, after}: what
        is stored beside them. `next`: what to go on with."""
        asked = orjson.loads(data)
        record = await self._record(str(asked.get("filter_id", "")))
        export = past.Export(self._bus, record.filter_id)
        match asked:
            case {"others": kind}:
                return await export.others(str(kind), str(asked.get("after") or ""))
            case {"links": contacts}:
                return await export.links([int(contact) for contact in contacts])
            case {"history": contacts}:
                return await export.history([int(contact) for contact in contacts], int(asked.get("after") or 0))
            case _:
                return await export.overview()

    async def _contacts(self, _subject: str, data: bytes) -> bytes:
        """{filter_id, state?, search?, after?, limit?, names?}: `limit` (at most 1,000) contacts by number after the
        number `after`, people without a contact first; the answer is in `listing.page`. search: words, each of which
        is in the name, an e-mail address, a telephone number, the company, the position or the contact's number.
        names: rows show name, email and phone as well. Refused with 400 where a field is malformed."""
        question = question_of(_json(data))
        if isinstance(question, str):
            raise Refused(question, MALFORMED)
        await self._record(question.filter_id)
        return orjson.dumps(page(await self._shelf.rows(question.filter_id), question))

    async def _contact(self, _subject: str, data: bytes) -> bytes:
        """{filter_id, contact}: its row with names, both sides' content as last seen, and why values differ: see
        `listing.whole_contact`. Refused with 404 where the filter has no such contact."""
        asked = contact_of(_json(data))
        if isinstance(asked, str):
            raise Refused(asked, MALFORMED)
        filter_id, contact = asked
        await self._record(filter_id)
        stored = await self._bus.get(subjects.link_key(filter_id, contact))
        if stored is None:
            raise Refused(f"Filter {filter_id} has no contact {contact}.", NOT_FOUND)
        return orjson.dumps(whole_contact(orjson.loads(stored.value)))

    async def _record(self, filter_id: str) -> FilterRecord:
        stored = await self._bus.get(subjects.filter_key(filter_id)) if filter_id else None
        if stored is None:
            raise Refused(f"Filter {filter_id} is not synchronised.", NOT_FOUND)
        return filter_from_json(orjson.loads(stored.value))


def _is_name(token: str) -> bool:
    """Whether the token of a subject stands for a text; anybody may publish anywhere."""
    try:
        return subjects.token(subjects.untoken(token)) == token
    except ValueError:
        return False


def _asked(data: bytes) -> str:
    return str(orjson.loads(data).get("filter_id", ""))


def _json(data: bytes) -> object:
    """None for what is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
