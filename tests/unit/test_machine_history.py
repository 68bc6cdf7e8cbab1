"""What the history tells of a contact, and that each thing is told once, whatever is lost or played again."""

from __future__ import annotations

from typing import Any

import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    ChangeSettings,
    Mutate,
    PlanfixConfirmed,
    Restore,
    SyncRequest,
)
from reconciler_world import FILTER, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def in_sync(count: int = 1, mode: str = "steady") -> World:
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    world.enable()
    return world


def resource(world: World, contact: int = 1) -> str:
    return world.person_of(contact).resource


def last(world: World, contact: int = 1) -> dict[str, Any]:
    return [entry for number, _, entry in world.history if number == contact][-1]


@pytest.mark.parametrize("mode", MODES)
def test_a_life_of_a_contact_is_told_once_each(mode: str) -> None:
    world = in_sync(2, mode)
    world.contact(1, notes="P")
    world.run(world.saw_planfix(1))
    world.person(resource(world), position="Boss")
    world.planfix[1]["position"] = ""
    world.run(world.saw_planfix(1), world.saw_google(resource(world)))
    world.unlabel(resource(world))
    world.run(world.saw_google(resource(world)))
    world.person(resource(world), label=True)
    world.run(world.saw_google(resource(world)))
    world.members.discard(1)
    world.run(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,)))
    assert world.told(1) == [
        "google created",
        "google updated notes",
        "planfix updated position",
        "google dismissed",
        "google restored",
        "google removed",
    ]
    assert world.told(2) == ["google created"]


@pytest.mark.parametrize("mode", MODES)
def test_an_entry_has_before_and_after_side_run_and_cause(mode: str) -> None:
    world = in_sync(1, mode)
    first = next(entry for _, _, entry in world.history)
    assert (first["run"], first["cause"]) == ("enable", "in the list")
    world.contact(1, notes="P", phones=phones("+1", "+2"))
    world.run(world.saw_planfix(1))
    entry = last(world)
    assert entry["fields"] == {"notes": ["", "P"], "phones": [[], ["+1", "+2"]]}
    assert (entry["side"], entry["cause"], entry["run"]) == ("google", "edited in Planfix", "auto-0")
    assert entry["at"] > first["at"]
    world.person(resource(world), notes="G")
    world.now += 7200
    world.run(world.saw_google(resource(world)))
    entry = last(world)
    assert entry["fields"] == {"notes": ["P", "G"]}
    assert (entry["side"], entry["cause"], entry["run"]) == ("planfix", "edited in Google", "auto-2")


def test_what_a_sync_does_is_told_under_its_run() -> None:
    world = in_sync()
    world.contact(1, notes="P")
    world.run(SyncRequest(request_id="mine", filter_id=FILTER))
    assert last(world)["run"] == "mine"


@pytest.mark.parametrize("mode", MODES)
def test_the_loser_of_a_conflict_stands_on_the_entry_of_the_write_that_it_lost_to(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="P")
    person = world.person(resource(world), notes="G")
    world.run(world.saw_planfix(1), world.saw_google(person.resource))
    assert world.told(1) == ["google created", "google updated notes"]
    entry = last(world)
    assert entry["lost"] == {"notes": ["google", "G"]}
    assert entry["fields"] == {"notes": ["G", "P"]}
    assert "written" not in entry


@pytest.mark.parametrize("mode", MODES)
def test_the_loser_of_a_conflict_is_told_before_the_write_leaves(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="P")
    person = world.person(resource(world), notes="G")
    world.deliver(world.saw_planfix(1), world.saw_google(person.resource))
    assert last(world)["lost"] == {"notes": ["google", "G"]}
    assert last(world)["written"] is False


@pytest.mark.parametrize("mode", MODES)
def test_a_write_that_was_not_made_leaves_no_loser_behind(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="P")
    person = world.person(resource(world), notes="G")
    world.deliver(world.saw_planfix(1), world.saw_google(person.resource))
    world.refuse[1] = "Not today."
    world.run()
    assert world.people[person.resource].fields["notes"] == "G"
    assert world.told(1) == ["google created"]


@pytest.mark.parametrize("mode", MODES)
def test_a_loser_that_is_edited_during_the_write_is_told_with_both_values(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="P")
    person = world.person(resource(world), notes="G")
    world.deliver(world.saw_planfix(1), world.saw_google(person.resource))
    world.person(person.resource, notes="G2")
    world.run()
    told = [entry["lost"] for _, _, entry in world.history if entry.get("lost")]
    assert told == [{"notes": ["google", "G"]}, {"notes": ["google", "G2"]}]
    assert world.planfix[1]["notes"] == world.people[person.resource].fields["notes"] == "P"


@pytest.mark.parametrize("mode", MODES)
def test_a_value_that_one_way_overwrote_in_google_stands_in_the_history(mode: str) -> None:
    world = in_sync(1, mode)
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, two_way=False))
    world.person(resource(world), notes="mine", phones=phones("+2"))
    world.run(world.saw_google(resource(world)))
    entry = last(world)
    assert entry["fields"] == {"notes": ["mine", ""], "phones": [["+2"], []]}
    assert entry["cause"] == "edited in Google, but the list is one-way"


@pytest.mark.parametrize("mode", MODES)
def test_a_labelled_person_is_told_as_created_in_planfix_and_as_linked(mode: str) -> None:
    world = in_sync(1, mode)
    world.person("people/h", person_fields("Hal", "Ray", email="h@x"), label=True)
    world.run(world.saw_google("people/h"))
    assert world.told(101) == ["planfix created", "google linked"]


@pytest.mark.parametrize("mode", MODES)
def test_an_adopted_person_is_told_with_what_changed_on_it(mode: str) -> None:
    world = in_mode(mode)
    world.contact(1, given="Ann", family="Lee", emails=email("a@x"), notes="P")
    world.person("people/a", person_fields("Ann", "Lee", email="a@x", notes="G"))
    world.enable()
    assert world.told(1) == ["google linked notes"]
    entry = last(world)
    assert entry["cause"] == "found in Google by e-mail or phone"
    assert entry["lost"] == {"notes": ["google", "G"]}


@pytest.mark.parametrize("mode", MODES)
def test_merged_people_are_told(mode: str) -> None:
    world = in_sync(2, mode)
    gone, stays = resource(world, 1), resource(world, 2)
    world.people.pop(gone)
    world.person(stays).previous = (gone,)
    world.run(world.saw_google(stays))
    assert world.told(1)[-1] == "google merged"
    assert last(world)["cause"] == "merged into contact 2 in Google"


@pytest.mark.parametrize("mode", MODES)
def test_a_person_deleted_in_google_is_told_as_dismissed(mode: str) -> None:
    world = in_sync(1, mode)
    gone = resource(world)
    world.people.pop(gone)
    world.run(world.saw_gone(gone))
    assert world.told(1) == ["google created", "google dismissed"]
    assert last(world)["cause"].startswith("The person was deleted in Google Contacts.")


@pytest.mark.parametrize("mode", MODES)
def test_what_a_human_restores_is_told_so(mode: str) -> None:
    world = in_sync(1, mode)
    gone = resource(world)
    world.people.pop(gone)
    world.identity.pop(1)
    world.run(world.saw_gone(gone))
    world.run(Restore(request_id="r", filter_id=FILTER, contact=1))
    assert world.told(1)[2:] == ["google restored", "google created"]
    assert {entry["cause"] for _, _, entry in world.history[2:]} == {"restored by hand"}


def test_events_name_contacts_and_never_values() -> None:
    world = in_sync()
    world.contact(1, notes="secret")
    person = world.person(resource(world), notes="hidden")
    world.run(world.saw_planfix(1), world.saw_google(person.resource))
    said = " ".join(event.model_dump_json() for event in world.events)
    assert "secret" not in said
    assert "hidden" not in said


def test_what_a_step_changed_is_not_read_back_from_the_state_for_a_look_that_is_overdue() -> None:
    world = in_sync()
    world.silent.add("people")
    world.person(resource(world), notes="G")
    world.unlabel(resource(world))
    world.silent.add("label")
    world.run(world.saw_google(resource(world)))
    assert world.link(1).asked == "label"  # type: ignore[union-attr]
    world.now += 1000
    world.contact(1, notes="P2")
    world.deliver(world.saw_planfix(1))
    assert (world.link(1).planfix or {})["notes"] == "P2"  # type: ignore[union-attr]


def test_a_mutation_does_not_say_why() -> None:
    """The cause is for the history; the writer gets what it needs."""
    world = in_sync()
    world.contact(1, notes="P")
    said = world.deliver(world.saw_planfix(1))
    assert all("edited" not in out.data.decode() for out in said if isinstance(out.message, Mutate))
