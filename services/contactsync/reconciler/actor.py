"""One filter's actor: reads what its machine needs, commits what it decided, then says it.

The order is law (3-architecture 3.3): commit, publish until acknowledged, and only then is the mailbox message
acknowledged (by `ownership`, when `handle` returns). A crash in between repeats the message: facts are the same,
mutations are once-only by their revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from contactsync.hashing import Hasher
from contactsync.reconciler.core import leaving
from contactsync.reconciler.core.commands import Command
from contactsync.reconciler.core.decided import decided_from_json, decided_to_json
from contactsync.reconciler.core.filter import filter_from_json, filter_to_json
from contactsync.reconciler.core.link import (
    Arrival,
    Link,
    arrival_from_json,
    arrival_to_json,
    link_from_json,
    link_to_json,
)
from contactsync.reconciler.core.machine import Event, Machine
from contactsync.reconciler.core.outbox import Outbox, Outgoing
from contactsync.reconciler.core.outline import outlined
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.core.step import Step
from contactsync.reconciler.past import kept, name_of
from contactsync.runtime.bus import TYPE, Bus, Fence, Message, Put, Refused, Transient
from contactsync.runtime.dead import dead_letter, decoded
from contactsync.runtime.ownership import Delivery
from contactsync.runtime.state import commit_all
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    MESSAGES,
    GoogleCandidates,
    NewContactDefaults,
    SyncFinished,
    SyncRequest,
    type_of,
)

SERVICE = "reconciler"
DUE_AT_ONCE = 500
MATCH_WAIT_S = 2.0
RECENT_MAX = 2000
"""Links kept whole in memory, about 5 kB each, the latest stored."""
HISTORY_DAYS = 90
UNDONE_AT_ONCE = 200


class Actor:
    """Made by the service for a filter that has messages or something under way."""

    def __init__(
        self,
        bus: Bus,
        filter_token: str,
        fence: Fence,
        hasher: Hasher,
        defaults: NewContactDefaults,
        count: Callable[[Step], None] = lambda step: None,
        policy: Policy | None = None,
        history_days: int = HISTORY_DAYS,
    ) -> None:
        self._history_ttl_s = history_days * 86_400
        self._policy = policy or Policy()
        self._count = count
        self._bus = bus
        self._token = filter_token
        self._filter_id = subjects.untoken(filter_token)
        self._key = f"state.filter.{filter_token}"
        self._fence = fence
        self._hasher = hasher
        self._outbox = Outbox(hasher, defaults, fence.epoch)
        self._machine: Machine | None = None
        self._taken_over = True
        self._recent: dict[int, Link] = {}

    async def handle(self, deliveries: Sequence[Delivery], now: Callable[[], float]) -> float | None:
        """Work through these messages (none: something may be due). When to be called again, or None."""
        if self._machine is None:
            self._recent.clear()
        machine = self._machine or await self._load()
        # Until this step is through; a failure leaves nothing half-done in memory.
        self._machine, self._taken_over = None, True
        for delivery in deliveries:
            event = await self._read(delivery)
            if event is None:
                continue
            if isinstance(event, Command) and not await self._is_new(machine, event):
                continue
            machine.load(await self._links(machine.needs(event)))
            recalled = machine.recalls(event)
            if recalled is not None:
                machine.recall(await self._entries([recalled]))
            machine.handle(event, now())
        await self._again(machine, now())
        step = machine.finish(now())
        await self._match_at_once(machine, step, now())
        await self._carry_out(step, now())
        await self._take_back_run(machine, now)
        while due := machine.due(DUE_AT_ONCE):
            machine.load(await self._links(due))
            machine.touch(due)
            await self._carry_out(machine.finish(now()), now())
        if machine.erasing:
            machine = await self._erase(machine, now())
        self._machine = machine
        return machine.wake_at(now())

    @property
    def machine(self) -> Machine | None:
        return self._machine

    def pause(self) -> None:
        """Nothing has come for a while: whole links are not kept any longer, what is known of them in brief is."""
        self._recent.clear()

    def rest(self) -> int | None:
        """Let go of everything, if nothing goes on here: the next message loads it again. How many links that were,
        None if something goes on."""
        machine = self._machine
        if machine is None or (machine.record is not None and machine.record.unfinished):
            return None
        self._machine, self._taken_over = None, False
        self._recent.clear()
        return len(machine.index)

    @property
    def links(self) -> int:
        """How many are in memory."""
        return len(self._machine.index) if self._machine is not None else 0

    # ---- reading

    async def _load(self) -> Machine:
        record = await self._bus.get(self._key)
        arrivals: list[Arrival] = []
        async for stored in self._bus.load(f"{self._key}.arrival."):
            arrivals.append(arrival_from_json(orjson.loads(stored.value)))
        decided = [
            decided_from_json(orjson.loads(stored.value)) async for stored in self._bus.load(f"{self._key}.decided.")
        ]
        # Links without a record: it was lost alone, and who activates the filter again finds them.
        found = filter_from_json(orjson.loads(record.value)) if record is not None else None
        machine = Machine(found, [], arrivals, self._hasher, self._policy, decided, taken_over=self._taken_over)
        async for stored in self._bus.load(f"{self._key}.link."):
            machine.know(outlined(stored.value))  # one by one: 25,000 whole links are 150 MB
        return machine

    async def _links(self, contacts: Iterable[int]) -> list[Link]:
        """From memory if stored a moment ago (a contact comes by three times in a first sync), else read."""
        found, keys = [], []
        for contact in contacts:
            link = self._recent.get(contact)
            if link is not None:
                found.append(link)
            else:
                keys.append(f"{self._key}.link.{contact}")
        if keys:
            records = await self._bus.load_keys(keys)
            found += [link_from_json(orjson.loads(record.value)) for record in records.values()]
        return found

    async def _read(self, delivery: Delivery) -> Event | None:
        """The message as its contract has it; what does not fit is kept aside with the reason, never retried."""
        name = delivery.headers.get(TYPE) or ("SyncRequest.v1" if delivery.kind == "sync" else "")
        contract = MESSAGES.get(name)
        if contract is None:
            await dead_letter(self._bus, SERVICE, self._token, delivery, f"unknown type {name!r}")
            return None
        message = await decoded(self._bus, SERVICE, self._token, delivery, contract)
        if message is None:
            return None
        if getattr(message, "filter_id", None) != self._filter_id or not isinstance(message, Event):
            await dead_letter(self._bus, SERVICE, self._token, delivery, "not for this filter's mailbox")
            return None
        return message

    async def _is_new(self, machine: Machine, request: Command) -> bool:
        """A request counts once for good; one for a filter that nobody activated is answered, not forgotten."""
        if machine.record is None and isinstance(request, SyncRequest):
            await self._not_active(request)
            return False
        key = subjects.request_key(self._filter_id, request.request_id)
        return await self._bus.get(key) is None

    async def _not_active(self, request: SyncRequest) -> None:
        answer = SyncFinished(
            filter_id=self._filter_id,
            run_id=request.request_id,
            request_id=request.request_id,
            started_at=0.0,
            finished_at=0.0,
            outcome="failed",
            reason="This filter is not synchronised: nobody has activated it.",
        )
        await self._bus.publish(
            subjects.event(self._filter_id),
            answer.model_dump_json().encode(),
            msg_id=f"{self._filter_id}.event.{request.request_id}",
            type_=type_of(answer),
        )

    async def _again(self, machine: Machine, now: float) -> None:
        overdue = machine.overdue(now)
        if overdue:
            machine.load(await self._links(overdue))
        machine.ask_again(overdue, now)

    async def _match_at_once(self, machine: Machine, step: Step, now: float) -> None:
        """Ask the watcher for partners directly and decide in the same step. It only saves a commit and two messages
        a page: without an answer the question is stored and goes the usual way."""
        for look in self._outbox.match_looks(step):
            try:
                answer = await self._bus.request(subjects.query("match"), look.data, timeout_s=MATCH_WAIT_S)
                candidates = GoogleCandidates.model_validate_json(answer)
            except (Transient, Refused, ValidationError):
                return
            asked = [link for a in candidates.answers if (link := step.links.get(a.contact)) is not None]
            machine.load(asked)
            machine.load(await self._links(machine.needs(candidates)))
            machine.handle(candidates, now)
            step.join(machine.finish(now))

    # ---- the history

    async def _entries(self, names: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Any]]:
        keys = {subjects.history_key(self._filter_id, *name): name for name in names}
        records = await self._bus.load_keys(list(keys))
        return {keys[key]: orjson.loads(record.value) for key, record in records.items()}

    async def _take_back_run(self, machine: Machine, now: Callable[[], float]) -> None:
        """What is left of a run that is being taken back: the entries' names are found in one pass over the history,
        the entries and links are read chunk by chunk."""
        under_way = machine.undo
        if under_way is None:
            return
        names: dict[int, list[tuple[int, int]]] = {}
        async for stored in self._bus.load(subjects.history_prefix(self._filter_id)):
            name = name_of(stored.key)
            if name[0] > under_way.after and orjson.loads(stored.value).get("run") == under_way.run:
                names.setdefault(name[0], []).append(name)
        left = sorted(names)
        while machine.undo is not None:
            chunk, left = left[:UNDONE_AT_ONCE], left[UNDONE_AT_ONCE:]
            machine.load(await self._links(chunk))
            entries = await self._entries([name for contact in chunk for name in names[contact]])
            machine.take_back(entries, now(), last=not left)
            await self._carry_out(machine.finish(now()), now())

    # ---- carrying out

    async def _carry_out(self, step: Step, now: float) -> None:
        puts, last = self._puts(step, now)
        if puts or last:
            await commit_all(self._bus, self._fence, puts, last)
        self._remember(step)
        self._count(step)
        outgoing = self._outbox.messages(step)
        if outgoing:
            await self._bus.publish_many([_message(item) for item in outgoing])

    async def _erase(self, machine: Machine, now: float) -> Machine:
        """Erase what we stored of the filter, its record last: a successor goes on with what a killed one left."""
        record = machine.record
        assert record is not None
        puts: list[Put] = []
        async for stored in self._bus.load(f"{self._key}."):
            stays = leaving.outlives(record, stored.key.removeprefix(f"{self._key}."))
            if stays == "for a while":
                puts.append(Put(stored.key, stored.value, ttl_s=leaving.KEPT_S))
            elif stays == "no":
                puts.append(Put(stored.key, None))
        following = leaving.successor(record, now, first_waits=self._policy.first_sync_waits)
        if following is None:
            async for stored in self._bus.load(f"history.{self._token}."):
                puts.append(Put(stored.key, None))
        last = Put(self._key, None if following is None else orjson.dumps(filter_to_json(following)))
        await commit_all(self._bus, self._fence, puts, [last])
        self._recent.clear()
        if following is None:
            return Machine(None, [], [], self._hasher, self._policy)
        moved = await self._load()
        await self._carry_out(moved.finish(now), now)
        return moved

    def _remember(self, step: Step) -> None:
        for contact, link in step.links.items():
            self._recent.pop(contact, None)
            if link is not None:
                self._recent[contact] = link
        while len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    def _puts(self, step: Step, now: float) -> tuple[list[Put], list[Put]]:
        # The history first: where the commit ends half-way, what is not stored of links happens, and is told, again.
        told = {(contact, number): entry for contact, number, entry in step.history}
        puts = [
            Put(
                subjects.history_key(self._filter_id, *name),
                None if entry is None else kept(entry),
                ttl_s=None if entry is None else self._history_ttl_s,
            )
            for name, entry in told.items()
        ]
        puts += [
            Put(f"{self._key}.link.{contact}", None if link is None else orjson.dumps(link_to_json(link)))
            for contact, link in step.links.items()
        ]
        puts += [
            Put(
                subjects.arrival_key(self._filter_id, source_id),
                None if arrival is None else orjson.dumps(arrival_to_json(arrival)),
            )
            for source_id, arrival in step.arrivals.items()
        ]
        puts += [
            Put(
                subjects.decided_key(self._filter_id, contact),
                None if decided is None else orjson.dumps(decided_to_json(decided)),
            )
            for contact, decided in step.decided.items()
        ]
        last = [
            Put(subjects.request_key(self._filter_id, request), orjson.dumps({"at": now, "refused": refused}))
            for request, refused in step.requests.items()
        ]
        if step.record_changed and step.record is not None:
            last.append(Put(self._key, orjson.dumps(filter_to_json(step.record))))
        return puts, last


def _message(item: Outgoing) -> Message:
    return Message(subject=item.subject, data=item.data, msg_id=item.msg_id, type_=type_of(item.message))
