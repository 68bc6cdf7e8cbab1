"""Planfix as a target: compare, ask who may edit, write one by one, read back, settle.

All filters share it. The order of every outcome is: answer of Planfix -> fenced commit -> Settled published ->
return, which acknowledges. Contacts that were written are looked at again for every other filter that holds
them. What is compared is in `planfix_batch.py`, new contacts in `planfix_creates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from pydantic import TypeAdapter

from contactsync.errors import AccessDenied, Gone, PlanNeeded, Unavailable, VendorError
from contactsync.planfix.port import PlanfixApi, Query, Written
from contactsync.runtime.bus import Bus, Fence, Put, Transient
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.ownership import Delivery
from contactsync.runtime.state import commit_all
from contactsync.writer.identity import mark_of
from contactsync.writer.letters import Clock, Inbox, Letter, Outbox
from contactsync.writer.patience import Patience
from contactsync.writer.planfix_batch import (
    GROUP_MAX,
    NOT_CONFIRMED,
    Ask,
    Verdict,
    confirmed_missing,
    differs,
    extra_emails_stuck,
    holds,
    kept,
    proof,
)
from contactsync.writer.planfix_creates import LearnsExtraEmails, PlanfixCreates
from contactsync.writer.planfix_fields import write_fields
from contactsync.writer.planfix_forgetting import PlanfixForgetting
from contactsync.writer.witness import OLDER
from contactsync_contracts import subjects
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class, LookPlanfix, Outcome, PlanfixContact, SettledItem

CLASSES: Final = (Class.HUMAN, Class.CHANGE, Class.BACKGROUND)
REV_TTL_S: Final = 30 * 86_400
LOOK_AFTER_S: Final = 6.0
"""Planfix's own answers count as newer than our write only five seconds after it (2-semantics 2.3, *Order*)."""
TRIES_MAX: Final = 4
QUEUED_READS: Final = 3
QUEUED_WAIT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Settled:
    """What is remembered of a contact's last mutation by one filter. otherwise: the written fields that Planfix
    answered otherwise than they were sent; refused: those it did not take. mark: tells copies of it from others."""

    rev: int
    outcome: Outcome
    reason: str = ""
    otherwise: Contact = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    mark: str = ""


_SETTLED: Final = TypeAdapter(Settled)


@dataclass(slots=True)
class Read:
    """Contacts by number with their phones as Planfix spells them."""

    contacts: dict[int, PlanfixContact] = field(default_factory=dict)
    phones: dict[int, Sequence[Mapping[str, object]]] = field(default_factory=dict)


@dataclass(slots=True)
class Attempt:
    """One contact that was written, before its read-back. `unknown`: the answer was lost."""

    ask: Ask
    before: PlanfixContact
    written: Written
    refused: dict[str, str]
    unknown: bool = False


def rev_key(filter_id: str, contact: int) -> str:
    return f"state.planfix.rev.{subjects.token(filter_id)}.{contact}"


class PlanfixTarget:
    """`sleep`: seconds, of the clock that is given. `lag_s`: how long lists may lag behind writes."""

    def __init__(
        self,
        *,
        api: PlanfixApi,
        bus: Bus,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        metrics: Metrics | None = None,
        lag_s: float = 300.0,
    ) -> None:
        self._metrics = metrics
        self._api, self._bus, self._clock, self._sleep = api, bus, clock, sleep
        self._inbox = Inbox(bus, subjects.PLANFIX, clock)
        self._outbox = Outbox(bus, subjects.PLANFIX)
        self._creates = PlanfixCreates(api, bus, clock, lag_s)
        self._forgetting = PlanfixForgetting(bus, self._outbox, clock)
        self._patience = Patience()
        self._tries: Counter[str] = Counter()

    async def handle(self, deliveries: Sequence[Delivery], fence: Fence) -> None:
        """One turn: the first hundred that wait. Raises Transient while something given here has to come again."""
        await self._outbox.flush()
        letters = await self._inbox.read(deliveries)
        letters = await self._forgetting.settle(letters, self._inbox.answered, fence)
        asks = self._collect(letters, fence)
        await self._outbox.flush()
        now = self._clock()
        # Creates without an answer wait for their time and hold up nobody.
        ready = [ask for ask in asks if self._creates.due_at(ask.mutation.mutation_id) <= now]
        turn = ready[:GROUP_MAX]
        try:
            open_asks = await self._turn(turn, fence)
        except Unavailable as error:
            raise Transient(error.reason, min(self._patience.after(error), 120.0)) from error
        except (PlanNeeded, AccessDenied) as error:
            raise Transient(error.reason, 60.0) from error
        except VendorError as error:
            raise Transient(error.reason, self._patience.after(error)) from error
        self._patience.rewarded()
        if any(self._creates.due_at(ask.mutation.mutation_id) <= now for ask in open_asks):
            raise Transient("some contacts could not be written yet", 5.0)
        if len(ready) > len(turn):
            raise Transient("more is waiting", 0.0)
        if open_asks or len(asks) > len(ready):
            times = [self._creates.due_at(ask.mutation.mutation_id) for ask in asks]
            raise Transient("a new contact is looked for", max(0.1, min(at for at in times if at > now) - now))
        self._inbox.done()
        self._tries.clear()

    def _collect(self, letters: Sequence[Letter], fence: Fence) -> list[Ask]:
        """Humans' first; of one contact and filter the highest revision."""
        newest: dict[tuple[str, object], Ask] = {}
        superseded: dict[str, list[SettledItem]] = {}
        for letter in letters:
            for mutation in letter.mutate.planfix:
                if mutation.mutation_id in self._inbox.answered:
                    continue
                ask = Ask(letter.mutate.filter_id, letter.mutate.cls, mutation)
                key = (ask.filter_id, mutation.contact if mutation.op == "update" else mutation.mutation_id)
                rival = newest.get(key)
                if rival is None or rival.mutation.revision <= mutation.revision:
                    newest[key] = ask
                    older = rival if rival and rival.mutation.mutation_id != mutation.mutation_id else None
                else:
                    older = ask
                if older is not None:
                    self._inbox.answered.add(older.mutation.mutation_id)
                    verdict = Verdict(Outcome.STALE, reason="a later change has taken its place")
                    superseded.setdefault(ask.filter_id, []).append(item_of(older, verdict))
        for filter_id, items in superseded.items():
            self._outbox.settled(filter_id, items, answered_at=self._clock(), epoch=fence.epoch)
        return sorted(newest.values(), key=lambda ask: CLASSES.index(ask.cls))

    async def _turn(self, asks: Sequence[Ask], fence: Fence) -> list[Ask]:
        """Settle what can be settled; the asks that stay open."""
        updates = [ask for ask in asks if ask.mutation.op == "update"]
        fresh = await self._answer_settled(updates, fence)
        still: list[Ask] = []
        seen: set[int] = set()
        group: list[Ask] = []
        for ask in fresh:
            number = ask.mutation.contact
            if number is None:
                await self._settle([(ask, Verdict(Outcome.REFUSED, reason="no contact is named"))], fence)
            elif number in seen:
                # Another filter writes it in this turn: compared with that outcome in the next one.
                still.append(ask)
            else:
                seen.add(number)
                group.append(ask)
        still += await self._update(group, fence) if group else []
        for ask in asks:
            if ask.mutation.op == "create":
                verdict = await self._creates.create(ask, fence)
                if verdict is None:
                    still.append(ask)
                else:
                    await self._settle([(ask, verdict)], fence)
        return still

    async def _answer_settled(self, asks: Sequence[Ask], fence: Fence) -> list[Ask]:
        """Revisions that were settled before get the stored answer; the others."""
        keys = {rev_key(ask.filter_id, ask.mutation.contact or 0): ask for ask in asks}
        records = await self._bus.load_keys(list(keys)) if keys else {}
        again: list[tuple[Ask, Verdict]] = []
        fresh: list[Ask] = []
        for key, ask in keys.items():
            record = records.get(key)
            stored = _SETTLED.validate_json(record.value) if record is not None else None
            if stored is not None and stored.rev >= ask.mutation.revision:
                same = stored.rev == ask.mutation.revision and stored.mark in ("", mark_of(ask.mutation))
                if not same:
                    again.append((ask, Verdict(Outcome.STALE, reason=OLDER, latest=stored.rev)))
                    continue
                verdict = Verdict(stored.outcome, None, None, stored.refused, stored.reason, False, stored.otherwise)
                again.append((ask, verdict))
            else:
                fresh.append(ask)
        await self._say(again, fence)
        return fresh

    # ---- updates

    async def _update(self, asks: Sequence[Ask], fence: Fence) -> list[Ask]:
        """At most a hundred, each another contact."""
        cls = asks[0].cls
        read = await self._read(asks, cls)
        verdicts: list[tuple[Ask, Verdict]] = []
        candidates: list[Ask] = []
        for ask in asks:
            now = read.contacts.get(ask.mutation.contact or 0)
            if now is None:
                verdicts.append((ask, Verdict(Outcome.GONE, reason="the contact is not in Planfix")))
            elif holds(ask.mutation.fields, now.fields):
                verdicts.append((ask, Verdict(Outcome.DONE, now)))
            elif differs(ask.mutation.expected, now.fields):
                verdicts.append((ask, Verdict(Outcome.STALE, now, reason="edited in Planfix meanwhile")))
            else:
                candidates.append(ask)
        await self._settle(verdicts, fence)
        allowed, still = await self._allowed(candidates, read, fence, cls)
        attempts: list[Attempt] = []
        failure: VendorError | None = None
        for ask in allowed:
            try:
                outcome = await self._write(ask, read)
            except (Unavailable, PlanNeeded) as error:
                failure = error
                break
            if isinstance(outcome, Attempt):
                attempts.append(outcome)
            else:
                await self._settle([(ask, outcome)], fence)
        still += await self._read_back(attempts, cls, fence)
        if failure is not None:
            raise failure
        return still

    async def _read(self, asks: Sequence[Ask], cls: Class) -> Read:
        read = Read()
        for companies in (False, True):
            numbers = sorted({a.mutation.contact or 0 for a in asks if a.mutation.is_company is companies})
            for at in range(0, len(numbers), GROUP_MAX):
                chunk = tuple(numbers[at : at + GROUP_MAX])
                page = await self._api.list_contacts(Query(numbers=chunk, companies=companies), cls=cls)
                read.contacts |= {contact.contact: contact for contact in page.contacts}
                read.phones |= page.phones
        return read

    async def _allowed(
        self, asks: Sequence[Ask], read: Read, fence: Fence, cls: Class
    ) -> tuple[list[Ask], list[Ask]]:
        """Those whose filter's owner may edit them (a positive answer, never the lack of a negative one), and those
        that stay open. The others are settled."""
        allowed: list[Ask] = []
        still: list[Ask] = []
        for owner in sorted({ask.mutation.owner for ask in asks}):
            for companies in (False, True):
                mine = [a for a in asks if a.mutation.owner == owner and a.mutation.is_company is companies]
                if not mine:
                    continue
                numbers = [ask.mutation.contact or 0 for ask in mine]
                editable = set(await self._editable(owner, companies, numbers, cls))
                missing = [number for number in numbers if number not in editable]
                locked: frozenset[int] = frozenset()
                if missing:
                    found, locked = await self._confirm(owner, companies, missing, cls)
                    editable |= found
                for ask in mine:
                    number = ask.mutation.contact or 0
                    verdict = Verdict(Outcome.READ_ONLY, read.contacts[number], reason="read-only for you in Planfix")
                    if number in editable:
                        allowed.append(ask)
                    elif number in locked:
                        await self._settle([(ask, verdict)], fence)
                    elif self._patient(ask):
                        still.append(ask)
                    else:
                        refused = Verdict(Outcome.REFUSED, read.contacts[number], reason=NOT_CONFIRMED)
                        await self._settle([(ask, refused)], fence)
        return allowed, still

    async def _editable(self, owner: int, companies: bool, numbers: Sequence[int] | None, cls: Class) -> list[int]:
        query = Query(editable_by=owner, companies=companies, numbers=tuple(numbers) if numbers is not None else None)
        page = await self._api.list_contacts(query, ids_only=True, cls=cls)
        return [contact.contact for contact in page.contacts]

    async def _confirm(
        self, owner: int, companies: bool, missing: Sequence[int], cls: Class
    ) -> tuple[set[int], frozenset[int]]:
        """Ask twice for the missing together with more that the owner can edit: (found after all, locked)."""
        known = await self._editable(owner, companies, None, cls)
        found, locked = set(missing) & set(known), set[int]()
        left = [number for number in missing if number not in found]
        while left:
            asked, with_known = proof(left, known)
            if not asked:
                break
            answers = [await self._editable(owner, companies, (*asked, *with_known), cls) for _ in range(2)]
            found |= {number for answer in answers for number in answer} & set(asked)
            locked |= confirmed_missing(asked, with_known, answers)
            left = [number for number in left if number not in asked]
        return found, frozenset(locked)

    async def _write(self, ask: Ask, read: Read) -> Attempt | Verdict:
        mutation = ask.mutation
        number = mutation.contact or 0
        now = read.contacts[number]
        try:
            done = await write_fields(
                self._api,
                number,
                mutation.fields,
                is_company=now.is_company,
                phones=read.phones.get(number, ()),
                current=now.fields,
                cls=ask.cls,
            )
        except Gone as error:
            return Verdict(Outcome.GONE, reason=error.reason)
        except AccessDenied as error:
            return Verdict(Outcome.REFUSED, now, reason=error.reason)
        if done.unknown and done.requests > 1:
            # Some of it may be written and some not: what the contact is now decides.
            after = await self._api.get_contact(number, cls=ask.cls)
            return Verdict(Outcome.STALE, after) if after is not None else Verdict(Outcome.GONE)
        if done.whole:
            return Verdict(Outcome.REFUSED, now, refused=done.refused, reason=done.whole)
        return Attempt(ask, now, done.written, done.refused, unknown=done.unknown)

    async def _read_back(self, attempts: Sequence[Attempt], cls: Class, fence: Fence) -> list[Ask]:
        """What the contacts are now decides what was written. The asks that stay open."""
        if not attempts:
            return []
        verdicts: list[tuple[Ask, Verdict]] = []
        pending = list(attempts)
        for look in range(QUEUED_READS):
            read = await self._read([attempt.ask for attempt in pending], cls)
            waiting: list[Attempt] = []
            for attempt in pending:
                after = read.contacts.get(attempt.ask.mutation.contact or 0)
                if after is None:
                    gone = Verdict(Outcome.GONE, reason="the contact is not in Planfix")
                    verdicts.append((attempt.ask, gone))
                    continue
                unmoved = self._unmoved(attempt, after)
                if unmoved and attempt.written.queued:
                    waiting.append(attempt)
                elif unmoved and attempt.unknown and self._patient(attempt.ask):
                    continue
                else:
                    verdicts.append((attempt.ask, self._judged(attempt, after)))
            pending = waiting
            if not pending:
                break
            if look < QUEUED_READS - 1:
                await self._sleep(QUEUED_WAIT_S)
        for attempt in pending:
            if not self._patient(attempt.ask):
                reason = "Planfix has accepted the change but not made it"
                verdicts.append((attempt.ask, Verdict(Outcome.REFUSED, attempt.before, reason=reason)))
        await self._settle(verdicts, fence)
        settled = {ask.mutation.mutation_id for ask, _ in verdicts}
        return [a.ask for a in attempts if a.ask.mutation.mutation_id not in settled]

    def _unmoved(self, attempt: Attempt, after: PlanfixContact) -> bool:
        """Nothing of what was to change has changed."""
        wanted = {n: v for n, v in attempt.ask.mutation.fields.items() if n not in attempt.refused}
        return bool(wanted) and kept(wanted, attempt.before.fields, after.fields).keys() == wanted.keys()

    def _judged(self, attempt: Attempt, after: PlanfixContact) -> Verdict:
        mutation = attempt.ask.mutation
        not_taken = kept(mutation.fields, attempt.before.fields, after.fields)
        refused = {**not_taken, **attempt.refused}
        stuck = extra_emails_stuck(mutation.fields, attempt.before.fields, after.fields)
        offered = attempt.written.sent and not attempt.unknown and "emails" not in attempt.refused
        if stuck is not None and offered and isinstance(self._api, LearnsExtraEmails):
            self._api.learn_extra_emails(stuck)
        return Verdict(Outcome.DONE, after, refused=refused, wrote=attempt.written.sent)

    def _patient(self, ask: Ask) -> bool:
        """Whether this one may stay open once more."""
        self._tries[ask.mutation.mutation_id] += 1
        return self._tries[ask.mutation.mutation_id] < TRIES_MAX

    # ---- settling

    async def _settle(self, verdicts: Sequence[tuple[Ask, Verdict]], fence: Fence) -> None:
        """Commit the outcomes, then say them; a create's outcome replaces the intent that it was sent under."""
        if not verdicts:
            return
        puts: list[Put] = []
        for ask, verdict in verdicts:
            if self._metrics is not None:
                self._metrics.mutations.labels("planfix", ask.mutation.op, verdict.outcome).inc()
            if ask.mutation.op == "create":
                puts += self._creates.settled(ask, verdict)
            elif ask.mutation.contact is not None:
                record = settled_of(ask, verdict)
                key = rev_key(ask.filter_id, ask.mutation.contact)
                puts.append(Put(key, orjson.dumps(record), ttl_s=REV_TTL_S))
        await commit_all(self._bus, fence, puts)
        await self._say(verdicts, fence)

    async def _say(self, verdicts: Sequence[tuple[Ask, Verdict]], fence: Fence) -> None:
        now = self._clock()
        by_filter: dict[str, list[SettledItem]] = {}
        for ask, verdict in verdicts:
            self._inbox.answered.add(ask.mutation.mutation_id)
            by_filter.setdefault(ask.filter_id, []).append(item_of(ask, verdict))
        for filter_id, items in by_filter.items():
            self._outbox.settled(filter_id, items, answered_at=now, epoch=fence.epoch)
        wrote = [(a, v) for a, v in verdicts if v.wrote]
        numbers = sorted({number for ask, v in wrote if (number := ask.mutation.contact or v.number)})
        if numbers:
            # Other filters that hold the contact learn of the write from a look, not from us.
            request = f"writer-{wrote[0][0].mutation.mutation_id}-{fence.epoch}"
            look = LookPlanfix(
                request_id=request,
                what="contacts",
                contacts=tuple(numbers),
                not_before=now + LOOK_AFTER_S,
                cls=Class.BACKGROUND,
                reason="written by us",
            )
            self._outbox.post(subjects.look(subjects.PLANFIX), look, f"look.{request}")
        await self._outbox.flush()


def settled_of(ask: Ask, verdict: Verdict) -> Settled:
    mutation, now = ask.mutation, verdict.contact.fields if verdict.contact is not None else {}
    otherwise: Contact = {}
    if verdict.outcome is Outcome.DONE:
        otherwise = {name: now[name] for name, value in mutation.fields.items() if name in now and now[name] != value}
    refused = dict(verdict.refused or {})
    return Settled(mutation.revision, verdict.outcome, verdict.reason, otherwise, refused, mark_of(mutation))


def item_of(ask: Ask, verdict: Verdict) -> SettledItem:
    mutation = ask.mutation
    number = mutation.contact or verdict.number or (verdict.contact.contact if verdict.contact else None)
    return SettledItem(
        contact=number,
        arrival=mutation.arrival,
        mutation_id=mutation.mutation_id,
        revision=mutation.revision,
        outcome=verdict.outcome,
        planfix=verdict.contact,
        refused=dict(verdict.refused or {}),
        otherwise=dict(verdict.otherwise),
        reason=verdict.reason,
        latest=verdict.latest,
    )
