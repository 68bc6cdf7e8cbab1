"""Disconnecting a filter, and moving it to another account: what leaves Google, what is erased, what comes back."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    AccountObserved,
    Disconnect,
    Enable,
    FilterObserved,
    FilterProblem,
    FilterState,
    Kept,
    Mutate,
    Pause,
    SyncFinished,
    SyncRequest,
)
from reconciler_world import ACCOUNT, FILTER, World, in_mode, person_fields

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def connected(mode: str, count: int = 3) -> World:
    """`count` contacts made in Google, and one (number 9) adopted from there."""
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.contact(9, given="Nine", emails=email("9@x"))
    world.person("people/nine", person_fields("Nine", email="9@x"))
    world.enable()
    assert world.identity[9] == ("people/nine", Kept.ADOPTED)
    world.writes.clear()
    return world


def disconnect(request: str = "d", *, remove: bool = False) -> Disconnect:
    return Disconnect(request_id=request, filter_id=FILTER, remove_contacts=remove)


def gone(world: World) -> bool:
    """Nothing is stored of the filter but ids of requests."""
    return all(key.startswith("request.") for key in world.stored)


@pytest.mark.parametrize("mode", MODES)
def test_disconnecting_leaves_google_as_it_is_and_nothing_of_the_filter(mode: str) -> None:
    world = connected(mode)
    people = {p.resource: (dict(p.fields), set(p.labels)) for p in world.people.values()}
    world.run(disconnect())
    assert gone(world)
    assert not world.writes
    assert {p.resource: (p.fields, p.labels) for p in world.people.values()} == people
    assert sorted(set(world.forgotten)) == sorted({ACCOUNT, "planfix"})


@pytest.mark.parametrize("mode", MODES)
def test_people_of_ours_leave_google_if_asked_for_and_adopted_ones_lose_the_label(mode: str) -> None:
    world = connected(mode)
    world.run(disconnect(remove=True))
    assert gone(world)
    assert list(world.people) == ["people/nine"]
    assert not world.people["people/nine"].labels
    assert sorted(world.planfix) == [1, 2, 3, 9]
    assert sorted(world.writes) == [f"google remove {n}" for n in (1, 2, 3, 9)]


def test_an_edit_made_in_google_at_the_same_time_reaches_planfix_before_its_person_goes() -> None:
    world = connected("steady")
    person = world.person_of(1)
    world.person(person.resource, notes="mine")
    world.run(disconnect(remove=True))
    assert world.planfix[1]["notes"] == "mine"
    assert person.resource not in world.people
    assert gone(world)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_under_way_is_waited_for_and_its_person_goes_too(mode: str) -> None:
    world = connected(mode)
    world.contact(4, given="N4")
    world.contact(2, notes="new")
    world.deliver(world.saw_planfix(2, 4, member=True))
    world.run(disconnect(remove=True))
    assert list(world.people) == ["people/nine"]
    assert gone(world)


def test_without_removing_nothing_is_waited_for() -> None:
    world = connected("steady")
    world.contact(2, notes="new")
    world.deliver(world.saw_planfix(2))
    waiting, world.outgoing = world.outgoing, []
    world.run(disconnect())
    assert gone(world)
    assert any(isinstance(out.message, Mutate) for out in waiting)


def test_a_person_that_a_human_threw_away_is_left_alone() -> None:
    world = connected("steady")
    resource = world.person_of(1).resource
    world.unlabel(resource)
    world.run(world.saw_google(resource))
    assert world.link(1).dismissed  # type: ignore[union-attr]
    world.run(disconnect(remove=True))
    assert sorted(world.people) == sorted([resource, "people/nine"])


@pytest.mark.parametrize("mode", MODES)
def test_a_person_that_cannot_be_removed_does_not_hold_up_the_rest(mode: str) -> None:
    world = connected(mode)
    world.refuse[2] = "Google does not let it go."
    world.run(disconnect(remove=True))
    assert gone(world)
    assert len(world.people) == 2


def test_old_messages_for_a_filter_that_is_gone_do_nothing() -> None:
    world = connected("steady")
    seen = list(world.seen)
    world.run(disconnect(remove=True))
    world.writes.clear()
    for event in [*seen, disconnect(remove=True), world.saw_planfix(1, 2, 3, member=True)]:
        assert not world.deliver(event)
    assert gone(world)
    assert not world.writes


@pytest.mark.parametrize("remove", [False, True])
def test_it_can_be_activated_again_with_revisions_that_nobody_has_seen(remove: bool) -> None:
    world = connected("steady")
    before = max(link.revision for link in world.links.values())
    world.run(disconnect(remove=remove))
    world.writes.clear()
    world.run(enable("again"))
    assert world.state() is FilterState.IN_SYNC
    assert sorted(link.contact for link in world.links.values()) == [1, 2, 3, 9]
    assert len(world.people) == 4
    assert min(link.revision for link in world.links.values()) > before
    created = [write for write in world.writes if "ensure" in write]
    assert len(created) == (3 if remove else 0)


def test_the_state_says_that_it_is_being_disconnected_and_watchers_are_not_heard() -> None:
    world = connected("steady")
    world.deliver(disconnect(remove=True))
    assert world.state() is FilterState.DISCONNECTING
    problem = FilterObserved(filter_id=FILTER, seen_at=world.now, problem=FilterProblem.FILTER_GONE, detail="gone")
    world.deliver(problem)
    world.deliver(Pause(request_id="p", filter_id=FILTER))
    assert world.state() is FilterState.DISCONNECTING


def test_a_paused_or_ownerless_filter_can_be_disconnected_too() -> None:
    for event in (
        Pause(request_id="p", filter_id=FILTER),
        FilterObserved(filter_id=FILTER, seen_at=2000.0, problem=FilterProblem.OWNER_GONE, detail="gone"),
    ):
        world = connected("steady")
        world.run(event)
        world.run(disconnect(remove=True))
        assert gone(world)
        assert list(world.people) == ["people/nine"]


def test_a_sync_asked_for_meanwhile_is_told_that_it_failed() -> None:
    world = connected("steady")
    world.deliver(disconnect(remove=True))
    world.deliver(SyncRequest(request_id="s", filter_id=FILTER))
    ends = [e for e in world.events if isinstance(e, SyncFinished) and e.request_id == "s"]
    assert [end.outcome for end in ends] == ["failed"]


def test_removing_without_a_connection_is_refused_and_given_up_on_request() -> None:
    world = connected("steady")
    dead = AccountObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now, connected=False, reason="revoked")
    world.run(dead)
    refused: dict[str, str] = {}
    world.on_step = lambda step: refused.update(step.requests)
    world.run(disconnect("one", remove=True))
    assert "reconnect" in refused["one"]
    assert world.state() is FilterState.RECONNECT_NEEDED
    world.run(disconnect("two"))
    assert gone(world)


def test_removing_that_got_stuck_is_ended_by_disconnecting_without_it() -> None:
    world = connected("steady")
    world.deliver(disconnect("one", remove=True))
    world.outgoing.clear()
    dead = AccountObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now, connected=False, reason="revoked")
    world.run(dead)
    assert world.state() is FilterState.DISCONNECTING
    assert "reconnect" in world.record.problem_reason
    world.run(disconnect("two"))
    assert gone(world)


def test_during_the_first_sync_it_leaves_as_well() -> None:
    world = in_mode("steady")
    for number in range(1, 6):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.silent.add("listing")
    world.enable()
    world.run(disconnect(remove=True))
    assert gone(world)
    assert not world.people


# ---- another account


def enable(request: str, account: str = ACCOUNT, *, relink: bool = False) -> Enable:
    return Enable(
        request_id=request,
        filter_id=FILTER,
        filter_name="Clients",
        owner=7,
        account=account,
        google_email="other@x",
        relink=relink,
    )


def test_another_account_is_refused_unless_relinking_is_asked_for() -> None:
    world = connected("steady")
    refused: dict[str, str] = {}
    world.on_step = lambda step: refused.update(step.requests)
    world.run(enable("e2", "elsewhere"))
    assert refused["e2"]
    assert world.record.account == ACCOUNT


@pytest.mark.parametrize("mode", MODES)
def test_relinking_leaves_the_old_account_as_it_is_and_starts_anew_in_the_other(mode: str) -> None:
    world = connected(mode)
    resource = world.person_of(1).resource
    world.unlabel(resource)
    world.run(world.saw_google(resource))
    old = {name: (dict(p.fields), set(p.labels)) for name, p in world.people.items()}
    world.writes.clear()
    world.outgoing.clear()
    world.deliver(enable("e2", "elsewhere", relink=True))
    forgets = [out for out in world.outgoing if isinstance(out.message, Mutate) and out.message.forget]
    assert sorted(out.message.target for out in forgets if isinstance(out.message, Mutate)) == [ACCOUNT, "planfix"]
    for out in forgets:
        for answer in world.answers(out.message):
            world.outgoing.remove(out)
            if len(world.forgotten) == 2:
                world.people, world.label = {}, False  # the other account is empty
            world.deliver(answer)
    world.run()
    record = world.record
    assert (record.account, record.google_email, record.state) == ("elsewhere", "other@x", FilterState.IN_SYNC)
    assert sorted(link.contact for link in world.links.values()) == [1, 2, 3, 9]
    assert not any(link.dismissed for link in world.links.values())
    assert len(world.people) == 4
    assert not set(old) & set(world.people)
    assert sorted(w for w in world.writes if "ensure" in w) == [f"google ensure {n}" for n in (1, 2, 3, 9)]


def test_relinking_keeps_the_filters_own_settings() -> None:
    world = connected("steady")
    world.machine._draft.amend(two_way=False, conflict="google")  # as `set` does
    world.run(enable("e2", "elsewhere", relink=True))
    assert (world.record.two_way, world.record.conflict) == (False, "google")
