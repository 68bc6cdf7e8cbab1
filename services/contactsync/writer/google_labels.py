"""The label of a filter in Google: making, finding and renaming it.

Which one it is decides `labels.choose`. Google refuses a second label of one name, so a create whose answer was lost
is found by name and stamp when it is sent again; a marker in the label's record says that one may be under way.
A list of labels that lacks one says little (2-semantics I5): ours is looked up by id, and a name that Google says is
taken is waited for until it shows, as long as lists may lag.
"""

from __future__ import annotations

from dataclasses import replace

from contactsync.errors import Exists, Gone, OutcomeUnknown, Rejected, Stale
from contactsync.google.port import Label, PeopleApi
from contactsync.runtime.bus import Fence, Transient
from contactsync.writer.account import Account, Changes
from contactsync.writer.labels import Adopt, Create, LabelRecord, Reuse, choose, fold, free_name, names
from contactsync.writer.letters import Clock
from contactsync_contracts.messages import Class, LabelMutation, LabelSettled, Mutate, Outcome

_TRIES_MAX = 60


class Labels:
    """`lag_s`: how long Google's lists may lag behind writes."""

    def __init__(self, account: Account, people: PeopleApi, clock: Clock, lag_s: float) -> None:
        self._account, self._people, self._clock, self._lag_s = account, people, clock, lag_s

    async def settle(self, mutate: Mutate, wish: LabelMutation, fence: Fence) -> LabelSettled:
        """Carry out one label mutation, once; raises Transient while an earlier create may still come to light."""
        filter_id, cls = mutate.filter_id, mutate.cls
        record = self._account.labels.get(filter_id, LabelRecord())
        if record.gone:
            record = LabelRecord()  # it has come back since (`forgetting.counts`)
        if mutate.since > record.since or mutate.epoch > record.epoch:
            record = replace(record, since=mutate.since, epoch=mutate.epoch)
        if wish.revision <= record.rev:
            return answer(record, wish)
        try:
            if wish.op == "rename" and record.resource:
                after = await self._rename(record, wish, cls)
            else:
                after = await self._ensure(filter_id, record, wish, cls, fence)
        except Rejected as error:
            after = replace(record, outcome=Outcome.REFUSED, reason=error.reason)
        except OutcomeUnknown as error:
            raise Transient(error.reason, 2.0) from error
        except (Stale, Gone) as error:
            raise Transient(error.reason, 1.0) from error
        after = replace(after, rev=wish.revision, mutation=wish.mutation_id, sent_at=0.0)
        await self._account.commit(fence, Changes(labels={filter_id: after}))
        return answer(after, wish)

    async def known(self, filter_id: str, since: float, fence: Fence) -> bool:
        """Whether the filter has a label. If only our record of it was lost, the stamp on it tells."""
        record = self._account.labels.get(filter_id)
        if record is not None:
            return bool(record.resource)
        labels = await self._people.list_labels(cls=Class.CHANGE)
        match choose(labels, filter_id, "", ""):
            case Reuse(label):
                found = made(LabelRecord(since=since), label, label.name, reused=True)
                await self._account.commit(fence, Changes(labels={filter_id: found}))
                return True
            case _:
                return False

    async def _ensure(
        self, filter_id: str, record: LabelRecord, wish: LabelMutation, cls: Class, fence: Fence
    ) -> LabelRecord:
        refused: frozenset[str] = frozenset()
        for _ in range(_TRIES_MAX):
            labels = await self._shown(record.resource or wish.known, cls)
            match choose(labels, filter_id, wish.name, record.resource, refused):
                case Reuse(label):
                    given = record.given if record.given and record.resource in ("", label.resource) else ""
                    if not given and fold(label.name) in map(fold, names(wish.name)):
                        given = label.name
                    found = label.stamp == filter_id and not record.resource and not record.sent_at
                    record = replace(record, found=found or (record.found and bool(record.resource)))
                    if label.stamp != filter_id:
                        label = await self._people.update_label(label, name=None, stamp=filter_id, cls=cls)
                    return made(record, label, given, reused=True)
                case Adopt(label):
                    label = await self._people.update_label(label, name=None, stamp=filter_id, cls=cls)
                    return made(record, label, label.name, reused=True)
                case Create() if not wish.make:
                    reason = "the label is not in Google any more"
                    return replace(record, outcome=Outcome.GONE, reason=reason)
                case Create(name):
                    if not record.sent_at or fold(record.given) != fold(name):
                        record = replace(record, resource="", given=name, sent_at=self._clock())
                        await self._account.commit(fence, Changes(labels={filter_id: record}))
                    try:
                        label = await self._people.create_label(name, filter_id, cls=cls)
                    except Exists as error:
                        # Somebody made it lately, perhaps we did: it will show.
                        if self._clock() < record.sent_at + self._lag_s:
                            raise Transient(error.reason, 5.0) from error
                        refused |= {fold(name)}
                        record = replace(record, sent_at=0.0)
                        await self._account.commit(fence, Changes(labels={filter_id: record}))
                        continue
                    return made(record, label, label.name, reused=False)
        raise Transient("no name could be found for the label", 60.0)

    async def _shown(self, own: str, cls: Class) -> list[Label]:
        """All labels, with our own one (resource name) even if the list lacks it."""
        labels = await self._people.list_labels(cls=cls)
        if own and all(label.resource != own for label in labels):
            label = await self._people.get_label(own, cls=cls)
            return labels if label is None else [*labels, label]
        return labels

    async def _rename(self, record: LabelRecord, wish: LabelMutation, cls: Class) -> LabelRecord:
        label = await self._people.get_label(record.resource, cls=cls)
        if label is None:
            return replace(
                record, outcome=Outcome.GONE, reason="the label is not in Google any more", name="", etag=""
            )
        if label.name in names(wish.name):
            return made(record, label, label.name, reused=record.reused)
        if label.name != record.given:
            return made(record, label, record.given, reused=record.reused)
        refused: frozenset[str] = frozenset()
        for _ in range(_TRIES_MAX):
            labels = await self._people.list_labels(cls=cls)
            name = free_name(labels, wish.name, label.resource, refused)
            try:
                renamed = await self._people.update_label(label, name=name, stamp=None, cls=cls)
            except Exists:
                refused |= {fold(name)}
                continue
            except Gone as error:
                return replace(record, outcome=Outcome.GONE, reason=error.reason)
            return made(record, renamed, renamed.name, reused=record.reused)
        raise Transient("no name could be found for the label", 60.0)


def made(record: LabelRecord, label: Label, given: str, *, reused: bool) -> LabelRecord:
    return replace(
        record,
        resource=label.resource,
        name=label.name,
        given=given,
        etag=label.etag,
        reused=reused,
        outcome=Outcome.DONE,
        reason="",
        sent_at=0.0,
    )


def answer(record: LabelRecord, wish: LabelMutation) -> LabelSettled:
    return LabelSettled(
        mutation_id=wish.mutation_id,
        outcome=record.outcome,
        label=record.resource,
        name=record.name,
        reused=record.reused,
        found=record.found,
        reason=record.reason,
    )
