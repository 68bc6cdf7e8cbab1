"""Creating Planfix contacts once and only once (2-semantics I2).

Planfix knows no idempotency key either: every new contact carries a marker (`sourceObjectId`). The intent to create
is committed before the request leaves; if its answer is lost, or a crash leaves the intent behind, the contacts
created since are searched for the marker, and again ten seconds after sending, before anything is sent anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from contactsync.errors import AccessDenied, OutcomeUnknown, PlanNeeded, Rejected, Unavailable
from contactsync.planfix.port import PlanfixApi, Query
from contactsync.runtime.bus import Bus, Fence, Put
from contactsync.writer.letters import Clock
from contactsync.writer.planfix_batch import Ask, Verdict, kept
from contactsync_contracts import subjects
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class, NewContactDefaults, Outcome, PlanfixMutation

DONE_TTL_S = 7 * 86_400
BACK_S = 120.0
"""Clocks and Planfix's minutes may differ by this much."""
LOOK_AGAIN_S = 10.0
SENDS_MAX = 4
PAGES_MAX = 50


@dataclass(frozen=True, slots=True)
class CreateIntent:
    """`sends`: how often it was sent. `without`: fields left out because Planfix refuses them, with the reason."""

    marker: str
    sent_at: float
    sends: int = 1
    without: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CreateDone:
    number: int | None
    outcome: Outcome
    reason: str = ""
    refused: dict[str, str] | None = None


def intent_key(mutation_id: str) -> str:
    return f"state.planfix.intent.{subjects.token(mutation_id)}"


def done_key(mutation_id: str) -> str:
    return f"state.planfix.done.{subjects.token(mutation_id)}"


class PlanfixCreates:
    def __init__(self, api: PlanfixApi, bus: Bus, clock: Clock) -> None:
        self._api, self._bus, self._clock = api, bus, clock

    async def create(self, ask: Ask, fence: Fence) -> Verdict | None:
        """The outcome, to be committed with `settled`; None when it has to be looked for again later."""
        mutation = ask.mutation
        if (done := await self._bus.get(done_key(mutation.mutation_id))) is not None:
            stored = CreateDone(**orjson.loads(done.value))
            return Verdict(
                Outcome(stored.outcome), number=stored.number, reason=stored.reason, refused=stored.refused
            )
        record = await self._bus.get(intent_key(mutation.mutation_id))
        intent = CreateIntent(**orjson.loads(record.value)) if record is not None else None
        if intent is not None:
            began = self._clock()
            if (number := await self._find(mutation, intent, ask.cls)) is not None:
                return await self._made(ask, number, intent.without or {})
            if began < intent.sent_at + LOOK_AGAIN_S:
                return None
            if intent.sends >= SENDS_MAX:
                return Verdict(Outcome.REFUSED, reason="Planfix keeps failing on this new contact")
        return await self._send(ask, intent, fence)

    def settled(self, ask: Ask, verdict: Verdict) -> list[Put]:
        """What the commit of an outcome holds: the answer for a replay, and the end of the intent."""
        mutation_id = ask.mutation.mutation_id
        number = verdict.number or (verdict.contact.contact if verdict.contact else None)
        refused = dict(verdict.refused or {})
        done = orjson.dumps(CreateDone(number, verdict.outcome, verdict.reason, refused))
        return [Put(done_key(mutation_id), done, ttl_s=DONE_TTL_S), Put(intent_key(mutation_id), None)]

    async def _send(self, ask: Ask, intent: CreateIntent | None, fence: Fence) -> Verdict | None:
        mutation = ask.mutation
        without = dict(intent.without or {}) if intent else {}
        sends = intent.sends if intent else 0
        while True:
            sends += 1
            sending = CreateIntent(mutation.marker, self._clock(), sends, without)
            put = Put(intent_key(mutation.mutation_id), orjson.dumps(sending))
            await self._bus.commit(fence, [put])
            fields = {name: value for name, value in mutation.fields.items() if name not in without}
            try:
                number = await self._api.create_contact(
                    fields,
                    is_company=mutation.is_company,
                    owner=mutation.owner,
                    defaults=mutation.defaults or NewContactDefaults(),
                    marker=mutation.marker,
                    cls=ask.cls,
                )
            except OutcomeUnknown:
                found = await self._find(mutation, sending, ask.cls)
                return await self._made(ask, found, without) if found is not None else None
            except Rejected as error:
                named = {name: reason for name, reason in error.items.items() if name in fields}
                if not named and "emails" in fields:
                    # An address that is taken is the usual reason, and not every answer names it.
                    named = {"emails": error.reason}
                if not named or len(named) == len(fields):
                    return Verdict(Outcome.REFUSED, reason=error.reason, refused={**without, **named})
                without |= named
                continue
            except AccessDenied as error:
                return Verdict(Outcome.REFUSED, reason=error.reason)
            except (Unavailable, PlanNeeded):
                # Nothing took effect: as before this request.
                before = orjson.dumps(intent) if intent is not None else None
                await self._bus.commit(fence, [Put(intent_key(mutation.mutation_id), before)])
                raise
            return await self._made(ask, number, without)

    async def _made(self, ask: Ask, number: int, without: dict[str, str]) -> Verdict:
        contact = await self._api.get_contact(number, cls=ask.cls)
        refused = dict(without)
        if contact is not None:
            nothing: Contact = {name: "" if isinstance(value, str) else () for name, value in contact.fields.items()}
            filled = {name: value for name, value in ask.mutation.fields.items() if value}
            refused = {**kept(filled, nothing, contact.fields), **without}
        return Verdict(Outcome.DONE, contact, number, refused, wrote=True)

    async def _find(self, mutation: PlanfixMutation, intent: CreateIntent, cls: Class) -> int | None:
        """The contact with the marker among those created since; the lowest number if there are several."""
        query = Query(created_since=intent.sent_at - BACK_S, companies=mutation.is_company)
        found: set[int] = set()
        offset = 0
        for _ in range(PAGES_MAX):
            page = await self._api.list_contacts(query, offset=offset, cls=cls)
            found |= {number for number, marker in page.markers.items() if marker == mutation.marker}
            offset += page.count
            if page.count == 0:
                break
        return min(found, default=None)
