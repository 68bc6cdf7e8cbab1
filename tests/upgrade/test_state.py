"""What the former release stored is read as it was meant, and what a later one adds is no obstacle.

`golden/` holds examples of each kind of record of each release (`record.py` made them).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from contactsync.gateway.visits import Visit
from contactsync.google_watcher import cursor
from contactsync.planfix_watcher.known import view_of
from contactsync.reconciler.core import decided, link
from contactsync.reconciler.core import filter as filters
from contactsync.records import known_to
from contactsync.runtime import pacing
from contactsync.writer import capacity, census, identity, intent, labels, planfix_creates
from contactsync_contracts.messages import LookPlanfix, Mutate

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))
Read = Callable[[Any], Any]


def of_bytes(decode: Callable[[bytes], Any]) -> Read:
    return lambda stored: decode(orjson.dumps(stored))


def of_class(cls: type) -> Read:
    return lambda stored: cls(**known_to(cls, stored))


def only(*names: str) -> Read:
    """Read by these names, wherever it is read."""
    return lambda stored: [stored.get(name) for name in names]


READERS: dict[str, Read] = {
    "history.*.*.*": only("at", "side", "operation", "before", "after", "run", "cause", "back"),
    "quota.google.*": pacing.to_book,
    "quota.planfix": pacing.to_pace,
    "state.account.*.capacity": of_bytes(capacity.decode_capacity),
    "state.account.*.census": of_bytes(census.decode_census),
    "state.account.*.cursor": of_bytes(cursor.decode),
    "state.account.*.grant": only("account", "email", "refresh_token", "dead"),
    "state.account.*.held.*.*": Mutate.model_validate,
    "state.account.*.intent": of_bytes(lambda data: intent.decode_intent(data, lambda contact: "")),
    "state.account.*.label.*": of_bytes(labels.decode_label),
    "state.account.*.person.*": of_bytes(identity.decode),
    "state.filter.*": lambda stored: (filters.filter_from_json(stored), view_of(orjson.dumps(stored))),
    "state.filter.*.arrival.*": link.arrival_from_json,
    "state.filter.*.decided.*": decided.decided_from_json,
    "state.filter.*.link.*": link.link_from_json,
    "state.filter.*.request.*": only("at", "refused"),
    "state.planfix.cursor": only("since", "listed"),
    "state.planfix.done.*": of_class(planfix_creates.CreateDone),
    "state.planfix.gone.*": only("since"),
    "state.planfix.intent.*": of_class(planfix_creates.CreateIntent),
    "state.planfix.look.*": lambda stored: LookPlanfix.model_validate(stored["look"]),
    "state.planfix.made.*": int,
    "state.planfix.rev.*.*": only("rev", "outcome"),
    "state.visit.*": of_class(Visit),
}
WRITERS: dict[str, Callable[[Any], Any]] = {
    "state.account.*.capacity": lambda one: orjson.loads(capacity.encode_capacity(one)),
    "state.account.*.census": lambda one: orjson.loads(census.encode_census(one)),
    "state.account.*.intent": lambda one: orjson.loads(intent.encode_intent(one) or b"{}"),
    "state.account.*.label.*": lambda one: orjson.loads(labels.encode_label(one)),
    "state.account.*.person.*": lambda one: orjson.loads(identity.encode(one)),
    "state.filter.*": lambda one: orjson.loads(orjson.dumps(filters.filter_to_json(one[0]))),
    "state.filter.*.arrival.*": lambda one: orjson.loads(orjson.dumps(link.arrival_to_json(one))),
    "state.filter.*.decided.*": lambda one: orjson.loads(orjson.dumps(decided.decided_to_json(one))),
    "state.filter.*.link.*": lambda one: orjson.loads(orjson.dumps(link.link_to_json(one))),
}
"""Where what is written from what was read must hold all of it again."""

OF_A_STEP = {"passed"}
"""Stored with the rest, and read as what the rest says."""


def examples() -> list[Any]:
    return [
        pytest.param(kind, stored, id=f"{path.stem} {kind} {number}")
        for path in GOLDEN
        for kind, records in orjson.loads(path.read_bytes()).items()
        for number, stored in enumerate(records)
    ]


def lacking(new: Any, old: Any, path: str = "") -> list[str]:
    """What `old` holds and `new` does not."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = old.keys() - OF_A_STEP
        return [one for name in sorted(names) for one in lacking(new.get(name), old[name], f"{path}.{name}")]
    return [] if new == old or (not old and not new) else [f"{path}: {old!r} became {new!r}"]


def with_news(stored: Any) -> Any:
    """With a field of a later release in the record, and in the records within it."""
    news: dict[str, Any] = {"of_a_later_release": {"x": [1]}}
    for name in ("run", "leaving", "undo"):
        if isinstance(stored.get(name), dict):
            news[name] = stored[name] | news
    if "plans" in stored:
        news["plans"] = [plan | news for plan in stored["plans"]]
    if "wanted" in stored:
        news["wanted"] = {name: want | news for name, want in stored["wanted"].items()}
    return stored | news


@pytest.mark.parametrize(("kind", "stored"), examples())
def test_what_an_earlier_release_stored_is_read_and_kept(kind: str, stored: Any) -> None:
    read = READERS[kind](stored)
    assert read is not None
    if kind in WRITERS:
        assert lacking(WRITERS[kind](read), stored) == []


@pytest.mark.parametrize(("kind", "stored"), examples())
def test_what_a_later_release_adds_is_passed_over(kind: str, stored: Any) -> None:
    if isinstance(stored, dict) and kind != "state.account.*.intent":
        assert READERS[kind](with_news(stored)) == READERS[kind](stored)


def test_every_kind_of_record_has_examples() -> None:
    newest = orjson.loads(GOLDEN[-1].read_bytes())
    assert READERS.keys() - newest.keys() <= {"state.visit.*"}
