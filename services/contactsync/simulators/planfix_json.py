"""Planfix's JSON of contacts and employees, as lists and single answers show it; `planfix.py` sends it.

A contact keeps the JSON pieces that were asked of it until it changes, so that a page of a hundred known
contacts is only joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import orjson

from .planfix_options import PlanfixOptions
from .planfix_store import TEXT_FIELDS, Contact, CustomField, Employee, PlanfixStore

CONTACT_FIELDS = (
    "id",
    "template",
    *TEXT_FIELDS,
    "additionalEmailAddresses",
    "group",
    "isCompany",
    "isDeleted",
    "birthDate",
    "createdDate",
    "dateOfLastUpdate",
    "supervisors",
    "addedBy",
    "phones",
    "companies",
    "contacts",
    "files",
)
USER_FIELDS = ("id", "name", "lastname", "role", "login", "email", "secondaryEmails", "status", "timezone")
_TEXTS = frozenset(TEXT_FIELDS)
_NEVER_EMPTY = frozenset({"id", "name", "isCompany", "isDeleted"})


@dataclass(frozen=True, slots=True)
class Fields:
    """What a request asked for: known names in canonical order, and custom fields by number."""

    names: tuple[str, ...]
    custom: tuple[int, ...]


@lru_cache(maxsize=256)
def asked_fields(text: str) -> Fields:
    """`id,name,10`: unknown names are ignored, as Planfix ignores them."""
    parts = [part.strip() for part in text.split(",")]
    custom = tuple(dict.fromkeys(int(part) for part in parts if part.isascii() and part.isdigit()))
    return Fields(tuple(name for name in CONTACT_FIELDS if name in parts), custom)


@dataclass(frozen=True, slots=True)
class View:
    """How one token sees contacts; equal views share rendered pieces."""

    fields: Fields
    timezone: str
    prefixed: bool = False
    unfiltered: bool = False
    """For `dump`: fields that are hidden from tokens are shown."""


def contact_fragment(store: PlanfixStore, options: PlanfixOptions, contact: Contact, view: View) -> orjson.Fragment:
    piece = contact.rendered.get(view)
    if piece is None:
        piece = orjson.Fragment(orjson.dumps(contact_json(store, options, contact, view)))
        contact.rendered[view] = piece
    return piece


def contact_json(store: PlanfixStore, options: PlanfixOptions, contact: Contact, view: View) -> dict[str, object]:
    """The asked fields of a contact as ContactResponse."""
    zone = ZoneInfo(view.timezone)
    shown: dict[str, object] = {}
    for name in view.fields.names:
        hidden = name in options.hidden_fields and not view.unfiltered and name not in _NEVER_EMPTY
        if hidden and options.hidden_as == "absent":
            continue
        value = _empty(options, name) if hidden else _value(store, options, contact, name, zone, view.prefixed)
        if value is not _ABSENT:
            shown[name] = value
    if view.fields.custom:
        shown["customFieldData"] = [
            custom_value_json(store.custom_fields[number], contact.custom.get(number))
            for number in view.fields.custom
            if number in store.custom_fields and (view.unfiltered or str(number) not in options.hidden_fields)
        ]
    return shown


class _Absent:
    """Marks a field that the answer leaves out."""


_ABSENT = _Absent()


def _value(
    store: PlanfixStore, options: PlanfixOptions, contact: Contact, name: str, zone: ZoneInfo, prefixed: bool
) -> object:
    if name in _TEXTS:
        return contact.texts[name] or _empty(options, name)
    match name:
        case "id":
            return f"contact:{contact.id}" if prefixed else contact.id
        case "template":
            return {"id": contact.template}
        case "additionalEmailAddresses":
            return list(contact.additional_emails)
        case "group":
            if contact.group is None:
                return _empty(options, name)
            return {"id": contact.group, "name": store.groups.get(contact.group, "")}
        case "isCompany":
            return contact.is_company
        case "isDeleted":
            return contact.trashed
        case "birthDate":
            return _empty(options, name) if contact.birth_date is None else date_point(contact.birth_date)
        case "createdDate":
            return time_point(contact.created_s, zone, utc_seconds=options.utc_seconds)
        case "dateOfLastUpdate":
            return time_point(contact.modified_s, zone, utc_seconds=options.utc_seconds)
        case "supervisors":
            return {
                "users": [{"id": user, "name": _user_name(store, user)} for user in contact.supervisors],
                "groups": [{"id": number, "name": ""} for number in contact.supervisor_groups],
            }
        case "addedBy":
            return {"id": contact.added_by, "name": _user_name(store, contact.added_by)}
        case "phones":
            return [
                {"number": phone.number, "maskedNumber": masked(phone.number), "type": phone.type}
                for phone in contact.phones
            ]
        case "companies":
            return [
                {"id": number, "name": store.contacts[number].texts["name"]}
                for number in contact.companies
                if store.live(number) is not None
            ]
        case "contacts":
            return [
                {"id": f"contact:{number}", "name": full_name(store.contacts[number])}
                for number in store.persons_of(contact.id)
                if store.live(number) is not None
            ]
        case "files":
            return []
        case _:
            raise KeyError(name)


def _empty(options: PlanfixOptions, name: str) -> object:
    match name:
        case "additionalEmailAddresses" | "phones" | "companies" | "contacts" | "files":
            return []
        case "supervisors":
            return {"users": [], "groups": []}
        case "gender":
            return "NotDefined"
        case _ if name in _TEXTS:
            return {"empty": "", "null": None, "absent": _ABSENT}[options.empty_text]
        case _:
            return None if options.empty_object == "null" else _ABSENT


def _user_name(store: PlanfixStore, user: str) -> str:
    employee = store.employees.get(int(user.partition(":")[2] or 0))
    return "" if employee is None else employee.full_name


def full_name(contact: Contact) -> str:
    return " ".join(filter(None, (contact.texts[part] for part in ("name", "midname", "lastname"))))


def masked(number: str) -> str:
    """Planfix's display form: `+8 (964) 375-24-16` of eleven digits, else a plus before them."""
    digits = re.sub(r"\D", "", number)
    if len(digits) == 11:
        return f"+{digits[0]} ({digits[1:4]}) {digits[4:7]}-{digits[7:9]}-{digits[9:]}"
    return f"+{digits}"


def custom_value_json(custom: CustomField, value: object) -> dict[str, object]:
    return {
        "field": {"id": custom.id, "name": custom.name, "type": custom.type, "objectType": 1},
        "value": value,
        "stringValue": "" if value is None else str(value),
    }


def time_point(at_s: float, zone: ZoneInfo, *, utc_seconds: bool) -> dict[str, str]:
    """A TimePoint. `datetime` ends in a quoted Z but is local; only `dateTimeUtcSeconds` is UTC."""
    whole = int(at_s // 1)
    local = datetime.fromtimestamp(whole, zone)
    day, clock = local.strftime("%Y-%m-%d"), local.strftime("%H:%M")
    point = {"date": local.strftime("%d-%m-%Y"), "time": clock, "datetime": f"{day}T{clock}Z"}
    if utc_seconds:
        point["dateTimeUtcSeconds"] = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return point


def date_point(day: date) -> dict[str, str]:
    return {
        "date": f"{day.day:02}-{day.month:02}-{day.year:04}",
        "time": "00:00",
        "datetime": f"{day.isoformat()}T00:00Z",
    }


def user_json(employee: Employee, fields: Iterable[str], *, prefixed: bool) -> dict[str, object]:
    """The asked fields of an employee as UserResponse."""
    known: dict[str, object] = {
        "id": f"user:{employee.id}" if prefixed else employee.id,
        "name": employee.name,
        "lastname": employee.lastname,
        "role": employee.role,
        "login": employee.login,
        "email": employee.email,
        "secondaryEmails": list(employee.secondary_emails),
        "status": employee.status,
        "timezone": employee.timezone,
    }
    return {name: known[name] for name in fields if name in known}
