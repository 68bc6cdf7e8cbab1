"""Errors of the People API in the bodies that were recorded (facts/google.md, sections 1 to 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from .wire import Response

JSON: Final = {"Content-Type": "application/json; charset=UTF-8"}
RPC_CODES: Final = {
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
_PROJECT: Final = "407408718192"


class GoogleError(Exception):
    """An answer that is not 200. ``status`` is the name of the google.rpc.Code."""

    def __init__(
        self,
        code: int,
        status: str,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details
        self.headers = headers or {}

    def response(self) -> Response:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        return Response(self.code, orjson.dumps({"error": error}), {**JSON, **self.headers})

    def rpc_status(self) -> dict[str, Any]:
        """The same as a google.rpc.Status, as batch answers carry it for each item."""
        return {"code": RPC_CODES[self.status], "message": self.message}


def invalid(message: str = "Request contains an invalid argument.") -> GoogleError:
    return GoogleError(400, "INVALID_ARGUMENT", message)


def unknown_name(name: str, at: str) -> GoogleError:
    where = f" at '{at}'" if at else ""
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    violation = {"field": at, "description": text} if at else {"description": text}
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}]
    return GoogleError(400, "INVALID_ARGUMENT", text, details)


def not_found() -> GoogleError:
    return GoogleError(404, "NOT_FOUND", "Requested entity was not found.")


def stale_etag(source: bool = False) -> GoogleError:
    name = "person.metadata.sources.etag" if source else "person.etag"
    return GoogleError(
        400,
        "FAILED_PRECONDITION",
        f"Request {name} is different than the current {name}. Clear local cache and get the latest person.",
    )


def expired_sync_token() -> GoogleError:
    details = [_error_info("EXPIRED_SYNC_TOKEN", "people.googleapis.com")]
    text = "Sync token is expired. Clear local cache and retry call without the sync token."
    return GoogleError(400, "FAILED_PRECONDITION", text, details)


def unauthenticated() -> GoogleError:
    return GoogleError(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential.",
        [_error_info("ACCESS_TOKEN_EXPIRED", "googleapis.com", {"service": "people.googleapis.com"})],
        {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
    )


def insufficient_scope() -> GoogleError:
    details = [_error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com")]
    return GoogleError(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", details)


def contacts_overflow() -> GoogleError:
    return GoogleError(429, "RESOURCE_EXHAUSTED", "MY_CONTACTS_OVERFLOW_COUNT")


def exhausted(headers: Mapping[str, str] | None = None) -> GoogleError:
    """Without a word on which quota: what the first page of a full listing gets."""
    text = "Resource has been exhausted (e.g. check quota)."
    return GoogleError(429, "RESOURCE_EXHAUSTED", text, headers=headers)


def rate_limited(title: str, limit: str, metric: str, period: str, headers: Mapping[str, str]) -> GoogleError:
    metadata = {
        "quota_limit": limit,
        "service": "people.googleapis.com",
        "quota_metric": f"people.googleapis.com/{metric}",
        "consumer": f"projects/{_PROJECT}",
    }
    return GoogleError(
        429,
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric '{title}' and limit '{title} per {period} per user' of service "
        f"'people.googleapis.com' for consumer 'project_number:{_PROJECT}'.",
        [_error_info("RATE_LIMIT_EXCEEDED", "googleapis.com", metadata)],
        headers,
    )


def fbs_quota_body() -> str:
    """The body of the account's backend limit, to be used with a `status` fault of 429."""
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": "QUOTA_EXCEEDED", "description": "FBS quota limit exceeded"}],
    }
    text = "Resource has been exhausted (e.g. check quota)."
    error = {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": [failure]}
    return orjson.dumps({"error": error}).decode()


def batch_failed(operation: str, errors: Mapping[str, GoogleError], named: bool) -> GoogleError:
    """The whole batch refused; ``errors`` by index (Create) or resource name (Update)."""
    first = next(iter(errors.values()))
    if not named:
        return GoogleError(first.code, first.status, first.message)
    details = {
        "@type": f"type.googleapis.com/google.people.v1.Batch{operation}ContactsErrorDetails",
        "contactErrors": {key: error.rpc_status() for key, error in errors.items()},
    }
    return GoogleError(first.code, first.status, first.message, [details])


def _error_info(reason: str, domain: str, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    info: dict[str, Any] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
    }
    if metadata:
        info["metadata"] = dict(metadata)
    return info
