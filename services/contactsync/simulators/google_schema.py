"""What a Person may contain, and how strictly a body is read (discovery document, revision 20251117).

Pure. `clean` turns a body's field into elements to store or raises the 400 that Google answers;
`google_elements.py` then adds what the server derives.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .google_errors import invalid, unknown_name

_READABLE: Final = (
    "addresses ageRanges biographies birthdays calendarUrls clientData coverPhotos emailAddresses events "
    "externalIds genders imClients interests locales locations memberships metadata miscKeywords names nicknames "
    "occupations organizations phoneNumbers photos relations sipAddresses skills urls userDefined"
)
_OTHER_KEYS: Final = (
    "resourceName etag ageRange braggingRights fileAses relationshipInterests relationshipStatuses residences"
)
READABLE: Final = tuple(_READABLE.split())
WRITABLE: Final = tuple(
    path for path in READABLE if path not in {"ageRanges", "coverPhotos", "metadata", "photos", "skills"}
)
GROUP_FIELDS: Final = frozenset({"clientData", "groupType", "memberCount", "metadata", "name"})
SINGLETONS: Final = frozenset({"biographies", "birthdays", "genders", "names"})
FIELD_CHARACTERS_MAX: Final = 1024
CONTACT_BYTES_MAX: Final = 128 * 1024
ELEMENTS_MAX: Final = 500

_VALUE: Final = "value"
_TYPED: Final = "value type !formattedType"
_NAME_PARTS: Final = "givenName familyName middleName honorificPrefix honorificSuffix"
# A leading "!" is output only: accepted in a body and ignored; "?" boolean, "#" integer, "@" Date.
_ELEMENTS: Final[dict[str, str]] = {
    "addresses": "city country countryCode extendedAddress !formattedType formattedValue poBox postalCode region "
    "streetAddress type",
    "biographies": "value contentType",
    "birthdays": "@date text",
    "calendarUrls": "url type !formattedType",
    "clientData": "key value",
    "emailAddresses": "displayName " + _TYPED,
    "events": "@date type !formattedType",
    "externalIds": _TYPED,
    "genders": "value addressMeAs !formattedValue",
    "imClients": "username protocol type !formattedProtocol !formattedType",
    "interests": _VALUE,
    "locales": _VALUE,
    "locations": "buildingId ?current deskCode floor floorSection type value",
    "miscKeywords": _TYPED,
    "names": f"{_NAME_PARTS} unstructuredName !displayName !displayNameLastFirst phoneticFamilyName "
    "phoneticFullName phoneticGivenName phoneticHonorificPrefix phoneticHonorificSuffix phoneticMiddleName",
    "nicknames": "value type",
    "occupations": _VALUE,
    "organizations": "costCenter ?current department domain @endDate !formattedType #fullTimeEquivalentMillipercent "
    "jobDescription location name phoneticName @startDate symbol title type",
    "phoneNumbers": "!canonicalForm " + _TYPED,
    "relations": "person type !formattedType",
    "sipAddresses": _TYPED,
    "urls": _TYPED,
    "userDefined": "key value",
}


def _shape(text: str) -> dict[str, str]:
    return {word.lstrip("!?#@"): word[0] if word[0] in "!?#@" else "" for word in [*text.split(), "!metadata"]}


ELEMENT_SHAPES: Final = {name: _shape(text) for name, text in _ELEMENTS.items()}
PERSON_KEYS: Final = frozenset(READABLE) | frozenset(_OTHER_KEYS.split()) | {"taglines"}
_NICKNAME_TYPES: Final = "DEFAULT MAIDEN_NAME INITIALS GPLUS OTHER_NAME ALTERNATE_NAME SHORT_NAME"
_KEYWORD_TYPES: Final = (
    "TYPE_UNSPECIFIED OUTLOOK_BILLING_INFORMATION OUTLOOK_DIRECTORY_SERVER OUTLOOK_KEYWORD OUTLOOK_MILEAGE "
    "OUTLOOK_PRIORITY OUTLOOK_SENSITIVITY OUTLOOK_SUBJECT OUTLOOK_USER HOME WORK OTHER"
)
_ENUMS: Final = {
    ("biographies", "contentType"): frozenset({"CONTENT_TYPE_UNSPECIFIED", "TEXT_PLAIN", "TEXT_HTML"}),
    ("nicknames", "type"): frozenset(_NICKNAME_TYPES.split()),
    ("miscKeywords", "type"): frozenset(_KEYWORD_TYPES.split()),
}
# Words that an empty element may consist of: without more it says nothing and is not stored.
_SAYS_NOTHING: Final = frozenset({"type", "contentType", "current"})


def read_mask(text: str, parameter: str, valid: Iterable[str] = READABLE) -> frozenset[str]:
    """The paths of a comma-separated mask. Raises 400 for a path that is none (`etag` is not one)."""
    paths = [path.strip() for path in text.split(",") if path.strip()]
    known = frozenset(valid)
    for path in paths:
        if path not in known:
            raise invalid(f'Invalid {parameter} mask path: "{path}". Valid paths are documented at the method.')
    return frozenset(paths)


def clean(person: Mapping[str, Any], fields: Iterable[str], at: str) -> dict[str, list[dict[str, Any]]]:
    """The given fields of a body as elements without output-only keys; absent ones as empty lists.

    ``at`` is where the body's Person sits, for messages. Raises 400: unknown names anywhere, wrong types, a second
    element of a singleton, over-long values, too many elements.
    """
    check_known(person, at)
    cleaned = {name: _elements(person.get(name), name, at) for name in fields if name != "memberships"}
    for name in SINGLETONS & cleaned.keys():
        if len(cleaned[name]) > 1:
            raise invalid(f"Cannot have more than one person.{name} per source.")
    return cleaned


def check_known(person: Mapping[str, Any], at: str) -> None:
    """Raises 400 for a name that the schema does not have, in the person or in any of its elements."""
    for name, value in person.items():
        if name not in PERSON_KEYS:
            raise unknown_name(name, at)
        shape = ELEMENT_SHAPES.get(name)
        if shape is None or value is None:
            continue
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{at}.{name}': not a list.")
        for index, element in enumerate(value):
            if not isinstance(element, dict):
                raise invalid(f"Invalid value at '{at}.{name}[{index}]': not an object.")
            if not element.keys() <= shape.keys():
                raise unknown_name(next(key for key in element if key not in shape), f"{at}.{name}[{index}]")


def membership_names(value: Any, at: str) -> tuple[str, ...]:
    """The groups of a body's `memberships`, each once. Raises 400 for anything but contact groups."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise invalid(f"Invalid value at '{at}.memberships': not a list.")
    names: dict[str, None] = {}
    for index, element in enumerate(value):
        where = f"{at}.memberships[{index}]"
        if not isinstance(element, dict):
            raise invalid(f"Invalid value at '{where}': not an object.")
        for key in element.keys() - {"contactGroupMembership", "domainMembership", "metadata"}:
            raise unknown_name(key, where)
        group = element.get("contactGroupMembership")
        if group is None:
            continue
        if not isinstance(group, dict):
            raise invalid(f"Invalid value at '{where}.contact_group_membership': not an object.")
        for key in group.keys() - {"contactGroupResourceName", "contactGroupId"}:
            raise unknown_name(key, f"{where}.contact_group_membership")
        name = group.get("contactGroupResourceName")
        if not isinstance(name, str):
            raise invalid()
        names[name] = None
    return tuple(names)


def _elements(value: Any, name: str, at: str) -> list[dict[str, Any]]:
    if not value:
        return []
    shape = ELEMENT_SHAPES[name]
    stored = []
    limited = name != "biographies"
    for index, element in enumerate(value):
        kept = {}
        for key, content in element.items():
            kind = shape[key]
            if content is None or content == "" or kind == "!":
                continue
            if kind == "":
                if not isinstance(content, str):
                    raise invalid(f"Invalid value at '{at}.{name}[{index}].{key}' (TYPE_STRING), {content!r}")
                if limited and len(content) > FIELD_CHARACTERS_MAX:
                    raise invalid(f"Field person.{name}.{key} is longer than {FIELD_CHARACTERS_MAX} characters.")
                if (name, key) in _ENUMS and content not in _ENUMS[name, key]:
                    raise invalid(f"Invalid value at '{at}.{name}[{index}].{key}', {content!r}")
                kept[key] = content
            else:
                kept[key] = _other(kind, content, f"{at}.{name}[{index}].{key}")
        if kept.keys() - _SAYS_NOTHING:
            stored.append(kept)
    return stored


def _other(kind: str, content: Any, where: str) -> Any:
    match kind:
        case "?" if isinstance(content, bool):
            return content
        case "#" if isinstance(content, int) and not isinstance(content, bool):
            return content
        case "@" if isinstance(content, dict):
            return _date(content, where)
        case _:
            raise invalid(f"Invalid value at '{where}', {content!r}")


def _date(date: Mapping[str, Any], where: str) -> dict[str, int]:
    """Zeros are left out, as in every answer. A day without a year may be 29 February."""
    for key in date.keys() - {"year", "month", "day"}:
        raise unknown_name(key, where)
    parts = {key: value for key, value in date.items() if value}
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in parts.values()):
        raise invalid(f"Invalid value at '{where}'")
    year, month, day = parts.get("year", 0), parts.get("month", 0), parts.get("day", 0)
    in_range = 0 <= year <= 9999 and 0 <= month <= 12 and 0 <= day <= 31
    if not in_range or (day and not month) or not (year or month):
        raise invalid(f"Invalid value at '{where}'")
    if day and day > calendar.monthrange(year or 2000, month)[1]:
        raise invalid(f"Invalid value at '{where}'")
    return {key: parts[key] for key in ("year", "month", "day") if key in parts}


def check_size(size_bytes: int, elements: int) -> None:
    """The limits of one contact as a whole. Raises 400."""
    if elements > ELEMENTS_MAX:
        raise invalid(f"A contact cannot have more than {ELEMENTS_MAX} fields.")
    if size_bytes > CONTACT_BYTES_MAX:
        raise invalid(f"A contact cannot be larger than {CONTACT_BYTES_MAX} bytes.")


def body_object(body: Any, allowed: Iterable[str] = (), at: str = "") -> dict[str, Any]:
    """A request's body as an object; with ``allowed``, without other names. Raises 400."""
    if not isinstance(body, dict):
        raise invalid("Invalid JSON payload received. Root element must be a message.")
    names = frozenset(allowed)
    if names:
        for key in body.keys() - names:
            raise unknown_name(key, at)
    return body
