"""The Planfix watcher against a small Planfix in memory: who goes first, what survives, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from contactsync.errors import PlanNeeded, Rejected, Unavailable
from contactsync.planfix.port import ContactPage, Employee, Filter, PlanfixApi, Query
from contactsync.planfix_watcher.service import PlanfixWatcher
from contactsync.runtime.bus import Fence
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Class,
    FilterObserved,
    FilterProblem,
    LookPlanfix,
    PersonQuery,
    PlanfixConfirmed,
    PlanfixContact,
    PlanfixListed,
    PlanfixMatched,
    PlanfixObserved,
)
from watching import Scene, only

POLL_S, SCAN_S = 60.0, 3600.0
KEY = subjects.PLANFIX


@dataclass
class FakePlanfix:
    """Contacts with the filters they are in, listed in small pages; every request takes a second."""

    clock: Any
    page_size: int = 2
    contacts: dict[int, PlanfixContact] = field(default_factory=dict)
    inside: dict[str, set[int]] = field(default_factory=dict)
    modified: dict[int, float] = field(default_factory=dict)
    lists: list[Filter] = field(default_factory=list)
    staff: list[Employee] = field(default_factory=lambda: [Employee(3, "Eve", "", (), True)])
    asked: list[str] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    short: Callable[[Query], bool] = lambda _: False
    deltas_work: bool = True

    def put(self, number: int, *filters: str, name: str = "Ann", company: bool = False) -> None:
        self.contacts[number] = PlanfixContact(contact=number, fields={"given": name}, is_company=company)
        self.modified[number] = self.clock()
        for numbers in self.inside.values():
            numbers.discard(number)
        for one in filters:
            self.inside.setdefault(one, set()).add(number)

    def _request(self, name: str) -> None:
        self.clock.now_s += 1.0
        self.asked.append(name)
        if self.faults.get(name):
            raise self.faults[name].pop(0)

    async def list_contacts(
        self, query: Query, *, offset: int = 0, ids_only: bool = False, cls: Class
    ) -> ContactPage:
        kind = "delta" if query.modified_since is not None else "numbers" if query.numbers else "list"
        self._request(f"{kind} {query.filter_id or '*'} {offset}")
        rows = [
            one
            for number, one in sorted(self.contacts.items())
            if (query.filter_id is None or number in self.inside.get(query.filter_id, ()))
            and (query.numbers is None or number in query.numbers)
            and (query.modified_since is None or self.modified[number] >= query.modified_since)
            and query.email in (None, one.fields.get("emails"))
            and one.is_company == query.companies
        ]
        size = 1 if self.short(query) else 100 if query.numbers else self.page_size
        part = tuple(rows[offset : offset + size])
        return ContactPage(part, len(part))

    async def get_contact(self, number: int, *, cls: Class) -> PlanfixContact | None:
        self._request(f"get {number}")
        return self.contacts.get(number)

    async def filters(self, *, cls: Class) -> list[Filter]:
        self._request("filters")
        return self.lists

    async def employees(self, *, cls: Class, until: Collection[int] = ()) -> list[Employee]:
        self._request("employees")
        return self.staff

    async def delta_filter_works(self, *, cls: Class) -> bool:
        return self.deltas_work


class Watched:
    def __init__(self) -> None:
        self.scene = Scene("planfix-watcher")
        self.planfix = FakePlanfix(self.scene.clock)

    async def begin(self, *filters: str, state: str = "in_sync") -> None:
        for one in filters:
            self.planfix.lists.append(Filter(one, f"List {one}", 3))
            await self.state(one, state)
        await self.restart()

    async def state(self, filter_id: str, state: str) -> None:
        record = {"filter_id": filter_id, "owner": 3, "account": "a", "state": state, "name": f"List {filter_id}"}
        await self.scene.put(subjects.filter_key(filter_id), orjson.dumps(record))

    async def restart(self) -> None:
        api: PlanfixApi = self.planfix  # type: ignore[assignment]  # it does not write
        self.fence: Fence = await self.scene.claim()
        self.watcher = PlanfixWatcher(
            self.scene.bus, self.scene.wakes, api, clock=self.scene.clock, poll_s=POLL_S, full_scan_s=SCAN_S
        )
        await self.watcher.gained([self.fence])

    async def turns(self, count: int = 1) -> None:
        """So many calls, each when the watcher wanted it."""
        for _ in range(count):
            self.scene.clock.now_s = max(self.scene.clock.now_s, self.scene.wakes.at[KEY])
            await self.watcher.handle(KEY, [], self.fence)

    async def settle(self, until_s: float = 30.0) -> None:
        """All that is wanted within so many seconds."""
        for _ in range(500):
            if self.scene.wakes.at[KEY] > self.scene.clock.now_s + until_s:
                return
            await self.turns()
        raise AssertionError("it never rests")

    async def look(self, what: Any, **fields: Any) -> None:
        look = LookPlanfix(**({"request_id": "r", "filter_id": "f", "owner": 3, "what": what} | fields))
        await self.watcher.handle(KEY, [self.scene.delivery(KEY, look)], self.fence)

    async def looks_kept(self) -> int:
        return await self.scene.bus.count("state.planfix.look.")


@pytest.fixture
async def watched() -> Watched:
    """Two filters, listed once."""
    watched = Watched()
    for number in (1, 2, 3):
        watched.planfix.put(number, "f")
    watched.planfix.put(4, "g")
    await watched.begin("f", "g")
    for _ in range(4):  # until the overlap of the deltas has passed the last edit
        await watched.settle()
        watched.scene.clock.now_s += POLL_S
    await watched.settle()
    watched.scene.told()
    watched.planfix.asked.clear()
    return watched


async def test_the_first_rotation_tells_everybody_with_membership() -> None:
    watched = Watched()
    for number in (1, 2, 3):
        watched.planfix.put(number, "f")
    await watched.begin("f")
    await watched.settle()
    told = watched.scene.told("f")
    assert sorted(c.contact for m in only(told, PlanfixObserved) if m.member for c in m.contacts) == [1, 2, 3]
    assert [m.members for m in only(told, PlanfixListed)] == [(1, 2, 3)]


async def test_a_quiet_cycle_is_one_request_and_no_write(watched: Watched) -> None:
    before = watched.scene.server.state_seq
    watched.scene.told()
    await watched.turns(5)
    assert watched.planfix.asked == ["delta * 0"] * 5
    assert watched.scene.server.state_seq == before
    assert watched.scene.told() == []


async def test_a_quiet_hour_of_rotation_tells_only_who_is_there(watched: Watched) -> None:
    watched.scene.told()
    watched.scene.clock.now_s += SCAN_S
    await watched.settle()
    told = watched.scene.told()
    assert only(told, PlanfixObserved) == []
    assert {(m.filter_id, m.members) for m in only(told, PlanfixListed)} == {("f", (1, 2, 3)), ("g", (4,))}


async def test_a_changed_contact_is_told_and_asked_for_in_all_filters(watched: Watched) -> None:
    watched.scene.told()
    watched.scene.clock.now_s += POLL_S
    watched.planfix.put(2, "g", name="Bob")
    await watched.settle()
    told = watched.scene.told()
    assert [(m.filter_id, m.member) for m in only(told, PlanfixObserved)] == [("f", None), ("g", True)]
    assert [(m.filter_id, m.low, m.high, m.members) for m in only(told, PlanfixListed)] == [("f", 2, 2, ())]
    assert {"numbers f 0", "numbers g 0"} <= set(watched.planfix.asked)
    await watched.turns(3)
    assert watched.scene.told() == []


async def test_what_changed_while_nobody_watched_is_told_after_the_restart(watched: Watched) -> None:
    watched.planfix.put(2, "f", name="Bob")
    await watched.restart()
    watched.scene.told()
    await watched.settle()
    told = watched.scene.told("f")
    seen = {c.contact: (m.member, c.fields["given"]) for m in only(told, PlanfixObserved) for c in m.contacts}
    assert seen[2] == (True, "Bob")
    assert not any(name.startswith("list ") for name in watched.planfix.asked)  # its listings are remembered


async def test_a_persons_look_passes_a_listing_between_two_pages(watched: Watched) -> None:
    watched.planfix.asked.clear()
    await watched.look("listing", request_id="slow", cls=Class.CHANGE)
    await watched.turns(1)
    await watched.look("contacts", request_id="quick", contacts=(1,), cls=Class.HUMAN)
    await watched.settle()
    assert watched.planfix.asked[:3] == ["list f 0", "numbers f 0", "list f 2"]
    answers = [m.request_id for m in only(watched.scene.told("f"), PlanfixObserved)]
    assert answers[-3:] == ["slow", "quick", "slow"]


async def test_a_killed_watcher_goes_on_in_the_middle_of_a_listing() -> None:
    watched = Watched()
    for number in range(1, 31):
        watched.planfix.put(number, "f")
    await watched.begin("f", state="first_sync")
    await watched.settle()
    await watched.look("listing")
    await watched.turns(7)
    assert await watched.looks_kept() == 1
    watched.planfix.asked.clear()
    await watched.restart()
    await watched.settle()
    pages = [name for name in watched.planfix.asked if name.startswith("list f")]
    assert pages[0] == "list f 10"  # saved every five pages of two
    told = watched.scene.told("f")
    assert {c.contact for m in only(told, PlanfixObserved) for c in m.contacts} == set(range(1, 31))
    assert [m.members for m in only(told, PlanfixListed)] == [tuple(range(1, 31))]
    assert await watched.looks_kept() == 0


async def test_a_look_survives_its_watcher_and_a_redelivery_is_the_same_look(watched: Watched) -> None:
    look = LookPlanfix(request_id="r", filter_id="f", what="contacts", contacts=(1,), cls=Class.HUMAN)
    delivery = watched.scene.delivery(KEY, look)
    await watched.watcher.take_in([delivery], watched.fence)
    await watched.restart()
    watched.scene.told()
    await watched.watcher.handle(KEY, [delivery], watched.fence)
    await watched.settle()
    assert [m.request_id for m in only(watched.scene.told("f"), PlanfixObserved)].count("r") == 1
    assert await watched.looks_kept() == 0


async def test_a_failed_page_is_repeated_and_nothing_is_concluded_meanwhile(watched: Watched) -> None:
    watched.scene.told()
    watched.planfix.faults["list f 2"] = [Unavailable("500"), Unavailable("500")]
    await watched.look("listing")
    await watched.turns(3)
    assert only(watched.scene.told(), PlanfixListed) == []
    await watched.settle()
    assert watched.planfix.asked.count("list f 2") == 3
    assert [m.members for m in only(watched.scene.told("f"), PlanfixListed)] == [(1, 2, 3)]


async def test_one_bad_page_does_not_hold_up_other_filters(watched: Watched) -> None:
    watched.scene.told()
    watched.planfix.faults["list f 0"] = [Unavailable("500")] * 50
    await watched.look("listing")
    await watched.look("listing", filter_id="g")
    await watched.turns(8)
    assert [m.filter_id for m in only(watched.scene.told(), PlanfixListed)] == ["g"]


async def test_two_listings_of_a_filter_are_one(watched: Watched) -> None:
    watched.scene.told()
    looks = [LookPlanfix(request_id=f"r{n}", filter_id="f", owner=3, what="listing") for n in (1, 2)]
    await watched.watcher.take_in([watched.scene.delivery(KEY, look) for look in looks], watched.fence)
    await watched.watcher.handle(KEY, [], watched.fence)
    await watched.settle()
    assert watched.planfix.asked.count("list f 0") == 2  # persons, companies
    assert [m.request_id for m in only(watched.scene.told("f"), PlanfixListed)] == ["r1", "r2"]


async def test_a_runs_listing_that_is_asked_for_again_is_the_one_under_way(watched: Watched) -> None:
    """As a new owner of the filter asks, who cannot know what the old one has said."""
    watched.scene.told()
    watched.planfix.asked.clear()
    await watched.look("listing", request_id="run-1")
    await watched.turns(1)
    await watched.look("listing", request_id="run-1")
    await watched.settle()
    assert watched.planfix.asked.count("list f 0") == 2  # persons, companies
    assert [m.request_id for m in only(watched.scene.told("f"), PlanfixListed)] == ["run-1"]
    assert await watched.looks_kept() == 0
    await watched.look("listing", request_id="run-1")  # an answer may have been lost with its asker: once more
    await watched.settle()
    assert [m.request_id for m in only(watched.scene.told("f"), PlanfixListed)] == ["run-1"]


async def test_hints_are_asked_together_and_unknown_contacts_in_all_filters(watched: Watched) -> None:
    watched.planfix.put(9, "g")
    watched.scene.told()
    looks = [LookPlanfix(request_id=f"h{n}", what="contacts", contacts=(n,), cls=Class.HUMAN) for n in (1, 9)]
    await watched.watcher.take_in([watched.scene.delivery(KEY, look) for look in looks], watched.fence)
    await watched.watcher.handle(KEY, [], watched.fence)
    await watched.settle()
    assert watched.planfix.asked[0] == "numbers * 0"
    told = [
        (m.filter_id, m.member, [c.contact for c in m.contacts]) for m in only(watched.scene.told(), PlanfixObserved)
    ]
    assert ("f", None, [1]) in told
    assert ("g", True, [9]) in told
    assert await watched.looks_kept() == 0


async def test_a_look_waits_for_its_time_without_blocking_others(watched: Watched) -> None:
    watched.scene.told()
    later = watched.scene.clock() + 20.0
    await watched.look("contacts", request_id="later", contacts=(1,), not_before=later, cls=Class.HUMAN)
    await watched.look("contacts", request_id="now", contacts=(2,))
    await watched.settle()
    told = only(watched.scene.told("f"), PlanfixObserved)
    assert [(m.request_id, m.seen_at >= later) for m in told] == [("now", False), ("later", True)]


async def test_a_short_answer_confirms_no_departure(watched: Watched) -> None:
    watched.scene.told()
    watched.planfix.put(2)
    watched.planfix.short = lambda query: bool(query.numbers and len(query.numbers) > 1)
    await watched.look("confirm", contacts=(2,), known=(1, 3))
    await watched.settle()
    (answer,) = only(watched.scene.told("f"), PlanfixConfirmed)
    assert (answer.gone, answer.undecided) == ((), (2,))
    watched.planfix.short = lambda _: False
    await watched.look("confirm", contacts=(2,), known=(1, 3))
    await watched.settle()
    (answer,) = only(watched.scene.told("f"), PlanfixConfirmed)
    assert (answer.gone, answer.undecided) == ((2,), ())


async def test_people_without_an_address_are_answered_without_a_request(watched: Watched) -> None:
    watched.scene.told()
    await watched.look("match", match=(PersonQuery(arrival="p"),), cls=Class.HUMAN)
    await watched.turns()
    (answer,) = only(watched.scene.told("f"), PlanfixMatched)
    assert [(one.arrival, one.contacts, one.invisible) for one in answer.answers] == [("p", (), False)]
    assert watched.planfix.asked == []


async def test_without_working_deltas_filters_are_listed_more_often() -> None:
    watched = Watched()
    watched.planfix.deltas_work = False
    watched.planfix.put(1, "f")
    await watched.begin("f")
    await watched.settle()
    watched.planfix.asked.clear()
    watched.scene.clock.now_s += SCAN_S / 4
    await watched.settle()
    assert "list f 0" in watched.planfix.asked
    assert not any(name.startswith("delta") for name in watched.planfix.asked)


async def test_a_plan_that_lapses_is_told_once_and_its_return_too(watched: Watched) -> None:
    watched.scene.told()
    watched.planfix.faults["delta * 0"] = [PlanNeeded("frozen"), PlanNeeded("frozen")]
    await watched.turns(2)
    told = only(watched.scene.told(), FilterObserved)
    assert {(m.filter_id, m.problem) for m in told} == {
        ("f", FilterProblem.PLAN_NEEDED),
        ("g", FilterProblem.PLAN_NEEDED),
    }
    assert len(told) == 2
    await watched.settle()
    again = only(watched.scene.told(), FilterObserved)
    assert {(m.filter_id, m.name, m.problem) for m in again} == {("f", "List f", None), ("g", "List g", None)}


async def test_a_filter_that_vanished_is_reported_after_a_second_look(watched: Watched) -> None:
    watched.scene.told()
    watched.planfix.lists.pop()
    await watched.look("filter", filter_id="g")
    await watched.settle(40.0)
    (told,) = only(watched.scene.told("g"), FilterObserved)
    assert (told.problem, watched.planfix.asked.count("filters")) == (FilterProblem.FILTER_GONE, 2)
    assert await watched.looks_kept() == 0


async def test_a_look_that_planfix_refuses_is_put_aside(watched: Watched) -> None:
    watched.planfix.faults["list f 0"] = [Rejected("unknown filter")]
    await watched.look("listing")
    await watched.settle()
    assert len(watched.scene.dead()) == 1
    assert await watched.looks_kept() == 0


async def test_a_paused_filter_is_not_polled_but_looked_at_on_request(watched: Watched) -> None:
    await watched.state("f", "paused")
    await watched.state("g", "paused")
    await watched.turns(3)
    watched.planfix.asked.clear()
    await watched.turns(2)
    assert watched.planfix.asked == []
    watched.scene.told()
    await watched.look("contacts", contacts=(1,))
    await watched.settle()
    assert [m.member for m in only(watched.scene.told("f"), PlanfixObserved)] == [True]


async def test_the_days_remainder_stretches_the_polls() -> None:
    watched = Watched()
    watched.planfix.put(1, "f")
    await watched.begin("f")
    api: PlanfixApi = watched.planfix  # type: ignore[assignment]
    watched.watcher = PlanfixWatcher(
        watched.scene.bus,
        watched.scene.wakes,
        api,
        clock=watched.scene.clock,
        poll_s=POLL_S,
        full_scan_s=SCAN_S,
        remaining=lambda: (100, 36_000.0),
    )
    await watched.watcher.gained([watched.fence])
    await watched.turns(6)
    began = watched.scene.clock()
    watched.planfix.asked.clear()
    while watched.scene.clock() < began + 3600:
        await watched.turns()
    assert len(watched.planfix.asked) <= 10 + 1  # the last look at the contact that had just come
