"""Conversations with the machine: the first sync, matching, duplicates, restarts."""

from __future__ import annotations

import pytest

from contactsync.reconciler.core.machine import Event
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    AccountObserved,
    Enable,
    FilterState,
    FilterStateChanged,
    GoogleCandidates,
    GoogleListed,
    Kept,
    LookGoogle,
    LookPlanfix,
    Model,
    Mutate,
    Pause,
    Rebuild,
    Resume,
    Stamp,
    SyncFinished,
    SyncRequest,
    SyncStarted,
)
from reconciler_world import ACCOUNT, FILTER, LABEL, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def said(world: World, kind: type) -> list[object]:
    return [event for event in world.events if isinstance(event, kind)]


def enabling() -> Enable:
    return Enable(
        request_id="enable", filter_id=FILTER, filter_name="Clients", owner=7, account=ACCOUNT, google_email="a@x"
    )


@pytest.mark.parametrize("found", [False, True])
def test_only_the_first_listing_under_a_label_of_our_own_making_may_be_an_earlier_one(found: bool) -> None:
    listings: list[bool] = []

    class Heard(World):
        def answers(self, message: Model) -> list[Event]:
            if isinstance(message, LookGoogle) and message.what == "listing":
                listings.append(message.new_label)
            return super().answers(message)

    world = Heard()
    world.label_found = found
    world.contact(1, given="Ann")
    world.enable()
    world.run(Rebuild(request_id="again", filter_id=FILTER))
    assert listings == [not found, False]


def test_the_first_sync_goes_label_google_planfix_candidates_writes() -> None:
    world = World()
    world.contact(1, emails=email("1@x"))
    steps = []
    world.deliver(enabling())
    while world.outgoing:
        message = world.outgoing.pop(0).message
        match message:
            case Mutate(label=None):
                steps.append("write")
            case Mutate():
                steps.append("label")
            case LookGoogle() | LookPlanfix():
                steps.append(f"look {message.what}")
        for answer in world.answers(message):
            world.deliver(answer)
    assert steps == ["label", "look listing", "look listing", "look match", "write"]
    states = [event.state for event in world.events if isinstance(event, FilterStateChanged)]
    assert states == [FilterState.ENABLING, FilterState.FIRST_SYNC, FilterState.IN_SYNC]
    started, finished = said(world, SyncStarted), said(world, SyncFinished)
    assert len(started) == len(finished) == 1
    assert isinstance(finished[0], SyncFinished)
    assert (finished[0].outcome, finished[0].created, finished[0].request_id) == ("succeeded", 1, "enable")


@pytest.mark.parametrize("mode", MODES)
def test_every_contact_has_one_person_and_a_second_sync_is_quiet(mode: str) -> None:
    world = in_mode(mode)
    for number in range(1, 8):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.enable()
    assert len(world.people) == 7
    assert all(LABEL in person.labels for person in world.people.values())
    assert world.state() is FilterState.IN_SYNC
    before = list(world.writes)
    world.sync()
    world.sync()
    assert world.writes == before


@pytest.mark.parametrize("mode", MODES)
def test_a_private_person_with_the_same_email_is_adopted(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1, emails=email("1@x"), phones=phones("+1"))
    world.person("people/c1", person_fields(email="1@x", notes="private", phones=phones("+2")))
    world.enable()
    assert list(world.people) == ["people/c1"]
    person = world.people["people/c1"]
    assert person.stamps == [Stamp(contact=1, kept=Kept.ADOPTED)]
    assert person.fields["notes"] == "private"
    assert person.fields["phones"] == phones("+2", "+1")
    assert world.planfix[1]["notes"] == ""


def test_a_matched_person_that_carries_the_label_already_is_united_and_no_private_one() -> None:
    world = World()
    world.contact(1, emails=email("1@x"), phones=phones("+1"))
    world.person("people/c1", person_fields(email="1@x", notes="ours", phones=phones("+2")))
    world.silent.add("match")
    world.enable()
    world.people["people/c1"].labels.add(world.label_name)
    world.silent.clear()
    world.now += 1000
    world.sync()
    assert world.planfix[1]["notes"] == "ours"
    assert set(world.planfix[1]["phones"]) == set(phones("+1", "+2"))


def test_more_than_one_candidate_links_and_creates_nothing() -> None:
    world = World()
    world.contact(1, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.person("people/c2", person_fields(email="1@x"))
    world.enable()
    assert not world.writes
    link = world.link(1)
    assert link is not None
    assert link.hold is not None
    assert (link.hold.state, link.hold.candidates) == ("possible_duplicate", ("people/c1", "people/c2"))
    assert world.state() is FilterState.IN_SYNC


def test_two_contacts_that_could_be_one_person_are_both_held() -> None:
    world = World()
    world.contact(1, emails=email("1@x"))
    world.contact(2, emails=email("1@x"))
    world.person("people/c1", person_fields(email="1@x"))
    world.enable()
    assert not world.writes
    assert all(link.hold is not None for link in world.links.values())


def test_a_shared_family_phone_matches_nobody_of_another_name() -> None:
    world = World()
    world.contact(1, given="Ann", family="Lee", phones=phones("+1"))
    world.person("people/c1", person_fields("Bob", "Ray", phones=phones("+1")))
    world.enable()
    assert len(world.people) == 2
    assert world.people["people/c1"].stamps == []


@pytest.mark.parametrize("mode", MODES)
def test_lost_state_is_rebuilt_from_the_stamps_without_writes(mode: str) -> None:
    world = in_mode(mode)
    for number in (1, 2, 3):
        world.contact(number, emails=email(f"{number}@x"))
    world.enable()
    again = in_mode(mode, planfix=world.planfix, members=world.members, people=world.people, label=True)
    again.now = world.now + 1000
    again.enable()
    assert again.writes == []
    assert {link.resource for link in again.links.values()} == set(world.people)


def test_a_lost_look_is_asked_again() -> None:
    world = World(silent={"match"})
    world.contact(1, emails=email("1@x"))
    world.enable()
    assert not world.writes
    world.silent = set()
    world.now += 301
    world.run(SyncRequest(request_id="s", filter_id=FILTER))
    assert world.writes == ["google ensure 1"]


def test_a_request_counts_once_and_those_during_a_run_are_answered_after_it() -> None:
    world = World()
    world.contact(1)
    world.run(
        enabling(), SyncRequest(request_id="a", filter_id=FILTER), SyncRequest(request_id="a", filter_id=FILTER)
    )
    world.run(SyncRequest(request_id="a", filter_id=FILTER))
    finished = [e.request_id for e in world.events if isinstance(e, SyncFinished)]
    assert finished == ["enable", "a"]


def test_an_event_for_a_filter_that_nobody_enabled_changes_nothing() -> None:
    world = World()
    world.contact(1)
    assert world.deliver(world.saw_planfix(1, member=True)) == []
    assert world.stored == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_pause_in_the_middle_is_made_up_for(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1)
    world.enable()
    world.run(Pause(request_id="p", filter_id=FILTER))
    assert world.state() is FilterState.PAUSED
    before = list(world.writes)
    world.contact(1, notes="new")
    world.contact(2, given="Bob")
    world.person("people/c9", person_fields("Carl", "Day"), label=True)
    world.run(world.saw_planfix(1), world.saw_planfix(2, member=True), world.saw_google("people/c9"))
    world.sync()
    assert world.writes == before
    run = [e for e in world.events if isinstance(e, SyncFinished)][-1]
    assert (run.outcome, run.reason) == ("cancelled", "The synchronisation is paused.")
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert world.person_of(1).fields["notes"] == "new"
    assert world.person_of(2).fields["given"] == "Bob"
    assert world.planfix[101]["given"] == "Carl"
    assert world.state() is FilterState.IN_SYNC
    world.run(Pause(request_id="p", filter_id=FILTER))
    assert world.state() is FilterState.IN_SYNC, "an old command, delivered again"


def test_a_dead_grant_stops_writes_until_it_is_alive_again() -> None:
    world = World()
    world.contact(1)
    world.enable()
    dead = AccountObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now, connected=False, reason="revoked")
    world.run(dead)
    assert world.state() is FilterState.RECONNECT_NEEDED
    world.contact(1, notes="new")
    world.run(world.saw_planfix(1))
    assert world.writes == ["google ensure 1"]
    world.run(AccountObserved(filter_id=FILTER, account=ACCOUNT, seen_at=world.now + 1, connected=True))
    assert world.person_of(1).fields["notes"] == "new"
    world.run(dead)
    assert world.state() is FilterState.IN_SYNC, "older news of the account"


def test_candidates_that_were_not_asked_for_link_nobody() -> None:
    world = World()
    world.contact(1)
    world.enable()
    person = world.person_of(1).resource
    other = world.person("people/c9", person_fields(email="z@x"))
    answers = [
        {"contact": 1, "candidates": [{"resource": other.resource, "by": "stamp"}]},
        {"contact": 55, "candidates": [{"resource": other.resource, "by": "stamp"}]},
    ]
    raw = {"filter_id": FILTER, "account": ACCOUNT, "seen_at": world.now, "answers": answers}
    world.run(GoogleCandidates.model_validate(raw))
    assert world.person_of(1).resource == person
    assert set(world.links) == {1}


def test_a_listing_without_our_people_deletes_and_dismisses_nothing() -> None:
    world = World()
    world.contact(1)
    world.enable()
    people = dict(world.people)
    listed = GoogleListed(
        filter_id=FILTER, account=ACCOUNT, began_at=world.now, low="", high="z", resources=(), last=True
    )
    world.run(listed)
    link = world.link(1)
    assert link is not None
    assert not link.dismissed
    assert world.people == people
