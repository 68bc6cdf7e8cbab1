"""Google's JSON <-> the canonical contact; the one module to import for either direction.

Pure. Reading is in `reading.py`, writing (overlays over what was read) in `overlay.py`, values in `canonical.py`.
The table of fields is in 2-semantics 2.8.
"""

from __future__ import annotations

from contactsync.google.overlay import PersonWrite, build_create, build_update
from contactsync.google.reading import (
    MY_CONTACTS,
    PERSON_FIELDS,
    STAMP_KEY,
    MappingConfig,
    contact_source,
    to_person,
)

__all__ = [
    "MY_CONTACTS",
    "PERSON_FIELDS",
    "STAMP_KEY",
    "MappingConfig",
    "PersonWrite",
    "build_create",
    "build_update",
    "contact_source",
    "to_person",
]
