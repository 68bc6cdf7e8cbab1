"""What people and the gateway say to the services, and what they ask."""

from __future__ import annotations

from typing import Any

import orjson

from contactsync.runtime.grants import AccessTokens
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Approve,
    ChangeSettings,
    Enable,
    Model,
    NewContactDefaults,
    Pause,
    Resume,
    SyncRequest,
    type_of,
)

from .mishaps import Mishaps
from .process import Life
from .system import VAULT
from .vendors import GoogleAccount, SignIn, granted


class Talk(Mishaps):
    def enable(
        self,
        filter_id: str,
        account: GoogleAccount,
        *,
        defaults: NewContactDefaults | None = None,
        relink: bool = False,
    ) -> None:
        """As activation does: the grant, then `Enable`; `defaults` as `set FILTER --new-contact-…`. Starts all."""
        if self.before is None:
            self.before = self.snapshot()
        self.start()
        self.connect(account)
        saved = self.planfix.store.filters[filter_id]
        self.command(
            Enable(
                request_id=self._request(),
                filter_id=filter_id,
                filter_name=saved.name,
                owner=saved.owner,
                account=subjects.token(account.sub),
                google_email=account.email,
                relink=relink,
            )
        )
        if defaults is not None:
            self.command(ChangeSettings(request_id=self._request(), filter_id=filter_id, new_contact=defaults))
        self.synced[filter_id] = account

    def connect(self, account: GoogleAccount) -> None:
        """The employee grants access (again)."""
        life = Life("gateway", 0)
        tokens = AccessTokens(self.bus, VAULT, SignIn(self.vendors, life), now=self.loop.wall)
        answer = granted(self.google.issue_tokens(account.email))
        self.run(tokens.store_grant(subjects.token(account.sub), account.email, answer))

    def revoke(self, account: GoogleAccount) -> None:
        """The employee withdraws the access on Google's security page."""
        self.google.revoke_grant(account.email)

    def command(self, message: Model) -> None:
        """Any message of the mailbox kind `command`."""
        self.publish(subjects.mailbox(message.filter_id, "command"), message)  # type: ignore[attr-defined]

    def publish(self, subject: str, message: Model) -> None:
        name = getattr(message, "request_id", "") or self._request()
        self.run(
            self.bus.publish(
                subject, message.model_dump_json().encode(), msg_id=f"{subject}.{name}", type_=type_of(message)
            )
        )

    def sync(self, filter_id: str) -> None:
        request = SyncRequest(request_id=self._request(), filter_id=filter_id, reason="somebody asked")
        self.publish(subjects.mailbox(filter_id, "sync"), request)

    def pause(self, filter_id: str) -> None:
        self.command(Pause(request_id=self._request(), filter_id=filter_id))

    def resume(self, filter_id: str) -> None:
        self.command(Resume(request_id=self._request(), filter_id=filter_id))

    def approve(self, filter_id: str, hash_: str = "") -> list[str]:
        """The frozen plan of this hash, all that are complete without one; their hashes."""
        hashes = [hash_] if hash_ else [plan["hash"] for plan in self.status(filter_id)["plans"] if plan["hash"]]
        for one in hashes:
            self.command(Approve(request_id=self._request(), filter_id=filter_id, hash=one))
        return hashes

    def two_way(self, filter_id: str, on: bool = True) -> None:
        self.command(ChangeSettings(request_id=self._request(), filter_id=filter_id, two_way=on))

    def request_id(self) -> str:
        """A new one, for commands of one's own."""
        return self._request()

    def _request(self) -> str:
        self._requests += 1
        return f"request-{self._requests}"

    def query(self, verb: str, **arguments: Any) -> Any:
        """What the command line and the console ask (`status`, `contacts`, `filters`, …)."""
        return orjson.loads(self.run(self.bus.request(subjects.query(verb), orjson.dumps(arguments))))

    def status(self, filter_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.query("status", filter_id=filter_id)
        return found

    def contacts(self, filter_id: str, state: str | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.query("contacts", filter_id=filter_id, state=state)["contacts"]
        return rows

    def row(self, filter_id: str, contact: int) -> dict[str, Any] | None:
        return next((row for row in self.contacts(filter_id) if row["contact"] == contact), None)

    def record(self, filter_id: str) -> dict[str, Any] | None:
        """The filter's record as stored."""
        value = self.server.value(subjects.filter_key(filter_id))
        return None if value is None else orjson.loads(value.value)

    def label(self, filter_id: str) -> str:
        """The resource name of the filter's label, empty without one."""
        return str((self.record(filter_id) or {}).get("label") or "")

    def history(self, filter_id: str, contact: int | None = None) -> list[dict[str, Any]]:
        """What the history holds, as stored; entries have their contact in `contact`."""
        prefix = f"history.{subjects.token(filter_id)}."
        found = []
        for key, value in self.server.values.items():
            if key.startswith(prefix):
                number = int(key.removeprefix(prefix).split(".")[0])
                if contact in (None, number):
                    found.append({"contact": number, **orjson.loads(value.value)})
        return found
