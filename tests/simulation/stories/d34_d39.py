"""D34 to D39 of the disasters that other contact syncs have had: long first syncs, leaving, stamps, rights.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from stories.shared import is_of_people, lose

from contactsync_contracts.messages import Disconnect
from whole import World, check
from whole.system import SERVICES
from whole.telling import (
    harsh,
    in_trash,
    labels,
    members,
    named,
    people,
    states,
    without_versions,
)
from whole.world import Office

# ---- D34


@pytest.mark.parametrize("seed", [1, 2])
def test_d34_a_first_sync_that_is_killed_every_few_seconds_goes_on_where_it_was(seed: int) -> None:
    """A first sync of 25,000 died after an hour, and began again from zero, again and again."""
    chance = random.Random(seed)
    with harsh() as world:
        office = world.office(300, go=False)
        world.google.add_private_people(office.account.email, 20)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        done = kills = 0
        while done < 300:
            world.run_for(chance.uniform(0.3, 1.2))
            world.kill(chance.choice(SERVICES))
            kills += 1
            now = len(members(world, office)) if world.label(office.filter_id) else 0
            assert now >= done
            done = now
            assert world.now < 7_200.0, world.status(office.filter_id)
        assert kills >= 8
        world.settle()
        assert len(people(world, office)) == 320
        sizes = [len(one.body.get("contacts", [one])) for one in world.writes() if is_of_people(one)]
        assert sum(sizes) == 300
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


# ---- D35


def leave(world: World, office: Office, *, remove: bool) -> None:
    world.command(Disconnect(request_id=world.request_id(), filter_id=office.filter_id, remove_contacts=remove))
    del world.synced[office.filter_id]
    world.settle()


@pytest.mark.parametrize("remove", [False, True], ids=["keep", "remove"])
def test_d35_disconnecting_takes_away_ours_alone_or_nothing(remove: bool) -> None:
    """Somebody uninstalled a sync, and with its own contacts it removed those that had been there before."""
    with harsh() as world:
        office = world.office(6, go=False)
        email = office.account.email
        private = world.google.add_private_people(email, 4)
        adopted = world.google.add_person(
            email,
            {"names": named("Given1", "Family1"), "emailAddresses": [{"value": f"p1.{office.group}@people.test"}]},
        )
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        loved = world.person(office.contacts[1], office.account)
        own = world.google.create_label(email, "Friends")
        world.google.add_to_label(email, loved, own)
        contacts = world.planfix.dump()
        before = {one: without_versions(world.google.shown(email, one)) for one in people(world, office)}
        label, mark = world.label(office.filter_id), world.mark()
        leave(world, office, remove=remove)
        assert world.planfix.dump() == contacts
        assert [one for one in world.writes(mark) if one.vendor == "planfix"] == []
        assert not [key for key in world.server.values if key.startswith(f"state.filter.{office.filter_id}.link.")]
        if not remove:
            assert world.writes(mark) == []
            assert people(world, office) == list(before)
            assert label in labels(world, office)
        else:
            # What was ours goes; what somebody put a label of their own on stays with its values, like the adopted.
            assert set(people(world, office)) == {*private, adopted, loved}
            assert in_trash(world, office)
            for kept in (adopted, loved):
                now = without_versions(world.google.shown(email, kept))
                assert now["names"] == before[kept]["names"]
                assert now["emailAddresses"] == before[kept]["emailAddresses"]
            assert members(world, office, own) == {loved}
        for one in private:
            assert without_versions(world.google.shown(email, one)) == before[one]
        assert world.idle(2) == []
        assert world.system.crashes == world.system.errors == []


# ---- D36


def test_d36_a_write_keeps_every_label_that_the_person_has() -> None:
    """A client sent memberships with its own label alone: the person's other labels and "My Contacts" were gone."""
    with harsh() as world:
        office = world.office(4, go=False)
        email = office.account.email
        own = [world.google.create_label(email, name) for name in ("Friends", "Choir")]
        groups = [*own, "contactGroups/starred", "contactGroups/myContacts"]
        adopted = world.google.add_person(
            email,
            {
                "names": named("Given1", "Family1"),
                "emailAddresses": [{"value": f"p1.{office.group}@people.test"}],
                "memberships": [{"contactGroupMembership": {"contactGroupResourceName": name}} for name in groups],
            },
        )
        world.hands.adopted.add(adopted)
        world.run_for(60.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        ann, bob, *_ = office.contacts
        other = world.filter("Second", office.owner, contacts=[ann, bob])
        world.enable(other, office.account)
        world.settle()
        ours = {world.label(office.filter_id), world.label(other)}
        assert labels_of(world, email, adopted) == {*groups, *ours}
        person = world.person(bob, office.account)
        world.hands.touched.add(person)
        world.google.add_to_label(email, person, own[0])
        for contact in (ann, bob):
            world.hands.edit_planfix(email, contact, "position", "Chief")
        world.settle()
        assert labels_of(world, email, adopted) == {*groups, *ours}
        assert labels_of(world, email, person) == {own[0], "contactGroups/myContacts", *ours}
        world.planfix.set_filter_members(other, [bob])
        world.hands.note_absences()
        world.settle()
        assert labels_of(world, email, adopted) == {*groups, world.label(office.filter_id)}
        world.planfix.remove_from_filter(office.filter_id, ann)
        world.hands.note_absences()
        world.settle()
        assert labels_of(world, email, adopted) == set(groups)
        check(world)


def labels_of(world: World, email: str, person: str) -> set[str]:
    found = world.google.shown(email, person) or {}
    return {one["contactGroupMembership"]["contactGroupResourceName"] for one in found["memberships"]}


# ---- D37


@pytest.mark.parametrize("order", ["Google first", "Planfix first", "at once", "while nothing runs"])
def test_d37_a_contact_that_is_gone_on_both_sides_leaves_nothing_behind(order: str) -> None:
    """A sync's table of links grew for years: most rows were of contacts that nobody had any more."""
    with harsh() as world:
        office = world.office(5)
        email, ann = office.account.email, office.contacts[0]
        person = world.person(ann, office.account)
        if order == "while nothing runs":
            world.stop()
        if order != "Planfix first":
            world.hands.delete_person(email, person, ann)
        if order == "Google first":
            world.settle()
        world.hands.trash(ann)
        world.hands.note_absences()
        world.start()
        world.settle()
        assert person not in people(world, office)
        assert ann not in states(world, office)
        assert f"state.filter.{office.filter_id}.link.{ann}" not in world.server.values
        assert len(states(world, office)) == len(people(world, office)) == 4
        check(world)


# ---- D38


def own_clients(world: World, email: str, *persons: str) -> list[dict[str, str]]:
    """The client data of all of them, as a merge leaves them on one."""
    found = [one for person in persons for one in (world.google.shown(email, person) or {})["clientData"]]
    return [{"key": one["key"], "value": one["value"]} for one in found]


MERGES = ["merged, the previous name told", "merged, the previous name not told", "stamps copied by another tool"]


@pytest.mark.parametrize("lost", [False, True], ids=["state kept", "state lost"])
@pytest.mark.parametrize("how", MERGES)
def test_d38_a_person_with_two_stamps_is_one_contacts_person(how: str, lost: bool) -> None:
    """A merge survivor had two stamps; the sync followed the second one and wrote Bob over Ann."""
    with harsh(google={"merge_names_previous": how == MERGES[0]}) as world:
        office = world.office(4)
        email = office.account.email
        ann, bob, cem, dan = office.contacts
        kept, gone = world.person(ann, office.account), world.person(bob, office.account)
        world.hands.touched |= {kept, gone}
        world.hands.dismissing |= {ann, bob}
        before = [world.planfix.shown(one) for one in (ann, bob)]
        if lost:
            lose(world, office, "everything")
        if how == MERGES[2]:
            world.google.edit_person(email, kept, {"clientData": own_clients(world, email, kept, gone)})
            world.google.delete_person(email, gone)
        else:
            world.google.merge_people(email, kept, gone)
        if lost:
            world.enable(office.filter_id, office.account)
        world.settle()
        found = states(world, office)
        assert found == {ann: "in_sync", bob: "merged", cem: "in_sync", dan: "in_sync"}
        row = world.row(office.filter_id, bob)
        assert row is not None
        assert str(ann) in row["reason"]
        assert world.hands.people_of(email)[ann] == [kept]
        assert bob not in world.hands.people_of(email)
        # Bob's later life in Planfix does not reach Ann's card.
        world.planfix.edit_contact(bob, {"position": "Bob's", "lastname": "Bobson"})
        world.settle()
        assert "Bob" not in str(world.google.shown(email, kept))
        assert [world.planfix.shown(bob)["id"], before[1]["id"]] == [bob, bob]
        assert world.planfix.shown(ann)["name"] == before[0]["name"]
        world.hands.edit_planfix(email, ann, "position", "Ann's")
        world.settle()
        assert (world.hands.in_google(email, kept) or {})["position"] == "Ann's"
        assert len(people(world, office)) == 3
        check(world)


# ---- D39

SHORT: dict[str, dict[str, Any]] = {
    "an empty answer": {"kind": "empty_page"},
    "half an answer": {"kind": "short_page"},
    "one contact": {"kind": "short_page", "keep": 1},
}


@pytest.mark.parametrize("cut", SHORT.values(), ids=SHORT)
def test_d39_a_short_answer_to_who_may_edit_locks_nobody(cut: dict[str, Any]) -> None:
    """A server left half of the contacts out of "editable by": they looked locked, and people's edits were undone."""
    with harsh() as world:
        office = world.office(12)
        email = office.account.email
        edited = office.contacts[:6]
        world.fault(path="contact/list", times=None, **cut)
        for contact in edited:
            world.hands.edit_google(
                email, world.person(contact, office.account), "notes", f"typed {contact}", contact
            )
        world.run_for(1_500.0)
        for contact in edited:
            shown = world.hands.in_google(email, world.person(contact, office.account)) or {}
            assert shown["notes"] == f"typed {contact}"
        assert not [row for row in world.contacts(office.filter_id) if "read-only" in " ".join(row["notes"]).lower()]
        assert not [row for row in world.contacts(office.filter_id) if "may not edit" in " ".join(row["notes"])]
        world.mended()
        world.settle()
        for contact in edited:
            assert (world.hands.in_planfix(contact) or {})["notes"] == f"typed {contact}"
        check(world)


def test_d39_who_may_really_not_edit_is_told_so_and_may_again_later() -> None:
    """What the check is for: the contact is read-only for its owner in Planfix, until the right comes back."""
    with harsh() as world:
        office = world.office(6)
        email, ann = office.account.email, office.contacts[0]
        person = world.person(ann, office.account)
        world.planfix.set_editable(office.owner, [ann], False)
        world.hands.edit_google(email, person, "notes", "may I?", ann)
        world.settle()
        row = world.row(office.filter_id, ann)
        assert row is not None
        assert any("may not edit" in note for note in row["notes"])
        assert (world.hands.in_planfix(ann) or {})["notes"] == ""
        assert "may I?" in str(world.history(office.filter_id, ann))
        world.planfix.set_editable(office.owner, [ann], True)
        world.sync(office.filter_id)
        world.settle()
        world.hands.edit_google(email, person, "notes", "now I may", ann)
        world.settle()
        assert (world.hands.in_planfix(ann) or {})["notes"] == "now I may"
        check(world)
