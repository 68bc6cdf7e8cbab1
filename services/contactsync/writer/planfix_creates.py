"""Creating Planfix contacts once and only once (2-semantics I2).

Planfix knows no idempotency key either: every new contact carries a marker (`sourceObjectId`, and the stamp field if
one is configured). The intent to create is committed before the request leaves; if its answer is lost, or a crash
leaves the intent behind, the contact is looked for, again and again as long as lists may lag, before anything is sent
anew. With a stamp field it is also looked for before the first time: the marker outlives our state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import orjson

from contactsync.errors import AccessDenied, Gone, OutcomeUnknown, PlanNeeded, Rejected, Unavailable
from contactsync.planfix.port import PlanfixApi, Query
from contactsync.records import known_to
from contactsync.runtime.bus import Bus, Fence, Put
from contactsync.writer.letters import Clock
from contactsync.writer.planfix_batch import Ask, Verdict, alike_new, extra_emails_stuck, kept, keys_of
from contactsync.writer.planfix_fields import write_fields
from contactsync_contracts import subjects
from contactsync_contracts.contact import NAME_FIELDS, Contact
from contactsync_contracts.messages import Class, NewContactDefaults, Outcome, PlanfixContact, PlanfixMutation

DONE_TTL_S = 7 * 86_400
BACK_S = 900.0
"""Clocks and Planfix's minutes may differ by this much."""
LOOKS_S = (2.0, 10.0, 30.0)
"""Seconds after sending at which a contact without an answer is looked for; then every 60 s up to the lag."""
SENDS_MAX = 4
PAGES_MAX = 50


@runtime_checkable
class LearnsExtraEmails(Protocol):
    """A PlanfixApi that finds out whether additional e-mail addresses can be written (None: not known yet)."""

    @property
    def extra_emails(self) -> bool | None: ...

    def learn_extra_emails(self, sticks: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class CreateIntent:
    """`sends`: how often it was sent. `later`: fields left out because Planfix refused the contact with them; they
    are written when it is there."""

    marker: str
    sent_at: float
    sends: int = 1
    later: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateDone:
    number: int | None
    outcome: Outcome
    reason: str = ""
    refused: dict[str, str] | None = None


def intent_key(mutation: PlanfixMutation) -> str:
    """By marker: two filters may ask for the same person at once."""
    return f"state.planfix.intent.{subjects.token(mutation.marker or mutation.mutation_id)}"


def made_key(mutation: PlanfixMutation) -> str:
    return f"state.planfix.made.{subjects.token(mutation.marker or mutation.mutation_id)}"


def done_key(mutation_id: str) -> str:
    return f"state.planfix.done.{subjects.token(mutation_id)}"


def to_leave_out(named: Mapping[str, str], fields: Contact) -> list[str]:
    """What a refused create goes without at the next try: what the answer names, else everything but the names."""
    out = [name for name in fields if name in named]
    return out or [name for name in fields if name not in (*NAME_FIELDS, "company")]


class PlanfixCreates:
    """`lag_s`: how long lists may lag behind writes."""

    def __init__(self, api: PlanfixApi, bus: Bus, clock: Clock, lag_s: float) -> None:
        self._api, self._bus, self._clock, self._lag_s = api, bus, clock, lag_s
        self._looks: dict[str, float] = {}

    def due_at(self, mutation_id: str) -> float:
        """When this create may be tried or looked for again; 0 if it has not been tried."""
        return self._looks.get(mutation_id, 0.0)

    async def create(self, ask: Ask, fence: Fence) -> Verdict | None:
        """The outcome, to be committed with `settled`; None when it has to be looked for again later."""
        mutation = ask.mutation
        if (done := await self._bus.get(done_key(mutation.mutation_id))) is not None:
            stored = CreateDone(**known_to(CreateDone, orjson.loads(done.value)))
            return Verdict(
                Outcome(stored.outcome), number=stored.number, reason=stored.reason, refused=stored.refused
            )
        record = await self._bus.get(intent_key(mutation))
        if record is None:
            if (contact := await self._made_before(mutation, ask.cls)) is not None:
                return await self._made(ask, contact, ())
            if (number := await self._marked(Query(marker=mutation.marker), mutation, ask.cls)) is not None:
                return await self._made(ask, number, ())
            return await self._send(ask, None, fence)
        intent = CreateIntent(**known_to(CreateIntent, orjson.loads(record.value)))
        began = self._clock()
        if (number := await self._find(mutation, intent, ask.cls)) is not None:
            return await self._made(ask, number, intent.later)
        if began < intent.sent_at + self._lag_s:
            self._later(mutation.mutation_id, intent, began)
            return None
        if intent.sends >= SENDS_MAX:
            return Verdict(Outcome.REFUSED, reason="Planfix keeps failing on this new contact")
        return await self._send(ask, intent, fence)

    def _later(self, mutation_id: str, intent: CreateIntent, looked_at: float) -> None:
        """Plan the next look; the last one is when the lists can be trusted."""
        age_s = looked_at - intent.sent_at
        planned = [after for after in LOOKS_S if age_s < after < self._lag_s]
        next_s = planned[0] if planned else min(self._lag_s, age_s + 60.0)
        self._looks[mutation_id] = max(intent.sent_at + next_s, looked_at + 1.0)

    def settled(self, ask: Ask, verdict: Verdict) -> list[Put]:
        """What the commit of an outcome holds: the answer for a replay, and the end of the intent."""
        mutation_id = ask.mutation.mutation_id
        self._looks.pop(mutation_id, None)
        number = verdict.number or (verdict.contact.contact if verdict.contact else None)
        refused = dict(verdict.refused or {})
        done = orjson.dumps(CreateDone(number, verdict.outcome, verdict.reason, refused))
        puts = [Put(done_key(mutation_id), done, ttl_s=DONE_TTL_S), Put(intent_key(ask.mutation), None)]
        if number is not None:
            puts.append(Put(made_key(ask.mutation), orjson.dumps(number), ttl_s=DONE_TTL_S))
        return puts

    async def _made_before(self, mutation: PlanfixMutation, cls: Class) -> int | None:
        """The contact that was made lately for the same person, by another filter's wish, if it is still there."""
        made = await self._bus.get(made_key(mutation))
        if made is None:
            return None
        number = int(orjson.loads(made.value))
        return number if await self._api.get_contact(number, cls=cls) is not None else None

    async def _send(self, ask: Ask, intent: CreateIntent | None, fence: Fence) -> Verdict | None:
        mutation = ask.mutation
        later = list(intent.later) if intent else []
        sends = intent.sends + 1 if intent else 1
        while True:
            sending = CreateIntent(mutation.marker, self._clock(), sends, tuple(later))
            await self._bus.commit(fence, [Put(intent_key(mutation), orjson.dumps(sending))])
            fields = {name: value for name, value in mutation.fields.items() if value and name not in later}
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
                began = self._clock()
                if (found := await self._find(mutation, sending, ask.cls)) is not None:
                    return await self._made(ask, found, later)
                self._later(mutation.mutation_id, sending, began)
                return None
            except Rejected as error:
                # An address that is taken may be this very contact's: made without an answer, or before a loss of
                # state.
                by_email = self._by_email(mutation) if "emails" in fields else None
                if (found := await self._marked(by_email, mutation, ask.cls)) is not None:
                    return await self._made(ask, found, later)
                left_out = to_leave_out(error.items, fields)
                if not left_out:
                    return Verdict(Outcome.REFUSED, reason=error.reason, refused=dict(error.items))
                later += left_out
                continue
            except AccessDenied as error:
                return Verdict(Outcome.REFUSED, reason=error.reason)
            except (Unavailable, PlanNeeded):
                # Nothing took effect: as before this request.
                before = orjson.dumps(intent) if intent is not None else None
                await self._bus.commit(fence, [Put(intent_key(mutation), before)])
                raise
            return await self._made(ask, number, later)

    async def _made(self, ask: Ask, number: int, later: Sequence[str]) -> Verdict:
        contact = await self._api.get_contact(number, cls=ask.cls)
        refused: dict[str, str] = {}
        if contact is not None:
            contact, refused = await self._completed(ask, contact, later)
            nothing: Contact = {name: "" if isinstance(value, str) else () for name, value in contact.fields.items()}
            filled = {name: value for name, value in ask.mutation.fields.items() if value}
            refused = {**kept(filled, nothing, contact.fields), **refused}
        return Verdict(Outcome.DONE, contact, number, refused, wrote=True)

    async def _completed(
        self, ask: Ask, contact: PlanfixContact, later: Sequence[str]
    ) -> tuple[PlanfixContact, dict[str, str]]:
        """The contact with what its create left out, and which fields Planfix does not take. Additional addresses are
        left out, too, unless Planfix is known to keep them: so it is found out without a risk for the contact."""
        there = contact.fields
        rest = {name: value for name in later if (value := ask.mutation.fields.get(name)) and not there.get(name)}
        emails = ask.mutation.fields.get("emails")
        api = self._api
        learns = isinstance(api, LearnsExtraEmails) and api.extra_emails is not False
        if emails and there.get("emails") and learns and set(keys_of(emails)) - set(keys_of(there["emails"])):
            rest["emails"] = emails
        if not rest:
            return contact, {}
        try:
            done = await write_fields(
                api, contact.contact, rest, is_company=contact.is_company, phones=(), current=there, cls=ask.cls
            )
        except (AccessDenied, Gone) as error:
            return contact, dict.fromkeys(rest, error.reason)
        after = await api.get_contact(contact.contact, cls=ask.cls) or contact
        stuck = extra_emails_stuck(rest, there, after.fields)
        certain = done.written.sent and not (done.unknown or done.written.queued or "emails" in done.refused)
        if stuck is not None and certain and isinstance(api, LearnsExtraEmails):
            api.learn_extra_emails(stuck)
        return after, done.refused

    async def _find(self, mutation: PlanfixMutation, intent: CreateIntent, cls: Class) -> int | None:
        """The contact of an earlier request: by its marker, or, where Planfix keeps no marker, a new one with the
        same names and an address or phone number in common. The lowest number if there are several."""
        window = Query(created_since=intent.sent_at - BACK_S, companies=mutation.is_company)
        for query in (Query(marker=mutation.marker), window, self._by_email(mutation), self._by_phone(mutation)):
            like = mutation.fields if query is window else None
            if (found := await self._marked(query, mutation, cls, like)) is not None:
                return found
        return None

    async def _marked(
        self, query: Query | None, mutation: PlanfixMutation, cls: Class, like: Contact | None = None
    ) -> int | None:
        """Of the contacts that a query finds, the lowest with the marker; else, with `like`, the lowest without any
        marker that is like this."""
        if query is None:
            return None
        marked: set[int] = set()
        alike: set[int] = set()
        offset = 0
        for _ in range(PAGES_MAX):
            page = await self._api.list_contacts(query, offset=offset, cls=cls)
            marked |= {number for number, marker in page.markers.items() if marker == mutation.marker}
            bare = [contact for contact in page.contacts if not page.markers.get(contact.contact)]
            alike |= {contact.contact for contact in bare if like is not None and alike_new(like, contact.fields)}
            offset += page.count
            if page.count == 0:
                return min(marked or alike, default=None)
        raise Unavailable("too many contacts to look through", 60.0)

    def _by_email(self, mutation: PlanfixMutation) -> Query | None:
        keys = keys_of(mutation.fields.get("emails"))
        return Query(email=keys[0], companies=mutation.is_company) if keys else None

    def _by_phone(self, mutation: PlanfixMutation) -> Query | None:
        keys = keys_of(mutation.fields.get("phones"))
        return Query(phone=keys[0], companies=mutation.is_company) if keys else None
