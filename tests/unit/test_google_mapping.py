"""Google's JSON of a person -> the canonical contact: named rows of 2-semantics 2.8."""

from __future__ import annotations

from typing import Any

import pytest

from contactsync.google.mapping import MappingConfig, to_person
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import Kept, Stamp

CONFIG = MappingConfig("DE", "acme.planfix.com", {"77": "Loyalty"})
OWN = {"metadata": {"primary": True, "source": {"type": "CONTACT", "id": "a1"}}}


def person(**fields: Any) -> dict[str, Any]:
    return {
        "resourceName": "people/c161",
        "etag": "%top",
        "metadata": {
            "sources": [
                {"type": "CONTACT", "id": "a1", "etag": "#src", "updateTime": "2026-02-03T04:05:06.123456789Z"}
            ]
        },
        **{name: [{**OWN, **entry} for entry in entries] for name, entries in fields.items()},
    }


def fields_of(**fields: Any) -> dict[str, Any]:
    return dict(to_person(person(**fields), config=CONFIG).fields)


def test_an_empty_person_is_known_to_be_empty() -> None:
    fields = fields_of()
    assert fields.pop("emails") == ()
    assert fields.pop("phones") == ()
    assert set(fields.values()) == {""}
    assert "custom:77" in fields


def test_the_version_is_the_contact_sources() -> None:
    seen = to_person(person(), config=CONFIG)
    assert (seen.etag, seen.source_id, seen.resource) == ("#src", "a1", "people/c161")
    assert seen.updated_at == pytest.approx(1770091506.123456)


@pytest.mark.parametrize(
    ("vendor", "entries", "field", "expected"),
    [
        ("names", [{"givenName": " Ada  Maria "}], "given", "Ada Maria"),
        ("names", [{"familyName": "Mu\u0308ller"}], "family", "Müller"),
        ("names", [{"unstructuredName": "Cher"}], "given", "Cher"),
        ("birthdays", [{"date": {"year": 1999, "month": 2, "day": 3}}], "birthday", "1999-02-03"),
        ("birthdays", [{"date": {"month": 2, "day": 29}}], "birthday", "--02-29"),
        ("birthdays", [{"date": {"year": 0, "month": 12, "day": 1}}], "birthday", "--12-01"),
        ("genders", [{"value": "female"}], "gender", "female"),
        ("genders", [{"value": "unspecified"}], "gender", ""),
        ("biographies", [{"value": " a\r\n\r\nb ", "contentType": "TEXT_PLAIN"}], "notes", "a\n\nb"),
        ("organizations", [{"name": "Acme", "title": "Boss"}, {"name": "Old"}], "company", "Acme"),
        ("organizations", [{"title": "Boss"}], "position", "Boss"),
        ("addresses", [{"formattedValue": "Main St 1\n10115 Berlin"}], "address", "Main St 1, 10115 Berlin"),
        ("urls", [{"value": "a", "type": "work"}, {"value": "b", "type": "homePage"}], "site", "b"),
        ("urls", [{"value": "a", "type": "blog"}, {"value": "b"}, {"value": "c", "type": "work"}], "site", "b"),
        ("urls", [{"value": "a", "type": "profile"}], "site", ""),
        ("urls", [{"value": "https://facebook.com/x/", "type": "Facebook"}], "facebook", "https://facebook.com/x"),
        ("imClients", [{"username": "https://t.me/Ada_L", "protocol": "Telegram"}], "telegram", "ada_l"),
        ("imClients", [{"username": "@Ada", "protocol": "telegram"}], "telegram", "ada"),
        ("imClients", [{"username": "ada.l", "protocol": "skype"}], "skype", "ada.l"),
        ("userDefined", [{"key": "Loyalty", "value": "gold"}, {"key": "x", "value": "y"}], "custom:77", "gold"),
    ],
)  # fmt: skip
def test_a_field_is_read_canonically(vendor: str, entries: Any, field: str, expected: str) -> None:
    assert fields_of(**{vendor: entries})[field] == expected


@pytest.mark.parametrize(
    ("vendor", "entries", "field"),
    [
        ("birthdays", [{"text": "in spring"}], "birthday"),
        ("birthdays", [{"date": {"year": 1999}}], "birthday"),
        ("birthdays", [{"date": {"year": 1999, "month": 2, "day": 29}}], "birthday"),
        ("genders", [{"value": "nonbinary"}], "gender"),
        ("biographies", [{"value": "<b>x</b>", "contentType": "TEXT_HTML"}], "notes"),
        ("emailAddresses", [{"value": f"a{n}@x.test"} for n in range(100)], "emails"),
    ],
)
def test_what_cannot_be_mapped_is_unknown_and_says_why(vendor: str, entries: Any, field: str) -> None:
    seen = to_person(person(**{vendor: entries}), config=CONFIG)
    assert field not in seen.fields
    assert seen.limits[field]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mobile", "mobile"),
        ("work", "work"),
        ("home", "home"),
        ("other", "other"),
        ("main", ""),
        ("Boat", ""),
        (None, ""),
    ],
)
def test_a_phone_type_that_planfix_cannot_hold_says_nothing(kind: str | None, expected: str) -> None:
    entry = {"value": "030 123456"} | ({"type": kind} if kind else {})
    (phone,) = fields_of(phoneNumbers=[entry])["phones"]
    assert phone == Element(key="+4930123456", value="030 123456", kind=expected)


def test_the_first_of_two_spellings_of_one_address_wins() -> None:
    entries = [{"value": "Ada@X.test", "type": "work"}, {"value": "ada@x.TEST"}, {"value": "b@x.test"}]
    seen = to_person(person(emailAddresses=entries), config=CONFIG)
    assert [(e.key, e.value, e.kind) for e in seen.fields["emails"] if isinstance(e, Element)] == [
        ("ada@x.test", "Ada@X.test", ""),
        ("b@x.test", "b@x.test", ""),
    ]
    assert len(seen.raw["emailAddresses"]) == 3


def test_what_belongs_to_a_profile_is_not_the_contacts() -> None:
    profile = {"value": "p@x.test", "metadata": {"source": {"type": "PROFILE", "id": "1"}}}
    seen = to_person(person(emailAddresses=[profile]), config=CONFIG)
    assert seen.fields["emails"] == ()
    assert "emailAddresses" not in seen.raw


def test_raw_holds_what_may_be_written_and_nothing_of_the_servers() -> None:
    seen = to_person(
        person(
            names=[
                {
                    "givenName": "A",
                    "honorificPrefix": "Dr.",
                    "displayName": "Dr. A",
                    "unstructuredName": "Dr. A",
                }
            ],
            phoneNumbers=[{"value": "1", "type": "x", "formattedType": "X", "canonicalForm": "+1"}],
            memberships=[
                {
                    "contactGroupMembership": {
                        "contactGroupId": "z",
                        "contactGroupResourceName": "contactGroups/z",
                    }
                },
                {"domainMembership": {"inViewerDomain": True}},
            ],
        ),
        config=CONFIG,
    )
    assert seen.raw == {
        "names": [{"givenName": "A", "honorificPrefix": "Dr."}],
        "phoneNumbers": [{"value": "1", "type": "x"}],
        "memberships": [{"contactGroupMembership": {"contactGroupResourceName": "contactGroups/z"}}],
    }
    assert seen.labels == ("contactGroups/z",)


def test_only_stamps_of_our_planfix_account_are_ours() -> None:
    data = [
        {"key": "contactsync", "value": "acme.planfix.com/7/ours"},
        {"key": "contactsync", "value": "acme.planfix.com/9/adopted"},
        {"key": "contactsync", "value": "other.planfix.com/8/ours"},
        {"key": "contactsync", "value": "acme.planfix.com/what/ours"},
        {"key": "csync", "value": "acme.planfix.com/6/ours"},
    ]
    seen = to_person(person(clientData=data), config=CONFIG)
    assert seen.stamps == (Stamp(contact=7, kept=Kept.OURS), Stamp(contact=9, kept=Kept.ADOPTED))
    assert len(seen.raw["clientData"]) == 5


def test_a_person_without_a_contact_source_is_no_contact() -> None:
    json = person()
    json["metadata"]["sources"][0]["type"] = "PROFILE"
    with pytest.raises(ValueError, match="contact source"):
        to_person(json, config=CONFIG)
