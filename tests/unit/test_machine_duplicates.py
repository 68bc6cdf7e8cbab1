"""Conversations with the machine: possible duplicates, what humans decide about them, and that it is remembered."""

from __future__ import annotations

import pytest

from contactsync.reconciler.core import reasons
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    Decide,
    Enable,
    FilterState,
    Kept,
    Pause,
    PlanfixListed,
    Restore,
    Resume,
    Stamp,
    SyncFinished,
)
from reconciler_world import ACCOUNT, FILTER, LABEL, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]
modes = pytest.mark.parametrize("mode", MODES)

ENABLE = Enable(
    request_id="enable", filter_id=FILTER, filter_name="Clients", owner=7, account=ACCOUNT, google_email="a@x"
)


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def decide(world: World, decision: str, contact: int | None = None, person: str | None = None) -> str:
    """Why it was refused, or nothing."""
    world._serial += 1
    request = f"decide{world._serial}"
    raw = {"request_id": request, "filter_id": FILTER, "decision": decision, "contact": contact, "person": person}
    world.run(Decide.model_validate(raw))
    return world.refused.get(request, "")


def held(world: World, contact: int) -> tuple[str, tuple[str, ...]]:
    link = world.link(contact)
    return (link.hold.reason, link.hold.candidates) if link is not None and link.hold is not None else ("", ())


def one_contact_two_people(mode: str = "steady") -> World:
    world = in_mode(mode)
    world.contact(1, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.person("people/c2", person_fields(email="1@x"))
    world.enable()
    assert held(world, 1) == (reasons.MANY_PEOPLE, ("people/c1", "people/c2"))
    assert not world.writes
    return world


def leave_and_return(world: World, *contacts: int) -> None:
    world.members.difference_update(contacts)
    world.sync()
    assert not set(contacts) & set(world.links)
    world.members.update(contacts)
    world.sync()


# --- nobody is linked and nobody is created ---------------------------------------------------------------


@modes
@pytest.mark.parametrize("between", range(4))
def test_two_contacts_that_could_be_one_person_are_held_whatever_pages_they_come_on(mode: str, between: int) -> None:
    world = in_mode(mode)
    world.contact(1, emails=email("1@x"))
    for number in range(2, 2 + between):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    last = 2 + between
    world.contact(last, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    assert [held(world, number) for number in (1, last)] == [(reasons.SHARED, ("people/c1",))] * 2
    assert sorted(world.writes) == [f"google ensure {number}" for number in range(2, last)]
    assert world.people["people/c1"].stamps == []
    assert world.state() is FilterState.IN_SYNC


@modes
def test_three_contacts_of_three_pages_get_nobody(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2, 3, 4, 5):
        world.contact(number, emails=email("1@x") if number != 2 else email("2@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    assert [held(world, number)[0] for number in (1, 3, 4, 5)] == [reasons.SHARED] * 4
    assert world.writes == ["google ensure 2"]


@modes
def test_two_contacts_and_two_people_with_one_key_are_all_left_alone(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2, 3):
        world.contact(number, emails=email("1@x") if number != 2 else email("2@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.person("people/c2", person_fields(email="1@x"))
    world.enable()
    assert [held(world, number)[1] for number in (1, 3)] == [("people/c1", "people/c2")] * 2
    assert world.writes == ["google ensure 2"]
    assert len(world.people) == 3
    world.sync()
    assert world.writes == ["google ensure 2"], "no growth"


@modes
def test_one_of_two_candidates_that_another_contact_claims_is_nobodys(mode: str) -> None:
    """The first contact alone would have got the person; the later one could be either of two."""
    world = in_mode(mode)
    world.contact(1, emails=email("1@x"))
    world.contact(2, emails=email("2@x"))
    world.contact(3, emails=(*email("1@x"), *email("3@x")))
    world.person("people/c1", person_fields(email="1@x"))
    world.person("people/c3", person_fields(email="3@x"))
    world.enable()
    assert held(world, 1) == (reasons.SHARED, ("people/c1",))
    assert held(world, 3) == (reasons.MANY_PEOPLE, ("people/c1", "people/c3"))
    assert world.writes == ["google ensure 2"]


@modes
def test_partners_found_by_match_are_adopted_when_all_contacts_have_come(mode: str) -> None:
    world = in_mode(mode)
    for number in range(1, 8):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
        world.person(f"people/c{number}", person_fields(f"N{number}", email=f"{number}@x"))
    world.enable()
    assert sorted(world.writes) == [f"google adopt {number}" for number in range(1, 8)]
    assert len(world.people) == 7
    assert world.record.sweeps == {}
    finished = [event for event in world.events if isinstance(event, SyncFinished)][-1]
    assert (finished.outcome, finished.updated) == ("succeeded", 7)


@modes
def test_while_contacts_still_come_only_partners_found_by_match_wait(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2, 3):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    for number in (1, 2):
        world.person(f"people/c{number}", person_fields(f"N{number}", email=f"{number}@x"))
    world.people["people/c2"].stamps = [Stamp(contact=2, kept=Kept.OURS)]
    world.deliver(ENABLE)
    while world.record.phase != "planfix":
        for answer in world.answers(world.outgoing.pop(0).message):
            world.deliver(answer)
    world.silent = {"listing"}
    world.run(world.saw_planfix(1, 2, 3, member=True))
    assert sorted(world.writes) == ["google ensure 3", "google update 2"]
    listed = PlanfixListed(
        filter_id=FILTER, began_at=world.now, low=1, high=99, members=(1, 2, 3), last=True, request_id="enable"
    )
    world.run(listed)
    assert world.writes[-1] == "google adopt 1"
    assert world.state() is FilterState.IN_SYNC


@modes
def test_a_candidate_that_is_another_contacts_is_not_shared(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    world.people["people/c1"].stamps.clear()  # the index of the watcher does not know yet
    world.contact(2, emails=email("1@x"))
    world.sync()
    assert held(world, 2) == (reasons.TAKEN_PERSON, ("people/c1",))
    assert world.link(1).resource == "people/c1"  # type: ignore[union-attr]
    assert world.writes == ["google adopt 1"]


# --- decisions --------------------------------------------------------------------------------------------


@modes
def test_same_adopts_the_person_and_the_other_one_is_never_offered_again(mode: str) -> None:
    world = one_contact_two_people(mode)
    assert decide(world, "same", 1, "people/c2") == ""
    assert world.writes == ["google adopt 1"]
    assert world.person_of(1).resource == "people/c2"
    assert LABEL in world.people["people/c2"].labels
    world.members.discard(1)
    world.members.add(9)
    world.contact(9, given="Zoe")
    world.sync()
    world.people["people/c2"].stamps.clear()
    world.members.add(1)
    world.sync()
    assert world.person_of(1).resource == "people/c2", "the decision is remembered"


@modes
@pytest.mark.parametrize("word", ["separate", "new"])
def test_separate_and_new_create_the_contact_and_hold_after_it_came_back(mode: str, word: str) -> None:
    world = one_contact_two_people(mode)
    world.contact(7, given="Sam")
    world.sync()
    world.writes.clear()
    assert decide(world, word, 1) == ""
    assert world.writes == ["google ensure 1"]
    assert len(world.people) == 4
    assert world.people["people/c1"].stamps == world.people["people/c2"].stamps == []
    leave_and_return(world, 1)
    assert world.writes == ["google ensure 1", "google remove 1", "google ensure 1"]
    assert len(world.people) == 4


@modes
def test_a_decision_outlives_the_loss_of_the_links(mode: str) -> None:
    """As `rebuild` has it: links are found again, decisions stay."""
    world = one_contact_two_people(mode)
    decide(world, "new", 1)
    made = world.person_of(1).resource
    world.stored = {key: value for key, value in world.stored.items() if not key.startswith("link.")}
    world.restart()
    world.sync()
    assert world.person_of(1).resource == made
    world.people[made].stamps.clear()
    del world.people[made]
    world.identity.clear()
    world.stored = {key: value for key, value in world.stored.items() if not key.startswith("link.")}
    world.restart()
    world.now += 1000
    world.sync()
    assert held(world, 1) == ("", ())
    assert len(world.people) == 3


@modes
def test_of_two_contacts_for_one_person_one_decision_settles_both(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2):
        world.contact(number, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    assert decide(world, "new", 1) == ""
    assert world.person_of(2).resource == "people/c1", "it alone is left for the person"
    assert sorted(world.writes) == ["google adopt 2", "google ensure 1"]
    assert len(world.people) == 2


@modes
def test_after_same_the_other_contact_still_waits_for_its_own_decision(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2):
        world.contact(number, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    assert decide(world, "same", 2, "people/c1") == ""
    assert world.person_of(2).resource == "people/c1"
    assert held(world, 1)[1] == ("people/c1",)
    assert decide(world, "same", 1, "people/c1") == reasons.person_taken("people/c1", 2)
    assert decide(world, "new", 1) == ""
    assert sorted(world.writes) == ["google adopt 2", "google ensure 1"]


@modes
def test_all_new_creates_everybody_in_chunks_and_adopts_nobody(mode: str) -> None:
    world = in_mode(mode)
    for number in range(1, 9):
        world.contact(number, emails=email(f"{(number + 1) // 2}@x"))
    for number in range(1, 5):
        world.person(f"people/c{number}", person_fields(email=f"{number}@x"))
    world.enable()
    assert not world.writes
    assert decide(world, "new") == ""
    assert sorted(world.writes) == [f"google ensure {number}" for number in range(1, 9)]
    assert len(world.people) == 12
    assert world.record.sweeps == {}


def test_all_new_during_a_pause_waits_for_its_end() -> None:
    world = one_contact_two_people()
    world.run(Pause(request_id="p", filter_id=FILTER))
    assert decide(world, "new") == ""
    world.restart()
    assert not world.writes
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.writes == ["google ensure 1"]


def test_same_with_a_person_that_is_gone_finds_out_and_matches_again() -> None:
    world = one_contact_two_people()
    assert decide(world, "same", 1, "people/c404") == ""
    assert held(world, 1) == (reasons.MANY_PEOPLE, ("people/c1", "people/c2"))
    world.sync()
    assert not world.writes


@pytest.mark.parametrize(
    ("decision", "contact", "person", "why"),
    [
        ("new", 5, None, reasons.not_here(5)),
        ("new", 2, None, reasons.no_duplicate("Contact 2")),
        ("same", 1, None, "Say which contact and which person are the same."),
        ("same", 2, "people/c2", "already linked"),
        ("same", 5, "people/c2", reasons.not_here(5)),
        ("separate", None, None, "Say which contact"),
        ("new", None, "people/c77", "No person under the label"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_a_reason(
    decision: str, contact: int | None, person: str | None, why: str
) -> None:
    world = one_contact_two_people()
    world.contact(2, given="Bob")
    world.sync()
    before = list(world.writes)
    assert why in decide(world, decision, contact, person)
    assert world.writes == before


# --- matched again by itself ------------------------------------------------------------------------------


@modes
def test_a_rival_that_leaves_the_filter_frees_the_other_one(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2, 3):
        world.contact(number, emails=email("1@x") if number < 3 else email("3@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    world.writes.clear()
    world.members.discard(1)
    world.sync()
    assert world.writes == ["google adopt 2"]


@modes
def test_a_candidate_that_vanished_is_noticed_by_the_next_sync(mode: str) -> None:
    world = one_contact_two_people(mode)
    del world.people["people/c1"]
    world.sync()
    assert world.writes == ["google adopt 1"]
    assert world.person_of(1).resource == "people/c2"


@modes
def test_a_contact_whose_address_changed_is_matched_again(mode: str) -> None:
    world = one_contact_two_people(mode)
    world.contact(1, emails=email("other@x"))
    world.run(world.saw_planfix(1))
    assert world.writes == ["google ensure 1"]


def test_a_contact_that_comes_later_does_not_get_what_two_others_wait_for() -> None:
    world = in_mode("steady")
    for number in (1, 2):
        world.contact(number, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    world.contact(3, emails=email("1@x"))
    world.sync()
    assert held(world, 3) == (reasons.SHARED, ("people/c1",))
    assert not world.writes


# --- people under the label -------------------------------------------------------------------------------


def two_contacts_one_labelled_person(mode: str = "steady") -> World:
    """Two Planfix contacts that the filter does not hold."""
    world = in_mode(mode)
    world.contact(1, given="N1", emails=email("1@x"))
    for number in (5, 6):
        world.contact(number, given="Eve", emails=email("e@x"))
        world.members.discard(number)
    world.enable()
    world.writes.clear()
    world.person("people/c5", person_fields("Eve", email="e@x"), label=True)
    world.run(world.saw_google("people/c5"))
    assert [(a.reason, a.candidates) for a in world.arrivals] == [(reasons.MANY_CONTACTS, (5, 6))]
    return world


@modes
def test_a_labelled_person_becomes_the_contact_that_a_human_names(mode: str) -> None:
    world = two_contacts_one_labelled_person(mode)
    assert decide(world, "same", 6, "people/c5") == ""
    link = world.link(6)
    assert link is not None
    assert (link.resource, link.member, bool(link.kept)) == ("people/c5", False, True)
    assert world.writes == ["google adopt 6"]
    assert world.people["people/c5"].stamps == [Stamp(contact=6, kept=Kept.ADOPTED)]
    assert not world.arrivals


@modes
def test_a_labelled_person_that_is_new_is_created_in_planfix_once(mode: str) -> None:
    world = two_contacts_one_labelled_person(mode)
    assert decide(world, "new", None, "people/c5") == ""
    assert world.writes[0] == "planfix create 101"
    assert world.person_of(101).resource == "people/c5"
    world.sync()
    assert world.writes.count("planfix create 101") == 1
    assert not world.arrivals


def test_a_person_decided_to_be_new_is_so_after_label_and_content_changed() -> None:
    world = two_contacts_one_labelled_person()
    decide(world, "separate", None, "people/c5")
    world.stored = {k: v for k, v in world.stored.items() if k != "link.101"}
    del world.planfix[101]
    world.markers.clear()
    world.members.discard(101)
    world.people["people/c5"].stamps.clear()
    world.restart()
    world.person("people/c5", notes="new")
    world.now += 1000
    world.run(world.saw_google("people/c5"))
    assert world.person_of(101).resource == "people/c5"


def test_a_contact_that_the_owner_does_not_see_is_no_answer_and_can_be_decided_again() -> None:
    world = two_contacts_one_labelled_person()
    assert decide(world, "same", 77, "people/c5") == ""
    assert [(a.state, a.reason) for a in world.arrivals] == [("held_back", reasons.NAMED_GONE)]
    assert decide(world, "same", 5, "people/c5") == ""
    assert world.person_of(5).resource == "people/c5"


@modes
def test_a_copy_of_a_person_of_ours_can_be_a_new_contact(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1, given="N1", emails=email("1@x"))
    world.enable()
    copy = world.person("people/c9", person_fields("N1", email="1@x"), label=True)
    copy.stamps = list(world.person_of(1).stamps)
    world.run(world.saw_google("people/c9"))
    assert [arrival.reason for arrival in world.arrivals] == [reasons.COPY]
    assert "already linked" in decide(world, "same", 1, "people/c9")
    assert decide(world, "new", None, "people/c9") == ""
    assert world.person_of(101).resource == "people/c9"
    assert world.person_of(1).resource != "people/c9"


@modes
def test_two_people_under_the_label_for_one_contact_both_wait_until_one_goes(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1, given="N1", emails=email("1@x"))
    world.contact(5, given="Eve", emails=email("e@x"))
    world.members.discard(5)
    world.enable()
    for name in ("people/c5", "people/c6"):
        world.person(name, person_fields("Eve", email="e@x"), label=True)
    world.run(world.saw_google("people/c5"), world.saw_google("people/c6"))
    assert sorted(a.reason for a in world.arrivals) == [reasons.RIVALS] * 2
    world.unlabel("people/c6")
    world.run(world.saw_google("people/c6"))
    assert world.person_of(5).resource == "people/c5"
    assert not world.arrivals


@modes
def test_all_new_takes_people_under_the_label_along(mode: str) -> None:
    world = two_contacts_one_labelled_person(mode)
    assert decide(world, "new") == ""
    assert "planfix create 101" in world.writes


def test_a_shared_phone_of_two_names_is_nobodys_rival() -> None:
    world = in_mode("steady")
    world.contact(1, given="Ann", family="Lee", phones=phones("+1"))
    world.contact(2, given="Bob", family="Ray", phones=phones("+1"))
    world.person("people/c1", person_fields("Ann", "Lee", phones=phones("+1")))
    world.enable()
    assert sorted(world.writes) == ["google adopt 1", "google ensure 2"]


@modes
def test_many_decided_to_be_new_are_no_copies_of_another_tool(mode: str) -> None:
    """The loop detector counts contacts of one name and number that are made again and again."""
    world = in_mode(mode)
    for number in range(1, 17):
        world.contact(number, emails=email(f"{(number + 3) // 4}@x"))
    for number in range(1, 5):
        world.person(f"people/c{number}", person_fields(email=f"{number}@x"))
    world.enable()
    assert not world.writes
    assert decide(world, "new") == ""
    assert world.state() is FilterState.IN_SYNC
    assert len(world.writes) == 16


def test_a_copy_decided_to_be_new_is_not_taken_for_its_original_later() -> None:
    world = in_mode("steady")
    world.contact(1, given="N1", emails=email("1@x"))
    world.contact(2, given="N2", emails=email("2@x"))
    world.enable()
    original = world.person_of(1)
    copy = world.person("people/c9", person_fields("N1", email="1@x"), label=True)
    copy.stamps = list(original.stamps)
    world.run(world.saw_google("people/c9"))
    decide(world, "new", None, "people/c9")
    copy.stamps = [stamp for stamp in copy.stamps if stamp.contact == 1]  # as if ours had not got there
    del world.people[original.resource]
    world.now += 1
    world.run(world.saw_gone(original.resource))
    world._serial += 1
    world.run(Restore(request_id="r", filter_id=FILTER, contact=1))
    assert world.person_of(1).resource not in ("people/c9", original.resource)
    assert world.person_of(101).resource == "people/c9"


def test_a_person_without_a_name_becomes_the_contact_that_a_human_names() -> None:
    world = in_mode("steady")
    world.contact(1, given="N1", emails=email("1@x"))
    world.contact(5, given="Eve", emails=email("e@x"))
    world.members.discard(5)
    world.enable()
    world.person("people/c5", person_fields("", "", email="other@x"), label=True)
    world.run(world.saw_google("people/c5"))
    assert [a.reason for a in world.arrivals] == [reasons.NAMELESS]
    assert decide(world, "same", 5, "people/c5") == ""
    assert world.person_of(5).resource == "people/c5"
