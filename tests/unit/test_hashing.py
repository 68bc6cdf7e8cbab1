"""Keyed hashes: what compares equal, and what must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contactsync.hashing import Hasher, content_hash, fold_name
from contactsync_contracts.contact import Contact, Element

HASHER = Hasher(b"k" * 32)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Émile", "emile"),
        ("O'Brien", "OBRIEN"),
        ("Anna-Maria", "anna maria"),
        ("Straße", "STRASSE"),
        ("Ёлкин", "елкин"),
        ("J.", "j"),
        ("ﬁona", "Fiona"),
    ],
)
def test_names_that_differ_only_in_spelling_fold_to_the_same(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other) != ""


def test_a_name_of_punctuation_is_empty() -> None:
    assert HASHER.names("—", " ") == ("", "", False, "")


def test_an_initial_is_known_as_one_and_matches_the_full_name() -> None:
    full, initial = HASHER.names("Jürgen", "Klein"), HASHER.names("J.", "klein")
    assert not full[2]
    assert initial[2]
    assert full[1] == initial[1]
    assert full[0] != initial[0]
    assert full[3] == initial[3]


def test_the_same_text_in_another_role_has_another_hash() -> None:
    given, initial, _, family = HASHER.names("a", "a")
    assert len({given, initial, family, HASHER.email("a"), HASHER.phone("a")}) == 5


def test_another_key_gives_other_hashes() -> None:
    assert HASHER.email("a@b.example") != Hasher(b"other").email("a@b.example")


def test_a_long_key_is_used_to_its_end() -> None:
    assert Hasher(b"x" * 80).email("a") != Hasher(b"x" * 79 + b"y").email("a")


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="without a key"):
        Hasher(b"")


WORK = Element(key="+12025550101", value="202-555-0101", kind="work")


def _contact(**changes: str | tuple[Element, ...]) -> Contact:
    contact: Contact = {"given": "Ann", "family": "Lee", "phones": (WORK, Element(key="+1", value="1"))}
    contact.update(changes)
    return contact


def test_order_and_spelling_do_not_change_the_content_hash() -> None:
    other: Contact = {
        "phones": (Element(key="+1", value="01"), replace(WORK, value="+1 202 555 0101")),
        "family": "Lee",
        "given": "Ann",
    }
    assert content_hash(_contact()) == content_hash(other)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(_contact(given="Anne"), id="text"),
        pytest.param(_contact(given=""), id="emptied"),
        pytest.param({k: v for k, v in _contact().items() if k != "given"}, id="unknown"),
        pytest.param(_contact(phones=(Element(key="+1", value="1"),)), id="element removed"),
        pytest.param(
            _contact(phones=(Element(key="+12025550101", value="", kind="home"), Element(key="+1", value="1"))),
            id="type of an element",
        ),
    ],
)
def test_any_change_of_content_changes_the_content_hash(changed: Contact) -> None:
    assert content_hash(changed) != content_hash(_contact())


def test_the_content_hash_is_the_same_in_every_process() -> None:
    assert content_hash({"given": "Ann"}) == 0xA24C78E0BC2800C8
