"""Which label a filter gets."""

from __future__ import annotations

import pytest

from contactsync.google.port import Label
from contactsync.writer.labels import Adopt, Choice, Create, Reuse, choose, free_name


def label(name: str, resource: str = "g1", members: int = 0, stamp: str | None = None) -> Label:
    return Label(resource, name, "e", members, stamp)


MINE = label("Renamed by me", stamp="1", members=9)
EMPTY = label("Clients")
FULL = label("Clients", members=3)
OTHERS = label("Clients", stamp="2")


@pytest.mark.parametrize(
    ("labels", "choice"),
    [
        ([], Create("Clients")),
        ([MINE], Reuse(MINE)),
        ([EMPTY], Adopt(EMPTY)),
        ([FULL], Create("Clients (Planfix)")),
        ([OTHERS], Create("Clients (Planfix)")),
        ([FULL, label("clients (planfix)", "g2", 1)], Create("Clients (Planfix 2)")),
        ([FULL, MINE], Reuse(MINE)),
    ],
    ids=["free", "ours, renamed", "empty", "in use", "of another filter", "suffix taken too", "ours before a name"],
)
def test_a_label_is_reused_adopted_or_made(labels: list[Label], choice: Choice) -> None:
    assert choose(labels, "1", "Clients", "") == choice


def test_a_name_that_google_refuses_unseen_is_passed_over() -> None:
    assert choose([], "1", "Clients", "", frozenset({"clients"})) == Create("Clients (Planfix)")


def test_the_label_we_had_is_ours_even_without_its_stamp() -> None:
    bare = label("Anything", "g7", 4)
    assert choose([bare], "1", "Clients", "g7") == Reuse(bare)


def test_a_rename_takes_a_free_name_and_may_keep_its_own() -> None:
    own = label("Old", "g1")
    taken = label("New", "g2", 3)
    assert free_name([own, taken], "New", "g1") == "New (Planfix)"
    assert free_name([own], "New", "g1") == "New"
