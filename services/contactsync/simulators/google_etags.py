"""Google's two kinds of etags.

The source's is ``#`` and eight bytes in base64. The person's is ``%`` and a protobuf in base64: field 2 the
requested mask, field 3 the source types, field 4 the source etag's base64; so it changes with the mask while it
names the same version (facts/google.md, section 2).
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from .google_schema import READABLE

_NUMBER: Final = {path: index + 1 for index, path in enumerate(READABLE)}
_SOURCES: Final = bytes((0x1A, 4, 1, 2, 5, 7))


def mask_header(mask: frozenset[str]) -> bytes:
    """The part of a person's etag that a mask decides; the same for every person of a page."""
    numbers = bytes(sorted(_NUMBER[path] for path in mask))
    return bytes((0x12, len(numbers))) + numbers + _SOURCES


def person_etag(header: bytes, version: str) -> str:
    """``version``: the source etag without its ``#``."""
    return "%" + base64.b64encode(header + bytes((0x22, len(version))) + version.encode()).decode()


def version_named_by(etag: str) -> str | None:
    """The version in a person's etag, None where it is not one (a source etag, for example)."""
    if not etag.startswith("%"):
        return None
    try:
        raw = base64.b64decode(etag[1:], validate=True)
    except (binascii.Error, ValueError):
        return None
    at = 0
    while at + 2 <= len(raw):
        tag, length = raw[at], raw[at + 1]
        value = raw[at + 2 : at + 2 + length]
        if len(value) != length:
            return None
        if tag == 0x22:
            return value.decode("ascii", "replace")
        at += 2 + length
    return None
