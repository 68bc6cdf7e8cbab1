"""The breakers' figures: how much is allowed, what a sliding day counts, when a plan is sealed, what a hash is of."""

from __future__ import annotations

import pytest

from contactsync.reconciler.core.breaker import (
    DAY_S,
    SLOT_S,
    Kind,
    Plan,
    allowed,
    digest_of,
    may_seal,
    plan_from_json,
    plan_hash,
    plan_to_json,
    spend,
    spent_today,
    would,
)
from contactsync.reconciler.core.policy import Limits
from contactsync_contracts.messages import Breakers, Limit

ALLOWED: list[tuple[str, Kind, int, int]] = [
    ("few_links_remove", "remove", 20, 10),
    ("many_links_remove", "remove", 250, 25),
    ("exactly_at_the_crossing_remove", "remove", 100, 10),
    ("few_links_update", "update", 50, 100),
    ("many_links_update", "update", 1000, 300),
    ("few_links_create", "create", 10, 100),
    ("many_links_create", "create", 1000, 500),
    ("an_empty_list_is_never_believed", "empty", 1000, 0),
    ("a_first_sync_that_waits", "first", 1000, 0),
    ("creates_after_a_loss", "again", 1000, 0),
]


@pytest.mark.parametrize(("kind", "links", "most"), [t[1:] for t in ALLOWED], ids=[t[0] for t in ALLOWED])
def test_how_many_need_no_approval(kind: Kind, links: int, most: int) -> None:
    assert allowed(kind, Limits(), links) == most


def test_a_filters_own_numbers_stand_over_the_installations() -> None:
    own = Breakers(remove=Limit(least=1, percent=0))
    limits = Limits().with_own(own)
    assert allowed("remove", limits, 1000) == 1
    assert allowed("update", limits, 1000) == 300


def test_a_day_slides() -> None:
    spent = spend({}, "remove", 4, 1000.0)
    spent = spend(spent, "remove", 3, 1000.0 + DAY_S / 2)
    assert spent_today(spent, "remove", 1000.0 + DAY_S / 2) == 7
    assert spent_today(spent, "remove", 1000.0 + DAY_S - 1) == 7
    assert spent_today(spent, "remove", 1000.0 + DAY_S + SLOT_S) == 3
    assert spent_today(spent, "remove", 1000.0 + 2 * DAY_S) == 0
    assert spent_today(spent, "update", 1000.0) == 0


def test_a_slot_counts_until_a_whole_day_after_its_end_and_no_longer() -> None:
    spent = spend({}, "remove", 4, 1.0)
    assert spent_today(spent, "remove", SLOT_S + DAY_S - 0.5) == 4
    assert spent_today(spent, "remove", SLOT_S + DAY_S) == 0
    assert len(spend(spent, "remove", 1, SLOT_S + DAY_S - 0.5)["remove"]) == 2
    assert len(spend(spent, "remove", 1, SLOT_S + DAY_S)["remove"]) == 1


def test_no_window_of_a_day_ever_counts_less_than_happened_in_it() -> None:
    spent: dict[str, list[list[float]]] = {}
    times = [float(at) for at in range(0, 200_000, 777)]
    for place, at in enumerate(times):
        spent = spend(spent, "update", 1, at)
        within = sum(1 for earlier in times[: place + 1] if earlier > at - DAY_S)
        assert spent_today(spent, "update", at) >= within


def test_what_is_older_than_a_day_is_not_kept() -> None:
    spent = spend({}, "remove", 4, 0.0)
    assert spend(spent, "remove", 1, 3 * DAY_S)["remove"] == [[3 * DAY_S + SLOT_S, 1]]


def test_one_slot_holds_what_happens_within_it() -> None:
    spent = spend(spend({}, "remove", 4, 1.0), "remove", 2, 2.0)
    assert spent["remove"] == [[SLOT_S, 6]]


def test_the_same_wish_has_the_same_digest_and_another_wish_another() -> None:
    wish = digest_of("google", "update", {"notes": "a", "given": "Ann"})
    assert wish == digest_of("google", "update", {"given": "Ann", "notes": "a"})
    assert wish != digest_of("google", "update", {"given": "Ann", "notes": "b"})
    assert wish != digest_of("planfix", "update", {"given": "Ann", "notes": "a"})
    assert digest_of("google", "remove", {}) == "remove"


def test_a_plans_hash_stays_the_same_over_releases() -> None:
    """It may have been sent to somebody who approves it later."""
    assert plan_hash([("2", "b"), ("1", "a")]) == "23197cda2ad266a5"


def test_a_plans_hash_is_of_exactly_its_actions() -> None:
    both = [("1", "remove"), ("2", "remove")]
    assert plan_hash(both) == plan_hash(reversed(both))
    assert plan_hash(both) != plan_hash(both[:1])
    assert plan_hash(both) != plan_hash([("1", "remove"), ("2", "other")])


SEALING: list[tuple[str, Plan, float, bool, bool]] = [
    ("just_touched", Plan(1, "remove", 0.0, 100.0), 104.0, False, False),
    ("quiet", Plan(1, "remove", 0.0, 100.0), 105.0, False, True),
    ("quiet_but_more_may_come", Plan(1, "remove", 0.0, 100.0), 200.0, True, False),
    ("the_wave_does_not_end", Plan(1, "remove", 0.0, 899.0), 900.0, True, True),
    ("a_wave_of_a_moment_ago_at_a_late_hour", Plan(1, "remove", 5000.0, 5010.0), 5020.0, True, False),
    ("a_first_sync_is_sealed_at_its_end_only", Plan(1, "first", 0.0, 100.0), 9000.0, True, False),
    ("a_first_sync_ended", Plan(1, "first", 0.0, 100.0), 9000.0, False, True),
    ("sealed", Plan(1, "remove", 0.0, 100.0, hash="h"), 200.0, False, False),
]


@pytest.mark.parametrize(("plan", "now", "more", "sealed"), [t[1:] for t in SEALING], ids=[t[0] for t in SEALING])
def test_when_a_plan_is_sealed(plan: Plan, now: float, more: bool, sealed: bool) -> None:
    assert may_seal(plan, now, more_may_come=more) is sealed


def test_a_plan_is_read_as_it_was_stored_whatever_a_later_release_adds() -> None:
    plan = Plan(3, "empty", 1.0, 2.0, hash="h", actions=4, at=1.0, approved=True)
    assert plan_from_json(plan_to_json(plan) | {"later": 1}) == plan


def test_a_plan_says_what_it_would_do() -> None:
    assert would(Plan(1, "remove", 0, 0, actions=1)) == "1 contact would be removed from Google."
    assert would(Plan(1, "remove", 0, 0, actions=12)) == "12 contacts would be removed from Google."
