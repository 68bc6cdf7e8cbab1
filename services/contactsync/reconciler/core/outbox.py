"""What a step says to the others: mutations for the writer, looks for the watchers, events for whoever listens.

Pure: from a `Step` to messages, cut so that each holds at most 200 contacts and 512 kB. A mutation is built from its
link alone, so that a new owner says the same again after a take-over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeVar

from contactsync.hashing import Hasher
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.leaving import mutation_id
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.places import probe
from contactsync.reconciler.core.step import BY_NAME, EXISTS, Step
from contactsync_contracts import subjects
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.markers import marker_of
from contactsync_contracts.messages import (
    BYTES_MAX,
    CONTACTS_MAX,
    Class,
    Forget,
    GoogleMutation,
    LabelMutation,
    LookGoogle,
    LookPlanfix,
    MatchQuery,
    Model,
    Mutate,
    NewContactDefaults,
    PersonQuery,
    PlanfixMutation,
)

T = TypeVar("T")


class _Mutation(Protocol):
    @property
    def mutation_id(self) -> str: ...


M = TypeVar("M", bound=_Mutation)


@dataclass(frozen=True, slots=True)
class Outgoing:
    subject: str
    msg_id: str
    message: Model
    data: bytes


class Outbox:
    """Messages of one filter under one epoch; `serial` numbers looks and events, which are idempotent."""

    def __init__(self, hasher: Hasher, defaults: NewContactDefaults, epoch: int) -> None:
        self._hasher = hasher
        self._defaults = defaults
        self._epoch = epoch
        self._serial = 0

    def messages(self, step: Step) -> list[Outgoing]:
        record = step.record
        if record is None:
            return []
        return [
            *self._mutations(step, record),
            *self._google_looks(step, record),
            *self._planfix_looks(step, record),
            *self._events(step, record),
        ]

    # ---- mutations

    def _mutations(self, step: Step, record: FilterRecord) -> Iterator[Outgoing]:
        writes = [b.link for b in step.begun if b.write]
        google = [_google_mutation(link) for link in writes if _side(link) is Side.GOOGLE]
        planfix = [_planfix_mutation(link, record) for link in writes if _side(link) is Side.PLANFIX]
        planfix += [self._create(a, record) for a in step.begun_arrivals if a.stage == "creating"]
        if step.wishes.forget:
            yield from self._forget(record)
        if step.wishes.ensure_label:
            label = LabelMutation(
                mutation_id=record.label_pending,
                revision=record.label_revision,
                op=record.label_op,
                name=record.name,
                make=not record.rebuild and not record.label_again,
                known=record.label,
            )
            yield from self._cut(record, record.account, [label], lambda part: {"label": part[0]})
        yield from self._cut(record, record.account, google, lambda part: {"google": tuple(part), "more": step.more})
        if (step.flush or step.wishes.rank) and not google:
            yield self._word(record)
        yield from self._cut(record, subjects.PLANFIX, planfix, lambda part: {"planfix": tuple(part)})

    def _cut(
        self,
        record: FilterRecord,
        target: str,
        items: Sequence[M],
        content: Callable[[Sequence[M]], dict[str, object]],
    ) -> Iterator[Outgoing]:
        for part in _parts(items, CONTACTS_MAX):
            message = Mutate(
                filter_id=record.filter_id,
                target=target,
                epoch=self._epoch,
                cls=_class(record),
                since=record.since,
                two_way=record.two_way,
                active=record.ranked_active,
                ranked_at=record.ranked_at,
                people_total=record.people_total,
                people_at=record.people_at,
                **content(part),
            )
            data = message.model_dump_json(exclude_defaults=True).encode()
            if len(data) > BYTES_MAX and len(part) > 1:
                half = len(part) // 2
                yield from self._cut(record, target, part[:half], content)
                yield from self._cut(record, target, part[half:], content)
                continue
            yield Outgoing(subjects.mutate(target), self._mutate_id(record, target, part), message, data)

    def _mutate_id(self, record: FilterRecord, target: str, part: Sequence[_Mutation]) -> str:
        """Of all mutations in the message: one that holds more than an earlier one of this epoch is not its copy."""
        names = "\n".join([target, *(item.mutation_id for item in part)])
        digest = blake2b(names.encode(), digest_size=12).hexdigest()
        return f"{record.filter_id}.mutate.{digest}.{self._epoch}"

    def _forget(self, record: FilterRecord) -> Iterator[Outgoing]:
        leaving = record.leaving
        assert leaving is not None
        name = mutation_id(record)
        for target in leaving.waits:
            wish = Forget(mutation_id=name, emptied=leaving.remove)
            message = Mutate(
                filter_id=record.filter_id, target=target, epoch=self._epoch, since=record.since, forget=wish
            )
            data = message.model_dump_json(exclude_defaults=True).encode()
            yield Outgoing(subjects.mutate(target), f"{name}.{target}.{self._epoch}", message, data)

    def _word(self, record: FilterRecord) -> Outgoing:
        """Nothing is to be written: waiting creates are to go, or the filter's rank has changed."""
        message = Mutate(
            filter_id=record.filter_id,
            target=record.account,
            epoch=self._epoch,
            since=record.since,
            two_way=record.two_way,
            active=record.ranked_active,
            ranked_at=record.ranked_at,
        )
        return self._numbered(subjects.mutate(record.account), "flush", record, message)

    def _create(self, arrival: Arrival, record: FilterRecord) -> PlanfixMutation:
        return PlanfixMutation(
            arrival=arrival.source_id,
            mutation_id=arrival.mutation_id,
            revision=arrival.revision,
            op="create",
            fields=arrival.source or arrival.google,
            owner=record.owner,
            defaults=record.defaults(self._defaults),
            marker=marker_of(record.account, arrival.source_id),
        )

    # ---- looks

    def _google_looks(self, step: Step, record: FilterRecord) -> Iterator[Outgoing]:
        wishes = step.wishes
        people = {b.link.resource for b in step.begun if b.ask and b.link.asked == "person" and b.link.resource}
        people |= wishes.people
        if wishes.google_listing is not None:
            # After a loss (`creates_wait`) the label may be older than what is known of it.
            new = record.phase == "google" and not (record.label_found or record.creates_wait or record.counts)
            yield self._look_google(record, what="listing", request_id=wishes.google_listing, new_label=new)
        if wishes.google_changes is not None:
            yield self._look_google(record, what="changes", request_id=wishes.google_changes)
        yield from self.match_looks(step)
        for names in _parts(sorted(people), CONTACTS_MAX):
            yield self._look_google(record, what="people", resources=tuple(names), request_id=BY_NAME)
        if wishes.label and record.label:
            yield self._look_google(record, what="label", label=record.label)

    def match_looks(self, step: Step) -> Iterator[Outgoing]:
        """The questions for partners alone: they may also be asked of the watcher directly (`actor.py`)."""
        asking = [self._match_query(b.link) for b in step.begun if b.ask and b.link.asked == "match"]
        for queries in _parts(asking, CONTACTS_MAX):
            if step.record is not None:
                yield self._look_google(step.record, what="match", match=tuple(queries))

    def _match_query(self, link: Link) -> MatchQuery:
        fields = link.planfix or {}
        return MatchQuery(
            contact=link.contact,
            emails=tuple(self._hasher.email(e.key) for e in _elements(fields, "emails")),
            phones=tuple(self._hasher.phone(e.key) for e in _elements(fields, "phones")),
            source=link.planfix_source,
        )

    def _look_google(self, record: FilterRecord, **what: object) -> Outgoing:
        look = LookGoogle.model_validate(
            {
                "request_id": "",
                "filter_id": record.filter_id,
                "account": record.account,
                "cls": _class(record),
                **what,
            }
        )
        return self._numbered(subjects.look(record.account), "look", record, look)

    def _planfix_looks(self, step: Step, record: FilterRecord) -> Iterator[Outgoing]:
        wishes = step.wishes
        again = dict(wishes.planfix_contacts)
        again.update({b.link.contact: 0.0 for b in step.begun if b.ask and b.link.asked == "membership"})
        matching = [_person_query(a) for a in step.begun_arrivals if a.stage == "matching"]
        if wishes.filter:
            # First, so that a new name is on its way before the listing's end ends the run.
            yield self._look_planfix(record, what="filter")
        if wishes.planfix_listing is not None:
            yield self._look_planfix(record, what="listing", request_id=wishes.planfix_listing, probe=probe(record))
        for numbers in _parts(sorted(again), CONTACTS_MAX // 2):
            not_before = max(again[number] for number in numbers)
            yield self._look_planfix(record, what="contacts", contacts=tuple(numbers), not_before=not_before)
        for numbers in _parts(wishes.confirm, CONTACTS_MAX):
            yield self._look_planfix(record, what="confirm", contacts=tuple(numbers), known=tuple(wishes.known))
        for numbers in _parts(wishes.exists, CONTACTS_MAX):
            yield self._look_planfix(record, what="confirm", contacts=tuple(numbers), request_id=EXISTS)
        for queries in _parts(matching, CONTACTS_MAX // 4):
            yield self._look_planfix(record, what="match", match=tuple(queries))

    def _look_planfix(self, record: FilterRecord, **what: object) -> Outgoing:
        look = LookPlanfix.model_validate(
            {
                "request_id": "",
                "filter_id": record.filter_id,
                "owner": record.owner,
                "cls": _class(record),
                **what,
            }
        )
        return self._numbered(subjects.look(subjects.PLANFIX), "look", record, look)

    # ---- events

    def _events(self, step: Step, record: FilterRecord) -> Iterator[Outgoing]:
        for event in step.events:
            yield self._numbered(subjects.event(record.filter_id), "event", record, event)

    def _numbered(self, subject: str, kind: str, record: FilterRecord, message: Model) -> Outgoing:
        self._serial += 1
        msg_id = f"{record.filter_id}.{kind}.{self._epoch}.{self._serial}"
        return Outgoing(subject, msg_id, message, message.model_dump_json(exclude_none=True).encode())


def _class(record: FilterRecord) -> Class:
    """A sync that a person waits for goes before what merely happened; a first sync waits for full batches."""
    return Class.HUMAN if record.run is not None and not record.run.first else Class.CHANGE


def _side(link: Link) -> Side | None:
    return link.pending.side if link.pending is not None else None


def _google_mutation(link: Link) -> GoogleMutation:
    pending = link.pending
    assert pending is not None
    if pending.op == "ensure":
        return GoogleMutation(
            contact=link.contact,
            mutation_id=pending.mutation_id,
            revision=pending.revision,
            op="ensure",
            fields=link.base_planfix or {},
            is_company=link.is_company,
            at=pending.at,
        )
    leaving = pending.op in ("remove", "release")
    if pending.renew:
        return GoogleMutation(
            contact=link.contact,
            mutation_id=pending.mutation_id,
            revision=pending.revision,
            op="update",
            is_company=link.is_company,
            resource=link.resource,
        )
    return GoogleMutation(
        contact=link.contact,
        mutation_id=pending.mutation_id,
        revision=pending.revision,
        op=pending.op,
        fields=pending.target,
        is_company=link.is_company,
        resource=link.resource,
        etag=pending.etag or link.etag,
        raw=link.raw,
        base_planfix=link.base_planfix if leaving else None,
        base_google=link.base_google if leaving else None,
        limits=link.limits if leaving else {},
    )


def _planfix_mutation(link: Link, record: FilterRecord) -> PlanfixMutation:
    pending = link.pending
    assert pending is not None
    return PlanfixMutation(
        contact=link.contact,
        mutation_id=pending.mutation_id,
        revision=pending.revision,
        op="update",
        fields=pending.target,
        expected=pending.before,
        is_company=link.is_company,
        owner=record.owner,
    )


def _person_query(arrival: Arrival) -> PersonQuery:
    return PersonQuery(
        arrival=arrival.source_id,
        emails=tuple(e.key for e in _elements(arrival.google, "emails")),
        phones=tuple(e.key for e in _elements(arrival.google, "phones")),
        contacts=(arrival.same,) if arrival.same else (),
    )


def _elements(fields: Contact, name: str) -> tuple[Element, ...]:
    value = fields.get(name, ())
    return value if isinstance(value, tuple) else ()


def _parts(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]
