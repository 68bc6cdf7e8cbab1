"""Merged on either side (D10, D11, D38), and links of which neither side has anything left (D37)."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import ContactState, Kept, PlanfixConfirmed, Rebuild, Stamp
from reconciler_world import FILTER, Person, World, in_mode

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def in_sync(mode: str = "steady", count: int = 2) -> World:
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.enable()
    world.writes.clear()
    return world


def merge(world: World, into: str, gone: str, *, told: bool) -> Person:
    """By a human: one person with both stamps, the other is gone; `told`: Google names it (previousResourceNames)."""
    lost = world.people.pop(gone)
    person = world.person(into, notes="merged")
    person.stamps = [*person.stamps, *lost.stamps]
    person.previous = (gone,) if told else ()
    return person


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("told", [True, False], ids=["named by Google", "by the stamps alone"])
@pytest.mark.parametrize("order", ["survivor first", "tombstone first"])
def test_two_people_merged_in_google(mode: str, told: bool, order: str) -> None:
    world = in_sync(mode)
    one, two = world.person_of(1).resource, world.person_of(2).resource
    merge(world, one, two, told=told)
    sights = [world.saw_google(one), world.saw_gone(two)]
    if told and order == "tombstone first":
        sights.reverse()
        sights[0] = sights[1]  # a look-up by name answers with the survivor
    elif order == "tombstone first":
        sights.reverse()
    for sight in sights:
        world.run(sight)
    world.sync()
    first, second = world.link(1), world.link(2)
    assert first is not None
    assert second is not None
    assert (first.resource, first.merged_into, first.dismissed) == (one, None, "")
    assert (second.merged_into, second.resource) == (1, None)
    assert [stamp.contact for stamp in world.people[one].stamps] == [1]
    assert sorted(world.planfix) == [1, 2]
    assert world.planfix[1]["notes"] == "merged"
    assert world.planfix[2]["notes"] == ""
    world.contact(2, notes="edited in Planfix")
    world.run(world.saw_planfix(2))
    world.sync()
    assert list(world.people) == [one]
    assert world.people[one].fields["notes"] == "merged"


@pytest.mark.parametrize("mode", MODES)
def test_merged_into_a_new_person_it_belongs_to_the_lower_number_and_is_adopted(mode: str) -> None:
    world = in_sync(mode)
    one, two = world.person_of(1), world.person_of(2)
    merged = world.person("people/merged", dict(one.fields), label=True, notes="both")
    merged.stamps = [*two.stamps, *one.stamps]
    del world.people[one.resource], world.people[two.resource]
    world.run(world.saw_google("people/merged"))
    world.sync()
    first, second = world.link(1), world.link(2)
    assert first is not None
    assert second is not None
    assert (first.resource, first.own, second.merged_into) == ("people/merged", Kept.ADOPTED, 1)
    assert merged.stamps == [Stamp(contact=1, kept=Kept.ADOPTED)]
    assert list(world.people) == ["people/merged"]
    assert world.planfix[1]["notes"] == "both"
    assert not world.arrivals


@pytest.mark.parametrize("mode", MODES)
def test_a_person_that_a_link_moved_to_stays_when_its_contact_leaves(mode: str) -> None:
    world = in_sync(mode)
    one = world.person_of(1)
    private = world.person("people/private", dict(one.fields), label=True, notes="mine, too")
    private.stamps, private.previous = list(one.stamps), (one.resource,)
    del world.people[one.resource]
    world.run(world.saw_google("people/private"))
    assert world.link(1).own is Kept.ADOPTED  # type: ignore[union-attr]
    world.members.discard(1)
    world.run(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,)))
    assert world.link(1) is None
    assert "people/private" in world.people
    assert not world.people["people/private"].labels


def test_a_copy_of_a_person_takes_nothing_over_while_the_first_is_there() -> None:
    world = in_sync()
    one = world.person_of(1)
    copy = world.person("people/copy", dict(one.fields), label=True)
    copy.stamps = list(one.stamps)
    world.run(world.saw_google("people/copy"))
    world.sync()
    assert world.link(1).resource == one.resource  # type: ignore[union-attr]
    assert [arrival.state for arrival in world.arrivals] == ["possible_duplicate"]
    assert not world.writes
    del world.people[one.resource]
    world.run(world.saw_gone(one.resource))
    world.sync()
    assert world.link(1).resource == "people/copy"  # type: ignore[union-attr]
    assert not world.arrivals
    assert sorted(world.planfix) == [1, 2]


def test_a_link_never_moves_to_a_person_that_is_another_contacts() -> None:
    world = in_sync()
    one, two = world.person_of(1), world.person_of(2)
    two.stamps = [*two.stamps, *one.stamps]
    world.run(world.saw_google(two.resource))
    assert world.link(1).resource == one.resource  # type: ignore[union-attr]
    assert world.link(2).resource == two.resource  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
def test_two_contacts_merged_in_planfix(mode: str) -> None:
    world = in_sync(mode)
    survivor, other = world.person_of(1).resource, world.person_of(2).resource
    del world.planfix[2]
    world.members.discard(2)
    world.contact(1, emails=(*email("1@x"), *email("2@x")))
    world.run(world.saw_planfix(1, member=True))
    world.sync()
    assert world.link(1).resource == survivor  # type: ignore[union-attr]
    assert world.link(2) is None
    assert other not in world.people
    assert len(world.people[survivor].fields["emails"]) == 2
    world.sync()
    assert list(world.people) == [survivor]


# ---- collected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["deleted", "merged"])
def test_a_link_that_neither_side_has_any_more_is_collected(mode: str, how: str) -> None:
    world = in_sync(mode, 3)
    one, two = world.person_of(1).resource, world.person_of(2).resource
    if how == "deleted":
        del world.people[two]
        world.run(world.saw_gone(two))
    else:
        merge(world, one, two, told=True)
        world.run(world.saw_google(one))
    assert world.link(2) is not None
    del world.planfix[2]
    world.members.discard(2)
    world.sync()
    assert world.link(2) is None
    assert world.record.counts == {ContactState.IN_SYNC.value: 2}


def test_a_dismissed_contact_that_only_left_the_list_is_remembered() -> None:
    world = in_sync()
    two = world.person_of(2).resource
    del world.people[two]
    world.run(world.saw_gone(two))
    world.members.discard(2)
    world.sync()
    world.run(Rebuild(request_id="r", filter_id=FILTER))
    assert world.link(2).dismissed  # type: ignore[union-attr]
    world.members.add(2)
    world.sync()
    assert world.link(2).dismissed  # type: ignore[union-attr]
    assert len(world.people) == 1


def test_a_dismissed_contact_whose_person_is_still_there_is_remembered() -> None:
    world = in_sync()
    two = world.person_of(2).resource
    world.unlabel(two)
    world.run(world.saw_google(two))
    del world.planfix[2]
    world.members.discard(2)
    world.sync()
    assert world.link(2).dismissed  # type: ignore[union-attr]
