"""How many people go into one request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.writer.batching import BATCH_MAX, BatchRules, chunks, grouped, halves, waits_until

RULES = BatchRules()


@pytest.mark.parametrize(
    ("count", "partial", "sizes"),
    [
        (0, True, []),
        (5, True, [1] * 5),
        (6, True, [6]),
        (6, False, [1] * 6),
        (200, False, [200]),
        (203, True, [200, 1, 1, 1]),
        (420, True, [200, 200, 20]),
        (420, False, [200, 200, *[1] * 20]),
    ],
)
def test_a_batch_is_full_or_worth_it(count: int, partial: bool, sizes: list[int]) -> None:
    assert [len(chunk) for chunk in chunks(range(count), RULES, partial=partial)] == sizes


@given(st.integers(0, 1000), st.booleans())
def test_everything_is_sent_once_and_in_order(count: int, partial: bool) -> None:
    sent = [item for chunk in chunks(range(count), RULES, partial=partial) for item in chunk]
    assert sent == list(range(count))


def test_a_partial_batch_needs_a_day_that_lasts() -> None:
    assert RULES.partial_allowed(None)
    assert RULES.partial_allowed(RULES.day_reserve + BATCH_MAX)
    assert not RULES.partial_allowed(RULES.day_reserve + BATCH_MAX - 1)


def test_people_with_different_masks_never_share_a_batch() -> None:
    assert grouped([(("names",), 1), (("urls",), 2), (("names",), 3)]) == {("names",): [1, 3], ("urls",): [2]}


@given(st.lists(st.integers(), min_size=2))
def test_halving_loses_nobody_and_ends(items: list[int]) -> None:
    left, right = halves(items)
    assert [*left, *right] == items
    assert 0 < len(right) <= len(left) < len(items)


def test_a_rest_waits_for_the_newest_but_not_for_ever() -> None:
    assert waits_until(100.0, 100.0, RULES) == 100.0 + RULES.fill_idle_s
    assert waits_until(100.0, 1000.0, RULES) == 100.0 + RULES.fill_max_s
