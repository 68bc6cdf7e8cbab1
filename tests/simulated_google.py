"""A simulated Google account with a short way to talk to it; tests of the simulator share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from contactsync.simulators.google import GoogleSimulator
from contactsync.simulators.google_options import GoogleOptions
from contactsync.simulators.wire import Request, Response

EMAIL = "ann@example.com"
CONTACT = "READ_SOURCE_TYPE_CONTACT"
MASK = "clientData,emailAddresses,memberships,metadata,names,phoneNumbers"
UNLIMITED = {
    "critical_reads_per_minute": 0,
    "critical_writes_per_minute": 0,
    "writes_per_minute": 0,
    "group_reads_per_minute": 0,
    "daily_writes": 0,
    "full_syncs_per_minute": 0,
    "list_lag_s": 0.0,
}


@dataclass
class Clock:
    now_s: float = 1_795_000_000.25

    def __call__(self) -> float:
        return self.now_s


class Phone:
    """One account and its access token. Options default to no quotas and no lag."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.google = GoogleSimulator(self.clock, GoogleOptions(**(UNLIMITED | options)))
        self.sub = self.google.add_account(EMAIL)
        self.token = self.google.issue_tokens(EMAIL)["access_token"]

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None, **query: Any) -> Response:
        return self.google.handle(
            Request(
                method,
                f"/v1/{path}",
                {name: value if isinstance(value, list) else [value] for name, value in query.items()},
                {"authorization": f"Bearer {token or self.token}"},
                b"" if body is None else orjson.dumps(body),
            )
        )

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer, which must be 200."""
        response = self.ask(method, path, body, **query)
        assert response.status == 200, response.body
        return orjson.loads(response.body)

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str, str]:
        """Code, status and message of the error."""
        response = self.ask(method, path, body, **query)
        assert response.status >= 400, response.body
        error = orjson.loads(response.body)["error"]
        assert error["code"] == response.status
        return error["code"], error["status"], error["message"]

    def listed(self, **query: Any) -> Any:
        asked = {"personFields": MASK, "sources": CONTACT, "pageSize": "1000", "requestSyncToken": "true"}
        return self.call("GET", "people/me/connections", **(asked | query))

    def delta(self, token: str, **query: Any) -> Any:
        return self.listed(syncToken=token, **query)

    def get(self, name: str, mask: str = MASK, **query: Any) -> Any:
        return self.call("GET", name, personFields=mask, **({"sources": CONTACT} | query))

    def create(self, mask: str = MASK, **person: Any) -> Any:
        return self.call("POST", "people:createContact", person, personFields=mask, sources=CONTACT)

    def update(self, person: Any, fields: str, **changes: Any) -> Any:
        body = {"etag": person["etag"], **changes}
        path = f"{person['resourceName']}:updateContact"
        return self.call("PATCH", path, body, updatePersonFields=fields, personFields=MASK, sources=CONTACT)

    def label(self, name: str, **group: Any) -> Any:
        return self.call("POST", "contactGroups", {"contactGroup": {"name": name, **group}})

    def someone(self, given: str = "Ann") -> Any:
        return self.create(names=[{"givenName": given, "familyName": "Lee"}])


def member_of(*groups: str) -> list[dict[str, Any]]:
    return [{"contactGroupMembership": {"contactGroupResourceName": group}} for group in groups]


def groups_of(person: Any) -> set[str]:
    return {each["contactGroupMembership"]["contactGroupResourceName"] for each in person["memberships"]}
