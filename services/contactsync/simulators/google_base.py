"""The ground that all methods of the simulated Google stand on: accounts, options, and reading a request.

`google_people.py`, `google_lists.py` and `google_groups.py` are the methods, `google_hands.py` what people do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from .faults import Faults
from .google_errors import GoogleError, invalid
from .google_options import GoogleOptions
from .google_quota import QuotaTotals
from .google_schema import READABLE, read_mask
from .google_store import Account
from .oauth import OAuthSimulator
from .wire import Request

GLOBAL_PARAMETERS: Final = frozenset(
    {
        "$.xgafv",
        "access_token",
        "alt",
        "callback",
        "fields",
        "key",
        "oauth_token",
        "prettyPrint",
        "quotaUser",
        "uploadType",
        "upload_protocol",
    }
)
_SOURCES: Final = frozenset(
    f"READ_SOURCE_TYPE_{name}" for name in ("UNSPECIFIED", "PROFILE", "CONTACT", "DOMAIN_CONTACT", "OTHER_CONTACT")
)


class GoogleBase:
    """``clock`` gives seconds since the epoch. ``violations`` lists what no honest sync may do."""

    def __init__(
        self,
        clock: Callable[[], float],
        options: GoogleOptions | None = None,
        faults: Faults | None = None,
        oauth: OAuthSimulator | None = None,
    ) -> None:
        self.clock = clock
        self.options = options or GoogleOptions()
        self.faults = faults if faults is not None else Faults()
        self.oauth = oauth or OAuthSimulator(clock)
        self.accounts: dict[str, Account] = {}
        self.violations: list[dict[str, Any]] = []
        self.quota_totals = QuotaTotals()
        self.rng = random.Random(self.options.seed)
        self.created = 0

    @property
    def horizon_s(self) -> float:
        """What happened later than this is not yet in lists."""
        return self.clock() - self.options.list_lag_s

    def account(self, email: str) -> Account:
        """Raises ValueError for an unknown account (control calls)."""
        found = self.accounts.get(email)
        if found is None:
            raise ValueError(f"there is no account {email}")
        return found

    def violation(self, account: Account, kind: str, **facts: Any) -> None:
        self.violations.append({"kind": kind, "account": account.email, "at_s": self.clock(), **facts})


class Query:
    """The query of one request, read strictly. Every method raises the 400 that Google answers."""

    def __init__(self, request: Request, allowed: Iterable[str] = ()) -> None:
        self._query = request.query
        known = frozenset(allowed) | GLOBAL_PARAMETERS
        for name in request.query:
            if name not in known:
                raise invalid(
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
                    f"Field '{name}' could not be found in request message."
                )

    def text(self, name: str) -> str | None:
        values = self._query.get(name, ())
        if len(values) > 1:
            raise invalid(f"Invalid value for non-repeating field '{name}'")
        return values[0] if values else None

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._query.get(name, ()))

    def boolean(self, name: str) -> bool:
        """Only `true` and `false`; a client's `True` is refused (whether Google takes it is not known)."""
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise invalid(f"Invalid value at '{name}' (TYPE_BOOL), \"{value}\"")
        return value == "true"

    def number(self, name: str, default: int, maximum: int | None = None) -> int:
        """0 is the default."""
        value = self.text(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or (maximum is not None and int(value) > maximum):
            raise invalid(f"Invalid value at '{name}' (TYPE_INT32), \"{value}\"")
        return int(value) or default

    def sources(self) -> tuple[str, ...]:
        return checked_sources(self.texts("sources"))

    def mask(self, name: str, *, required: bool = True) -> frozenset[str]:
        """A person mask; all readable fields where it may be missing and is."""
        value = self.text(name)
        if value is None or not value.strip():
            if required:
                raise invalid(
                    f"{name} mask is required. Please specify one or more valid paths. Valid paths are documented "
                    "at the method."
                )
            return frozenset(READABLE)
        return read_mask(value, name)


def checked_sources(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(value in _SOURCES for value in values):
        raise invalid("Invalid value at 'sources'")
    return tuple(values)


def read_json(request: Request) -> Any:
    """The body; an empty one is an empty object. Raises 400."""
    if not request.body.strip():
        return {}
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise GoogleError(400, "INVALID_ARGUMENT", "Invalid JSON payload received. Parse error.") from error
