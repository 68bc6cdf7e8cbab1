"""The reading half of the simulated Planfix API: lists, single contacts, filters, metadata, employees.

`planfix.py` routes requests here and adds the writing half.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs

import orjson

from .faults import Faults
from .planfix_filters import MalformedFilterError, Moment, Selection, select
from .planfix_hands import PlanfixHands
from .planfix_json import CONTACT_FIELDS, USER_FIELDS, Fields, View, asked_fields, contact_fragment, user_json
from .planfix_options import PlanfixOptions
from .planfix_store import SYSTEM_FILTERS, Employee, Token
from .planfix_writes import RefusalError
from .wire import Request

PAGE_SIZE_MAX = 100
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request acts as."""

    employee: Employee
    token: Token

    def needs(self, scope: str) -> None:
        if self.token.scopes is not None and scope not in self.token.scopes:
            raise RefusalError(405, 5, "Scope denied, method not allowed")


class PlanfixReads(PlanfixHands):
    """What a token may read. Each answer is ``(status, content)``; refusals are raised as RefusalError."""

    def __init__(self, clock: Callable[[], float], options: PlanfixOptions, faults: Faults) -> None:
        super().__init__(clock, options)
        self.faults = faults
        self._selected: dict[object, Sequence[int]] = {}
        self._selected_at = (-1, -1)
        self._watermarks: dict[str, tuple[float, float]] = {}

    def _list(self, caller: Caller, request: Request, now_s: float) -> tuple[int, object]:
        caller.needs("contact_readonly")
        body = read_body(request)
        offset, size = _page(body)
        numbers = self._select(caller, body, offset, now_s)[offset : offset + size]
        numbers = self._shortened(request, numbers, offset)
        view = View(
            _with_fields(body.get("fields"), Fields(("id",), ())),
            caller.employee.timezone,
            body.get("prefixedId") is True,
        )
        store, options = self.store, self.options
        pieces = [contact_fragment(store, options, store.contacts[number], view) for number in numbers]
        answer: dict[str, object] = {"result": "success", "contacts": pieces}
        if body.get("sourceId"):
            answer["sourceId"] = body["sourceId"]
        return 200, answer

    def _shortened(self, request: Request, rows: Sequence[Row], offset: int = 0) -> Sequence[Row]:
        """A list that the server cuts although more is there: the fault behind several sync disasters."""
        fault = self.faults.first(request, "empty_page", "short_page", "capped_list")
        if fault is None:
            return rows
        if fault.kind == "empty_page":
            return ()
        keep = len(rows) // 2 if fault.keep is None else fault.keep
        return rows[: max(0, keep - offset) if fault.kind == "capped_list" else keep]

    def _select(self, caller: Caller, body: Mapping[str, Any], offset: int, now_s: float) -> Sequence[int]:
        """The numbers of a list, ascending; kept for its next pages until anything changes."""
        filter_id = self._filter_id(caller, body.get("filterId"))
        is_company = body.get("isCompany") is True
        raw = body.get("filters") or []
        if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
            raise RefusalError(400, 41, "Invalid value of parameter filters")
        since_s = self._changed_since(body, offset, now_s)
        moment = (self.store.epoch, int(now_s // 60))
        if moment != self._selected_at:
            self._selected, self._selected_at = {}, moment
        employee = caller.employee.id
        mixed = self.options.companies_in_person_lists and body.get("isCompany") is None
        key = (filter_id, is_company, mixed, employee, since_s, orjson.dumps(raw))
        known = self._selected.get(key)
        if known is None:
            base = self._base(filter_id, None if mixed else is_company)
            known = self._narrow(caller, base, raw, since_s, now_s)
            self._selected[key] = known
        return known

    def _base(self, filter_id: str | None, is_company: bool | None) -> Sequence[int]:
        """The filter's contacts; a system filter and `isCompany` that contradict each other give nothing."""
        if filter_id not in SYSTEM_FILTERS:
            return self.store.members(filter_id, is_company)
        companies = filter_id == ":company"
        return self.store.members(None, companies) if is_company in (None, companies) else ()

    def _narrow(
        self,
        caller: Caller,
        base: Sequence[int],
        raw: Sequence[Mapping[str, object]],
        since_s: float | None,
        now_s: float,
    ) -> Sequence[int]:
        moment = Moment(now_s, caller.employee.timezone)
        try:
            selections = [select(self.store, self.options, each, moment) for each in raw]
        except MalformedFilterError as error:
            raise RefusalError(400, 40, f"Required parameter is missing: {error}") from error
        if since_s is not None:
            selections.append(Selection(lambda contact: contact.modified_s > since_s))
        employee = caller.employee
        if employee.role != "Robot":
            selections.append(Selection(lambda contact: self.store.may_see(employee, contact)))
        if not selections:
            return base
        indexed = [each.candidates for each in selections if each.candidates is not None]
        candidates = min(indexed, key=len, default=base)
        if candidates is not base:
            candidates = [number for number in candidates if _contains(base, number)]
        contacts = self.store.contacts
        return [number for number in candidates if all(each.matches(contacts[number]) for each in selections)]

    def _filter_id(self, caller: Caller, raw: object) -> str | None:
        if raw is None or raw == "":
            return None
        filter_id = str(raw)
        if self.options.accept_bare_system_filter and f":{filter_id}" in SYSTEM_FILTERS:
            filter_id = f":{filter_id}"
        if filter_id in SYSTEM_FILTERS:
            return filter_id
        saved = self.store.filters.get(filter_id)
        if not isinstance(raw, str) or saved is None or not saved.is_shared_with(caller.employee):
            raise RefusalError(400, 41, "Invalid value of parameter filterId")
        return filter_id

    def _changed_since(self, body: Mapping[str, Any], offset: int, now_s: float) -> float | None:
        """`onlyChanged`: what the last sync is, is not documented; here the first page of a read."""
        source = str(body.get("sourceId") or "")
        if body.get("onlyChanged") not in (True, "true"):
            return None
        if offset == 0:
            self._watermarks[source] = (self._watermarks.get(source, (0.0, 0.0))[1], now_s)
        return self._watermarks.get(source, (0.0, 0.0))[0]

    def _get(self, caller: Caller, number: int, request: Request) -> tuple[int, object]:
        caller.needs("contact_readonly")
        contact = self.store.contacts.get(number)
        gone = contact is None or contact.merged_into is not None
        if contact is None or gone or (contact.trashed and not self.options.get_trashed):
            raise RefusalError(404, 2000, f"Contact not found by id {number}")
        if not self.store.may_see(caller.employee, contact):
            raise RefusalError(400, 6, f"Access denied for contact by id - {number}")
        asked = next(iter(request.query.get("fields", ())), None)
        prefixed = "true" in request.query.get("prefixedId", ())
        view = View(_with_fields(asked, Fields(CONTACT_FIELDS, ())), caller.employee.timezone, prefixed)
        return 200, {
            "result": "success",
            "contact": contact_fragment(self.store, self.options, contact, view),
        }

    def _filters(self, caller: Caller, request: Request) -> tuple[int, object]:
        caller.needs(self.options.metadata_scope)
        shown: list[dict[str, object]] = [{"id": each, "name": name} for each, name in SYSTEM_FILTERS.items()]
        for saved in self.store.filters.values():
            if saved.is_shared_with(caller.employee):
                owner = self.store.employees[saved.owner]
                person = {"id": f"user:{owner.id}", "name": owner.full_name}
                shown.append({"id": saved.id, "name": saved.name, "owner": person})
        return 200, {"result": "success", "filters": self._shortened(request, shown)}

    def _templates(self, caller: Caller, request: Request) -> tuple[int, object]:
        caller.needs(self.options.metadata_scope)
        companies = "true" in request.query.get("isCompany", ())
        offset, size = _page({key: values[0] for key, values in request.query.items() if values})
        found = [
            {"id": each.id, "name": each.name}
            for each in self.store.templates.values()
            if each.is_company == companies
        ]
        return 200, {"result": "success", "templates": found[offset : offset + size]}

    def _custom_fields(self, caller: Caller, request: Request) -> tuple[int, object]:
        caller.needs(self.options.metadata_scope)
        asked = next(iter(request.query.get("fields", ())), "id,name,names,type").split(",")
        found = [
            {
                "id": each.id,
                "name": each.name,
                "names": {"en": each.name},
                "type": each.type,
                "objectType": 1,
                "groupId": 1,
            }
            for each in self.store.custom_fields.values()
        ]
        shown = [{name: value for name, value in each.items() if name in asked} for each in found]
        return 200, {"result": "success", "customfields": shown}

    def _users(self, caller: Caller, request: Request) -> tuple[int, object]:
        caller.needs("user_readonly")
        body = read_body(request)
        offset, size = _page(body)
        asked = str(body["fields"]).split(",") if body.get("fields") else ["id"]
        fields = [name for name in USER_FIELDS if name in {each.strip() for each in asked}]
        fitting = [each for each in self.store.employees.values() if _user_fits(each, body)]
        employees = self._shortened(request, fitting[offset : offset + size], offset)
        prefixed = body.get("prefixedId") is True
        page = [user_json(each, fields, prefixed=prefixed) for each in employees]
        return 200, {"result": "success", "users": page}


def read_body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs = parse_qs(request.body.decode("utf-8", "replace"))
        return {
            key: (values[0] == "true" if values[0] in ("true", "false") else values[0])
            for key, values in pairs.items()
        }
    if not request.body.strip():
        return {}
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise RefusalError(400, 30, f"Rest API error, not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise RefusalError(400, 30, "Rest API error, not valid JSON: an object is expected")
    return body


def _page(body: Mapping[str, Any]) -> tuple[int, int]:
    try:
        offset, size = int(body.get("offset", 0)), int(body.get("pageSize", PAGE_SIZE_MAX))
    except (TypeError, ValueError):
        raise RefusalError(400, 41, "Invalid value of parameter offset or pageSize") from None
    if offset < 0 or not 1 <= size <= PAGE_SIZE_MAX:
        raise RefusalError(400, 41, "Invalid value of parameter offset or pageSize")
    return offset, size


def _with_fields(asked: object, otherwise: Fields) -> Fields:
    return asked_fields(str(asked)) if asked else otherwise


def _contains(ascending: Sequence[int], number: int) -> bool:
    at = bisect_left(ascending, number)
    return at < len(ascending) and ascending[at] == number


def _user_fits(employee: Employee, body: Mapping[str, Any]) -> bool:
    if body.get("onlyActive") is True and employee.status == "Inactive":
        return False
    for each in body.get("filters") or ():
        match each.get("type"):
            case 9003:
                fits = str(each.get("value", "")).casefold() in employee.email.casefold()
            case 9008:
                fits = each.get("value") == employee.id
            case _:
                return False
        if fits is (each.get("operator") == "notequal"):
            return False
    return True
