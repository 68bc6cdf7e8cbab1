"""The body of a contact list request: `port.Query` as Planfix's complex contact filters (all must hold).

An unknown filter type answers an empty success, so every number here is one of Planfix's official table.
"""

from __future__ import annotations

from typing import Any, Final

import phonenumbers

from contactsync.planfix.port import Query
from contactsync.planfix.walltime import WallClock

NUMBERS_MAX: Final = 100

CREATED: Final = 12
MODIFIED: Final = 38
VISIBLE_TO: Final = 47
EDITABLE_BY: Final = 48
PHONE: Final = 4003
CUSTOM_TEXT: Final = 4101
EMAIL_EXACT: Final = 4026
NUMBER: Final = 4231


def list_body(
    query: Query, walls: WallClock, *, offset: int, page: int, fields: str, stamp_field: int | None = None
) -> dict[str, Any]:
    """`stamp_field`: the custom field that a query for a marker is about.

    Raises ValueError for more than a hundred numbers (one page could not answer them)."""
    if query.numbers is not None and len(query.numbers) > NUMBERS_MAX:
        raise ValueError(f"at most {NUMBERS_MAX} numbers fit one request")
    body: dict[str, Any] = {"offset": offset, "pageSize": page, "fields": fields}
    if query.filter_id is not None:
        body["filterId"] = query.filter_id
    if query.companies:
        body["isCompany"] = True
    filters: list[dict[str, Any]] = []
    if query.visible_to is not None:
        filters.append(_equal(VISIBLE_TO, f"user:{query.visible_to}"))
    if query.editable_by is not None:
        filters.append(_equal(EDITABLE_BY, f"user:{query.editable_by}"))
    if query.numbers is not None:
        filters.append(_equal(NUMBER, list(query.numbers)))
    if query.email is not None:
        filters.append(_equal(EMAIL_EXACT, query.email))
    if query.phone is not None:
        filters.append(_equal(PHONE, _inner_digits(query.phone)))
    if query.marker is not None:
        filters.append({**_equal(CUSTOM_TEXT, query.marker), "field": stamp_field})
    if query.modified_since is not None:
        filters.append(_after(MODIFIED, walls.minute(query.modified_since)))
    if query.created_since is not None:
        filters.append(_after(CREATED, walls.minute(query.created_since)))
    if filters:
        body["filters"] = filters
    return body


def _equal(kind: int, value: object) -> dict[str, Any]:
    return {"type": kind, "operator": "equal", "value": value}


def _after(kind: int, minute: str) -> dict[str, Any]:
    value = {"dateType": "otherDate_withTime", "dateFrom": minute}
    return {"type": kind, "operator": "gt", "value": value}


def _inner_digits(key: str) -> str:
    """The part that a number has in every spelling: without country code and trunk prefix."""
    try:
        number = phonenumbers.parse(key, None)
    except phonenumbers.NumberParseException:
        return key
    return phonenumbers.national_significant_number(number)
