"""Arrivals are found by person, by name and by stamp."""

from __future__ import annotations

from dataclasses import replace

from contactsync.reconciler.core.arrived import Arrived
from contactsync.reconciler.core.link import Arrival


def arrival(source_id: str, stamp: int | None = None) -> Arrival:
    return Arrival(
        source_id=source_id,
        resource=f"people/{source_id}",
        etag="e",
        google={},
        google_at=1.0,
        raw={},
        stamp_contact=stamp,
    )


def test_the_first_with_the_stamp_is_found_and_the_next_when_it_is_gone() -> None:
    arrived = Arrived([arrival("b", 7), arrival("a", 7), arrival("c")])
    assert arrived.stamped(7) == arrival("b", 7)
    arrived.drop("b")
    assert arrived.stamped(7) == arrival("a", 7)
    arrived.drop("a")
    assert arrived.stamped(7) is None
    assert [one.source_id for one in arrived.values()] == ["c"]


def test_another_stamp_and_another_name_replace_the_earlier_ones() -> None:
    arrived = Arrived([arrival("a", 7)])
    arrived.put(replace(arrival("a", 8), resource="people/new"))
    assert arrived.stamped(7) is None
    assert arrived.stamped(8) is not None
    assert arrived.named("people/a") is None
    assert list(arrived.resources) == ["people/new"]
    assert arrived.drop("x") is None
