"""Values in the canonical form of `contactsync_contracts.contact`, as Google's side arrives at them.

Pure. `reading.py` and `overlay.py` compare and write through these; nothing here knows Google's JSON.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Final

import phonenumbers

from contactsync.runtime import phones

_TELEGRAM_PREFIX: Final = re.compile(r"^(?:https?://)?(?:www\.)?(?:t\.me|telegram\.me|telegram\.dog)/", re.IGNORECASE)
_LEAP_YEAR: Final = 2000


def text(value: object) -> str:
    """NFC, without outer blanks, inner runs of blanks (line breaks too) folded to one; '' for what is no text."""
    if not isinstance(value, str):
        return ""
    folded = " ".join(value.split())
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def notes(value: object) -> str:
    """NFC, without outer blanks; line breaks are one character and stay."""
    if not isinstance(value, str):
        return ""
    lines = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    return lines if lines.isascii() else unicodedata.normalize("NFC", lines)


def email_key(value: object) -> str:
    return text(value).casefold()


def telegram(value: object) -> str:
    """The bare name: without address, query, @ and case."""
    name = _TELEGRAM_PREFIX.sub("", text(value)).split("?", 1)[0]
    return name.strip("/").lstrip("@").strip().lower()


def profile_url(value: object) -> str:
    """Addresses of profiles differ by no slash at the end."""
    return text(value).rstrip("/")


def phone_key(value: str, region: str) -> str:
    """E.164 if the number is valid, else its digits; Google numbers are written as people type them."""
    return phones.phone_key(value, region, bare_is_international=False)


def dialable(key: str, value: str, region: str) -> str:
    """How a number is written into Google: international, so that it can be dialled from anywhere and reads back
    as the same key; an extension stays. A number that is none is written as it is."""
    if value == key:
        return key
    if not key.startswith("+"):
        return text(value) or key
    try:
        extension = phonenumbers.parse(value, region).extension
    except phonenumbers.NumberParseException:
        extension = None
    return f"{key} ext. {extension}" if extension else key


def birthday(year: object, month: object, day: object) -> str | None:
    """`YYYY-MM-DD`, or `--MM-DD` where the year is 0 or missing; None for a part of a date or no date at all."""
    if not (isinstance(month, int) and isinstance(day, int)):
        return None
    known_year = year if isinstance(year, int) and year > 0 else 0
    try:
        date(known_year or _LEAP_YEAR, month, day)
    except ValueError:
        return None
    return f"{known_year:04d}-{month:02d}-{day:02d}" if known_year else f"--{month:02d}-{day:02d}"


def birthday_parts(value: str) -> tuple[int, int, int] | None:
    """Year (0: none), month, day of a canonical birthday; None if it is none."""
    year, month, day = (value[:0], value[2:4], value[5:]) if value.startswith("--") else _split(value)
    try:
        parts = (int(year or 0), int(month), int(day))
    except ValueError:
        return None
    return parts if birthday(*parts) == value else None


def _split(value: str) -> tuple[str, str, str]:
    return value[:4], value[5:7], value[8:]
