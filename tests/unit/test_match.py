"""Which names may be one person's, and which candidates stand."""

from __future__ import annotations

import pytest

from contactsync.hashing import Hasher
from contactsync.reconciler.core.match import NameKey, compatible, partners, planfix_partners
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import Candidate, PlanfixContact

HASHER = Hasher(b"a key for tests")

NAMES = [
    # name, one, other, compatible by e-mail, by phone
    ("equal", ("Ann", "Lee"), ("Ann", "Lee"), True, True),
    ("case_and_blanks", ("ANN ", "lee"), ("Ann", "Lee"), True, True),
    ("accents", ("René", "Müller"), ("Rene", "Muller"), True, True),
    ("hyphen", ("Anna-Maria", "Lee"), ("Anna Maria", "Lee"), True, True),
    ("initial", ("A.", "Lee"), ("Ann", "Lee"), True, True),
    ("other_initial", ("B.", "Lee"), ("Ann", "Lee"), False, False),
    ("two_initials", ("A", "Lee"), ("a.", "Lee"), True, True),
    ("short_name_is_no_initial", ("An", "Lee"), ("Ann", "Lee"), False, False),
    ("no_given", ("", "Lee"), ("Ann", "Lee"), True, True),
    ("no_family", ("Ann", ""), ("Ann", "Lee"), True, True),
    ("initial_without_family", ("A", ""), ("Ann", "Lee"), True, False),
    ("given_against_family", ("Ann", ""), ("", "Lee"), True, False),
    ("no_name_at_all", ("", ""), ("Ann", "Lee"), True, False),
    ("both_without_a_name", ("", ""), ("", ""), True, False),
    ("spouses_with_one_phone", ("Ann", "Lee"), ("Bob", "Lee"), False, False),
    ("other_family", ("Ann", "Lee"), ("Ann", "Ray"), False, False),
    ("cyrillic", ("Аня", "Ли"), ("аня", "ЛИ"), True, True),
]


def key(name: tuple[str, str]) -> NameKey:
    return NameKey(*HASHER.names(*name))


@pytest.mark.parametrize(("one", "other", "email", "phone"), [n[1:] for n in NAMES], ids=[n[0] for n in NAMES])
def test_names_are_compatible(one: tuple[str, str], other: tuple[str, str], email: bool, phone: bool) -> None:
    for a, b in ((one, other), (other, one)):
        assert compatible(key(a), key(b), by_phone=False) is email
        assert compatible(key(a), key(b), by_phone=True) is phone


def candidate(resource: str, by: str, given: str = "Ann", family: str = "Lee") -> Candidate:
    first, initial, is_initial, last = HASHER.names(given, family)
    return Candidate.model_validate(
        {
            "resource": resource,
            "by": by,
            "given": first,
            "given_initial": initial,
            "given_is_initial": is_initial,
            "family": last,
        }
    )


def test_a_stamp_wins_whatever_the_name() -> None:
    stamped = candidate("c1", "stamp", "Bob", "Ray")
    assert partners(key(("Ann", "Lee")), (candidate("c2", "email"), stamped)) == (stamped,)


def test_an_email_goes_before_a_phone() -> None:
    by_email = candidate("c2", "email")
    assert partners(key(("Ann", "Lee")), (candidate("c1", "phone"), by_email)) == (by_email,)


def test_a_phone_counts_where_the_email_is_another_persons() -> None:
    by_phone = candidate("c1", "phone")
    assert partners(key(("Ann", "Lee")), (candidate("c2", "email", "Bob", "Ray"), by_phone)) == (by_phone,)


def test_all_that_stand_are_named() -> None:
    both = (candidate("c1", "email"), candidate("c2", "email", "A"))
    assert partners(key(("Ann", "Lee")), both) == both


@pytest.mark.parametrize(("given", "family"), [("Bob", "Lee"), ("Ann", "Ray")])
@pytest.mark.parametrize("by", ["email", "phone"])
def test_another_name_contradicts(by: str, given: str, family: str) -> None:
    assert partners(key(("Ann", "Lee")), (candidate("c1", by, given, family),)) == ()


@pytest.mark.parametrize(("field", "found"), [("emails", True), ("phones", False)])
def test_a_person_without_a_name_is_a_planfix_contact_by_email_only(field: str, found: bool) -> None:
    contact = PlanfixContact(contact=1, fields={field: (Element("1", "1"),)})
    expected = (contact,) if found else ()
    assert (
        planfix_partners({field: (Element("1", "1"),)}, key(("", "")), [(contact, key(("Ann", "Lee")))]) == expected
    )


def test_all_planfix_contacts_that_stand_are_named() -> None:
    contacts = [PlanfixContact(contact=n, fields={"emails": (Element("a@x", "a@x"),)}) for n in (1, 2)]
    name = key(("Ann", "Lee"))
    assert planfix_partners({"emails": (Element("a@x", "a@x"),)}, name, [(c, name) for c in contacts]) == tuple(
        contacts
    )


def test_a_shared_phone_without_a_common_name_matches_nobody() -> None:
    assert partners(key(("Ann", "")), (candidate("c1", "phone", "", "Lee"),)) == ()


def test_a_name_alone_never_matches_a_planfix_contact() -> None:
    contact = PlanfixContact(contact=1, fields={"emails": (), "phones": (Element("+1", "+1"),)})
    name = key(("Ann", "Lee"))
    assert planfix_partners({"emails": (), "phones": ()}, name, [(contact, name)]) == ()
    assert planfix_partners({"phones": (Element("+1", "1"),)}, name, [(contact, name)]) == (contact,)
    assert planfix_partners({"phones": (Element("+1", "1"),)}, name, [(contact, key(("Bob", "Ray")))]) == ()


def test_an_email_in_planfix_goes_before_a_phone() -> None:
    name = key(("Ann", "Lee"))
    by_phone = PlanfixContact(contact=1, fields={"phones": (Element("+1", "+1"),)})
    by_email = PlanfixContact(contact=2, fields={"emails": (Element("a@x", "a@x"),)})
    person = {"emails": (Element("a@x", "A@x"),), "phones": (Element("+1", "1"),)}
    assert planfix_partners({**person}, name, [(by_phone, name), (by_email, name)]) == (by_email,)
