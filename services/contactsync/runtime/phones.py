"""What makes two spellings of a phone number the same number: its E.164 form, or its bare digits.

Both mappings (`planfix/mapping.py`, `google/mapping.py`) use it. Parsing is the costly part of comparing
contacts, so answers are cached.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import phonenumbers

CACHE_SIZE: Final = 65_536


@lru_cache(maxsize=CACHE_SIZE)
def e164(value: str, region: str) -> str | None:
    """`+14155550123` when `value` is a valid number (in `region`, two letters, if it has no country code)."""
    number = _parsed(value, region)
    return None if number is None else _format(number)


_valid: set[str] = set()
"""Canonical forms given out: each side writes them, so that they come back from the other and need no parsing."""


def phone_key(value: str, region: str, *, bare_is_international: bool) -> str:
    """The canonical key of a number; empty only for blank text.

    A valid number is its E.164 form (an extension does not make another number). With `bare_is_international`
    (Planfix, which drops the plus sign) a number of digits only is first tried with one. Any other number is
    its digits; a text with fewer than three digits is no number and is its folded self.
    """
    return value if value in _valid else _phone_key(value, region, bare_is_international)


@lru_cache(maxsize=CACHE_SIZE)
def _phone_key(value: str, region: str, bare_is_international: bool) -> str:
    text = " ".join(unicodedata.normalize("NFKC", value).split())
    digits = "".join(character for character in text if character.isdigit())
    if bare_is_international and text and text == digits:
        number = _parsed("+" + digits, region)
        if number is not None:
            return _format(number)
    number = _parsed(text, region)
    if number is not None:
        return _format(number)
    if len(digits) < 3:
        return text.casefold()
    return digits


def _parsed(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    if len(text) > 250:  # the library refuses longer ones
        return None
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _format(number: phonenumbers.PhoneNumber) -> str:
    """E.164; remembered, since a plus sign makes it the same number in every region."""
    canonical = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if len(_valid) >= CACHE_SIZE:
        _valid.clear()
    _valid.add(canonical)
    return canonical
