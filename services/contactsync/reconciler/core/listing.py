"""The contacts of a filter as people page through them: a row of each, what a search finds, one page, one contact.

A row is made from a link as it is stored, without the objects that decisions are made of: 25,000 of them are made
before a filter's list is first shown, and every microsecond counts. `shelf.py` keeps the rows and brings them up to
date; `describe.py` says what is told of a state.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from contactsync.reconciler.core.describe import arrival_status, contact_status
from contactsync.reconciler.core.link import Link, arrival_from_json, link_from_json
from contactsync_contracts.contact import NAME_FIELDS
from contactsync_contracts.messages import ContactState

LIMIT_MAX: Final = 1000
SEARCH_MAX: Final = 200
DIGITS_MIN: Final = 3
"""Fewer digits are in nearly every telephone number."""
TEXT_MAX: Final = 200
"""Characters of a name, an address or a number in a row."""
PAGE_BYTES_MAX: Final = 700_000

Stored = dict[str, Any]
"""A link or an arrival as `link.py` stores it."""

_AT_REST: Final = {"state": ContactState.IN_SYNC.value, "reason": "", "notes": (), "candidates": ()}
_NOT_AT_REST: Final = frozenset(
    {"merged_into", "dismissed", "hold", "frozen", "pending", "asked", "due", "limits", "read_only", "kept"}
)
"""A link without any of these that is tied to a person is in sync, and nothing is to be said of it."""
_CONTENTS: Final = ("google", "base_planfix", "base_google", "planfix")
_WRITTEN: Final = ("target", "source", "before")
_NO_DIGIT: Final = re.compile(r"[^0-9]+")
_NUMBER: Final = re.compile(r"[0-9+().,/-]+")
"""A word that may be part of a telephone number."""
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


# --- rows -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One contact, or a person without one (`contact` is 0). state to candidates: see `describe.contact_status`;
    name, email, phone: Planfix's where it has any, else Google's; updated_at: Unix seconds, 0 where nobody knows;
    text and digits: what a search looks into, of both sides."""

    contact: int
    state: str
    reason: str
    notes: tuple[str, ...]
    person: str | None
    candidates: tuple[str | int, ...]
    name: str
    email: str
    phone: str
    updated_at: float
    text: str
    digits: str


def row_of(stored: Stored) -> Row:
    if stored.keys().isdisjoint(_NOT_AT_REST) and (stored.get("own") or stored.get("stamped")) and "google" in stored:
        status = {"contact": stored["contact"], "person": stored.get("resource"), **_AT_REST}
    else:
        status = contact_status(_outline(stored))
    return _row(status, stored.get("planfix") or {}, stored.get("google") or {}, _updated_at(stored))


def row_of_arrival(stored: Stored) -> Row:
    status = arrival_status(arrival_from_json(stored))
    return _row(status, {}, stored["google"], max(stored["google_at"], stored.get("asked_at", 0.0)))


def as_json(row: Row, *, names: bool) -> dict[str, Any]:
    """As `describe.contact_status`; with names `name`, `email`, `phone` (empty where there is none) as well, and
    `updated_at` where it is known."""
    shown: dict[str, Any] = {
        "contact": row.contact or None,
        "state": row.state,
        "reason": row.reason,
        "notes": list(row.notes),
        "person": row.person,
        "candidates": list(row.candidates),
    }
    if names:
        shown |= {"name": row.name, "email": row.email, "phone": row.phone}
        if row.updated_at:
            shown["updated_at"] = row.updated_at
    return shown


def whole_contact(stored: Stored) -> dict[str, Any]:
    """A contact's row with names, and beside it `planfix` and `google`: the content last seen on each side by field,
    null where the side never showed any; a text, or of `emails` and `phones` a list of {value, type}. `limits`: why
    one side cannot hold a field (or `field:element`)."""
    shown = as_json(row_of(stored), names=True)
    for side in ("planfix", "google"):
        content: Stored | None = stored.get(side)
        shown[side] = None if content is None else {name: _plain(value) for name, value in content.items()}
    return shown | {"limits": stored.get("limits") or {}}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else [{"value": spelt, "type": kind} for _, spelt, kind in value]


def _outline(stored: Stored) -> Link:
    """The link without its contents, which no state and no reason is made of; only that Google's is there counts."""
    light = {name: value for name, value in stored.items() if name not in _CONTENTS and name != "undoing"}
    if stored.get("google") is not None:
        light["google"] = {}
    if (pending := light.get("pending")) is not None:
        light["pending"] = pending | {name: {} for name in _WRITTEN}
    return link_from_json(light)


def _updated_at(stored: Stored) -> float:
    """When a side was last seen with something new, or something was last written or decided."""
    get = stored.get
    at = max(
        get("planfix_since") or get("planfix_at") or 0.0,
        get("google_since") or get("google_at") or 0.0,
        get("planfix_wrote") or 0.0,
        get("dismissed_at") or 0.0,
        get("gone_at") or 0.0,
    )
    if pending := get("pending"):
        at = max(at, pending["at"])
    if turns := get("turns"):
        at = max(at, turns[-1][0])
    return float(at)


def _row(status: dict[str, Any], first: Stored, other: Stored, updated_at: float) -> Row:
    contact = status["contact"] or 0
    name, email, phone, texts, digits = _shown(first)
    if other and other != first:
        name_, email_, phone_, texts_, digits_ = _shown(other)
        name, email, phone = name or name_, email or email_, phone or phone_
        texts, digits = [*texts, *texts_], [*digits, *digits_]
    if contact:
        texts.append(str(contact))
    return Row(
        contact,
        status["state"],
        status["reason"],
        tuple(status["notes"]),
        status["person"],
        tuple(status["candidates"]),
        name[:TEXT_MAX],
        email[:TEXT_MAX],
        phone[:TEXT_MAX],
        updated_at,
        folded("\n".join(dict.fromkeys(texts))),
        " ".join(dict.fromkeys(digits)),
    )


def _shown(content: Stored) -> tuple[str, str, str, list[str], list[str]]:
    """name, first e-mail address, first telephone number; the texts and the digits that a search looks into. A number
    counts as it is compared (E.164) and as it is spelt, which may have a trunk prefix instead."""
    get = content.get
    name, company = " ".join(filter(None, map(get, NAME_FIELDS))), get("company") or ""
    texts, digits = [name, company, get("position") or ""], []
    emails, phones = get("emails") or (), get("phones") or ()
    for _, spelt, _ in emails:
        texts.append(spelt)
    for key, spelt, _ in phones:
        digits.append(_NO_DIGIT.sub("", key))
        if spelt != key:
            digits.append(_NO_DIGIT.sub("", spelt))
    return name or company, emails[0][1] if emails else "", phones[0][1] if phones else "", texts, digits


# --- a question -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """`state` is empty for all; `after` is a contact's number, 0 for the beginning, or less: see `page`."""

    filter_id: str
    state: str = ""
    search: str = ""
    after: int = 0
    limit: int = LIMIT_MAX
    names: bool = False


def question_of(asked: object) -> Question | str:
    """What was asked, or which field is wrong. A null is as good as nothing; a state's name may have hyphens."""
    if not isinstance(asked, dict):
        return "A question is a JSON object."
    given = {name: value for name, value in asked.items() if value is not None}
    filter_id, search, names = given.get("filter_id"), given.get("search", ""), given.get("names", False)
    after, limit = _number(given.get("after") or 0), _number(given.get("limit", LIMIT_MAX))
    state = given.get("state", "")
    if not isinstance(filter_id, str) and _number(filter_id) is None:
        return "filter_id: the filter's number is missing."
    if not isinstance(state, str) or (state and state.replace("-", "_") not in set(ContactState)):
        return f"state: one of {', '.join(ContactState)}."
    if not isinstance(search, str) or len(search) > SEARCH_MAX:
        return f"search: a text of at most {SEARCH_MAX} characters."
    if after is None:
        return "after: a contact's number, or what the page before said."
    if limit is None or limit < 1:
        return f"limit: a number from 1 to {LIMIT_MAX}."
    if not isinstance(names, bool):
        return "names: true or false."
    return Question(str(filter_id), state.replace("-", "_"), search, after, min(limit, LIMIT_MAX), names)


def contact_of(asked: object) -> tuple[str, int] | str:
    """{filter_id, contact}: both, or which field is wrong."""
    question = question_of(asked)
    if isinstance(question, str):
        return question
    assert isinstance(asked, dict)
    contact = _number(asked.get("contact"))
    return (question.filter_id, contact) if contact and contact > 0 else "contact: a contact's number."


def _number(value: object) -> int | None:
    """A whole number, also as a text, such as addresses of pages hold."""
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- searching --------------------------------------------------------------------------------------------


def folded(text: str) -> str:
    """The same for all that differs in case, in width or in how accents are written only."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class Search:
    """Words, each of which must be found somewhere. Neighbours of digits are also looked for together among telephone
    numbers, since these are written with blanks (`+49 30 1234`)."""

    def __init__(self, text: str) -> None:
        self._runs = list(_runs(folded(text).split()))

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows that it finds, in their order."""
        for run in self._runs:
            apart = rows
            for word in run:
                apart = _with(word, apart)
            together = _digits("".join(run)) if len(run) > 1 else ""
            if together:
                found = set(map(id, apart))
                apart = [row for row in rows if together in row.digits or id(row) in found]
            rows = apart
        return rows


def _with(word: str, rows: Sequence[Row]) -> Sequence[Row]:
    if digits := _digits(word):
        return [row for row in rows if word in row.text or digits in row.digits]
    return [row for row in rows if word in row.text]


def _digits(word: str) -> str:
    """Those of a word that may stand for a telephone number, empty for all others."""
    digits = _NO_DIGIT.sub("", word) if _NUMBER.fullmatch(word) else ""
    return digits if len(digits) >= DIGITS_MIN else ""


def _runs(words: Sequence[str]) -> Iterator[list[str]]:
    """Neighbours that may be parts of one telephone number together, every other word by itself."""
    run: list[str] = []
    for word in words:
        if _NUMBER.fullmatch(word):
            run.append(word)
            continue
        if run:
            yield run
            run = []
        yield [word]
    if run:
        yield run


# --- a page -----------------------------------------------------------------------------------------------


def page(rows: Sequence[Row], question: Question) -> dict[str, Any]:
    """Of rows by number, those without one first: {contacts, total, states, next}. total: how many are in the state
    and match the search, wherever the page begins; states: how many match the search, by state; next: the `after` of
    the following page, null on the last. A page whose rows have names ends before PAGE_BYTES_MAX.

    Those without a number are counted from their end: after -1 come the numbered ones, after -2 one before them."""
    found = Search(question.search).of(rows)
    states = dict.fromkeys(map(str, ContactState), 0) | Counter([row.state for row in found])
    if question.state:
        found = [row for row in found if row.state == question.state]
    people = bisect_right(found, 0, key=_contact)
    match question.after:
        case 0:
            begin = 0
        case after if after < 0:
            begin = max(0, people + after + 1)
        case after:
            begin = bisect_right(found, after, key=_contact)
    shown: list[dict[str, Any]] = []
    size = 0
    for row in found[begin : begin + question.limit]:
        one = as_json(row, names=question.names)
        size += len(orjson.dumps(one)) if question.names else 0
        if shown and size > PAGE_BYTES_MAX:
            break
        shown.append(one)
    end = begin + len(shown)
    following = (shown[-1]["contact"] or end - people - 1) if shown and end < len(found) else None
    return {"contacts": shown, "total": len(found), "states": states, "next": following}


def _contact(row: Row) -> int:
    return row.contact
