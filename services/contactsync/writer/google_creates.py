"""Creating people once and only once, although Google knows no idempotency key (2-semantics I2).

Before a create leaves, the intent to send it is committed; its outcome and the end of the intent are one commit.
Whatever happens in between, the account is listed and the stamps are looked for before the same contact is sent
again (`intent.py` says when). `google_target.py` decides who is created.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from contactsync.errors import (
    AccountFull,
    Gone,
    NotConnected,
    OutcomeUnknown,
    Rejected,
    Stale,
    TokenExpired,
    Unavailable,
)
from contactsync.google.port import Json, PartlyDone, PeopleApi
from contactsync.runtime.bus import Fence
from contactsync.writer import intent as intents
from contactsync.writer.account import Account, Changes
from contactsync.writer.batching import BatchRules, chunks, halves
from contactsync.writer.identity import Known, known_after
from contactsync.writer.letters import Clock
from contactsync_contracts.messages import Class, GooglePerson, Kept


@dataclass(frozen=True, slots=True)
class New:
    contact: int
    body: Json
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    person: GooglePerson


@dataclass(frozen=True, slots=True)
class NotMade:
    """`full`: the account holds as many people as it can."""

    reason: str
    full: bool = False


Results = list[tuple[New, Made | NotMade]]
Settle = Callable[[Results, intents.Intent], Awaitable[None]]
"""Commits the results together with the intent record that is given, then publishes."""


class Creates:
    """`lag_s`: how long Google's lists may lag behind writes; `lost`: which labels are not in Google any more;
    `sized`: is told each request's operation and size."""

    def __init__(
        self,
        account: Account,
        people: PeopleApi,
        clock: Clock,
        rules: BatchRules,
        lag_s: float,
        lost: Callable[[Sequence[str]], Awaitable[frozenset[str]]],
        sized: Callable[[str, int], None],
    ) -> None:
        self._account, self._people, self._clock = account, people, clock
        self._rules, self._lag_s, self._lost, self._sized = rules, lag_s, lost, sized
        self._began = 0.0
        self._listed = 0

    @property
    def next_look(self) -> float | None:
        """When creates without an answer are to be looked for; None when there are none."""
        return intents.next_look(self._account.intent, self._began, self._lag_s)

    async def look(self, fence: Fence, cls: Class) -> None:
        """List the account if it is time to, and remember the people who were found by their stamps."""
        due = self.next_look
        if due is None or self._clock() < due:
            return
        began = self._clock()
        people, count = await self._stamped(cls)
        # A listing that shows fewer people than the one before may have lost its end, and proves nobody's absence.
        whole, self._listed = count >= self._listed, count
        after, found = intents.looked(self._account.intent, people, began, self._lag_s if whole else math.inf)
        known = {
            contact: known_after(self._account.people.get(contact) or Known(), person, (), "", Kept.OURS)
            for contact, person in found.items()
        }
        self._began = began
        if after != self._account.intent:
            await self._account.commit(fence, Changes(people=known, intent=after))

    async def _stamped(self, cls: Class) -> tuple[list[GooglePerson], int]:
        """The people that carry a stamp that is looked for, and how many people there are in all."""
        wanted = self._account.intent.keys()
        found: list[GooglePerson] = []
        seen: set[str] = set()
        totals: list[int] = []
        page: str | None = None
        while True:
            try:
                answer = await self._people.list_page(sync_token=None, page_token=page, cls=cls)
            except TokenExpired as error:
                raise Unavailable("a listing was cut off", 2.0) from error
            found += [p for p in answer.people if any(stamp.contact in wanted for stamp in p.stamps)]
            seen |= {person.resource for person in answer.people} | answer.unreadable.keys()
            if answer.total is not None:
                totals.append(answer.total)
            page = answer.next_page
            if page is None:
                if len(seen) < min(totals, default=0):
                    raise Unavailable("a listing was cut off", 5.0)
                return found, len(seen)

    async def send(self, new: Sequence[New], *, cls: Class, partial: bool, fence: Fence, settle: Settle) -> None:
        """All of them, sequentially. Those without an answer stay open and in the intent."""
        tries = {contact: sent.tries for contact, sent in self._account.intent.items()}
        failing = [one for one in new if tries.get(one.contact, 0) >= intents.REFUSE_AFTER]
        if failing:
            reason = NotMade("Google keeps failing on this contact")
            await self._settle([(one, reason) for one in failing], settle)
        new = [one for one in new if tries.get(one.contact, 0) < intents.REFUSE_AFTER]
        alone = [one for one in new if tries.get(one.contact, 0) >= intents.SINGLE_AFTER]
        together = [one for one in new if tries.get(one.contact, 0) < intents.SINGLE_AFTER]
        pending = [*chunks(together, self._rules, partial=partial), *([one] for one in alone)][::-1]
        while pending:
            chunk = pending.pop()
            try:
                pending += await self._request(chunk, cls, fence, settle)
            except AccountFull as error:
                rest = [one for part in (chunk, *pending) for one in part]
                await self._settle([(one, NotMade(error.reason, full=True)) for one in rest], settle)
                return

    async def _request(self, chunk: Sequence[New], cls: Class, fence: Fence, settle: Settle) -> list[Sequence[New]]:
        """One request; what is to be sent again at once."""
        contacts = {one.contact for one in chunk}
        before = self._account.intent
        sending = intents.sending(before, contacts, self._clock())
        await self._account.commit(fence, Changes(intent=sending))
        self._sized("create", len(chunk))
        try:
            people = await self._people.create_people([one.body for one in chunk], cls=cls)
        except PartlyDone as error:
            results = by_index(chunk, error.done, error.items)
            await self._settle(results, settle)
            return []
        except Rejected as error:
            return await self._rejected(chunk, error, before, fence, settle)
        except (Gone, Stale) as error:
            # A label in the body that is not there any more; named or not, nothing was made.
            return await self._rejected(chunk, Rejected(error.reason), before, fence, settle)
        except (Unavailable, NotConnected):
            await self._account.commit(fence, Changes(intent=self._unsent(contacts, before)))
            raise
        except OutcomeUnknown:
            return []
        made = {stamp.contact: person for person in people for stamp in person.stamps}
        await self._settle([(one, Made(made[one.contact])) for one in chunk if one.contact in made], settle)
        return []

    async def _rejected(
        self, chunk: Sequence[New], error: Rejected, before: intents.Intent, fence: Fence, settle: Settle
    ) -> list[Sequence[New]]:
        """Nothing of the batch was made: refuse those that it names, or halve it."""
        named = {int(index): reason for index, reason in error.items.items() if index.isdigit()}
        bad: Results = [(chunk[at], NotMade(reason)) for at, reason in named.items() if at < len(chunk)]
        if not bad:
            lost = await self._lost(sorted({label for one in chunk for label in one.labels}))
            gone = NotMade("the label is not in Google any more")
            bad = [(one, gone) for one in chunk if lost & set(one.labels)]
        if not bad and len(chunk) == 1:
            bad = [(chunk[0], NotMade(error.reason))]
        rest = [one for one in chunk if all(one is not poisoned for poisoned, _ in bad)]
        unsent = self._unsent({one.contact for one in rest}, before)
        await self._account.commit(fence, Changes(intent=unsent))
        if bad:
            await self._settle(bad, settle)
            return [rest] if rest else []
        return [half for half in reversed(halves(rest)) if half]

    def _unsent(self, contacts: set[int], before: intents.Intent) -> intents.Intent:
        """The record as if these had not been sent now: the answer says that nothing took effect."""
        after = intents.without(self._account.intent, contacts)
        for contact in contacts & before.keys():
            after[contact] = replace(before[contact], absent=True)
        return after

    async def _settle(self, results: Results, settle: Settle) -> None:
        if results:
            done = {new.contact for new, _ in results}
            await settle(results, intents.without(self._account.intent, done))


def by_index(chunk: Sequence[New], done: Mapping[str, GooglePerson], items: Mapping[str, str]) -> Results:
    """What a partly done batch says of its items, by their place in the request."""
    results: Results = []
    for at, one in enumerate(chunk):
        if (person := done.get(str(at))) is not None:
            results.append((one, Made(person)))
        elif (reason := items.get(str(at))) is not None:
            results.append((one, NotMade(reason)))
    return results
