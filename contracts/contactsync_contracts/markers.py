"""What a Planfix contact of ours carries (`sourceObjectId`, or the stamp field): the person that it was created from.

It is how a create without an answer is found again, by whoever looks.
"""

from __future__ import annotations

_PREFIX = "contactsync:"


def marker_of(account: str, source_id: str) -> str:
    """`account`: the account's token; `source_id`: of the person's contact source."""
    return f"{_PREFIX}{account}:{source_id}"


def person_of(marker: str) -> str:
    """`<account>:<source id>` of a marker of ours, empty for another integration's."""
    return marker.removeprefix(_PREFIX) if marker.startswith(_PREFIX) else ""
