"""Planfix's JSON of a contact to the canonical contact, and back to the body of a partial update.

Pure; `client.py` is the shell. Reading: a key that the answer lacks is unknown and left out, null is empty. Writing:
`to_update` gives the body and says which fields Planfix cannot hold, with the reason that a human will read.
Field names and types are those of Planfix's OpenAPI description 1.6.9 (ContactResponse, ContactRequest).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from contactsync.runtime.phones import phone_key
from contactsync_contracts.contact import CUSTOM_PREFIX, Contact, Element
from contactsync_contracts.messages import PlanfixContact

Json = Mapping[str, Any]

TEXTS: Final[Mapping[str, str]] = {
    "given": "name",
    "middle": "midname",
    "family": "lastname",
    "notes": "description",
    "position": "position",
    "address": "address",
    "site": "site",
    "skype": "skype",
    "telegram": "telegram",
    "viber": "viberId",
    "facebook": "facebook",
    "instagram": "instagram",
}
"""Canonical scalar to the Planfix field that holds it as text."""

FIELDS: Final = (
    "id",
    *TEXTS.values(),
    "gender",
    "email",
    "additionalEmailAddresses",
    "isCompany",
    "isDeleted",
    "birthDate",
    "dateOfLastUpdate",
    "phones",
    "companies",
    "sourceObjectId",
)
"""What every full request asks for, besides the chosen custom fields."""

KINDS: Final[Mapping[int, str]] = {1: "mobile", 2: "work", 3: "home", 4: "other"}
TYPES: Final[Mapping[str, int]] = {kind: number for number, kind in KINDS.items()}
GENDERS: Final[Mapping[str, str]] = {"NotDefined": "", "Female": "female", "Male": "male", "": ""}

ONE_EMAIL: Final = "Planfix keeps one e-mail address; the others stay in Google"
NEEDS_YEAR: Final = "Planfix needs a year"
YEAR_1900: Final = "Planfix takes the year 1900 for a birthday without a year"
NEEDS_NAME: Final = "Planfix needs a name"
COMPANY_HAS_NO_PERSON: Final = "a company has no personal name in Planfix"

_EMAIL: Final = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\".]+(\.[^@\s,;<>\".]+)+")
_TELEGRAM: Final = re.compile(r"^(?:https?://)?(?:www\.)?(?:t\.me|telegram\.(?:me|dog))/", re.IGNORECASE)
_PERSONAL: Final = frozenset({"given", "middle", "family"})


@dataclass(frozen=True, slots=True)
class MappingConfig:
    """`region`: of phone numbers without a country code; `custom_fields`: numbers of the chosen ones."""

    region: str = "US"
    custom_fields: tuple[str, ...] = ()

    @property
    def fields(self) -> str:
        """The `fields` parameter of a full request."""
        return ",".join((*FIELDS, *self.custom_fields))


@dataclass(frozen=True, slots=True)
class Update:
    """`body`: what to send (empty: nothing). `refused`: canonical field to the reason, without values."""

    body: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class UnmappableError(ValueError):
    """A row without a usable contact number."""


def text(value: str) -> str:
    """One line of canonical text: NFC, outer blanks gone, inner ones folded to one space."""
    return " ".join(unicodedata.normalize("NFC", value).split())


def long_text(value: str) -> str:
    """Canonical text with its line breaks (as `\\n`)."""
    return unicodedata.normalize("NFC", value).replace("\r\n", "\n").replace("\r", "\n").strip()


# --- reading ----------------------------------------------------------------------------------------------


def to_contact(row: Json, config: MappingConfig) -> PlanfixContact:
    """Raises UnmappableError when the row has no number; a field that cannot be read is unknown (left out)."""
    is_company = row.get("isCompany") is True
    fields: Contact = {}
    for name, vendor in TEXTS.items():
        if (value := _text_of(row, name, vendor)) is not None:
            fields[name] = value
    if (gender := row.get("gender", _MISSING)) is not _MISSING and (gender or "") in GENDERS:
        fields["gender"] = GENDERS[gender or ""]
    if (birthday := _birthday(row.get("birthDate", _MISSING))) is not None:
        fields["birthday"] = birthday
    if (emails := _emails(row)) is not None:
        fields["emails"] = emails
    if (phones := _phones(row.get("phones", _MISSING), config.region)) is not None:
        fields["phones"] = phones
    if is_company:
        if (own := fields.get("given")) is not None:
            fields["company"] = own
        for name in _PERSONAL:
            fields.pop(name, None)
    elif (company := _company(row.get("companies", _MISSING))) is not None:
        fields["company"] = company
    fields.update(_custom(row.get("customFieldData"), config.custom_fields))
    return PlanfixContact(contact=number_of(row), fields=fields, is_company=is_company)


def number_of(row: Json) -> int:
    """The contact number of `12` or `contact:12`. Raises UnmappableError."""
    number = entity_number(row.get("id"))
    if number is None or number < 1:
        raise UnmappableError("a contact without a number")
    return number


def entity_number(value: object) -> int | None:
    """`5`, `"5"`, `"user:5"`, `"contact:5"` as 5."""
    match value:
        case bool():
            return None
        case int():
            return value
        case str():
            digits = value.rpartition(":")[2]
            return int(digits) if digits.isascii() and digits.isdigit() else None
        case _:
            return None


class _Missing:
    """Marks a key that the answer lacks."""


_MISSING: Final = _Missing()


def _text_of(row: Json, name: str, vendor: str) -> str | None:
    match row.get(vendor, _MISSING):
        case None:
            return ""
        case str() as value:
            return _canonical(name, value)
        case _:
            return None


def _canonical(name: str, value: str) -> str:
    """As `google/canonical.py` does it, or equal values would look different."""
    match name:
        case "notes":
            return long_text(value)
        case "telegram":
            return telegram_name(value)
        case "facebook" | "instagram":
            return text(value).rstrip("/")
        case "address" if "\n" in value:
            lines = (text(line).rstrip(",") for line in value.splitlines())
            return ", ".join(line for line in lines if line)
        case _:
            return text(value)


def telegram_name(value: str) -> str:
    """The bare lower-case name of `https://t.me/Name`, `@Name` or `Name`."""
    name = _TELEGRAM.sub("", text(value)).split("?", 1)[0]
    return name.strip("/").lstrip("@").strip().lower()


def _birthday(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("date", _MISSING)
    match value:
        case None | "":
            return ""
        case str():
            found = re.match(r"(\d{1,2})[-.](\d{1,2})[-.](\d{4})", value)
            if found is None:
                return None
            day, month, year = (int(part) for part in found.groups())
            try:
                # 1900 itself had no 29 February, a year-less birthday may be on it.
                date(2000 if year == 1900 else year, month, day)
            except ValueError:
                return None
            return f"--{month:02}-{day:02}" if year == 1900 else f"{year:04}-{month:02}-{day:02}"
        case _:
            return None


def _emails(row: Json) -> tuple[Element, ...] | None:
    """Unknown unless both fields came: half a list would read as a removal of the other half."""
    primary = row.get("email", _MISSING)
    others = row.get("additionalEmailAddresses", _MISSING)
    if not isinstance(primary, str | None) or not isinstance(others, list | None):
        return None
    found: dict[str, Element] = {}
    for value in (primary, *(others or ())):
        address = text(value) if isinstance(value, str) else ""
        if address:
            found.setdefault(address.casefold(), Element(key=address.casefold(), value=address))
    return tuple(found.values())


def _phones(value: object, region: str) -> tuple[Element, ...] | None:
    if value is None:
        return ()
    if not isinstance(value, list):
        return None
    found: dict[str, Element] = {}
    for item in value:
        number = text(str(item.get("number") or "")) if isinstance(item, Mapping) else ""
        key = phone_key(number, region, bare_is_international=True)
        if key:
            # Planfix drops the plus sign; without it Google would take the number for a national one.
            shown = key if number.isdigit() and key.startswith("+") else number
            found.setdefault(key, Element(key=key, value=shown, kind=_kind(item.get("type"))))
    return tuple(found.values())


def _kind(value: object) -> str:
    number = entity_number(value)
    return KINDS.get(number, "") if number is not None else ""


def _company(value: object) -> str | None:
    if value is None:
        return ""
    if not isinstance(value, list):
        return None
    if not value:
        return ""
    name = value[0].get("name") if isinstance(value[0], Mapping) else None
    return text(name) if isinstance(name, str) else None


def _custom(value: object, chosen: Sequence[str]) -> Contact:
    found: Contact = {}
    for item in value if isinstance(value, list) else ():
        if not isinstance(item, Mapping) or not isinstance(item.get("field"), Mapping):
            continue
        number = str(entity_number(item["field"].get("id")))
        if number in chosen:
            shown = item.get("stringValue")
            content = shown if isinstance(shown, str) else _custom_text(item.get("value"))
            if content is not None:
                found[f"{CUSTOM_PREFIX}{number}"] = text(content)
    return found


def _custom_text(value: object) -> str | None:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case Mapping():
            for key in ("value", "name", "date", "id"):
                if value.get(key) is not None:
                    return _custom_text(value[key])
            return None
        case list():
            parts = [_custom_text(one) for one in value]
            return None if None in parts else ", ".join(part for part in parts if part)
        case _:
            return None


# --- writing ----------------------------------------------------------------------------------------------


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
            return
        update.body["email"] = ""
    elif not held or held[0].key != taken[0].key:
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
