"""What an answer of Planfix means: its content, or one of `contactsync.errors`. Pure; `transport.py` calls it.

Codes are those of Planfix's table of REST API error codes. Both spellings of a failed result occur, also inside
an HTTP 200; an answer that is not what it should be says nothing, so a read may be repeated and a write must be
looked after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import orjson

from contactsync.errors import AccessDenied, Gone, OutcomeUnknown, PlanNeeded, Rejected, Unavailable

DAY_EXHAUSTED: Final = 22
BACKOFF_MAX_S: Final = 600.0

_DENIED: Final[Mapping[int, str]] = {
    1: "Planfix does not know this token",
    2: "this Planfix token is not active",
    6: "Planfix does not allow this to the token's employee",
    16: "the token's employee is not active in Planfix",
}
_PLAN: Final[Mapping[int, str]] = {
    10: "Planfix has blocked this account",
    11: "this Planfix account is frozen",
    20: "the subscription of this Planfix account is not paid",
    21: "this Planfix account has no access to the API; a paid plan is needed",
    24: "a billing limit of this Planfix account is reached",
}
_REJECTED: Final[Mapping[int, tuple[str, str]]] = {
    23: ("", "the Planfix account holds as many contacts as it may"),
    30: ("", "Planfix could not read the request"),
    40: ("", "Planfix misses a parameter"),
    41: ("", "Planfix does not take a value"),
    2001: ("", "Planfix did not add the contact"),
    2002: ("", "Planfix did not change the contact"),
    2003: ("emails", "Planfix needs an e-mail address"),
    2004: ("emails", "Planfix does not take an e-mail address of this form"),
    2005: ("emails", "the e-mail address is already used in Planfix"),
    2006: ("given", "Planfix needs a name"),
}
"""Code to the canonical field it is about (if any) and the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: `method` names it (`contact/list`); `write` may change something; `filtered`: by filter id."""

    method: str
    write: bool = False
    filtered: bool = False


def content_of(answer: Answer, asked: Asked, *, attempt: int = 0) -> dict[str, Any]:
    """The JSON object of a success. Raises the error that the answer means; `attempt` counts limits in a row."""
    if 300 <= answer.status < 400:
        host = urlsplit(answer.headers.get("location", "")).hostname or "another address"
        raise AccessDenied(f"Planfix redirects to {host}: set PLANFIX_URL to that address")
    body = {} if answer.status == 202 and not answer.body.strip() else _json_object(answer.body)
    code = _code(body)
    if answer.status == 429 or (answer.status == 403 and code == DAY_EXHAUSTED) or code == DAY_EXHAUSTED:
        raise Unavailable("Planfix's request limit is reached", retry_after_s(answer, body, attempt), "planfix")
    if body is None or answer.status >= 500:
        if body is not None and code == 30:
            raise Rejected(_REJECTED[30][1])
        _says_nothing(asked, f"Planfix answered HTTP {answer.status} without a usable content", attempt)
    failed = str(body.get("result", "")).lower() in ("fail", "failure", "error")
    if failed or answer.status >= 400:
        _raise(answer.status, code, asked, attempt)
    return body


def malformed(asked: Asked, what: str) -> NoReturn:
    """A success without what it has to have. Raises Unavailable (reads) or OutcomeUnknown (writes)."""
    _says_nothing(asked, f"Planfix's answer has no usable {what}", 0)


def retry_after_s(answer: Answer, body: Mapping[str, Any] | None, attempt: int) -> float:
    """Seconds to wait after a limit.

    `x-ratelimit-reset` (seconds until the day ends) holds unless the day's remainder says that only the rate was
    too high; then `timeToReset` of the body (milliseconds from 1000 on), else a growing pause.
    """
    remaining = _number(answer.headers.get("x-ratelimit-remaining"))
    reset = _number(answer.headers.get("x-ratelimit-reset"))
    if reset is not None and reset >= 0 and not (remaining is not None and remaining > 0):
        return max(1.0, reset)
    stated = _number((body or {}).get("timeToReset"))
    if stated is not None and stated >= 0:
        return max(1.0, stated / 1000 if stated >= 1000 else stated)
    after = _number(answer.headers.get("retry-after"))
    return max(1.0, after) if after is not None else min(BACKOFF_MAX_S, 2.0 ** min(attempt, 16))


def _raise(status: int, code: int | None, asked: Asked, attempt: int) -> NoReturn:
    if code == 5 or status == 405:
        raise AccessDenied(f"the Planfix token lacks the scope for {asked.method}")
    if code is not None and code in _DENIED:
        raise AccessDenied(_DENIED[code])
    if code is not None and code in _PLAN:
        raise PlanNeeded(_PLAN[code])
    if code == 2000:
        raise Gone("the contact is not in Planfix")
    if code == 41 and asked.filtered:
        raise Gone("Planfix does not know this filter")
    if code is not None and code in _REJECTED:
        item, reason = _REJECTED[code]
        raise Rejected(reason, {item: reason} if item else None)
    if status == 401:
        raise AccessDenied(_DENIED[1])
    if status == 403:
        raise AccessDenied(_DENIED[6])
    if status == 404:
        # Not a contact that is gone: a wrong base address would take all of them for gone.
        raise Rejected(f"Planfix has no {asked.method} at this address: check PLANFIX_URL")
    if 400 <= status < 500:
        raise Rejected(f"Planfix refused the request (HTTP {status}, code {code})")
    _says_nothing(asked, f"Planfix reports an unknown failure (HTTP {status}, code {code})", attempt)


def _says_nothing(asked: Asked, reason: str, attempt: int) -> NoReturn:
    if asked.write:
        raise OutcomeUnknown(reason)
    raise Unavailable(reason, min(BACKOFF_MAX_S, 5.0 * 2 ** min(attempt, 10)))


def _json_object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _code(body: Mapping[str, Any] | None) -> int | None:
    value = (body or {}).get("code")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if 0 <= found < 10**9 else None
