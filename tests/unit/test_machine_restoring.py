"""Conversations with the machine: dismissals and their end, mass deletions, refused contacts tried again."""

from __future__ import annotations

import pytest

from contactsync.reconciler.core import reasons
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    ContactHeldBack,
    FilterState,
    LabelObserved,
    Restore,
    Resume,
    Stamp,
)
from reconciler_world import ACCOUNT, FILTER, LABEL, World, in_mode, person_fields

modes = pytest.mark.parametrize("mode", ["steady", "restarts", "crashes"])


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def in_sync(count: int = 2, mode: str = "steady") -> World:
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.enable()
    world.writes.clear()
    return world


def resource(world: World, contact: int = 1) -> str:
    return world.person_of(contact).resource


def delete(world: World, *contacts: int, told: bool = True) -> tuple[str, ...]:
    names = tuple(resource(world, contact) for contact in contacts)
    for name in names:
        del world.people[name]
    world.now += 1
    if told:
        world.run(world.saw_gone(*names))
    return names


def restore(world: World, contact: int | None = None) -> str:
    world._serial += 1
    request = f"restore{world._serial}"
    world.run(Restore(request_id=request, filter_id=FILTER, contact=contact))
    return world.refused.get(request, "")


def dismissed(world: World) -> set[int]:
    return {contact for contact, link in world.links.items() if link.dismissed}


# --- restore ----------------------------------------------------------------------------------------------


@modes
def test_a_deleted_person_is_created_anew_by_restore_once(mode: str) -> None:
    world = in_sync(3, mode)
    delete(world, 1)
    assert dismissed(world) == {1}
    assert world.link(1).dismissed == reasons.DELETED  # type: ignore[union-attr]
    assert restore(world, 1) == ""
    assert world.writes == ["google ensure 1"]
    assert world.person_of(1).fields["given"] == "N1"
    assert LABEL in world.person_of(1).labels
    assert "nothing to restore" in restore(world, 1)
    world.sync()
    assert world.writes == ["google ensure 1"]


@modes
def test_an_unlabelled_person_gets_its_label_back_and_is_merged_without_a_base(mode: str) -> None:
    world = in_sync(3, mode)
    person = resource(world)
    world.unlabel(person)
    world.run(world.saw_google(person))
    assert dismissed(world) == {1}
    world.person(person, notes="G", given="Ann")
    world.contact(1, birthday="2000-01-01", given="Anna")
    world.run(world.saw_google(person), world.saw_planfix(1))
    assert not world.writes
    assert restore(world, 1) == ""
    both = (world.planfix[1], world.people[person].fields)
    assert [(one["notes"], one["given"]) for one in both] == [("G", "Anna")] * 2
    assert LABEL in world.people[person].labels
    assert len(world.people) == 3


@modes
def test_all_dismissed_contacts_come_back_in_chunks(mode: str) -> None:
    world = in_sync(10, mode)
    for contact in (1, 3, 5):
        delete(world, contact)
        world.now += 400
    unlabelled = resource(world, 7)
    world.unlabel(unlabelled)
    world.run(world.saw_google(unlabelled))
    assert dismissed(world) == {1, 3, 5, 7}
    assert restore(world) == ""
    assert dismissed(world) == set()
    assert sorted(world.writes) == ["google ensure 1", "google ensure 3", "google ensure 5", "google update 7"]
    assert world.record.sweeps == {}
    assert len(world.people) == 10
    assert restore(world) == "", "nobody is left, and that is fine"


@modes
def test_restoring_a_contact_that_left_the_filter_only_forgets_that_it_was_dismissed(mode: str) -> None:
    world = in_sync(3, mode)
    delete(world, 1)
    world.members.discard(1)
    world.sync()
    assert dismissed(world) == {1}
    assert restore(world, 1) == ""
    assert 1 not in world.links
    assert not world.writes
    world.members.add(1)
    world.sync()
    assert world.writes == ["google ensure 1"]


@modes
def test_a_refused_contact_is_tried_again_by_restore(mode: str) -> None:
    world = in_sync(2, mode)
    world.refuse[1] = "Google does not like it."
    world.contact(1, notes="bad")
    world.run(world.saw_planfix(1))
    assert world.link(1).hold.state == "quarantined"  # type: ignore[union-attr]
    world.refuse.clear()
    assert restore(world, 1) == ""
    assert world.writes == ["google update 1"]
    assert world.person_of(1).fields["notes"] == "bad"


def test_what_cannot_be_restored_is_refused_with_a_reason() -> None:
    world = in_sync(4)
    survivor, other = resource(world, 1), resource(world, 2)
    person = world.person(survivor)
    person.previous = (other,)
    del world.people[other]
    world.run(world.saw_google(survivor))
    assert restore(world, 2) == reasons.merged_away(2, 1)
    assert restore(world, 99) == reasons.not_here(99)
    assert "nothing to restore" in restore(world, 3)


def test_a_possible_duplicate_has_to_be_decided_instead() -> None:
    world = World()
    world.contact(1, emails=email("1@x"))
    for name in ("people/c1", "people/c2"):
        world.person(name, person_fields(email="1@x"))
    world.enable()
    assert "decide" in restore(world, 1)


# --- refused contacts -------------------------------------------------------------------------------------


@modes
def test_a_sync_tries_refused_contacts_again_and_the_same_refusal_is_reported_once(mode: str) -> None:
    world = in_sync(2, mode)
    world.refuse[1] = "Google does not like it."
    world.contact(1, notes="bad")
    world.run(world.saw_planfix(1))

    def told() -> set[str]:
        return {event.reason for event in world.events if isinstance(event, ContactHeldBack)}

    assert told() == {reasons.refused("google", "Google does not like it.")}
    revision = world.link(1).revision  # type: ignore[union-attr]
    world.events.clear()
    world.sync()
    assert world.link(1).revision == revision + 1, "it was tried"  # type: ignore[union-attr]
    assert told() == set()
    world.refuse[1] = "Now for another reason."
    world.sync()
    assert told() == {reasons.refused("google", "Now for another reason.")}
    world.refuse.clear()
    world.sync()
    assert world.writes == ["google update 1"]
    world.refuse[1] = "Now for another reason."
    world.events.clear()
    world.contact(1, notes="worse")
    world.run(world.saw_planfix(1))
    assert told() == {reasons.refused("google", "Now for another reason.")}, "it had gone well meanwhile"


# --- many at once -----------------------------------------------------------------------------------------


@modes
def test_most_people_deleted_at_once_freezes_and_resume_creates_them_anew(mode: str) -> None:
    world = in_sync(5, mode)
    delete(world, 1, 2, 3)
    assert world.state() is FilterState.FROZEN
    assert "3 people" in world.record.problem_reason
    assert not dismissed(world)
    assert not world.writes
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC
    assert sorted(world.writes) == ["google ensure 1", "google ensure 2", "google ensure 3"]
    assert len(world.people) == 5
    world.sync()
    assert len(world.writes) == 3


@modes
def test_deletions_and_lost_labels_are_counted_together(mode: str) -> None:
    world = in_sync(5, mode)
    world.now += 1000
    gone = delete(world, 1, 2, told=False)
    person = resource(world, 3)
    world.unlabel(person)
    world.run(world.saw_gone(*gone), world.saw_google(person))
    assert world.state() is FilterState.FROZEN
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert sorted(world.writes) == ["google ensure 1", "google ensure 2", "google update 3"]
    assert not dismissed(world)


@modes
def test_deletions_that_are_told_page_by_page_are_counted_by_the_label(mode: str) -> None:
    world = in_sync(6, mode)
    world.now += 1000
    gone = delete(world, 1, 2, 3, 4, told=False)
    world.run(world.saw_gone(gone[0]))
    assert world.state() is FilterState.FROZEN
    world.run(world.saw_gone(*gone[1:]))
    assert not dismissed(world)
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert sorted(world.writes) == [f"google ensure {number}" for number in (1, 2, 3, 4)]


@modes
def test_a_count_that_lags_does_not_let_a_mass_deletion_through(mode: str) -> None:
    """Each page alone is few, and the label's count still shows everybody."""
    world = in_sync(6, mode)
    world.now += 1000
    gone = delete(world, 1, 2, 3, 4, told=False)
    world.silent = {"label"}
    for name in gone:
        world.deliver(world.saw_gone(name))
        world.outgoing.clear()
        world.now += 1
        label = LabelObserved(
            filter_id=FILTER, account=ACCOUNT, seen_at=world.now, label=LABEL, exists=True, members=6
        )
        world.deliver(label)
        world.outgoing.clear()
    assert world.state() is FilterState.FROZEN
    assert not dismissed(world)
    world.silent = set()
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert sorted(world.writes) == [f"google ensure {number}" for number in (1, 2, 3, 4)]
    assert len(world.people) == 6


@modes
def test_a_single_deletion_is_dismissed_after_the_label_was_looked_at(mode: str) -> None:
    world = in_sync(5, mode)
    name = resource(world)
    del world.people[name]
    world.now += 1
    said = world.deliver(world.saw_gone(name))
    assert [out.message.what for out in said] == ["label"]  # type: ignore[attr-defined]
    assert not dismissed(world)
    world.run()
    assert dismissed(world) == {1}
    assert world.state() is FilterState.IN_SYNC


@modes
def test_a_deletion_found_by_the_writer_counts_like_any_other(mode: str) -> None:
    world = in_sync(5, mode)
    delete(world, 1, 2, 3, told=False)
    for number in (1, 2, 3):
        world.contact(number, notes="new")
    world.run(world.saw_planfix(1, 2, 3))
    assert world.state() is FilterState.FROZEN
    assert not dismissed(world)
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert sorted(world.writes) == ["google ensure 1", "google ensure 2", "google ensure 3"]


@modes
def test_a_person_back_from_the_bin_before_the_look_is_not_dismissed(mode: str) -> None:
    world = in_sync(5, mode)
    person = world.person_of(1)
    page = world.saw_google(person.resource)
    del world.people[person.resource]
    world.now += 1
    world.deliver(world.saw_gone(person.resource))
    world.people[person.resource] = person
    world.run(page)
    assert not dismissed(world)
    assert world.link(1).gone_at == 0  # type: ignore[union-attr]
    assert not world.writes


@modes
def test_an_old_page_does_not_bring_a_deleted_person_back(mode: str) -> None:
    world = in_sync(5, mode)
    page = world.saw_google(resource(world))
    delete(world, 1)
    world.run(page)
    assert dismissed(world) == {1}
    world.run(page, world.saw_gone(*(p.resource for p in page.people)))
    assert dismissed(world) == {1}
    assert not world.writes


@modes
def test_a_deleted_person_whose_contact_left_is_forgotten(mode: str) -> None:
    world = in_sync(5, mode)
    world.members.discard(1)
    delete(world, 1, 2, 3, told=False)
    world.sync()
    assert world.state() is FilterState.FROZEN
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert sorted(world.writes) == ["google ensure 2", "google ensure 3"]
    assert set(world.links) == {2, 3, 4, 5}


def test_a_deleted_label_and_deleted_people_come_back_together() -> None:
    world = in_sync(5)
    gone = delete(world, 1, 2, told=False)
    world.delete_label()
    world.run(world.saw_gone(*gone))
    assert world.state() is FilterState.FROZEN
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC
    assert len(world.people) == 5
    assert all(world.label_name in person.labels for person in world.people.values())
    assert not dismissed(world)


def test_a_restored_person_keeps_its_stamp_alone() -> None:
    world = in_sync(2)
    delete(world, 1)
    restore(world, 1)
    assert [stamp.contact for stamp in world.person_of(1).stamps] == [1]
    assert isinstance(world.person_of(1).stamps[0], Stamp)
