"""What is left of a write without the field that Google refuses."""

from __future__ import annotations

import pytest

from contactsync.errors import Rejected
from contactsync.google.answers import blamed_field, failure
from contactsync.google.mapping import PersonWrite
from contactsync.writer.refused_fields import OURS, create_without, held_back, update_without


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Field person.urls.value is longer than 1024 characters.", "urls"),
        ("Cannot have more than one person.birthdays per source.", "birthdays"),
        ("Invalid value at 'contacts[3].contact_person.email_addresses[0].value' (TYPE_STRING), 5", "emailAddresses"),
        ("Invalid value at 'contacts[people/c12].urls[0].value'", "urls"),
        ("Request person.etag is different than the current person.etag.", ""),
        ("A contact cannot be larger than 131072 bytes.", ""),
        ("person.somethingElse is bad", ""),
    ],
)
def test_the_field_is_found_in_the_message(message: str, field: str) -> None:
    assert blamed_field({"message": message}) == field


def test_the_field_is_found_in_the_violations() -> None:
    violation = {"field": "person.phone_numbers[0].value", "description": "too long"}
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
    error = failure(400, {"error": {"message": "Bad.", "details": details}}, write=True).error
    assert isinstance(error, Rejected)
    assert error.fields == {"": "phoneNumbers"}


def test_our_fields_of_one_of_googles_are_held_back_with_the_reason() -> None:
    names = {"site": "s", "facebook": "f", "notes": "n", "custom:7": "c"}
    assert held_back("urls", names, "why") == {"site": "why", "facebook": "why"}
    assert held_back("userDefined", names, "why") == {"custom:7": "why"}
    assert held_back("names", names, "why") == {}


def test_a_new_person_needs_a_name_or_what_stands_for_it() -> None:
    body = {"names": [{}], "urls": [{}], "clientData": [{}]}
    assert create_without(body, "urls") == {"names": [{}], "clientData": [{}]}
    assert create_without(body, "names") is None
    assert create_without(body, "birthdays") is None
    assert create_without({"organizations": [{}], "clientData": [{}]}, "organizations") is None


def test_a_write_goes_without_the_field() -> None:
    write = PersonWrite(("biographies", "urls"), {"biographies": [], "urls": [], "etag": "#1"}, {"address": "x"})
    less = update_without(write, "urls", {"site": "why"})
    assert less is not None
    assert (less.mask, less.body) == (("biographies",), {"biographies": [], "etag": "#1"})
    assert less.unwritable == {"address": "x", "site": "why"}
    assert update_without(write, "names", {}) is None
    assert update_without(write, "birthdays", {}) is None
    assert "memberships" not in OURS
