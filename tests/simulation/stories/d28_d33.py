"""D28 to D33 of the disasters that other contact syncs have had: two writers, accounts, plans, guards.

Part of `test_stories.py`, which says how they are told.
"""

from __future__ import annotations

from typing import Any

import pytest
from stories.shared import assert_both_arrived, creates, edit_both_sides

from contactsync_contracts.messages import Approve, Enable
from whole import World, check
from whole.system import SERVICES, Incarnation
from whole.telling import (
    defaults,
    harsh,
    labels,
    members,
    named,
    people,
    states,
    type_in,
)
from whole.world import Office

# ---- D28


def two_replicas(service: str) -> tuple[World, Incarnation, Office]:
    """Leases as they are outside of simulations; two of the service at work, which share its partitions."""
    world = harsh(lease_s=None)
    office = world.office(4)
    first = world.beside(service)
    world.run_for(30.0)
    return world, first, office


@pytest.mark.parametrize("killed", ["first", "second"])
@pytest.mark.parametrize("service", SERVICES)
def test_d28_two_of_a_service_share_the_work_and_one_goes_on_alone(service: str, killed: str) -> None:
    """A deployment ran twice for a while; both instances wrote, and each made the other's contacts again."""
    world, first, office = two_replicas(service)
    with world:
        mark = world.mark()
        edit_both_sides(world, office)
        world.contact("Eve", "New", email="eve@people.test", group=office.group)
        type_in(world, office, names=named("Fay", "Typed"), phoneNumbers=[{"value": "+4930987654"}])
        world.settle()
        assert_both_arrived(world, office)
        assert len(people(world, office)) == len(members(world, office)) == 6
        assert len(world.planfix.store.contacts) == 6
        assert len(world.writes(mark)) <= 7
        world.system.supervised = False
        (first if killed == "first" else world.system.running[service]).life.die()
        world.contact("Gil", "Later", email="gil@people.test", group=office.group)
        type_in(world, office, names=named("Hal", "Typed"), phoneNumbers=[{"value": "+4930987655"}])
        world.settle()
        assert len(people(world, office)) == len(members(world, office)) == 8
        assert len(world.planfix.store.contacts) == 8
        assert world.system.crashes == []
        check(world)


@pytest.mark.parametrize("moment", ["before it sends", "before it commits"])
@pytest.mark.parametrize("while_it", ["writes people", "writes contacts", "reads Planfix", "reads Google"])
def test_d28_who_slept_through_its_lease_wakes_up_and_sends_and_commits_nothing(while_it: str, moment: str) -> None:
    """The other way to two writers: a machine froze while it wrote, and woke up when another one did its work."""
    service, request = {
        "writes people": ("writer", "createContact|batchCreateContacts"),
        "writes contacts": ("writer", "POST /rest/contact/$"),
        "reads Planfix": ("planfix-watcher", "contact/list"),
        "reads Google": ("google-watcher", "connections"),
    }[while_it]
    with harsh(lease_s=None) as world:
        office = world.office(4, go=False)
        world.enable(office.filter_id, office.account, defaults=defaults(office))
        count = 4
        if while_it == "writes contacts":
            world.settle()
            type_in(world, office, names=named("Eve", "Typed"), phoneNumbers=[{"value": "+4930987654"}])
            count = 5
        asleep = world.put_to_sleep(service, request if moment == "before it sends" else "^commit state", 25.0)
        while not asleep.hits:
            world.run_for(0.1)
        first = world.beside(service)
        sent, leases = len(first.life.requests), len(first.life.leases)
        world.run_for(24.0)
        assert len(first.life.requests) == sent
        second = {key.rsplit(".", 1)[1] for key in world.system.running[service].life.leases}
        epochs = [value for key, value in world.server.values.items() if key.startswith(f"epoch.{service}.")]
        assert {value.value.decode() for value in epochs} <= second
        while len(first.life.leases) == leases:
            world.run_for(0.1)
        assert len(first.life.requests) == sent, "it sent what it was about to send when it fell asleep"
        world.settle()
        assert len(world.planfix.store.contacts) == count
        assert len(people(world, office)) == len(members(world, office)) == count
        assert list(labels(world, office).values()) == ["Clients"]
        assert world.system.crashes == []
        check(world)


# ---- D29


def outcome(world: World, office: Office, request_id: str) -> dict[str, Any]:
    """What whoever gave a command is told."""
    found: dict[str, Any] = world.query("request", filter_id=office.filter_id, request_id=request_id)
    return found


@pytest.mark.parametrize("moment", ["at rest", "when the connection has ended"])
def test_d29_another_google_account_at_reconnecting_is_refused(moment: str) -> None:
    """Somebody reconnected with the private account that was open in the browser: the work contacts went there."""
    with harsh() as world:
        office = world.office(4, go=False)
        other = world.account("olga.private@home.test")
        world.google.add_private_people(other.email, 3)
        world.enable(office.filter_id, office.account)
        world.settle()
        if moment != "at rest":
            world.revoke(office.account)
            world.run_for(300.0)
            assert world.status(office.filter_id)["state"] == "reconnect_needed"
        before, mark = len(world.google.dump(other.email)["people"]), world.mark()
        world.connect(other)
        request_id = world.request_id()
        world.command(
            Enable(
                request_id=request_id,
                filter_id=office.filter_id,
                filter_name="Clients",
                owner=office.owner,
                account=other.sub,
                google_email=other.email,
            )
        )
        world.run_for(1_000.0)
        told = outcome(world, office, request_id)
        assert told["done"]
        assert "Another Google account" in told["refused"]
        assert world.status(office.filter_id)["google_account"] == office.account.email
        assert len(world.google.dump(other.email)["people"]) == before
        assert world.google.dump(other.email)["groups"] == [
            one for one in world.google.dump(other.email)["groups"] if one.get("groupType") == "SYSTEM_CONTACT_GROUP"
        ]
        assert world.writes(mark) == []
        world.enable(office.filter_id, office.account)
        world.settle()
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


# ---- D30


def refusal(world: World, office: Office, hash_: str) -> str:
    """Approve a hash; why that is refused, or nothing."""
    request_id = world.request_id()
    world.command(Approve(request_id=request_id, filter_id=office.filter_id, hash=hash_))
    world.run_for(10.0)
    assert outcome(world, office, request_id)["done"]
    return str(outcome(world, office, request_id)["refused"])


def sealed(world: World, office: Office) -> list[dict[str, Any]]:
    """Plans that wait for an approval."""
    return [plan for plan in world.status(office.filter_id)["plans"] if plan["hash"]]


def test_d30_what_is_applied_is_what_was_approved() -> None:
    """A review page showed what would happen; then everything happened, ticked or not, and what came later, too."""
    with harsh() as world:
        office = world.office(60)
        ours = office.contacts
        world.planfix.set_filter_members(office.filter_id, ours[20:])
        world.hands.note_absences()
        world.run_for(1_200.0)
        (plan,) = sealed(world, office)
        assert (plan["kind"], plan["actions"]) == ("remove", 20)
        assert len(people(world, office)) == 60
        # Twelve more leave, two come back: the plan that somebody looks at stays as it is.
        world.planfix.set_filter_members(office.filter_id, [*ours[:2], *ours[32:]])
        world.hands.note_absences()
        world.run_for(1_200.0)
        first, second = sealed(world, office)
        assert first["hash"] == plan["hash"]
        assert (second["kind"], second["actions"]) == ("remove", 12)
        assert refusal(world, office, "0123456789abcdef")
        assert len(people(world, office)) == 60
        assert refusal(world, office, plan["hash"]) == ""
        world.run_for(1_200.0)
        left = {contact for contact in ours if contact not in world.hands.people_of(office.account.email)}
        assert left == set(ours[2:20])
        assert refusal(world, office, plan["hash"])
        assert [one["hash"] for one in sealed(world, office)] == [second["hash"]]
        assert refusal(world, office, second["hash"]) == ""
        world.settle()
        left = {contact for contact in ours if contact not in world.hands.people_of(office.account.email)}
        assert left == set(ours[2:32])
        assert sealed(world, office) == []
        assert world.status(office.filter_id)["state"] == "in_sync"
        check(world)


def test_d30_a_value_that_nobody_looked_at_is_not_in_what_was_approved() -> None:
    """And the subtler one: the values that were looked at were others than those that were written."""
    with harsh(settings={"BREAKER_UPDATE": "10,10"}) as world:
        office = world.office(24)
        email = office.account.email
        for contact in office.contacts:
            world.planfix.edit_contact(contact, {"position": "Chief"})
        world.run_for(1_200.0)
        (plan,) = sealed(world, office)
        assert (plan["kind"], plan["actions"]) == ("update", 24)
        ann = office.contacts[0]
        world.planfix.edit_contact(ann, {"position": "Another"})
        world.run_for(1_200.0)  # one new value is none of many: it goes by itself
        mark = world.mark()
        assert refusal(world, office, plan["hash"]) == ""
        world.run_for(1_200.0)
        assert "Another" not in str([one.body for one in world.writes(mark)])
        for contact in office.contacts:
            shown = world.hands.in_google(email, world.person(contact, office.account)) or {}
            assert shown["position"] == ("Another" if contact == ann else "Chief")
        for one in sealed(world, office):
            assert refusal(world, office, one["hash"]) == ""
        world.settle()
        assert set(states(world, office).values()) == {"in_sync"}
        check(world)


# ---- D31


def everything(world: World, office: Office) -> dict[str, Any]:
    """Both vendors' contents and our store, but for what reading costs: quotas, and a new access token."""
    state = {key: one.value for key, one in world.server.values.items()}
    return {
        "planfix": world.planfix.dump(),
        "google": world.google.dump(office.account.email),
        "state": {k: v for k, v in state.items() if not k.startswith("quota.") and not k.endswith(".grant")},
        "mail": {name: list(stream.messages) for name, stream in world.server.streams.items()},
    }


def groups(preview: dict[str, Any]) -> dict[str, set[int | str]]:
    """What a preview says: action to the contacts (or people) that it names."""
    return {
        group["action"]: {row["contact"] or row["person"] for row in group["examples"]} for group in preview["would"]
    }


def ask(world: World, office: Office) -> dict[str, Any]:
    found: dict[str, Any] = world.query("preview", filter_id=office.filter_id)
    return found


def test_d31_a_preview_changes_nothing_and_says_what_the_sync_then_does() -> None:
    """A dry run created the label, moved the sync token, and the run that followed missed what had changed."""
    with harsh(settings={"POLL_PLANFIX_SECONDS": "3000", "POLL_GOOGLE_SECONDS": "3000"}) as world:
        office = world.office(12)
        email = office.account.email
        ann, bob, cem, dan, eli, hal, ivy, *_ = office.contacts
        private = world.google.add_person(
            email, {"names": named("Eve", "New"), "emailAddresses": [{"value": "eve@people.test"}]}
        )
        twins = [
            world.google.add_person(
                email, {"names": named("Twin", "Two"), "phoneNumbers": [{"value": "+4930222333"}]}
            )
            for _ in range(2)
        ]
        world.hands.adopted.add(private)
        world.hands.touched |= set(twins)
        world.settle()
        fay = world.contact("Fay", "New", email="fay@people.test", group=office.group)
        eve = world.contact("Eve", "New", email="eve@people.test", group=office.group)
        two = world.contact("Twin", "Two", phones=[{"number": "+4930222333", "type": 1}], group=office.group)
        world.hands.edit_planfix(email, ann, "position", "Chief")
        world.hands.edit_google(email, world.person(bob, office.account), "position", "Boss", bob)
        world.planfix.remove_from_filter(office.filter_id, cem)
        world.hands.note_absences()
        world.hands.delete_person(email, world.person(dan, office.account), dan)
        world.hands.dismissing.add(eli)
        world.google.remove_from_label(email, world.person(eli, office.account), "Clients")
        world.hands.touched.add(world.person(eli, office.account))
        world.hands.edit_planfix(email, hal, "position", "Boss")
        world.hands.edit_google(email, world.person(hal, office.account), "position", "Boss", hal)
        world.planfix.remove_from_filter(office.filter_id, ivy)
        world.hands.note_absences()
        world.hands.delete_person(email, world.person(ivy, office.account), ivy)
        gus = type_in(world, office, names=named("Gus", "Typed"), phoneNumbers=[{"value": "+4930987654"}])
        world.run_for(60.0)
        before, mark = everything(world, office), world.mark()
        preview = ask(world, office)
        assert everything(world, office) == before
        assert world.writes(mark) == []
        assert groups(preview) == {
            "google ensure": {fay},
            "google adopt": {eve},
            "google update": {ann},
            "google remove": {cem},
            "planfix update": {bob},
            "planfix create": {gus},
            "dismiss": {dan, eli, ivy},
            "possible_duplicate": {two},
        }
        assert groups(ask(world, office)) == groups(preview)
        assert everything(world, office) == before
        world.sync(office.filter_id)
        world.settle()
        new = next(contact for contact, names in world.hands.people_of(email).items() if gus in names)
        assert states(world, office) == {
            **{contact: "in_sync" for contact in [*office.contacts, fay, eve, new] if contact != cem},
            **dict.fromkeys((dan, eli, ivy), "dismissed"),
            two: "possible_duplicate",
        }
        assert world.person(eve, office.account) == private
        assert (world.hands.in_planfix(bob) or {})["position"] == "Boss"
        assert (world.hands.in_google(email, world.person(ann, office.account)) or {})["position"] == "Chief"
        writes = world.writes(mark)
        assert [one.vendor for one in writes].count("planfix") == 2
        assert len(creates(writes)) == 2  # Fay in Google, Gus in Planfix
        quiet = ask(world, office)
        assert quiet["would"] == []
        check(world)


@pytest.mark.parametrize("what", ["typed in", "deleted", "typed in, the token expired"])
def test_d31_a_preview_knows_who_was_typed_in_or_deleted_just_before(what: str) -> None:
    """The same dry run said "would be created" of somebody who had been typed in a minute before."""
    with harsh(settings={"POLL_PLANFIX_SECONDS": "3000", "POLL_GOOGLE_SECONDS": "3000"}) as world:
        office = world.office(3)
        email = office.account.email
        fields = {"names": named("Eve", "New"), "emailAddresses": [{"value": "eve@people.test"}]}
        private = world.google.add_person(email, fields)
        world.hands.adopted.add(private)
        if what == "deleted":
            world.settle()
            world.hands.delete_person(email, private, 0)
        eve = world.contact("Eve", "New", email="eve@people.test", group=office.group)
        world.run_for(60.0)
        if "expired" in what:
            world.google.expire_sync_tokens(email)
        before = everything(world, office)
        preview = ask(world, office)
        assert everything(world, office) == before
        world.sync(office.filter_id)
        world.settle()
        assert (world.person(eve, office.account) == private) == (what != "deleted")
        if "expired" not in what:  # everybody would have to be read for that
            assert groups(preview) == {"google ensure" if what == "deleted" else "google adopt": {eve}}
        check(world)


@pytest.mark.parametrize("many", ["leave", "change"])
def test_d31_a_preview_says_what_would_be_held(many: str) -> None:
    """And one that said "20 will be deleted" as if they were, although nobody had been asked yet, or the reverse."""
    with harsh(settings={"BREAKER_UPDATE": "10,10"}) as world:
        office = world.office(30)
        if many == "leave":
            world.planfix.set_filter_members(office.filter_id, office.contacts[15:])
            world.hands.note_absences()
        else:
            for contact in office.contacts[:15]:
                world.planfix.edit_contact(contact, {"position": "Chief"})
        before, mark = everything(world, office), world.mark()
        preview = ask(world, office)
        assert everything(world, office) == before
        assert groups(preview) == {"held": set(office.contacts[:15])}
        world.sync(office.filter_id)
        world.run_for(1_200.0)
        assert world.writes(mark) == []
        (plan,) = ask(world, office)["plans"]
        assert plan["actions"] == plan["wanted"] == 15
        assert {row["contact"] for row in plan["examples"]} == set(office.contacts[:15])
        assert {row["action"] for row in plan["examples"]} == {
            "google remove" if many == "leave" else "google update"
        }
        before = everything(world, office)
        assert ask(world, office)["would"] == []
        assert everything(world, office) == before
        assert refusal(world, office, plan["hash"]) == ""
        world.settle()
        assert len(people(world, office)) == (15 if many == "leave" else 30)
        check(world)


# ---- D32


def test_d32_photos_are_not_ours() -> None:
    """A sync fetched photos from a slow host and put the default silhouette over good ones."""
    with harsh() as world:
        office = world.office(3, go=False)
        email = office.account.email
        adopted = world.google.add_person(
            email,
            {"names": named("Given1", "Family1"), "emailAddresses": [{"value": f"p1.{office.group}@people.test"}]},
        )
        world.hands.adopted.add(adopted)
        world.google.set_photo(email, adopted, "https://photos.test/ann")
        world.run_for(60.0)
        stalled = world.fault("delay", "(?i)photo", times=None, seconds=3_600.0)
        world.enable(office.filter_id, office.account)
        world.settle()
        ann, bob, _ = office.contacts
        person = world.person(bob, office.account)
        world.hands.touched.add(person)
        world.google.set_photo(email, person, "https://photos.test/bob")
        mark = world.mark()
        world.settle()
        assert world.writes(mark) == []
        for contact in (ann, bob):
            world.hands.edit_planfix(email, contact, "position", "Chief")
        world.settle()
        assert [one["url"] for one in world.person_json(ann, office.account)["photos"]] == ["https://photos.test/ann"]
        assert [one["url"] for one in world.person_json(bob, office.account)["photos"]] == ["https://photos.test/bob"]
        assert all("photo" not in str(one.body).lower() for one in world.writes())
        assert stalled.hits == 0
        check(world)


# ---- D33


def test_d33_a_plan_that_was_approved_is_not_asked_about_again() -> None:
    """A guard against mass deletion stopped the sync for good: whatever was answered, it fired again."""
    with harsh() as world:
        office = world.office(40)
        world.planfix.set_filter_members(office.filter_id, office.contacts[20:])
        world.hands.note_absences()
        world.settle()
        assert world.status(office.filter_id)["state"] == "frozen"
        world.restart()
        assert len(world.approve(office.filter_id)) == 1
        world.settle()
        assert len(people(world, office)) == 20
        assert world.status(office.filter_id)["state"] == "in_sync"
        world.planfix.set_filter_members(office.filter_id, office.contacts[25:])
        world.hands.note_absences()
        world.settle()
        assert len(people(world, office)) == 15
        assert sealed(world, office) == []
        assert world.idle(3) == []
        check(world)


def test_d33_empty_on_both_sides_is_fine() -> None:
    """The same guard fired at night when a list was empty here and there, as it should be."""
    with harsh() as world:
        office = world.office(0)
        assert world.status(office.filter_id)["state"] == "in_sync"
        assert world.idle(3) == []
        (ann,) = [world.contact("Ann", "First", email="ann@people.test", group=office.group)]
        world.settle()
        assert states(world, office) == {ann: "in_sync"}
        world.planfix.remove_from_filter(office.filter_id, ann)
        world.hands.note_absences()
        world.settle()
        for _ in world.approve(office.filter_id):
            world.settle()
        assert people(world, office) == []
        assert world.status(office.filter_id)["state"] == "in_sync"
        assert world.status(office.filter_id)["plans"] == []
        assert world.idle(5) == []
        world.google.expire_sync_tokens(office.account.email)
        world.restart()
        world.settle()
        assert world.status(office.filter_id)["state"] == "in_sync"
        check(world)


@pytest.mark.parametrize("how", ["deleted", "taken off"])
def test_d33_a_lost_label_is_answered_once(how: str) -> None:
    """And the label: restored once, it was "lost" again at the next look."""
    with harsh() as world:
        office = world.office(8)
        email = office.account.email
        before = people(world, office)
        world.hands.dismissing |= set(office.contacts)
        world.hands.touched |= set(before)
        if how == "deleted":
            world.google.delete_label(email, "Clients")
        else:
            for person in before:
                world.google.remove_from_label(email, person, "Clients")
        world.run_for(1_500.0)
        assert world.status(office.filter_id)["state"] == "frozen"
        assert people(world, office) == before
        world.resume(office.filter_id)
        world.settle()
        assert world.status(office.filter_id)["state"] == "in_sync"
        assert members(world, office) == set(before)
        assert set(states(world, office).values()) == {"in_sync"}
        assert world.idle(3) == []
        world.google.remove_from_label(email, before[0], "Clients")
        world.settle()
        assert sorted(states(world, office).values()) == ["dismissed", *["in_sync"] * 7]
        check(world)
