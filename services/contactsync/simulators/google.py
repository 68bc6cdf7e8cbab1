"""A simulated Google: People API and sign-in behind `handle(request) -> response`, without a socket.

Routing, authorisation, quotas and counters are here. The methods are in `google_people.py`, `google_lists.py` and
`google_groups.py`; what people do is in `google_hands.py`; `google_options.py` decides what is not documented.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson

from .google_errors import JSON, GoogleError, insufficient_scope, unauthenticated
from .google_hands import GoogleHands
from .google_quota import COSTS
from .google_render import with_shuffled_keys
from .google_store import Account
from .oauth import CONTACTS_SCOPE, PATHS, bearer
from .wire import Request, Response

READONLY_SCOPE: Final = f"{CONTACTS_SCOPE}.readonly"
_ROUTES: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = tuple(
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("GET", r"/v1/people:batchGet", "people.getBatchGet"),
        ("POST", r"/v1/people:batchCreateContacts", "people.batchCreateContacts"),
        ("POST", r"/v1/people:batchUpdateContacts", "people.batchUpdateContacts"),
        ("POST", r"/v1/people:batchDeleteContacts", "people.batchDeleteContacts"),
        ("POST", r"/v1/people:createContact", "people.createContact"),
        ("GET", r"/v1/(people/me)/connections", "people.connections.list"),
        ("GET", r"/v1/(people/[^/:]+)", "people.get"),
        ("PATCH", r"/v1/(people/[^/:]+):updateContact", "people.updateContact"),
        ("DELETE", r"/v1/(people/[^/:]+):deleteContact", "people.deleteContact"),
        ("GET", r"/v1/contactGroups:batchGet", "contactGroups.batchGet"),
        ("GET", r"/v1/contactGroups", "contactGroups.list"),
        ("POST", r"/v1/contactGroups", "contactGroups.create"),
        ("POST", r"/v1/(contactGroups/[^/:]+)/members:modify", "contactGroups.members.modify"),
        ("GET", r"/v1/(contactGroups/[^/:]+)", "contactGroups.get"),
        ("PUT", r"/v1/(contactGroups/[^/:]+)", "contactGroups.update"),
        ("DELETE", r"/v1/(contactGroups/[^/:]+)", "contactGroups.delete"),
    )
)
READS: Final = frozenset(
    name for name in COSTS if name.rsplit(".", 1)[1] in {"list", "get", "getBatchGet", "batchGet"}
)


class GoogleSimulator(GoogleHands):
    """One Google with any number of accounts, told apart by the bearer token.

    ``GoogleSimulator(clock, options, faults, oauth)``; ``clock`` gives seconds since the epoch. Faults of the
    transport are laid over it by `faults.faulty` or `http.py`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._requests: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._flights = 0
        self._methods: dict[str, Callable[[Account, str, Request], bytes]] = {
            "people.connections.list": lambda account, _, request: self.list_connections(account, request),
            "people.get": self.get_person,
            "people.getBatchGet": lambda account, _, request: self.batch_get_people(account, request),
            "people.createContact": lambda account, _, request: self.create_contact(account, request),
            "people.updateContact": self.update_contact,
            "people.deleteContact": self.delete_contact,
            "people.batchCreateContacts": lambda account, _, request: self.batch_create(account, request),
            "people.batchUpdateContacts": lambda account, _, request: self.batch_update(account, request),
            "people.batchDeleteContacts": lambda account, _, request: self.batch_delete(account, request),
            "contactGroups.list": lambda account, _, request: self.list_groups(account, request),
            "contactGroups.get": self.get_group,
            "contactGroups.batchGet": lambda account, _, request: self.batch_get_groups(account, request),
            "contactGroups.create": lambda account, _, request: self.create_group(account, request),
            "contactGroups.update": self.update_group,
            "contactGroups.delete": self.delete_group,
            "contactGroups.members.modify": self.modify_members,
        }

    def handle(self, request: Request) -> Response:
        """Answers one request as of now."""
        if request.path in PATHS:
            self._requests[f"oauth {request.path}"] += 1
            response = self.oauth.handle(request)
        else:
            response = self._api(request)
        self._statuses[response.status] += 1
        return response

    def _api(self, request: Request) -> Response:
        method, name = _route(request)
        if method is None:
            self._requests["unknown"] += 1
            page = b"<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title></html>"
            return Response(404, page, {"Content-Type": "text/html; charset=UTF-8"})
        self._requests[method] += 1
        try:
            account = self._authorised(request, method)
            self._charge(account, method, request)
            body = self._methods[method](account, name, request)
        except GoogleError as error:
            return error.response()
        if self.options.shuffle_keys:
            body = orjson.dumps(with_shuffled_keys(orjson.loads(body), self.rng))
        return Response(200, body, dict(JSON))

    def _authorised(self, request: Request, method: str) -> Account:
        grant = self.oauth.grant_of(bearer(request))
        if grant is None or grant.email not in self.accounts:
            raise unauthenticated()
        enough = {CONTACTS_SCOPE, READONLY_SCOPE} if method in READS else {CONTACTS_SCOPE}
        if not grant.scopes & enough:
            raise insufficient_scope()
        return self.accounts[grant.email]

    def _charge(self, account: Account, method: str, request: Request) -> None:
        costs = dict(COSTS[method])
        if method == "people.connections.list":
            costs |= self.full_sync_cost(request)
        elif method == "people.getBatchGet":
            costs["critical_read"] = self.options.batch_get_cost
        account.quota.charge(costs, self.clock(), self.options, self.quota_totals)

    # -- concurrency ---------------------------------------------------------------------------------------

    def begin(self, request: Request) -> int | None:
        """Notes that a mutation of an account is under way; its number for `end`, None for a read.

        A second one of the same account at the same time is a violation, and by option refused: then this raises
        GoogleError.
        """
        method, _ = _route(request)
        grant = self.oauth.grant_of(bearer(request))
        account = None if grant is None else self.accounts.get(grant.email)
        if method is None or method in READS or account is None:
            return None
        if account.in_flight:
            others = sorted(account.in_flight.values())
            self.violation(account, "concurrent_mutations", method=method, others=others)
            if self.options.concurrent_mutations == "503":
                raise GoogleError(503, "UNAVAILABLE", "The service is currently unavailable.")
            if self.options.concurrent_mutations == "409":
                raise GoogleError(409, "ABORTED", "The operation was aborted.")
        self._flights += 1
        account.in_flight[self._flights] = method
        return self._flights

    def end(self, flight: int | None) -> None:
        for account in self.accounts.values():
            account.in_flight.pop(flight or 0, None)

    # -- figures -------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, Any]:
        """Since the start or `reset_counters`: requests by method, answers by status, quota costs, 429s by bucket."""
        mutations = sum(count for name, count in self._requests.items() if name in COSTS and name not in READS)
        return {
            "requests": dict(self._requests),
            "statuses": {str(status): count for status, count in self._statuses.items()},
            "mutations": mutations,
            "quota": dict(self.quota_totals.used),
            "refused": dict(self.quota_totals.refused),
        }

    def reset_counters(self) -> None:
        """Violations stay."""
        for counter in (self._requests, self._statuses, self.quota_totals.used, self.quota_totals.refused):
            counter.clear()


def _route(request: Request) -> tuple[str | None, str]:
    """The method's name and the resource name in the path."""
    for verb, pattern, name in _ROUTES:
        match = pattern.fullmatch(request.path) if verb == request.method else None
        if match is not None:
            return name, match.group(1) if match.groups() else ""
    return None, ""
