"""What can go wrong with a vendor, sorted by what the caller may do about it.

Clients (`google/client.py`, `planfix/client.py`) turn every vendor answer into one of these, chained to the
vendor's own; nobody else looks at HTTP status codes.
"""

from __future__ import annotations

from collections.abc import Mapping


class VendorError(Exception):
    """`reason` is a sentence without personal data, fit for a log and for a page."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(VendorError):
    """Nothing took effect; the same request may succeed after `retry_after_s` (5xx before effect on a read,
    429, refused connection, an answer that is not what it should be on a read)."""

    def __init__(self, reason: str, retry_after_s: float = 5.0, bucket: str | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.bucket = bucket


class OutcomeUnknown(VendorError):
    """A write may or may not have taken effect (lost answer, 5xx, malformed answer): look before sending again."""


class Stale(VendorError):
    """The version that the write was based on is not the current one."""


class Gone(VendorError):
    """The thing is not there (any more)."""


class Exists(VendorError):
    """The name is taken (label create or rename: HTTP 409)."""


class Rejected(VendorError):
    """The vendor will never take this request. `items` names the poisoned ones where the vendor does:
    index in the request or resource name -> reason. `fields`: the field that the vendor says is to blame, by item;
    of a request of one under an empty text."""

    def __init__(
        self,
        reason: str,
        items: Mapping[str, str] | None = None,
        *,
        stale: frozenset[str] = frozenset(),
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.items = dict(items or {})
        self.stale = stale
        self.fields = dict(fields or {})


class TokenExpired(VendorError):
    """A sync token or page token cannot be used any more: list from the start."""


class AccountFull(VendorError):
    """The Google account holds as many people as it can (MY_CONTACTS_OVERFLOW_COUNT)."""


class NotConnected(VendorError):
    """The account's grant is dead or lacks the contacts permission: a person has to reconnect."""


class PlanNeeded(VendorError):
    """Planfix does not serve its API to this account (unpaid, free, frozen)."""


class AccessDenied(VendorError):
    """Wrong token, missing scope, or no right to this object: nothing that repeating helps."""
