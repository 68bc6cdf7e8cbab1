"""Conditions of saved filters: what a list in Planfix selects by. The API never shows them.

`planfix_store.py` keeps each filter's members by asking `matches` again whenever a contact changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from .planfix_store import Contact


@dataclass(frozen=True, slots=True)
class Everything:
    """All contacts, as in the system lists."""


@dataclass(frozen=True, slots=True)
class InGroup:
    group: int


@dataclass(frozen=True, slots=True)
class HasTemplate:
    template: int


@dataclass(frozen=True, slots=True)
class HasCustomValue:
    field: int
    value: str


@dataclass(frozen=True, slots=True)
class Supervised:
    user: int


@dataclass(frozen=True, slots=True)
class NameStartsWith:
    prefix: str


@dataclass(slots=True)
class OneOf:
    """An explicit set: stands for conditions via tasks, which change without any contact being modified."""

    ids: set[int] = field(default_factory=set)


Condition = Everything | InGroup | HasTemplate | HasCustomValue | Supervised | NameStartsWith | OneOf


def matches(condition: Condition, contact: Contact) -> bool:
    """Whether the contact fulfils the condition; trash and `isCompany` are not its business."""
    match condition:
        case Everything():
            return True
        case InGroup(group):
            return contact.group == group
        case HasTemplate(template):
            return contact.template == template
        case HasCustomValue(number, value):
            return contact.custom.get(number) == value
        case Supervised(user):
            return f"user:{user}" in contact.supervisors
        case NameStartsWith(prefix):
            return contact.texts["name"].casefold().startswith(prefix.casefold())
        case OneOf(ids):
            return contact.id in ids
        case _:
            assert_never(condition)


def condition_from_json(value: Mapping[str, object]) -> Condition:
    """`{"kind": "group", "group": 5}` and so on; kinds: all, group, template, custom, supervisor,
    name_prefix, ids. Raises ValueError for anything else."""
    kind = value.get("kind")
    match kind:
        case "all":
            return Everything()
        case "group":
            return InGroup(_int(value, "group"))
        case "template":
            return HasTemplate(_int(value, "template"))
        case "custom":
            return HasCustomValue(_int(value, "field"), str(value["value"]))
        case "supervisor":
            return Supervised(_int(value, "user"))
        case "name_prefix":
            return NameStartsWith(str(value["prefix"]))
        case "ids":
            ids = value.get("ids", ())
            if not isinstance(ids, (list, tuple, set, frozenset)):
                raise ValueError("ids of a filter's condition are a list of contact numbers")
            return OneOf({int(number) for number in ids})
        case _:
            raise ValueError(f"unknown kind of filter condition: {kind!r}")


def condition_as_json(condition: Condition) -> dict[str, object]:
    match condition:
        case Everything():
            return {"kind": "all"}
        case InGroup(group):
            return {"kind": "group", "group": group}
        case HasTemplate(template):
            return {"kind": "template", "template": template}
        case HasCustomValue(number, value):
            return {"kind": "custom", "field": number, "value": value}
        case Supervised(user):
            return {"kind": "supervisor", "user": user}
        case NameStartsWith(prefix):
            return {"kind": "name_prefix", "prefix": prefix}
        case OneOf(ids):
            return {"kind": "ids", "ids": sorted(ids)}
        case _:
            assert_never(condition)


def _int(value: Mapping[str, object], key: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"{key} of a filter's condition is a number")
    return number
