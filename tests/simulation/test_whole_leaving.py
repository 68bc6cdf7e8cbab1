"""Leaving, moving and losing the state, with the whole system: what both sides hold afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from contactsync.runtime.bus import Refused
from contactsync_contracts.messages import Disconnect, Rebuild
from whole.world import GoogleAccount, Office, World


def disconnect(world: World, filter_id: str, *, remove: bool = False) -> None:
    world.command(Disconnect(request_id=world.request_id(), filter_id=filter_id, remove_contacts=remove))


def rebuild(world: World, filter_id: str) -> None:
    world.command(Rebuild(request_id=world.request_id(), filter_id=filter_id))


def state(world: World, filter_id: str) -> str:
    try:
        return str(world.status(filter_id)["state"])
    except Refused:
        return "gone"


def stored(world: World, prefix: str) -> set[str]:
    """Keys beyond what outlives a filter for a while: ids of requests, and marks against old messages."""
    keys = {key for key in world.server.values if key.startswith(prefix)}
    return {key for key in keys if ".request." not in key and ".label." not in key and ".gone." not in key}


def people(world: World, account: GoogleAccount) -> dict[str, Any]:
    """Resource name -> person, without what moves by itself."""
    names = [person["resourceName"] for person in world.google.dump(account.email)["people"]]
    return {name: world.google.shown(account.email, name) for name in sorted(names)}


def pairs(world: World, office: Office) -> dict[int, list[str]]:
    found = world.hands.people_of(office.account.email)
    return {contact: sorted(names) for contact, names in sorted(found.items())}


def adopting(world: World) -> Office:
    """Three contacts made in Google, a fourth adopted from there."""
    office = world.office(contacts=3, go=False)
    person = {
        "names": [{"givenName": "Given9", "familyName": "Family9"}],
        "emailAddresses": [{"value": "nine@people.test"}],
        "memberships": [{"contactGroupMembership": {"contactGroupResourceName": "contactGroups/myContacts"}}],
    }
    world.google.add_person(office.account.email, person)
    office.contacts.append(world.contact("Given9", "Family9", email="nine@people.test", group=office.group))
    world.enable(office.filter_id, office.account)
    world.settle()
    assert len(pairs(world, office)) == 4
    return office


def calm(world: World) -> None:
    """No service failed, and nobody writes when nobody does anything."""
    assert not world.system.crashes
    assert not world.system.errors
    assert not world.server.streams["DEAD"].messages
    assert not world.idle(1)


@pytest.mark.parametrize("remove", [False, True], ids=["keeping", "removing"])
def test_disconnecting_leaves_nothing_stored_and_the_grant_is_over(remove: bool) -> None:
    with World() as world:
        office = adopting(world)
        before = people(world, office.account)
        disconnect(world, office.filter_id, remove=remove)
        world.settle()
        assert state(world, office.filter_id) == "gone"
        for prefix in ("state.filter.", "state.account.", "history.", "state.planfix.rev.", "quota.google."):
            assert stored(world, prefix) == set(), prefix
        after = people(world, office.account)
        if remove:
            assert len(after) == 1
            (left,) = after.values()
            assert not left.get("clientData")
            assert len(left["memberships"]) == 1
        else:
            assert after == before
        assert len([n for n in world.planfix.store.contacts if world.planfix.store.live(n)]) == 4
        calm(world)


@pytest.mark.parametrize("remove", [False, True], ids=["keeping", "removing"])
def test_it_can_be_activated_again_at_once_without_a_duplicate(remove: bool) -> None:
    with World() as world:
        office = adopting(world)
        before = pairs(world, office)
        disconnect(world, office.filter_id, remove=remove)
        world.run_for(60.0)
        assert state(world, office.filter_id) == "gone"
        mark = world.mark()
        world.enable(office.filter_id, office.account)
        world.settle()
        assert state(world, office.filter_id) == "in_sync"
        assert sorted(pairs(world, office)) == office.contacts
        assert all(len(names) == 1 for names in pairs(world, office).values())
        if not remove:
            assert pairs(world, office) == before
            assert not [write for write in world.writes(mark) if "createContact" in write.path]
        number = office.contacts[0]
        world.hands.edit_planfix(office.account.email, number, "notes", "after")
        world.settle()
        assert world.person_json(number, office.account)["biographies"][0]["value"] == "after"
        calm(world)


@pytest.mark.parametrize("service", ["reconciler", "writer", "google-watcher"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 4])
def test_killed_while_disconnecting_it_goes_on(service: str, when: Any, nth: int) -> None:
    with World() as world:
        office = adopting(world)
        world.kill(service, when, "commit|publish|delete|revoke", nth)
        disconnect(world, office.filter_id, remove=True)
        world.settle()
        world.mended()
        assert state(world, office.filter_id) == "gone"
        assert stored(world, "state.filter.") == set()
        assert stored(world, "state.account.") == set()
        assert len(people(world, office.account)) == 1
        calm(world)


def test_old_messages_for_a_filter_that_is_gone_write_nothing() -> None:
    with World() as world:
        office = adopting(world)
        disconnect(world, office.filter_id, remove=True)
        world.settle()
        mark = world.mark()
        for place in range(40):
            world.replay(place)
        world.settle()
        assert not world.writes(mark)
        assert state(world, office.filter_id) == "gone"


def test_one_of_two_filters_of_an_account_leaves_and_the_other_goes_on() -> None:
    with World() as world:
        office = adopting(world)
        shared = office.contacts[:2]
        second = world.filter("Second", office.owner, contacts=shared)
        world.enable(second, office.account)
        world.settle()
        disconnect(world, office.filter_id, remove=True)
        world.settle()
        assert sorted(pairs(world, office)) == shared
        assert state(world, second) == "in_sync"
        assert "state.account.101.grant" in world.server.values
        world.hands.edit_planfix(office.account.email, shared[0], "notes", "after")
        world.hands.edit_google(
            office.account.email, world.person(shared[1], office.account), "notes", "too", shared[1]
        )
        world.settle()
        assert world.person_json(shared[0], office.account)["biographies"][0]["value"] == "after"
        found = world.hands.in_planfix(shared[1])
        assert found is not None
        assert found["notes"] == "too"
        calm(world)


def test_relinking_leaves_the_old_account_and_starts_in_the_new_one() -> None:
    with World() as world:
        office = adopting(world)
        before = people(world, office.account)
        other = world.account("olga.private@acme.test")
        world.enable(office.filter_id, other, relink=True)
        world.settle()
        assert people(world, office.account) == before
        assert state(world, office.filter_id) == "in_sync"
        assert world.status(office.filter_id)["google_account"] == other.email
        assert sorted(world.hands.people_of(other.email)) == office.contacts
        assert stored(world, "state.account.101.") == set()
        calm(world)


def test_another_account_without_relinking_changes_nothing() -> None:
    with World() as world:
        office = adopting(world)
        other = world.account("olga.private@acme.test")
        world.enable(office.filter_id, other)
        world.settle()
        assert world.status(office.filter_id)["google_account"] == office.account.email
        assert not world.hands.people_of(other.email)


@pytest.mark.parametrize("phase", ["at once", "after the first page", "in sync"])
def test_a_revoked_grant_stops_the_filter_and_reconnecting_resumes_it(phase: str) -> None:
    with World() as world:
        office = world.office(contacts=3, go=False)
        world.enable(office.filter_id, office.account)
        if phase == "in sync":
            world.settle()
        elif phase == "after the first page":
            world.run_for(4.0)
        world.revoke(office.account)
        world.run_for(300.0)
        if phase != "at once":
            world.hands.edit_planfix(office.account.email, office.contacts[0], "notes", "meanwhile")
        world.run_for(300.0)
        assert state(world, office.filter_id) == "reconnect_needed"
        world.enable(office.filter_id, office.account)
        world.settle()
        assert state(world, office.filter_id) == "in_sync"
        assert sorted(pairs(world, office)) == office.contacts
        calm(world)


# ---- the state is lost


def lose(world: World, *prefixes: str) -> None:
    world.stop()
    assert world.lose_state(*prefixes)


@pytest.mark.parametrize("edited", [False, True], ids=["untouched", "edited meanwhile"])
def test_with_an_empty_store_everybody_is_found_by_stamp(edited: bool) -> None:
    with World() as world:
        office = adopting(world)
        before = pairs(world, office)
        lose(world, "state.", "history.", "quota.")
        if edited:
            world.hands.edit_planfix(office.account.email, office.contacts[0], "notes", "from Planfix")
            resource = world.person(office.contacts[1], office.account)
            world.hands.edit_google(office.account.email, resource, "notes", "from Google", office.contacts[1])
        mark = world.mark()
        world.enable(office.filter_id, office.account)
        world.settle()
        assert state(world, office.filter_id) == "in_sync"
        assert pairs(world, office) == before
        assert not [w for w in world.writes(mark) if "createContact" in w.path or "delete" in w.path]
        if edited:
            assert world.person_json(office.contacts[0], office.account)["biographies"][0]["value"] == "from Planfix"
            found = world.hands.in_planfix(office.contacts[1])
            assert found is not None
            assert found["notes"] == "from Google"
        calm(world)


def test_with_an_empty_store_nobody_who_was_thrown_away_comes_back_unasked() -> None:
    with World() as world:
        office = adopting(world)
        gone = office.contacts[0]
        world.google.delete_person(office.account.email, world.person(gone, office.account))
        world.settle()
        lose(world, "state.", "history.", "quota.")
        world.enable(office.filter_id, office.account)
        world.run_for(1200.0)
        assert state(world, office.filter_id) == "frozen"
        assert gone not in pairs(world, office)
        assert len(pairs(world, office)) == 3


@pytest.mark.parametrize(
    "prefix",
    [
        "state.filter.{f}.link.",
        "state.account.101.person.",
        "state.account.101.cursor",
        "state.account.101.label.",
        "state.planfix.",
        "quota.",
    ],
)
@pytest.mark.parametrize("asked", [False, True], ids=["by itself", "by rebuild"])
def test_a_part_of_the_state_is_lost(prefix: str, asked: bool) -> None:
    with World() as world:
        office = adopting(world)
        before = pairs(world, office)
        lose(world, prefix.format(f=office.filter_id))
        mark = world.mark()
        world.start()
        if asked:
            rebuild(world, office.filter_id)
        else:
            world.sync(office.filter_id)
        world.settle()
        assert pairs(world, office) == before
        assert not [w for w in world.writes(mark) if "createContact" in w.path or "delete" in w.path]
        number, other = office.contacts[0], office.contacts[3]
        world.hands.edit_planfix(office.account.email, number, "notes", "after")
        world.hands.edit_google(office.account.email, world.person(other, office.account), "notes", "too", other)
        world.settle()
        assert world.person_json(number, office.account)["biographies"][0]["value"] == "after"
        found = world.hands.in_planfix(other)
        assert found is not None
        assert found["notes"] == "too"
        assert state(world, office.filter_id) == "in_sync"
        calm(world)


@pytest.mark.parametrize("what", [("epoch.",), ("epoch.", "state.account."), ("epoch.", "state.filter.")])
@pytest.mark.parametrize("asked", [False, True], ids=["by itself", "by rebuild"])
def test_the_store_is_rolled_back(what: tuple[str, ...], asked: bool) -> None:
    with World() as world:
        office = adopting(world)
        world.stop()
        saved = world.copy_state()
        world.start()
        email = office.account.email
        thrown = office.contacts[2]
        for text in ("one", "two", "three"):
            world.hands.edit_planfix(email, office.contacts[0], "notes", f"P {text}")
            world.hands.edit_google(
                email, world.person(office.contacts[1], office.account), "notes", f"G {text}", office.contacts[1]
            )
            world.settle()
        new = world.contact("Later", "Born", email="later@people.test", group=office.group)
        world.google.delete_person(email, world.person(thrown, office.account))
        world.settle()
        before = pairs(world, office)
        assert new in before
        world.stop()
        world.roll_back(saved, keep=what)
        mark = world.mark()
        world.start()
        if asked:
            world.run_for(20.0)
            rebuild(world, office.filter_id)
        else:
            world.sync(office.filter_id)
        world.settle()
        assert pairs(world, office) == before
        assert not [w for w in world.writes(mark) if "createContact" in w.path or "delete" in w.path]
        for number, text in ((office.contacts[0], "P three"), (office.contacts[1], "G three")):
            found = world.hands.in_planfix(number)
            assert found is not None
            assert found["notes"] == text
            assert world.person_json(number, office.account)["biographies"][0]["value"] == text
        row = world.row(office.filter_id, thrown)
        assert row is not None
        assert row["state"] == "dismissed"
        calm(world)


def test_a_rebuild_of_what_is_right_writes_nothing() -> None:
    with World() as world:
        office = adopting(world)
        mark = world.mark()
        rebuild(world, office.filter_id)
        world.settle()
        assert not world.writes(mark)
        assert state(world, office.filter_id) == "in_sync"
        calm(world)


# ---- the filter or its owner


def test_a_filter_whose_owner_changes_stops_and_goes_on_when_the_owner_is_back() -> None:
    with World() as world:
        office = adopting(world)
        other = world.employee("Peter")
        before = pairs(world, office)
        world.planfix.set_filter_owner(office.filter_id, other)
        world.run_for(1500.0)
        assert state(world, office.filter_id) == "owner_gone"
        world.hands.edit_planfix(office.account.email, office.contacts[0], "notes", "meanwhile")
        mark = world.mark()
        world.run_for(1500.0)
        assert not world.writes(mark)
        assert pairs(world, office) == before
        world.planfix.set_filter_owner(office.filter_id, office.owner)
        world.settle()
        assert state(world, office.filter_id) == "in_sync"
        assert world.person_json(office.contacts[0], office.account)["biographies"][0]["value"] == "meanwhile"


def test_a_filter_that_is_gone_can_be_disconnected_and_takes_its_people_along() -> None:
    with World() as world:
        office = adopting(world)
        world.planfix.delete_filter(office.filter_id)
        world.run_for(1500.0)
        assert state(world, office.filter_id) == "filter_gone"
        assert len(pairs(world, office)) == 4
        disconnect(world, office.filter_id, remove=True)
        world.settle()
        assert state(world, office.filter_id) == "gone"
        assert len(people(world, office.account)) == 1
