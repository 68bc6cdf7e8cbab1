"""Slots: what changed is found, and taken back exactly, and only where it still stands."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from contactsync.reconciler.core import slots
from contactsync.reconciler.core.slots import Turn
from contactsync_contracts.contact import Contact, Element

texts = st.sampled_from(["", "a", "b"])
elements = st.lists(
    st.builds(Element, st.sampled_from(["+1", "+2", "+3"]), st.just("x"), st.sampled_from(["home", "work"])),
    max_size=3,
    unique_by=lambda element: element.key,
).map(tuple)
contacts = st.fixed_dictionaries({"notes": texts, "custom:7": texts, "phones": elements})


def compared(contact: Contact) -> dict[str, object]:
    """Without the order of elements."""
    return {n: v if isinstance(v, str) else {e.key: e.kind for e in v} for n, v in contact.items()}


@given(contacts, contacts)
def test_what_changed_can_be_taken_back(before: Contact, after: Contact) -> None:
    turns = slots.turns(before, after)
    assert compared({**after, **slots.turned_back(after, turns)}) == compared(before)
    assert slots.turned_back(before, turns) == {}


@given(contacts, contacts, contacts)
def test_what_does_not_stand_any_more_is_left_alone(before: Contact, after: Contact, now: Contact) -> None:
    turns = slots.turns(before, after)
    back = {**now, **slots.turned_back(now, turns)}
    for slot in {*slots.turns(after, now), *slots.turns(now, after)}:
        assert slots.same(slots.value_at(back, slot), slots.value_at(now, slot))


@given(contacts, contacts)
def test_turns_are_read_back_as_they_were(before: Contact, after: Contact) -> None:
    turns = slots.turns(before, after)
    assert slots.turns_from_json(orjson.loads(orjson.dumps(slots.turns_to_json(turns)))) == turns


def test_a_field_that_one_side_does_not_know_is_no_turn() -> None:
    assert slots.turns({"notes": "a"}, {"position": "b"}) == {}
    assert slots.turned_back({"position": "b"}, {"notes": Turn("", "a")}) == {}
    assert not slots.stands({}, "notes", "")


def test_a_kind_that_a_side_cannot_say_is_no_difference() -> None:
    said, unsaid = Element("+1", "1", "home"), Element("+1", "1")
    assert slots.same(said, unsaid)
    assert not slots.same(said, Element("+1", "1", "work"))
    assert not slots.same(said, None)
    assert slots.turns({"phones": (said,)}, {"phones": (unsaid,)}) == {}


def test_a_custom_field_is_one_slot_although_its_name_has_a_colon() -> None:
    assert slots.turns({"custom:7": "a"}, {"custom:7": "b"}) == {"custom:7": Turn("a", "b")}
    assert slots.field_of("custom:7") == "custom:7"
    assert slots.field_of("phones:+1") == "phones"
