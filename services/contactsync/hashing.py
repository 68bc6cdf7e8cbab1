"""Keyed hashes of addresses and names, and a hash of a contact's content.

People outside our labels leave the Google watcher only as keyed hashes (3-architecture 3.4); the reconciler
hashes its Planfix contacts with the same key and compares. Pure; the key comes from `runtime`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import urlsafe_b64encode

import orjson

from contactsync_contracts.contact import Contact

_KEY_BYTES_MAX = 64  # what BLAKE2b takes
_DIGEST_BYTES = 9  # 72 bits: no chance collisions among 25,000 people, and 12 characters of base64

NameHashes = tuple[str, str, bool, str]
"""given, its initial, whether the given name is only an initial, family; empty where the name is empty."""


def fold_name(name: str) -> str:
    """The name as it is compared: case, accents, blanks and punctuation do not count (2-semantics 2.2)."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    return "".join(char for char in folded if char.isalnum())


class Hasher:
    """Hashes under one secret key; equal texts of different kinds do not share a hash."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("without a key, addresses could be guessed from their hashes")
        self._key = key if len(key) <= _KEY_BYTES_MAX else hashlib.blake2b(key).digest()

    def email(self, key: str) -> str:
        """`key` is the case-folded address of an `Element`; an empty one stays empty."""
        return self._hash(b"email", key)

    def phone(self, key: str) -> str:
        """`key` is the E.164 number of an `Element`; an empty one stays empty."""
        return self._hash(b"phone", key)

    def names(self, given: str, family: str) -> NameHashes:
        first, last = fold_name(given), fold_name(family)
        return (
            self._hash(b"given", first),
            self._hash(b"initial", first[:1]),
            len(first) == 1,
            self._hash(b"family", last),
        )

    def _hash(self, domain: bytes, text: str) -> str:
        if not text:
            return ""
        digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES, key=self._key, person=domain)
        return urlsafe_b64encode(digest.digest()).decode()  # nine bytes need no padding


def content_hash(fields: Contact) -> int:
    """64 bits that are equal exactly when the canonical contents are: the order of fields and elements and a
    side's own spelling (`Element.value`) do not count; an unknown field differs from an empty one.
    """
    canonical = [
        [name, value if isinstance(value, str) else sorted([item.key, item.kind] for item in value)]
        for name, value in sorted(fields.items())
    ]
    return int.from_bytes(hashlib.blake2b(orjson.dumps(canonical), digest_size=8).digest(), "big")
