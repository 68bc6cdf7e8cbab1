"""Which keys an answer of Planfix leaves out because they are empty, and which because they are hidden.

The description makes every key optional, and a field can be hidden from the token's employee. A server that shows one
empty value of a kind shows them all: there, a missing key is hidden, and unknown. Where no empty one was ever seen,
what is missing is empty. `client.py` passes every full row through here before `mapping.py` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contactsync.planfix.mapping import TEXTS

_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys((*(name for name in TEXTS.values() if name != "name"), "email"), "text"),
    "birthDate": "object",
    "phones": "list",
    "companies": "list",
    # Read-only in the description, so that a server may show every other list and not know this one.
    "additionalEmailAddresses": "addresses",
}
_SURE_ROWS: Final = 20
"""So many rows without a key that others had before: it has been hidden."""


class Shown:
    """What was seen so far; one for each token."""

    def __init__(self) -> None:
        self._empties: set[str] = set()
        self._filled: set[str] = set()
        self._hidden: set[str] = set()

    def completed(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The rows with null for what they leave out because it is empty."""
        for row in rows:
            for key, kind in _KINDS.items():
                if key in row:
                    self._hidden.discard(key)
                    if row[key] in ("", None, []):
                        self._empties.add(kind)
                    else:
                        self._filled.add(key)
        if len(rows) >= _SURE_ROWS:
            self._hidden |= {key for key in self._filled if not any(key in row for row in rows)}
        empty = [key for key, kind in _KINDS.items() if kind not in self._empties and key not in self._hidden]
        return [{**{key: None for key in empty if key not in row}, **row} for row in rows] if empty else list(rows)
