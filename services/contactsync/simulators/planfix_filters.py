"""Complex contact filters of `POST /contact/list`: from `{type, operator, value}` to contacts.

Pure over the store. The official table and its traps are in the vendor's help (complex contact filters):
dates in the time zone of the token's employee, minutes at best, and an unknown type gives an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from .planfix_options import PlanfixOptions
from .planfix_store import Access, Contact, Employee, PlanfixStore, allowed

Predicate = Callable[[Contact], bool]

_TEXT_TYPES = {
    4002: "position",
    4004: "address",
    4005: "email",
    4014: "name",
    4015: "lastname",
    4222: "midname",
    4226: "telegram",
    4234: "telegramId",
}
_FLAG_TYPES = {4006: True, 4007: False}


@dataclass(frozen=True, slots=True)
class Selection:
    """Contacts that fulfil a filter; ``candidates`` (ascending) is a superset where an index knows one."""

    matches: Predicate
    candidates: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Who asks, and when: seconds since the epoch."""

    now_s: float
    timezone: str


class MalformedFilterError(ValueError):
    """A filter without type, operator or value: HTTP 400, code 40."""


NOTHING = Selection(lambda contact: False, ())


def select(store: PlanfixStore, options: PlanfixOptions, raw: Mapping[str, object], moment: Moment) -> Selection:
    """One complex filter. A value it cannot read selects nothing, as an unknown type does."""
    if not {"type", "operator", "value"} <= raw.keys():
        raise MalformedFilterError("type, operator and value are required")
    kind, operator, value = raw["type"], raw["operator"], raw["value"]
    if not isinstance(kind, int) or operator not in ("equal", "notequal", "gt", "lt", "have", "nothave"):
        return NOTHING
    if kind in (12, 38, 4011, 4223):
        return _dated(store, options, kind, str(operator), value, moment)
    if operator in ("gt", "lt") or (operator in ("have", "nothave") and kind != 4101):
        return NOTHING
    positive = _positive(store, kind, value, raw.get("field"), exact=operator in ("equal", "notequal"))
    if operator in ("equal", "have"):
        return positive
    if positive is NOTHING:
        return NOTHING
    inner = positive.matches
    return Selection(lambda contact: not inner(contact))


def _positive(store: PlanfixStore, kind: int, value: object, field: object, *, exact: bool) -> Selection:
    match kind:
        case 4231:
            numbers = [value] if isinstance(value, (int, str)) else value
            if not isinstance(numbers, list):
                return NOTHING
            wanted = {number for number in map(_number, numbers) if number is not None}
            return Selection(lambda contact: contact.id in wanted, sorted(wanted))
        case 4026:
            owners = frozenset(store.with_email(str(value)))
            text = str(value).casefold()
            return Selection(lambda contact: contact.texts["email"].casefold() == text, sorted(owners))
        case 4001:
            text = _folded(value)
            return Selection(
                lambda contact: text in f"{contact.texts['name']} {contact.texts['lastname']}".casefold()
            )
        case 4003:
            digits = re.sub(r"\D", "", str(value))
            if not digits:
                return NOTHING
            return Selection(
                lambda contact: any(digits in re.sub(r"\D", "", phone.number) for phone in contact.phones)
            )
        case 4221:
            text = _folded(value)
            return Selection(lambda contact: any(text in each.casefold() for each in contact.additional_emails))
        case 4008:
            group = _number(value)
            return Selection(lambda contact: contact.group == group)
        case 4016:
            template = _number(value)
            return Selection(lambda contact: contact.template == template)
        case 4019:
            return Selection(lambda contact: contact.texts["gender"] == value)
        case 1:
            return Selection(lambda contact: contact.added_by == value)
        case 2:
            return Selection(lambda contact: value in contact.supervisors)
        case 47 | 48:
            return _reachable(store, kind, value)
        case 4101:
            return _custom(field, value, exact=exact)
        case 4152 | 4153:
            number, filled = _number(value), kind == 4152
            return Selection(lambda contact: bool(contact.custom.get(number or 0)) is filled)
        case _ if kind in _FLAG_TYPES:
            wanted_flag = _FLAG_TYPES[kind]
            return Selection(lambda contact: contact.is_company is wanted_flag)
        case _ if kind in _TEXT_TYPES:
            name, text = _TEXT_TYPES[kind], _folded(value)
            return Selection(lambda contact: text in contact.texts[name].casefold())
        case _:
            return NOTHING


def _custom(field: object, value: object, *, exact: bool) -> Selection:
    number, text = _number(field), _folded(value)
    if number is None:
        return NOTHING

    def holds(contact: Contact) -> bool:
        own = _folded(contact.custom.get(number) or "")
        return own == text if exact else text in own

    return Selection(holds)


def _reachable(store: PlanfixStore, kind: int, value: object) -> Selection:
    employee = _employee(store, value)
    if employee is None:
        return NOTHING
    if employee.role == "Robot":
        return Selection(lambda contact: True)
    rules: list[Access] = [employee.sees] if kind == 47 else [employee.sees, employee.edits]
    return Selection(lambda contact: all(allowed(rule, employee, contact) for rule in rules))


def _employee(store: PlanfixStore, value: object) -> Employee | None:
    kind, _, number = str(value).partition(":")
    return store.employees.get(int(number)) if kind == "user" and number.isdigit() else None


def _dated(
    store: PlanfixStore, options: PlanfixOptions, kind: int, operator: str, value: object, moment: Moment
) -> Selection:
    span = read_span(value, moment, ambiguous_is_later=options.ambiguous_hour_is_later)
    if span is None or operator not in ("equal", "notequal", "gt", "lt"):
        return NOTHING
    if kind in (4011, 4223):
        return _born(span, operator, moment, with_year=kind == 4223)
    start, end = span
    bound = start if options.gt_includes_start else end
    moved = kind == 38

    def at_s(contact: Contact) -> float:
        return contact.modified_s if moved else contact.created_s

    match operator:
        case "gt":
            newer = store.modified_since(bound) if moved else None
            return Selection(lambda contact: at_s(contact) >= bound, newer)
        case "lt":
            return Selection(lambda contact: at_s(contact) < start)
        case "equal":
            return Selection(
                lambda contact: start <= at_s(contact) < end, store.modified_since(start) if moved else None
            )
        case _:
            return Selection(lambda contact: not start <= at_s(contact) < end)


def _born(span: tuple[float, float], operator: str, moment: Moment, *, with_year: bool) -> Selection:
    zone = ZoneInfo(moment.timezone)
    first = datetime.fromtimestamp(span[0], zone).date()
    last = datetime.fromtimestamp(span[1] - 1, zone).date()

    def key(day: date) -> tuple[int, int, int]:
        return (day.year if with_year else 0, day.month, day.day)

    def holds(contact: Contact) -> bool:
        if contact.birth_date is None:
            return operator == "notequal"
        born = key(contact.birth_date)
        match operator:
            case "gt":
                return born > key(last)
            case "lt":
                return born < key(first)
            case "equal":
                return key(first) <= born <= key(last)
            case _:
                return not key(first) <= born <= key(last)

    return Selection(holds)


def read_span(value: object, moment: Moment, *, ambiguous_is_later: bool) -> tuple[float, float] | None:
    """The half-open span that a date value names, in seconds since the epoch; None if unreadable."""
    if not isinstance(value, Mapping):
        return None
    zone = ZoneInfo(moment.timezone)
    today = datetime.fromtimestamp(moment.now_s, zone).date()

    def days(first: date, count: int) -> tuple[float, float]:
        return (_midnight(first, zone), _midnight(first + timedelta(days=count), zone))

    count = _number(value.get("dateValue"))
    monday = today - timedelta(days=today.weekday())
    match value.get("dateType"):
        case "today":
            return days(today, 1)
        case "yesterday":
            return days(today - timedelta(days=1), 1)
        case "tomorrow":
            return days(today + timedelta(days=1), 1)
        case "thisWeek":
            return days(monday, 7)
        case "lastWeek":
            return days(monday - timedelta(days=7), 7)
        case "nextWeek":
            return days(monday + timedelta(days=7), 7)
        case "thisMonth" | "lastMonth" | "nextMonth" as name:
            first = _month(today, {"thisMonth": 0, "lastMonth": -1, "nextMonth": 1}[name])
            return days(first, (_month(first, 1) - first).days)
        case "last":
            return None if count is None else days(today - timedelta(days=count), count + 1)
        case "next":
            return None if count is None else days(today, count + 1)
        case "in":
            return None if count is None else days(today + timedelta(days=count), 1)
        case "otherDate":
            day = _day(value.get("dateFrom") or value.get("dateValue"))
            return None if day is None else days(day, 1)
        case "otherRange":
            first_day, last_day = _day(value.get("dateFrom")), _day(value.get("dateTo"))
            if first_day is None or last_day is None:
                return None
            return days(first_day, (last_day - first_day).days + 1)
        case "otherDate_withTime":
            minute = _minute(value.get("dateFrom"), zone, ambiguous_is_later)
            return None if minute is None else (minute, minute + 60)
        case "otherRange_withTime":
            since = _minute(value.get("dateFrom"), zone, ambiguous_is_later)
            until = _minute(value.get("dateTo"), zone, ambiguous_is_later)
            return None if since is None or until is None else (since, until + 60)
        case _:
            return None


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _month(day: date, ahead: int) -> date:
    months = day.year * 12 + day.month - 1 + ahead
    return date(months // 12, months % 12 + 1, 1)


def _day(value: object) -> date | None:
    try:
        return datetime.strptime(str(value), "%d-%m-%Y").date()
    except ValueError:
        return None


def _minute(value: object, zone: ZoneInfo, ambiguous_is_later: bool) -> float | None:
    try:
        wall = datetime.strptime(str(value), "%d-%m-%Y %H:%M")
    except ValueError:
        return None
    return wall.replace(tzinfo=zone, fold=1 if ambiguous_is_later else 0).timestamp()


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = str(value).rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else None


def _folded(value: object) -> str:
    return str(value).casefold()
