"""Who gets the free places of a Google account."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.writer.capacity import (
    FULL_AGAIN_S,
    Capacity,
    admitted,
    at_least,
    decode_capacity,
    encode_capacity,
    free_places,
    grown,
    listed,
    refused,
)
from contactsync_contracts.messages import PEOPLE_MAX

LAG_S = 300.0
NOON = 1_000_020.0


def at_noon(total: int) -> Capacity:
    return listed(Capacity(), total, NOON, LAG_S, PEOPLE_MAX)


def test_the_record_reads_back() -> None:
    capacity = refused(grown(at_noon(7), 3, NOON + 70), NOON + 80)
    assert decode_capacity(encode_capacity(capacity)) == capacity


def test_without_a_listing_googles_own_answer_decides() -> None:
    assert free_places(Capacity(), 0, PEOPLE_MAX, NOON) is None
    assert admitted([3, 1], {2: NOON}, None) == {1, 3}


def test_private_people_what_was_created_since_and_what_is_under_way_take_places() -> None:
    capacity = grown(grown(at_noon(20_000), 200, NOON + 70), 100, NOON + 200)
    assert free_places(capacity, 50, PEOPLE_MAX, NOON + 300) == PEOPLE_MAX - 20_000 - 300 - 50
    assert free_places(at_noon(PEOPLE_MAX + 40), 0, PEOPLE_MAX, NOON) == 0


def test_what_a_listing_may_lack_counts_on_top_of_it() -> None:
    capacity = at_noon(100)
    for minute in range(10):
        capacity = grown(capacity, 10, NOON + 60 * minute)
    later = listed(capacity, 200, NOON + 600, LAG_S, PEOPLE_MAX)
    assert capacity.count == 200
    assert 250 <= later.count <= 260  # creates of the last five minutes, in whole minutes
    assert listed(later, 150, NOON + 500, LAG_S, PEOPLE_MAX) == later  # an older one says nothing


def test_a_listing_must_show_those_who_were_there_and_were_created_long_enough_ago() -> None:
    capacity = grown(grown(grown(at_noon(100), 7, NOON - 50), 10, NOON + 60), 20, NOON + 600)
    assert at_least(capacity, NOON + 300, LAG_S) == 100
    assert at_least(capacity, NOON + 480, LAG_S) == 110
    assert at_least(capacity, NOON + 2000, LAG_S) == 130


def test_googles_word_holds_until_a_listing_shows_fewer_people_or_for_some_hours() -> None:
    full = refused(grown(at_noon(15_000), 100, NOON + 60), NOON + 100)
    assert free_places(full, 0, PEOPLE_MAX, NOON + 200) == 0
    assert free_places(listed(full, 15_090, NOON + 3600, LAG_S, PEOPLE_MAX), 0, PEOPLE_MAX, NOON + 3600) == 10
    assert free_places(full, 0, PEOPLE_MAX, NOON + 100 + FULL_AGAIN_S) == PEOPLE_MAX - 15_100
    assert free_places(refused(Capacity(), NOON), 0, PEOPLE_MAX, NOON + 1) == 0


@pytest.mark.parametrize(
    ("asking", "claims", "free", "expected"),
    [
        pytest.param([5, 3, 9], {}, 2, {3, 5}, id="the lowest numbers"),
        pytest.param([5, 3, 9], {}, 0, set(), id="no place"),
        pytest.param([5, 9], {2: NOON}, 2, {5}, id="a lower one that waits keeps its claim"),
        pytest.param([5, 9], {7: NOON}, 2, {5}, id="and so does one in between"),
        pytest.param([5, 9], {20: NOON}, 2, {5, 9}, id="a higher one does not"),
        pytest.param([5, 9], {2: NOON - 100}, 2, {5, 9}, id="a claim that was not renewed has lapsed"),
        pytest.param([5, 9], {5: NOON}, 1, {5}, id="its own claim"),
    ],
)
def test_admission(asking: list[int], claims: dict[int, float], free: int, expected: set[int]) -> None:
    assert admitted(asking, claims, free, NOON - 50) == expected


def test_claims_lapse_when_their_contacts_let_a_listing_with_places_pass() -> None:
    """The contact that was told "full" before the first listing asks again after it, or has left its filter."""
    capacity = at_noon(PEOPLE_MAX)
    told = NOON + 10
    places = listed(capacity, PEOPLE_MAX - 5, NOON + 1000, LAG_S, PEOPLE_MAX)
    assert admitted([9], {1: told}, 1, places.round_at) == set()  # it may still ask
    full = listed(places, PEOPLE_MAX, NOON + 2000, LAG_S, PEOPLE_MAX)
    assert admitted([9], {1: told}, 1, full.round_at) == set()  # nobody was asked to
    again = listed(full, PEOPLE_MAX - 5, NOON + 3000, LAG_S, PEOPLE_MAX)
    assert admitted([9], {1: told}, 1, again.round_at) == {9}


def test_a_listing_of_the_writers_own_starts_no_round() -> None:
    capacity = listed(at_noon(5), 4, NOON + 1000, LAG_S, PEOPLE_MAX, told=False)
    assert (capacity.total, capacity.asked_at) == (4, NOON)


def test_of_25001_contacts_the_same_lowest_24900_get_in_on_each_run() -> None:
    numbers = [7919 * n % 25_013 + 1 for n in range(25_001)]
    first = admitted(numbers, {}, free_places(at_noon(0), 0, PEOPLE_MAX, NOON))
    assert first == set(sorted(numbers)[:PEOPLE_MAX])
    assert admitted(numbers[::-1], {}, PEOPLE_MAX) == first


@given(st.lists(st.integers(1, 60), unique=True), st.integers(0, 40), st.randoms(use_true_random=False))
def test_in_whatever_groups_they_ask_nobody_overtakes_a_lower_number_that_waits(
    numbers: list[int], free: int, random: object
) -> None:
    """After one round in which all were told "full", places become free and all ask again, group by group."""
    groups = [numbers[at : at + 7] for at in range(0, len(numbers), 7)]
    claims = dict.fromkeys(numbers, NOON)
    placed: set[int] = set()
    for group in [*groups, *groups]:
        asking = [number for number in group if number not in placed]
        now = admitted(asking, claims, free - len(placed))
        placed |= now
        claims = {number: at for number, at in claims.items() if number not in now}
    assert placed == set(sorted(numbers)[:free])
    assert all(a < b for a, b in pairwise(sorted(placed)))
