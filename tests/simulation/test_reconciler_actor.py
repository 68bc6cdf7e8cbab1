"""The actor over the bus in memory: a crash at each of its operations, and the same messages again to a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from contactsync.reconciler.actor import UNDONE_AT_ONCE, Actor
from contactsync.reconciler.core.filter import filter_from_json
from contactsync.reconciler.core.link import link_from_json
from contactsync.reconciler.core.machine import Event
from contactsync.runtime.bus import TYPE, Fence, PubAck, Put, Record
from contactsync.runtime.mailbox import Delivery
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync_contracts import subjects
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    MESSAGES,
    Approve,
    Breakers,
    ChangeSettings,
    Enable,
    GoogleObserved,
    Limit,
    LookGoogle,
    LookPlanfix,
    Model,
    Mutate,
    NewContactDefaults,
    PlanfixConfirmed,
    SyncFinished,
    SyncRequest,
    Undo,
    type_of,
)
from reconciler_world import ACCOUNT, FILTER, HASHER, World, person_fields, phones


class Crash(Exception):
    """The process ends here."""


class CrashingBus(MemoryBus):
    """Ends the process at its operation number `crash_at`, before or after the server has done it."""

    def __init__(self, server: MemoryServer, crash_at: int, late: bool) -> None:
        super().__init__(server)
        self.crash_at, self.late, self.done = crash_at, late, 0
        self.published: list[Model] = []

    def _count(self, after: bool) -> None:
        if after == self.late:
            self.done += 1
            if self.done == self.crash_at:
                raise Crash

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str,
        type_: str,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = 30.0,
    ) -> PubAck:
        self._count(after=False)
        ack = await super().publish(subject, data, msg_id=msg_id, type_=type_, headers=headers, deadline_s=deadline_s)
        if not ack.duplicate and not subject.startswith("contacts.v1.dead."):
            self.published.append(MESSAGES[type_].model_validate_json(data))
        self._count(after=True)
        return ack

    async def commit(self, fence: Fence | None, puts: Sequence[Put], *, deadline_s: float = 30.0) -> int:
        self._count(after=False)
        seq = await super().commit(fence, puts, deadline_s=deadline_s)
        self._count(after=True)
        return seq

    async def get(self, key: str) -> Record | None:
        self._count(after=False)
        found = await super().get(key)
        self._count(after=True)
        return found

    async def load(self, pattern: str) -> AsyncIterator[Record]:
        self._count(after=False)
        async for record in super().load(pattern):
            yield record


class Office:
    """One filter's actor, the world around it, and messages between them until both rest."""

    def __init__(self, crash_at: int = 0, *, late: bool = False) -> None:
        self.world = World()
        self.server = MemoryServer(now=lambda: self.world.now)
        self.bus = CrashingBus(self.server, crash_at, late)
        self.crashes = 0
        self.finished: list[SyncFinished] = []
        self.mutations: set[str] = set()
        self._sequence = 0

    async def start(self) -> None:
        await self._take_over()

    async def _take_over(self) -> None:
        key = "epoch.reconciler.0"
        epoch = await MemoryBus(self.server).commit(None, [Put(key, b"{}")])
        self.actor = Actor(self.bus, FILTER, Fence("reconciler", 0, epoch), HASHER, NewContactDefaults())

    async def tell(self, *events: Event) -> None:
        await self._handle(events)
        for _ in range(2000):
            if not self.bus.published:
                return
            message = self.bus.published.pop(0)
            self._note(message)
            self.world.now += 1
            for answer in self.world.answers(message):
                await self._handle([answer])
        raise AssertionError("it does not come to rest")

    def _note(self, message: Model) -> None:
        match message:
            case Mutate():
                self.mutations.update(one.mutation_id for one in message.google)
                self.mutations.update(one.mutation_id for one in message.planfix)
            case SyncFinished():
                self.finished.append(message)
            case LookGoogle() | LookPlanfix():
                assert message.filter_id == FILTER

    async def _handle(self, events: Sequence[Event]) -> None:
        deliveries = [self.delivery(event) for event in events]
        self.world.now += 1
        try:
            await self.actor.handle(deliveries, lambda: self.world.now)
        except Crash:
            self.crashes += 1
            await self._take_over()
            await self.actor.handle(deliveries, lambda: self.world.now)

    def delivery(self, event: Event) -> Delivery:
        self._sequence += 1
        data = event.model_dump_json().encode()
        return Delivery(FILTER, "x", subjects.mailbox(FILTER, "x"), data, {TYPE: type_of(event)}, self._sequence, 1)

    def outcome(self) -> dict[str, Any]:
        prefix = f"state.filter.{FILTER}.link."
        links = [link_from_json(_json(record.value)) for record in self.server.matching(prefix)]
        record = self.server.value(f"state.filter.{FILTER}")
        assert record is not None
        return {
            "planfix": self.world.planfix,
            "people": sorted((str(p.fields), sorted(p.labels), p.stamps) for p in self.world.people.values()),
            "links": sorted(
                (link.contact, link.revision, link.open, link.dismissed, str(link.hold)) for link in links
            ),
            "state": filter_from_json(_json(record.value)).state,
            # Without the moment of the decision, which a crash puts off; no revision may be given twice.
            "mutations": sorted(one.rpartition(".")[0] for one in self.mutations),
            "writes": sorted(self.world.writes),
            "history": self.history(),
        }

    def history(self) -> list[tuple[str, dict[str, Any]]]:
        """What is told, without when."""
        prefix = f"history.{FILTER}."
        found = [(r.key.removeprefix(prefix), _json(r.value)) for r in self.server.matching(prefix)]
        return sorted((name, {n: v for n, v in entry.items() if n != "at"}) for name, entry in found)


def _json(value: bytes) -> Any:
    return orjson.loads(value)


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


async def a_day(office: Office) -> None:
    """Enabled; edits on both sides; one contact leaves, one person is labelled by hand; a sync."""
    world = office.world
    await office.start()
    for number in (1, 2, 3):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    await office.tell(
        Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    )
    person = next(p for p in world.people.values() if p.fields["given"] == "N1")
    world.contact(1, notes="P", phones=phones("+1"))
    world.person(person.resource, phones=phones("+2"))
    await office.tell(world.saw_planfix(1), world.saw_google(person.resource))
    world.members.discard(2)
    await office.tell(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(2,)))
    world.person("people/h1", person_fields("Hal", "Ray", email="h@x"), label=True)
    await office.tell(world.saw_google("people/h1"))
    world.now += 400
    await office.tell(SyncRequest(request_id="s", filter_id=FILTER))
    world.now += 400
    await office.tell(SyncRequest(request_id="t", filter_id=FILTER))


async def test_a_day_without_a_crash_ends_in_sync() -> None:
    office = Office()
    await a_day(office)
    outcome = office.outcome()
    assert outcome["state"] == "in_sync"
    assert [link[0] for link in outcome["links"]] == [1, 3, 101]
    assert [run.request_id for run in office.finished] == ["e", "s", "t"]
    assert office.world.writes.count("google ensure 1") == 1


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_after_a_crash_at_any_operation_the_day_ends_the_same(late: bool) -> None:
    calm = Office(late=late)
    await a_day(calm)
    expected, operations = calm.outcome(), calm.bus.done
    assert operations > 50
    for crash_at in range(1, operations + 1):
        office = Office(crash_at, late=late)
        await a_day(office)
        assert office.crashes == 1
        assert {run.request_id for run in office.finished} == {"e", "s", "t"}, f"crash at operation {crash_at}"
        assert office.outcome() == expected, f"crash at operation {crash_at}"


async def a_day_of_regrets(office: Office) -> None:
    """A conflict with a loser, an edit, and both taken back: the edit by its entry, the day by its run."""
    world = office.world
    await office.start()
    world.contact(1, given="N1", notes="old", phones=phones("+1"))
    world.contact(2, given="N2", notes="old")
    await office.tell(
        Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    )
    one, two = (next(p for p in world.people.values() if p.fields["given"] == given) for given in ("N1", "N2"))
    world.contact(1, notes="P", phones=phones("+1", "+2"))
    world.person(one.resource, notes="G")
    world.person(two.resource, notes="new")
    seen = world.saw_google(one.resource, two.resource)
    await office.tell(world.saw_planfix(1), GoogleObserved.model_validate(seen.model_dump()))
    assert (world.planfix[1]["notes"], world.planfix[2]["notes"]) == ("P", "new")
    edit = max(name for name, entry in office.history() if name.startswith("2."))
    await office.tell(Undo(request_id="u", filter_id=FILTER, entry=edit))
    assert world.planfix[2]["notes"] == two.fields["notes"] == "old"
    await office.tell(Undo(request_id="v", filter_id=FILTER, run="auto-0"))
    assert world.planfix[1]["notes"] == one.fields["notes"] == "G"
    assert world.planfix[1]["phones"] == one.fields["phones"] == phones("+1")


async def test_a_day_of_regrets_is_told_and_taken_back() -> None:
    office = Office()
    await a_day_of_regrets(office)
    told = [(name[0], entry["side"], entry["operation"], entry["run"]) for name, entry in office.history()]
    assert told == [
        ("1", "google", "created", "e"),
        ("1", "google", "updated", "auto-0"),
        ("1", "planfix", "updated", "undo-v"),
        ("1", "google", "updated", "undo-v"),
        ("2", "google", "created", "e"),
        ("2", "planfix", "updated", "auto-0"),
        ("2", "planfix", "updated", "undo-u"),
        ("2", "google", "updated", "undo-u"),
    ]
    assert office.history()[1][1]["lost"] == {"notes": ["google", "G"]}


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_after_a_crash_at_any_operation_everything_is_told_once_and_taken_back_once(late: bool) -> None:
    calm = Office(late=late)
    await a_day_of_regrets(calm)
    expected, operations = calm.outcome(), calm.bus.done
    for crash_at in range(1, operations + 1):
        office = Office(crash_at, late=late)
        await a_day_of_regrets(office)
        assert office.crashes == 1
        assert office.outcome() == expected, f"crash at operation {crash_at}"


@pytest.mark.parametrize("crash_after", [0, 2, 5, 7, 9, 11])
async def test_a_run_of_many_contacts_is_taken_back_chunk_by_chunk(crash_after: int) -> None:
    """With a crash after some operations of the undo, too."""
    office = Office()
    await office.start()
    for number in range(1, 2 * UNDONE_AT_ONCE + 2):
        office.world.contact(number, given=f"N{number}")
    await office.tell(
        Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    )
    links = 2 * UNDONE_AT_ONCE + 1
    assert len(office.world.people) == links
    own = Breakers(remove=Limit(least=links, percent=100))
    await office.tell(ChangeSettings(request_id="b", filter_id=FILTER, breakers=own))
    office.bus.crash_at = office.bus.done + crash_after if crash_after else 0
    await office.tell(Undo(request_id="u", filter_id=FILTER, run="e"))
    assert office.crashes == bool(crash_after)
    assert not office.world.people
    stored = office.server.value(f"state.filter.{FILTER}")
    assert stored is not None
    undo = filter_from_json(_json(stored.value)).undo
    assert undo is not None
    assert (undo.finished, undo.undone, undo.left) == (True, links, 0)


async def test_undoing_many_creations_waits_for_an_approval_like_any_other_removal() -> None:
    office = Office()
    await office.start()
    for number in range(1, 31):
        office.world.contact(number, given=f"N{number}")
    await office.tell(
        Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    )
    await office.tell(Undo(request_id="u", filter_id=FILTER, run="e"))
    assert len(office.world.people) == 30
    office.world.now += 1000
    await office.tell(SyncRequest(request_id="s", filter_id=FILTER))
    stored = office.server.value(f"state.filter.{FILTER}")
    assert stored is not None
    plans = filter_from_json(_json(stored.value)).plans
    assert [(plan.kind, plan.actions) for plan in plans] == [("remove", 30)]
    await office.tell(Approve(request_id="a", filter_id=FILTER, hash=plans[0].hash))
    assert not office.world.people


async def test_the_history_is_kept_for_the_days_that_are_set() -> None:
    office = Office()
    await office.start()
    office.world.contact(1, given="N1")
    await office.tell(
        Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    )
    assert office.history()
    office.world.now += 91 * 86_400
    assert not office.history()


async def test_messages_that_fit_no_contract_are_put_aside_and_the_rest_goes_on() -> None:
    office = Office()
    await office.start()
    good = Enable(request_id="e", filter_id=FILTER, filter_name="C", owner=7, account=ACCOUNT, google_email="a@x")
    subject = subjects.mailbox(FILTER, "x")
    deliveries = [
        Delivery(FILTER, "x", subject, b"{", {TYPE: "Enable.v1"}, 11, 1),
        Delivery(FILTER, "x", subject, b"{}", {TYPE: "Nonsense.v9"}, 12, 1),
        office.delivery(good.model_copy(update={"filter_id": "other"})),
        office.delivery(good),
    ]
    await office.actor.handle(deliveries, lambda: 1.0)
    dead = [stored.subject for stored in office.server.stream("DEAD").messages.values()]
    assert len(dead) == 3
    assert office.server.value(f"state.filter.{FILTER}") is not None


async def test_a_sync_of_a_filter_that_nobody_enabled_is_answered() -> None:
    office = Office()
    await office.start()
    await office.tell(SyncRequest(request_id="s", filter_id=FILTER))
    assert [(run.request_id, run.outcome) for run in office.finished] == [("s", "failed")]
    assert office.server.value(f"state.filter.{FILTER}") is None
