"""Foreign data stays (I6): whatever the merge wants, and whatever is on a person beside it, the overlay changes only
what is mapped. The exchange runs through Google's real mapping, so that convergence holds there, too."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contactsync.google.mapping import MappingConfig, PersonWrite, build_update, to_person
from contactsync.google.reading import element_key
from contactsync.reconciler.core.merge import Rules, Side, WithoutBase, Write, advance, merge
from contactsync_contracts.contact import ELEMENT_FIELDS, Contact, Element

CONFIG = MappingConfig("DE", "acme", {"77": "Loyalty"})
META = {"sources": [{"type": "CONTACT", "id": "a1", "etag": "#1", "updateTime": "2026-01-01T00:00:00Z"}]}
Json = dict[str, Any]

words = st.sampled_from(["", "a", "b b", "Ж"])
some = st.sampled_from(["a", "b b", "Ж"])


def entry(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(required, optional=optional)


def alone(one: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Json]]:
    return one.map(lambda made: [made])


def member(group: str) -> Json:
    return {"contactGroupMembership": {"contactGroupResourceName": f"contactGroups/{group}"}}


ADDRESSES = ["a@x.test", "B@x.test", "c@y.test"]
NUMBERS = ["030 123456", "+49 151 23456789", "+1 415 555 0123", "112"]
URLS = ["blog.test", "https://fb.com/a", "ada.test"]
people = st.fixed_dictionaries(
    {},
    optional={
        "names": alone(entry({"honorificPrefix": some}, givenName=some, familyName=some, phoneticGivenName=some)),
        "emailAddresses": st.lists(
            entry({"value": st.sampled_from(ADDRESSES)}, type=some, displayName=some), min_size=1, max_size=4
        ),
        "phoneNumbers": st.lists(
            entry({"value": st.sampled_from(NUMBERS)}, type=st.sampled_from(["mobile", "work", "Boat", "pager"])),
            min_size=1, max_size=4,
        ),
        "genders": alone(entry({"addressMeAs": some}, value=st.sampled_from(["male", "female", "other"]))),
        "organizations": st.tuples(
            entry({"department": some}, name=some, title=some), entry({"name": some}, title=some)
        ).map(list),
        "addresses": st.tuples(
            entry({"formattedValue": some}, city=some, type=some), entry({"city": some})
        ).map(list),
        "urls": st.lists(
            entry({"value": st.sampled_from(URLS)}, type=st.sampled_from(["homePage", "work", "blog", "facebook"])),
            min_size=1, max_size=3,
        ),
        "imClients": st.lists(
            entry({"username": some, "protocol": st.sampled_from(["skype", "Telegram", "jabber"])}),
            min_size=1, max_size=3,
        ),
        "userDefined": st.lists(
            entry({"key": st.sampled_from(["Loyalty", "Shoe"]), "value": some}), min_size=1, max_size=3
        ),
        "memberships": st.just([member("own"), member("ours")]),
        "clientData": st.just([{"key": "other", "value": "1"}, {"key": "contactsync", "value": "acme/7/ours"}]),
        "biographies": alone(entry({"value": some})),
        "birthdays": st.just([{"date": {"month": 2, "day": 29}}]),
    },
)  # fmt: skip
elements = st.lists(st.sampled_from(["a@x.test", "d@z.test"]), unique=True).map(
    lambda keys: tuple(Element(key, key) for key in keys)
)
phones = st.lists(
    st.builds(
        lambda key, kind: Element(key, key, kind),
        st.sampled_from(["+4930123456", "+14155550123", "112"]),
        st.sampled_from(["", "mobile", "work", "home", "other"]),
    ),
    unique_by=lambda e: e.key,
).map(tuple)
planfix_contacts = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("given", "family", "position", "company", "address", "site", "skype", "custom:77"), words),
        "notes": words,
        "gender": st.sampled_from(["", "male"]),
        "facebook": st.sampled_from(["", "fb.com/b"]),
        "emails": elements,
        "phones": phones,
    },
)
rules = st.builds(
    Rules,
    two_way=st.booleans(),
    google_loses=st.booleans(),
    conflict_winner=st.sampled_from(Side),
    without_base=st.sampled_from(WithoutBase),
)
VENDOR = {
    "given": "names", "family": "names", "position": "organizations", "company": "organizations",
    "address": "addresses", "site": "urls", "facebook": "urls", "skype": "imClients", "custom:77": "userDefined",
    "notes": "biographies", "gender": "genders", "emails": "emailAddresses", "phones": "phoneNumbers",
}  # fmt: skip


def read(raw: Json) -> Contact:
    return to_person({"resourceName": "people/c1", "metadata": META, **raw}, config=CONFIG).fields


def lay(raw: Json, wanted: Contact) -> tuple[PersonWrite, Json]:
    write = build_update(raw, "#1", "people/c1", "a1", wanted, config=CONFIG)
    merged = {**raw, **{name: write.body[name] for name in write.mask}}
    return write, {name: value for name, value in merged.items() if value}


PARTS = (
    ("names", "givenName"), ("names", "familyName"), ("organizations", "title"), ("organizations", "name"),
    ("genders", "value"),
)  # fmt: skip


def foreign(raw: Json) -> Json:
    """Everything that no canonical field stands for, in its order."""
    raw = copy.deepcopy(raw)
    for vendor, part in PARTS:
        if raw.get(vendor):
            raw[vendor][0].pop(part, None)
            raw[vendor] = [one for one in raw[vendor] if one]
    mapped = {"biographies", "birthdays", "emailAddresses", "phoneNumbers"}
    rest = {name: value for name, value in raw.items() if name not in mapped}
    rest["addresses"] = [one for one in rest.get("addresses", ()) if "formattedValue" not in one]
    rest["urls"] = [one for one in rest.get("urls", ()) if one.get("type") == "blog"]
    rest["imClients"] = [one for one in rest.get("imClients", ()) if one["protocol"] == "jabber"]
    rest["userDefined"] = [one for one in rest.get("userDefined", ()) if one["key"] == "Shoe"]
    return {name: value for name, value in rest.items() if value}


def by_key(raw: Json, name: str) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for one in raw.get(VENDOR[name], ()):
        key = element_key(name, one, CONFIG)
        known = one.get("type", "") in ("mobile", "work", "home", "other", "")
        ours = name == "phones" and known
        found.setdefault(key, []).append({k: v for k, v in one.items() if not (ours and k == "type")})
    return found


@given(people, planfix_contacts, st.none() | planfix_contacts, rules)
def test_what_is_outside_the_mapping_is_as_it_was(
    raw: Json, planfix: Contact, base: Contact | None, how: Rules
) -> None:
    before = copy.deepcopy(raw)
    wanted = merge(planfix, read(raw), base, base, how).to_google
    write, after = lay(raw, wanted)
    assert raw == before
    assert set(write.mask) <= {VENDOR[name] for name in wanted}
    assert foreign(after) == foreign(before)
    for name in ELEMENT_FIELDS:
        was, now = by_key(before, name), by_key(after, name)
        stays = {e.key for e in wanted[name] if isinstance(e, Element)} if name in wanted else was.keys()
        assert {key: now.get(key) for key in was if key in stays or not key} == {
            key: entries for key, entries in was.items() if key in stays or not key
        }


@given(people, planfix_contacts, st.booleans(), rules)
def test_an_exchange_through_the_mapping_comes_to_rest(raw: Json, planfix: Contact, known: bool, how: Rules) -> None:
    bases: tuple[Contact | None, Contact | None] = (planfix, read(raw)) if known else (None, None)
    writes: list[Side] = []
    while len(writes) < 4:
        google = read(raw)
        found = merge(planfix, google, *bases, how)
        side = Side.PLANFIX if found.to_planfix else Side.GOOGLE
        names = found.to_planfix or found.to_google
        if not names:
            break
        writes.append(side)
        sides = {Side.PLANFIX: planfix, Side.GOOGLE: google}
        before = {name: sides[side][name] for name in names}
        source = {name: (google if side is Side.PLANFIX else planfix)[name] for name in names}
        if side is Side.PLANFIX:
            planfix = {**planfix, **names}
        else:
            _, raw = lay(raw, names)
        answer = planfix if side is Side.PLANFIX else read(raw)
        bases = advance(found.base_planfix, found.base_google, Write(side, source, before, answer), how)
    assert len(writes) == len(set(writes)), writes
    if known:
        assert not writes, "nothing was edited"
