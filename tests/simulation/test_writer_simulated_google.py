"""The writer through the real People client against the simulated Google, over a real socket, with faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from contactsync.google.client import GooglePeople
from contactsync.google.port import PeopleApi
from contactsync.google.session import PeopleSession
from contactsync.simulators.faults import Fault, Faults
from contactsync.simulators.google import GoogleSimulator
from contactsync.simulators.google_options import GoogleOptions
from contactsync.simulators.http import Simulators, serve
from contactsync_contracts.messages import Class, GoogleMutation, GooglePerson, Mutate, Outcome
from writer_world import ACCOUNT, CONFIG, Clock, World, ensure, label, mutate

EMAIL = "ada@company.test"
UNLIMITED = dict.fromkeys(
    (
        "critical_reads_per_minute", "critical_writes_per_minute", "writes_per_minute", "group_reads_per_minute",
        "daily_writes", "full_syncs_per_minute",
    ),
    0,
)  # fmt: skip


class NoLimit:
    async def acquire(self, operation: str, cls: Class, *, leave_s: float = 1.0) -> NoLimit:
        return self

    def require(self) -> None: ...

    async def penalise(self, buckets: Sequence[str], pause_s: float) -> None: ...

    async def back_off(self) -> float:
        return 60.0

    def metrics(self, operation: str) -> tuple[str, ...]:
        return ()


class Tokens:
    def __init__(self, google: GoogleSimulator) -> None:
        self._google = google

    async def token(self, account: str) -> str:
        return str(self._google.issue_tokens(EMAIL)["access_token"])

    async def refreshed(self, account: str, bad_token: str) -> str:
        return await self.token(account)


@dataclass
class Scene:
    world: World
    google: GoogleSimulator
    people: PeopleApi
    faults: Faults

    async def everyone(self) -> list[GooglePerson]:
        """All people, after the lists have caught up."""
        self.world.clock.now += 600.0
        found: list[GooglePerson] = []
        page: str | None = None
        while True:
            answer = await self.people.list_page(sync_token=None, page_token=page, cls=Class.CHANGE)
            found += answer.people
            page = answer.next_page
            if page is None:
                return found


@asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[Scene]:
    faults, clock = Faults(), Clock()
    google = GoogleSimulator(clock, GoogleOptions(**(UNLIMITED | options)), faults)
    google.add_account(EMAIL)
    async with serve(Simulators(google=google, faults=faults)) as running, PeopleSession(total_s=5.0) as session:
        people = GooglePeople(
            ACCOUNT,
            session=session,
            people_url=running.people_url,
            tokens=Tokens(google),
            quota=NoLimit(),
            config=CONFIG,
        )
        world = World(clock=clock, people=people)
        await world.start()
        yield Scene(world, google, people, faults)
    assert google.violations == []


async def first_sync(world: World) -> None:
    """Twelve contacts in a batch, then one alone."""
    world.put(label("1", "First"))
    world.put(label("2", "Second"))
    world.put(mutate(*(ensure(n) for n in range(1, 13))))
    world.put(mutate(ensure(3, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    world.put(mutate(ensure(20, filter_id="2"), filter_id="2", since=5.0))
    await world.run()


async def check(place: Scene) -> None:
    people = await place.everyone()
    stamped = Counter(stamp.contact for person in people for stamp in person.stamps)
    assert stamped == Counter([*range(1, 13), 20])
    assert len(people) == 13
    labels = await place.people.list_labels(cls=Class.CHANGE)
    assert sorted(one.name for one in labels) == ["First", "Second"]
    third = next(person for person in people if person.stamps[0].contact == 3)
    assert {one.resource for one in labels} <= set(third.labels)
    settled = place.world.items()
    wanted = {f"1-{n}-1" for n in range(1, 13)} | {"2-3-1", "2-20-1"}
    assert {settled[one][-1].outcome for one in wanted} <= {Outcome.DONE, Outcome.LABELLED}


async def change_all(place: Scene) -> None:
    people = {person.stamps[0].contact: person for person in await place.everyone()}
    place.world.put(
        mutate(
            *(
                GoogleMutation(
                    contact=n,
                    mutation_id=f"1-{n}-2",
                    revision=2,
                    op="update",
                    fields={"notes": f"note {n}"},
                    resource=people[n].resource,
                    etag=people[n].etag,
                    raw=people[n].raw,
                )
                for n in range(1, 13)
            )
        )
    )


async def test_a_first_sync_and_a_change_of_all() -> None:
    async with scene() as place:
        await first_sync(place.world)
        await check(place)
        await change_all(place)
        await place.world.run()
        notes = {person.stamps[0].contact: person.fields["notes"] for person in await place.everyone()}
        assert notes == {n: f"note {n}" for n in range(1, 13)} | {20: ""}


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "status_after", "status", "truncate_body", "html"])
@pytest.mark.parametrize(
    "path",
    ["people:batchCreateContacts", "people:createContact", "contactGroups$", "batchUpdateContacts"],
)
async def test_no_fault_makes_a_duplicate(kind: str, path: str) -> None:
    async with scene() as place:
        method = "POST" if path == "contactGroups$" else None
        fault = place.faults.add(Fault(kind=kind, path=path, method=method, times=2))
        await first_sync(place.world)
        await check(place)
        await change_all(place)
        await place.world.run()
        assert {place.world.item(f"1-{n}-2").outcome for n in range(1, 13)} == {Outcome.DONE}
        assert fault.hits > 0


@pytest.mark.parametrize("options", [{"atomic_batches": False}, {"named_errors": False}, {"reformat": True}])
async def test_whatever_google_does_with_batches_one_stale_person_is_stale_alone(options: dict[str, bool]) -> None:
    async with scene(**options) as place:
        await first_sync(place.world)
        await check(place)
        await change_all(place)
        edited = next(p for p in await place.everyone() if p.stamps[0].contact == 5)
        place.google.edit_person(EMAIL, edited.resource, {"names": [{"givenName": "Human"}]})
        await place.world.run()
        outcomes = {n: place.world.item(f"1-{n}-2").outcome for n in range(1, 13)}
        assert [n for n, outcome in outcomes.items() if outcome is Outcome.STALE] == [5]
        assert {o for n, o in outcomes.items() if n != 5} == {Outcome.DONE}


@pytest.mark.parametrize("seen_since", [True, False])
async def test_a_label_that_a_human_deleted_is_made_again_with_everybody_under_it(seen_since: bool) -> None:
    async with scene() as place:
        await first_sync(place.world)
        before = {person.stamps[0].contact: person for person in await place.everyone()}
        place.google.delete_label(EMAIL, "First")
        after = {person.stamps[0].contact: person for person in await place.everyone()}
        known = after if seen_since else before
        place.world.put(label("1", "First", revision=2))
        asks = [
            GoogleMutation(
                contact=n,
                mutation_id=f"1-{n}-2",
                revision=2,
                op="update",
                resource=known[n].resource,
                etag=known[n].etag,
                raw=known[n].raw,
            )
            for n in range(1, 13)
        ]
        place.world.put(mutate(*asks))
        await place.world.run()
        assert {place.world.item(f"1-{n}-2").outcome for n in range(1, 13)} == {Outcome.DONE}
        people = await place.everyone()
        labels = {one.name: one.resource for one in await place.people.list_labels(cls=Class.CHANGE)}
        assert sorted(labels) == ["First", "Second"]
        assert sum(labels["First"] in person.labels for person in people) == 12


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"named_errors": False},
        {"atomic_batches": False},
        {"atomic_batches": False, "shuffle_created": False},
    ],
    ids=["named", "not named", "in part and shuffled", "in part"],
)
async def test_one_contact_that_google_never_takes_holds_up_nobody(options: dict[str, bool]) -> None:
    """Its notes are larger than a whole contact may be, which names no field: the contact is refused."""
    async with scene(**options) as place:
        place.world.put(label("2", "Second"))
        place.world.put(label("1", "First"))
        place.world.put(mutate(ensure(99, notes="x" * 140_000), *(ensure(n) for n in range(1, 13))))
        place.world.put(mutate(ensure(3, filter_id="2"), ensure(20, filter_id="2"), filter_id="2", since=5.0))
        await place.world.run()
        item = place.world.item("1-99-1")
        assert item.outcome is Outcome.REFUSED
        assert "larger" in item.reason
        assert len(place.world.items()["1-99-1"]) == 1
        await check(place)


@pytest.mark.parametrize("named", [True, False])
async def test_a_field_that_is_too_long_for_google_is_held_back_alone(named: bool) -> None:
    """We cut texts, but not what a human put beside ours, and Google may count otherwise."""
    async with scene(named_errors=named) as place:
        await first_sync(place.world)
        await check(place)
        await change_all(place)
        long = [{"type": "WORK", "value": "https://example.test/" + "x" * 1100}]
        message = place.world.queue[-1]
        body = Mutate.model_validate_json(message.data)
        fifth = body.google[4]
        raw = {**(fifth.raw or {}), "urls": long}
        odd = fifth.model_copy(update={"raw": raw, "fields": {**fifth.fields, "facebook": "https://f.test"}})
        place.world.queue.pop()
        place.world.put(body.model_copy(update={"google": (*body.google[:4], odd, *body.google[5:])}))
        await place.world.run()
        assert {place.world.item(f"1-{n}-2").outcome for n in range(1, 13)} == {Outcome.DONE}
        assert place.world.item("1-5-2").refused.keys() == {"facebook"}
        notes = {person.stamps[0].contact: person.fields["notes"] for person in await place.everyone()}
        assert notes == {n: f"note {n}" for n in range(1, 13)} | {20: ""}


@pytest.mark.parametrize("keep", [None, 0, 13])
@pytest.mark.parametrize("kind", ["lost_answer", "status_after", "truncate_body"])
async def test_listings_that_lose_people_and_deny_it_make_no_duplicate(kind: str, keep: int | None) -> None:
    async with scene() as place:
        await first_sync(place.world)
        place.world.clock.now += 1000.0
        place.faults.add(Fault(kind=kind, path="people:batchCreateContacts"))
        short = place.faults.add(Fault(kind="short_page", path="people/me/connections", times=None, keep=keep))
        place.world.put(mutate(*(ensure(n) for n in range(101, 114))))
        for _ in range(30):
            place.world.clock.now = max(place.world.clock.now, place.world.mailboxes.times.get(ACCOUNT, 0.0))
            await place.world.turn()
        assert short.hits > 5
        place.faults.clear()
        await place.world.run()
        stamped = Counter(stamp.contact for person in await place.everyone() for stamp in person.stamps)
        assert stamped == Counter([*range(1, 13), 20, *range(101, 114)])


@pytest.mark.parametrize("trash_counts", [True, False])
async def test_the_places_of_a_full_account_go_to_the_lowest_numbers(trash_counts: bool) -> None:
    async with scene(contacts_max=20, trash_counts=trash_counts) as place:
        await first_sync(place.world)
        for n in (11, 12):
            remove = GoogleMutation(contact=n, mutation_id=f"1-{n}-2", revision=2, op="remove")
            place.world.put(mutate(remove))
        await place.world.run()
        place.world.put(mutate(*(ensure(n) for n in range(60, 30, -1))))
        await place.world.run()
        free = 7 if trash_counts else 9
        stamped = {stamp.contact for person in await place.everyone() for stamp in person.stamps}
        assert {n for n in stamped if n > 30} == set(range(31, 31 + free))
        assert {place.world.item(f"1-{n}-1").outcome for n in range(31 + free, 61)} == {Outcome.FULL}
