"""The canonical contact: the one shape in which both sides are compared.

A :class:`Contact` maps field names to values in canonical form. A field that is *missing* is **unknown** (it was
not asked for, is hidden from the token, or failed to map) and is left alone on the other side; an empty value
(``""`` or ``[]``) says that the side has nothing there. Vendor mappings (``planfix/mapping.py``,
``google/mapping.py``) build it; ``reconciler/core/merge.py`` compares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

FilterId = NewType("FilterId", str)
ContactId = NewType("ContactId", int)
AccountId = NewType("AccountId", str)

SCALAR_FIELDS: Final = (
    "given",
    "middle",
    "family",
    "birthday",
    "gender",
    "notes",
    "position",
    "company",
    "address",
    "site",
    "skype",
    "telegram",
    "viber",
    "facebook",
    "instagram",
)
"""Fields with one text. ``birthday`` is ``YYYY-MM-DD`` or ``--MM-DD`` (no year); ``gender`` is ``female``,
``male`` or empty; ``telegram`` is the bare lower-case name; the others are NFC text without outer blanks."""

ELEMENT_FIELDS: Final = ("emails", "phones")
"""Fields with many elements, each compared by its ``key``."""

CUSTOM_PREFIX: Final = "custom:"
"""``custom:<Planfix field number>`` is a chosen custom field, a scalar."""

NAME_FIELDS: Final = ("given", "middle", "family")


@dataclass(frozen=True, slots=True)
class Element:
    """One phone number or e-mail address.

    ``key`` is what makes it the same element on both sides: E.164 (or the bare digits of a number that is none)
    for phones, the case-folded address for e-mails. ``value`` is the side's own spelling. ``kind`` is ``mobile``,
    ``work``, ``home``, ``other``, or empty where the side says nothing that the other side could hold.
    """

    key: str
    value: str
    kind: str = ""


Contact = dict[str, str | tuple[Element, ...]]
"""Field name to a text (scalars, custom fields) or to elements (``emails``, ``phones``)."""
