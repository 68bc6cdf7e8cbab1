"""`changes.replace` is `dataclasses.replace`, only faster where a record has no slots."""

from __future__ import annotations

import dataclasses

import pytest

from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.link import Hold, Link

LINK = Link(contact=1, planfix={"notes": "a"}, revision=3, hold=Hold("quarantined", "No."))
RECORD = FilterRecord("1", "Clients", 7, "acc", "a@x", 0.0)


def test_a_changed_copy_is_what_the_library_would_make() -> None:
    assert replace(LINK, revision=4, hold=None) == dataclasses.replace(LINK, revision=4, hold=None)
    assert replace(RECORD, name="Customers") == dataclasses.replace(RECORD, name="Customers")
    assert replace(LINK) == LINK


def test_the_original_stays_as_it_was() -> None:
    before = dataclasses.asdict(LINK)
    replace(LINK, planfix=None, revision=9)
    assert dataclasses.asdict(LINK) == before


def test_records_with_slots_are_copied_too() -> None:
    assert replace(Hold("a", "b"), reason="c") == Hold("a", "c")


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="revison"):
        replace(LINK, revison=4)  # type: ignore[call-arg]


def test_records_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LINK.revision = 5  # type: ignore[misc]
