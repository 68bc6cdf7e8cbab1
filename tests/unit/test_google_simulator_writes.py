"""The simulated Google as a writer meets it: etags, masks, what the server derives, batches, limits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from simulated_google import CONTACT, EMAIL, MASK, Phone, groups_of, member_of

STALE = "Request person.etag is different than the current person.etag. Clear local cache and get the latest person."


@pytest.fixture
def phone() -> Phone:
    return Phone()


def batch(*people: dict[str, Any], mask: str = MASK) -> dict[str, Any]:
    return {"contacts": [{"contactPerson": person} for person in people], "readMask": mask, "sources": [CONTACT]}


def updates(people: Any, mask: str, **changes: Any) -> dict[str, Any]:
    contacts = {each["resourceName"]: {"etag": each["etag"], **changes} for each in people}
    return {"contacts": contacts, "updateMask": mask, "readMask": MASK, "sources": [CONTACT]}


def error_of(phone: Phone, path: str, body: Any) -> dict[str, Any]:
    response = phone.ask("POST", path, body)
    assert response.status >= 400
    error: dict[str, Any] = orjson.loads(response.body)["error"]
    return error


def test_the_server_derives_names_phones_and_types(phone: Phone) -> None:
    person = phone.create(
        mask=MASK + ",relations",
        names=[{"givenName": "Ada", "middleName": "B.", "familyName": "Lee", "honorificPrefix": "Dr.",
                "displayName": "ignored"}],
        phoneNumbers=[{"value": "(415) 555-2671", "type": "homeFax"}, {"value": "call her", "type": "boat"}],
        relations=[{"person": "Eve", "type": "colleague"}],
    )  # fmt: skip
    name = person["names"][0]
    assert name["displayName"] == name["unstructuredName"] == "Dr. Ada B. Lee"
    assert name["displayNameLastFirst"] == "Lee, Dr. Ada B."
    assert name["metadata"]["sourcePrimary"] is True
    fax, boat = person["phoneNumbers"]
    assert (fax["canonicalForm"], fax["formattedType"]) == ("+14155552671", "Home Fax")
    assert (boat.get("canonicalForm"), boat["formattedType"]) == (None, "boat")
    assert (fax["metadata"].get("primary"), boat["metadata"].get("primary")) == (True, None)
    assert person["relations"][0]["formattedType"] == "colleague"


def test_a_name_in_one_piece_is_parsed_and_wins_over_its_parts(phone: Phone) -> None:
    name = phone.create(names=[{"unstructuredName": "Ann Mary Lee"}])["names"][0]
    assert (name["givenName"], name["middleName"], name["familyName"]) == ("Ann", "Mary", "Lee")
    stale = [{"givenName": "Eve", "familyName": "Lee", "unstructuredName": "Ann Lee"}]
    assert phone.create(names=stale)["names"][0]["givenName"] == "Ann"
    lenient = Phone(unstructured_name_wins=False)
    assert lenient.create(names=stale)["names"][0]["displayName"] == "Eve Lee"


def test_a_new_contact_without_groups_is_in_my_contacts(phone: Phone) -> None:
    assert groups_of(phone.someone()) == {"contactGroups/myContacts"}


def test_a_masked_field_that_is_absent_is_cleared_and_the_others_stay(phone: Phone) -> None:
    person = phone.create(names=[{"givenName": "Ann"}], emailAddresses=[{"value": "a@example.com"}])
    after = phone.update(person, "names,phoneNumbers", phoneNumbers=[{"value": "+14155552671"}])
    assert "names" not in after
    assert after["emailAddresses"][0]["value"] == "a@example.com"
    assert after["phoneNumbers"][0]["value"] == "+14155552671"


def test_a_field_is_replaced_whole(phone: Phone) -> None:
    person = phone.create(names=[{"givenName": "Ann", "middleName": "M."}])
    after = phone.update(person, "names", names=[{"givenName": "Ann"}])
    assert "middleName" not in after["names"][0]


def test_client_data_is_kept_verbatim_and_replaced_as_an_array(phone: Phone) -> None:
    data = [{"key": "k", "value": " v "}, {"key": "k", "value": " v "}]
    person = phone.create(clientData=data)
    assert [{k: v for k, v in each.items() if k != "metadata"} for each in person["clientData"]] == data
    after = phone.update(person, "clientData", clientData=[{"key": "other", "value": "x"}])
    assert [each["key"] for each in after["clientData"]] == ["other"]


def test_a_stale_etag_is_refused_as_recorded(phone: Phone) -> None:
    person = phone.someone()
    fresh = phone.update(person, "names", names=[{"givenName": "Eve"}])
    path, query = f"{person['resourceName']}:updateContact", {"updatePersonFields": "names"}
    refused = phone.refused("PATCH", path, {"etag": person["etag"]}, **query)
    assert refused == (400, "FAILED_PRECONDITION", STALE)
    assert phone.get(person["resourceName"]) == fresh


def test_an_etag_read_with_another_mask_names_the_same_version(phone: Phone) -> None:
    person = phone.get(phone.someone()["resourceName"], "metadata")
    assert phone.update(person, "names", names=[{"givenName": "Eve"}])["names"][0]["givenName"] == "Eve"


def test_a_source_etag_does_not_do_as_the_persons(phone: Phone) -> None:
    person = phone.someone()
    source = person["metadata"]["sources"][0]
    path, query = f"{person['resourceName']}:updateContact", {"updatePersonFields": "names"}
    assert phone.refused("PATCH", path, {"etag": source["etag"]}, **query)[1] == "FAILED_PRECONDITION"
    in_its_place = {"metadata": {"sources": [{"type": "CONTACT", "etag": source["etag"]}]}}
    phone.call("PATCH", path, in_its_place | {"names": [{"givenName": "Eve"}]}, **query)
    assert phone.refused("PATCH", path, in_its_place, **query)[1] == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"etag": ""},
        {"metadata": {"sources": [{"type": "CONTACT"}]}},
        {"metadata": {"sources": [{"type": "PROFILE", "etag": "#x"}]}},
    ],
)
def test_an_update_must_bring_an_etag(phone: Phone, body: dict[str, Any]) -> None:
    path = f"{phone.someone()['resourceName']}:updateContact"
    assert phone.refused("PATCH", path, body, updatePersonFields="names")[:2] == (400, "INVALID_ARGUMENT")


def test_a_source_id_of_another_person_is_refused(phone: Phone) -> None:
    ann, eve = phone.someone("Ann"), phone.someone("Eve")
    body = {
        "etag": ann["etag"],
        "metadata": {"sources": [{"type": "CONTACT", "id": eve["metadata"]["sources"][0]["id"]}]},
    }
    path = f"{ann['resourceName']}:updateContact"
    assert phone.refused("PATCH", path, body, updatePersonFields="names")[0] == 400


def test_etags_move_with_labels_and_photos(phone: Phone) -> None:
    person = phone.someone()
    label = phone.label("Clients")["resourceName"]
    phone.call("POST", f"{label}/members:modify", {"resourceNamesToAdd": [person["resourceName"]]})
    labelled = phone.get(person["resourceName"])
    assert labelled["etag"] != person["etag"]
    phone.google.set_photo(EMAIL, person["resourceName"], "https://example.com/photo")
    assert phone.get(person["resourceName"])["etag"] != labelled["etag"]


@pytest.mark.parametrize(
    "mask", ["", "photos", "metadata", "etag", "names,shoeSizes", "skills", "coverPhotos", "ageRanges"]
)
def test_only_writable_fields_may_be_in_an_update_mask(phone: Phone, mask: str) -> None:
    person = phone.someone()
    path = f"{person['resourceName']}:updateContact"
    assert phone.refused("PATCH", path, {"etag": person["etag"]}, updatePersonFields=mask)[0] == 400


@pytest.mark.parametrize("field", ["names", "biographies", "birthdays", "genders"])
def test_singletons_are_single(phone: Phone, field: str) -> None:
    element = {"date": {"year": 1980}} if field == "birthdays" else {"value": "x"}
    element = {"givenName": "x"} if field == "names" else element
    refused = phone.refused("POST", "people:createContact", {field: [element, element]}, personFields=MASK)
    assert refused == (400, "INVALID_ARGUMENT", f"Cannot have more than one person.{field} per source.")


@pytest.mark.parametrize(
    "person",
    [
        {"name": "Ann"},
        {"names": [{"given": "Ann"}]},
        {"names": {"givenName": "Ann"}},
        {"names": [{"givenName": 5}]},
        {"phoneNumbers": ["+1"]},
        {"birthdays": [{"date": {"year": 1981, "month": 2, "day": 29}}]},
        {"birthdays": [{"date": {"year": 1981, "month": 13, "day": 1}}]},
        {"birthdays": [{"date": "1981-02-01"}]},
        {"biographies": [{"value": "x", "contentType": "MARKDOWN"}]},
        {"nicknames": [{"value": "x", "type": "pet"}]},
        {"miscKeywords": [{"value": "x", "type": "outlookUser"}]},
        {"memberships": [{"group": "x"}]},
        {"memberships": member_of("contactGroups/friends")},
        {"memberships": member_of("contactGroups/all")},
        {"nicknames": [{"value": "x" * 1025}]},
        {"clientData": [{"key": "k", "value": "x" * 1025}]},
        {"biographies": [{"value": "x" * 131_072}]},
        {"emailAddresses": [{"value": f"a{number}@example.com"} for number in range(501)]},
    ],
)
def test_a_bad_contact_is_refused(phone: Phone, person: dict[str, Any]) -> None:
    refused = phone.refused("POST", "people:createContact", person, personFields=MASK)
    assert refused[:2] == (400, "INVALID_ARGUMENT")
    assert phone.google.dump()["people"] == []


def test_a_long_note_and_output_only_fields_are_taken(phone: Phone) -> None:
    person = phone.create(
        mask="biographies,photos,birthdays,metadata",
        biographies=[{"value": "x" * 5000}],
        birthdays=[{"date": {"month": 2, "day": 29}}],
        photos=[{"url": "https://example.com"}],
        metadata={"objectType": "PAGE"},
        resourceName="",
        etag="",
    )
    assert len(person["biographies"][0]["value"]) == 5000
    assert person["birthdays"][0]["date"] == {"month": 2, "day": 29}
    assert person["photos"][0]["default"] is True
    assert person["metadata"]["objectType"] == "PERSON"


def test_a_group_of_nobody_is_not_found(phone: Phone) -> None:
    body = {"names": [{"givenName": "Ann"}], "memberships": member_of("contactGroups/ffff")}
    assert phone.refused("POST", "people:createContact", body, personFields=MASK)[:2] == (404, "NOT_FOUND")


def test_a_contact_keeps_at_least_one_group(phone: Phone) -> None:
    person = phone.someone()
    path = f"{person['resourceName']}:updateContact"
    refused = phone.refused("PATCH", path, {"etag": person["etag"]}, updatePersonFields="memberships")
    assert refused[:2] == (400, "INVALID_ARGUMENT")
    label = phone.label("Clients")["resourceName"]
    assert groups_of(phone.update(person, "memberships", memberships=member_of(label))) == {label}


def test_dates_of_organizations_make_the_server_fail(phone: Phone) -> None:
    person = {"organizations": [{"name": "Acme", "startDate": {"year": 2020}}]}
    assert phone.refused("POST", "people:createContact", person, personFields=MASK)[:2] == (500, "INTERNAL")
    lenient = Phone(organization_dates_fail=False)
    assert lenient.create(mask="organizations", **person)["organizations"][0]["startDate"] == {"year": 2020}


def test_a_server_that_reformats_settles_after_one_write() -> None:
    phone = Phone(reformat=True)
    person = phone.create(
        names=[{"givenName": " Ann  Mary "}],
        emailAddresses=[{"value": "Ann@Example.COM"}],
        phoneNumbers=[{"value": "415.555.2671"}],
    )
    assert person["names"][0]["givenName"] == "Ann Mary"
    assert person["emailAddresses"][0]["value"] == "ann@example.com"
    assert person["phoneNumbers"][0]["value"] == "+1 415-555-2671"
    again = phone.update(person, "phoneNumbers", phoneNumbers=[{"value": person["phoneNumbers"][0]["value"]}])
    assert again["phoneNumbers"] == person["phoneNumbers"]


def test_created_people_come_back_in_another_order() -> None:
    phone = Phone()
    bodies = [{"clientData": [{"key": "n", "value": str(number)}]} for number in range(50)]
    answer = phone.call("POST", "people:batchCreateContacts", batch(*bodies))["createdPeople"]
    order = [each["person"]["clientData"][0]["value"] for each in answer]
    assert sorted(order, key=int) == [str(number) for number in range(50)]
    assert order != sorted(order, key=int)
    assert all(each["requestedResourceName"] == each["person"]["resourceName"] for each in answer)


def test_an_empty_read_mask_answers_nothing_and_a_missing_one_is_refused(phone: Phone) -> None:
    body = batch({"names": [{"givenName": "Ann"}]}, mask="")
    assert phone.call("POST", "people:batchCreateContacts", body) == {}
    assert len(phone.google.dump()["people"]) == 1
    body.pop("readMask")
    assert phone.refused("POST", "people:batchCreateContacts", body)[0] == 400


def test_a_batch_with_bad_contacts_is_refused_whole_and_names_them(phone: Phone) -> None:
    good, long = {"names": [{"givenName": "Ann"}]}, {"names": [{"givenName": "x" * 1025}]}
    error = error_of(phone, "people:batchCreateContacts", batch(good, long, good, long))
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    details = error["details"][0]
    assert details["@type"] == "type.googleapis.com/google.people.v1.BatchCreateContactsErrorDetails"
    assert details["contactErrors"].keys() == {"1", "3"}
    assert details["contactErrors"]["1"]["code"] == 3
    assert phone.google.dump()["people"] == []


def test_json_that_fits_no_schema_is_refused_without_naming_the_contact(phone: Phone) -> None:
    error = error_of(phone, "people:batchCreateContacts", batch({}, {"name": "Ann"}))
    assert "Unknown name \"name\" at 'contacts[1].contact_person'" in error["message"]
    assert error["details"][0]["@type"].endswith("BadRequest")


def test_a_batch_may_fail_without_naming_anybody() -> None:
    phone = Phone(named_errors=False)
    error = error_of(phone, "people:batchCreateContacts", batch({"nicknames": [{"value": "x" * 1025}]}))
    assert "details" not in error


def test_a_batch_of_updates_with_a_missing_or_changed_person_is_refused_whole(phone: Phone) -> None:
    people = [phone.someone(f"Ann{number}") for number in range(3)]
    phone.call("DELETE", f"{people[0]['resourceName']}:deleteContact")
    phone.update(people[1], "names", names=[{"givenName": "Eve"}])
    body = updates(people, "names", names=[{"givenName": "New"}])
    details = error_of(phone, "people:batchUpdateContacts", body)["details"][0]
    assert details["@type"] == "type.googleapis.com/google.people.v1.BatchUpdateContactsErrorDetails"
    codes = {name: status["code"] for name, status in details["contactErrors"].items()}
    assert codes == {people[0]["resourceName"]: 5, people[1]["resourceName"]: 9}
    assert phone.get(people[2]["resourceName"])["names"][0]["givenName"] == "Ann2"
    phone.google.options.atomic_batches = False
    results = phone.call("POST", "people:batchUpdateContacts", body)["updateResult"]
    assert {name: result["httpStatusCode"] for name, result in results.items()} == {
        people[0]["resourceName"]: 404,
        people[1]["resourceName"]: 400,
        people[2]["resourceName"]: 200,
    }
    assert phone.get(people[2]["resourceName"])["names"][0]["givenName"] == "New"


def test_the_mask_of_a_batch_clears_in_every_contact(phone: Phone) -> None:
    people = [phone.create(names=[{"givenName": "Ann"}]) for _ in range(2)]
    body = updates(people, "names,biographies", biographies=[{"value": "x"}])
    body["contacts"][people[0]["resourceName"]]["names"] = [{"givenName": "Ann"}]
    results = phone.call("POST", "people:batchUpdateContacts", body)["updateResult"]
    assert "names" in results[people[0]["resourceName"]]["person"]
    assert "names" not in results[people[1]["resourceName"]]["person"]


def test_contacts_of_a_batch_update_are_a_map(phone: Phone) -> None:
    body = {"contacts": [], "updateMask": "names", "readMask": MASK}
    assert "Cannot bind a list to map" in phone.refused("POST", "people:batchUpdateContacts", body)[2]


def test_batches_have_a_size(phone: Phone) -> None:
    names = [f"people/c{number}" for number in range(501)]
    contacts = {name: {"etag": "%x"} for name in names[:201]}
    for path, body in (
        ("people:batchCreateContacts", batch(*({} for _ in range(201)))),
        ("people:batchUpdateContacts", {"contacts": contacts, "updateMask": "names", "readMask": ""}),
        ("people:batchDeleteContacts", {"resourceNames": names}),
        ("people:batchDeleteContacts", {"resourceNames": []}),
    ):
        assert phone.refused("POST", path, body)[:2] == (400, "INVALID_ARGUMENT")


def test_a_batch_delete_with_a_missing_person_deletes_nobody(phone: Phone) -> None:
    person = phone.someone()
    names = [person["resourceName"], "people/c1"]
    assert phone.refused("POST", "people:batchDeleteContacts", {"resourceNames": names})[:2] == (404, "NOT_FOUND")
    phone.get(person["resourceName"])
    assert phone.call("POST", "people:batchDeleteContacts", {"resourceNames": names[:1]}) == {}
    assert phone.refused("DELETE", f"{person['resourceName']}:deleteContact")[0] == 404


def test_the_trash_counts_for_the_limit_until_thirty_days_have_passed() -> None:
    phone = Phone(contacts_max=2)
    people = [phone.someone("Ann"), phone.someone("Eve")]
    phone.call("DELETE", f"{people[0]['resourceName']}:deleteContact")
    body = {"names": [{"givenName": "New"}]}
    refused = phone.refused("POST", "people:createContact", body, personFields=MASK)
    assert refused[:2] == (429, "RESOURCE_EXHAUSTED")
    assert "MY_CONTACTS_OVERFLOW_COUNT" in refused[2]
    phone.update(people[1], "names", names=[{"givenName": "Still"}])
    phone.clock.now_s += 30 * 86_400 + 1
    phone.token = phone.google.issue_tokens(EMAIL)["access_token"]
    phone.someone("New")


def test_a_body_that_is_no_json_is_refused(phone: Phone) -> None:
    assert phone.refused("POST", "people:batchDeleteContacts", [])[0] == 400


def test_people_me_is_no_contact(phone: Phone) -> None:
    me = phone.call("GET", "people/me", personFields="emailAddresses,metadata")
    assert me["emailAddresses"][0]["value"] == EMAIL
    refused = phone.refused("PATCH", "people/me:updateContact", {"etag": "%x"}, updatePersonFields="names")
    assert refused[2] == 'Resource name "people/me" is not a valid contact person resource.'
