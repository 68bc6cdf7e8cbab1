"""Google's error answers sorted by what the caller may do: the table of the facts, as one pure function.

`client.py` calls `failure` with every answer that is not a success and raises what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contactsync.errors import (
    AccessDenied,
    AccountFull,
    Exists,
    Gone,
    NotConnected,
    OutcomeUnknown,
    Rejected,
    Stale,
    TokenExpired,
    Unavailable,
    VendorError,
)
from contactsync.google.reading import PERSON_FIELDS, Json

MINUTE_PAUSE_S: Final = 61.0
"""A per-minute quota of Google is a window of a minute; one second for the clocks."""
DAY_PAUSE_S: Final = 3600.0
OK: Final = 0
NOT_FOUND: Final = 5
_TRANSIENT: Final = frozenset({1, 2, 4, 10, 13, 14})
"""google.rpc.Code: CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE."""

_METRICS: Final = {
    "critical_read": "critical_read",
    "critical_write": "critical_write",
    "group_read": "group_read",
    "read": "critical_read",
    "write": "write",
}
_RATE_REASONS: Final = frozenset({"RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"})
_SCOPE_REASONS: Final = frozenset({"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"})
_STALE: Final = re.compile(r"etag\W.{0,40}\bis different", re.IGNORECASE)
_BLAMED: Final = re.compile(r"(?:person|contacts\[[^\]]*\])\.(?:contact_?[pP]erson\.)?([A-Za-z_]+)")
_QUOTED: Final = re.compile(r"(\"[^\"]*\"|'[^']*'|\S*@\S*|\+?\d[\d\s()-]{6,}\d)")


@dataclass(frozen=True, slots=True)
class Failure:
    """`error` to raise. `empty`: the quota's buckets to close for `pause_s`; `backend`: Google's own limit of the
    account is reached (it says nothing about how long: the quota grows the pause)."""

    error: VendorError
    empty: tuple[str, ...] = ()
    pause_s: float = 0.0
    backend: bool = False


def failure(
    status: int,
    body: Mapping[str, Any] | None,
    *,
    write: bool,
    metrics: tuple[str, ...] = (),
    has_token: bool = False,
    first_page: bool = False,
    retry_after_s: float = 0.0,
) -> Failure:
    """What an answer with an error status means.

    metrics: the buckets that the call was charged to; has_token: a sync or page token was sent; first_page: of a
    full listing, which has a quota of its own.
    """
    error = error_of(body)
    message = str(error.get("message", ""))
    said = clean(message)
    if "MY_CONTACTS_OVERFLOW_COUNT" in repr(error):
        return Failure(AccountFull("the Google account holds as many contacts as it can"))
    if status == 410 or "EXPIRED_SYNC_TOKEN" in reasons(error) or "sync token is expired" in message.lower():
        return Failure(TokenExpired("the sync token has expired"))
    if status == 429 or (status == 403 and reasons(error) & _RATE_REASONS):
        return _exhausted(error, metrics, first_page, retry_after_s)
    items, stale = batch_errors(error)
    if items and status < 500:
        fields = dict(blamed_fields(error))
        return Failure(Rejected("Google refused contacts of the batch", items, stale=frozenset(stale), fields=fields))
    match status:
        case 400 | 412 if status == 412 or _STALE.search(message):
            return Failure(Stale("the contact has changed in Google since it was read"))
        case 400 if has_token:
            return Failure(TokenExpired(f"Google does not take the token: {said}"))
        case 401:
            return Failure(Unavailable("Google refuses a fresh access token", 300.0))
        case 403 if reasons(error) & _SCOPE_REASONS or "insufficient authentication scopes" in message.lower():
            return Failure(NotConnected("the permission to use the contacts was not given"))
        case 403:
            return Failure(AccessDenied(f"Google denies access: {said}"))
        case 404:
            return Failure(Gone("Google does not have it"))
        case 409 if error.get("status") == "ABORTED":
            return Failure(Unavailable("another change of the Google account was under way", 2.0))
        case 409:
            return Failure(Exists("the name is taken in Google"))
        case 400 | 405 | 411 | 413 | 414 | 415 | 422:
            field = blamed_field(error)
            reason = f"Google refuses the request ({status}): {said}"
            return Failure(Rejected(reason, fields={"": field} if field else None))
        case _ if write:
            return Failure(OutcomeUnknown(f"Google answered {status} to a write"))
        case _:
            return Failure(Unavailable(f"Google answered {status}", max(5.0, retry_after_s)))


def malformed(*, write: bool) -> VendorError:
    """A success whose content is not what it should be."""
    reason = "Google's answer is incomplete or not JSON"
    return OutcomeUnknown(reason) if write else Unavailable(reason, 10.0)


def _exhausted(error: Mapping[str, Any], metrics: tuple[str, ...], first_page: bool, retry_after_s: float) -> Failure:
    for detail in _details(error, "QuotaFailure"):
        for violation in detail.get("violations") or ():
            if "FBS" in str(violation.get("description", "")) or violation.get("subject") == "QUOTA_EXCEEDED":
                reason = "Google's own limit of the account is reached"
                return Failure(Unavailable(reason, max(300.0, retry_after_s), "backend"), backend=True)
    for detail in _details(error, "ErrorInfo"):
        metadata = detail.get("metadata") or {}
        name = str(metadata.get("quota_metric", "")).rpartition("/")[2].removesuffix("_requests")
        daily = "PerDay" in str(metadata.get("quota_limit", "")) or name.startswith("daily")
        bucket = "daily" if daily else _METRICS.get(name)
        if bucket is not None:
            pause = max(DAY_PAUSE_S if daily else MINUTE_PAUSE_S, retry_after_s)
            text = f"the quota {bucket} of the Google account is used up"
            return Failure(Unavailable(text, pause, bucket), empty=(bucket,), pause_s=pause)
    pause = max(MINUTE_PAUSE_S, retry_after_s)
    if first_page:
        # Its quota is separate and closes nothing else (discovery, connections.list).
        return Failure(Unavailable("too many full listings of the Google account", pause, "first_page"))
    minute = tuple(name for name in metrics if name != "daily")
    bucket = minute[0] if minute else None
    return Failure(Unavailable("Google asks to slow down", pause, bucket), empty=minute, pause_s=pause)


def error_of(body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    error = (body or {}).get("error")
    return error if isinstance(error, dict) else {}


def reasons(error: Mapping[str, Any]) -> set[str]:
    """Of `details` (ErrorInfo) and of the older `errors` list."""
    found = [d.get("reason") for d in _details(error, "ErrorInfo")]
    old = error.get("errors")
    found += [e.get("reason") for e in old if isinstance(e, dict)] if isinstance(old, list) else []
    return {str(reason) for reason in found if reason}


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(kind):
            yield detail


def batch_errors(error: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """The poisoned items of a refused batch (index or resource name -> reason), and those that are only stale."""
    items: dict[str, str] = {}
    stale: set[str] = set()
    for detail in _details(error, "ContactsErrorDetails"):
        errors = detail.get("contactErrors")
        for key, status in errors.items() if isinstance(errors, dict) else ():
            reason = item_failure({"status": status})
            if reason is None:
                continue
            items[str(key)] = reason
            if isinstance(status, dict) and is_stale(status):
                stale.add(str(key))
    return items, stale


def blamed_fields(error: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a refused batch: item to the person's field that its error names, where it names one."""
    for detail in _details(error, "ContactsErrorDetails"):
        errors = detail.get("contactErrors")
        for key, status in errors.items() if isinstance(errors, dict) else ():
            if isinstance(status, dict) and (field := blamed_field(status)):
                yield str(key), field


def blamed_field(status: Mapping[str, Any]) -> str:
    """The person's field (`birthdays`) that an error is about, from its violations or its message; else empty."""
    texts = [
        str(violation.get("field", ""))
        for detail in _details(status, "BadRequest")
        for violation in detail.get("fieldViolations") or ()
        if isinstance(violation, dict)
    ]
    for text in [*texts, str(status.get("message", ""))]:
        for found in _BLAMED.finditer(text):
            head, *rest = found[1].split("_")
            field = head + "".join(part.capitalize() for part in rest)
            if field in PERSON_FIELDS:
                return field
    return ""


def is_stale(status: Mapping[str, Any]) -> bool:
    return bool(_STALE.search(str(status.get("message", ""))))


def item_failure(item: Mapping[str, Any]) -> str | None:
    """Why one item of a batch failed; None if it did not (no status, an empty one, code 0, HTTP below 400)."""
    status = item.get("status") or {}
    if isinstance(status, dict) and status.get("code", OK) != OK:
        return clean(str(status.get("message", ""))) or f"code {status['code']}"
    http = item.get("httpStatusCode") or 200
    return f"HTTP {http}" if isinstance(http, int) and http >= 400 else None


def item_is_open(item: Mapping[str, Any]) -> bool:
    """Whether an item's status says that its outcome is not known, or that it may do better another time."""
    status: Json = item.get("status") or {}
    code = status.get("code", OK)
    http = item.get("httpStatusCode")
    return code in _TRANSIENT or (code == OK and isinstance(http, int) and http >= 500)


def item_is_missing(item: Mapping[str, Any]) -> bool:
    status: Json = item.get("status") or {}
    return status.get("code") == NOT_FOUND or item.get("httpStatusCode") == 404


def clean(message: str) -> str:
    """Google's message without what may be somebody's data: quoted parts, addresses, long numbers."""
    return _QUOTED.sub("…", message.replace("\n", " "))[:200].strip() or "no reason given"
