"""Simulated people edit both sides in every way, each contact once, and the same way for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import phonenumbers
import pytest

from contactsync.simulators.people import KINDS, HumanAction, pairs_of, plan_edits
from contactsync.simulators.seed import Fate, adoption_cases, planfix_contacts, private_people
from simulated_planfix import Account

LABEL = "contactGroups/1a"


@pytest.fixture
def account() -> Account:
    account = Account()
    account.planfix.add_employee("Olga", email="olga@example.com")
    account.planfix.seed(120, seed=4, filters=2)
    return account


def phone_book(account: Account) -> dict[str, Any]:
    """Google after a first sync of the first filter, as far as people look at it."""
    dump: dict[str, Any] = account.planfix.dump()
    members = set(dump["filters"][0]["members"])
    people = [
        {
            "resourceName": f"people/c{contact['id']}",
            "names": [{"givenName": contact["name"], "familyName": contact["lastname"]}],
            "emailAddresses": [{"value": contact["email"]}] if contact["email"] else [],
            "phoneNumbers": [{"value": f"+{phone['number']}", "type": "mobile"} for phone in contact["phones"]],
            "addresses": [{"formattedValue": contact["address"]}] if contact["address"] else [],
            "memberships": [{"contactGroupMembership": {"contactGroupResourceName": LABEL}}],
        }
        for contact in dump["contacts"]
        if contact["id"] in members
    ]
    private = [person | {"resourceName": f"people/p{at}"} for at, person in enumerate(private_people(5))]
    groups = [{"resourceName": LABEL, "name": "Clients 1"}]
    return {"people": [*people, *private], "groups": groups}


def plan(account: Account, seed: int = 1, count: int | None = None) -> list[HumanAction]:
    book = phone_book(account)
    return plan_edits(random.Random(seed), account.planfix.dump(), book, "Clients 1", count=count)


def test_every_kind_of_edit_happens_with_its_expectation(account: Account) -> None:
    actions = plan(account)
    assert {action.kind for action in actions} == set(KINDS)
    assert all(action.sentence and action.expected for action in actions)
    assert {action.side for action in actions} == {"planfix", "google"}


def test_no_contact_is_edited_twice_except_by_both_sides_at_once(account: Account) -> None:
    actions = plan(account, count=40)
    edited = Counter(action.contact for action in actions if action.contact is not None)
    twice = {action.contact for action in actions if action.kind.startswith("both")}
    assert {contact for contact, count in edited.items() if count > 1} <= twice
    assert len(edited) > 20


def test_the_same_seed_plans_the_same_edits(account: Account) -> None:
    assert plan(account, seed=7) == plan(account, seed=7)
    assert plan(account, seed=7) != plan(account, seed=8)


def test_planning_changes_nothing_and_planfix_takes_every_edit(account: Account) -> None:
    before = account.planfix.dump()
    actions = plan(account, count=50)
    assert account.planfix.dump() == before
    done = [action for action in actions if action.side == "planfix"]
    for action in done:
        assert action.method in account.planfix.CONTROL
        getattr(account.planfix, action.method)(**action.kwargs)
    after: dict[str, Any] = account.planfix.dump()
    by_number = {contact["id"]: contact for contact in after["contacts"]}
    members = set(after["filters"][0]["members"])
    for action in done:
        number = action.kwargs.get("contact")
        match action.method:
            case "trash_contact":
                assert by_number[number]["isDeleted"]
            case "put_into_filter":
                assert number in members
            case "remove_from_filter":
                assert number not in members
            case "edit_contact" if "position" in action.kwargs["fields"]:
                assert by_number[number]["position"] == action.kwargs["fields"]["position"]


def test_an_edit_on_the_phone_names_person_and_fields(account: Account) -> None:
    for action in plan(account):
        if action.side == "google":
            assert action.kwargs["resource_name"].startswith("people/")
        if action.method in ("add_to_label", "remove_from_label"):
            assert action.kwargs["label"] == LABEL


def test_pairs_are_contacts_and_people_with_one_email(account: Account) -> None:
    dump: dict[str, Any] = account.planfix.dump()
    pairs = pairs_of(dump, phone_book(account), dump["filters"][0]["id"], LABEL)
    assert len(pairs) > 40
    assert all(pair.person["resourceName"] == f"people/c{pair.number}" for pair in pairs)


# -- invented contacts ---------------------------------------------------------------------------------------


def test_invented_phones_are_valid_and_emails_unique() -> None:
    people, companies = planfix_contacts(1000, seed=2)
    emails: list[str] = []
    numbers: list[str] = []
    for contact in (*people, *companies):
        if "email" in contact:
            emails.append(str(contact["email"]))
        further: Any = contact.get("additionalEmailAddresses", [])
        phones: Any = contact.get("phones", [])
        emails.extend(further)
        numbers.extend(phone["number"] for phone in phones)
    assert len(emails) == len(set(emails)) > 900
    assert len(numbers) == len(set(numbers)) > 1000
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(f"+{number}")) for number in numbers)
    regions = {phonenumbers.region_code_for_number(phonenumbers.parse(f"+{number}")) for number in numbers}
    assert len(regions) >= 5


def test_invented_contacts_have_what_real_lists_are_full_of() -> None:
    people, _ = planfix_contacts(1000, seed=2)
    born: list[Any] = [contact["birthDate"] for contact in people if "birthDate" in contact]
    assert any(each["date"].startswith("29-02") for each in born)
    assert any(each["date"].endswith("1900") for each in born)
    names = [str(contact["name"]) for contact in people]
    assert any(name[0] > "Ѐ" for name in names)
    assert any(name.isascii() for name in names)
    assert any("employer" in contact for contact in people)
    assert planfix_contacts(50, seed=3) == planfix_contacts(50, seed=3)


def test_adoption_cases_cover_every_fate(account: Account) -> None:
    dump: dict[str, Any] = account.planfix.dump()
    cases = adoption_cases(dump["contacts"], seed=1)
    assert {case.fate for case in cases} == set(Fate)
    emails = {contact["id"]: contact["email"].casefold() for contact in dump["contacts"]}
    for case in cases:
        own = {
            str(each["value"]).casefold() for person in case.people for each in _list(person.get("emailAddresses"))
        }
        if "same e-mail" in case.why:
            assert emails[case.contact] in own
        assert len(case.people) == (2 if case.fate is Fate.POSSIBLE_DUPLICATE else 1)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
