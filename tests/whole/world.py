"""The whole system in one process in virtual time, with people's hands, faults and kills: see `whole/__init__.py`."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import anyio
import anyio.lowlevel
import orjson
import structlog

from contactsync.runtime import ownership
from contactsync.runtime.bus import Put
from contactsync.runtime.grants import AccessTokens
from contactsync.runtime.memory_server import Value
from contactsync.simulators.faults import Fault
from contactsync.simulators.invariants import Checker, Snapshot, Synced
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    ChangeSettings,
    Enable,
    Model,
    NewContactDefaults,
    Pause,
    Resume,
    SyncRequest,
    type_of,
)

from .hands import Hands
from .process import Life, Point
from .system import _VAULT, SERVICES, Collected, FailedHandlers, Published, System, mail, settings_of
from .vendors import SignIn, Vendors, Write, granted
from .virtual_time import START_S, VirtualLoop

T = TypeVar("T")
LABEL_LAG_S = 60.0


@dataclass(frozen=True, slots=True)
class GoogleAccount:
    email: str
    sub: str


@dataclass(slots=True)
class Office:
    """One employee with a filter that is synchronised: what most stories need. The filter selects by `group`."""

    owner: int
    account: GoogleAccount
    filter_id: str
    group: int
    contacts: list[int]


@dataclass(slots=True)
class Saved:
    """The server's state at a moment (`World.copy_state`)."""

    values: dict[str, Value]


class World:
    """Everything of one story. A context manager; all calls are plain, time passes in `run_for` and `settle` only.

    planfix, google: fields of `PlanfixOptions` and `GoogleOptions`; settings: variables without their prefix;
    filters_max, accounts_max: how many can be enabled. trace: print every message and write as it happens.
    """

    def __init__(
        self,
        *,
        planfix: Mapping[str, Any] | None = None,
        google: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        filters_max: int = 3,
        accounts_max: int = 2,
        trace: bool = False,
    ) -> None:
        self.loop = VirtualLoop()
        self.vendors = Vendors(self.loop)
        self.google, self.planfix, self.faults = self.vendors.google, self.vendors.planfix, self.vendors.faults
        if planfix:
            self.planfix.set_options(**planfix)
        if google:
            self.google.set_options(**google)
        first = self.planfix.store.next_filter
        self.settings = settings_of(settings or {})
        subs = [str(101 + number) for number in range(accounts_max)]
        self.system = System(
            self.loop,
            self.vendors,
            filters=[str(first + number) for number in range(filters_max)],
            accounts=subs,
            settings=self.settings,
        )
        self._subs = iter(subs)
        self.server, self.bus = self.system.server, self.system.bus
        self.checker = Checker(self.settings.planfix_account, self.settings.default_region)
        self.hands = Hands(self.vendors, self.checker)
        self.synced: dict[str, GoogleAccount] = {}
        self.before: Snapshot | None = None
        self.excused_absence: set[int] = set()
        self._requests = 0
        self._replays = 0
        self._closed = False
        if trace:
            self._trace_to_terminal()
        self._failures = FailedHandlers(self.system)
        logging.getLogger(ownership.__name__).addHandler(self._failures)
        self._logs = structlog.get_config()
        structlog.configure(processors=[Collected(self.system)], cache_logger_on_first_use=False)

    def _trace_to_terminal(self) -> None:
        def show(line: str) -> None:
            print(f"{self.now:9.2f} {line}")

        self.vendors.trace = self.system.trace = self.server.trace = show

    # ---- life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            try:
                self.run(self.system.end())
                self.run(self._drain())
            finally:
                structlog.configure(**self._logs)
                logging.getLogger(ownership.__name__).removeHandler(self._failures)
                self.loop.close()

    async def _drain(self) -> None:
        """What is still on its way to the vendors arrives."""
        for arriving in list(self.vendors.under_way):
            await arriving

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """A coroutine to its end in virtual time."""
        return self.loop.run_until_complete(work)

    def _inside(self, act: Callable[[], Any]) -> None:
        """Something that wakes tasks up, which only works while the loop runs."""

        async def within() -> None:
            act()
            await anyio.lowlevel.checkpoint()

        self.run(within())

    @property
    def now(self) -> float:
        """Virtual seconds since the start; the wall clock is START_S later."""
        return self.loop.time()

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

    # ---- services

    def start(self) -> None:
        """All services that do not run."""
        self._start(SERVICES)

    def _start(self, names: Sequence[str]) -> None:
        self._inside(lambda: [self.system.start(name) for name in names if name not in self.system.running])

    def kill(
        self, service: str, when: Literal["now", "before", "after"] = "now", what: str = "", nth: int = 1
    ) -> None:
        """`kill -9` now, or before or after the n-th next step whose name matches `what` (see `process.Life`).

        A killed service starts again two seconds later (`system.supervised = False` switches that off).
        """
        if when == "now":
            self._inside(lambda: self.system.kill(service))
        else:
            self.system.points[service].append(Point(what, nth, when))

    def lose_answer(self, service: str, what: str = "commit|publish", nth: int = 1) -> None:
        """The n-th next matching step on NATS takes effect, but the service is told that there was no answer."""
        self.system.points[service].append(Point(what, nth, "lost"))

    def lose_acks(self, service: str, count: int = 1) -> None:
        """The next acknowledgements get lost: those messages come again."""
        if (one := self.system.running.get(service)) is not None:
            one.bus.acks_to_lose += count

    def restart(self, *services: str, settings: Mapping[str, str] | None = None) -> None:
        """In order (SIGTERM), and up again at once; all of them by default."""
        names = services or SERVICES
        if settings is not None:
            self.settings = self.system.settings = settings_of(settings)
        for name in names:
            self.stop(name)
        self._start(names)

    def stop(self, *services: str) -> None:
        for name in services or SERVICES:
            self.run(self.system.stop(name))

    def nats_away(self, seconds: float) -> None:
        """NATS cannot be reached for a while, then it is back with everything."""
        self._inside(self.server.disconnect)
        self.run_for(seconds)
        self._inside(self.server.reconnect)

    # ---- commands and questions

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
        tokens = AccessTokens(self.bus, _VAULT, SignIn(self.vendors, life), now=self.loop.wall)
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

    # ---- faults

    def fault(self, kind: str, path: str = "", *, times: int | None = 1, **more: Any) -> Fault:
        """A fault of the network or a vendor, as in `simulators.faults.Fault`; `path` is searched in the path."""
        return self.faults.add(Fault(kind=kind, path=path, times=times, **more))

    def mended(self) -> None:
        """No fault and no kill is planned any more, NATS is there, everything runs."""
        self.faults.clear()
        for points in self.system.points.values():
            points.clear()
        if not self.server.reachable:
            self._inside(self.server.reconnect)
        self.run_for(3 * LABEL_LAG_S)
        self.start()

    def replay(self, place: int, kind: str = "") -> Published | None:
        """Publish an earlier message of a filter's mailbox again as a new one; `place` from the newest, 0 on."""
        fits = [
            one
            for one in self.server.published
            if one.subject.endswith(kind) and one.subject.rsplit(".", 1)[1] in ("google", "planfix", "settled")
        ]
        if not fits:
            return None
        self._replays += 1
        chosen = fits[-1 - place % len(fits)]
        subject, data, headers = mail(chosen, self._replays)
        self._inside(lambda: self.server.store(subject, data, headers))
        return chosen

    # ---- the state

    def copy_state(self) -> Saved:
        return Saved(copy.copy(self.server.values))

    def roll_back(self, saved: Saved, keep: Sequence[str] = ("epoch.",)) -> None:
        """State as it was at `saved` (stop the services first); keys beginning with `keep` stay as they are."""
        kept = {key: value for key, value in self.server.values.items() if key.startswith(tuple(keep))}
        old = {key: value for key, value in saved.values.items() if not key.startswith(tuple(keep))}
        self.server.values = {**old, **kept}

    def lose_state(self, *prefixes: str) -> int:
        """Keys beginning so are gone (all without a prefix); how many (stop the services first)."""
        gone = [key for key in self.server.values if not prefixes or key.startswith(prefixes)]
        self._inside(lambda: [self.server.put(Put(key, None)) for key in gone])
        return len(gone)

    # ---- time

    def run_for(self, seconds: float) -> None:
        self.run(anyio.sleep(seconds))

    def settle(self, at_most_s: float = 6 * 3600.0) -> None:
        """Time passes until everything rests: no message, look, write or question under way, and for a full listing's
        time and two polls nothing was written. Fails with what does not come to rest."""
        calm_s = self.settings.full_scan_seconds + 2.5 * self.settings.poll_planfix_seconds
        deadline, calm_since, writes = self.now + at_most_s, self.now, len(self.vendors.writes)
        step_s = max(5.0, calm_s / 20)
        while self.now - calm_since < calm_s:
            self.run_for(step_s)
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


__all__ = ["START_S", "GoogleAccount", "Office", "Saved", "World"]
