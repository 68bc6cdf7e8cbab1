"""Planfix's JSON becomes the canonical contact, and goes back without losing or inventing anything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contactsync.planfix.mapping import MappingConfig, UnmappableError, to_contact
from contactsync.planfix.writing import NEEDS_NAME, NEEDS_YEAR, ONE_EMAIL, Update, canonical_names, to_update
from contactsync.runtime.phones import phone_key
from contactsync_contracts.contact import Contact, Element
from simulated_planfix import Account

CONFIG = MappingConfig(region="US", custom_fields=("10",))


def read(**row: Any) -> Contact:
    return to_contact({"id": 1, "isCompany": False, **row}, CONFIG).fields


def email(address: str) -> Element:
    return Element(key=address.casefold(), value=address)


def phone(key: str, kind: str = "", value: str | None = None) -> Element:
    return Element(key=key, value=value or key, kind=kind)


def write(fields: Contact, **options: Any) -> Update:
    rest: dict[str, Any] = {"is_company": False, "phones": (), "writable_extra_emails": False} | options
    return to_update(fields, config=CONFIG, **rest)


# -- reading ---------------------------------------------------------------------------------------------------


def test_a_key_that_is_missing_is_unknown_and_null_is_empty() -> None:
    assert read() == {}
    assert read(position=None, description="", birthDate=None) == {"position": "", "notes": "", "birthday": ""}


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"name": "  Zoe\u0308  Ann "}, {"given": "Zoë Ann"}),
        ({"description": " one \r\n two  three "}, {"notes": "one \n two  three"}),
        ({"gender": "NotDefined"}, {"gender": ""}),
        ({"gender": "Female"}, {"gender": "female"}),
        ({"gender": "Robot"}, {}),
        ({"birthDate": {"date": "01-12-1990"}}, {"birthday": "1990-12-01"}),
        ({"birthDate": {"date": "01-12-1900"}}, {"birthday": "--12-01"}),
        ({"birthDate": {"date": "29-02-1900"}}, {"birthday": "--02-29"}),
        ({"birthDate": {"date": "29-02-1992"}}, {"birthday": "1992-02-29"}),
        ({"birthDate": {"date": "31-02-1992"}}, {}),
        ({"birthDate": {}}, {}),
        ({"telegram": "https://t.me/Some_Name"}, {"telegram": "some_name"}),
        ({"telegram": "@Some_Name"}, {"telegram": "some_name"}),
        ({"telegram": "https://telegram.me/Some_Name?start=1"}, {"telegram": "some_name"}),
        ({"facebook": "https://facebook.com/ann/"}, {"facebook": "https://facebook.com/ann"}),
        ({"address": "1 High Street,\n Town\n"}, {"address": "1 High Street, Town"}),
        ({"viberId": "77"}, {"viber": "77"}),
        ({"companies": []}, {"company": ""}),
        ({"companies": [{"id": 4, "name": "Acme"}, {"id": 5, "name": "Other"}]}, {"company": "Acme"}),
        ({"companies": [{"id": 4}]}, {}),
        ({"customFieldData": [{"field": {"id": 10}, "value": None}]}, {"custom:10": ""}),
        ({"customFieldData": [{"field": {"id": 10}, "value": 5}]}, {"custom:10": "5"}),
        ({"customFieldData": [{"field": {"id": 10}, "value": {"id": 3, "value": "Red"}}]}, {"custom:10": "Red"}),
        ({"customFieldData": [{"field": {"id": 10}, "value": 1, "stringValue": "One"}]}, {"custom:10": "One"}),
        ({"customFieldData": [{"field": {"id": 11}, "value": "not chosen"}]}, {}),
    ],
)
def test_a_field_in_canonical_form(row: dict[str, Any], fields: Contact) -> None:
    assert read(**row) == fields


def test_the_primary_address_comes_first_and_none_comes_twice() -> None:
    fields = read(email="B@x.org", additionalEmailAddresses=["a@x.org", "b@X.org", ""])
    assert fields["emails"] == (email("B@x.org"), email("a@x.org"))


def test_half_a_list_of_addresses_is_unknown() -> None:
    assert "emails" not in read(email="a@x.org")
    assert "emails" not in read(additionalEmailAddresses=[])
    assert read(email="", additionalEmailAddresses=[])["emails"] == ()


def test_digits_are_international_if_that_is_valid_else_national() -> None:
    numbers = [{"number": n, "type": t} for n, t in (("79643752416", 1), ("4155552671", 2), ("123", 9))]
    assert read(phones=numbers)["phones"] == (
        phone("+79643752416", "mobile"),
        phone("+14155552671", "work"),
        phone("123", ""),
    )


def test_a_company_has_only_its_own_name() -> None:
    fields = read(isCompany=True, name="Acme", midname="x", lastname="y", companies=[], position="p")
    assert fields == {"company": "Acme", "position": "p"}


@pytest.mark.parametrize("identity", [None, 0, "x", True, 1.5])
def test_a_row_without_a_number_cannot_be_mapped(identity: object) -> None:
    with pytest.raises(UnmappableError):
        to_contact({"id": identity}, CONFIG)


# -- writing ---------------------------------------------------------------------------------------------------


def test_only_given_fields_are_written() -> None:
    assert write({"family": "B", "gender": "", "viber": ""}).body == {
        "lastname": "B",
        "gender": "NotDefined",
        "viberId": "",
    }


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"given": ""}, "given", NEEDS_NAME),
        ({"birthday": "--05-06"}, "birthday", NEEDS_YEAR),
        ({"emails": (email("no address"),)}, "emails", "form"),
        ({"phones": (phone("12"),)}, "phones", "digits"),
        ({"phones": (phone("79643752416"),)}, "phones", "another number"),
        ({"telegram": "no name"}, "telegram", "Telegram"),
        ({"custom:99": "x"}, "custom:99", "no such field"),
    ],
)
def test_what_planfix_cannot_hold_is_refused_and_not_sent(fields: Contact, field: str, reason: str) -> None:
    update = write(fields)
    assert update.body == {}
    assert reason in update.refused[field]


def test_a_birthday_without_a_year_stays_one() -> None:
    assert write({"birthday": "--05-06"}, current={"birthday": "--05-07"}).body == {
        "birthDate": {"date": "06-05-1900"}
    }


def test_a_real_year_1900_is_refused() -> None:
    assert "birthday" in write({"birthday": "1900-05-06"}).refused


def test_a_company_name_is_the_companys_own_and_a_cleared_one_is_refused() -> None:
    assert write({"company": "Acme"}, is_company=True).body == {"name": "Acme"}
    assert write({"company": ""}, is_company=True).refused == {"company": NEEDS_NAME}


def test_the_primary_address_stays_primary_and_further_ones_stay_in_google() -> None:
    update = write({"emails": (email("new@x.org"), email("old@x.org"))}, current={"emails": (email("old@x.org"),)})
    assert update == Update({}, {"emails": ONE_EMAIL})


def test_a_removed_primary_address_is_followed_by_the_next() -> None:
    current: Contact = {"emails": (email("old@x.org"), email("b@x.org"))}
    update = write({"emails": (email("b@x.org"),)}, current=current, writable_extra_emails=True)
    assert update.body == {"email": "b@x.org", "additionalEmailAddresses": []}
    assert write({"emails": ()}, current={"emails": (email("old@x.org"),)}).body == {"email": ""}


def test_numbers_that_stay_keep_their_spelling_and_their_type() -> None:
    vendor = [{"number": "4155552671", "maskedNumber": "…", "type": 3}, {"number": "79643752416", "type": 1}]
    wanted = (phone("+14155552671"), phone("+14155552672", "work"), phone("+14155552673"))
    assert write({"phones": wanted}, phones=vendor).body["phones"] == [
        {"number": "4155552671", "type": 3},
        {"number": "+14155552672", "type": 2},
        {"number": "+14155552673", "type": 4},
    ]
    same = (phone("+14155552671", "home"), phone("+79643752416", "mobile"))
    assert write({"phones": same}, phones=vendor).body == {}


def test_planfix_names_of_failed_fields_are_ours() -> None:
    body = {"customFieldData": [{"field": {"id": 10}, "value": ""}]}
    assert canonical_names("birthDate", body, is_company=False) == ("birthday",)
    assert canonical_names("customFieldData", body, is_company=False) == ("custom:10",)
    assert canonical_names("name", body, is_company=True) == ("company",)
    assert canonical_names("template", body, is_company=False) == ()


# -- both ------------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cf", "Cn")), max_size=12)
lines = words.map(lambda value: " ".join(value.split())).filter(lambda value: read(site=value) == {"site": value})
names = lines.filter(bool)
numbers = st.one_of(
    st.integers(2_000_000, 9_999_999).map(lambda n: f"+1415{n}"),
    st.integers(10_000_000, 99_999_999).map(lambda n: f"+49170{n}"),
    st.sampled_from(["+79643752416", "+442079460018", "911", "12345"]),
)
elements = st.lists(
    st.tuples(numbers, st.sampled_from(["", "mobile", "work", "home", "other"])),
    max_size=5,
    unique_by=lambda one: one[0],
).map(
    lambda found: tuple(
        {
            key: Element(key=key, value=number, kind=kind)
            for number, kind in found
            if (key := phone_key(number, "US", bare_is_international=True))
        }.values()
    )
)
addresses = st.lists(
    st.sampled_from(["a@x.org", "B@x.org", "c.d@y.example", "e+f@z.example"]).map(email), max_size=3, unique=True
).map(tuple)
birthdays = st.one_of(st.just(""), st.dates().map(str), st.sampled_from(["--02-29", "--12-01", "1992-02-29"]))
contacts = st.fixed_dictionaries(
    {"given": names},
    optional={
        "middle": lines,
        "family": lines,
        "notes": lines,
        "position": lines,
        "address": lines,
        "site": lines,
        "telegram": st.from_regex(r"[a-z0-9_]{3,8}", fullmatch=True) | st.just(""),
        "gender": st.sampled_from(["", "male", "female"]),
        "birthday": birthdays,
        "phones": elements,
        "emails": addresses,
        "custom:10": lines,
    },
)


@pytest.mark.parametrize("storage", ["digits", "as_written"])
@given(first=contacts, second=contacts)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_written_is_what_is_read(storage: str, first: Contact, second: Contact) -> None:
    """Over what another contact left behind: everything but the refused fields comes back equal."""
    account = Account(phone_storage=storage, additional_emails="writable")
    config = MappingConfig(region="US", custom_fields=(str(account.planfix.add_custom_field("Colour")),))
    number = account.planfix.add_contact({"name": "Before"})
    for wanted in (first, second):
        fields = {("custom:" + config.custom_fields[0] if k == "custom:10" else k): v for k, v in wanted.items()}
        row = account.read(number, config.fields)
        update = to_update(
            fields,
            is_company=False,
            phones=row["phones"],
            config=config,
            writable_extra_emails=True,
            current=to_contact(row, config).fields,
        )
        assert account.call("POST", f"/contact/{number}", update.body) == (200, {"result": "success"})
        after = to_contact(account.read(number, config.fields), config).fields
        for name, value in fields.items():
            if name not in update.refused:
                assert comparable(name, after[name], value) == comparable(name, value, value), name


def comparable(name: str, value: str | tuple[Element, ...], wanted: str | tuple[Element, ...]) -> object:
    """Elements by key, and by kind where the other side has an opinion."""
    if isinstance(value, str):
        return value
    kinds = {one.key: one.kind for one in wanted} if isinstance(wanted, tuple) else {}
    return {one.key: one.kind if kinds.get(one.key) and name == "phones" else "" for one in value}
