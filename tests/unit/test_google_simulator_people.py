"""Labels of the simulated Google, and what people do by hand: merging, restoring, labelling, revoking."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from contactsync.simulators.faults import Fault
from simulated_google import EMAIL, MASK, Phone, groups_of, member_of

MINE = "contactGroups/myContacts"


@pytest.fixture
def phone() -> Phone:
    return Phone()


def values(person: Any, field: str) -> list[str]:
    return [each["value"] for each in person.get(field, ())]


def test_system_groups_are_as_recorded(phone: Phone) -> None:
    phone.someone()
    groups = {each["name"]: each for each in phone.call("GET", "contactGroups")["contactGroups"]}
    assert list(groups) == [
        "starred", "friends", "family", "coworkers", "myContacts", "chatBuddies", "all", "blocked",
    ]  # fmt: skip
    assert groups["myContacts"] == {
        "resourceName": MINE,
        "groupType": "SYSTEM_CONTACT_GROUP",
        "name": "myContacts",
        "formattedName": "My Contacts",
        "memberCount": 1,
    }
    assert "memberCount" not in groups["starred"]


def test_a_label_keeps_its_client_data_and_shows_it_when_asked(phone: Phone) -> None:
    data = [{"key": "contactsync", "value": "acme/1"}]
    label = phone.label("Clients", clientData=data)
    assert "clientData" not in label
    shown = phone.call("GET", label["resourceName"], groupFields="clientData,name")
    assert shown["clientData"] == data
    assert "memberCount" not in shown


@pytest.mark.parametrize("name", ["clients", " CLIENTS ", "myContacts", "Starred"])
def test_a_label_name_is_taken_in_any_case(phone: Phone, name: str) -> None:
    phone.label("Clients")
    other = phone.label("Other")
    body = {"contactGroup": {"name": name}}
    assert phone.refused("POST", "contactGroups", body)[:2] == (409, "ALREADY_EXISTS")
    assert phone.refused("PUT", other["resourceName"], body)[:2] == (409, "ALREADY_EXISTS")


def test_a_label_needs_a_name_and_known_fields(phone: Phone) -> None:
    assert phone.refused("POST", "contactGroups", {"contactGroup": {"name": " "}})[0] == 400
    assert phone.refused("POST", "contactGroups", {"contactGroup": {"title": "x"}})[0] == 400
    assert phone.refused("POST", "contactGroups", {"name": "x"})[0] == 400
    assert phone.refused("GET", "contactGroups", groupFields="etag")[0] == 400


def test_a_label_is_updated_by_mask_and_guarded_by_its_etag(phone: Phone) -> None:
    label = phone.label("Clients", clientData=[{"key": "k", "value": "v"}])
    body = {"contactGroup": {"name": "Customers", "etag": label["etag"]}}
    renamed = phone.call("PUT", label["resourceName"], body)
    assert renamed["formattedName"] == "Customers"
    assert renamed["etag"] != label["etag"]
    assert phone.call("GET", label["resourceName"], groupFields="clientData")["clientData"]
    assert phone.refused("PUT", label["resourceName"], body)[:2] == (400, "FAILED_PRECONDITION")
    assert phone.refused("PUT", MINE, body)[0] == 400
    assert phone.refused("PUT", "contactGroups/ff", body)[0] == 404


def test_the_list_of_labels_gives_pages_and_a_token_unasked(phone: Phone) -> None:
    for number in range(3):
        phone.label(f"Label {number}")
    first = phone.call("GET", "contactGroups", pageSize="6")
    second = phone.call("GET", "contactGroups", pageSize="6", pageToken=first["nextPageToken"])
    assert (len(first["contactGroups"]), len(second["contactGroups"])) == (6, 5)
    assert first["totalItems"] == 11
    assert "nextPageToken" not in second
    assert first["nextSyncToken"]
    assert phone.refused("GET", "contactGroups", pageSize="7", pageToken=first["nextPageToken"])[0] == 400


def test_a_delta_of_labels_shows_changed_and_deleted_ones(phone: Phone) -> None:
    kept, gone = phone.label("Kept"), phone.label("Gone")
    phone.label("Quiet")
    token = phone.call("GET", "contactGroups")["nextSyncToken"]
    assert phone.call("GET", "contactGroups", syncToken=token).keys() == {"nextSyncToken"}
    phone.google.rename_label(EMAIL, kept["resourceName"], "Renamed")
    phone.call("DELETE", gone["resourceName"])
    delta = phone.call("GET", "contactGroups", syncToken=token)["contactGroups"]
    shown = {each["resourceName"]: each for each in delta}
    assert shown.keys() == {kept["resourceName"], gone["resourceName"]}
    assert shown[kept["resourceName"]]["name"] == "Renamed"
    assert shown[gone["resourceName"]]["metadata"]["deleted"] is True
    phone.google.expire_sync_tokens(EMAIL)
    assert "expired" in phone.refused("GET", "contactGroups", syncToken=token)[2]


def test_a_new_label_is_listed_late_and_read_at_once() -> None:
    phone = Phone(list_lag_s=5.0)
    label = phone.label("Clients")["resourceName"]
    listed = [each["resourceName"] for each in phone.call("GET", "contactGroups")["contactGroups"]]
    assert label not in listed
    assert phone.call("GET", label)["name"] == "Clients"
    phone.clock.now_s += 6
    assert phone.call("GET", "contactGroups")["contactGroups"][0]["resourceName"] == label


def test_a_list_of_labels_may_be_empty_for_a_cycle(phone: Phone) -> None:
    phone.label("Clients")
    phone.google.faults.add(Fault(kind="empty_page", path="contactGroups$"))
    assert phone.call("GET", "contactGroups").keys() == {"nextSyncToken"}
    assert phone.call("GET", "contactGroups")["totalItems"] == 9


def test_members_are_added_and_removed_with_the_answer_saying_who_was_not(phone: Phone) -> None:
    ann, eve = phone.someone("Ann")["resourceName"], phone.someone("Eve")["resourceName"]
    label = phone.label("Clients")["resourceName"]
    path = f"{label}/members:modify"
    answer = phone.call("POST", path, {"resourceNamesToAdd": [ann, eve, "people/c1"]})
    assert answer == {"notFoundResourceNames": ["people/c1"]}
    shown = phone.call("GET", label, maxMembers="10")
    assert shown["memberCount"] == 2
    assert set(shown["memberResourceNames"]) == {ann, eve}
    assert phone.call("POST", path, {"resourceNamesToRemove": [eve]}) == {}
    phone.call("POST", f"{MINE}/members:modify", {"resourceNamesToRemove": [ann]})
    assert phone.call("POST", path, {"resourceNamesToRemove": [ann]}) == {
        "canNotRemoveLastContactGroupResourceNames": [ann]
    }
    assert groups_of(phone.get(ann)) == {label}


@pytest.mark.parametrize("group", ["friends", "family", "coworkers", "all", "blocked", "chatBuddies"])
def test_nobody_is_added_to_other_system_groups(phone: Phone, group: str) -> None:
    body = {"resourceNamesToAdd": [phone.someone()["resourceName"]]}
    path = f"contactGroups/{group}/members:modify"
    assert phone.refused("POST", path, body)[:2] == (400, "INVALID_ARGUMENT")
    assert phone.call("POST", "contactGroups/starred/members:modify", body) == {}


def test_a_thousand_members_at_a_time(phone: Phone) -> None:
    label = phone.label("Clients")["resourceName"]
    body = {
        "resourceNamesToAdd": [f"people/c{number}" for number in range(600)],
        "resourceNamesToRemove": [f"people/c{number}" for number in range(401)],
    }
    assert phone.refused("POST", f"{label}/members:modify", body)[0] == 400
    assert phone.refused("POST", "contactGroups/ff/members:modify", {"resourceNamesToAdd": ["people/c1"]})[0] == 404


def test_a_deleted_label_leaves_its_people(phone: Phone) -> None:
    label = phone.label("Clients")["resourceName"]
    both = phone.create(names=[{"givenName": "Ann"}], memberships=member_of(MINE, label))
    only = phone.create(names=[{"givenName": "Eve"}], memberships=member_of(label))
    assert phone.call("DELETE", label) == {}
    assert groups_of(phone.get(both["resourceName"])) == groups_of(phone.get(only["resourceName"])) == {MINE}
    assert phone.refused("GET", label)[0] == 404
    assert phone.google.violations == []
    phone.label("Clients")


def test_deleting_a_label_with_its_people_is_noted(phone: Phone) -> None:
    label = phone.label("Clients")["resourceName"]
    person = phone.create(names=[{"givenName": "Ann"}], memberships=member_of(label))
    phone.call("DELETE", label, deleteContacts="true")
    assert phone.google.violations[0]["kind"] == "delete_contacts_with_group"
    assert phone.google.dump()["trash"] == [person["resourceName"]]
    assert phone.google.count_people(EMAIL) == len(phone.google.dump()["people"]) == 0


def test_a_merge_unites_two_people_and_names_the_loser(phone: Phone) -> None:
    label = phone.label("Clients")["resourceName"]
    ann = phone.create(
        names=[{"givenName": "Ann"}],
        emailAddresses=[{"value": "a@example.com"}, {"value": "both@example.com"}],
        clientData=[{"key": "contactsync", "value": "1"}],
    )
    anna = phone.create(
        names=[{"givenName": "Anna"}],
        emailAddresses=[{"value": "both@example.com"}, {"value": "b@example.com"}],
        clientData=[{"key": "contactsync", "value": "2"}],
        memberships=member_of(label),
    )
    token = phone.listed()["nextSyncToken"]
    phone.google.merge_people(EMAIL, ann["resourceName"], anna["resourceName"])
    shown = {each["resourceName"]: each for each in phone.delta(token)["connections"]}
    survivor = shown[ann["resourceName"]]
    assert survivor["metadata"]["previousResourceNames"] == [anna["resourceName"]]
    assert values(survivor, "emailAddresses") == ["a@example.com", "both@example.com", "b@example.com"]
    assert values(survivor, "clientData") == ["1", "2"]
    assert [each["givenName"] for each in survivor["names"]] == ["Ann"]
    assert groups_of(survivor) == {MINE, label}
    assert shown[anna["resourceName"]]["metadata"]["deleted"] is True
    assert phone.refused("GET", anna["resourceName"], personFields="names")[0] == 404
    with pytest.raises(ValueError, match="Trash"):
        phone.google.restore_person(EMAIL, anna["resourceName"])


def test_a_person_comes_back_from_the_trash_under_the_same_name(phone: Phone) -> None:
    person = phone.someone()
    token = phone.listed()["nextSyncToken"]
    phone.google.delete_person(EMAIL, person["resourceName"])
    phone.google.restore_person(EMAIL, person["resourceName"])
    delta = phone.delta(token)["connections"]
    assert [each["resourceName"] for each in delta] == [person["resourceName"]]
    assert delta[0]["names"] == person["names"]
    assert delta[0]["etag"] != person["etag"]
    assert phone.google.dump()["trash"] == []


def test_people_edit_and_label_by_hand(phone: Phone) -> None:
    name = phone.google.add_person(EMAIL, {"names": [{"givenName": "Ann"}], "nicknames": [{"value": "A"}]})
    label = phone.google.create_label(EMAIL, "Friends of mine")
    phone.google.edit_person(EMAIL, name, {"phoneNumbers": [{"value": "+14155552671"}], "nicknames": []})
    phone.google.add_to_label(EMAIL, name, "Friends of mine")
    person = phone.get(name, MASK + ",nicknames")
    assert values(person, "phoneNumbers") == ["+14155552671"]
    assert "nicknames" not in person
    assert groups_of(person) == {MINE, label}
    phone.google.remove_from_label(EMAIL, name, label)
    assert groups_of(phone.get(name)) == {MINE}
    phone.google.delete_label(EMAIL, label)
    assert phone.google.dump()["groups"] == []


def test_what_cannot_be_done_by_hand_says_why(phone: Phone) -> None:
    for attempt in (
        lambda: phone.google.edit_person(EMAIL, "people/c1", {}),
        lambda: phone.google.add_person("nobody@example.com", {}),
        lambda: phone.google.add_person(EMAIL, {"shoes": []}),
        lambda: phone.google.create_label(EMAIL, ""),
        lambda: phone.google.rename_label(EMAIL, "Nothing", "Something"),
        lambda: phone.google.add_account(EMAIL),
        lambda: phone.google.set_options(speed=3),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            attempt()


def test_a_revoked_grant_ends_access_and_refresh(phone: Phone) -> None:
    assert phone.google.revoke_grant(EMAIL) == 1
    assert phone.refused("GET", "contactGroups")[0] == 401


def test_some_new_contacts_turn_out_to_have_a_profile() -> None:
    phone = Phone(profile_every=2)
    for number in range(4):
        phone.create(names=[{"givenName": "Ann"}], emailAddresses=[{"value": f"a{number}@example.com"}])
    sources = phone.listed(sources=["READ_SOURCE_TYPE_CONTACT", "READ_SOURCE_TYPE_PROFILE"])["connections"]
    assert [len(each["metadata"]["sources"]) for each in sources] == [1, 2, 1, 2]


def test_private_people_are_invented_and_a_dump_is_json(phone: Phone) -> None:
    names = phone.google.add_private_people(EMAIL, 20, seed=3)
    dump = phone.google.dump()
    assert {person["resourceName"] for person in dump["people"]} == set(names)
    assert orjson.loads(orjson.dumps(dump)) == dump
    assert all(callable(getattr(phone.google, name)) for name in phone.google.CONTROL)


def test_counters_count_and_can_be_reset(phone: Phone) -> None:
    phone.someone()
    phone.listed()
    counters = phone.google.counters()
    assert counters["requests"] == {"people.createContact": 1, "people.connections.list": 1}
    assert counters["mutations"] == 1
    phone.google.reset_counters()
    assert phone.google.counters()["requests"] == {}
