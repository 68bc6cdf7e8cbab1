"""A writer with its state, a virtual clock and a small honest Google account behind the port; shared by its tests.

`FakeGoogle` keeps Google's rules that the writer depends on: batches are atomic, etags guard updates, a masked field
that a body lacks is cleared, lists lag behind writes, label names are unique, nothing is idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from contactsync.errors import AccountFull, Exists, OutcomeUnknown, Rejected, Stale, VendorError
from contactsync.google.mapping import MY_CONTACTS, MappingConfig, to_person
from contactsync.google.port import Json, Label, PartlyDone, PeopleApi, PeoplePage, PersonUpdate
from contactsync.runtime.bus import Bus, Fence, Transient
from contactsync.runtime.mailbox import Delivery, partition_of
from contactsync.runtime.memory_bus import MemoryBus
from contactsync.runtime.memory_server import MemoryServer
from contactsync.runtime.metrics import Metrics
from contactsync.writer.google_target import GoogleRules
from contactsync.writer.service import Writer
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Class,
    GoogleMutation,
    GooglePerson,
    LabelMutation,
    Mutate,
    Settled,
    SettledItem,
)

CONFIG = MappingConfig(default_region="US", planfix_account="acme")
ACCOUNT = "acc1"
LAG_S = 120.0


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeGoogle:
    clock: Clock
    people: dict[str, Json] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    list_lag_s: float = 8.0
    labels_hidden: bool = False
    room: int = 25_000
    refuse: Callable[[Json], bool] = lambda body: False
    blame: Callable[[Json], str] = lambda body: ""
    """Which field of a person Google does not take, if any."""
    partly: bool = False
    """Whether a batch with somebody bad in it is done for the others."""
    names_bad: bool = True
    """Whether a batch's error says which people are to blame."""
    cut: Callable[[list[str]], list[str]] = lambda shown: shown
    """What is left of a listing that loses people and does not say so."""
    labels_hidden_until: float = 0.0
    """So long the list of labels is empty and calls itself complete."""
    stamps_answered: bool = True
    """Whether the answer to a create shows client data."""
    faults: dict[str, list[tuple[str, Exception]]] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)
    serial: int = 100

    # ---- tests' hands

    def fail(self, call: str, when: str, error: Exception | None = None) -> None:
        """The next `call` fails `before` or `after` it takes effect."""
        self.faults.setdefault(call, []).append((when, error or OutcomeUnknown("the answer was lost")))

    def add(self, **person: Any) -> GooglePerson:
        person.setdefault("memberships", [member(MY_CONTACTS)])
        return self._person(self._store(person))

    def edit(self, resource: str, **fields: Any) -> None:
        self.people[resource].update(fields)
        self._touch(resource)

    def named(self, contact: int) -> list[GooglePerson]:
        people = [self._person(name) for name in self.people]
        return [p for p in people if any(s.contact == contact for s in p.stamps)]

    def count(self, call: str) -> int:
        return sum(1 for name, _ in self.calls if name == call)

    # ---- the port

    async def list_page(self, *, sync_token: str | None, page_token: str | None, cls: Class) -> PeoplePage:
        self._leave(self._enter("list_page", 1))
        shown = self.cut([n for n in self.people if self.born[n] <= self.clock() - self.list_lag_s])
        at = int(page_token or 0)
        page = tuple(self._person(name) for name in shown[at : at + 100])
        more = str(at + 100) if at + 100 < len(shown) else None
        return PeoplePage(page, (), more, None if more else "token", len(shown))

    async def get_people(self, resources: Sequence[str], *, cls: Class) -> dict[str, GooglePerson | None]:
        self._leave(self._enter("get_people", len(resources)))
        return {name: self._person(name) if name in self.people else None for name in resources}

    async def create_people(self, bodies: Sequence[Json], *, cls: Class) -> list[GooglePerson]:
        after = self._enter("create_people", len(bodies))
        if len(self.people) + len(bodies) > self.room:
            raise AccountFull("the account is full")
        bad = {at: "poisoned" for at, body in enumerate(bodies) if self.refuse(body)}
        if self.partly and len(bodies) > 1 and bad:
            good = [self._person(self._store(dict(body))) for at, body in enumerate(bodies) if at not in bad]
            self._leave(after)
            # The answer is shuffled: the places of its failures say nothing.
            items = {str(len(bodies) - 1 - at): reason for at, reason in bad.items()}
            raise PartlyDone("some", {person.resource: person for person in good[::-1]}, items, complete=True)
        self._check({str(at): body for at, body in enumerate(bodies)})
        made = [self._person(self._store(dict(body))) for body in bodies]
        self._leave(after)
        if not self.stamps_answered:
            return [
                person.model_copy(update={"stamps": (), "raw": person.raw | {"clientData": []}}) for person in made
            ]
        return made

    async def update_people(
        self, mask: Sequence[str], updates: Sequence[PersonUpdate], *, cls: Class
    ) -> dict[str, GooglePerson]:
        after = self._enter("update_people", len(updates))
        gone = {u.resource: "not there" for u in updates if u.resource not in self.people}
        if gone:
            raise Rejected("not there", gone, stale=frozenset(gone))
        stale = {
            u.resource for u in updates if u.body["metadata"]["sources"][0]["etag"] != self._person(u.resource).etag
        }
        if stale and len(updates) == 1:
            raise Stale("etag")
        self._check({u.resource: u.body for u in updates}, stale)
        for update in updates:
            person = self.people[update.resource]
            for name in mask:
                person[name] = update.body.get(name, [])
            self._touch(update.resource)
        self._leave(after)
        return {u.resource: self._person(u.resource) for u in updates}

    async def delete_person(self, resource: str, *, cls: Class) -> None:
        after = self._enter("delete_person", 1)
        self.people.pop(resource, None)
        self._leave(after)

    async def list_labels(self, *, cls: Class) -> list[Label]:
        self._leave(self._enter("list_labels", 1))
        if self.labels_hidden or self.clock() < self.labels_hidden_until:
            return []
        return [self._label(one) for one in self.labels if self.born[one] <= self.clock() - self.list_lag_s]

    async def get_label(self, resource: str, *, cls: Class) -> Label | None:
        self._leave(self._enter("get_label", 1))
        return self._label(resource) if resource in self.labels else None

    async def create_label(self, name: str, stamp: str, *, cls: Class) -> Label:
        after = self._enter("create_label", 1)
        if any(label.name == name for label in self.labels.values()):
            raise Exists(name)
        self.serial += 1
        resource = f"contactGroups/g{self.serial}"
        self.labels[resource] = Label(resource, name, f"e{self.serial}", 0, stamp or None)
        self.born[resource] = self.clock()
        self._leave(after)
        return self._label(resource)

    async def update_label(self, label: Label, *, name: str | None, stamp: str | None, cls: Class) -> Label:
        after = self._enter("update_label", 1)
        if name is not None and any(
            other.name == name for other in self.labels.values() if other.resource != label.resource
        ):
            raise Exists(name)
        self.serial += 1
        now = self.labels[label.resource]
        self.labels[label.resource] = Label(
            label.resource, name or now.name, f"e{self.serial}", 0, now.stamp if stamp is None else stamp or None
        )
        self._leave(after)
        return self._label(label.resource)

    async def modify_members(
        self, label: str, add: Sequence[str], remove: Sequence[str], *, cls: Class
    ) -> Mapping[str, str]:
        raise AssertionError("membership travels inside updates")

    # ---- parts

    def _check(self, bodies: Mapping[str, Json], stale: Collection[str] = ()) -> None:
        """The 400 of bodies that Google does not take, as the client tells it."""
        fields = {key: field for key, body in bodies.items() if (field := self.blame(body))}
        bad = {key: f"bad {fields.get(key, 'contact')}" for key, body in bodies.items() if self.refuse(body)}
        bad |= {key: f"bad {field}" for key, field in fields.items()}
        if not bad and not stale:
            return
        if not bad and not self.names_bad:
            raise Stale("etag")
        if len(bodies) == 1 or not self.names_bad:
            raise Rejected(next(iter(bad.values())), fields={"": next(iter(fields.values()))} if fields else {})
        raise Rejected("some", bad | dict.fromkeys(stale, "etag"), stale=frozenset(stale), fields=fields)

    def _enter(self, call: str, size: int) -> Exception | None:
        self.calls.append((call, size))
        if self.faults.get(call):
            when, error = self.faults[call].pop(0)
            if when == "before":
                raise error
            return error
        return None

    def _leave(self, error: Exception | None) -> None:
        if error is not None:
            raise error

    def _store(self, person: Json) -> str:
        self.serial += 1
        name = f"people/c{self.serial}"
        self.people[name] = person
        self.born[name] = self.clock()
        self._touch(name)
        return name

    def _touch(self, name: str) -> None:
        self.serial += 1
        person = self.people[name]
        number = int(name.removeprefix("people/c"))
        moment = datetime.fromtimestamp(self.clock(), UTC).isoformat()
        source = {"type": "CONTACT", "id": f"{number:x}", "etag": f"#{self.serial}", "updateTime": moment}
        person["metadata"] = {"sources": [source]}
        person["resourceName"] = name

    def _person(self, name: str) -> GooglePerson:
        return to_person(self.people[name], config=CONFIG)

    def _label(self, resource: str) -> Label:
        label = self.labels[resource]
        members = sum(resource in self._person(name).labels for name in self.people)
        return Label(label.resource, label.name, label.etag, members, label.stamp)


def member(group: str) -> Json:
    return {"contactGroupMembership": {"contactGroupResourceName": group}}


class NoPlanfix:
    """These tests have no Planfix."""


class Mailboxes:
    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def poke(self, key: str) -> None:
        raise AssertionError("nobody is poked")

    def wake(self, key: str, at: float | None) -> None:
        if at is None:
            self.times.pop(key, None)
        else:
            self.times[key] = at

    def fence(self, key: str) -> Fence | None:
        return None


class World:
    """Deliveries are kept until `handle` returns, come again after Transient, and all of them after a restart."""

    def __init__(
        self,
        target: str = ACCOUNT,
        planfix: Any = None,
        rules: GoogleRules | None = None,
        clock: Clock | None = None,
        people: PeopleApi | None = None,
    ) -> None:
        self.target = target
        self.clock = clock or Clock()
        self.google = FakeGoogle(self.clock)
        self.people: PeopleApi = people or self.google
        self.server = MemoryServer(self.clock)
        self.bus: Bus = MemoryBus(self.server)
        self.planfix: Any = planfix or NoPlanfix()
        self.rules = rules or GoogleRules(lag_s=LAG_S)
        self.queue: list[Delivery] = []
        self.seq = 0
        self.epoch = 0
        self.fence: Fence | None = None
        self.mailboxes = Mailboxes()
        self.metrics = Metrics()
        self.released: list[str] = []
        self.release_fails: list[VendorError] = []
        self.writer: Writer

    async def start(self, bus: Bus | None = None) -> None:
        """A fresh process takes over."""
        partition = partition_of(self.target)
        key = f"epoch.writer.{partition}"
        record = await self.bus.get(key)
        self.epoch = await self.bus.cas(key, b"me", record.seq if record else 0)
        self.fence = Fence("writer", partition, self.epoch)
        self.mailboxes = Mailboxes()
        self.writer = Writer(
            bus or self.bus,
            self.mailboxes,
            planfix=self.planfix,
            people=lambda account: self.people,
            config=CONFIG,
            rules=self.rules,
            clock=self.clock,
            sleep=self.clock.sleep,
            metrics=self.metrics,
            release=self._release,
        )
        await self.writer.gained([self.fence])

    async def _release(self, account: str) -> None:
        """The grant is revoked; Google refuses from then on."""
        self.released.append(account)
        if self.release_fails:
            raise self.release_fails.pop()

    def put(self, mutate: Mutate) -> None:
        self.seq += 1
        subject = subjects.mutate(self.target)
        data = mutate.model_dump_json().encode()
        self.queue.append(Delivery(self.target, "mutate", subject, data, {}, self.seq, 1))

    async def turn(self) -> bool:
        """One call of the handler; whether everything given was acknowledged."""
        assert self.fence is not None
        batch = self.queue[:256]
        try:
            await self.writer.handle(self.target, batch, self.fence)
        except Transient as error:
            self.clock.now += max(0.01, error.retry_after_s)
            return False
        del self.queue[: len(batch)]
        return True

    async def run(self, turns_max: int = 500) -> None:
        """Until nothing is queued and nobody asks to be woken."""
        for _ in range(turns_max):
            at = self.mailboxes.times.get(self.target)
            if not self.queue and at is None:
                return
            if not self.queue and at is not None:
                self.clock.now = max(self.clock.now, at)
            if at is not None and self.clock.now >= at:
                del self.mailboxes.times[self.target]
            await self.turn()
        raise AssertionError("the writer does not come to rest")

    # ---- what came out

    def messages(self) -> list[Settled]:
        stored = self.server.streams["FILTERS"].messages.values()
        return [Settled.model_validate_json(m.data) for m in stored if m.subject.endswith(".settled")]

    def items(self) -> dict[str, list[SettledItem]]:
        """Mutation id -> its answers, in order."""
        found: dict[str, list[SettledItem]] = {}
        for message in self.messages():
            for item in message.items:
                found.setdefault(item.mutation_id, []).append(item)
        return found

    def item(self, mutation_id: str) -> SettledItem:
        return self.items()[mutation_id][-1]


class Crash(Exception):
    """The process dies here."""


class DyingBus:
    """Lets `left` operations that leave the process through; at the next one the process dies, before or after it
    took effect."""

    COUNTED = frozenset({"commit", "publish_many", "publish", "get", "load_keys", "cas"})

    def __init__(self, bus: Bus, left: int, *, after: bool) -> None:
        self._bus, self.left, self._after = bus, left, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._bus, name)
        if name not in self.COUNTED:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                return await found(*args, **kwargs)
            if self._after:
                await found(*args, **kwargs)
            raise Crash(name)

        return call


def label(filter_id: str, name: str, revision: int = 1, op: Literal["ensure", "rename"] = "ensure") -> Mutate:
    wish = LabelMutation(mutation_id=f"label-{filter_id}-{revision}", revision=revision, op=op, name=name)
    return Mutate(filter_id=filter_id, target=ACCOUNT, epoch=1, label=wish)


def ensure(contact: int, filter_id: str = "1", revision: int = 1, **fields: Any) -> GoogleMutation:
    return GoogleMutation(
        contact=contact,
        mutation_id=f"{filter_id}-{contact}-{revision}",
        revision=revision,
        op="ensure",
        fields={"given": f"Given{contact}", "family": "Family"} | fields,
    )


def mutate(
    *mutations: GoogleMutation, filter_id: str = "1", since: float = 1.0, two_way: bool = True, **more: Any
) -> Mutate:
    return Mutate(
        filter_id=filter_id, target=ACCOUNT, epoch=1, since=since, two_way=two_way, google=mutations, **more
    )


def given(person: GooglePerson) -> str:
    return str(person.fields["given"])


__all__ = [
    "ACCOUNT", "CONFIG", "LAG_S", "Clock", "Crash", "DyingBus", "FakeGoogle", "VendorError", "World", "ensure",
    "given", "label", "member", "mutate",
]  # fmt: skip
