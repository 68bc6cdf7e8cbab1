"""A simulated Planfix account behind its REST API: `handle(request) -> response`, without a socket.

Routing, rights, limits and paging are here; `planfix_hands.py` is what people do in Planfix itself, and
`planfix_options.py` says how each thing that is not documented is decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from .faults import Faults
from .planfix_import import import_rows
from .planfix_limits import Limits, Verdict
from .planfix_options import PlanfixOptions
from .planfix_reads import Caller, PlanfixReads, read_body
from .planfix_store import Contact
from .planfix_writes import Change, RefusalError, read_request
from .wire import Request, Response


def _not_allowed() -> RefusalError:
    return RefusalError(405, 405, "Method not allowed")


@dataclass(frozen=True, slots=True)
class Queued:
    """An update that was answered with 202 and waits; ``due_s`` in seconds since the epoch."""

    due_s: float
    contact: int
    body: Mapping[str, object]
    silent: bool


class PlanfixSimulator(PlanfixReads):
    """One account. ``violations`` lists what no honest sync may do: trashing contacts through the API."""

    def __init__(
        self,
        clock: Callable[[], float],
        options: PlanfixOptions | None = None,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(clock, options or PlanfixOptions(), faults if faults is not None else Faults())
        self.limits = Limits(self.options)
        self.violations: list[dict[str, object]] = []
        self.journal: list[dict[str, object]] = []
        self.plan = "paid"
        self.frozen = False
        self._requests: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._queue_next = 0
        self._queued: list[Queued] = []

    # -- requests ------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """Answers one request as of now. `faulty` or `http.py` lay faults of the transport over it."""
        self.apply_due()
        now_s = self.clock()
        response = self._answer(request, now_s)
        self._statuses[response.status] += 1
        return response

    def _answer(self, request: Request, now_s: float) -> Response:
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self.options.redirect_to is not None:
            return Response(302, b"", {"Location": self.options.redirect_to.rstrip("/") + request.path})
        verdict = self.limits.arrive(now_s)
        if verdict is not Verdict.PASS:
            self._requests["refused"] += 1
            return self._limit_breached(verdict, now_s)
        headers.update(self.limits.headers(now_s))
        try:
            caller = self._caller(request)
            status, content = self._route(request, caller, now_s)
        except RefusalError as refusal:
            status, content = self._refusal(refusal)
        return Response(status, b"" if content is None else orjson.dumps(content), headers)

    def _refusal(self, refusal: RefusalError) -> tuple[int, object]:
        body = {"result": "fail", "code": refusal.code, "error": refusal.error}
        logical = refusal.status in (400, 404) and self.options.failures_as_200
        return (200 if logical else refusal.status), body

    def _limit_breached(self, verdict: Verdict, now_s: float) -> Response:
        headers = {"Content-Type": "application/json; charset=UTF-8", **self.limits.headers(now_s)}
        wait_s = self.limits.reset_in_s(now_s) if verdict is Verdict.DAY_EXHAUSTED else 1.0
        factor = 1000 if self.options.time_to_reset_unit == "ms" else 1
        body: dict[str, object] = {"result": "fail", "code": 22, "error": "API rate limit exceeded"}
        if verdict is Verdict.TOO_FAST and self.options.rate_breach == "429":
            return Response(429, orjson.dumps(body), headers)
        return Response(403, orjson.dumps(body | {"timeToReset": int(wait_s * factor)}), headers)

    def _caller(self, request: Request) -> Caller:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            secret = next(iter(request.query.get("access_token", ())), "")
        token = self.store.tokens.get(secret.strip())
        if token is None:
            raise RefusalError(401, 1, "Access denied, unknown token")
        if not token.active:
            raise RefusalError(401, 2, "Access denied, token is not active")
        if self.frozen:
            raise RefusalError(403, 11, "Account is frozen")
        if self.plan != "paid":
            unpaid = self.plan == "unpaid"
            raise (
                RefusalError(403, 20, "Subscription is not paid")
                if unpaid
                else RefusalError(403, 21, "API is not available")
            )
        employee = self.store.employees[token.employee]
        if employee.status != "Active":
            raise RefusalError(403, 16, "User is not active")
        return Caller(employee, token)

    def _route(self, request: Request, caller: Caller, now_s: float) -> tuple[int, object]:
        if not request.path.startswith(f"{self.options.path_prefix}/"):
            raise RefusalError(404, 0, "Not found")
        path = request.path[len(self.options.path_prefix) :]
        method = request.method.upper()
        if path.startswith("/contact/") and (number := _contact_number(path[len("/contact/") :])) is not None:
            self._requests[f"{method} /contact/{{id}}"] += 1
            match method:
                case "GET":
                    return self._get(caller, number, request)
                case "POST":
                    return self._update(caller, number, request, now_s)
                case _:
                    raise _not_allowed()
        self._requests[f"{method} {path}"] += 1
        match method, path:
            case "GET", "/ping":
                return 200, {"result": "success"}
            case "POST", "/contact/list":
                return self._list(caller, request, now_s)
            case "POST", "/contact/":
                return self._create(caller, request, now_s)
            case "POST", "/contact/import":
                return self._import(caller, request, now_s)
            case "POST", "/contact/filters":
                return self._filters(caller, request)
            case "GET", "/contact/groups":
                caller.needs(self.options.metadata_scope)
                groups = [{"id": number, "name": name} for number, name in self.store.groups.items()]
                return 200, {"result": "success", "groups": groups}
            case "GET", "/contact/templates":
                return self._templates(caller, request)
            case "GET", "/customfield/contact":
                return self._custom_fields(caller, request)
            case "POST", "/user/list":
                return self._users(caller, request)
            case _ if path in _PATHS:
                raise _not_allowed()
            case _:
                raise RefusalError(404, 0, "Not found")

    # -- writing -------------------------------------------------------------------------------------------

    def _create(self, caller: Caller, request: Request, now_s: float) -> tuple[int, object]:
        caller.needs("contact_add")
        body = read_body(request)
        if self.options.contacts_max and len(self.store.contacts) >= self.options.contacts_max:
            raise RefusalError(400, 23, "Limit of contacts is reached")
        if self.options.template_required and "template" not in body:
            raise RefusalError(400, 2001, "Rest API error, template is required")
        is_company = body.get("isCompany") is True
        author = f"user:{caller.employee.id}"
        number = self.store.next_contact
        contact = self.store.new_contact(now_s, author, is_company=is_company)
        try:
            change = read_request(self.store, self.options, contact, body, by_api=True, creating=True)
            if set(change.refused) & {"template", "group", "birthDate", "phones", "gender"}:
                raise RefusalError(400, 2001, "Rest API error")
        except RefusalError:
            self.store.next_contact = number
            raise
        change.trashed = None
        change.apply(contact)
        self.store.insert(contact)
        self._write_down(now_s, "create", contact.id, body)
        return 201, {"result": "success", "id": contact.id}

    def _update(self, caller: Caller, number: int, request: Request, now_s: float) -> tuple[int, object]:
        caller.needs("contact_update")
        body = read_body(request)
        contact = self.store.contacts.get(number)
        restoring = body.get("isDeleted") is False
        gone = contact is None or contact.merged_into is not None
        if contact is None or gone or (contact.trashed and not restoring):
            raise RefusalError(404, 2000, f"Contact for update not found by id {number}")
        if not self.store.may_see(caller.employee, contact):
            raise RefusalError(400, 6, f"Access denied for contact by id - {number}")
        if not self.store.may_edit(caller.employee, contact):
            raise RefusalError(403, 6, "Not permitted")
        silent = "true" in request.query.get("silent", ())
        change = read_request(self.store, self.options, contact, body, by_api=True, creating=False)
        self._write_down(now_s, "update", number, body)
        if self._queue_next:
            self._queue_next -= 1
            self._queued.append(Queued(now_s + self.options.queued_delay_s, number, body, silent))
            return 202, None
        self._apply(contact, change, silent=silent, now_s=now_s)
        return 200, self._updated(change.refused)

    def _updated(self, refused: Sequence[str]) -> dict[str, object]:
        failures = [{"field": name, "error": "Field change failed"} for name in dict.fromkeys(refused)]
        if not failures:
            return {"result": "success"}
        shape: object = failures if self.options.failures_shape == "list" else failures[0]
        return {"result": "success", "failures": shape}

    def _apply(self, contact: Contact, change: Change, *, silent: bool, now_s: float) -> None:
        if change.trashed is not None and not self.options.is_deleted_by_update:
            change.trashed = None
        if change.trashed and not contact.trashed:
            self._trashing(contact)
        before = contact.content()
        with self.store.changing(contact, None):
            change.apply(contact)
        moves = not silent or self.options.silent_bumps_modified
        if moves and (contact.content() != before or self.options.noop_bumps_modified):
            with self.store.changing(contact, now_s):
                pass

    def _import(self, caller: Caller, request: Request, now_s: float) -> tuple[int, object]:
        caller.needs("contact_add")
        caller.needs("contact_update")
        body = read_body(request)
        author = f"user:{caller.employee.id}"
        import_rows(self.store, self.options, body, author, now_s, self._trashing)
        self._write_down(now_s, "import", None, body)
        return 201, None

    def _trashing(self, contact: Contact) -> None:
        self.violations.append({"kind": "trashed", "contact": contact.id, "at": self.clock()})

    def _write_down(self, now_s: float, kind: str, number: int | None, body: Mapping[str, object]) -> None:
        self.journal.append({"at": now_s, "kind": kind, "contact": number, "body": dict(body)})

    def apply_due(self) -> None:
        """Applies updates that were answered with 202 and whose time has come."""
        if not self._queued:
            return
        now_s = self.clock()
        due = [each for each in self._queued if each.due_s <= now_s]
        self._queued = [each for each in self._queued if each.due_s > now_s]
        for each in due:
            contact = self.store.live(each.contact)
            if contact is None:
                continue
            try:
                change = read_request(self.store, self.options, contact, each.body, by_api=True, creating=False)
            except RefusalError:
                continue
            self._apply(contact, change, silent=each.silent, now_s=each.due_s)

    # -- control -------------------------------------------------------------------------------------------

    def set_plan(self, plan: str) -> None:
        """`paid`, `unpaid` (code 20) or `free` (code 21)."""
        if plan not in ("paid", "unpaid", "free"):
            raise ValueError(f"unknown plan: {plan}")
        self.plan = plan

    def freeze_account(self, frozen: bool = True) -> None:
        self.frozen = frozen

    def queue_next_updates(self, count: int) -> None:
        """The next updates are answered with 202 and applied `queued_delay_s` later."""
        self._queue_next = count

    def set_options(self, **changes: Any) -> None:
        """Replaces options of a running account; those about trash in lists only count from the start."""
        hidden = {name: frozenset(value) for name, value in changes.items() if name in _SETS}
        self.options = replace(self.options, **(changes | hidden))
        self.limits.options = self.options
        for contact in self.store.contacts.values():
            contact.rendered.clear()

    @property
    def counters(self) -> dict[str, object]:
        """Requests by method and path, answers by status, and the two that tests ask for most."""
        return {
            "requests": dict(self._requests),
            "statuses": {str(status): count for status, count in self._statuses.items()},
            "too_many_requests": self._requests["refused"],
            "writes": len(self.journal),
        }

    def statistics(self) -> dict[str, object]:
        """For the control endpoint: `counters`, `violations` and the journal of writes."""
        return {"counters": self.counters, "violations": self.violations, "journal": self.journal}

    def reset_counters(self) -> None:
        """Forgets counters and the journal; violations stay."""
        self._requests.clear()
        self._statuses.clear()
        self.journal.clear()

    def dump(self) -> dict[str, object]:
        self.apply_due()
        return super().dump()


_SETS = ("hidden_fields", "readonly_fields")
_PATHS = frozenset(
    {
        "/ping",
        "/contact/list",
        "/contact/",
        "/contact/import",
        "/contact/filters",
        "/contact/groups",
        "/contact/templates",
        "/customfield/contact",
        "/user/list",
    }
)


def _contact_number(segment: str) -> int | None:
    """`12` or `contact:12`."""
    text = segment.removeprefix("contact:")
    return int(text) if text.isascii() and text.isdigit() else None
