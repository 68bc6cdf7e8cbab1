"""Writes to Google: what was foreign stays, what did not change is not sent, what was sent reads back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.google.mapping import (
    MY_CONTACTS,
    MappingConfig,
    PersonWrite,
    build_create,
    build_update,
    to_person,
)
from contactsync.google.overlay import TEXT_MAX
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Kept, Stamp

CONFIG = MappingConfig("DE", "acme", {"77": "Loyalty"})
STAMP = Stamp(contact=7, kept=Kept.OURS)
META = {"sources": [{"type": "CONTACT", "id": "a1", "etag": "#1", "updateTime": "2026-01-01T00:00:00Z"}]}

RAW: dict[str, Any] = {
    "names": [{"givenName": "Ada", "familyName": "Byron", "honorificPrefix": "Dr.", "phoneticGivenName": "eida"}],
    "emailAddresses": [
        {"value": "Ada@x.test", "type": "school"},
        {"value": "ADA@x.test", "displayName": "dup"},
        {"value": "b@x.test"},
    ],
    "phoneNumbers": [{"value": "030 123456", "type": "Boat"}, {"value": "0151 23456789", "type": "mobile"}],
    "genders": [{"value": "female", "addressMeAs": "she"}],
    "organizations": [{"name": "Acme", "title": "Boss", "department": "R&D"}, {"name": "Old Ltd"}],
    "addresses": [{"formattedValue": "A 1\nB", "city": "B", "type": "home"}, {"formattedValue": "C"}],
    "urls": [
        {"value": "blog.test", "type": "blog"},
        {"value": "ada.test", "type": "work"},
        {"value": "https://fb.com/a/", "type": "facebook"},
    ],
    "imClients": [{"username": "Ada_L", "protocol": "Telegram"}, {"username": "j", "protocol": "jabber"}],
    "userDefined": [{"key": "Loyalty", "value": "gold"}, {"key": "Shoe", "value": "41"}],
    "memberships": [
        {"contactGroupMembership": {"contactGroupResourceName": "contactGroups/own"}},
        {"contactGroupMembership": {"contactGroupResourceName": "contactGroups/ours"}},
    ],
    "clientData": [
        {"key": "other-app", "value": "1"},
        {"key": "contactsync", "value": "acme/7/ours"},
        {"key": "contactsync", "value": "elsewhere/7/ours"},
    ],
}  # fmt: skip


def read(raw: dict[str, Any]) -> Contact:
    return to_person({"resourceName": "people/c1", "metadata": META, **raw}, config=CONFIG).fields


def update(changed: Contact, raw: dict[str, Any] = RAW, **more: Any) -> PersonWrite:
    before = copy.deepcopy(raw)
    write = build_update(raw, "#1", "people/c1", "a1", changed, config=CONFIG, **more)
    assert raw == before, "the raw JSON belongs to the link"
    assert set(write.body) == {*write.mask, "resourceName", "metadata"}
    assert write.mask == tuple(sorted(write.mask))
    return write


def after(write: PersonWrite, raw: dict[str, Any] = RAW) -> dict[str, Any]:
    merged = {**raw, **{name: write.body[name] for name in write.mask}}
    return {name: value for name, value in merged.items() if value}


def test_writing_what_is_there_writes_nothing() -> None:
    assert update(read(RAW), labels_on=["contactGroups/ours"], stamp=STAMP).mask == ()


def test_the_body_carries_the_contact_sources_etag() -> None:
    body = update({"given": "Eve"}).body
    assert body["metadata"] == {"sources": [{"type": "CONTACT", "id": "a1", "etag": "#1"}]}
    assert "etag" not in body


@pytest.mark.parametrize(
    ("changed", "vendor", "entries"),
    [
        ({"given": "Eve"}, "names",
         [{"givenName": "Eve", "familyName": "Byron", "honorificPrefix": "Dr.", "phoneticGivenName": "eida"}]),
        ({"given": "", "family": ""}, "names", [{"honorificPrefix": "Dr.", "phoneticGivenName": "eida"}]),
        ({"gender": ""}, "genders", [{"addressMeAs": "she"}]),
        ({"gender": "male"}, "genders", [{"value": "male", "addressMeAs": "she"}]),
        ({"company": "", "position": ""}, "organizations", [{"department": "R&D"}, {"name": "Old Ltd"}]),
        ({"company": "New"}, "organizations",
         [{"name": "New", "title": "Boss", "department": "R&D"}, {"name": "Old Ltd"}]),
        ({"address": "D 5"}, "addresses", [{"type": "home", "formattedValue": "D 5"}, {"formattedValue": "C"}]),
        ({"address": ""}, "addresses", [{"formattedValue": "C"}]),
        ({"site": "new.test"}, "urls",
         [RAW["urls"][0], {"value": "new.test", "type": "work"}, RAW["urls"][2]]),
        ({"facebook": ""}, "urls", RAW["urls"][:2]),
        ({"instagram": "https://ig.test/a"}, "urls",
         [*RAW["urls"], {"type": "instagram", "value": "https://ig.test/a"}]),
        ({"telegram": "eve"}, "imClients",
         [{"username": "eve", "protocol": "Telegram"}, {"username": "j", "protocol": "jabber"}]),
        ({"viber": "+49"}, "imClients", [*RAW["imClients"], {"protocol": "viber", "username": "+49"}]),
        ({"custom:77": ""}, "userDefined", [{"key": "Shoe", "value": "41"}]),
        ({"custom:77": "tin"}, "userDefined", [{"key": "Loyalty", "value": "tin"}, {"key": "Shoe", "value": "41"}]),
        ({"birthday": "1815-12-10"}, "birthdays", [{"date": {"year": 1815, "month": 12, "day": 10}}]),
        ({"birthday": "--02-29"}, "birthdays", [{"date": {"month": 2, "day": 29}}]),
        ({"notes": "a\nb"}, "biographies", [{"value": "a\nb", "contentType": "TEXT_PLAIN"}]),
    ],
)  # fmt: skip
def test_only_the_changed_part_differs(changed: Contact, vendor: str, entries: list[Any]) -> None:
    write = update(changed)
    assert write.mask == (vendor,)
    assert write.body[vendor] == entries
    assert write.unwritable == {}


def test_an_equal_value_in_another_spelling_keeps_the_humans_spelling() -> None:
    assert update({"telegram": "ada_l", "facebook": "https://fb.com/a", "address": "A 1, B"}).mask == ()


def test_elements_that_stay_are_untouched_and_all_spellings_of_a_removed_one_go() -> None:
    write = update({"emails": (Element(key="b@x.test", value="B@x.test"), Element(key="c@x.test", value="c@x.test"))})
    assert write.body["emailAddresses"] == [{"value": "b@x.test"}, {"value": "c@x.test"}]


def test_the_successor_of_a_removed_first_element_comes_first() -> None:
    wanted = (Element(key="n@x.test", value="n@x.test"), Element(key="b@x.test", value="b@x.test"))
    assert [e["value"] for e in update({"emails": wanted}).body["emailAddresses"]] == ["n@x.test", "b@x.test"]


def test_a_changed_type_rewrites_the_type_alone_and_a_custom_one_stays() -> None:
    wanted = (
        Element(key="+4930123456", value="+4930123456", kind="work"),
        Element(key="+4915123456789", value="whatever", kind="home"),
        Element(key="+4940111222", value="040 111222", kind="work"),
    )
    assert update({"phones": wanted}).body["phoneNumbers"] == [
        {"value": "030 123456", "type": "Boat"},
        {"value": "0151 23456789", "type": "home"},
        {"value": "+4940111222", "type": "work"},
    ]


def test_a_hundred_elements_may_be_more_and_are_not_overwritten() -> None:
    raw = {"emailAddresses": [{"value": f"a{n}@x.test"} for n in range(100)]}
    write = update({"emails": ()}, raw)
    assert write.mask == ()
    assert "emails" in write.unwritable


def test_an_organisation_with_dates_is_left_alone() -> None:
    raw = {"organizations": [{"name": "Acme", "startDate": {"year": 2001}}]}
    write = update({"company": "New", "position": "Boss", "given": "Eve"}, raw)
    assert write.mask == ("names",)
    assert set(write.unwritable) == {"company", "position"}
    assert update({"company": "Acme"}, raw).unwritable == {}


def test_a_field_that_google_has_no_place_for_is_named() -> None:
    assert set(update({"custom:99": "x", "shoe": "41"}).unwritable) == {"custom:99", "shoe"}


@pytest.mark.parametrize(
    ("on", "off", "expected"),
    [
        (["contactGroups/new"], [], ["contactGroups/own", "contactGroups/ours", "contactGroups/new"]),
        ([], ["contactGroups/ours"], ["contactGroups/own"]),
        ([], ["contactGroups/own", "contactGroups/ours"], [MY_CONTACTS]),
        (["contactGroups/own"], ["contactGroups/none"], None),
    ],
)
def test_memberships_are_a_union_and_never_empty(on: list[str], off: list[str], expected: list[str] | None) -> None:
    write = update({}, labels_on=on, labels_off=off)
    if expected is None:
        assert write.mask == ()
    else:
        groups = [m["contactGroupMembership"]["contactGroupResourceName"] for m in write.body["memberships"]]
        assert groups == expected


def test_a_stamp_replaces_ours_and_leaves_everybody_elses() -> None:
    raw = {**RAW, "clientData": [*RAW["clientData"], {"key": "contactsync", "value": "acme/9/adopted"}]}
    write = update({}, raw, stamp=Stamp(contact=8, kept=Kept.ADOPTED))
    assert write.body["clientData"] == [
        {"key": "other-app", "value": "1"},
        {"key": "contactsync", "value": "acme/8/adopted"},
        {"key": "contactsync", "value": "elsewhere/7/ours"},
    ]


def test_a_company_has_only_the_organisations_name() -> None:
    body = build_create(
        {"given": "Acme Ltd"}, is_company=True, labels=["contactGroups/l"], stamp=STAMP, config=CONFIG
    )
    assert body == {
        "organizations": [{"name": "Acme Ltd"}],
        "memberships": [
            {"contactGroupMembership": {"contactGroupResourceName": MY_CONTACTS}},
            {"contactGroupMembership": {"contactGroupResourceName": "contactGroups/l"}},
        ],
        "clientData": [{"key": "contactsync", "value": "acme/7/ours"}],
    }


def test_only_notes_may_be_longer_than_google_takes() -> None:
    long = "x" * 3000
    body = build_create({"company": long, "notes": long}, is_company=False, labels=[], stamp=STAMP, config=CONFIG)
    assert len(body["organizations"][0]["name"]) == TEXT_MAX
    assert len(body["biographies"][0]["value"]) == 3000


# --- properties

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Cf")), max_size=12).map(
    lambda text: read({"names": [{"givenName": text}]})["given"]
)
birthdays = st.sampled_from(["", "1999-02-03", "--02-29", "2000-02-29", "0987-01-01"])
names = st.text("abcdefgh0123456789_", max_size=8)
emails = st.lists(st.sampled_from(["a@x.test", "b@x.test", "ç@x.test", "d.e@y.test"]), unique=True, max_size=4)
phones = st.lists(
    st.tuples(
        st.sampled_from(["+4930123456", "+4915123456789", "+14155550123", "112233"]),
        st.sampled_from(["", "mobile", "work", "home", "other"]),
    ),
    unique_by=lambda pair: pair[0],
    max_size=4,
)
contacts = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("given", "middle", "family", "position", "company", "address", "site", "skype", "viber"), words
        ),
        "notes": st.text("ab \n", max_size=9).map(str.strip),
        "custom:77": words,
        "birthday": birthdays,
        "gender": st.sampled_from(["", "male", "female"]),
        "telegram": names,
        "facebook": names,
        "instagram": names,
        "emails": emails.map(lambda all_: tuple(Element(key=e, value=e) for e in all_)),
        "phones": phones.map(lambda all_: tuple(Element(key=k, value=k, kind=t) for k, t in all_)),
    }
)


@given(contacts)
def test_a_created_contact_reads_back_as_it_was(contact: Any) -> None:
    body = build_create(contact, is_company=False, labels=["contactGroups/l"], stamp=STAMP, config=CONFIG)
    seen = to_person({"resourceName": "people/c1", "metadata": META, **body}, config=CONFIG)
    assert seen.fields == contact
    assert seen.stamps == (STAMP,)
    assert not [name for name, entries in body.items() if not entries]


@given(contacts, contacts)
def test_an_update_arrives_and_doing_it_again_writes_nothing(before: Any, wanted: Any) -> None:
    raw = build_create(before, is_company=False, labels=[], stamp=STAMP, config=CONFIG)
    merged = after(update(wanted, raw), raw)
    seen = read(merged)
    for name, value in wanted.items():
        if isinstance(value, str):
            assert seen[name] == value, name
        else:
            assert {e.key for e in seen[name]} == {e.key for e in value}  # type: ignore[union-attr]
    assert update(wanted, merged).mask == ()


@given(contacts)
def test_an_update_keeps_everything_foreign(wanted: Any) -> None:
    merged = after(update(wanted, labels_on=["contactGroups/new"], stamp=Stamp(contact=8, kept=Kept.ADOPTED)))
    assert merged["names"][0]["honorificPrefix"] == "Dr."
    assert merged["genders"][0]["addressMeAs"] == "she"
    assert merged["organizations"][0]["department"] == "R&D"
    assert RAW["organizations"][1] in merged["organizations"]
    assert RAW["addresses"][1] in merged["addresses"]
    assert RAW["urls"][0] in merged["urls"]
    assert RAW["imClients"][1] in merged["imClients"]
    assert RAW["userDefined"][1] in merged["userDefined"]
    assert RAW["clientData"][0] in merged["clientData"]
    assert RAW["clientData"][2] in merged["clientData"]
    assert RAW["memberships"][0] in merged["memberships"]


@pytest.mark.parametrize(
    ("etag", "person", "source"), [("#ab", None, "#ab"), ("%cd", "%cd", None), ("17", "17", "17")]
)
def test_each_etag_goes_where_its_kind_is_taken(etag: str, person: str | None, source: str | None) -> None:
    config = MappingConfig("US", "acme")
    body = build_update({}, etag, "people/c1", "1", {"given": "Ada"}, config=config).body
    assert (body.get("etag"), body["metadata"]["sources"][0].get("etag")) == (person, source)
