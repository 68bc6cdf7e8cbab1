"""What the writer keeps of one Google account: people, labels, creates under way, mutations that wait for more, and
how full it is.

Loaded once from STATE; after that memory and STATE change together, memory only after the fenced commit.
`google_target.py` decides, this remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from contactsync.runtime.bus import Bus, Fence, Put
from contactsync.runtime.state import commit_all
from contactsync.writer.capacity import Capacity, decode_capacity, encode_capacity
from contactsync.writer.census import compared, decode_census, encode_census
from contactsync.writer.identity import Ask, IdentityMap, Known, Rank, decode, encode, full_since
from contactsync.writer.intent import Intent, decode_intent, encode_intent
from contactsync.writer.labels import LabelRecord, decode_label, encode_label
from contactsync_contracts import subjects
from contactsync_contracts.messages import Mutate

_FORGET_S = 30 * 86_400
"""How long revisions of a contact without a person are remembered."""

AskKey = tuple[int, str]


def held_prefix(account: str) -> str:
    return f"state.account.{account}.held."


def held_key(account: str, contact: int, filter_id: str) -> str:
    return f"{held_prefix(account)}{contact}.{subjects.token(filter_id)}"


@dataclass(frozen=True, slots=True)
class Changes:
    """One commit. people: None for a record that goes. intent, capacity: the whole record; None leaves it. hold: asks
    that are answered later, kept so that their messages can be acknowledged. drop: asks answered now."""

    people: Mapping[int, Known | None] = field(default_factory=dict)
    labels: Mapping[str, LabelRecord] = field(default_factory=dict)
    intent: Intent | None = None
    capacity: Capacity | None = None
    hold: Collection[Ask] = ()
    drop: Collection[AskKey] = ()


class Account:
    def __init__(self, name: str, bus: Bus) -> None:
        self.name = name
        self._bus = bus
        self.people = IdentityMap()
        self.labels: dict[str, LabelRecord] = {}
        self.intent: Intent = {}
        self.held: dict[AskKey, Ask] = {}
        self.capacity = Capacity()
        self.claims: dict[int, float] = {}
        """Contacts that found no place, and when they were told so."""
        self.loaded = False

    @property
    def ranks(self) -> dict[str, Rank]:
        """Of the filters that have said so."""
        return {name: Rank(one.two_way, one.active) for name, one in self.labels.items() if one.ranked_at}

    async def load(self, now: float) -> None:
        """`now`: Unix seconds."""
        if self.loaded:
            return
        people, labels, held, claims = IdentityMap(), {}, {}, {}
        prefix = f"state.account.{self.name}."
        async for record in self._bus.load(f"{prefix}person."):
            contact = int(record.key.rpartition(".")[2])
            people.put_encoded(contact, record.value)
            if b'"full"' in record.value and (since := full_since(decode(record.value))):
                claims[contact] = since
        async for record in self._bus.load(f"{prefix}label."):
            labels[subjects.untoken(record.key.rpartition(".")[2])] = decode_label(record.value)
        async for record in self._bus.load(held_prefix(self.name)):
            for ask in asks_of(Mutate.model_validate_json(record.value)):
                held[ask.mutation.contact, ask.filter_id] = ask
        intent = await self._bus.get(subjects.intent_key(self.name))
        capacity = await self._bus.get(subjects.capacity_key(self.name))
        census = await self._bus.get(subjects.census_key(self.name))
        people.census = compared(decode_census(census.value) if census else None, people.census, now)
        self.people, self.labels, self.held, self.claims = people, labels, held, claims
        self.intent = decode_intent(intent.value, self._vanished) if intent else {}
        self.capacity = decode_capacity(capacity.value) if capacity else Capacity()
        self.loaded = True

    def _vanished(self, contact: int) -> str:
        known = self.people.get(contact)
        return known.vanished if known is not None else ""

    async def commit(self, fence: Fence, changes: Changes) -> None:
        """All of it, intent, capacity and census with the last batch. If it fails, everything is loaded again before
        it is used."""
        last: list[Put] = []
        if changes.intent is not None and changes.intent != self.intent:
            last.append(Put(subjects.intent_key(self.name), encode_intent(changes.intent)))
        if changes.capacity is not None and changes.capacity != self.capacity:
            last.append(Put(subjects.capacity_key(self.name), encode_capacity(changes.capacity)))
        if changes.people:
            census = self.people.census
            for contact, known in changes.people.items():
                census = self.people.census_with(contact, known, census)
            last.append(Put(subjects.census_key(self.name), encode_census(census)))
        self.loaded = False
        await commit_all(self._bus, fence, self._puts(changes), last)
        for contact, known in changes.people.items():
            self.claims.pop(contact, None)
            if known is None:
                self.people.drop(contact)
                continue
            self.people.put(contact, known)
            if since := full_since(known):
                self.claims[contact] = since
        self.labels.update(changes.labels)
        if changes.intent is not None:
            self.intent = changes.intent
        if changes.capacity is not None:
            self.capacity = changes.capacity
        for ask in changes.hold:
            self.held[ask.mutation.contact, ask.filter_id] = ask
        for key in changes.drop:
            self.held.pop(key, None)
        self.loaded = True

    def _puts(self, changes: Changes) -> list[Put]:
        name = self.name
        puts = [
            Put(subjects.person_key(name, contact), None)
            if known is None
            else Put(
                subjects.person_key(name, contact),
                encode(known),
                ttl_s=None if known.resource else _FORGET_S,
            )
            for contact, known in changes.people.items()
        ]
        puts += [Put(subjects.label_key(name, f), encode_label(record)) for f, record in changes.labels.items()]
        for ask in changes.hold:
            puts.append(Put(held_key(name, ask.mutation.contact, ask.filter_id), message_of(ask, name)))
        for key in changes.drop:
            if key in self.held:
                puts.append(Put(held_key(name, *key), None))
        return puts


def asks_of(mutate: Mutate) -> list[Ask]:
    return [
        Ask(mutate.filter_id, mutate.since, mutate.two_way, mutate.cls, mutate.epoch, mutation)
        for mutation in mutate.google
    ]


def message_of(ask: Ask, target: str) -> bytes:
    return (
        Mutate(
            filter_id=ask.filter_id,
            target=target,
            epoch=ask.epoch,
            cls=ask.cls,
            since=ask.since,
            two_way=ask.two_way,
            google=(ask.mutation,),
        )
        .model_dump_json()
        .encode()
    )
