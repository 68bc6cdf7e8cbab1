"""The decision table: each state of a link, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contactsync.reconciler.core.link import Hold, Link, Pending
from contactsync.reconciler.core.merge import Side, WithoutBase
from contactsync.reconciler.core.plan import FilterRules, decide, merge_rules
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Kept

RULES = FilterRules("f1")
ONE_WAY = FilterRules("f1", two_way=False)
PAUSED = FilterRules("f1", active=False)
NOW = 100.0
SAME: Contact = {"notes": "a"}
OTHER: Contact = {"notes": "b"}

LINKED = Link(
    contact=1,
    planfix=SAME,
    google=SAME,
    base_planfix=SAME,
    base_google=SAME,
    resource="people/c1",
    etag="e1",
    raw={},
    labelled=True,
    stamped=True,
    own=Kept.OURS,
    matched=True,
    revision=4,
)
NEW = Link(contact=1, planfix=SAME)
FOUND = replace(NEW, matched=True, resource="people/c1", google=OTHER, raw={}, etag="e1", adopt=True)
UNDER_WAY = Pending(Side.GOOGLE, "update", "f1.1.4", 4, SAME, SAME, OTHER, 50.0)
REFUSED = Hold("quarantined", "No.")

TABLE: list[tuple[str, Link, FilterRules, str]] = [
    ("new", NEW, RULES, "ask match"),
    ("no_candidate", replace(NEW, matched=True), RULES, "google ensure"),
    ("candidate_found", replace(NEW, matched=True, resource="people/c1"), RULES, "ask person"),
    ("candidate_read", FOUND, RULES, "google adopt"),
    ("in_sync", LINKED, RULES, "nothing"),
    ("planfix_changed", replace(LINKED, planfix=OTHER), RULES, "google update"),
    ("google_changed", replace(LINKED, google=OTHER), RULES, "planfix update"),
    ("google_changed_one_way", replace(LINKED, google=OTHER), ONE_WAY, "google update"),
    ("google_changed_read_only", replace(LINKED, google=OTHER, read_only=True), RULES, "google update"),
    ("not_labelled_yet", replace(LINKED, labelled=False), RULES, "google update"),
    ("stamp_missing", replace(LINKED, stamped=False, own=Kept.ADOPTED), RULES, "google adopt"),
    ("write_under_way", replace(LINKED, planfix=OTHER, pending=UNDER_WAY), RULES, "nothing"),
    ("look_under_way", replace(LINKED, planfix=OTHER, asked="label"), RULES, "nothing"),
    ("held_back", replace(LINKED, planfix=OTHER, hold=REFUSED), RULES, "nothing"),
    ("dismissed", replace(LINKED, planfix=OTHER, dismissed="Deleted."), RULES, "nothing"),
    ("dismissed_and_left", replace(LINKED, member=False, dismissed="Deleted."), RULES, "nothing"),
    ("merged", replace(LINKED, member=False, merged_into=2), RULES, "nothing"),
    ("another_filter_merges", replace(LINKED, planfix=OTHER, merges=False), RULES, "nothing"),
    ("another_filter_merges_no_label", replace(LINKED, merges=False, labelled=False), RULES, "google update"),
    ("left", replace(LINKED, member=False), RULES, "google remove"),
    ("left_and_planfix_changed", replace(LINKED, member=False, planfix=OTHER), RULES, "google remove"),
    ("left_with_an_edit", replace(LINKED, member=False, google=OTHER), RULES, "planfix update"),
    ("left_with_an_edit_one_way", replace(LINKED, member=False, google=OTHER), ONE_WAY, "google remove"),
    ("left_edit_written", replace(LINKED, member=False, google=OTHER, leaving=True), RULES, "google remove"),
    ("left_while_held", replace(LINKED, member=False, hold=REFUSED), RULES, "google remove"),
    ("removal_refused", replace(LINKED, member=False, leaving=True, hold=REFUSED), RULES, "nothing"),
    ("left_before_anything_was_written", replace(NEW, member=False), RULES, "forgotten"),
    ("left_before_adoption", replace(FOUND, member=False), RULES, "forgotten"),
    ("kept_by_hand", replace(LINKED, member=False, kept="By hand.", planfix=OTHER), RULES, "google update"),
    ("paused", replace(LINKED, planfix=OTHER), PAUSED, "due"),
    ("left_while_paused", replace(LINKED, member=False), PAUSED, "due"),
    ("resumed", replace(LINKED, planfix=OTHER, due=True), RULES, "google update"),
    ("resumed_without_a_change", replace(LINKED, due=True), RULES, "nothing"),
]


@pytest.mark.parametrize(("link", "rules", "expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_what_is_done(link: Link, rules: FilterRules, expected: str) -> None:
    after = decide(link, rules, NOW).link
    if expected == "forgotten":
        assert after is None
        return
    assert after is not None
    if expected == "due":
        assert after == replace(link, due=True)
    elif expected == "nothing":
        assert after == replace(link, due=False)
    elif expected.startswith("ask "):
        assert (after.asked, after.asked_at, after.pending) == (expected[4:], NOW, None)
    else:
        assert after.pending is not None
        assert f"{after.pending.side.value} {after.pending.op}" == expected
        assert after.revision == after.pending.revision == link.revision + 1
        assert after.pending.mutation_id == f"f1.1.{link.revision + 1}"
        assert after.pending.etag == link.etag


@pytest.mark.parametrize(("link", "rules", "_expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_deciding_again_adds_nothing(link: Link, rules: FilterRules, _expected: str) -> None:
    after = decide(link, rules, NOW).link
    if after is not None:
        assert decide(after, rules, NOW + 1).link == after


TIMES = [
    (
        "google_edited_after_planfix_was_seen",
        "newest",
        {"planfix_at": 10, "google_prev": 10, "google_at": 20},
        Side.GOOGLE,
    ),
    ("planfix_edited_later", "newest", {"planfix_at": 20, "google_prev": 5, "google_at": 10}, Side.PLANFIX),
    ("intervals_overlap", "newest", {"planfix_at": 15, "google_prev": 10, "google_at": 20}, Side.PLANFIX),
    ("google_always", "google", {"planfix_at": 20, "google_prev": 5, "google_at": 10}, Side.GOOGLE),
    ("planfix_always", "planfix", {"planfix_at": 10, "google_prev": 10, "google_at": 20}, Side.PLANFIX),
]


@pytest.mark.parametrize(("policy", "times", "winner"), [t[1:] for t in TIMES], ids=[t[0] for t in TIMES])
def test_who_wins_a_conflict(policy: str, times: dict[str, Any], winner: Side) -> None:
    rules = replace(RULES, conflict=policy)
    assert merge_rules(replace(LINKED, **times), rules).conflict_winner is winner


def test_rules_of_a_link() -> None:
    assert merge_rules(replace(LINKED, adopt=True), RULES).without_base is WithoutBase.ADOPT
    assert not merge_rules(replace(LINKED, read_only=True), RULES).two_way
