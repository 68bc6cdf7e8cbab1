"""State that is empty, old or partly lost (D27): links are found again, nobody is deleted, nobody is made twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.markers import marker_of
from contactsync_contracts.messages import (
    Enable,
    FilterState,
    Kept,
    Rebuild,
    Stamp,
)
from reconciler_world import ACCOUNT, FILTER, World, in_mode, person_fields

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def running(mode: str = "steady") -> World:
    """Contacts 1 to 3 made in Google, 9 adopted there."""
    world = in_mode(mode)
    for number in (1, 2, 3):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.contact(9, given="Nine", emails=email("9@x"))
    world.person("people/nine", person_fields("Nine", email="9@x"))
    world.enable()
    world.writes.clear()
    return world


def enable(request: str = "again") -> Enable:
    return Enable(
        request_id=request, filter_id=FILTER, filter_name="Clients", owner=7, account=ACCOUNT, google_email="a@x"
    )


def rebuild(request: str = "r") -> Rebuild:
    return Rebuild(request_id=request, filter_id=FILTER)


def lose_everything(world: World) -> None:
    world.stored.clear()
    world.outgoing.clear()
    world.identity.clear()
    world.settled.clear()
    world.label, world.label_found = False, True
    world.restart()


def lose(world: World, *keys: str) -> None:
    for key in keys:
        del world.stored[key]
    world.restart()


def pairs(world: World) -> dict[int, tuple[str | None, Kept | None]]:
    return {link.contact: (link.resource, link.own) for link in world.links.values()}


def at_rest(world: World) -> None:
    """In sync, and a further sync writes nothing."""
    world.writes.clear()
    world.sync()
    assert world.state() is FilterState.IN_SYNC
    assert not world.writes
    for link in world.links.values():
        assert not link.open
        if not link.dismissed and link.hold is None:
            assert link.resource in world.people


# ---- empty


@pytest.mark.parametrize("mode", MODES)
def test_with_an_empty_store_links_are_found_by_stamp_ours_and_adopted(mode: str) -> None:
    world = running(mode)
    before, people = pairs(world), {name: dict(p.fields) for name, p in world.people.items()}
    lose_everything(world)
    world.run(enable())
    assert pairs(world) == before
    assert {name: p.fields for name, p in world.people.items()} == people
    assert not [write for write in world.writes if "ensure" in write or "create" in write or "remove" in write]
    at_rest(world)


def test_without_a_base_the_filled_side_wins_else_planfix_and_elements_are_united() -> None:
    world = running()
    one = world.person_of(1).resource
    lose_everything(world)
    world.contact(1, notes="P", position="boss", company="")
    world.person(one, notes="G", position="", company="Acme", emails=(*email("1@x"), *email("new@x")))
    world.run(enable())
    both = (world.planfix[1], world.people[one].fields)
    assert [side["notes"] for side in both] == ["P", "P"]
    assert [side["position"] for side in both] == ["boss", "boss"]
    assert [side["company"] for side in both] == ["Acme", "Acme"]
    assert all({e.key for e in side["emails"] if isinstance(e, Element)} == {"1@x", "new@x"} for side in both)
    lost = [entry["lost"] for contact, _, entry in world.history if contact == 1 and "lost" in entry]
    assert lost == [{"notes": ["google", "G"]}]


def test_creates_wait_since_nobody_knows_who_was_thrown_away() -> None:
    world = running()
    del world.people[world.person_of(2).resource]
    lose_everything(world)
    world.run(enable())
    world.now += 600
    world.deliver()
    assert [(plan.kind, plan.actions) for plan in world.record.plans] == [("again", 1)]
    assert world.state() is FilterState.FROZEN
    assert len(world.people) == 3
    assert not [write for write in world.writes if "ensure" in write]


def test_a_first_activation_of_a_new_list_waits_for_nobody() -> None:
    world = running()
    assert not world.record.creates_wait
    assert world.state() is FilterState.IN_SYNC


@pytest.mark.parametrize("mode", MODES)
def test_only_the_filters_record_was_lost(mode: str) -> None:
    world = running(mode)
    two = world.person_of(2).resource
    del world.people[two]
    world.run(world.saw_gone(two))
    before = pairs(world)
    lose(world, "record", "request.enable")
    world.run(enable())
    assert pairs(world) == before
    assert world.link(2).dismissed  # type: ignore[union-attr]
    assert two not in world.people
    assert len(world.people) == 3


# ---- old


def old(world: World) -> Callable[[], None]:
    """Brings back what was stored at this moment, of reconciler and writer alike."""
    stored, identity, settled = dict(world.stored), dict(world.identity), dict(world.settled)

    def back(*, writer: bool = True) -> None:
        world.stored = dict(stored)
        world.outgoing.clear()
        if writer:
            world.identity, world.settled = dict(identity), dict(settled)
        world.restart()

    return back


def edited(world: World) -> None:
    """Both sides change, several times, and are carried over."""
    for at in range(3):
        world.contact(1, notes=f"P{at}")
        world.run(world.saw_planfix(1))
        person = world.person(world.person_of(2).resource, notes=f"G{at}")
        world.run(world.saw_google(person.resource))


@pytest.mark.parametrize("writer", [True, False], ids=["the writer's too", "the reconciler's alone"])
@pytest.mark.parametrize("mode", MODES)
def test_an_old_state_undoes_nothing_and_goes_on(mode: str, writer: bool) -> None:
    world = running(mode)
    back = old(world)
    edited(world)
    world.contact(4, given="N4", emails=email("4@x"))
    world.run(world.saw_planfix(4, member=True))
    four = world.person_of(4).resource
    back(writer=writer)  # type: ignore[call-arg]
    people = set(world.people)
    world.sync()
    world.run(rebuild())
    assert set(world.people) == people
    assert world.person_of(4).resource == four
    assert [world.planfix[n]["notes"] for n in (1, 2)] == ["P2", "G2"]
    assert [world.person_of(n).fields["notes"] for n in (1, 2)] == ["P2", "G2"]
    world.contact(1, notes="after")
    world.run(world.saw_planfix(1))
    world.person(world.person_of(2).resource, notes="after, too")
    world.run(world.saw_google(world.person_of(2).resource))
    assert world.person_of(1).fields["notes"] == "after"
    assert world.planfix[2]["notes"] == "after, too"
    at_rest(world)


@pytest.mark.parametrize("writer", [True, False], ids=["the writer's too", "the reconciler's alone"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["deleted", "unlabelled"])
def test_dismissals_made_since_are_found_again(mode: str, writer: bool, how: str) -> None:
    world = running(mode)
    back = old(world)
    two = world.person_of(2).resource
    if how == "deleted":
        del world.people[two]
        world.run(world.saw_gone(two))
    else:
        world.unlabel(two)
        world.run(world.saw_google(two))
    back(writer=writer)  # type: ignore[call-arg]
    world.run(rebuild())
    assert world.link(2).dismissed  # type: ignore[union-attr]
    world.contact(2, notes="edited")
    world.run(world.saw_planfix(2))
    assert len(world.people) == (3 if how == "deleted" else 4)
    assert how == "deleted" or not world.people[two].labels
    at_rest(world)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("found_by", ["stamp", "e-mail"])
def test_contacts_made_in_planfix_since_for_labelled_people_are_found(mode: str, found_by: str) -> None:
    world = running(mode)
    back = old(world)
    hal = world.person("people/hal", person_fields("Hal", "Ray", email="h@x"), label=True)
    world.run(world.saw_google("people/hal"))
    assert sorted(world.planfix) == [1, 2, 3, 9, 101]
    back()
    world.markers.clear()
    if found_by == "e-mail":
        hal.stamps = []
    else:
        hal.fields = {**hal.fields, "emails": ()}
        world._touch(hal)
    world.sync()
    world.run(rebuild())
    assert sorted(world.planfix) == [1, 2, 3, 9, 101]
    assert world.link(101).resource == "people/hal"  # type: ignore[union-attr]
    at_rest(world)


def test_a_create_in_planfix_that_was_under_way_in_an_old_state_is_not_repeated() -> None:
    world = running()
    world.person("people/hal", person_fields("Hal", "Ray", email="h@x"), label=True)
    world.deliver(world.saw_google("people/hal"))
    while not any(arrival.stage == "creating" for arrival in world.arrivals):
        for answer in world.answers(world.outgoing.pop(0).message):
            world.deliver(answer)
    back = old(world)
    world.run()
    assert sorted(world.planfix) == [1, 2, 3, 9, 101]
    back()
    world.markers.clear()
    world.now += 3600
    world.run(rebuild())
    assert sorted(world.planfix) == [1, 2, 3, 9, 101]


# ---- partly lost


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["sync", "rebuild"])
@pytest.mark.parametrize("which", [(1,), (9,), (1, 2, 3, 9)], ids=["one of ours", "an adopted one", "all"])
def test_lost_links_are_found_by_stamp(mode: str, how: str, which: tuple[int, ...]) -> None:
    world = running(mode)
    before, people = pairs(world), set(world.people)
    lose(world, *(f"link.{contact}" for contact in which))
    if how == "sync":
        world.sync()
    else:
        world.run(rebuild())
    assert pairs(world) == before
    assert set(world.people) == people
    assert sorted(world.planfix) == [1, 2, 3, 9]
    at_rest(world)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["deleted", "unlabelled"])
def test_a_lost_dismissal_is_found_by_what_the_writer_remembers(mode: str, how: str) -> None:
    world = running(mode)
    two = world.person_of(2).resource
    if how == "deleted":
        del world.people[two]
        world.run(world.saw_gone(two))
    else:
        world.unlabel(two)
        world.run(world.saw_google(two))
    lose(world, "link.2")
    world.stored["record"] = world.stored["record"].replace(
        f'"revisions":{world.record.revisions}'.encode(), b'"revisions":0'
    )
    world.restart()
    world.run(rebuild())
    assert world.link(2).dismissed  # type: ignore[union-attr]
    assert len(world.people) == (3 if how == "deleted" else 4)
    assert how == "deleted" or not world.people[two].labels


@pytest.mark.parametrize("mode", MODES)
def test_without_the_writers_identity_records_a_rebuild_renews_them(mode: str) -> None:
    world = running(mode)
    before = dict(world.identity)
    world.identity.clear()
    world.run(rebuild())
    assert world.identity == before
    assert not [write for write in world.writes if "update" not in write]
    at_rest(world)


# ---- a rebuild as such


@pytest.mark.parametrize("mode", MODES)
def test_a_rebuild_of_what_is_right_changes_nothing(mode: str) -> None:
    world = running(mode)
    three = world.person_of(3).resource
    del world.people[three]
    world.run(world.saw_gone(three))
    before = pairs(world)
    people = {name: (dict(p.fields), set(p.labels), list(p.stamps)) for name, p in world.people.items()}
    planfix = {number: dict(fields) for number, fields in world.planfix.items()}
    world.run(rebuild())
    assert pairs(world) == before
    assert {name: (p.fields, p.labels, p.stamps) for name, p in world.people.items()} == people
    assert world.planfix == planfix
    assert world.link(3).dismissed  # type: ignore[union-attr]
    assert world.record.last_sync is not None
    assert (world.record.last_sync["created"], world.record.last_sync["updated"]) == (0, 0)
    at_rest(world)


def test_a_link_to_nobody_is_moved_to_the_person_with_its_stamp() -> None:
    world = running()
    one = world.people.pop(world.person_of(1).resource)
    other = world.person("people/other", dict(one.fields), label=True)
    other.stamps = [Stamp(contact=1, kept=Kept.OURS)]
    world.run(rebuild())
    link = world.link(1)
    assert link is not None
    assert (link.resource, link.own, link.dismissed) == ("people/other", Kept.ADOPTED, "")
    assert not world.arrivals
    assert sorted(world.planfix) == [1, 2, 3, 9]


@pytest.mark.parametrize("state", ["paused", "first sync"])
def test_a_rebuild_is_refused_where_nothing_can_be_read(state: str) -> None:
    world = World() if state == "first sync" else running()
    refused: dict[str, str] = {}
    world.on_step = lambda step: refused.update(step.requests)
    if state == "first sync":
        world.silent.add("listing")
        world.run(enable())
    else:
        from contactsync_contracts.messages import Pause

        world.run(Pause(request_id="p", filter_id=FILTER))
    world.run(rebuild())
    assert refused["r"]


# ---- contacts that say which person they were made from


def typed(world: World, resource: str = "people/typed") -> int:
    """Somebody without an address was put under the label; the contact made of it."""
    world.person(resource, person_fields("Eve", "Typed"), label=True)
    world.sync()
    (made,) = [link.contact for link in world.links.values() if link.resource == resource]
    return made


@pytest.mark.parametrize("mode", MODES)
def test_a_contact_is_linked_with_the_person_that_it_was_made_from(mode: str) -> None:
    """Neither knows of the other any more: the stamp was taken off by hand, and what the filter knew is lost."""
    world = running(mode)
    made = typed(world)
    lose_everything(world)
    world.people["people/typed"].stamps.clear()
    world.writes.clear()
    world.run(enable())
    assert world.link(made) is not None
    assert pairs(world)[made] == ("people/typed", Kept.ADOPTED)
    assert not [write for write in world.writes if "create" in write]
    at_rest(world)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("made_by", ["another account", "another program", "a person that is gone"])
def test_what_says_nothing_of_this_account_is_an_ordinary_contact(mode: str, made_by: str) -> None:
    world = running(mode)
    world.contact(70, given="Eve", family="Typed", emails=email("eve@x"))
    world.markers[
        {
            "another account": marker_of("another", "typed"),
            "another program": "0c091b1f:typed",
            "a person that is gone": marker_of(ACCOUNT, "gone"),
        }[made_by]
    ] = 70
    world.person("people/typed", person_fields("Adam", "Other"))
    world.sync()
    assert pairs(world)[70][1] is Kept.OURS
    assert pairs(world)[70][0] != "people/typed"
    at_rest(world)
