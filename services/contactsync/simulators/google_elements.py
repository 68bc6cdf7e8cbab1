"""What Google's server adds to the elements that clients write: names put together, canonical phones, types' names.

Pure. `google_schema.py` has cleaned the elements before.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import phonenumbers

Element = dict[str, Any]

_TYPES: Final = (
    "home work mobile homeFax workFax otherFax pager workMobile workPager main googleVoice other school homePage "
    "blog profile homepage ftp reservations appInstallPage anniversary account customer loginId network "
    "organization spouse child mother father parent brother sister friend relative domesticPartner manager "
    "assistant referredBy partner outlookBilling freeBusy interactive"
)
_PREDEFINED: Final = frozenset(_TYPES.split())
_PROTOCOLS: Final = {
    "aim": "AIM",
    "msn": "MSN",
    "yahoo": "Yahoo",
    "skype": "Skype",
    "qq": "QQ",
    "googleTalk": "Google Talk",
    "icq": "ICQ",
    "jabber": "Jabber",
    "netMeeting": "NetMeeting",
}
_INTERNATIONAL: Final = re.compile(r"\+[1-9][0-9]{7,14}")
_NORTH_AMERICAN: Final = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}")
_PUNCTUATION: Final = str.maketrans("", "", " -().\u00a0")
_SPACES: Final = re.compile(r"[^\S\n]+")


@lru_cache(maxsize=65536)
def type_name(kind: str) -> str:
    """``homeFax`` is ``Home Fax``; a custom type is its own name."""
    if kind not in _PREDEFINED:
        return kind
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind)
    return words[0].upper() + words[1:]


@lru_cache(maxsize=65536)
def canonical_phone(value: str, region: str) -> str | None:
    """E.164, None where it is no number. What looks complete is not looked up: that takes 0.1 ms each."""
    bare = value.translate(_PUNCTUATION)
    if _INTERNATIONAL.fullmatch(bare):
        return bare
    if region == "US" and _NORTH_AMERICAN.fullmatch(bare):
        return f"+1{bare}"
    number = _parsed(value, region)
    return None if number is None else phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _parsed(value: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def derive(field: str, elements: Sequence[Element], region: str, unstructured_wins: bool) -> list[Element]:
    """The elements of one field as answers show them, metadata apart."""
    match field:
        case "names":
            return [_name(element, unstructured_wins) for element in elements]
        case "phoneNumbers":
            return [_typed(_phone(element, region)) for element in elements]
        case "imClients":
            return [_typed(_protocol(element)) for element in elements]
        case "genders":
            return [_gender(element) for element in elements]
        case "biographies":
            return [{"contentType": "TEXT_PLAIN"} | element for element in elements]
        case "nicknames":
            return [
                {key: value for key, value in element.items() if (key, value) != ("type", "DEFAULT")}
                for element in elements
            ]
        case "addresses":
            return [_typed(_address(element)) for element in elements]
        case "locations" | "clientData" | "userDefined":
            return list(elements)
        case _:
            return [_typed(element) for element in elements]


def _typed(element: Element) -> Element:
    kind = element.get("type")
    return element if kind is None else element | {"formattedType": type_name(kind)}


def _phone(element: Element, region: str) -> Element:
    canonical = canonical_phone(element.get("value", ""), region)
    return element if canonical is None else element | {"canonicalForm": canonical}


def _protocol(element: Element) -> Element:
    protocol = element.get("protocol")
    return element if protocol is None else element | {"formattedProtocol": _PROTOCOLS.get(protocol, protocol)}


def _gender(element: Element) -> Element:
    value = element.get("value")
    return element if value is None else element | {"formattedValue": value[:1].upper() + value[1:]}


def _address(element: Element) -> Element:
    if "formattedValue" in element:
        return element
    town = " ".join(filter(None, (element.get("postalCode"), element.get("city"))))
    keys = ("streetAddress", "extendedAddress", "poBox")
    parts = [*(element.get(key) for key in keys), town, element.get("region"), element.get("country")]
    value = "\n".join(part for part in parts if part)
    return element | {"formattedValue": value} if value else element


def _name(element: Element, unstructured_wins: bool) -> Element:
    display = _display(element)
    unstructured = element.get("unstructuredName", "")
    if unstructured and (not display or (unstructured_wins and unstructured != display)):
        element = _parts_of(unstructured) | {k: v for k, v in element.items() if k.startswith("phonetic")}
        display = unstructured
    elif not display:
        return element
    last_first = _last_first(element) or display
    return element | {
        "displayName": display,
        "displayNameLastFirst": last_first,
        "unstructuredName": display,
    }


def _given(element: Mapping[str, str]) -> str:
    parts = (element.get("honorificPrefix"), element.get("givenName"), element.get("middleName"))
    return " ".join(part for part in parts if part)


def _display(element: Mapping[str, str]) -> str:
    parts = (_given(element), element.get("familyName"), element.get("honorificSuffix"))
    return " ".join(part for part in parts if part)


def _last_first(element: Mapping[str, str]) -> str:
    parts = (element.get("familyName"), _given(element), element.get("honorificSuffix"))
    return ", ".join(part for part in parts if part)


def _parts_of(text: str) -> Element:
    words = text.split()
    if len(words) < 2:
        return {"givenName": text.strip()}
    parts = {"givenName": words[0], "familyName": words[-1]}
    return parts | {"middleName": " ".join(words[1:-1])} if len(words) > 2 else parts


def reformatted(field: str, elements: Sequence[Element], region: str) -> list[Element]:
    """Values the way a tidy server stores them; a second pass changes nothing."""
    if field in ("clientData", "memberships"):
        return list(elements)
    tidy: Callable[[str], str] = _tidy
    if field == "emailAddresses":

        def tidy(value: str) -> str:
            return _tidy(value).lower()

    elif field == "phoneNumbers":

        def tidy(value: str) -> str:
            number = _parsed(value, region)
            style = phonenumbers.PhoneNumberFormat.INTERNATIONAL
            return _tidy(value) if number is None else phonenumbers.format_number(number, style)

    return [
        {key: tidy(value) if isinstance(value, str) and key != "type" else value for key, value in element.items()}
        for element in elements
    ]


def _tidy(value: str) -> str:
    lines = (_SPACES.sub(" ", line).strip() for line in unicodedata.normalize("NFC", value).split("\n"))
    return "\n".join(lines).strip()
