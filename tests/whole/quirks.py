"""What the vendors' documents leave open, answered otherwise than the simulators do by themselves.

A case of the simulation draws a few of these by name, so that it stays plain data and can be shrunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Options = dict[str, Any]

GOOGLE: Final[dict[str, Options]] = {
    "batches done in part": {"atomic_batches": False},
    "errors name nobody": {"named_errors": False},
    "merges name nobody": {"merge_names_previous": False},
    "lists lag as long as we expect": {"list_lag_s": 29.0},
    "Google tidies up": {"reformat": True},
    "keys in any order": {"shuffle_keys": True},
    "the contact source is required": {"require_contact_source": True},
    "labels need their etag": {"group_etag_required": True},
    "every second contact has a profile": {"profile_every": 2},
    "Trash does not count": {"trash_counts": False},
}
PLANFIX: Final[dict[str, Options]] = {
    "Planfix tidies up": {"reformats": True},
    "empty is null": {"empty_text": "null"},
    "empty is absent": {"empty_text": "absent", "empty_object": "absent"},
    "more e-mails are refused": {"additional_emails": "refused"},
    "more e-mails are taken": {"additional_emails": "writable"},
    "positions cannot be written": {"readonly_fields": frozenset({"position"})},
    "addresses are hidden": {"hidden_fields": frozenset({"address"}), "hidden_as": "absent"},
    "notes are hidden as empty": {"hidden_fields": frozenset({"description"}), "hidden_as": "empty"},
    "the trash is listed": {"list_trashed": True, "get_trashed": True},
    "failures come as 200": {"failures_as_200": True},
    "failures are an object": {"failures_shape": "object"},
    "writes leave the date alone": {"noop_bumps_modified": False, "silent_bumps_modified": False},
    "null clears nothing": {"null_clears": False},
    "numbers as written": {"phone_storage": "as_written"},
    "dates include their start": {"gt_includes_start": True},
    "no seconds": {"utc_seconds": False},
    "too many is forbidden": {"rate_breach": "403"},
}
NAMES: Final = sorted({*GOOGLE, *PLANFIX})


def options(names: Iterable[str]) -> tuple[Options, Options]:
    """Of Planfix and of Google."""
    chosen = set(names)
    unknown = chosen - {*NAMES}
    assert not unknown, f"no such quirk: {unknown}"
    return _of(PLANFIX, chosen), _of(GOOGLE, chosen)


def _of(table: dict[str, Options], chosen: set[str]) -> Options:
    return {key: value for name, changes in table.items() if name in chosen for key, value in changes.items()}
