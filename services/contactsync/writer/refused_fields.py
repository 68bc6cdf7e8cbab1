"""What is left of a write when Google refuses one of its fields (2-semantics 2.6): that field is held back alone.

Pure. An error can name a field of the person (`google/answers.py` finds it); which of ours that is, says the table.
Without a name there is no person, and without its labels and stamp it is not ours: then the whole contact is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from contactsync.google.mapping import PersonWrite
from contactsync.google.port import Json
from contactsync_contracts.contact import CUSTOM_PREFIX

OURS: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("address",),
    "biographies": ("notes",),
    "birthdays": ("birthday",),
    "emailAddresses": ("emails",),
    "genders": ("gender",),
    "imClients": ("skype", "telegram", "viber"),
    "organizations": ("position", "company"),
    "phoneNumbers": ("phones",),
    "urls": ("site", "facebook", "instagram"),
    "userDefined": (CUSTOM_PREFIX,),
}
"""Google's fields that a person can do without, and what of ours is in them."""


def held_back(person_field: str, names: Mapping[str, object], reason: str) -> dict[str, str]:
    """Our fields of `names` (canonical) that are in this field of Google's, each with the reason."""
    ours = OURS.get(person_field, ())
    return {
        name: reason for name in names if name in ours or (CUSTOM_PREFIX in ours and name.startswith(CUSTOM_PREFIX))
    }


def create_without(body: Json, person_field: str) -> Json | None:
    """None when nothing worth creating is left, or the field is not in it."""
    rest = {name: value for name, value in body.items() if name != person_field}
    named = any(rest.get(name) for name in ("names", "organizations", "emailAddresses", "phoneNumbers"))
    return rest if person_field in OURS and person_field in body and named else None


def update_without(write: PersonWrite, person_field: str, held: Mapping[str, str]) -> PersonWrite | None:
    """None when the field is not in it or cannot be left out; a write with an empty mask needs no request."""
    if person_field not in OURS or person_field not in write.mask:
        return None
    return replace(
        write,
        mask=tuple(name for name in write.mask if name != person_field),
        body={name: value for name, value in write.body.items() if name != person_field},
        unwritable={**write.unwritable, **held},
    )
