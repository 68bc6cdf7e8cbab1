"""A filter leaves a Google account: what the writer kept of it is erased, and with the last one the account itself.

Nothing that was asked before it is done any more: a mark with the filter's birth time outlives the label's record
for a while, so that an old message that comes again writes nothing. Every part can be repeated after a crash; the
order is people, then the grant, then the mark, then the answer. `google_target.py` asks here before anything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import orjson

from contactsync.errors import Gone, NotConnected, Rejected, Stale
from contactsync.google.port import PeopleApi
from contactsync.runtime.bus import Bus, Fence, Put
from contactsync.runtime.state import commit_all
from contactsync.writer.account import Account, Changes
from contactsync.writer.identity import Known, merger_of
from contactsync.writer.intent import without
from contactsync.writer.labels import LabelRecord, encode_label
from contactsync.writer.letters import Clock, Letter, Outbox
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class, Forget, Handover, Mutate

Release = Callable[[str], Awaitable[None]]
"""Ends an account's grant at Google and erases it; account token. Raises VendorError while that is not possible."""

MARK_TTL_S: Final = 30 * 86_400
PART: Final = 500
HANDOVERS_MAX: Final = 50


async def keep_grant(account: str) -> None:
    """For writers that have no grants."""


def counts(record: LabelRecord | None, mutate: Mutate) -> bool:
    """Whether this was asked in the filter's present life in this account. Who owns the filter now knows it best,
    even if its state was restored from before that life."""
    if record is None or mutate.epoch > record.epoch > 0:
        return True
    return mutate.since >= record.since and not (record.gone and mutate.since <= record.gone)


class Forgetting:
    def __init__(
        self, account: Account, people: PeopleApi, bus: Bus, outbox: Outbox, clock: Clock, release: Release
    ) -> None:
        self._account, self._people, self._bus = account, people, bus
        self._outbox, self._clock, self._release = outbox, clock, release

    async def settle(self, letters: Sequence[Letter], answered: set[str], fence: Fence) -> list[Letter]:
        """Forget what is to be forgotten; the letters that still count."""
        for letter in letters:
            wish = letter.mutate.forget
            if wish is None or wish.mutation_id in answered:
                continue
            record = self._account.labels.get(letter.mutate.filter_id)
            if record is None or record.gone or counts(record, letter.mutate):
                await self._forget(letter.mutate, wish, fence)
            self._outbox.forgotten(letter.mutate.filter_id, wish, answered_at=self._clock(), epoch=fence.epoch)
            await self._outbox.flush()
            answered.add(wish.mutation_id)
        labels = self._account.labels
        return [one for one in letters if counts(labels.get(one.mutate.filter_id), one.mutate)]

    def _record(self, mutate: Mutate) -> LabelRecord:
        return self._account.labels.get(mutate.filter_id, LabelRecord())

    async def _forget(self, mutate: Mutate, wish: Forget, fence: Fence) -> None:
        filter_id, record = mutate.filter_id, self._record(mutate)
        if wish.emptied and record.resource:
            await self._bare(filter_id, record)
        for part in self._people_of(filter_id):
            await self._drop(filter_id, part, wish.mutation_id, fence)
        if await self._is_last(filter_id):
            await self._release(self._account.name)
            await self._erase(mutate, fence)
        else:
            await self._mark(mutate, fence)

    async def _bare(self, filter_id: str, record: LabelRecord) -> None:
        """The label has nobody of ours in it any more: without our stamp it is like any other."""
        try:
            label = await self._people.get_label(record.resource, cls=Class.HUMAN)
            if label is not None and label.stamp == filter_id:
                await self._people.update_label(label, name=None, stamp="", cls=Class.HUMAN)
        except (NotConnected, Gone, Stale, Rejected):
            return

    # ---- people

    def _people_of(self, filter_id: str) -> Iterator[list[tuple[int, Known]]]:
        part: list[tuple[int, Known]] = []
        for contact in sorted(self._account.people):
            known = self._account.people.get(contact)
            if known is not None and filter_id in known.wants:
                part.append((contact, known))
            if len(part) == PART:
                yield part
                part = []
        yield part

    async def _drop(self, filter_id: str, part: Sequence[tuple[int, Known]], cause: str, fence: Fence) -> None:
        """These are wanted by the other filters alone; who merges their fields from now on is told before, since a
        crash after the commit would leave nobody to tell."""
        after: dict[int, Known | None] = {}
        handovers: dict[str, list[Handover]] = {}
        for contact, known in part:
            wants = {name: want for name, want in known.wants.items() if name != filter_id}
            after[contact] = replace(known, wants=wants) if wants else None
            ranks = self._account.ranks
            old, new = merger_of(known.wants, ranks), merger_of(wants, ranks)
            if new is not None and new != old:
                handovers.setdefault(new, []).append(Handover(contact=contact))
        for name, items in handovers.items():
            for at in range(0, len(items), HANDOVERS_MAX):
                chunk = items[at : at + HANDOVERS_MAX]
                self._outbox.handovers(name, chunk, cause, answered_at=self._clock(), epoch=fence.epoch)
        await self._outbox.flush()
        await self._commit(after, filter_id, fence)

    async def _commit(self, after: dict[int, Known | None], filter_id: str, fence: Fence) -> None:
        account = self._account
        held = [key for key in account.held if key[1] == filter_id]
        others = {contact for contact, name in account.held if name != filter_id}
        lost = {contact for contact, known in after.items() if known is None} | {contact for contact, _ in held}
        intent = without(account.intent, lost - others)
        await account.commit(fence, Changes(people=after, intent=intent, drop=held))

    # ---- the account

    async def _is_last(self, filter_id: str) -> bool:
        """No other filter has a label here, and none that is about to have one is known."""
        labels = self._account.labels
        if any(not record.gone for name, record in labels.items() if name != filter_id):
            return False
        async for stored in self._bus.load("state.filter.*"):
            record = orjson.loads(stored.value)
            name = str(record.get("filter_id", ""))
            if name == filter_id or record.get("account") != self._account.name:
                continue
            left = labels.get(name)
            if left is None or left.gone < float(record.get("since", 0.0)):
                return False
        return True

    async def _mark(self, mutate: Mutate, fence: Fence) -> None:
        filter_id = mutate.filter_id
        mark = LabelRecord(gone=max(self._record(mutate).gone, mutate.since), epoch=mutate.epoch)
        key = subjects.label_key(self._account.name, filter_id)
        await self._bus.commit(fence, [Put(key, encode_label(mark), ttl_s=MARK_TTL_S)])
        self._account.labels[filter_id] = mark

    async def _erase(self, mutate: Mutate, fence: Fence) -> None:
        """Everything that was kept of the account, whoever of us kept it; what remains are marks."""
        name = self._account.name
        prefix = f"state.account.{name}."
        puts = []
        async for stored in self._bus.load(prefix):
            if not stored.key.startswith(f"{prefix}label."):
                puts.append(Put(stored.key, None))
        puts.append(Put(f"quota.google.{name}", None))
        self._account.loaded = False
        await commit_all(self._bus, fence, puts)
        await self._account.load(self._clock())
        await self._mark(mutate, fence)
