"""What the quotas let through: never more than the limit in any window, and all of it where nobody else asks."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.runtime import pacing
from contactsync.runtime.pacing import Book, Pace, Window, reserve
from contactsync_contracts.messages import Class

LIMITS = {"critical_read": 60, "critical_write": 30, "write": 30, "group_read": 90, "daily": 100_000}
steps = st.lists(
    st.tuples(st.floats(-5, 40), st.sampled_from(sorted(pacing.GOOGLE_COSTS)), st.sampled_from(list(Class))),
    max_size=120,
)


def most_in_a_minute(sent: list[tuple[float, int]]) -> int:
    return max((sum(c for at, c in sent if begin <= at < begin + 60) for begin, _ in sent), default=0)


@given(steps)
def test_no_minute_ever_holds_more_than_a_limit(asked: list[tuple[float, str, Class]]) -> None:
    book, now = Book(), 1_000.0
    sent: dict[str, list[tuple[float, int]]] = {}
    for pause_s, operation, cls in asked:
        now += pause_s / 10
        book, wait_s, _ = pacing.reserve_all(book, now, pacing.GOOGLE_COSTS[operation], LIMITS, cls)
        if wait_s == 0:
            for metric, cost in pacing.GOOGLE_COSTS[operation].items():
                sent.setdefault(metric, []).append((max(now, book.seen), cost))
    for metric in ("critical_read", "critical_write", "write", "group_read"):
        assert most_in_a_minute(sent.get(metric, [])) <= LIMITS[metric]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 7)), max_size=150), st.integers(1, 20))
def test_waiting_as_told_is_enough_and_no_minute_overflows(asked: list[tuple[float, int]], limit: int) -> None:
    window, now = Window(), 0.0
    sent: list[tuple[float, int]] = []
    for pause_s, wanted in asked:
        cost = min(wanted, limit)
        now += pause_s
        window, wait_s = reserve(window, now, cost, limit)
        if wait_s:
            now += wait_s
            window, again_s = reserve(window, now, cost, limit)
            assert again_s <= 1e-6
            window = window if again_s == 0 else reserve(window, now + 1e-6, cost, limit)[0]
        sent.append((now, cost))
    assert most_in_a_minute(sent) <= limit


def test_one_class_alone_gets_all_of_a_window() -> None:
    book = Book()
    granted = 0
    for second in range(60):
        book, wait_s, _ = pacing.reserve_all(book, float(second), {"critical_read": 1}, LIMITS, Class.BACKGROUND)
        granted += wait_s == 0
    assert granted == 60


def test_background_leaves_room_while_people_ask() -> None:
    book, _, _ = pacing.reserve_all(Book(), 0.0, {"critical_read": 1}, LIMITS, Class.HUMAN)
    results = []
    for _ in range(70):
        book, wait_s, _ = pacing.reserve_all(book, 1.0, {"critical_read": 1}, LIMITS, Class.BACKGROUND)
        results.append(wait_s == 0)
    assert sum(results) == 47  # of 48, one is the human's
    book, wait_s, _ = pacing.reserve_all(book, 1.0, {"critical_read": 1}, LIMITS, Class.HUMAN)
    assert wait_s == 0


def test_all_metrics_of_a_call_are_taken_or_none() -> None:
    limits = {**LIMITS, "critical_write": 6}
    book, wait_s, _ = pacing.reserve_all(Book(), 10.0, pacing.GOOGLE_COSTS["create_people"], limits, Class.CHANGE)
    assert wait_s == 0
    after, wait_s, metric = pacing.reserve_all(book, 11.0, pacing.GOOGLE_COSTS["create_people"], limits, Class.CHANGE)
    assert (wait_s, metric) == (pacing.MINUTE_S - 1, "critical_write")
    assert after == book


def test_a_request_counts_from_the_last_moment_at_which_it_may_leave() -> None:
    limits = {"critical_read": 1}
    book, _, _ = pacing.reserve_all(Book(), 10.0, {"critical_read": 1}, limits, Class.CHANGE, leave_s=8.0)
    _, wait_s, _ = pacing.reserve_all(book, 11.0, {"critical_read": 1}, limits, Class.CHANGE)
    assert wait_s == 10.0 + 8.0 + pacing.MINUTE_S - 11.0


def test_a_request_to_planfix_in_flight_holds_up_the_next_until_it_has_arrived_for_sure() -> None:
    pace, wait_s = pacing.start(Pace(), 10.0, 1.05, 0, Class.CHANGE, "a")
    assert wait_s == 0
    _, wait_s = pacing.start(pace, 12.0, 1.05, 0, Class.HUMAN, "b")
    assert wait_s == pytest.approx(10.0 + pacing.FLIGHT_S + 1.05 - 12.0)
    assert pacing.ended(pace, 12.0, "another") == pace
    landed = pacing.ended(pace, 12.0, "a")
    assert not pacing.in_flight(landed, 12.0)
    _, wait_s = pacing.start(landed, 12.5, 1.05, 0, Class.CHANGE, "b")
    assert wait_s == pytest.approx(0.55)


def test_a_record_that_cannot_be_read_counts_as_used_up_for_a_minute() -> None:
    full = pacing.full_book(100.0, {**LIMITS, "daily": 1000})
    left = pacing.remaining(full, 101.0, LIMITS)
    assert {metric for metric, number in left.items() if number} == {"daily"}
    _, wait_s, _ = pacing.reserve_all(full, 101.0, {"critical_read": 1}, LIMITS, Class.HUMAN)
    assert wait_s == pytest.approx(pacing.MINUTE_S - 1)
    _, wait_s = pacing.start(pacing.full_pace(100.0), 101.0, 1.05, 0, Class.HUMAN, "a")
    assert wait_s > 5


def test_a_clock_that_runs_backwards_frees_nothing() -> None:
    book = Book()
    for _ in range(60):
        book, _, _ = pacing.reserve_all(book, 1000.0, {"critical_read": 1}, LIMITS, Class.CHANGE)
    _, wait_s, _ = pacing.reserve_all(book, 100.0, {"critical_read": 1}, LIMITS, Class.CHANGE)
    assert wait_s > 60


def test_no_limit_leaves_no_trace() -> None:
    book, wait_s, _ = pacing.reserve_all(Book(), 1.0, {"critical_read": 1}, {"critical_read": 0}, Class.BACKGROUND)
    assert (book, wait_s) == (Book(), 0.0)


def test_a_429_closes_its_bucket_alone() -> None:
    book = pacing.close(Book(), 100.0, ("critical_read",), 61.0)
    _, wait_s, metric = pacing.reserve_all(book, 101.0, {"critical_read": 1}, LIMITS, Class.HUMAN)
    assert (wait_s, metric) == (60.0, "critical_read")
    assert pacing.reserve_all(book, 101.0, {"group_read": 1}, LIMITS, Class.HUMAN)[1] == 0
    assert pacing.remaining(book, 101.0, LIMITS)["critical_read"] == 0


def test_googles_own_limit_pauses_mutations_longer_each_time() -> None:
    book, pauses, now = Book(), [], 0.0
    for _ in range(9):
        book, pause_s = pacing.back_off(book, now)
        assert pacing.back_off(book, now + 1)[1] == pause_s - 1, "one episode reported twice"
        assert pacing.reserve_all(book, now + 1, pacing.GOOGLE_COSTS["delete_person"], LIMITS, Class.HUMAN)[1] > 0
        assert pacing.reserve_all(book, now + 1, pacing.GOOGLE_COSTS["list_people"], LIMITS, Class.HUMAN)[1] == 0
        pauses.append(pause_s)
        now += pause_s + 1
    assert pauses == [300, 600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
    assert pacing.back_off(book, now + 7 * 3600)[1] == 300


def test_a_day_is_counted_in_few_entries_and_never_too_little() -> None:
    book, now, granted = Book(), 0.0, 0
    limits = {"daily": 1000}
    while now < 86_400:
        book, wait_s, _ = pacing.reserve_all(book, now, {"daily": 10}, limits, Class.BACKGROUND)
        granted += 0 if wait_s else 10
        now += 300
    assert granted == 1000
    assert len(book.windows["daily"].log) <= 97


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from(list(Class))), max_size=60))
def test_planfix_starts_are_never_closer_than_the_spacing(asked: list[tuple[float, Class]]) -> None:
    pace, now, starts = Pace(), 500.0, []
    for pause_s, cls in asked:
        now += pause_s
        pace, wait_s = pacing.start(pace, now, pacing.spacing(1.0), 20_000, cls)
        if wait_s == 0:
            starts.append(now)
    assert all(later - sooner >= 1.0 for sooner, later in itertools.pairwise(starts))


def test_planfix_background_slows_down_when_the_day_runs_out() -> None:
    pace = pacing.told(Pace(), 0.0, 1000)
    pace, _ = pacing.start(pace, 1.0, 1.0, 20_000, Class.BACKGROUND)
    assert pacing.start(pace, 2.5, 1.0, 20_000, Class.BACKGROUND)[1] > 5
    assert pacing.start(pace, 2.5, 1.0, 20_000, Class.CHANGE)[1] == 0


def test_a_day_of_planfix_is_never_exceeded() -> None:
    pace, now, granted = Pace(), 0.0, 0
    for _ in range(300):
        pace, wait_s = pacing.start(pace, now, 0.0, 100, Class.HUMAN)
        granted += wait_s == 0
        now += 10
    assert granted == 100


@given(steps)
def test_records_survive_json(asked: list[tuple[float, str, Class]]) -> None:
    book, pace, now = Book(), Pace(), 1_000.0
    for pause_s, operation, cls in asked[:20]:
        now += pause_s
        book, _, _ = pacing.reserve_all(book, now, pacing.GOOGLE_COSTS[operation], LIMITS, cls)
        pace, _ = pacing.start(pace, now, 1.0, 100, cls)
    assert pacing.to_book(json.loads(json.dumps(pacing.book_json(book)))) == book
    assert pacing.to_pace(json.loads(json.dumps(pacing.pace_json(pace)))) == pace
