"""The whole system in one process in virtual time, with people's hands, faults and kills: see `whole/__init__.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from contactsync.simulators.invariants import Snapshot, Synced
from contactsync_contracts.messages import NewContactDefaults

from .talk import Talk
from .vendors import GoogleAccount, Write


@dataclass(slots=True)
class Office:
    """One employee with a filter that is synchronised: what most stories need. The filter selects by `group`."""

    owner: int
    account: GoogleAccount
    filter_id: str
    group: int
    contacts: list[int]


class World(Talk):
    """Everything of one story. A context manager; all calls are plain, time passes in `run_for` and `settle` only.

    planfix, google: fields of `PlanfixOptions` and `GoogleOptions`; settings: variables without their prefix;
    filters_max, accounts_max: how many can be enabled. trace: print every message and write as it happens.
    """

    # ---- making

    def employee(self, name: str = "Olga", **facts: Any) -> int:
        return self.planfix.add_employee(name, **{"email": f"{name.lower()}@acme.test", **facts})

    def account(self, email: str = "olga@acme.test") -> GoogleAccount:
        sub = next(self._subs)
        self.google.add_account(email, sub)
        return GoogleAccount(email, sub)

    def contact(self, given: str = "", family: str = "", **fields: Any) -> int:
        """A Planfix contact; more fields as in ContactRequest (`email`, `phones`, `group`, `description`, …)."""
        if "group" in fields and isinstance(fields["group"], int):
            fields["group"] = {"id": fields["group"]}
        return self.planfix.add_contact({"template": {"id": 1}, "name": given, "lastname": family, **fields})

    def filter(self, name: str, owner: int, *, group: int | None = None, contacts: Sequence[int] = ()) -> str:
        """By contact group, or exactly these contacts."""
        condition = {"kind": "group", "group": group} if group else {"kind": "ids", "ids": list(contacts)}
        return self.planfix.add_filter(name, owner, condition)

    def office(
        self, contacts: int = 3, *, name: str = "Clients", email: str = "olga@acme.test", go: bool = True
    ) -> Office:
        """An employee with a Google account, a group, a filter by it, contacts in it; `go`: enabled and settled."""
        owner, account = self.employee(email.split("@")[0].title(), email=email), self.account(email)
        group = self.planfix.add_group(name)
        numbers = [
            self.contact(
                f"Given{n}",
                f"Family{n}",
                email=f"p{n}.{group}@people.test",
                phones=[{"number": f"+4915117{group:02}{n:04}", "type": 1}],
                group=group,
            )
            for n in range(1, contacts + 1)
        ]
        office = Office(owner, account, self.filter(name, owner, group=group), group, numbers)
        if go:
            self.enable(office.filter_id, account, defaults=NewContactDefaults(group=group))
            self.settle()
        return office

    # ---- time

    def settle(self, at_most_s: float = 6 * 3600.0) -> None:
        """Time passes until everything rests: no message, look, write or question under way, and for a full listing's
        time and two polls nothing was written. Fails with what does not come to rest."""
        calm_s = self.settings.full_scan_seconds + 2.5 * self.settings.poll_planfix_seconds
        deadline, calm_since, writes = self.now + at_most_s, self.now, len(self.vendors.writes)
        step_s = max(5.0, calm_s / 20)
        while self.now - calm_since < calm_s:
            self.run_for(step_s)
            self._inside(self.server.deliver_again)
            why = self.unrest()
            if why or len(self.vendors.writes) != writes:
                calm_since, writes = self.now, len(self.vendors.writes)
            assert self.now < deadline, f"does not come to rest: {why or self.writes(-3)}"

    def unrest(self) -> str:
        """What is under way, empty when nothing is."""
        for name in ("FILTERS", "WRITER", "LOOK"):
            for stored in self.server.streams[name].messages.values():
                if stored.owed:
                    return f"a message waits: {stored.subject} {stored.headers.get('Contactsync-Type')}"
        for key, value in self.server.values.items():
            if key.startswith("state.planfix.look."):
                return f"a look waits: {value.value.decode()[:300]}"
            if key.endswith(".intent") or ".held." in key:
                return f"a write waits: {key}"
            if key.startswith("state.filter.") and key.count(".") == 2:
                record = orjson.loads(value.value)
                idle = record["paused"] or record["problem"]
                if record["run"] or (not idle and (record["open"] or record["phase"] != "done")):
                    return f"filter {record['filter_id']} is at work: {record['state']}, {record['open']} open"
        return ""

    def idle(self, cycles: int = 2) -> list[Write]:
        """So many full cycles in which nobody does anything; what was written meanwhile (2-semantics I7: nothing)."""
        mark = self.mark()
        self.run_for(cycles * (self.settings.full_scan_seconds + self.settings.poll_planfix_seconds))
        return self.writes(mark)

    def mark(self) -> int:
        return len(self.vendors.writes)

    def writes(self, since: int = 0) -> list[Write]:
        """Writes that reached the vendors since `mark()` said so."""
        return self.vendors.writes[since:]

    # ---- looking at both sides

    def snapshot(self) -> Snapshot:
        return Snapshot(self.planfix.dump(), {email: self.google.dump(email) for email in self.google.accounts})

    def synced_filters(self) -> list[Synced]:
        return [
            Synced(
                filter_id, account.email, self.label(filter_id), bool((self.record(filter_id) or {}).get("two_way"))
            )
            for filter_id, account in self.synced.items()
        ]

    def person(self, contact: int, account: GoogleAccount) -> str:
        """The resource name of the contact's person. Fails if there is none."""
        found = self.hands.person_of(contact, account.email)
        assert found is not None, f"contact {contact} has no person in {account.email}"
        return found

    def person_json(self, contact: int, account: GoogleAccount) -> dict[str, Any]:
        found = self.google.shown(account.email, self.person(contact, account))
        assert found is not None
        return found

    def log_lines(self) -> str:
        return "\n".join(self.system.log)
