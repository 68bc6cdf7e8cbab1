"""Answers of the simulated Google against Google's discovery document and against recorded answers.

The document ships with google-api-python-client. The recordings lie outside the repository
(``CONTACTSYNC_SHARED``); without them those tests are skipped.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from contactsync.simulators.google_schema import ELEMENT_SHAPES, PERSON_KEYS, READABLE, WRITABLE
from simulated_google import EMAIL, Phone, member_of

_FOUND = find_spec("googleapiclient")
assert _FOUND is not None
assert _FOUND.origin is not None
DOCUMENT = Path(_FOUND.origin).parent / "discovery_cache" / "documents" / "people.v1.json"
SCHEMAS: dict[str, Any] = orjson.loads(DOCUMENT.read_bytes())["schemas"]
SHARED = Path(os.environ.get("CONTACTSYNC_SHARED") or Path(__file__).resolve().parents[3] / "shared")
SAMPLES = SHARED / "facts" / "google-samples"
EVERYTHING = ",".join(READABLE)
RECORDED = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the recorded answers are not here")
RICH = {
    "names": [{"givenName": "Ada", "familyName": "Lee", "honorificPrefix": "Dr.", "phoneticGivenName": "a"}],
    "nicknames": [{"value": "Al"}],
    "emailAddresses": [{"value": "a@example.com", "type": "work"}, {"value": "b@example.com", "type": "home"}],
    "phoneNumbers": [{"value": "06 12345678"}, {"value": "+31612345678", "type": "mobile"}],
    "addresses": [{"streetAddress": "Main 1", "city": "Town", "country": "NL", "countryCode": "NL", "type": "work"}],
    "biographies": [{"value": "note"}],
    "birthdays": [{"date": {"year": 1815, "month": 12, "day": 10}}],
    "genders": [{"value": "female"}],
    "organizations": [{"name": "Acme", "title": "CTO", "department": "IT", "current": True, "type": "work"}],
    "urls": [{"value": "https://example.com", "type": "homePage"}],
    "imClients": [{"username": "ada", "protocol": "googleTalk", "type": "home"}],
    "relations": [{"person": "Eve", "type": "colleague"}],
    "events": [{"date": {"month": 2, "day": 29}, "type": "anniversary"}],
    "userDefined": [{"key": "shoe size", "value": "38"}],
    "clientData": [{"key": "contactsync", "value": "1"}],
    "externalIds": [{"value": "7", "type": "customer"}],
    "calendarUrls": [{"url": "https://example.com/c", "type": "freeBusy"}],
    "sipAddresses": [{"value": "1", "type": "home"}],
    "interests": [{"value": "x"}],
    "locations": [{"value": "desk", "current": True}],
    "miscKeywords": [{"value": "x", "type": "OUTLOOK_USER"}],
    "occupations": [{"value": "x"}],
    "locales": [{"value": "en"}],
}


def misfits(value: Any, schema: dict[str, Any], at: str) -> list[str]:
    """Where a value is not as the discovery document has it."""
    if "$ref" in schema:
        return misfits(value, SCHEMAS[schema["$ref"]], at)
    match schema.get("type"):
        case "object" if not isinstance(value, dict):
            return [f"{at} is no object"]
        case "object" if "properties" in schema:
            known = schema["properties"]
            found = [f"{at}.{key} does not exist" for key in value.keys() - known.keys()]
            return found + [m for k, v in value.items() if k in known for m in misfits(v, known[k], f"{at}.{k}")]
        case "object":
            return [m for k, v in value.items() for m in misfits(v, schema["additionalProperties"], f"{at}[{k}]")]
        case "array":
            if not isinstance(value, list):
                return [f"{at} is no list"]
            return [m for i, each in enumerate(value) for m in misfits(each, schema["items"], f"{at}[{i}]")]
        case "string":
            good = isinstance(value, str) and value in schema.get("enum", [value])
        case "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            good = isinstance(value, bool)
        case _:
            good = True
    return [] if good else [f"{at} is {value!r}, not {schema['type']}"]


def assert_fits(value: Any, name: str) -> None:
    assert misfits(value, SCHEMAS[name], name) == []


@pytest.fixture
def phone() -> Phone:
    phone = Phone()
    label = phone.google.create_label(EMAIL, "Clients")
    phone.google.add_person(EMAIL, RICH | {"memberships": member_of("contactGroups/myContacts", label)})
    phone.google.link_profile(EMAIL, phone.google.add_person(EMAIL, RICH))
    return phone


def shapes(value: Any) -> set[str]:
    """Paths and types of every leaf and object, indices left out."""
    found: set[str] = set()

    def walk(each: Any, at: str) -> None:
        if isinstance(each, dict):
            for key, content in each.items():
                walk(content, f"{at}.{key}")
        elif isinstance(each, list):
            for content in each:
                walk(content, f"{at}[]")
        else:
            found.add(f"{at}: {type(each).__name__}")

    walk(value, "")
    return found


def test_our_schema_is_the_discovery_documents() -> None:
    person = SCHEMAS["Person"]["properties"]
    assert person.keys() == PERSON_KEYS
    for name, shape in ELEMENT_SHAPES.items():
        element = SCHEMAS[person[name]["items"]["$ref"]]["properties"]
        assert element.keys() == shape.keys(), name
        read_only = {key for key, each in element.items() if each.get("readOnly")} | {"metadata"}
        assert {key for key, kind in shape.items() if kind == "!"} == read_only, name
    assert ELEMENT_SHAPES.keys() | {"memberships"} == set(WRITABLE)


def test_listings_fit(phone: Phone) -> None:
    for sources in (["READ_SOURCE_TYPE_CONTACT"], ["READ_SOURCE_TYPE_CONTACT", "READ_SOURCE_TYPE_PROFILE"]):
        listing = phone.listed(personFields=EVERYTHING, sources=sources)
        assert len(listing["connections"]) == 2
        assert_fits(listing, "ListConnectionsResponse")
    first, second = phone.listed(personFields=EVERYTHING)["connections"]
    token = phone.listed(personFields=EVERYTHING)["nextSyncToken"]
    phone.google.merge_people(EMAIL, first["resourceName"], second["resourceName"])
    assert_fits(phone.delta(token, personFields=EVERYTHING), "ListConnectionsResponse")
    assert_fits(phone.listed(pageSize="1"), "ListConnectionsResponse")


def test_people_and_batches_fit(phone: Phone) -> None:
    created = phone.create(mask=EVERYTHING, **RICH)
    assert set(RICH) < created.keys()
    assert_fits(created, "Person")
    body = {"contacts": [{"contactPerson": RICH}] * 3, "readMask": EVERYTHING}
    assert_fits(phone.call("POST", "people:batchCreateContacts", body), "BatchCreateContactsResponse")
    changes = {"contacts": {created["resourceName"]: created}, "updateMask": "names", "readMask": EVERYTHING}
    assert_fits(phone.call("POST", "people:batchUpdateContacts", changes), "BatchUpdateContactsResponse")
    names = [created["resourceName"], "people/c1"]
    answer = phone.call("GET", "people:batchGet", personFields=EVERYTHING, resourceNames=names)
    assert_fits(answer, "GetPeopleResponse")
    assert_fits(phone.call("GET", "people/me", personFields=EVERYTHING), "Person")


def test_labels_fit(phone: Phone) -> None:
    fields = "clientData,groupType,memberCount,metadata,name"
    label = phone.label("Other", clientData=[{"key": "k", "value": "v"}])
    assert_fits(label, "ContactGroup")
    listing = phone.call("GET", "contactGroups", groupFields=fields)
    assert_fits(listing, "ListContactGroupsResponse")
    assert_fits(phone.call("GET", label["resourceName"], groupFields=fields, maxMembers="5"), "ContactGroup")
    names = [label["resourceName"], "contactGroups/ff", "contactGroups/starred"]
    answer = phone.call("GET", "contactGroups:batchGet", resourceNames=names)
    assert_fits(answer, "BatchGetContactGroupsResponse")
    modified = phone.call("POST", f"{names[0]}/members:modify", {"resourceNamesToAdd": ["people/c1"]})
    assert_fits(modified, "ModifyContactGroupMembersResponse")
    phone.call("DELETE", label["resourceName"])
    token = listing["nextSyncToken"]
    assert_fits(phone.call("GET", "contactGroups", groupFields=fields, syncToken=token), "ListContactGroupsResponse")


def recorded(name: str) -> Any:
    path = SAMPLES / name
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    raw = path.read_bytes()
    return orjson.loads(raw if path.suffix == ".json" else raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2])


@RECORDED
@pytest.mark.parametrize(
    ("name", "region"),
    [("allodia/contacts/person_created.json", "NL"), ("libkgapi/person1_create_response.txt", "ES")],
)
def test_a_recorded_person_written_again_looks_the_same(name: str, region: str) -> None:
    sample = recorded(name)
    phone = Phone(default_region=region)
    written = {
        key: value for key, value in sample.items() if key not in ("etag", "resourceName", "metadata", "photos")
    }
    written.pop("memberships")
    created = phone.create(mask=EVERYTHING, **written)
    # The photo's `default` depends on whether there is one; the newer recordings say `sourcePrimary` of names.
    vague = {".photos[].default: bool", ".names[].metadata.sourcePrimary: bool"}
    assert shapes(created) - vague == shapes(sample) - vague
    for field in ("names", "addresses", "emailAddresses", "birthdays", "phoneNumbers"):
        ours = [{k: v for k, v in each.items() if k != "metadata"} for each in created[field]]
        theirs = [{k: v for k, v in each.items() if k != "metadata"} for each in sample[field]]
        assert ours == theirs


@RECORDED
def test_a_quiet_delta_and_a_tombstone_look_as_recorded(phone: Phone) -> None:
    token = phone.listed(personFields="metadata,names,photos")["nextSyncToken"]
    query = {"personFields": "metadata,names,photos"}
    assert shapes(phone.delta(token, **query)) == shapes(recorded("allodia/contacts/connections_delta_nochange.json"))
    name = phone.google.dump()["people"][0]["resourceName"]
    phone.google.delete_person(EMAIL, name)
    assert shapes(phone.delta(token, **query)) == shapes(recorded("allodia/contacts/connections_delta_removed.json"))


@RECORDED
def test_labels_look_as_recorded(phone: Phone) -> None:
    sample = recorded("allodia/contacts/contact_groups.json")
    ours = phone.call("GET", "contactGroups")
    assert shapes(ours) == shapes(sample)
    assert [each["name"] for each in ours["contactGroups"][1:]] == [
        each["name"] for each in sample["contactGroups"][1:]
    ]
    assert [each["formattedName"] for each in ours["contactGroups"][1:]] == [
        each["formattedName"] for each in sample["contactGroups"][1:]
    ]
    assert shapes(phone.label("Fresh")) == shapes(recorded("allodia/contacts/group_created.json"))


@RECORDED
def test_errors_are_as_recorded(phone: Phone) -> None:
    def error(response: Any) -> Any:
        return orjson.loads(response.body)["error"]

    query = {"personFields": "names", "requestSyncToken": "true"}
    bad = phone.ask("GET", "people/me/connections", syncToken="bm9uc2Vuc2U=", **query)
    assert error(bad) == recorded("allodia/error/contacts_sync_token_invalid.json")["error"]
    person = phone.google.dump()["people"][0]
    phone.google.touch_all(EMAIL)
    path = f"{person['resourceName']}:updateContact"
    stale = phone.ask("PATCH", path, {"etag": person["etag"]}, updatePersonFields="names")
    assert error(stale) == recorded("allodia/error/contacts_stale_etag.json")["error"]
    token = phone.listed(**query)["nextSyncToken"]
    phone.google.expire_sync_tokens(EMAIL)
    response = phone.ask(
        "GET", "people/me/connections", sources="READ_SOURCE_TYPE_CONTACT", pageSize="1000",
        syncToken=token, **query,
    )  # fmt: skip
    assert error(response) == recorded("errors/400_expired_sync_token.json")["error"]


@RECORDED
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("critical_reads_per_minute", "errors/429_critical_read_per_user.json"),
        ("critical_writes_per_minute", "errors/429_critical_write_per_user.json"),
    ],
)
def test_exhausted_quotas_are_as_recorded(option: str, name: str) -> None:
    phone = Phone(**{option: 1})
    phone.someone()
    response = phone.ask("POST", "people:createContact", {"names": [{"givenName": "Ann"}]})
    ours, theirs = orjson.loads(response.body)["error"], recorded(name)["error"]
    assert response.status == 429
    assert shapes(ours) == shapes(theirs)
    for key in ("quota_limit", "quota_metric", "service"):
        assert ours["details"][0]["metadata"][key] == theirs["details"][0]["metadata"][key]
    assert ours["message"].partition(" for consumer")[0] == theirs["message"].partition(" for consumer")[0]
