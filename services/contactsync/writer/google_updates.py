"""Updates of people, request by request: one bad contact never holds up the rest (2-semantics 2.6).

A failed batch took no effect as a whole: the people it names are taken out and the rest is sent again; where it names
none it is halved. What may have taken effect is read back before anything is sent again. The results go to `settle`
after each request; `google_target.py` commits and publishes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from contactsync.errors import AccountFull, Gone, OutcomeUnknown, Rejected, Stale
from contactsync.google.mapping import PersonWrite
from contactsync.google.port import PartlyDone, PeopleApi, PersonUpdate
from contactsync.writer.batching import BatchRules, chunks, grouped, halves
from contactsync.writer.identity import LABEL_MASK
from contactsync.writer.refused_fields import held_back, update_without
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class, GooglePerson

SINGLE_AFTER: Final = 3
REFUSE_AFTER: Final = 6
REBASES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Update:
    """One person to write. base_etag: the version under `write`. labels: those that go on. again: the same wish laid
    over another version of the person. fields: ours that it is about. rebased: how often it was laid anew."""

    contact: int
    resource: str
    base_etag: str
    write: PersonWrite
    labels: tuple[str, ...]
    again: Callable[[GooglePerson], PersonWrite]
    fields: Contact = field(default_factory=dict)
    rebased: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    person: GooglePerson


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody else changed the person: as it is now."""

    person: GooglePerson


@dataclass(frozen=True, slots=True)
class Vanished:
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str


Result = Done | Changed | Vanished | Refused
Results = list[tuple[Update, Result]]
Settle = Callable[[Results], Awaitable[None]]


class Updates:
    """`lost`: which of these labels (resource names) are not in Google any more. `sized`: is told each request's
    operation and size."""

    def __init__(
        self,
        people: PeopleApi,
        rules: BatchRules,
        lost: Callable[[Sequence[str]], Awaitable[frozenset[str]]],
        sized: Callable[[str, int], None],
    ) -> None:
        self._people, self._rules, self._lost, self._sized = people, rules, lost, sized
        self._unknown: Counter[int] = Counter()

    @property
    def delay_s(self) -> float:
        """How long to wait before what stayed open is tried again."""
        return float(min(60, 2 ** max(self._unknown.values(), default=0)))

    async def run(self, updates: Sequence[Update], *, cls: Class, partial: bool, settle: Settle) -> None:
        """All of them, sequentially; those that are not given to `settle` stay open (try again after `delay_s`).
        Raises Unavailable, NotConnected with the rest not done."""
        alone = [one for one in updates if self._unknown[one.contact] >= SINGLE_AFTER]
        together = [one for one in updates if self._unknown[one.contact] < SINGLE_AFTER]
        for group in grouped((one.write.mask, one) for one in together).values():
            for chunk in chunks(group, self._rules, partial=partial):
                await self._chunk(chunk, cls, settle)
        for one in alone:
            await self._chunk([one], cls, settle)

    async def _chunk(self, chunk: Sequence[Update], cls: Class, settle: Settle) -> None:
        pending = [chunk]
        while pending:
            now = pending.pop()
            results, rest = await self._request(now, cls)
            for one, _ in results:
                self._unknown.pop(one.contact, None)
            if results:
                await settle(results)
            pending += rest

    async def _request(self, chunk: Sequence[Update], cls: Class) -> tuple[Results, list[Sequence[Update]]]:
        """One request: what is settled by it, and what is to be sent (again)."""
        updates = [PersonUpdate(one.resource, one.write.body) for one in chunk]
        self._sized("update", len(chunk))
        try:
            answers = await self._people.update_people(chunk[0].write.mask, updates, cls=cls)
        except PartlyDone as error:
            named = await self._named(chunk, error.items, error.stale, error.fields, cls)
            done: Results = [(one, Done(error.done[one.resource])) for one in chunk if one.resource in error.done]
            left = [one for one in chunk if one.resource not in error.done and one.resource not in error.items]
            results, rest = await self._uncertain(left, error.reason, cls) if left else ([], [])
            return [*done, *named[0], *results], [*named[1], *rest]
        except Rejected as error:
            return await self._rejected(chunk, error, cls)
        except Stale:
            return await self._compare(chunk, cls, stale=True)
        except Gone as error:
            return await self._gone(chunk, error.reason, cls)
        except AccountFull as error:
            return [(one, Refused(error.reason)) for one in chunk], []
        except OutcomeUnknown as error:
            return await self._uncertain(chunk, error.reason, cls)
        settled: Results = [(one, Done(answers[one.resource])) for one in chunk if one.resource in answers]
        silent = [one for one in chunk if one.resource not in answers]
        results, rest = await self._uncertain(silent, "its answer lacks the contact", cls) if silent else ([], [])
        return [*settled, *results], rest

    async def _rejected(
        self, chunk: Sequence[Update], error: Rejected, cls: Class
    ) -> tuple[Results, list[Sequence[Update]]]:
        names = {one.resource for one in chunk}
        if names & (error.items.keys() | error.stale):
            items = {name: error.items.get(name, error.reason) for name in names & (error.items.keys() | error.stale)}
            results, rest = await self._named(chunk, items, error.stale, error.fields, cls)
            others = [one for one in chunk if one.resource not in items]
            return results, [*rest, others] if others else rest
        if (lost := await self._without_label(chunk)) is not None:
            return lost
        if len(chunk) == 1:
            (one,) = chunk
            return await self._without_field(one, error.fields.get("", ""), error.reason, cls)
        return [], [half for half in reversed(halves(chunk)) if half]

    async def _named(
        self,
        chunk: Sequence[Update],
        items: Mapping[str, str],
        stale: frozenset[str],
        fields: Mapping[str, str],
        cls: Class,
    ) -> tuple[Results, list[Sequence[Update]]]:
        old = [one for one in chunk if one.resource in stale]
        results, rest = await self._compare(old, cls, stale=True, named=True) if old else ([], [])
        for one in chunk:
            name = one.resource
            if name in items and name not in stale:
                more, again = await self._without_field(one, fields.get(name, ""), items[name], cls)
                results, rest = [*results, *more], [*rest, *again]
        return results, rest

    async def _without_field(
        self, one: Update, blamed: str, reason: str, cls: Class
    ) -> tuple[Results, list[Sequence[Update]]]:
        """The field that Google blames is held back, the others go; without a name for it the whole write is."""
        write = update_without(one.write, blamed, held_back(blamed, one.fields, reason))
        if write is None:
            return [(one, Refused(reason))], []
        less = replace(one, write=write)
        if write.mask:
            return [], [[less]]
        person = (await self._people.get_people([one.resource], cls=cls)).get(one.resource)
        if person is None:
            return [(one, Vanished("the person is not in Google any more"))], []
        return [(less, Done(person) if person.etag == one.base_etag else Changed(person))], []

    async def _compare(
        self, chunk: Sequence[Update], cls: Class, *, stale: bool = False, named: bool = False
    ) -> tuple[Results, list[Sequence[Update]]]:
        """Read back. A version other than the one written over either holds what was wanted, or was made by
        somebody else; a write of labels alone is laid over it again, everything else is the merge's to decide."""
        people = await self._people.get_people([one.resource for one in chunk], cls=cls)
        results: Results = []
        again: list[Update] = []
        unchanged: list[Update] = []
        for one in chunk:
            person = people.get(one.resource)
            if person is None:
                results.append((one, Vanished("the person is not in Google any more")))
                continue
            write = one.again(person)
            if not write.mask:
                results.append((one, Done(person)))
            elif person.etag == one.base_etag:
                unchanged.append(one)
            elif set(write.mask) <= LABEL_MASK and one.rebased < REBASES_MAX:
                again.append(
                    replace(
                        one,
                        resource=person.resource,
                        base_etag=person.etag,
                        write=write,
                        rebased=one.rebased + 1,
                    )
                )
            else:
                results.append((one, Changed(person)))
        rest: list[Sequence[Update]] = list(grouped((one.write.mask, one) for one in again).values())
        if unchanged and stale and (named or not (results or rest)):
            # Google says stale and shows the same version: its reads lag behind its writes. They stay open.
            self._unknown.update(one.contact for one in unchanged)
            tired = [one for one in unchanged if self._unknown[one.contact] >= REFUSE_AFTER]
            results += [(one, Changed(there)) for one in tired if (there := people[one.resource]) is not None]
        elif unchanged:
            rest.append(unchanged)
        return results, rest

    async def _uncertain(
        self, chunk: Sequence[Update], reason: str, cls: Class
    ) -> tuple[Results, list[Sequence[Update]]]:
        """The answer was lost. What was not done stays open and is sent again later, at last alone."""
        results, rest = await self._compare(chunk, cls)
        left = [one for part in rest for one in part if one.rebased == 0]
        self._unknown.update(one.contact for one in left)
        failing = [one for one in left if self._unknown[one.contact] >= REFUSE_AFTER]
        results += [(one, Refused(f"Google keeps failing on this contact: {reason}")) for one in failing]
        return results, [part for part in rest if part and part[0].rebased > 0]

    async def _gone(self, chunk: Sequence[Update], reason: str, cls: Class) -> tuple[Results, list[Sequence[Update]]]:
        people = await self._people.get_people([one.resource for one in chunk], cls=cls)
        gone: Results = [(one, Vanished(reason)) for one in chunk if people.get(one.resource) is None]
        there = [one for one in chunk if people.get(one.resource) is not None]
        if gone or not there:
            return gone, [there] if there else []
        if (lost := await self._without_label(there)) is not None:
            return lost
        if len(there) == 1:
            return [(there[0], Refused(reason))], []
        return [], [half for half in reversed(halves(there)) if half]

    async def _without_label(self, chunk: Sequence[Update]) -> tuple[Results, list[Sequence[Update]]] | None:
        lost = await self._lost(sorted({label for one in chunk for label in one.labels}))
        if not lost:
            return None
        refused: Results = [
            (one, Refused("the label is not in Google any more")) for one in chunk if lost & set(one.labels)
        ]
        others = [one for one in chunk if not lost & set(one.labels)]
        return refused, [others] if others else []
