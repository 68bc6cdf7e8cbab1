"""Conversations with the machine: edits, leaving, dismissals, people labelled by hand, order and replays."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    ChangeSettings,
    FilterObserved,
    FilterProblem,
    FilterState,
    Handover,
    Kept,
    LabelObserved,
    LabelSettled,
    Mutate,
    Outcome,
    Pause,
    PlanfixConfirmed,
    PlanfixListed,
    Resume,
    Settled,
    SettledItem,
    Stamp,
)
from reconciler_world import ACCOUNT, FILTER, LABEL, LAST, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def in_sync(count: int = 1, mode: str = "steady") -> World:
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.enable()
    world.writes.clear()
    return world


def resource(world: World, contact: int = 1) -> str:
    return world.person_of(contact).resource


@pytest.mark.parametrize("mode", MODES)
def test_edits_of_both_sides_reach_the_other(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="from Planfix", phones=phones("+1"))
    person = world.person(resource(world), given="Anna", phones=phones("+2"))
    world.run(world.saw_google(person.resource), world.saw_planfix(1))
    for side in (world.planfix[1], world.people[person.resource].fields):
        assert (side["notes"], side["given"]) == ("from Planfix", "Anna")
        assert sorted(side["phones"], key=str) == list(phones("+1", "+2"))
    assert world.writes == ["planfix update 1", "google update 1"]
    world.sync()
    assert len(world.writes) == 2


def test_an_edit_during_a_write_is_merged_again_and_not_overwritten() -> None:
    world = in_sync()
    world.contact(1, phones=phones("+1"))
    world.deliver(world.saw_planfix(1))
    person = world.person(resource(world), phones=phones("+2"))
    world.deliver(world.saw_google(person.resource))
    world.run()
    world.run(world.saw_google(person.resource))
    expected = {"+1", "+2"}
    assert {e.key for e in world.planfix[1]["phones"] if isinstance(e, Element)} == expected
    assert {e.key for e in world.people[person.resource].fields["phones"] if isinstance(e, Element)} == expected


def test_a_write_said_again_after_a_restart_has_the_etag_that_it_was_decided_on() -> None:
    world = in_sync()
    world.contact(1, phones=phones("+1"))
    lost = world.deliver(world.saw_planfix(1))
    world.outgoing.clear()
    person = world.person(resource(world), phones=phones("+2"))
    world.restart()
    again = world.deliver(world.saw_google(person.resource))
    first, second = (one for said in (lost, again) for out in said if isinstance(one := out.message, Mutate))
    assert [m.mutation_id for m in first.google] == [m.mutation_id for m in second.google]
    assert [m.etag for m in first.google] == [m.etag for m in second.google]
    world.run()
    assert {e.key for e in world.planfix[1]["phones"] if isinstance(e, Element)} == {"+1", "+2"}


def test_a_loser_of_a_conflict_stands_in_the_history() -> None:
    world = in_sync()
    world.contact(1, notes="P")
    person = world.person(resource(world), notes="G")
    world.run(world.saw_planfix(1), world.saw_google(person.resource))
    assert world.planfix[1]["notes"] == world.people[person.resource].fields["notes"] == "P"
    assert [entry["lost"] for _, _, entry in world.history if "lost" in entry] == [{"notes": ["google", "G"]}]


def test_an_edit_in_google_that_loses_while_its_contact_leaves_stands_in_the_history() -> None:
    world = in_sync(3)
    world.contact(1, notes="P")
    world.members.discard(1)
    person = world.person(resource(world), notes="G")
    gone = PlanfixConfirmed(filter_id=FILTER, seen_at=world.now + 5, gone=(1,))
    world.run(world.saw_planfix(1, at=world.now + 4), world.saw_google(person.resource), gone)
    assert person.resource not in world.people
    assert [entry["lost"] for _, _, entry in world.history if "lost" in entry] == [{"notes": ["google", "G"]}]


def test_an_edit_whose_carrying_over_was_answered_from_memory_is_not_taken_back() -> None:
    """The writer was killed between its write to Planfix and the answer; said again, it has no content to show."""
    world = in_sync()
    person = world.person(resource(world), notes="G", phones=phones("+2"))
    said = world.deliver(world.saw_google(person.resource))
    lost = [answer for out in said for answer in world.answers(out.message)]
    assert lost
    assert world.planfix[1]["notes"] == "G"
    world.outgoing.clear()
    world.restart()
    world.deliver()
    world.run()
    assert world.writes == ["planfix update 1"]
    assert world.planfix[1] == person.fields
    world.sync()
    assert world.writes == ["planfix update 1"]


def test_the_earlier_edit_does_not_win_because_the_later_was_seen_again_since() -> None:
    """Edited in Planfix, then in Google, both seen during a pause; meanwhile Planfix was listed again."""
    world = in_sync()
    world.run(Pause(request_id="p", filter_id=FILTER))
    world.contact(1, notes="P")
    world.run(world.saw_planfix(1))
    touched = world.person(resource(world))
    world.run(world.saw_google(touched.resource))
    person = world.person(resource(world), notes="G")
    world.run(world.saw_google(person.resource))
    world.now += 60
    world.run(world.saw_planfix(1))
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.planfix[1]["notes"] == person.fields["notes"] == "G"


def test_a_name_cleared_in_google_is_restored_there() -> None:
    world = in_sync()
    world.person(resource(world), given="")
    world.run(world.saw_google(resource(world)))
    assert world.planfix[1]["given"] == world.person_of(1).fields["given"] == "N1"
    assert not world.link(1).open  # type: ignore[union-attr]


def test_read_only_in_planfix_restores_google() -> None:
    world = in_sync()
    world.read_only.add(1)
    world.person(resource(world), notes="mine")
    world.run(world.saw_google(resource(world)))
    assert world.planfix[1]["notes"] == world.person_of(1).fields["notes"] == ""


def read_only_then_allowed() -> World:
    world = in_sync()
    world.read_only.add(1)
    world.person(resource(world), notes="mine")
    world.run(world.saw_google(resource(world)))
    world.read_only.clear()
    world.writes.clear()
    return world


def test_an_edit_reaches_planfix_after_the_right_was_given_and_a_human_asked_for_a_sync() -> None:
    world = read_only_then_allowed()
    world.sync()
    assert not world.writes, "nothing is written for trying again alone"
    world.person(resource(world), notes="again")
    world.run(world.saw_google(resource(world)))
    assert world.planfix[1]["notes"] == "again"


def test_the_right_to_edit_is_tried_again_after_a_day_without_anybody_asking() -> None:
    world = read_only_then_allowed()
    world.sync()
    world.read_only.add(1)
    world.person(resource(world), notes="again")
    world.run(world.saw_google(resource(world)))
    assert world.link(1).read_only  # type: ignore[union-attr]

    def listed() -> PlanfixListed:
        return PlanfixListed(filter_id=FILTER, began_at=world.now, low=1, high=99, members=(1,), last=True)

    world.run(listed())
    assert world.link(1).read_only, "not at every listing"  # type: ignore[union-attr]
    world.now += 86_400
    world.run(listed())
    assert not world.link(1).read_only  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
def test_an_edit_whose_contact_one_answer_lacked_goes_on_when_a_listing_has_it_again(mode: str) -> None:
    world = in_sync(2, mode)
    hidden = world.planfix.pop(1)
    world.silent.add("confirm")
    world.person(resource(world), notes="typed")
    world.run(world.saw_google(resource(world)))
    world.run(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, undecided=(1,)))
    held = world.link(1)
    assert held is not None
    assert held.hold is not None
    world.planfix[1] = hidden
    world.run(PlanfixListed(filter_id=FILTER, began_at=world.now, low=1, high=1, members=(), last=True))
    assert world.link(1) == held
    world.run(PlanfixListed(filter_id=FILTER, began_at=world.now, low=1, high=9, members=(1, 2), last=True))
    assert world.planfix[1]["notes"] == "typed"
    assert world.link(1).hold is None  # type: ignore[union-attr]


def test_one_way_restores_planfix_in_google() -> None:
    world = in_sync()
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, two_way=False))
    world.person(resource(world), notes="mine", phones=phones("+2"))
    world.run(world.saw_google(resource(world)))
    assert world.planfix[1] == world.person_of(1).fields
    assert world.planfix[1]["notes"] == ""


@pytest.mark.parametrize("mode", MODES)
def test_edits_from_the_time_when_a_filter_was_one_way_lose_and_later_ones_do_not(mode: str) -> None:
    world = in_sync(1, mode)
    world.run(ChangeSettings(request_id="s1", filter_id=FILTER, two_way=False))
    world.person(resource(world), notes="meanwhile", phones=phones("+2"))
    world.run(ChangeSettings(request_id="s2", filter_id=FILTER, two_way=True))
    world.run(world.saw_google(resource(world)))
    assert world.planfix[1] == world.person_of(1).fields
    assert (world.planfix[1]["notes"], world.planfix[1]["phones"]) == ("", ())
    lost = {name: value for *_, entry in world.history for name, value in entry.get("lost", {}).items()}  # type: ignore[attr-defined]
    assert lost == {"notes": ["google", "meanwhile"], "phones:+2": ["google", "+2"]}
    world.now += 1
    world.person(resource(world), notes="later", phones=phones("+3"))
    world.run(world.saw_google(resource(world)))
    assert (world.planfix[1]["notes"], world.planfix[1]["phones"]) == ("later", phones("+3"))


def test_edits_seen_during_a_pause_lose_when_the_filter_was_one_way_then() -> None:
    world = in_sync()
    world.run(ChangeSettings(request_id="s1", filter_id=FILTER, two_way=False))
    world.run(Pause(request_id="p", filter_id=FILTER))
    world.person(resource(world), notes="meanwhile")
    world.run(world.saw_google(resource(world)))
    world.run(ChangeSettings(request_id="s2", filter_id=FILTER, two_way=True))
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.planfix[1]["notes"] == world.person_of(1).fields["notes"] == ""


# --- leaving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_contact_that_left_goes_and_comes_back(mode: str) -> None:
    world = in_sync(3, mode)
    page = world.saw_planfix(1, member=True)
    world.members.discard(1)
    world.sync()
    assert world.writes == ["google remove 1"]
    assert set(world.links) == {2, 3}
    world.run(page)
    assert set(world.links) == {2, 3}, "an old page brings nobody back"
    world.members.add(1)
    world.sync()
    assert world.writes == ["google remove 1", "google ensure 1"]
    assert len(world.people) == 3


def test_an_edit_in_google_at_the_same_time_is_merged_first() -> None:
    world = in_sync(3)
    world.members.discard(1)
    person = world.person(resource(world), notes="last words")
    gone = PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,))
    world.deliver(world.saw_google(person.resource), gone)
    world.run()
    assert world.planfix[1]["notes"] == "last words"
    assert person.resource not in world.people


def test_an_edit_that_finds_planfix_changed_while_leaving_is_merged_again() -> None:
    world = in_sync(3)
    world.members.discard(1)
    world.contact(1, notes="other")
    world.members.discard(1)
    person = world.person(resource(world), given="Anna", notes="mine")
    world.run(world.saw_google(person.resource), PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,)))
    assert world.planfix[1]["given"] == "Anna"
    assert person.resource not in world.people


def test_an_older_confirmation_does_not_remove_a_member_seen_since() -> None:
    world = in_sync()
    gone = PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,))
    world.now += 10
    world.run(world.saw_planfix(1, member=True))
    world.run(gone)
    assert world.link(1) is not None
    assert not world.writes


def test_undecided_removes_nothing() -> None:
    world = in_sync()
    world.run(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, undecided=(1,)))
    assert world.link(1) is not None
    assert not world.writes


def test_an_empty_list_of_a_filled_filter_removes_nothing() -> None:
    world = in_sync(12)
    empty = PlanfixListed(filter_id=FILTER, began_at=world.now + 9, low=1, high=99, members=(), last=True)
    assert world.deliver(empty) == []
    assert len(world.links) == 12


def test_a_refused_removal_is_not_asked_for_again_and_again() -> None:
    world = in_sync(3)
    world.refuse[1] = "no"
    world.members.discard(1)
    world.sync()
    link = world.link(1)
    assert link is not None
    assert link.hold is not None
    assert link.hold.state == "quarantined"


def test_a_contact_labelled_by_hand_and_trashed_in_planfix_comes_to_rest() -> None:
    world = in_sync(1)
    world.contact(5, given="Eve", emails=email("5@x"))
    world.members.discard(5)
    world.person("people/c5", person_fields("Eve", email="5@x"), label=True)
    world.run(world.saw_google("people/c5"))
    del world.planfix[5]
    world.person("people/c5", notes="edit")
    world.run(world.saw_google("people/c5"))
    link = world.link(5)
    assert link is not None
    assert link.hold is not None
    assert link.hold.reason == "Its contact is not in Planfix any more, or you cannot see it."
    assert "people/c5" in world.people


# --- dismissals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_person_deleted_in_google_is_dismissed_and_planfix_untouched(mode: str) -> None:
    world = in_sync(2, mode)
    gone, before = resource(world), dict(world.planfix)
    old = world.saw_google(gone)
    del world.people[gone]
    world.now += 1
    world.run(world.saw_gone(gone))
    world.contact(1, notes="later edit")
    world.run(world.saw_planfix(1), old)
    world.sync()
    assert world.link(1).dismissed  # type: ignore[union-attr]
    assert not world.writes
    assert world.planfix[2] == before[2]
    world.members.discard(1)
    world.sync()
    world.members.add(1)
    world.sync()
    assert not world.writes, "a dismissal survives leaving and re-entering"


def test_a_label_put_on_a_new_person_ends_the_dismissal() -> None:
    world = in_sync(2)
    gone = resource(world)
    del world.people[gone]
    world.now += 1
    world.run(world.saw_gone(gone))
    world.person("people/c9", person_fields("N1", email="1@x"), label=True)
    world.run(world.saw_google("people/c9"))
    link = world.link(1)
    assert link is not None
    assert (link.resource, link.dismissed) == ("people/c9", "")


@pytest.mark.parametrize("mode", MODES)
def test_a_label_taken_off_dismisses_after_the_label_was_looked_up_and_putting_it_back_ends_it(
    mode: str,
) -> None:
    world = in_sync(2, mode)
    person = resource(world)
    world.unlabel(person)
    said = world.deliver(world.saw_google(person))
    assert not world.link(1).dismissed  # type: ignore[union-attr]
    assert [out.message.what for out in said] == ["label"]  # type: ignore[attr-defined]
    world.run()
    assert world.link(1).dismissed  # type: ignore[union-attr]
    assert person in world.people
    world.person(person, label=True)
    world.run(world.saw_google(person))
    assert not world.link(1).dismissed  # type: ignore[union-attr]
    assert not world.writes


def test_a_label_taken_off_during_a_write_is_not_forgotten() -> None:
    world = in_sync(2)
    world.contact(1, notes="new")
    world.deliver(world.saw_planfix(1))
    message = world.outgoing.pop(0).message
    (answer,) = world.answers(message)
    person = resource(world)
    world.unlabel(person)
    world.deliver(world.saw_google(person))
    world.deliver(answer)
    world.run()
    assert world.link(1).dismissed  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
def test_most_of_the_labels_gone_at_once_freezes_the_filter_until_resume_puts_them_back(mode: str) -> None:
    world = in_sync(5, mode)
    people = [resource(world, number) for number in (1, 2, 3)]
    for person in people:
        world.unlabel(person)
    world.run(world.saw_google(*people))
    assert world.state() is FilterState.FROZEN
    assert not any(link.dismissed for link in world.links.values())
    assert not world.writes
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC
    assert all(LABEL in person.labels for person in world.people.values())
    assert world.writes == ["google update 1", "google update 2", "google update 3"]


def test_labels_that_are_lost_page_by_page_are_counted_together() -> None:
    world = in_sync(6)
    world.now += 1000
    for number in (1, 2, 3, 4):
        world.unlabel(resource(world, number))
    late = world.saw_google(resource(world, 3), resource(world, 4))
    world.run(world.saw_google(resource(world, 1)))
    assert world.state() is FilterState.FROZEN, "the label says how many are gone, one page does not"
    world.run(world.saw_google(resource(world, 2)))
    world.run(Resume(request_id="r", filter_id=FILTER))
    world.run(late)
    assert world.state() is FilterState.IN_SYNC
    assert not any(link.dismissed for link in world.links.values())
    assert all(LABEL in person.labels for person in world.people.values())
    world.unlabel(resource(world, 1))
    world.run(world.saw_google(resource(world, 1)))
    assert world.link(1).dismissed, "after the restoration a label taken off counts again"  # type: ignore[union-attr]


def test_people_written_a_moment_ago_need_not_be_in_the_count_of_the_label() -> None:
    world = in_sync(6)
    world.unlabel(resource(world, 1))
    world.deliver(world.saw_google(resource(world, 1)))
    world.outgoing.clear()
    lagging = LabelObserved(
        filter_id=FILTER, account=ACCOUNT, seen_at=world.now + 1, label=LABEL, exists=True, members=1
    )
    world.run(lagging)
    assert world.state() is FilterState.IN_SYNC
    assert world.link(1).dismissed  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
def test_a_deleted_label_freezes_the_filter_until_resume_makes_it_again_with_everybody_under_it(mode: str) -> None:
    world = in_sync(7, mode)
    world.delete_label()
    world.now += 1
    world.run(world.saw_google(resource(world)))
    assert world.state() is FilterState.FROZEN
    assert not any(link.dismissed for link in world.links.values())
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC
    assert world.record.label == world.label_name != LABEL
    assert all(world.label_name in person.labels for person in world.people.values())
    assert sorted(world.writes) == [f"google update {number}" for number in range(1, 8)]
    world.sync()
    assert len(world.writes) == 7


def test_a_frozen_filter_stays_frozen_behind_a_problem_and_a_pause() -> None:
    world = in_sync(2)
    world.delete_label()
    world.run(world.saw_google(resource(world)))
    gone = FilterObserved(filter_id=FILTER, seen_at=world.now, problem=FilterProblem.FILTER_GONE)
    world.run(gone, FilterObserved(filter_id=FILTER, seen_at=world.now + 1, name="Clients", owner=7))
    assert world.state() is FilterState.FROZEN
    world.run(Pause(request_id="p", filter_id=FILTER))
    world.run(Resume(request_id="r1", filter_id=FILTER))
    assert world.state() is FilterState.FROZEN
    world.run(Resume(request_id="r2", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC


def test_a_label_that_google_refuses_is_asked_for_again_by_resume() -> None:
    world = in_sync(2)
    world.deliver(FilterObserved(filter_id=FILTER, seen_at=world.now, name="Other", owner=7))
    pending = world.record.label_pending
    world.outgoing.clear()
    refused = LabelSettled(mutation_id=pending, outcome=Outcome.REFUSED, reason="No such name.")
    world.run(Settled(filter_id=FILTER, target=ACCOUNT, answered_at=world.now, label=refused))
    assert (world.state(), world.record.problem_reason) == (FilterState.FROZEN, "No such name.")
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC
    assert not world.writes


def test_a_look_at_the_label_from_before_counts_for_nothing() -> None:
    world = in_sync(2)
    before = LabelObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now, label=LABEL, exists=True)
    other = LabelObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now + 99, label="old", exists=False)
    world.label = False
    world.unlabel(resource(world))
    world.deliver(world.saw_google(resource(world)), before, other)
    assert not world.link(1).dismissed  # type: ignore[union-attr]
    assert world.record.problem == ""
    world.run()
    assert world.state() is FilterState.FROZEN


def test_two_people_merged_in_google_end_the_other_link() -> None:
    world = in_sync(2)
    survivor, other = resource(world, 1), resource(world, 2)
    person = world.person(survivor)
    person.previous = (other,)
    person.stamps += [Stamp(contact=2, kept=Kept.OURS)]
    del world.people[other]
    world.run(world.saw_google(survivor), world.saw_gone(other))
    assert world.link(2).merged_into == 1  # type: ignore[union-attr]
    world.sync()
    assert len(world.people) == 1
    assert not any("ensure" in write for write in world.writes)


def test_a_strangers_person_that_ours_was_merged_into_is_not_deleted_when_the_contact_leaves() -> None:
    world = in_sync(3)
    name = resource(world, 1)
    survivor = world.person("people/c9", person_fields("N1", "Lee", email="1@x", notes="mine"), label=True)
    survivor.previous, survivor.stamps = (name,), [Stamp(contact=1, kept=Kept.OURS)]
    del world.people[name]
    world.run(world.saw_google("people/c9"), world.saw_gone(name))
    assert world.link(1).own is Kept.ADOPTED  # type: ignore[union-attr]
    assert survivor.stamps == [Stamp(contact=1, kept=Kept.ADOPTED)]
    world.members.discard(1)
    world.sync()
    assert "people/c9" in world.people
    assert LABEL not in survivor.labels


def test_two_people_merged_into_a_new_name() -> None:
    world = in_sync(2)
    names = resource(world, 1), resource(world, 2)
    person = world.person("people/c9", person_fields("N1", email="1@x"), label=True)
    person.previous, person.stamps = names, [Stamp(contact=1, kept=Kept.OURS), Stamp(contact=2, kept=Kept.OURS)]
    for name in names:
        del world.people[name]
    world.run(world.saw_gone(*names), world.saw_google("people/c9"))
    assert world.link(1).resource == "people/c9"  # type: ignore[union-attr]
    assert world.link(2).merged_into == 1  # type: ignore[union-attr]


# --- people labelled by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_labelled_person_is_created_in_planfix_once(mode: str) -> None:
    world = in_sync(1, mode)
    world.person("people/c9", person_fields("Carl", "Day", email="c@x"), label=True)
    world.run(world.saw_google("people/c9"))
    assert world.planfix[101]["given"] == "Carl"
    assert world.person_of(101).resource == "people/c9"
    assert world.people["people/c9"].stamps == [Stamp(contact=101, kept=Kept.ADOPTED)]
    assert world.writes.count("planfix create 101") == 1
    assert not world.arrivals
    world.sync()
    assert len(world.people) == 2


def test_a_labelled_person_is_linked_to_the_matching_contact_and_never_bounced_out() -> None:
    world = in_sync(1)
    world.contact(5, given="Eve", emails=email("5@x"), notes="P")
    world.members.discard(5)
    world.person("people/c5", person_fields("Eve", email="5@x"), label=True)
    world.run(world.saw_google("people/c5"))
    world.sync()
    link = world.link(5)
    assert link is not None
    assert (link.resource, link.member, bool(link.kept)) == ("people/c5", False, True)
    assert LABEL in world.people["people/c5"].labels
    assert world.people["people/c5"].fields["notes"] == "P"


def test_one_way_a_labelled_person_is_left_alone_until_two_way() -> None:
    world = in_sync(1)
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, two_way=False))
    world.person("people/c9", person_fields("Carl"), label=True)
    world.run(world.saw_google("people/c9"))
    assert [arrival.reason for arrival in world.arrivals] == ["Reverse sync is off, so it is not created in Planfix."]
    assert not world.writes
    world.run(ChangeSettings(request_id="t", filter_id=FILTER, two_way=True))
    assert "planfix create 101" in world.writes


def test_a_copy_of_a_person_of_ours_waits_as_a_possible_duplicate() -> None:
    world = in_sync(1)
    copy = world.person("people/c9", person_fields("N1", email="1@x"), label=True)
    copy.stamps = list(world.person_of(1).stamps)
    world.run(world.saw_google("people/c9"))
    world.sync()
    assert [arrival.state for arrival in world.arrivals] == ["possible_duplicate"]
    assert not world.writes


# --- other filters, the filter itself ---------------------------------------------------------------------


def test_another_filter_merges_the_fields_until_a_handover() -> None:
    world = in_sync(2)
    world.contact(1, notes="new")
    (said,) = world.deliver(world.saw_planfix(1))
    world.outgoing.clear()
    mutation = said.message.google[0]  # type: ignore[attr-defined]
    item = SettledItem(
        contact=1, mutation_id=mutation.mutation_id, revision=mutation.revision, outcome=Outcome.LABELLED
    )
    world.run(Settled(filter_id=FILTER, target=ACCOUNT, answered_at=world.now, items=(item,)))
    world.contact(1, notes="newer")
    world.run(world.saw_planfix(1))
    assert not world.writes
    world.run(Settled(filter_id=FILTER, target=ACCOUNT, answered_at=world.now, handovers=(Handover(contact=1),)))
    assert world.person_of(1).fields["notes"] == "newer"


def test_a_filter_that_is_gone_removes_nothing_and_older_news_of_it_are_not_believed() -> None:
    world = in_sync(2)
    well = FilterObserved(filter_id=FILTER, seen_at=world.now, name="Clients", owner=7)
    world.run(FilterObserved(filter_id=FILTER, seen_at=world.now + 1, problem=FilterProblem.FILTER_GONE))
    world.run(well)
    assert world.state() is FilterState.FILTER_GONE
    assert not world.writes
    assert len(world.links) == 2


def test_a_listing_names_what_nobody_sees_any_more() -> None:
    world = in_sync(2)
    gone = resource(world)
    del world.people[gone]
    world.sync()
    assert world.link(1).dismissed  # type: ignore[union-attr]
    assert LAST not in world.people
