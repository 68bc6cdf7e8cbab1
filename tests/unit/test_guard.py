"""Breakers at work in a filter's machine (semantics 2.5): what is held, what goes on, what an approval releases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contactsync.reconciler.core import loops
from contactsync.reconciler.core.breaker import Plan
from contactsync.reconciler.core.policy import Limits, Policy
from contactsync_contracts.messages import (
    Approve,
    Breakers,
    ChangeSettings,
    ContactState,
    FilterState,
    Limit,
    PlanfixListed,
    PlanFrozen,
    Resume,
)
from reconciler_world import FILTER, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]


def synced(mode: str, number: int = 30, **more: object) -> World:
    world = in_mode(mode, **more)
    for contact in range(1, number + 1):
        world.contact(contact, given=f"Given{contact}", phones=phones(f"+1202555{contact:04}"))
    world.enable()
    assert world.state() is FilterState.IN_SYNC
    world.writes.clear()
    return world


def rest(world: World) -> None:
    """Time passes, and the actor is woken as it asked to be."""
    world.now += 10
    world.deliver()
    world.run()


def plan(world: World) -> Plan:
    (only,) = world.record.plans
    return only


def approve(world: World, hash_: str, request_id: str = "a1") -> None:
    world.run(Approve(request_id=request_id, filter_id=FILTER, hash=hash_))


def leave(world: World, *contacts: int) -> None:
    world.members -= set(contacts)
    world.sync()


@pytest.mark.parametrize("mode", MODES)
def test_ten_may_leave_without_asking(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 11))
    assert len(world.people) == 20
    assert world.record.plans == ()


@pytest.mark.parametrize("mode", MODES)
def test_when_eleven_leave_nobody_is_removed_and_a_plan_waits(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    assert len(world.people) == 30
    assert world.state() is FilterState.FROZEN
    assert (plan(world).kind, plan(world).actions) == ("remove", 11)
    (said,) = [event for event in world.events if isinstance(event, PlanFrozen)][:1]
    assert (said.hash, said.actions) == (plan(world).hash, 11)
    assert world.record.counts[ContactState.HELD_BACK] == 11


@pytest.mark.parametrize("mode", MODES)
def test_approving_the_hash_removes_exactly_those(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    approve(world, plan(world).hash)
    assert sorted(world.links) == list(range(12, 31))
    assert len(world.people) == 19
    assert world.record.plans == ()
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_hash_is_refused_and_releases_nothing(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    approve(world, "0123456789abcdef")
    assert len(world.people) == 30
    assert "No plan with this hash" in world.refused["a1"]


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_that_is_still_collected_cannot_be_approved(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    assert plan(world).hash == ""
    approve(world, "none")
    assert len(world.people) == 30


@pytest.mark.parametrize("mode", MODES)
def test_approved_actions_are_counted_no_more(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    approve(world, plan(world).hash)
    leave(world, 12, 13)
    assert 12 not in world.links
    assert world.record.plans == ()


@pytest.mark.parametrize("mode", MODES)
def test_an_action_that_is_not_wanted_any_more_is_not_applied(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    hash_ = plan(world).hash
    world.members |= {1, 2, 3}
    world.sync()
    assert plan(world).hash == hash_
    approve(world, hash_)
    assert sorted(world.links) == [1, 2, 3, *range(12, 31)]


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_of_which_nothing_is_wanted_any_more_goes_away(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    world.members |= set(range(1, 12))
    world.sync()
    rest(world)
    assert world.record.plans == ()
    assert world.state() is FilterState.IN_SYNC
    assert world.writes == []


@pytest.mark.parametrize("mode", MODES)
def test_later_ones_form_a_second_set(mode: str) -> None:
    world = synced(mode, 40)
    leave(world, *range(1, 12))
    rest(world)
    first = plan(world).hash
    leave(world, *range(12, 24))
    rest(world)
    assert [one.actions for one in world.record.plans] == [11, 12]
    assert world.record.plans[0].hash == first
    approve(world, first)
    assert sorted(world.links) == list(range(12, 41))
    assert [one.actions for one in world.record.plans] == [12]


@pytest.mark.parametrize("mode", MODES)
def test_everything_else_goes_on_while_removals_wait(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    world.contact(20, notes="new")
    world.run(world.saw_planfix(20, member=True))
    world.contact(31, given="Newcomer")
    world.run(world.saw_planfix(31, member=True))
    assert world.person_of(20).fields["notes"] == "new"
    assert world.person_of(31).fields["given"] == "Newcomer"
    assert world.state() is FilterState.FROZEN


@pytest.mark.parametrize("mode", MODES)
def test_a_day_of_single_departures_trips_too(mode: str) -> None:
    world = synced(mode)
    for contact in range(1, 13):
        leave(world, contact)
    assert sorted(world.links) == list(range(11, 31))
    rest(world)
    assert {world.links[11].frozen is not None, world.links[12].frozen is not None} == {True}


@pytest.mark.parametrize("mode", MODES)
def test_the_next_day_they_may_go_on(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 11))
    world.now += 86_400 + 1200
    leave(world, *range(11, 16))
    assert sorted(world.links) == list(range(16, 31))


@pytest.mark.parametrize("mode", MODES)
def test_pausing_does_not_forget_a_plan(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    hash_ = plan(world).hash
    world.run(world.pause())
    world.sync()
    assert plan(world).hash == hash_
    world.run(Resume(request_id="r1", filter_id=FILTER))
    approve(world, hash_)
    assert sorted(world.links) == list(range(12, 31))


@pytest.mark.parametrize("mode", MODES)
def test_a_list_that_shrinks_to_nothing_removes_nobody_until_approved(mode: str) -> None:
    world = synced(mode, 5)
    leave(world, *range(1, 6))
    rest(world)
    assert len(world.people) == 5
    assert (plan(world).kind, plan(world).actions) == ("empty", 5)
    approve(world, plan(world).hash)
    assert world.links == {}
    assert world.people == {}
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_a_list_that_fills_again_needs_no_approval(mode: str) -> None:
    world = synced(mode, 5)
    leave(world, *range(1, 6))
    rest(world)
    world.members |= set(range(1, 6))
    world.sync()
    rest(world)
    assert world.record.plans == ()
    assert world.writes == []


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_list_of_an_empty_filter_is_fine(mode: str) -> None:
    world = in_mode(mode)
    world.enable()
    world.sync()
    rest(world)
    assert world.record.plans == ()
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_more_rewrites_than_allowed_are_held_and_released(mode: str) -> None:
    limits = Limits(update=Limit(least=3, percent=0))
    world = synced(mode, 8, policy=Policy(limits=limits))
    for contact in range(1, 7):
        world.contact(contact, notes="rewritten by a script")
    world.run(world.saw_planfix(*range(1, 7), member=True))
    rest(world)
    assert world.writes == []
    assert (plan(world).kind, plan(world).actions) == ("update", 6)
    approve(world, plan(world).hash)
    assert all(world.person_of(c).fields["notes"] == "rewritten by a script" for c in range(1, 7))


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_on_top_of_a_held_rewrite_is_another_action(mode: str) -> None:
    limits = Limits(update=Limit(least=3, percent=0))
    world = synced(mode, 8, policy=Policy(limits=limits))
    for contact in range(1, 7):
        world.contact(contact, notes="rewritten by a script")
    world.run(world.saw_planfix(*range(1, 7), member=True))
    rest(world)
    hash_ = plan(world).hash
    world.contact(1, notes="edited by hand since")
    world.run(world.saw_planfix(1, member=True))
    approve(world, hash_)
    assert world.person_of(1).fields["notes"] == "edited by hand since"
    assert world.writes.count("google update 1") == 1


@pytest.mark.parametrize("mode", MODES)
def test_more_contacts_for_planfix_than_allowed_are_held_and_released(mode: str) -> None:
    limits = Limits(create=Limit(least=2, percent=0))
    world = synced(mode, 2, policy=Policy(limits=limits))
    for number in range(4):
        world.person(f"people/x{number}", person_fields(f"Put{number}", "In"), label=True)
    world.run(world.saw_google(*(f"people/x{number}" for number in range(4))))
    rest(world)
    assert len(world.planfix) == 2
    assert (plan(world).kind, plan(world).actions) == ("create", 4)
    approve(world, plan(world).hash)
    assert len(world.planfix) == 6
    assert world.arrivals == []
    assert world.record.plans == ()


@pytest.mark.parametrize("mode", MODES)
def test_a_first_sync_that_has_to_be_approved_writes_nothing_before(mode: str) -> None:
    world = in_mode(mode, policy=Policy(first_sync_waits=True))
    world.person("people/1", person_fields("Ann", "Lee", "ann@example.com"))
    world.contact(1, **person_fields("Ann", "Lee", "ann@example.com", notes="from Planfix"))
    world.contact(2, given="Bob")
    world.enable()
    rest(world)
    assert world.writes == []
    assert world.state() is FilterState.FROZEN
    assert (plan(world).kind, plan(world).actions) == ("first", 2)
    approve(world, plan(world).hash)
    assert sorted(world.writes) == ["google adopt 1", "google ensure 2"]
    assert world.state() is FilterState.IN_SYNC
    world.contact(3, given="Later")
    world.run(world.saw_planfix(3, member=True))
    assert world.person_of(3).fields["given"] == "Later"


@pytest.mark.parametrize("mode", MODES)
def test_a_filters_own_numbers_can_be_set(mode: str) -> None:
    world = synced(mode)
    own = Breakers(remove=Limit(least=2, percent=0))
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, breakers=own))
    leave(world, 1, 2, 3)
    rest(world)
    assert len(world.people) == 30
    assert plan(world).actions == 3


@pytest.mark.parametrize("mode", MODES)
def test_an_approval_survives_being_said_twice(mode: str) -> None:
    world = synced(mode)
    leave(world, *range(1, 12))
    rest(world)
    hash_ = plan(world).hash
    approve(world, hash_)
    approve(world, hash_)
    leave(world, 12)
    assert sorted(world.links) == list(range(13, 31))


def test_a_part_of_a_listing_without_members_is_not_an_empty_list() -> None:
    world = synced("steady", 5)
    gone = PlanfixListed(filter_id=FILTER, began_at=world.now, low=3, high=3, members=())
    world.members.discard(3)
    world.run(gone)
    assert world.record.plans == ()
    assert sorted(world.links) == [1, 2, 4, 5]


# ---- another tool on the same two ends


@pytest.mark.parametrize("mode", MODES)
def test_a_value_that_is_changed_back_again_and_again_freezes_the_filter(mode: str) -> None:
    world = synced(mode, 2)
    for _ in range(3):
        world.contact(1, notes="ours")
        world.run(world.saw_planfix(1, member=True))
        resource = world.person_of(1).resource
        world.person(resource, notes="theirs")
        world.run(world.saw_google(resource))
    assert world.state() is FilterState.FROZEN
    assert "another tool" in world.record.problem_reason
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_the_same_edits_on_different_days_are_a_humans(mode: str) -> None:
    world = synced(mode, 2)
    for _ in range(4):
        world.now += 90_000
        for text in ("ours", "theirs"):
            world.contact(1, notes=text)
            world.run(world.saw_planfix(1, member=True))
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_contacts_that_are_copied_back_each_cycle_freeze_the_filter_within_three(mode: str) -> None:
    world = synced(mode, 3)
    next_number = 100
    for _cycle in range(6):
        copies = []
        for fields in [dict(p.fields) for p in world.people.values()]:
            world.contact(next_number, **fields)
            copies.append(next_number)
            next_number += 1
        world.run(world.saw_planfix(*copies, member=True))
        if world.state() is FilterState.FROZEN:
            break
    assert _cycle < 3
    assert world.state() is FilterState.FROZEN
    assert len(world.people) <= 24


@pytest.mark.parametrize(
    ("times", "again"),
    [
        ((), False),
        ((100.0, 130.0, 160.0), False),
        ((100.0, 300.0, 500.0), True),
        ((100.0, 90_000.0, 90_100.0), False),
    ],
    ids=["never", "one act", "three rounds", "yesterday's do not count"],
)
def test_people_who_could_be_copies_are_counted_in_rounds(times: tuple[float, ...], again: bool) -> None:
    doubles: dict[str, dict[str, float]] = {}
    for number, at in enumerate(times):
        doubles = loops.doubled(doubles, ("ann", "lee", "+1"), str(number), at)
    assert loops.come_again(doubles) is again


def test_equal_names_alone_that_come_once_are_no_loop() -> None:
    world = synced("steady", 3)
    for number in (10, 11):
        world.contact(number, given="Given1", phones=phones("+12025550001"))
        world.run(world.saw_planfix(number, member=True))
    assert world.state() is not FilterState.FROZEN
    assert replace(world.record, copies={}) != world.record
