"""The simulated Google as a reader meets it: masks, pages, deltas, tokens, lag, tombstones, quotas."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from contactsync.simulators.faults import Fault
from contactsync.simulators.google_etags import version_named_by
from simulated_google import CONTACT, EMAIL, MASK, Phone

INVALID = (400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
EXPIRED = "Sync token is expired. Clear local cache and retry call without the sync token."


@pytest.fixture
def phone() -> Phone:
    return Phone()


def connections(phone: Phone, **query: Any) -> tuple[int, str, str]:
    asked = {"personFields": MASK, "sources": CONTACT, "pageSize": "1000", "requestSyncToken": "true"}
    return phone.refused("GET", "people/me/connections", **(asked | query))


def test_an_unknown_or_expired_token_is_refused(phone: Phone) -> None:
    assert phone.ask("GET", "people/me/connections", token="other", personFields="names").status == 401
    phone.clock.now_s += 3599
    assert phone.refused("GET", "contactGroups")[:2] == (401, "UNAUTHENTICATED")


def test_a_grant_without_contacts_is_refused(phone: Phone) -> None:
    token = phone.google.issue_tokens(EMAIL, ["openid", "email"])["access_token"]
    assert phone.refused("GET", "contactGroups", token=token)[:2] == (403, "PERMISSION_DENIED")


def test_a_read_only_grant_reads_and_does_not_write(phone: Phone) -> None:
    scope = "https://www.googleapis.com/auth/contacts.readonly"
    token = phone.google.issue_tokens(EMAIL, [scope])["access_token"]
    phone.call("GET", "contactGroups", token=token)
    assert phone.refused("POST", "contactGroups", {"contactGroup": {"name": "x"}}, token=token)[0] == 403


@pytest.mark.parametrize(
    "query",
    [
        {"personFields": ""},
        {"personFields": "names,etag"},
        {"personFields": "names,shoeSizes"},
        {"requestSyncToken": "True"},
        {"pageSize": "1001"},
        {"pageSize": "-1"},
        {"sources": "CONTACT"},
        {"personfields": "names"},
        {"sortOrder": "NAME"},
        {"syncToken": "not one of ours"},
        {"pageToken": "not one of ours"},
    ],
)
def test_a_listing_reads_its_parameters_strictly(phone: Phone, query: dict[str, str]) -> None:
    assert connections(phone, **query)[:2] == (400, "INVALID_ARGUMENT")


def test_a_malformed_sync_token_gets_the_recorded_answer(phone: Phone) -> None:
    assert connections(phone, syncToken="bm9uc2Vuc2U=") == INVALID


def test_only_the_last_page_has_a_sync_token(phone: Phone) -> None:
    for number in range(5):
        phone.someone(f"Ann{number}")
    first = phone.listed(pageSize="2")
    second = phone.listed(pageSize="2", pageToken=first["nextPageToken"])
    third = phone.listed(pageSize="2", pageToken=second["nextPageToken"])
    assert [len(page["connections"]) for page in (first, second, third)] == [2, 2, 1]
    assert "nextSyncToken" not in first | second
    assert "nextPageToken" not in third
    assert third["nextSyncToken"]
    assert {page["totalItems"] for page in (first, second, third)} == {5}
    names = {person["resourceName"] for page in (first, second, third) for person in page["connections"]}
    assert len(names) == 5


def test_without_asking_there_is_no_sync_token(phone: Phone) -> None:
    assert "nextSyncToken" not in phone.listed(requestSyncToken="false")


def test_a_quiet_delta_is_nothing_but_the_next_token(phone: Phone) -> None:
    phone.someone()
    delta = phone.delta(phone.listed()["nextSyncToken"])
    assert delta.keys() == {"nextSyncToken"}


def test_totals_of_a_delta_count_the_delta(phone: Phone) -> None:
    people = [phone.someone(f"Ann{number}") for number in range(3)]
    token = phone.listed()["nextSyncToken"]
    phone.update(people[1], "names", names=[{"givenName": "Eve"}])
    delta = phone.delta(token)
    assert [person["resourceName"] for person in delta["connections"]] == [people[1]["resourceName"]]
    assert (delta["totalItems"], delta["totalPeople"]) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"pageSize": "999"},
        {"personFields": "metadata,names"},
        {"sources": [CONTACT, "READ_SOURCE_TYPE_PROFILE"]},
        {"requestSyncToken": "false"},
        {"sortOrder": "LAST_MODIFIED_ASCENDING"},
    ],
)
def test_tokens_are_bound_to_every_other_parameter(phone: Phone, other: dict[str, Any]) -> None:
    for number in range(3):
        phone.someone(f"Ann{number}")
    token = phone.listed()["nextSyncToken"]
    assert connections(phone, syncToken=token, **other) == INVALID
    page = phone.listed(pageSize="2")["nextPageToken"]
    assert connections(phone, **({"pageSize": "2", "pageToken": page} | other)) == INVALID


def test_tokens_are_of_their_account(phone: Phone) -> None:
    token = phone.listed()["nextSyncToken"]
    phone.google.add_account("eve@example.com")
    eve = phone.google.issue_tokens("eve@example.com")["access_token"]
    assert connections(phone, syncToken=token, token=eve) == INVALID


def test_a_sync_token_expires_seven_days_after_the_full_listing(phone: Phone) -> None:
    token = phone.listed()["nextSyncToken"]
    phone.clock.now_s += 6 * 86_400
    phone.token = phone.google.issue_tokens(EMAIL)["access_token"]
    newer = phone.delta(token)["nextSyncToken"]
    phone.clock.now_s += 86_400
    phone.token = phone.google.issue_tokens(EMAIL)["access_token"]
    response = phone.ask(
        "GET", "people/me/connections", personFields=MASK, sources=CONTACT, pageSize="1000",
        requestSyncToken="true", syncToken=newer,
    )  # fmt: skip
    error = orjson.loads(response.body)["error"]
    assert (response.status, error["status"], error["message"]) == (400, "FAILED_PRECONDITION", EXPIRED)
    assert error["details"][0]["reason"] == "EXPIRED_SYNC_TOKEN"


def test_a_sync_token_may_expire_between_two_pages(phone: Phone) -> None:
    token = phone.listed(pageSize="2")["nextSyncToken"]
    for number in range(3):
        phone.someone(f"Ann{number}")
    page = phone.delta(token, pageSize="2")["nextPageToken"]
    phone.google.faults.add(Fault(kind="expire_sync_tokens", path="connections"))
    assert connections(phone, pageSize="2", syncToken=token, pageToken=page)[2] == EXPIRED


def test_a_listing_under_way_does_not_move(phone: Phone) -> None:
    for number in range(4):
        phone.someone(f"Ann{number}")
    first = phone.listed(pageSize="2")
    for person in first["connections"]:
        phone.call("DELETE", f"{person['resourceName']}:deleteContact")
    phone.someone("New")
    second = phone.listed(pageSize="2", pageToken=first["nextPageToken"])
    assert len(second["connections"]) == 2
    after = phone.delta(second["nextSyncToken"], pageSize="2")
    assert after["totalItems"] == 3


def test_writes_reach_lists_late_and_reads_at_once() -> None:
    phone = Phone(list_lag_s=5.0)
    token = phone.listed()["nextSyncToken"]
    person = phone.someone()
    assert phone.get(person["resourceName"])["names"][0]["givenName"] == "Ann"
    phone.clock.now_s += 4.9
    assert phone.delta(token).keys() == {"nextSyncToken"}
    phone.update(person, "names", names=[{"givenName": "Eve"}])
    phone.clock.now_s += 0.2
    assert phone.delta(token)["connections"][0]["names"][0]["givenName"] == "Ann"
    assert phone.listed()["connections"][0]["names"][0]["givenName"] == "Ann"
    phone.clock.now_s += 5
    assert phone.delta(token)["connections"][0]["names"][0]["givenName"] == "Eve"


def test_deletions_reach_lists_late_too() -> None:
    phone = Phone(list_lag_s=5.0)
    person = phone.someone()
    phone.clock.now_s += 6
    token = phone.listed()["nextSyncToken"]
    phone.google.delete_person(EMAIL, person["resourceName"])
    assert len(phone.listed()["connections"]) == 1
    assert phone.delta(token).keys() == {"nextSyncToken"}
    phone.clock.now_s += 6
    assert phone.delta(token)["connections"][0]["metadata"]["deleted"] is True
    assert "connections" not in phone.listed()


def test_a_tombstone_says_only_who_it_was(phone: Phone) -> None:
    person = phone.create(names=[{"givenName": "Ann"}], clientData=[{"key": "k", "value": "v"}])
    token = phone.listed(personFields=MASK + ",photos")["nextSyncToken"]
    phone.call("DELETE", f"{person['resourceName']}:deleteContact")
    tombstone = phone.delta(token, personFields=MASK + ",photos")["connections"][0]
    assert tombstone.keys() == {"resourceName", "etag", "metadata", "photos"}
    source = tombstone["metadata"]["sources"][0]
    assert tombstone["metadata"]["deleted"] is True
    assert source["updateTime"] == "1970-01-01T00:00:00Z"
    assert source["id"] == person["metadata"]["sources"][0]["id"]
    assert tombstone["photos"][0]["default"] is True
    assert phone.refused("GET", person["resourceName"], personFields="names")[0] == 404


def test_the_resource_name_is_the_source_id_in_decimal(phone: Phone) -> None:
    person = phone.someone()
    assert person["resourceName"] == f"people/c{int(person['metadata']['sources'][0]['id'], 16)}"


def test_the_persons_etag_changes_with_the_mask_and_names_the_same_version(phone: Phone) -> None:
    person = phone.someone()
    other = phone.get(person["resourceName"], "metadata,names")
    assert other["etag"] != person["etag"]
    version = person["metadata"]["sources"][0]["etag"].removeprefix("#")
    assert version_named_by(other["etag"]) == version_named_by(person["etag"]) == version
    assert version_named_by(f"#{version}") is None


def test_profile_values_mix_in_unless_only_contacts_are_asked_for(phone: Phone) -> None:
    name = phone.someone()["resourceName"]
    phone.google.link_profile(EMAIL, name)
    mixed = phone.get(name, sources=[CONTACT, "READ_SOURCE_TYPE_PROFILE"])
    default = phone.call("GET", name, personFields=MASK)
    for person in (mixed, default):
        assert [each["metadata"]["source"]["type"] for each in person["names"]] == ["CONTACT", "PROFILE"]
        assert [each["type"] for each in person["metadata"]["sources"]] == ["CONTACT", "PROFILE"]
    assert [each["metadata"]["source"]["type"] for each in phone.get(name)["names"]] == ["CONTACT"]


def test_a_list_cuts_at_a_hundred_emails_and_a_read_does_not(phone: Phone) -> None:
    emails = [{"value": f"a{number}@example.com"} for number in range(120)]
    person = phone.create(emailAddresses=emails)
    assert len(phone.listed()["connections"][0]["emailAddresses"]) == 100
    assert len(phone.get(person["resourceName"])["emailAddresses"]) == 120


def test_batch_get_names_who_was_asked_for_and_who_is_gone(phone: Phone) -> None:
    person = phone.someone()
    moved = phone.google.rename_person_resource(EMAIL, person["resourceName"])
    names = [person["resourceName"], "people/c1"]
    found, gone = phone.call("GET", "people:batchGet", personFields=MASK, resourceNames=names)["responses"]
    assert found["requestedResourceName"] == person["resourceName"]
    assert found["person"]["resourceName"] == moved
    assert gone == {
        "requestedResourceName": "people/c1",
        "httpStatusCode": 404,
        "status": {"code": 5, "message": "Requested entity was not found."},
    }
    too_many = [f"people/c{number}" for number in range(201)]
    assert phone.refused("GET", "people:batchGet", personFields=MASK, resourceNames=too_many)[0] == 400


def test_a_new_resource_name_names_the_old_one_in_a_delta(phone: Phone) -> None:
    person = phone.someone()
    token = phone.listed()["nextSyncToken"]
    moved = phone.google.rename_person_resource(EMAIL, person["resourceName"])
    shown = {each["resourceName"]: each for each in phone.delta(token)["connections"]}
    assert shown[moved]["metadata"]["previousResourceNames"] == [person["resourceName"]]
    assert shown[person["resourceName"]]["metadata"]["deleted"] is True
    assert "previousResourceNames" not in phone.listed()["connections"][0]["metadata"]


def test_update_times_drop_trailing_zeros_as_protobuf_does(phone: Phone) -> None:
    def update_time() -> str:
        return str(phone.someone()["metadata"]["sources"][0]["updateTime"])

    assert update_time().endswith(".250Z")
    phone.clock.now_s += 0.75
    assert "." not in update_time()
    phone.clock.now_s += 0.000025
    assert len(update_time().partition(".")[2]) == len("000025Z")


@pytest.mark.parametrize(("kind", "kept"), [("short_page", 2), ("empty_page", 0)])
def test_a_cut_list_says_that_it_is_complete(phone: Phone, kind: str, kept: int) -> None:
    for number in range(5):
        phone.someone(f"Ann{number}")
    phone.google.faults.add(Fault(kind=kind, path="connections"))
    page = phone.listed(pageSize="4")
    assert len(page.get("connections", ())) == page.get("totalItems", 0) == kept
    assert "nextPageToken" not in page
    assert page["nextSyncToken"]
    assert phone.listed()["totalItems"] == 5


def test_touching_everybody_changes_etags_and_nothing_else(phone: Phone) -> None:
    phone.someone("Ann")
    phone.someone("Eve")
    before = phone.listed()
    assert phone.google.touch_all(EMAIL) == 2
    after = phone.delta(before["nextSyncToken"])
    assert after["totalItems"] == 2

    def content(page: Any) -> Any:
        return [{k: v for k, v in person.items() if k not in ("etag", "metadata")} for person in page["connections"]]

    assert content(after) == content(before)
    assert {each["etag"] for each in after["connections"]}.isdisjoint(each["etag"] for each in before["connections"])


def test_keys_may_come_in_another_order_each_time() -> None:
    phone = Phone(shuffle_keys=True)
    person = phone.someone()
    texts = {phone.ask("GET", person["resourceName"], personFields=MASK).body for _ in range(5)}
    assert len(texts) > 1
    assert len({orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS) for text in texts}) == 1


def quota_error(phone: Phone, method: str, path: str, body: Any = None, **query: Any) -> Any:
    response = phone.ask(method, path, body, **query)
    assert response.status == 429, response.body
    return orjson.loads(response.body)["error"]


def test_critical_reads_are_counted_in_a_sliding_minute() -> None:
    phone = Phone(critical_reads_per_minute=2)
    name = phone.someone()["resourceName"]
    phone.clock.now_s += 30
    phone.get(name)
    metadata = quota_error(phone, "GET", name, personFields=MASK)["details"][0]["metadata"]
    assert metadata["quota_limit"] == "CriticalReadsPerMinutePerProjectPerUser"
    assert metadata["quota_metric"] == "people.googleapis.com/critical_read_requests"
    phone.clock.now_s += 30
    phone.get(name)
    quota_error(phone, "GET", name, personFields=MASK)
    assert phone.google.counters()["refused"] == {"critical_read": 2}


def test_a_batch_costs_six_reads_six_writes_and_two_hundred_of_the_day() -> None:
    phone = Phone(critical_reads_per_minute=12, critical_writes_per_minute=11, daily_writes=399)
    batch = {"contacts": [{"contactPerson": {"names": [{"givenName": "Ann"}]}}], "readMask": ""}
    assert phone.call("POST", "people:batchCreateContacts", batch) == {}
    assert phone.google.counters()["quota"] == {"critical_read": 6, "critical_write": 6, "daily_write": 200}
    error = quota_error(phone, "POST", "people:batchCreateContacts", batch)
    assert error["details"][0]["metadata"]["quota_limit"].startswith("CriticalWrites")
    phone.clock.now_s += 60
    error = quota_error(phone, "POST", "people:batchCreateContacts", batch)
    assert "PerDay" in error["details"][0]["metadata"]["quota_limit"]


def test_deletes_groups_and_group_reads_have_their_own_quotas() -> None:
    phone = Phone(writes_per_minute=12, group_reads_per_minute=1)
    people = [phone.someone(), phone.someone()]
    phone.call("DELETE", f"{people[0]['resourceName']}:deleteContact")
    phone.call("POST", "people:batchDeleteContacts", {"resourceNames": [people[1]["resourceName"]]})
    phone.label("Clients")
    quota_error(phone, "POST", "contactGroups", {"contactGroup": {"name": "Other"}})
    phone.call("GET", "contactGroups")
    quota_error(phone, "GET", "contactGroups")


def test_a_request_that_was_refused_with_400_was_charged() -> None:
    phone = Phone(critical_reads_per_minute=1)
    assert phone.refused("GET", "people/c1", personFields="")[0] == 400
    quota_error(phone, "GET", "people/c1", personFields="names")


def test_first_pages_of_full_listings_have_a_quota_without_a_name() -> None:
    phone = Phone(full_syncs_per_minute=1)
    token = phone.listed()["nextSyncToken"]
    error = quota_error(
        phone, "GET", "people/me/connections", personFields=MASK, sources=CONTACT, requestSyncToken="true"
    )
    assert "details" not in error
    phone.delta(token)
    phone.call("GET", "people/me/connections", personFields=MASK)


def test_an_unknown_path_is_not_json(phone: Phone) -> None:
    response = phone.ask("GET", "people:everything")
    assert response.status == 404
    assert response.body.startswith(b"<!DOCTYPE html>")
