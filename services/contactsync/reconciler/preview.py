"""`preview`: what a sync would do now, without doing it (semantics 2.5, D31).

Reads the filter's links from the state and both sides through the watchers' peeks, plays that to a copy of the
machine and throws the copy away: nothing is committed, published or told, and no sync token moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import orjson
from pydantic import ValidationError

from contactsync.hashing import Hasher
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.decided import decided_from_json
from contactsync.reconciler.core.describe import plan_status
from contactsync.reconciler.core.filter import FilterRecord, filter_from_json
from contactsync.reconciler.core.guard import contacts_in, people_in
from contactsync.reconciler.core.link import Arrival, Link, arrival_from_json, link_from_json
from contactsync.reconciler.core.machine import Event, Machine
from contactsync.reconciler.core.outbox import Outbox
from contactsync.reconciler.core.plan import decide
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.core.previewing import EXAMPLES_MAX, Preview, frozen_rows, with_newcomers
from contactsync.reconciler.core.step import BY_NAME, Step
from contactsync.runtime.bus import Bus, NoAnswer, Refused
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    GoogleCandidates,
    GoogleGone,
    GoogleObserved,
    NewContactDefaults,
    PlanfixConfirmed,
    PlanfixListed,
    PlanfixObserved,
)

PAGE_WAIT_S: Final = 120.0
"""A page may have to wait for the vendor's quota."""
PAGES_MAX: Final = 1_000
ROUNDS_MAX: Final = 4
NUMBER_MAX: Final = 2**53
NAMES_MAX: Final = 150


class Previewer:
    def __init__(
        self, bus: Bus, hasher: Hasher, defaults: NewContactDefaults, policy: Policy, now: Callable[[], float]
    ) -> None:
        self._bus, self._hasher, self._defaults = bus, hasher, defaults
        self._policy, self._now = policy, now

    async def of(self, filter_id: str, *, two_way: bool | None = None) -> dict[str, Any]:
        """As it is, or as it would be if the filter were two-way (or not).

        {filter_id, state, reason, plans: [{hash, kind, reason, actions, groups}], would: [group]}. Raises
        Refused."""
        return await _Rehearsal(self._bus, self._hasher, self._defaults, self._policy, self._now, filter_id).play(
            two_way
        )


class _Rehearsal:
    """One preview: `_links` are those of the state, `_preview.known` those of the copy; `_moved`: whether anything
    happened in Google since the watcher's last reading."""

    def __init__(
        self,
        bus: Bus,
        hasher: Hasher,
        defaults: NewContactDefaults,
        policy: Policy,
        now: Callable[[], float],
        filter_id: str,
    ) -> None:
        self._bus, self._hasher, self._policy, self._now = bus, hasher, policy, now
        self._filter_id = filter_id
        self._key = subjects.filter_key(filter_id)
        self._moved = False
        self._waiting: dict[int, PlanfixObserved] = {}
        self._outbox = Outbox(hasher, defaults, 0)
        self._preview = Preview()

    async def play(self, two_way: bool | None) -> dict[str, Any]:
        stored = await self._bus.get(self._key)
        if stored is None:
            raise Refused(f"Filter {self._filter_id} is not synchronised.", 404)
        record = filter_from_json(orjson.loads(stored.value))
        if two_way is not None and two_way != record.two_way:
            record = replace(record, two_way=two_way, two_way_since=self._now() if two_way else 0.0)
        machine = await self._load(record)
        plans = [await self._plan(machine, number) for number in range(len(record.plans))]
        would: list[dict[str, Any]] = []
        if record.active:
            pages = await self._google_pages(record)
            listed = await self._planfix(machine, record, self._owners(machine, pages))
            for page in pages:
                await self._people(machine, record, page, "")
            await self._step(machine, [listed])
            would = self._preview.groups()
        return {
            "filter_id": record.filter_id,
            "state": record.state.value,
            "reason": record.reason,
            "plans": plans,
            "would": would,
        }

    async def _load(self, record: FilterRecord) -> Machine:
        arrivals: list[Arrival] = []
        async for stored in self._bus.load(f"{self._key}.arrival."):
            arrivals.append(arrival_from_json(orjson.loads(stored.value)))
        decided = [
            decided_from_json(orjson.loads(stored.value)) async for stored in self._bus.load(f"{self._key}.decided.")
        ]
        machine = Machine(record, [], arrivals, self._hasher, self._policy, decided)
        async for stored in self._bus.load(f"{self._key}.link."):
            machine.know(link_from_json(orjson.loads(stored.value)))
        machine.finish(self._now())  # what is under way already is nobody's news
        if record.two_way:
            machine.draft.touched_arrivals.update(machine.arrivals.source_ids)  # they may be created in Planfix now
        return machine

    async def _plan(self, machine: Machine, place: int) -> dict[str, Any]:
        """A frozen plan with what its actions are, as far as they are still wanted."""
        draft = machine.draft
        plan = draft.filter.plans[place]
        contacts = sorted(contacts_in(draft, plan))
        links = (await self._links(contacts[:EXAMPLES_MAX])).values()
        gone = plan.kind == "empty"
        decided = []
        for link in links:
            decision = decide(_away(link) if gone else link, draft.rules, self._now())
            decided.append((link, decision.link.pending if decision.link is not None else None))
        rows = frozen_rows(decided)
        people = people_in(draft, plan)[:EXAMPLES_MAX]
        rows += [{"action": "planfix create", "contact": None, "person": one.resource} for one in people]
        return plan_status(plan) | {"wanted": len(contacts) + len(people_in(draft, plan)), "examples": rows}

    # ---- both sides as they are now

    async def _planfix(self, machine: Machine, record: FilterRecord, moved: frozenset[int]) -> PlanfixListed:
        """Plays Planfix's pages; contacts whose person moved, too, wait: both sides of these are weighed at once."""
        began, members = self._now(), set[int]()
        for companies in (False, True):
            offset = 0
            for _ in range(PAGES_MAX):
                question = {
                    "filter_id": self._filter_id,
                    "owner": record.owner,
                    "companies": companies,
                    "offset": offset,
                }
                page = orjson.loads(await self._ask("planfix_page", question))
                if not page["count"]:
                    break
                offset += page["count"]
                seen = PlanfixObserved.model_validate(
                    {
                        "filter_id": self._filter_id,
                        "seen_at": self._now(),
                        "member": True,
                        "contacts": page["contacts"],
                    }
                )
                members |= {contact.contact for contact in seen.contacts}
                waiting = tuple(contact for contact in seen.contacts if contact.contact in moved)
                self._waiting |= {one.contact: seen.model_copy(update={"contacts": (one,)}) for one in waiting}
                others = tuple(contact for contact in seen.contacts if contact.contact not in moved)
                await self._step(machine, [seen.model_copy(update={"contacts": others})])
        return PlanfixListed(
            filter_id=self._filter_id, began_at=began, low=0, high=NUMBER_MAX, members=tuple(members), last=True
        )

    async def _google_pages(self, record: FilterRecord) -> list[dict[str, Any]]:
        """Read first, as in a sync: whoever came to Google meanwhile may be somebody's partner."""
        full, after = False, None
        pages: list[dict[str, Any]] = []
        for _ in range(PAGES_MAX):
            question = {"account": record.account, "filter_id": self._filter_id, "full": full, "page": after}
            page = orjson.loads(zlib.decompress(await self._ask("google_page", question)))
            if page.get("expired"):
                if full:
                    raise Refused("Google's listing cannot be read to its end now; try again.", 503)
                full, after, pages = True, None, []
                continue
            pages.append(page)
            after = page["next"]
            if after is None:
                break
        self._moved = not full and any(page["moved"] for page in pages)
        return pages

    async def _people(self, machine: Machine, record: FilterRecord, answer: dict[str, Any], request_id: str) -> None:
        head = {"filter_id": self._filter_id, "account": record.account, "seen_at": self._now()}
        events: list[Event] = []
        if answer["people"]:
            seen = {**head, "people": answer["people"], "request_id": request_id}
            events.append(GoogleObserved.model_validate(seen))
        if answer["gone"]:
            events.append(GoogleGone.model_validate({**head, "resources": answer["gone"]}))
        owners = sorted(self._owners(machine, [answer]) & self._waiting.keys())
        if events:
            await self._step(machine, [*events, *(self._waiting.pop(contact) for contact in owners)])

    @staticmethod
    def _owners(machine: Machine, pages: Iterable[dict[str, Any]]) -> frozenset[int]:
        """Whose people are on these pages."""
        names = {name for page in pages for name in (*page["gone"], *(one["resource"] for one in page["people"]))}
        owners = (machine.draft.index.owner_of(name) for name in names)
        return frozenset(owner for owner in owners if owner is not None)

    # ---- the copy

    async def _step(self, machine: Machine, events: Sequence[Event], depth: int = 0) -> None:
        before = await self._links({contact for event in events for contact in machine.needs(event)})
        machine.load(before.values())
        for event in events:
            machine.handle(event, self._now())
        step = machine.finish(self._now())
        self._preview.take(step, before)
        if depth < ROUNDS_MAX:
            await self._answer(machine, step, depth + 1)

    async def _answer(self, machine: Machine, step: Step, depth: int) -> None:
        """What the step wants to see: partners and people are asked for; those who seem to have left are taken to
        have left, which a real sync would confirm first."""
        record = step.record
        if record is None:
            return
        for look in self._outbox.match_looks(step):
            try:
                answer = await self._bus.request(subjects.query("match"), look.data, timeout_s=PAGE_WAIT_S)
                found = await self._with_newcomers(record, look.data, GoogleCandidates.model_validate_json(answer))
                await self._step(machine, [found], depth)
            except (NoAnswer, Refused, ValidationError) as error:
                raise Refused("Google's contacts are being read just now; try again in a minute.", 503) from error
        names = {b.link.resource for b in step.begun if b.ask and b.link.asked == "person" and b.link.resource}
        wanted = sorted(names | step.wishes.people)
        for at in range(0, len(wanted), NAMES_MAX):
            question = {
                "account": record.account,
                "filter_id": self._filter_id,
                "people": wanted[at : at + NAMES_MAX],
            }
            shown = orjson.loads(zlib.decompress(await self._ask("google_page", question)))
            await self._people(machine, record, shown, BY_NAME)
        if step.wishes.confirm and step.wishes.known:
            gone = tuple(step.wishes.confirm)
            confirmed = PlanfixConfirmed(filter_id=self._filter_id, seen_at=self._now(), gone=gone)
            await self._step(machine, [confirmed], depth)

    async def _with_newcomers(self, record: FilterRecord, look: bytes, answer: GoogleCandidates) -> GoogleCandidates:
        """The candidates as they will be when the watcher has read what happened meanwhile."""
        if not self._moved:
            return answer
        queries = orjson.loads(look)["match"]
        question = {"account": record.account, "filter_id": self._filter_id, "match": queries}
        newer = orjson.loads(zlib.decompress(await self._ask("google_page", question)))
        if newer.get("expired"):
            return answer
        return with_newcomers(answer, newer["moved"], newer["answers"])

    async def _links(self, contacts: Iterable[int]) -> dict[int, Link]:
        found: dict[int, Link] = {}
        keys = []
        for contact in contacts:
            if contact not in self._preview.known:
                keys.append(subjects.link_key(self._filter_id, contact))
            elif (link := self._preview.known[contact]) is not None:
                found[contact] = link
        for record in (await self._bus.load_keys(keys)).values() if keys else ():
            link = link_from_json(orjson.loads(record.value))
            found[link.contact] = link
        return found

    async def _ask(self, verb: str, question: dict[str, Any]) -> bytes:
        try:
            return await self._bus.request(subjects.query(verb), orjson.dumps(question), timeout_s=PAGE_WAIT_S)
        except NoAnswer as error:
            raise Refused(
                "A watcher does not answer: are planfix-watcher and google-watcher running?", 503
            ) from error


def _away(link: Link) -> Link:
    return replace(link, member=False, frozen=None)
