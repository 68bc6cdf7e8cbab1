"""The rows of a filter's list: what they show, what a search finds, how pages follow each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from contactsync.reconciler.core import listing
from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.describe import arrival_status, contact_status
from contactsync.reconciler.core.link import Arrival, Hold, Link, Pending, Undoing, arrival_to_json, link_to_json
from contactsync.reconciler.core.listing import Question, Row, as_json, contact_of, page, question_of, row_of
from contactsync.reconciler.core.merge import Side
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import ContactState, Kept

ANN: Contact = {
    "given": "Ann",
    "middle": "van",
    "family": "Lee",
    "company": "Acme",
    "position": "Head of purchasing",
    "notes": "secret",
    "emails": (Element("ann@acme.test", "Ann@Acme.test", "work"), Element("a@home.test", "a@home.test")),
    "phones": (Element("+74951234567", "8 (495) 123-45-67", "work"),),
}
REST = Link(
    7, planfix=ANN, google=ANN, resource="people/7", own=Kept.OURS, stamped=True, labelled=True, planfix_at=5.0
)
PENDING = Pending(Side.GOOGLE, "update", "m", 2, {"given": "B"}, {"given": "B"}, {"given": "Ann"}, 90.0)


def stored(link: Link) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(orjson.dumps(link_to_json(link)))
    return found


LINKS = {
    "at_rest": REST,
    "tied_by_its_stamp_only": replace(REST, own=None),
    "tied_by_our_record_only": replace(REST, stamped=False),
    "found_by_match": replace(REST, own=None, stamped=False),
    "without_a_person": replace(REST, own=None, stamped=False, resource=None),
    "nothing_seen_in_google": replace(REST, google=None),
    "new": Link(7, planfix=ANN),
    "merged": replace(REST, merged_into=8),
    "dismissed": replace(REST, dismissed="It is gone.", dismissed_at=9.0),
    "held": replace(REST, hold=Hold("possible_duplicate", "Two people fit.", ("people/1", "people/2"))),
    "frozen": replace(REST, frozen=Frozen("plan", "digest")),
    "writing": replace(REST, pending=PENDING),
    "asked": replace(REST, asked="match"),
    "away": replace(REST, due=True, labelled=False),
    "due": replace(REST, due=True),
    "limited": replace(REST, limits={"notes": "Too long.", "phones:+1": "Not taken."}),
    "read_only": replace(REST, read_only=True),
    "kept": replace(REST, kept="By hand."),
    "being_undone": replace(REST, undoing=Undoing("by hand", "r")),
    "written_lately": replace(REST, turns=((4.0, "d"), (6.0, "e"))),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_row_says_the_same_as_the_whole_link(name: str) -> None:
    assert as_json(row_of(stored(LINKS[name])), names=False) == contact_status(LINKS[name])


def test_a_person_without_a_contact_has_a_row_too() -> None:
    arrival = Arrival(
        "s1", "people/s1", "e", {"given": "Bo"}, 3.0, {}, stage="held", reason="Why.", candidates=(4, 5)
    )
    row = listing.row_of_arrival(orjson.loads(orjson.dumps(arrival_to_json(arrival))))
    assert as_json(row, names=False) == arrival_status(arrival)
    shown = as_json(row, names=True)
    assert (shown["contact"], shown["name"], shown["email"], shown["updated_at"]) == (None, "Bo", "", 3.0)


def test_names_are_planfix_s_and_google_s_where_planfix_has_none() -> None:
    shown = as_json(row_of(stored(REST)), names=True)
    assert (shown["name"], shown["email"], shown["phone"]) == ("Ann van Lee", "Ann@Acme.test", "8 (495) 123-45-67")
    other = as_json(row_of(stored(replace(REST, planfix={"given": "Anna", "emails": ()}))), names=True)
    assert (other["name"], other["email"]) == ("Anna", "Ann@Acme.test")
    firm = as_json(
        row_of(stored(replace(REST, planfix={"company": "Acme"}, google=None, is_company=True))), names=True
    )
    assert (firm["name"], firm["email"], firm["phone"]) == ("Acme", "", "")
    assert "name" not in as_json(row_of(stored(REST)), names=False)


MOMENTS = {
    "never": (Link(7), None),
    "seen": (REST, 5.0),
    "seen_earlier_with_that_content": (replace(REST, planfix_since=2.0), 2.0),
    "google_later": (replace(REST, google_at=8.0), 8.0),
    "being_written": (replace(REST, pending=PENDING), 90.0),
    "written": (replace(REST, turns=((4.0, "d"), (60.0, "e"))), 60.0),
    "dismissed": (replace(REST, dismissed="x", dismissed_at=7.0), 7.0),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_when_something_last_happened(name: str) -> None:
    link, at = MOMENTS[name]
    assert as_json(row_of(stored(link)), names=True).get("updated_at") == at


# ---- searching

PEOPLE = (
    row_of(stored(REST)),
    row_of(stored(Link(12, planfix={"given": "Jürgen", "family": "STRASSE"}, google={"given": "Yuri"}))),
    row_of(stored(Link(495, planfix={"given": "Ольга", "company": "Ромашка"}))),
    row_of(stored(Link(8123, planfix={"given": "Bo", "phones": (Element("+4930123456", "+49 30 123456"),)}))),
)
FOUND = {
    "": [7, 12, 495, 8123],
    "   ": [7, 12, 495, 8123],
    "ann": [7],
    "lee ANN": [7],
    "van lee": [7],
    "ann bo": [],
    "acme.TEST": [7],
    "home.test": [7],
    "purchasing acme": [7],
    "secret": [],
    "straße": [12],
    "JU\N{COMBINING DIAERESIS}RGEN": [12],
    "yuri": [12],
    "ОЛЬГА ромаш": [495],
    "12": [12, 8123],
    "495": [7, 495],
    "+7 495 123": [7],
    "8(495)123-45-67": [7],
    "84951234567": [7],
    "4930": [8123],
    "+49 30 12": [8123],
    "30 12 34": [8123],
    "bo 30 12": [8123],
    "45": [],
    "456": [7, 8123],
    "()": [],
    "(495) ann": [7],
    "lee\nann": [7],
}


@pytest.mark.parametrize("text", FOUND)
def test_a_search_finds(text: str) -> None:
    assert [row.contact for row in listing.Search(text).of(PEOPLE)] == FOUND[text]


def test_one_word_is_not_found_across_two_values() -> None:
    assert not listing.Search("leeacme").of(PEOPLE)
    assert not listing.Search("4567845").of(PEOPLE)


# ---- pages


def a_row(contact: int, state: str = "in_sync", name: str = "Ann") -> Row:
    return Row(contact, state, "", (), f"people/{contact}", (), name, "", "", 0.0, name.casefold(), "")


ROWS = tuple([a_row(0, "held_back")] * 5 + [a_row(n, "pending" if n % 3 == 0 else "in_sync") for n in range(1, 21)])


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, 24, 25, 1000])
def test_pages_follow_each_other_without_a_gap_or_a_repetition(limit: int) -> None:
    numbers: list[int | None] = []
    after: int | None = 0
    while after is not None:
        answer = page(ROWS, Question("4115", after=after, limit=limit))
        assert len(answer["contacts"]) <= limit
        assert answer["total"] == 25
        numbers += [one["contact"] for one in answer["contacts"]]
        after = answer["next"]
    assert numbers == [None] * 5 + list(range(1, 21))


def test_states_are_counted_over_what_the_search_finds_and_the_total_in_the_state() -> None:
    rows = (*ROWS, a_row(21, "pending", "Bo"))
    answer = page(rows, Question("4115", state="pending", search="ann", after=6, limit=2))
    assert [one["contact"] for one in answer["contacts"]] == [9, 12]
    assert (answer["total"], answer["next"]) == (6, 12)
    assert answer["states"] == {str(state): 0 for state in ContactState} | {
        "held_back": 5,
        "in_sync": 14,
        "pending": 6,
    }


def test_an_after_that_is_no_contact_any_more_goes_on_behind_it() -> None:
    rows = tuple(row for row in ROWS if row.contact != 7)
    assert [one["contact"] for one in page(rows, Question("1", after=7, limit=2))["contacts"]] == [8, 9]
    assert page(rows, Question("1", after=100))["contacts"] == []
    assert page((), Question("1"))["next"] is None


def test_a_page_of_long_names_ends_where_an_answer_ends() -> None:
    rows = tuple(
        replace(a_row(n), reason="\N{CYRILLIC SMALL LETTER A}" * 1000, name="Ж" * 200) for n in range(1, 501)
    )
    first = page(rows, Question("1", names=True))
    assert len(orjson.dumps(first)) < 800_000
    assert 100 < len(first["contacts"]) < 500
    assert first["next"] == first["contacts"][-1]["contact"]


# ---- questions

MALFORMED = {
    "no_object": (None, "JSON object"),
    "a_list": ([], "JSON object"),
    "no_filter": ({}, "filter_id"),
    "a_filter_that_is_a_list": ({"filter_id": ["4115"]}, "filter_id"),
    "an_unknown_state": ({"filter_id": "1", "state": "lost"}, "state"),
    "a_state_that_is_a_number": ({"filter_id": "1", "state": 3}, "state"),
    "a_long_search": ({"filter_id": "1", "search": "x" * 201}, "search"),
    "a_search_that_is_a_list": ({"filter_id": "1", "search": ["x"]}, "search"),
    "after_that_is_a_word": ({"filter_id": "1", "after": "x"}, "after"),
    "after_that_is_no_whole_number": ({"filter_id": "1", "after": 1.5}, "after"),
    "after_that_is_true": ({"filter_id": "1", "after": True}, "after"),
    "a_limit_of_nothing": ({"filter_id": "1", "limit": 0}, "limit"),
    "a_limit_below_nothing": ({"filter_id": "1", "limit": -5}, "limit"),
    "a_limit_that_is_a_word": ({"filter_id": "1", "limit": "many"}, "limit"),
    "names_that_are_a_word": ({"filter_id": "1", "names": "yes"}, "names"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_question_is_told_which_field_is_wrong(name: str) -> None:
    asked, field = MALFORMED[name]
    for told in (question_of(asked), contact_of(asked)):
        assert isinstance(told, str)
        assert field in told


@pytest.mark.parametrize("contact", [None, 0, -1, "x", "", True, 1.5])
def test_a_contact_is_asked_for_by_its_number(contact: object) -> None:
    assert isinstance(contact_of({"filter_id": "1", "contact": contact}), str)


def test_what_is_left_out_or_null_has_its_default() -> None:
    assert question_of({"filter_id": "1", "state": None, "after": None, "limit": None}) == Question("1")
    assert question_of({"filter_id": 1, "state": "held-back", "limit": 5000, "after": "7", "x": 1}) == Question(
        "1", state="held_back", after=7
    )
    assert contact_of({"filter_id": "1", "contact": "7"}) == ("1", 7)


def test_one_contact_shows_both_sides_and_what_is_held_back() -> None:
    google: Contact = {**ANN, "notes": "", "phones": ()}
    shown = listing.whole_contact(stored(replace(REST, google=google, limits={"notes": "Too long."})))
    assert shown["planfix"]["phones"] == [{"value": "8 (495) 123-45-67", "type": "work"}]
    assert shown["planfix"]["notes"] == "secret"
    assert (shown["google"]["phones"], shown["google"]["given"]) == ([], "Ann")
    assert shown["limits"] == {"notes": "Too long."}
    assert (shown["contact"], shown["name"], shown["notes"]) == (7, "Ann van Lee", ["notes: Too long."])
    assert listing.whole_contact(stored(Link(7, planfix=ANN)))["google"] is None
