"""Planfix's JSON of a contact to the canonical contact; back again is `writing.py`.

Pure; `client.py` is the shell. A key that the answer lacks is unknown and left out, null is empty. Field names
and types are those of Planfix's OpenAPI description 1.6.9 (ContactResponse).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
GENDERS: Final[Mapping[str, str]] = {"NotDefined": "", "Female": "female", "Male": "male", "": ""}


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


class UnmappableError(ValueError):
    """A row without a usable contact number."""


def text(value: str) -> str:
    """One line of canonical text: NFC, outer blanks gone, inner ones folded to one space."""
    return " ".join(unicodedata.normalize("NFC", value).split())


def long_text(value: str) -> str:
    """Canonical text with its line breaks (as `\\n`)."""
    return unicodedata.normalize("NFC", value).replace("\r\n", "\n").replace("\r", "\n").strip()


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
