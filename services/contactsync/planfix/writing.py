"""The canonical contact to the body of a partial update in Planfix; `mapping.py` is the way back.

Pure; `client.py` is the shell. `to_update` gives the body and says which fields Planfix cannot hold, with the reason
that a human will read. Field names and types are those of Planfix's OpenAPI description 1.6.9 (ContactRequest).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from contactsync.planfix.mapping import (
    KINDS,
    TEXTS,
    Json,
    MappingConfig,
    text,
)
from contactsync.runtime.phones import phone_key
from contactsync_contracts.contact import CUSTOM_PREFIX, Contact, Element

ONE_EMAIL: Final = "Planfix keeps one e-mail address; the others stay in Google"
NEEDS_YEAR: Final = "Planfix needs a year"
YEAR_1900: Final = "Planfix takes the year 1900 for a birthday without a year"
NEEDS_NAME: Final = "Planfix needs a name"
COMPANY_HAS_NO_PERSON: Final = "a company has no personal name in Planfix"

_EMAIL: Final = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\".]+(\.[^@\s,;<>\".]+)+")
TYPES: Final[Mapping[str, int]] = {kind: number for number, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Update:
    """`body`: what to send (empty: nothing). `refused`: canonical field to the reason, without values."""

    body: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def to_update(
    fields: Contact,
    *,
    is_company: bool,
    phones: Sequence[Json],
    config: MappingConfig,
    writable_extra_emails: bool,
    current: Contact | None = None,
) -> Update:
    """The body that brings the given fields to Planfix; `company` of a person is the caller's (needs a look-up).

    `phones`: Planfix's own list at present, `current`: the contact as it was just read, if it was.
    """
    update = Update()
    for name, value in fields.items():
        if isinstance(value, str):
            _write_scalar(update, name, value, is_company, config, current or {})
        elif name == "phones":
            _write_phones(update, value, phones, config.region)
        elif name == "emails":
            _write_emails(update, value, (current or {}).get("emails"), writable_extra_emails)
    return update


def _write_scalar(
    update: Update, name: str, value: str, is_company: bool, config: MappingConfig, current: Contact
) -> None:
    body, refused = update.body, update.refused
    match name:
        case "given" | "middle" | "family" if is_company:
            if value:
                refused[name] = COMPANY_HAS_NO_PERSON
        case "given" if not value:
            refused[name] = NEEDS_NAME
        case "company":
            if is_company and value:
                body["name"] = value
            elif is_company:
                refused[name] = NEEDS_NAME
        case "gender":
            body["gender"] = value.capitalize() or "NotDefined"
        case "birthday":
            _write_birthday(update, value, str(current.get("birthday", "")))
        case "telegram" if value:
            if re.fullmatch(r"[A-Za-z0-9_]+", value):
                body["telegram"] = f"https://t.me/{value}"
            else:
                refused[name] = "this is not a Telegram name"
        case _ if name in TEXTS:
            body[TEXTS[name]] = value
        case _ if name.removeprefix(CUSTOM_PREFIX) in config.custom_fields:
            number = int(name.removeprefix(CUSTOM_PREFIX))
            body.setdefault("customFieldData", []).append({"field": {"id": number}, "value": value})
        case _:
            refused[name] = "Planfix has no such field"


def _write_birthday(update: Update, value: str, current: str) -> None:
    if not value:
        update.body["birthDate"] = ""
        return
    yearless = value.startswith("--")
    if yearless and not current.startswith("--"):
        update.refused["birthday"] = NEEDS_YEAR
    elif value.startswith("1900-"):
        update.refused["birthday"] = YEAR_1900
    else:
        try:
            day = date.fromisoformat("1900" + value[1:] if yearless else value)
        except ValueError:
            update.refused["birthday"] = NEEDS_YEAR if yearless else "this is not a date"
        else:
            update.body["birthDate"] = {"date": f"{day.day:02}-{day.month:02}-{day.year:04}"}


def _write_emails(
    update: Update, wanted: tuple[Element, ...], current: str | tuple[Element, ...] | None, extra: bool
) -> None:
    """Planfix's present primary address stays primary while it is wanted."""
    held = current if isinstance(current, tuple) else None
    taken = [one for one in wanted if _holdable(one.value)]
    keys = [one.key for one in taken]
    if held and held[0].key in keys:
        taken.insert(0, taken.pop(keys.index(held[0].key)))
    if not taken:
        if wanted:
            update.refused["emails"] = "Planfix does not take an e-mail address of this form"
        if not wanted or (held and held[0].key not in {one.key for one in wanted}):
            update.body["email"] = ""
        return
    if not held or held[0].key != taken[0].key:
        update.body["email"] = taken[0].value
    others, held_others = [one.key for one in taken[1:]], [one.key for one in (held or ())[1:]]
    if len(taken) < len(wanted):
        update.refused["emails"] = "Planfix does not take an e-mail address of this form"
    if (held is None and not others) or set(others) == set(held_others):
        return
    if extra:
        update.body["additionalEmailAddresses"] = [one.value for one in taken[1:]]
    else:
        update.refused["emails"] = ONE_EMAIL


def _holdable(address: str) -> bool:
    return len(address) <= 254 and _EMAIL.fullmatch(address) is not None


def _write_phones(update: Update, wanted: tuple[Element, ...], current: Sequence[Json], region: str) -> None:
    """The whole list is replaced by what is sent: numbers that stay keep Planfix's spelling and, where the other
    side says nothing, their type."""
    missing = {one.key: one for one in wanted}
    kept: set[str] = set()
    after: list[dict[str, Any]] = []
    for item in current:
        key = phone_key(text(str(item.get("number") or "")), region, bare_is_international=True)
        element = missing.get(key)
        if element is None:
            continue
        own = TYPES.get(element.kind) if key not in kept else None
        after.append({"number": item["number"], "type": own or item.get("type") or TYPES["other"]})
        kept.add(key)
    for element in wanted:
        if element.key in kept:
            continue
        number = element.key if element.key.startswith("+") else element.value
        digits = "".join(character for character in number if character.isdigit())
        if len(digits) < 3:
            update.refused["phones"] = "Planfix takes only digits as a phone number"
        elif phone_key(digits, region, bare_is_international=True) != element.key:
            # Planfix keeps digits only; this one would come back as the number of somebody else.
            update.refused["phones"] = "Planfix would take this for another number; add its country code"
        else:
            after.append({"number": number, "type": TYPES.get(element.kind, TYPES["other"])})
    before = [{"number": item.get("number"), "type": item.get("type")} for item in current]
    if after != before:
        update.body["phones"] = after


VENDOR_FIELDS: Final[Mapping[str, str]] = {
    **{vendor: name for name, vendor in TEXTS.items()},
    "gender": "gender",
    "birthDate": "birthday",
    "email": "emails",
    "additionalEmailAddresses": "emails",
    "phones": "phones",
    "companies": "company",
}
"""Planfix's name of a field (in `failures`) to ours; `customFieldData` does not say which one."""


def canonical_names(vendor: str, body: Json, *, is_company: bool) -> tuple[str, ...]:
    """Which of our fields Planfix means by one of its own; every custom field sent for `customFieldData`."""
    if vendor == "customFieldData":
        return tuple(f"{CUSTOM_PREFIX}{item['field']['id']}" for item in body.get("customFieldData", ()))
    if vendor.isdigit():
        return (f"{CUSTOM_PREFIX}{vendor}",)
    name = VENDOR_FIELDS.get(vendor)
    if name is None:
        return ()
    return ("company",) if is_company and vendor == "name" else (name,)
