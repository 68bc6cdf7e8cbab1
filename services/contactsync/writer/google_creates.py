"""Creating people once and only once, although Google knows no idempotency key (2-semantics I2).

Before a create leaves, the intent to send it is committed; its outcome and the end of the intent are one commit.
Whatever happens in between, the account is listed and the stamps are looked for before the same contact is sent
again (`intent.py` says when, `absence.py` what a listing proves). `google_target.py` decides who is created.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

import anyio.lowlevel

from contactsync.errors import (
    AccessDenied,
    AccountFull,
    Gone,
    NotConnected,
    OutcomeUnknown,
    Rejected,
    Stale,
    TokenExpired,
    Unavailable,
    VendorError,
)
from contactsync.google.port import Json, PartlyDone, PeopleApi
from contactsync.google.reading import labels_of
from contactsync.runtime.bus import Fence
from contactsync.writer import capacity
from contactsync.writer import intent as intents
from contactsync.writer.absence import (
    LOOKED_UP_MAX,
    TRUST_LABELS_S,
    Doubt,
    Listing,
    hidden,
    missing,
    uncounted,
)
from contactsync.writer.account import Account, Changes
from contactsync.writer.batching import BatchRules, chunks, halves
from contactsync.writer.identity import Known, known_after
from contactsync.writer.letters import Clock
from contactsync.writer.refused_fields import create_without
from contactsync_contracts.messages import Class, GooglePerson, Kept

OVERFLOW: Final = "MY_CONTACTS_OVERFLOW_COUNT"
YIELD_EVERY: Final = 500
ALONE_MAX: Final = 20
"""So many failures of an answer without places are sent again one by one, to learn whose each is."""


@dataclass(frozen=True, slots=True)
class New:
    """`without`: Google's fields that it refused, with the reason: they are left out."""

    contact: int
    body: Json
    labels: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)


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
        self._fewer = 0
        self._doubts = 0
        self._gone: set[str] = set()

    @property
    def next_look(self) -> float | None:
        """When creates without an answer are to be looked for; None when there are none."""
        again_s = intents.again_s(self._doubts)
        return intents.next_look(self._account.intent, self._began, self._lag_s, again_s)

    async def look(self, fence: Fence, cls: Class) -> None:
        """List the account if it is time to, and remember the people who were found by their stamps."""
        due = self.next_look
        if due is None or self._clock() < due:
            return
        listing = await self._list(cls)
        lag_s, gone_s = await self._proof_s(listing, cls)
        before = self._account.intent
        after, found = intents.looked(before, listing.stamped, listing.began, lag_s, gone_s)
        known = {
            contact: known_after(
                self._account.people.get(contact) or Known(), person, (), "", kept_of(person, contact)
            )
            for contact, person in found.items()
        }
        self._began = listing.began
        if after != before:
            # Those of whom it was only doubted whether they were made may have been counted when they were.
            new = sum(before[contact].tries > 0 for contact in found)
            grown = capacity.grown(self._account.capacity, new, self._clock())
            await self._account.commit(fence, Changes(people=known, intent=after, capacity=grown))
        if not intents.unresolved(after):
            self._gone.clear()

    async def _list(self, cls: Class) -> Listing:
        listing = Listing(self._clock(), frozenset(self._account.intent))
        page: str | None = None
        while True:
            try:
                answer = await self._people.list_page(sync_token=None, page_token=page, cls=cls)
            except TokenExpired as error:
                raise Unavailable("a listing was cut off", 2.0) from error
            listing.add(answer)
            page = answer.next_page
            if page is None:
                break
        if listing.cut:
            raise Unavailable("a listing was cut off", 5.0)
        return listing

    async def _proof_s(self, listing: Listing, cls: Class) -> tuple[float, float]:
        """How long before this listing a create must have been sent for its stamp's absence to count, and how long
        before it a person must have vanished."""
        if not intents.matured(self._account.intent, listing.began, self._lag_s):
            return self._lag_s, self._lag_s
        # Fewer than there were may be deletions, or a short listing, which would hardly come twice in a row.
        fewer = listing.count < capacity.at_least(self._account.capacity, listing.began, self._lag_s)
        self._fewer = self._fewer + 1 if fewer else 0
        doubt = Doubt.SHORT if self._fewer == 1 else await self._doubt(listing, cls)
        self._doubts = 0 if doubt is Doubt.NONE else self._doubts + 1
        match doubt:
            case Doubt.NONE:
                return self._lag_s, 0.0
            case Doubt.LABELS:
                # Whoever was just thrown away may be what the label still counts.
                return max(self._lag_s, TRUST_LABELS_S), self._lag_s
            case Doubt.SHORT:
                return math.inf, math.inf
            case _:
                assert_never(doubt)

    async def _doubt(self, listing: Listing, cls: Class) -> Doubt:
        known, under = await self._known()
        absent = [name for name in missing(listing, known) if name not in self._gone]
        people = await self._people.get_people(absent[:LOOKED_UP_MAX], cls=cls) if absent else {}
        if any(hidden(listing, person, self._lag_s) for person in people.values()):
            return Doubt.SHORT
        self._gone |= {name for name, person in people.items() if person is None or person.resource != name}
        if len(absent) > LOOKED_UP_MAX:
            return Doubt.SHORT
        members: dict[str, int] = {}
        for resource in {record.resource for record in self._account.labels.values() if record.resource}:
            if (label := await self._people.get_label(resource, cls=cls)) is not None:
                members[resource] = label.members
        return Doubt.LABELS if uncounted(listing, members, under) else Doubt.NONE

    async def _known(self) -> tuple[set[str], dict[str, set[str]]]:
        """The names of everybody we know, and who of them is under which label."""
        names: set[str] = set()
        under: dict[str, set[str]] = {}
        for place, contact in enumerate(list(self._account.people)):
            if place % YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()
            known = self._account.people.get(contact)
            if known is None or not known.resource:
                continue
            names.add(known.resource)
            for label in labels_of({"memberships": known.memberships}):
                under.setdefault(label, set()).add(known.resource)
        return names, under

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
                if len(chunk) > 1:
                    # There may be places for some of them: the lowest numbers try first.
                    pending += [part for part in smaller(chunk) if part]
                    continue
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
            return await self._partly(chunk, error, before, cls, fence, settle)
        except Rejected as error:
            return await self._rejected(chunk, error, before, fence, settle)
        except (Gone, Stale) as error:
            # A label in the body that is not there any more; named or not, nothing was made.
            return await self._rejected(chunk, Rejected(error.reason), before, fence, settle)
        except (Unavailable, NotConnected, AccountFull, AccessDenied):
            await self._account.commit(fence, Changes(intent=self._unsent(contacts, before)))
            raise
        except OutcomeUnknown:
            return []
        made = await self._recognised(chunk, people, cls)
        await self._settle([(one, Made(made[one.contact])) for one in chunk if one.contact in made], settle)
        return []

    async def _recognised(
        self, chunk: Sequence[New], people: Sequence[GooglePerson], cls: Class
    ) -> dict[int, GooglePerson]:
        """Who is who in an answer: by stamp, never by place. People answered without one are read again; whoever
        is not recognised stays open, until a listing shows the stamp."""
        made = stamped(chunk, people)
        unnamed = [person.resource for person in people if not person.stamps]
        if unnamed and len(made) < len(chunk):
            try:
                read = await self._people.get_people(unnamed, cls=cls)
            except VendorError:
                read = {}
            made |= stamped(chunk, [person for person in read.values() if person is not None])
        if len(chunk) == 1 and len(people) == 1:
            made.setdefault(chunk[0].contact, people[0])
        return made

    async def _partly(
        self,
        chunk: Sequence[New],
        error: PartlyDone,
        before: intents.Intent,
        cls: Class,
        fence: Fence,
        settle: Settle,
    ) -> list[Sequence[New]]:
        """A success with a status for each. The answer's order says nothing, so a failure is somebody's only when
        all are accounted for."""
        made = await self._recognised(chunk, list(error.done.values()), cls)
        results: Results = [(one, Made(made[one.contact])) for one in chunk if one.contact in made]
        left = [one for one in chunk if one.contact not in made]
        if not error.complete or len(left) != len(error.items):
            await self._settle(results, settle)
            return []
        if len(left) > ALONE_MAX and all(OVERFLOW not in reason for reason in error.items.values()):
            reason = "; ".join(sorted(set(error.items.values())))
            results += [(one, NotMade(reason)) for one in left]
            left = []
        await self._settle(results, settle)
        await self._account.commit(fence, Changes(intent=self._unsent({one.contact for one in left}, before)))
        return [[one] for one in reversed(left)]

    async def _rejected(
        self, chunk: Sequence[New], error: Rejected, before: intents.Intent, fence: Fence, settle: Settle
    ) -> list[Sequence[New]]:
        """Nothing of the batch was made: refuse those that it names, or halve it."""
        named = {int(index): reason for index, reason in error.items.items() if index.isdigit()}
        poisoned = [(chunk[at], error.fields.get(str(at), ""), named[at]) for at in named if at < len(chunk)]
        if not poisoned and len(chunk) == 1:
            poisoned = [(chunk[0], error.fields[""], error.reason)] if "" in error.fields else []
        fewer = [less for one, blamed, reason in poisoned if (less := lessened(one, blamed, reason)) is not None]
        spared = {less.contact for less in fewer}
        bad: Results = [(one, NotMade(reason)) for one, _, reason in poisoned if one.contact not in spared]
        if not poisoned:
            lost = await self._lost(sorted({label for one in chunk for label in one.labels}))
            gone = NotMade("the label is not in Google any more")
            bad = [(one, gone) for one in chunk if lost & set(one.labels)]
        if not bad and not fewer and len(chunk) == 1:
            bad = [(chunk[0], NotMade(error.reason))]
        out = {one.contact for one, _ in bad} | spared
        rest = [one for one in chunk if one.contact not in out]
        unsent = self._unsent({one.contact for one in (*rest, *fewer)}, before)
        await self._account.commit(fence, Changes(intent=unsent))
        if bad or fewer:
            await self._settle(bad, settle)
            return [part for part in (rest, fewer) if part]
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


def kept_of(person: GooglePerson, contact: int) -> Kept:
    return next((stamp.kept for stamp in person.stamps if stamp.contact == contact), Kept.OURS)


def stamped(chunk: Sequence[New], people: Iterable[GooglePerson]) -> dict[int, GooglePerson]:
    wanted = {one.contact for one in chunk}
    return {stamp.contact: person for person in people for stamp in person.stamps if stamp.contact in wanted}


def lessened(one: New, blamed: str, reason: str) -> New | None:
    """Without the field of the person that Google blames."""
    body = create_without(one.body, blamed)
    return None if body is None else replace(one, body=body, without={**one.without, blamed: reason})


def smaller(chunk: Sequence[New]) -> list[Sequence[New]]:
    """The parts of a batch for which there was no room, the last one to be sent first: one alone, then halves."""
    low, high = halves(chunk[1:])
    return [high, low, chunk[:1]]
