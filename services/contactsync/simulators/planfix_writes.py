"""Reads a ContactRequest and applies it to a contact as Planfix would: some fields refused, some ignored.

`read_request` checks everything first, so that a refused request changes nothing; `planfix.py` uses it for
API writes and `planfix_hands.py` for what people do in Planfix's own pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from .planfix_options import PlanfixOptions
from .planfix_store import TEXT_FIELDS, Contact, Phone, PlanfixStore

_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+")
_TELEGRAM = re.compile(r"(?:https?://)?(?:t\.me|telegram\.me)/|@", re.IGNORECASE)
_TEXTS = frozenset(TEXT_FIELDS)
_LANGUAGES = frozenset({"En", "Ru", "Pl", "Ka", "Ro", "Pt", "Es", "De", "Az", "Tr"})


class RefusalError(ValueError):
    """The whole request is refused; ``code`` is one of Planfix's."""

    def __init__(self, status: int, code: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.code = code
        self.error = error


@dataclass(slots=True)
class Change:
    """What a request sets, checked; ``refused`` names fields that stay as they are although asked for."""

    texts: dict[str, str] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    custom: dict[int, object] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    trashed: bool | None = None

    def apply(self, contact: Contact) -> None:
        """Only inside `PlanfixStore.changing`."""
        contact.texts.update(self.texts)
        for name, value in self.values.items():
            setattr(contact, name, value)
        for number, value in self.custom.items():
            if value in ("", None):
                contact.custom.pop(number, None)
            else:
                contact.custom[number] = value
        if self.trashed is not None:
            contact.trashed = self.trashed


def read_request(
    store: PlanfixStore,
    options: PlanfixOptions,
    contact: Contact,
    body: Mapping[str, object],
    *,
    by_api: bool,
    creating: bool,
) -> Change:
    """Checks a request for a contact. Raises RefusalError; unknown keys are ignored. A human can write what
    the API cannot: additional e-mails, fields that are read-only for the token."""
    change = Change()
    for name, raw in body.items():
        if raw is None and not options.null_clears:
            continue
        if by_api and name in options.readonly_fields:
            change.refused.append(name)
        elif name in _TEXTS:
            _read_text(options, contact, change, name, raw, by_api=by_api)
        else:
            _read_value(store, options, contact, change, name, raw, by_api=by_api)
    _check_name(options, contact, change)
    _check_emails(store, options, contact, change, creating=creating)
    return change


def _read_text(
    options: PlanfixOptions, contact: Contact, change: Change, name: str, raw: object, *, by_api: bool
) -> None:
    if raw is not None and not isinstance(raw, (str, int)):
        change.refused.append(name)
        return
    text = "" if raw is None else str(raw)
    if by_api:
        text = _clean(options, name, text)
    match name:
        case "gender":
            text = text or "NotDefined"
            if text not in ("NotDefined", "Female", "Male"):
                change.refused.append(name)
                return
        case "languageCode" if text and text not in _LANGUAGES:
            change.refused.append(name)
            return
        case "telegram" if text:
            handle = _TELEGRAM.sub("", text.strip()).strip("/")
            if not re.fullmatch(r"[A-Za-z0-9_]+", handle):
                change.refused.append(name)
                return
            text = f"https://t.me/{handle}"
        case "email":
            text = text.strip()
            if text and not _EMAIL.fullmatch(text):
                raise RefusalError(400, 2004, "Contact email has wrong format")
        case "midname" | "lastname" if contact.is_company:
            return
    change.texts[name] = text


def _clean(options: PlanfixOptions, name: str, text: str) -> str:
    if any(ord(character) > 0xFFFF for character in text):
        if options.emoji == "reject":
            raise RefusalError(400, 30, "Rest API error, not valid JSON: unexpected character")
        if options.emoji == "strip":
            text = "".join(character for character in text if ord(character) <= 0xFFFF)
    if options.reformats and text:
        text = text.strip() if name == "description" else " ".join(text.split())
        if name == "email":
            text = text.lower()
        elif name == "site" and "://" not in text:
            text = f"https://{text}"
    return text


def _read_value(
    store: PlanfixStore,
    options: PlanfixOptions,
    contact: Contact,
    change: Change,
    name: str,
    raw: object,
    *,
    by_api: bool,
) -> None:
    match name:
        case "birthDate":
            _keep(change, name, "birth_date", read_birth_date(raw))
        case "phones":
            _keep(change, name, "phones", _phones(options, raw, by_api=by_api))
        case "additionalEmailAddresses":
            if by_api and options.additional_emails == "refused":
                change.refused.append(name)
            elif not by_api or options.additional_emails == "writable":
                _keep(change, name, "additional_emails", _addresses(raw))
        case "group":
            number = entity_number(raw)
            if number is None or number == 0:
                change.values["group"] = None
            else:
                _keep(change, name, "group", number if number in store.groups else _WRONG)
        case "template":
            number = entity_number(raw)
            template = store.templates.get(number or 0)
            fits = template is not None and template.is_company == contact.is_company
            _keep(change, name, "template", number if fits else _WRONG)
        case "companies":
            _keep(change, name, "companies", _companies(store, raw))
        case "supervisors":
            users, groups = _supervisors(store, raw)
            _keep(change, name, "supervisors", users)
            if users is not _WRONG:
                change.values["supervisor_groups"] = groups
        case "customFieldData":
            _read_custom(store, options, change, raw, by_api=by_api)
        case "isDeleted" if isinstance(raw, bool):
            change.trashed = raw
        case _:
            pass


class _Wrong:
    """Marks a value that Planfix does not take."""


_WRONG = _Wrong()


def _keep(change: Change, name: str, attribute: str, value: object) -> None:
    if value is _WRONG:
        change.refused.append(name)
    else:
        change.values[attribute] = value


def read_birth_date(raw: object) -> date | _Wrong | None:
    """`{"date": "01-12-1990"}`, `01.12.1990` and the like; empty clears."""
    text = raw.get("date") if isinstance(raw, Mapping) else raw
    if text in (None, ""):
        return None
    for pattern in ("%d-%m-%Y", "%d.%m.%Y"):
        try:
            return datetime.strptime(str(text), pattern).date()
        except ValueError:
            continue
    return _WRONG


def _phones(options: PlanfixOptions, raw: object, *, by_api: bool) -> tuple[Phone, ...] | _Wrong:
    """The list replaces the stored one; numbers are kept as digits only."""
    phones: list[Phone] = []
    for item in raw if isinstance(raw, list) else []:
        number = str(item.get("number", "")) if isinstance(item, Mapping) else ""
        kind = item.get("type", 1) if isinstance(item, Mapping) else 0
        stored = re.sub(r"\D", "", number) if options.phone_storage == "digits" else number.strip()
        if not re.sub(r"\D", "", stored) or kind not in (1, 2, 3, 4):
            return _WRONG
        phones.append(Phone(stored, kind))
    return tuple(phones)


def _addresses(raw: object) -> tuple[str, ...] | _Wrong:
    addresses = tuple(str(item).strip() for item in raw) if isinstance(raw, (list, tuple)) else ()
    return addresses if all(_EMAIL.fullmatch(each) for each in addresses) else _WRONG


def _companies(store: PlanfixStore, raw: object) -> tuple[int, ...] | _Wrong:
    numbers = [entity_number(item) for item in raw] if isinstance(raw, list) else []
    found = [store.live(number or 0) for number in numbers]
    if any(company is None or not company.is_company for company in found):
        return _WRONG
    return tuple(dict.fromkeys(company.id for company in found if company is not None))


def _supervisors(store: PlanfixStore, raw: object) -> tuple[tuple[str, ...] | _Wrong, tuple[int, ...]]:
    if not isinstance(raw, Mapping):
        return (), ()
    users = [entity_number(item) for item in raw.get("users") or ()]
    if any(number not in store.employees for number in users):
        return _WRONG, ()
    groups = tuple(number for item in raw.get("groups") or () if (number := entity_number(item)) is not None)
    return tuple(f"user:{number}" for number in users), groups


def _read_custom(store: PlanfixStore, options: PlanfixOptions, change: Change, raw: object, *, by_api: bool) -> None:
    for item in raw if isinstance(raw, list) else []:
        number = entity_number(item.get("field")) if isinstance(item, Mapping) else None
        if number not in store.custom_fields or (by_api and str(number) in options.readonly_fields):
            change.refused.append("customFieldData")
            continue
        change.custom[number] = item.get("value")


def _check_name(options: PlanfixOptions, contact: Contact, change: Change) -> None:
    after = {**contact.texts, **change.texts}
    parts = ("name",) if options.name_required == "name" else ("name", "midname", "lastname")
    if not any(after[part].strip() for part in parts):
        raise RefusalError(400, 2006, "Contact full name is empty")


def _check_emails(
    store: PlanfixStore, options: PlanfixOptions, contact: Contact, change: Change, *, creating: bool
) -> None:
    """An address belongs to one contact or employee of the account; Planfix refuses the second one."""
    address = change.texts.get("email", "")
    if address and store.email_owner(address, except_contact=contact.id) is not None:
        if creating:
            raise RefusalError(
                400, options.email_conflict_code_on_create, "Rest API error, contact email is not unique"
            )
        if options.email_conflict_on_update == "error":
            raise RefusalError(400, 2005, "Contact email is not unique")
        change.refused.append("email")
        del change.texts["email"]
    others = change.values.get("additional_emails")
    if isinstance(others, tuple) and any(
        store.email_owner(other, except_contact=contact.id) is not None for other in others
    ):
        change.refused.append("additionalEmailAddresses")
        del change.values["additional_emails"]


def entity_number(raw: object) -> int | None:
    """`{"id": 5}`, `{"id": "user:5"}`, `5` or `"contact:5"` as a number."""
    value = raw.get("id") if isinstance(raw, Mapping) else raw
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = str(value).rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else None
