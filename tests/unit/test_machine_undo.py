"""Undo: an entry's values come back on both sides, what was edited since stays, and nothing is trashed in Planfix."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    ChangeSettings,
    Pause,
    PlanfixConfirmed,
    Resume,
    SyncRequest,
    Undo,
)
from reconciler_world import FILTER, LABEL, World, in_mode, person_fields, phones

MODES = ["steady", "restarts", "crashes"]
modes = pytest.mark.parametrize("mode", MODES)


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def in_sync(count: int = 1, mode: str = "steady") -> World:
    world = in_mode(mode)
    for number in range(1, count + 1):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"), notes="old", phones=phones("+1"))
    world.enable()
    world.writes.clear()
    return world


def resource(world: World, contact: int = 1) -> str:
    return world.person_of(contact).resource


def newest(world: World, contact: int = 1, operation: str = "") -> str:
    numbers = [n for c, n, e in world.history if c == contact and operation in ("", e["operation"])]
    return f"{contact}.{numbers[-1]}"


def undo(world: World, entry: str | None = None, *, run: str | None = None, request_id: str = "u") -> Undo:
    command = Undo(request_id=request_id, filter_id=FILTER, entry=entry, run=run)
    world.run(command)
    return command


def refused(world: World, request_id: str = "u") -> str:
    return str(world.refused.get(request_id, ""))


def both(world: World, name: str, contact: int = 1) -> Any:
    """The field's value on both sides, which must be one."""
    sides = world.planfix[contact][name], world.person_of(contact).fields[name]
    assert sides[0] == sides[1]
    return sides[0]


def edited_in_planfix(world: World) -> None:
    world.contact(1, notes="new", phones=phones("+1", "+2"))
    world.run(world.saw_planfix(1))


def edited_in_google(world: World) -> None:
    world.person(resource(world), notes="new", phones=phones("+1", "+2"))
    world.run(world.saw_google(resource(world)))


@modes
@pytest.mark.parametrize("edit", [edited_in_planfix, edited_in_google], ids=["planfix", "google"])
def test_an_update_is_taken_back_on_both_sides_and_the_undo_can_be_undone(mode: str, edit: Any) -> None:
    world = in_sync(1, mode)
    edit(world)
    assert (both(world, "notes"), both(world, "phones")) == ("new", phones("+1", "+2"))
    world.writes.clear()
    entry = newest(world)
    undo(world, entry)
    assert not refused(world)
    assert (both(world, "notes"), both(world, "phones")) == ("old", phones("+1"))
    assert world.writes == ["planfix update 1", "google update 1"]
    told = [e for c, n, e in world.history if e["cause"] == f"undo of {entry}"]
    assert [e["side"] for e in told] == ["planfix", "google"]
    assert {e["run"] for e in told} == {"undo-u"}
    assert told[0]["fields"]["notes"] == ["new", "old"]
    undo(world, newest(world), request_id="again")
    assert (both(world, "notes"), both(world, "phones")) == ("new", phones("+1", "+2"))
    assert world.link(1).undoing is None  # type: ignore[union-attr]
    world.writes.clear()
    world.sync()
    assert not world.writes


@modes
def test_the_undo_of_an_undo_by_its_run_takes_back_both_of_its_writes(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    undo(world, newest(world))
    undo(world, run="undo-u", request_id="v")
    assert (both(world, "notes"), both(world, "phones")) == ("new", phones("+1", "+2"))
    assert (world.record.undo.undone, world.record.undo.left) == (2, 0)  # type: ignore[union-attr]


@modes
def test_a_field_that_was_edited_since_is_left_alone_and_said_so(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    entry = newest(world)
    world.contact(1, notes="newer")
    world.run(world.saw_planfix(1))
    undo(world, entry)
    assert both(world, "notes") == "newer"
    assert both(world, "phones") == phones("+1")
    assert world.record.undo.why == (f"{entry}: notes was edited since",)  # type: ignore[union-attr]


@modes
def test_an_entry_of_which_everything_was_edited_since_is_refused(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="new")
    world.run(world.saw_planfix(1))
    entry = newest(world)
    world.contact(1, notes="newer")
    world.run(world.saw_planfix(1))
    world.writes.clear()
    undo(world, entry)
    assert "notes was edited since" in refused(world)
    assert not world.writes


@modes
def test_an_edit_that_meets_the_undo_is_not_overwritten(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    world.planfix[1]["notes"] = "newer"  # not seen yet
    undo(world, newest(world))
    assert both(world, "notes") == "newer"
    assert both(world, "phones") == phones("+1")
    assert world.link(1).undoing is None  # type: ignore[union-attr]


@modes
def test_an_element_added_since_stays_when_another_one_is_taken_back(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    entry = newest(world)
    world.person(resource(world), phones=phones("+1", "+2", "+3"))
    world.run(world.saw_google(resource(world)))
    undo(world, entry)
    assert both(world, "phones") == phones("+1", "+3")


@modes
def test_undoing_a_lost_conflict_brings_the_loser_to_both_sides(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, notes="P")
    world.person(resource(world), notes="G")
    world.run(world.saw_planfix(1), world.saw_google(resource(world)))
    assert both(world, "notes") == "P"
    undo(world, newest(world))
    assert both(world, "notes") == "G"


@modes
def test_google_gets_its_own_form_back_where_it_cannot_hold_planfix_s(mode: str) -> None:
    world = in_mode(mode, google_server=lambda fields: {n: v[:4] for n, v in fields.items()})  # type: ignore[misc]
    world.contact(1, notes="a long text")
    world.enable()
    assert world.person_of(1).fields["notes"] == "a lo"
    world.contact(1, notes="another")
    world.run(world.saw_planfix(1))
    undo(world, newest(world))
    assert world.planfix[1]["notes"] == "a long text"
    assert world.person_of(1).fields["notes"] == "a lo"
    world.writes.clear()
    world.sync()
    assert not world.writes


@modes
def test_what_planfix_refuses_stays_on_both_sides(mode: str) -> None:
    world = in_sync(1, mode)
    world.contact(1, given="")
    world.planfix[1]["given"] = ""
    world.run(world.saw_planfix(1))
    assert both(world, "given") == ""
    world.contact(1, given="N9")
    world.run(world.saw_planfix(1))
    undo(world, newest(world))  # the simulated Planfix takes no empty name
    assert both(world, "given") == "N9"
    assert world.link(1).undoing is None  # type: ignore[union-attr]


# --- made and linked --------------------------------------------------------------------------------------


@modes
def test_undoing_a_creation_removes_the_person_and_it_does_not_come_back(mode: str) -> None:
    world = in_sync(2, mode)
    gone = resource(world)
    undo(world, newest(world))
    assert gone not in world.people
    assert world.link(1).dismissed == "Undone by hand."  # type: ignore[union-attr]
    assert world.told(1) == ["google created", "google removed"]
    world.contact(1, notes="later")
    world.run(world.saw_planfix(1))
    world.sync()
    assert [p.resource for p in world.people.values()] == [resource(world, 2)]
    undo(world, newest(world), request_id="back")
    assert world.told(1)[2:] == ["google restored", "google created"]
    assert both(world, "notes") == "later"


@modes
def test_undoing_a_creation_in_planfix_only_unlinks(mode: str) -> None:
    world = in_sync(1, mode)
    world.person("people/h", person_fields("Hal", "Ray", email="h@x"), label=True)
    world.run(world.saw_google("people/h"))
    undo(world, newest(world, 101, "created"))
    assert 101 in world.planfix
    assert LABEL not in world.people["people/h"].labels
    assert world.link(101).dismissed == "Undone by hand."  # type: ignore[union-attr]
    world.sync()
    assert LABEL not in world.people["people/h"].labels
    world.person("people/h", label=True)
    world.run(world.saw_google("people/h"))
    assert not world.link(101).dismissed  # type: ignore[union-attr]


@modes
@pytest.mark.parametrize("two_way", [True, False], ids=["two-way", "one-way"])
def test_undoing_a_link_gives_the_person_its_values_back_and_lets_it_go(mode: str, two_way: bool) -> None:
    world = in_mode(mode)
    world.contact(1, given="Ann", family="Lee", emails=email("a@x"), notes="P", phones=phones("+1"))
    world.person("people/a", person_fields("Ann", "Lee", email="a@x", notes="G", phones=phones("+2")))
    before = dict(world.people["people/a"].fields)
    world.enable()
    assert world.people["people/a"].fields["notes"] == "P"
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, two_way=two_way))
    undo(world, newest(world))
    person = world.people["people/a"]
    assert person.fields == before
    assert not person.labels
    assert world.planfix[1]["notes"] == "P"
    assert world.link(1).dismissed == "Undone by hand."  # type: ignore[union-attr]
    world.sync()
    assert not person.labels


# --- dismissed, removed, merged ---------------------------------------------------------------------------


@modes
def test_undoing_a_dismissal_restores(mode: str) -> None:
    world = in_sync(1, mode)
    gone = resource(world)
    world.people.pop(gone)
    world.identity.pop(1)
    world.run(world.saw_gone(gone))
    entry = newest(world)
    undo(world, entry)
    assert both(world, "notes") == "old"
    assert world.told(1) == ["google created", "google dismissed", "google restored", "google created"]
    assert {e["cause"] for _, _, e in world.history[2:]} == {f"undo of {entry}"}
    assert {e["run"] for _, _, e in world.history[2:]} == {"undo-u"}
    assert world.link(1).undoing is None  # type: ignore[union-attr]


@modes
def test_a_label_taken_off_comes_back_on(mode: str) -> None:
    world = in_sync(1, mode)
    world.unlabel(resource(world))
    world.run(world.saw_google(resource(world)))
    assert newest(world) == newest(world, 1, "dismissed")
    person = resource(world)
    undo(world, newest(world))
    assert resource(world) == person
    assert LABEL in world.people[person].labels
    assert len(world.people) == 1


@modes
def test_a_removal_is_taken_back_only_where_the_contact_is_in_the_list_again(mode: str) -> None:
    world = in_sync(1, mode)
    world.members.discard(1)
    world.run(PlanfixConfirmed(filter_id=FILTER, seen_at=world.now, gone=(1,)))
    entry = newest(world, 1, "removed")
    undo(world, entry)
    assert "does not hold the contact any more" in refused(world)


@modes
def test_merged_people_are_not_parted(mode: str) -> None:
    world = in_sync(2, mode)
    gone, stays = resource(world, 1), resource(world, 2)
    world.people.pop(gone)
    world.person(stays).previous = (gone,)
    world.run(world.saw_google(stays))
    undo(world, newest(world))
    assert "cannot be parted" in refused(world)


# --- refused ----------------------------------------------------------------------------------------------


def test_one_way_and_read_only_are_refused_with_the_reason() -> None:
    world = in_sync()
    edited_in_planfix(world)
    world.run(ChangeSettings(request_id="s", filter_id=FILTER, two_way=False))
    undo(world, newest(world))
    assert "one-way" in refused(world)
    world = in_sync()
    edited_in_google(world)
    world.read_only.add(1)
    world.person(resource(world), notes="x")
    world.run(world.saw_google(resource(world)))
    undo(world, newest(world, 1, "updated"))
    assert "may not edit" in refused(world)


def test_a_right_lost_in_the_middle_of_an_undo_is_told() -> None:
    world = in_sync()
    edited_in_google(world)
    world.read_only.add(1)
    undo(world, newest(world))
    assert both(world, "notes") == "new"
    assert world.told(1)[-1] == "planfix refused"
    assert world.link(1).undoing is None  # type: ignore[union-attr]


@pytest.mark.parametrize("entry", ["1.99", "7.1", "x", "1", "1.x", "", "1.2.3", "-1.2"])
def test_an_entry_that_is_unknown_or_expired_is_refused(entry: str) -> None:
    world = in_sync()
    undo(world, entry)
    assert "no such entry" in refused(world)


def test_an_entry_whose_values_were_too_large_to_keep_is_refused() -> None:
    world = in_sync()
    edited_in_planfix(world)
    name = f"history.{newest(world)}"
    world.stored[name] = orjson.dumps({n: v for n, v in orjson.loads(world.stored[name]).items() if n != "back"})
    undo(world, newest(world))
    assert "not kept" in refused(world)


@modes
def test_an_undo_counts_once(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    command = undo(world, newest(world))
    edited_in_planfix(world)
    world.writes.clear()
    world.run(command)
    assert not world.writes
    assert both(world, "notes") == "new"


@modes
def test_an_undo_during_a_pause_is_made_up_for(mode: str) -> None:
    world = in_sync(1, mode)
    edited_in_planfix(world)
    world.run(Pause(request_id="p", filter_id=FILTER))
    undo(world, newest(world))
    assert both(world, "notes") == "new"
    world.run(Resume(request_id="r", filter_id=FILTER))
    assert both(world, "notes") == "old"


# --- runs -------------------------------------------------------------------------------------------------


@modes
def test_a_whole_run_is_taken_back_and_what_cannot_be_is_named(mode: str) -> None:
    world = in_sync(7, mode)
    for number in range(1, 8):
        world.contact(number, notes="new")
    world.members.discard(7)
    world.run(SyncRequest(request_id="bad", filter_id=FILTER))
    world.contact(3, notes="newer")
    world.run(world.saw_planfix(3))
    undo(world, run="bad")
    assert [both(world, "notes", number) for number in range(1, 7)] == ["old", "old", "newer", "old", "old", "old"]
    done = world.record.undo
    assert done is not None
    # Where the process restarts, the sync may be over before the contact's leaving is confirmed.
    removed = [e["run"] for c, _, e in world.history if (c, e["operation"], e["run"]) == (7, "removed", "bad")]
    assert (done.finished, done.undone, done.left) == (True, 5, 1 + len(removed))
    assert "notes was edited since" in done.why[0]
    assert all("does not hold the contact" in why for why in done.why[1:])
    told = {c for c, _, e in world.history if e["cause"] == "undo of run bad"}
    assert told == {1, 2, 4, 5, 6}


@modes
def test_several_edits_of_one_run_are_taken_back_to_what_was_before_the_first(mode: str) -> None:
    world = in_sync(1, mode)
    for text in ("a", "b", "c"):
        world.contact(1, notes=text)
        world.run(world.saw_planfix(1))
    undo(world, run="auto-0")
    assert both(world, "notes") == "old"
    assert world.record.undo.undone == 3  # type: ignore[union-attr]


@modes
def test_a_first_sync_is_taken_back_as_a_whole(mode: str) -> None:
    world = in_sync(5, mode)
    undo(world, run="enable")
    assert not world.people
    assert {link.dismissed for link in world.links.values()} == {"Undone by hand."}
    assert len(world.planfix) == 5
    undo(world, run="undo-u", request_id="v")
    assert len(world.people) == 5


def test_a_run_that_nobody_knows_takes_nothing_back() -> None:
    world = in_sync()
    undo(world, run="nobody")
    assert (world.record.undo.finished, world.record.undo.undone) == (True, 0)  # type: ignore[union-attr]
