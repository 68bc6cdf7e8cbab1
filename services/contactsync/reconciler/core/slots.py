"""A contact cut into slots, the smallest things that are taken back alone: a scalar is one, each element is one.

A slot's name is its field's, for an element `field:key`. A *turn* is what happened to a slot: what was there before
and what after. The history keeps turns (`history.py`), an undo plays them backwards (`undoing.py`, `plan.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contactsync_contracts.contact import ELEMENT_FIELDS, Contact, Element

Value = str | Element | None
"""None: there is no such element."""


@dataclass(frozen=True, slots=True)
class Turn:
    before: Value
    after: Value

    def reversed(self) -> Turn:
        return Turn(self.after, self.before)


Turns = dict[str, Turn]


def field_of(slot: str) -> str:
    """Custom fields have a colon, too, and are scalars."""
    head = slot.partition(":")[0]
    return head if head in ELEMENT_FIELDS else slot


def knows(contact: Contact, slot: str) -> bool:
    return field_of(slot) in contact


def value_at(contact: Contact, slot: str) -> Value:
    name = field_of(slot)
    value = contact.get(name, "")
    if isinstance(value, str):
        return value
    key = slot.removeprefix(f"{name}:")
    return next((element for element in value if element.key == key), None)


def same(one: Value, other: Value) -> bool:
    """As the merge compares: an element by its key, and its kind where both sides say one."""
    if isinstance(one, Element) and isinstance(other, Element):
        return one.key == other.key and (not one.kind or not other.kind or one.kind == other.kind)
    return one == other


def turns(before: Contact, after: Contact) -> Turns:
    """What differs between two states of one side, of the fields that both know."""
    found: Turns = {}
    for name in before.keys() & after.keys():
        for slot in _slots(name, before, after):
            was, is_now = value_at(before, slot), value_at(after, slot)
            if not same(was, is_now):
                found[slot] = Turn(was, is_now)
    return found


def turned_back(contact: Contact, back: Mapping[str, Turn]) -> Contact:
    """The fields that change when these turns are taken back, as far as the contact still stands as they left it."""
    changed: Contact = {}
    for slot, turn in back.items():
        name = field_of(slot)
        now = value_at(contact, slot)
        if name in contact and same(now, turn.after) and not same(now, turn.before):
            changed[name] = with_value(changed.get(name, contact[name]), slot, turn.before)
    return changed


def stands(contact: Contact, slot: str, value: Value) -> bool:
    return knows(contact, slot) and same(value_at(contact, slot), value)


def with_value(field: str | tuple[Element, ...], slot: str, value: Value) -> str | tuple[Element, ...]:
    """The field with this slot set. An element that comes back stands last."""
    if isinstance(value, str) or isinstance(field, str):
        return value if isinstance(value, str) else field
    elements = {element.key: element for element in field}
    if value is None:
        elements.pop(slot.partition(":")[2], None)
    else:
        elements[value.key] = value
    return tuple(elements.values())


def turns_to_json(turned: Mapping[str, Turn]) -> dict[str, Any]:
    return {slot: [_to_json(turn.before), _to_json(turn.after)] for slot, turn in turned.items()}


def turns_from_json(stored: Mapping[str, Any]) -> Turns:
    return {slot: Turn(_from_json(before), _from_json(after)) for slot, (before, after) in stored.items()}


def _slots(name: str, *states: Contact) -> Iterable[str]:
    if name not in ELEMENT_FIELDS:
        return [name]
    values = [state[name] for state in states]
    keys = dict.fromkeys(e.key for value in values if isinstance(value, tuple) for e in value)
    return [f"{name}:{key}" for key in keys]


def _to_json(value: Value) -> Any:
    return [value.key, value.value, value.kind] if isinstance(value, Element) else value


def _from_json(stored: Any) -> Value:
    return Element(*stored) if isinstance(stored, list) else stored
