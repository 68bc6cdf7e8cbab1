"""The Planfix watcher over the real client and the simulated account: what the fakes of ports cannot show."""

from __future__ import annotations

import orjson
import pytest
from test_planfix_client import connected

from contactsync.planfix_watcher.service import PlanfixWatcher
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Class,
    LookPlanfix,
    PlanfixConfirmed,
    PlanfixListed,
    PlanfixObserved,
)
from simulated_planfix import Account
from watching import Clock, Scene, only

KEY = subjects.PLANFIX


@pytest.mark.parametrize("companies_in_person_lists", [False, True])
async def test_a_filter_is_listed_watched_and_its_departures_confirmed(companies_in_person_lists: bool) -> None:
    account = Account(companies_in_person_lists=companies_in_person_lists)
    planfix = account.planfix
    owner = planfix.add_employee("Eve", email="eve@x.example")
    numbers = [planfix.add_contact({"name": f"Ann{n}"}) for n in range(120)]
    company = planfix.add_contact({"name": "Acme", "isCompany": True})
    filter_id = planfix.add_filter("Friends", owner, {"kind": "ids", "ids": [*numbers, company]})

    clock = Clock(account.clock.now_s)
    scene = Scene("planfix-watcher", clock)
    record = {"filter_id": filter_id, "owner": owner, "state": "in_sync", "name": "Friends"}
    await scene.put(subjects.filter_key(filter_id), orjson.dumps(record))
    fence = await scene.claim()
    async with connected(account) as client:
        watcher = PlanfixWatcher(scene.bus, scene.wakes, client, clock=clock, poll_s=60, full_scan_s=3600)

        async def settle(for_s: float = 200.0) -> None:
            until = clock.now_s + for_s
            while scene.wakes.at[KEY] <= until:
                clock.now_s = account.clock.now_s = max(clock.now_s, scene.wakes.at[KEY])
                await watcher.handle(KEY, [], fence)
            clock.now_s = account.clock.now_s = until

        await watcher.gained([fence])
        await settle()
        told = scene.told(filter_id)
        seen = {c.contact for m in only(told, PlanfixObserved) if m.member for c in m.contacts}
        assert seen == {*numbers, company}
        assert [m.members for m in only(told, PlanfixListed)][-1] == tuple(sorted([*numbers, company]))

        planfix.edit_contact(company, {"name": "Acme Ltd"})
        planfix.edit_contact(numbers[0], {"name": "Anna"})
        planfix.remove_from_filter(filter_id, numbers[0])
        await settle()
        told = scene.told(filter_id)
        assert {c.contact for m in only(told, PlanfixObserved) for c in m.contacts} == {numbers[0], company}
        assert [(m.low, m.members) for m in only(told, PlanfixListed)] == [(numbers[0], ())]

        look = LookPlanfix(
            request_id="r",
            filter_id=filter_id,
            owner=owner,
            what="confirm",
            contacts=(numbers[0], numbers[1]),
            known=(*numbers[2:10], company),
            cls=Class.HUMAN,
        )
        await watcher.handle(KEY, [scene.delivery(KEY, look)], fence)
        await settle()
        (answer,) = only(scene.told(filter_id), PlanfixConfirmed)
        assert (answer.gone, answer.present, answer.undecided) == ((numbers[0],), (numbers[1],), ())


@pytest.mark.parametrize(("probe", "hint"), [(239, 240), (240, None), (None, None)])
async def test_a_look_learns_with_its_first_page_whether_more_contacts_come_than_fit(
    probe: int | None, hint: int | None
) -> None:
    account = Account()
    owner = account.planfix.add_employee("Eve", email="eve@x.example")
    numbers = [account.planfix.add_contact({"name": f"Ann{n}"}) for n in range(240)]
    filter_id = account.planfix.add_filter("Friends", owner, {"kind": "ids", "ids": numbers})
    clock = Clock(account.clock.now_s)
    scene = Scene("planfix-watcher", clock)
    fence = await scene.claim()
    async with connected(account) as client:
        watcher = PlanfixWatcher(scene.bus, scene.wakes, client, clock=clock, poll_s=60, full_scan_s=3600)
        await watcher.gained([fence])
        look = LookPlanfix(request_id="r", filter_id=filter_id, owner=owner, what="listing", probe=probe)
        await watcher.handle(KEY, [scene.delivery(KEY, look)], fence)
        for _ in range(8):
            clock.now_s += 1.0
            await watcher.handle(KEY, [], fence)
    told = scene.told(filter_id)
    assert [m.total_hint for m in only(told, PlanfixObserved)] == [hint] * 3
    assert [m.members for m in only(told, PlanfixListed)] == [tuple(sorted(numbers))]


async def test_looks_side_by_side_are_each_answered_once() -> None:
    account = Account()
    owner = account.planfix.add_employee("Eve", email="eve@x.example")
    filters = []
    for name in ("a", "b", "c"):
        numbers = [account.planfix.add_contact({"name": f"{name}{n}"}) for n in range(3)]
        filters.append(account.planfix.add_filter(name, owner, {"kind": "ids", "ids": numbers}))
    clock = Clock(account.clock.now_s)
    scene = Scene("planfix-watcher", clock)
    fence = await scene.claim()
    async with connected(account) as client:
        watcher = PlanfixWatcher(scene.bus, scene.wakes, client, clock=clock, poll_s=60, full_scan_s=3600, at_once=4)
        await watcher.gained([fence])
        looks = [
            LookPlanfix(request_id=f"{filter_id}.{n}", filter_id=filter_id, owner=owner, what="listing")
            for filter_id in filters
            for n in (1, 2)  # the same listing twice: one work answers both
        ]
        await watcher.handle(KEY, [scene.delivery(KEY, look) for look in looks], fence)
        account.planfix.reset_counters()
        for _ in range(8):
            clock.now_s += 1.0
            await watcher.handle(KEY, [], fence)
        asked = account.planfix.counters["requests"]
    everything = scene.told()
    for filter_id in filters:
        told = [m for m in everything if m.filter_id == filter_id]
        assert [m.request_id for m in only(told, PlanfixObserved)] == [f"{filter_id}.1"]
        assert sorted(m.request_id for m in only(told, PlanfixListed)) == [f"{filter_id}.1", f"{filter_id}.2"]
    assert asked == {"POST /contact/list": 3 * 3}
