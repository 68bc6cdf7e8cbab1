"""Missing keys of Planfix's answers: empty where nothing empty is ever shown, else hidden."""

from __future__ import annotations

from typing import Any

from contactsync.planfix.shown import Shown


def texts(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": number, "name": "A", **fields} for number in range(1, count + 1)]


def test_what_a_server_without_empty_values_leaves_out_is_empty() -> None:
    (row,) = Shown().completed([{"id": 1, "name": "A", "email": "a@x.org"}])
    assert row["description"] is None
    assert row["phones"] is None
    assert row["additionalEmailAddresses"] is None
    assert row["email"] == "a@x.org"


def test_where_empty_texts_are_shown_a_missing_text_is_hidden() -> None:
    shown = Shown()
    (row,) = shown.completed([{"id": 1, "name": "A", "skype": ""}])
    assert "description" not in row
    (later,) = shown.completed([{"id": 2, "name": "B"}])
    assert "skype" not in later
    assert later["additionalEmailAddresses"] is None


def test_addresses_that_were_shown_empty_and_are_missing_now_are_hidden() -> None:
    shown = Shown()
    shown.completed([{"id": 1, "additionalEmailAddresses": []}])
    assert "additionalEmailAddresses" not in shown.completed([{"id": 1, "email": "a@x.org"}])[0]


def test_a_field_that_vanishes_from_a_whole_page_is_hidden_until_it_is_seen_again() -> None:
    shown = Shown()
    shown.completed(texts(20, description="note"))
    assert all("description" not in row for row in shown.completed(texts(20)))
    assert "description" not in shown.completed(texts(1))[0]
    shown.completed(texts(1, description="again"))
    assert shown.completed(texts(1))[0]["description"] is None


def test_a_name_is_never_taken_for_empty() -> None:
    assert "name" not in Shown().completed([{"id": 1}])[0]
