"""The decision table: each state of a link, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.link import Hold, Link, Pending, Undoing
from contactsync.reconciler.core.merge import Side, WithoutBase
from contactsync.reconciler.core.plan import FilterRules, decide, merge_rules
from contactsync.reconciler.core.slots import Turn
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Kept

RULES = FilterRules("f1")
ONE_WAY = FilterRules("f1", two_way=False)
GOOGLE_WINS = FilterRules("f1", conflict="google")
PLANFIX_WINS = FilterRules("f1", conflict="planfix")
MATCHING = FilterRules("f1", first_matching=True)
SWITCHED = FilterRules("f1", two_way_since=60.0)
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
    planfix_at=20.0,
    google_at=20.0,
    google_prev=10.0,
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
DOUBLE = Hold("possible_duplicate", "More than one.", ("people/c1", "people/c2"))
REASON = {"notes": "Planfix does not take it."}


def phones(text: str) -> tuple[Element, ...]:
    return tuple(Element(f"+{number}", f"+{number}", "mobile") for number in text.split())


WHOLE: Contact = {"notes": "a", "given": "Ann"}
P_MOVED: Contact = {"notes": "b", "given": "Ann"}
G_MOVED: Contact = {"notes": "a", "given": "Anna"}
G_BOTH: Contact = {"notes": "c", "given": "Anna"}
RELEASED = replace(LINKED, released=True)
LEAVING = replace(LINKED, member=False, leaving=True)
ALL: Contact = {"notes": "a", "phones": phones("1"), "given": "Ann"}
WITH_ALL: dict[str, Any] = {"planfix": ALL, "base_planfix": ALL, "base_google": ALL}
BOTH = replace(LINKED, planfix=WHOLE, google=WHOLE, base_planfix=WHOLE, base_google=WHOLE)
P_PHONES: Contact = {"phones": phones("1 2 3")}
G_PHONES: Contact = {"phones": phones("1 2 4")}
NEWLY: Contact = {"notes": "a", "custom:7": "gold"}
NEWLY_EMPTY: Contact = {"notes": "a", "custom:7": ""}

NUMBERS: Contact = {"phones": phones("1 2")}
WITH_PHONES = replace(LINKED, planfix=NUMBERS, google=NUMBERS, base_planfix=NUMBERS, base_google=NUMBERS)
THIRD: Contact = {"notes": "c"}
EMPTY: Contact = {"notes": ""}
UNKNOWN: Contact = {}
UNMERGED = replace(LINKED, base_planfix=None, base_google=None)
CARRIED = replace(LINKED, planfix=OTHER, google=OTHER, base_planfix=OTHER, base_google=OTHER)
UNDO = Undoing("undo", "r1", {"notes": Turn("a", "b")}, {"notes": Turn("a", "b")}, unlink="Undone.")
LATER = {"google_prev": 20.0, "google_at": 30.0}
"""Google was seen without its edit after Planfix had been seen with its own."""

TABLE: list[tuple[str, Link, FilterRules, str]] = [
    # 2.2: who belongs together
    ("new", NEW, RULES, "ask match"),
    ("no_candidate", replace(NEW, matched=True), RULES, "google ensure"),
    ("candidate_found", replace(NEW, matched=True, resource="people/c1"), RULES, "ask person"),
    ("candidate_known_without_its_raw_json", replace(FOUND, raw=None), RULES, "ask person"),
    ("candidate_read", FOUND, RULES, "google adopt"),
    ("candidate_read_one_way", FOUND, ONE_WAY, "google adopt"),
    ("candidate_found_by_stamp", replace(LINKED, labelled=False), RULES, "google update"),
    ("stamped_before_a_loss_of_state", UNMERGED, RULES, "agreed"),
    ("stamp_missing", replace(LINKED, stamped=False, own=Kept.ADOPTED), RULES, "google adopt"),
    ("stamp_missing_on_ours", replace(LINKED, stamped=False), RULES, "google update"),
    ("stamp_missing_whose_is_unknown", replace(LINKED, stamped=False, own=None), RULES, "google adopt"),
    ("adopted_and_stamped", replace(LINKED, own=Kept.ADOPTED, planfix=OTHER), RULES, "google update"),
    ("possible_duplicate", replace(NEW, matched=True, hold=DOUBLE), RULES, "nothing"),
    ("possible_duplicate_decided", replace(NEW, hold=DOUBLE), RULES, "ask match"),
    ("refused_before_it_was_matched", replace(NEW, hold=REFUSED), RULES, "nothing"),
    ("another_contact_may_claim_the_person", FOUND, MATCHING, "nothing"),
    ("nobody_else_can_claim_ours", replace(LINKED, planfix=OTHER), MATCHING, "google update"),
    ("new_while_others_are_matched", NEW, MATCHING, "ask match"),
    ("possible_duplicate_that_left", replace(NEW, member=False, matched=True, hold=DOUBLE), RULES, "forgotten"),
    # 2.3: fields
    ("in_sync", LINKED, RULES, "nothing"),
    ("planfix_changed", replace(LINKED, planfix=OTHER), RULES, "google update"),
    ("planfix_changed_one_way", replace(LINKED, planfix=OTHER), ONE_WAY, "google update"),
    ("google_changed", replace(LINKED, google=OTHER), RULES, "planfix update"),
    ("google_changed_one_way", replace(LINKED, google=OTHER), ONE_WAY, "google update"),
    ("google_changed_read_only", replace(LINKED, google=OTHER, read_only=True), RULES, "google update"),
    ("both_changed_alike", replace(LINKED, planfix=OTHER, google=OTHER), RULES, "agreed"),
    ("conflict_planfix_wins", replace(LINKED, planfix=OTHER, google=THIRD), RULES, "google update"),
    ("conflict_google_is_later", replace(LINKED, planfix=OTHER, google=THIRD, **LATER), RULES, "planfix update"),
    ("conflict_google_always", replace(LINKED, planfix=OTHER, google=THIRD), GOOGLE_WINS, "planfix update"),
    ("conflict_planfix_always", replace(LINKED, planfix=OTHER, google=THIRD, **LATER), PLANFIX_WINS, "google update"),
    ("conflict_one_way", replace(LINKED, planfix=OTHER, google=THIRD, **LATER), ONE_WAY, "google update"),
    ("each_side_changed_another_field", replace(BOTH, planfix=P_MOVED, google=G_MOVED), RULES, "planfix update"),
    ("planfix_cleared", replace(LINKED, planfix=EMPTY), RULES, "google update"),
    ("google_cleared", replace(LINKED, google=EMPTY), RULES, "planfix update"),
    ("both_cleared", replace(LINKED, planfix=EMPTY, google=EMPTY), RULES, "agreed"),
    ("unknown_in_planfix", replace(LINKED, planfix=UNKNOWN, google=OTHER), RULES, "nothing"),
    ("unknown_in_google", replace(LINKED, planfix=OTHER, google=UNKNOWN), RULES, "nothing"),
    ("planfix_adds_an_element", replace(WITH_PHONES, planfix={"phones": phones("1 2 3")}), RULES, "google update"),
    ("google_adds_an_element", replace(WITH_PHONES, google={"phones": phones("1 2 3")}), RULES, "planfix update"),
    ("planfix_removes_an_element", replace(WITH_PHONES, planfix={"phones": phones("1")}), RULES, "google update"),
    ("google_removes_an_element", replace(WITH_PHONES, google={"phones": phones("1")}), RULES, "planfix update"),
    ("both_add_elements", replace(WITH_PHONES, planfix=P_PHONES, google=G_PHONES), RULES, "planfix update"),
    ("both_add_elements_one_way", replace(WITH_PHONES, planfix=P_PHONES, google=G_PHONES), ONE_WAY, "google update"),
    ("cut_by_google", replace(LINKED, google=OTHER, base_google=OTHER), RULES, "nothing"),
    ("cut_by_google_and_edited_there", replace(LINKED, google=THIRD, base_google=OTHER), RULES, "planfix update"),
    ("refused_by_planfix", replace(LINKED, google=OTHER, base_google=OTHER, limits=REASON), RULES, "nothing"),
    (
        "refused_and_edited_again",
        replace(LINKED, google=THIRD, base_google=OTHER, limits=REASON),
        RULES,
        "planfix update",
    ),
    ("unmerged_both_filled", replace(UNMERGED, google=OTHER), RULES, "google update"),
    ("unmerged_both_filled_and_google_later", replace(UNMERGED, google=OTHER, **LATER), RULES, "google update"),
    ("unmerged_only_planfix_filled", replace(UNMERGED, google=EMPTY), RULES, "google update"),
    ("unmerged_only_google_filled", replace(UNMERGED, planfix=EMPTY), RULES, "planfix update"),
    ("unmerged_only_google_filled_one_way", replace(UNMERGED, planfix=EMPTY), ONE_WAY, "agreed"),
    ("adopted_only_google_filled", replace(UNMERGED, planfix=EMPTY, adopt=True), RULES, "agreed"),
    (
        "adopted_and_edited_later",
        replace(LINKED, planfix=EMPTY, base_planfix=EMPTY, google=OTHER),
        RULES,
        "planfix update",
    ),
    ("newly_mapped_and_equal", replace(BOTH, base_planfix=SAME, base_google=SAME), RULES, "agreed"),
    (
        "newly_mapped_and_filled_in_google",
        replace(LINKED, planfix=NEWLY_EMPTY, google=NEWLY),
        RULES,
        "planfix update",
    ),
    # 2.4: membership
    ("not_labelled_yet", replace(LINKED, labelled=False), RULES, "google update"),
    ("left", replace(LINKED, member=False), RULES, "google remove"),
    ("left_and_adopted", replace(LINKED, member=False, own=Kept.ADOPTED), RULES, "google remove"),
    ("left_and_adoption_under_way", replace(LINKED, member=False, pending=UNDER_WAY), RULES, "nothing"),
    ("left_and_planfix_changed", replace(LINKED, member=False, planfix=OTHER), RULES, "google remove"),
    ("left_with_an_edit", replace(LINKED, member=False, google=OTHER), RULES, "planfix update"),
    ("left_with_an_edit_one_way", replace(LINKED, member=False, google=OTHER), ONE_WAY, "google remove"),
    (
        "left_with_an_edit_read_only",
        replace(LINKED, member=False, google=OTHER, read_only=True),
        RULES,
        "google remove",
    ),
    (
        "left_with_an_edit_that_loses",
        replace(LINKED, member=False, planfix=OTHER, google=THIRD),
        RULES,
        "google remove",
    ),
    ("left_with_an_edit_without_a_base", replace(UNMERGED, member=False, planfix=EMPTY), RULES, "google remove"),
    (
        "left_and_another_filter_merges",
        replace(LINKED, member=False, google=OTHER, merges=False),
        RULES,
        "google remove",
    ),
    ("left_edit_written", replace(LINKED, member=False, google=OTHER, leaving=True), RULES, "google remove"),
    ("left_while_held", replace(LINKED, member=False, hold=REFUSED), RULES, "google remove"),
    (
        "left_with_an_edit_while_held",
        replace(LINKED, member=False, google=OTHER, hold=REFUSED),
        RULES,
        "planfix update",
    ),
    ("removal_refused", replace(LINKED, member=False, leaving=True, hold=REFUSED), RULES, "nothing"),
    ("left_before_anything_was_written", replace(NEW, member=False), RULES, "forgotten"),
    ("left_before_adoption", replace(FOUND, member=False), RULES, "forgotten"),
    ("left_labelled_by_hand", replace(FOUND, member=False, labelled=True), RULES, "google remove"),
    ("left_without_the_label", replace(LINKED, member=False, labelled=False), RULES, "google remove"),
    ("kept_by_hand", replace(LINKED, member=False, kept="By hand.", planfix=OTHER), RULES, "google update"),
    ("dismissed", replace(LINKED, planfix=OTHER, dismissed=reasons.DELETED), RULES, "nothing"),
    ("dismissed_and_left", replace(LINKED, member=False, dismissed=reasons.DELETED), RULES, "nothing"),
    ("label_taken_off", replace(LINKED, planfix=OTHER, dismissed=reasons.UNLABELLED), RULES, "google release"),
    ("label_taken_off_and_said", replace(RELEASED, dismissed=reasons.UNLABELLED), RULES, "nothing"),
    ("label_back", RELEASED, RULES, "google update"),
    ("label_back_another_merges", replace(RELEASED, merges=False), RULES, "google update"),
    ("label_back_and_edited", replace(RELEASED, planfix=OTHER), RULES, "google update"),
    ("another_carried_it", replace(LINKED, merges=False, planfix=OTHER, google=OTHER), RULES, "agreed"),
    ("another_is_carrying_it", replace(LINKED, merges=False, planfix=OTHER), RULES, "nothing"),
    ("vanished_with_many_and_wanted_back", replace(LINKED, gone_at=5.0), RULES, "ask match"),
    ("vanished_with_many_and_left", replace(LINKED, gone_at=5.0, member=False), RULES, "forgotten"),
    ("dismissal_ended", replace(LINKED, dismissed="", labelled=True), RULES, "nothing"),
    ("merged", replace(LINKED, planfix=OTHER, merged_into=2), RULES, "nothing"),
    ("merged_and_left", replace(LINKED, member=False, merged_into=2), RULES, "nothing"),
    ("another_filter_merges", replace(LINKED, planfix=OTHER, merges=False), RULES, "nothing"),
    (
        "another_filter_merges_no_label",
        replace(LINKED, planfix=OTHER, merges=False, labelled=False),
        RULES,
        "google update",
    ),
    ("edited_while_it_was_one_way", replace(LINKED, google=OTHER, google_at=50.0), SWITCHED, "google update"),
    ("edited_in_the_moment_of_the_switch", replace(LINKED, google=OTHER, google_at=60.0), SWITCHED, "google update"),
    ("edited_after_the_switch", replace(LINKED, google=OTHER, google_at=61.0), SWITCHED, "planfix update"),
    (
        "seen_again_after_the_switch",
        replace(LINKED, google=OTHER, google_at=61.0, google_since=50.0),
        SWITCHED,
        "google update",
    ),
    ("edited_in_the_first_second", replace(LINKED, google=OTHER, google_at=1.0), SWITCHED, "google update"),
    ("edited_at_no_known_time", replace(LINKED, google=OTHER, google_at=0.0), SWITCHED, "planfix update"),
    # 2.7: undo
    ("undone_in_planfix_first", replace(CARRIED, undoing=UNDO), RULES, "planfix update"),
    ("undone_in_planfix_one_way", replace(CARRIED, undoing=UNDO), ONE_WAY, "google remove"),
    (
        "undone_in_google_then",
        replace(CARRIED, planfix=SAME, undoing=replace(UNDO, tried=True)),
        RULES,
        "google update",
    ),
    ("undone_and_let_go", replace(LINKED, undoing=replace(UNDO, tried=True)), RULES, "google remove"),
    # one thing at a time
    ("write_under_way", replace(LINKED, planfix=OTHER, pending=UNDER_WAY), RULES, "nothing"),
    ("look_under_way", replace(LINKED, planfix=OTHER, asked="label"), RULES, "nothing"),
    ("held_back", replace(LINKED, planfix=OTHER, hold=REFUSED), RULES, "nothing"),
    ("paused", replace(LINKED, planfix=OTHER), PAUSED, "due"),
    ("paused_and_due_already", replace(LINKED, planfix=OTHER, due=True), PAUSED, "due"),
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
    elif expected == "agreed":
        assert after == replace(link, base_planfix=link.planfix, base_google=link.google)
    elif expected.startswith("ask "):
        assert (after.asked, after.asked_at, after.pending) == (expected[4:], NOW, None)
    else:
        assert after.pending is not None
        assert f"{after.pending.side.value} {after.pending.op}" == expected
        assert after.revision == after.pending.revision == link.revision + 1
        assert after.pending.mutation_id == f"f1.1.{link.revision + 1}.{int(NOW)}"
        assert (after.pending.etag, after.pending.at) == (link.etag, NOW)


@pytest.mark.parametrize(("link", "rules", "_expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_deciding_again_adds_nothing(link: Link, rules: FilterRules, _expected: str) -> None:
    after = decide(link, rules, NOW).link
    if after is not None:
        assert decide(after, rules, NOW + 1).link == after


NOT_MERGING = replace(LINKED, planfix=OTHER, google=OTHER, merges=False)
WHILE_PAUSED = [
    # name, link, whether what both sides show alike becomes the base
    ("another_filter_carried_it_over", NOT_MERGING, True),
    ("this_filter_merges_when_it_goes_on", replace(NOT_MERGING, merges=True), False),
    ("planfix_not_seen_yet", replace(NOT_MERGING, planfix=None), False),
    ("google_not_seen_yet", replace(NOT_MERGING, google=None), False),
]


@pytest.mark.parametrize(("link", "agreed"), [t[1:] for t in WHILE_PAUSED], ids=[t[0] for t in WHILE_PAUSED])
def test_a_filter_that_does_not_merge_keeps_its_base_while_it_is_paused(link: Link, agreed: bool) -> None:
    base = {"base_planfix": OTHER, "base_google": OTHER} if agreed else {}
    assert decide(link, PAUSED, NOW).link == replace(link, due=True, **base)


TIMES = [
    (
        "google_edited_after_planfix_was_seen",
        "newest",
        {"planfix_at": 10, "google_prev": 10, "google_at": 20},
        Side.GOOGLE,
    ),
    ("planfix_edited_later", "newest", {"planfix_at": 20, "google_prev": 5, "google_at": 10}, Side.PLANFIX),
    ("intervals_overlap", "newest", {"planfix_at": 15, "google_prev": 10, "google_at": 20}, Side.PLANFIX),
    (
        "planfix_was_seen_again_since",
        "newest",
        {"planfix_since": 10, "planfix_at": 30, "google_prev": 10, "google_at": 20},
        Side.GOOGLE,
    ),
    (
        "planfix_was_seen_again_and_the_intervals_overlap",
        "newest",
        {"planfix_since": 11, "planfix_at": 30, "google_prev": 10, "google_at": 20},
        Side.PLANFIX,
    ),
    ("google_always", "google", {"planfix_at": 20, "google_prev": 5, "google_at": 10}, Side.GOOGLE),
    ("planfix_always", "planfix", {"planfix_at": 10, "google_prev": 10, "google_at": 20}, Side.PLANFIX),
]


@pytest.mark.parametrize(("policy", "times", "winner"), [t[1:] for t in TIMES], ids=[t[0] for t in TIMES])
def test_who_wins_a_conflict(policy: str, times: dict[str, Any], winner: Side) -> None:
    rules = replace(RULES, conflict=policy)
    assert merge_rules(replace(LINKED, **times), rules).conflict_winner is winner


def test_rules_of_a_link() -> None:
    assert merge_rules(replace(LINKED, adopt=True), RULES).without_base is WithoutBase.ADOPT
    assert merge_rules(LINKED, RULES).without_base is WithoutBase.UNITE
    assert merge_rules(LINKED, RULES).two_way
    assert not merge_rules(LINKED, ONE_WAY).two_way
    assert not merge_rules(replace(LINKED, read_only=True), RULES).two_way


WRITES = [
    # name, link, rules, target, source, before
    ("planfix_changed", replace(LINKED, planfix=OTHER), RULES, OTHER, OTHER, SAME),
    ("google_changed", replace(LINKED, google=OTHER), RULES, OTHER, OTHER, SAME),
    ("google_changed_one_way", replace(LINKED, google=OTHER), ONE_WAY, SAME, SAME, OTHER),
    ("only_the_changed_field", replace(BOTH, planfix=P_MOVED), RULES, OTHER, OTHER, SAME),
    ("each_another_field", replace(BOTH, planfix=P_MOVED, google=G_MOVED), RULES,
     {"given": "Anna"}, {"given": "Anna"}, {"given": "Ann"}),
    ("adopted", FOUND, RULES, SAME, SAME, OTHER),
    ("label_alone", replace(LINKED, labelled=False), RULES, {}, {}, {}),
    ("label_alone_while_another_filter_merges", replace(LINKED, planfix=OTHER, merges=False, labelled=False), RULES,
     {}, {}, {}),
    ("created", replace(NEW, matched=True), RULES, {}, {}, {}),
    ("left", replace(LINKED, member=False, planfix=OTHER), RULES, {}, {}, {}),
    ("left_with_an_edit", replace(LINKED, member=False, google=OTHER), RULES, OTHER, OTHER, SAME),
]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "rules", "target", "source", "before"), [w[1:] for w in WRITES], ids=[w[0] for w in WRITES]
)
def test_what_a_write_says(link: Link, rules: FilterRules, target: Contact, source: Contact, before: Contact) -> None:
    after = decide(link, rules, NOW).link
    assert after is not None
    assert after.pending is not None
    assert (after.pending.target, after.pending.source, after.pending.before) == (target, source, before)


def test_what_is_sent_for_a_new_person_is_planfixs_base_at_once() -> None:
    after = decide(replace(NEW, matched=True, base_google=OTHER), RULES, NOW).link
    assert after is not None
    assert (after.base_planfix, after.base_google) == (SAME, None)
    unread = decide(replace(NEW, matched=True, planfix=None), RULES, NOW).link
    assert unread is not None
    assert unread.base_planfix == {}


def test_what_agrees_already_is_noted_with_a_write_of_the_rest() -> None:
    """Bases move for fields that are not written, and stay for those that are."""
    planfix: Contact = {"notes": "b", "given": "Anna"}
    google: Contact = {"notes": "a", "given": "Anna"}
    to_google = decide(replace(BOTH, planfix=planfix, google=google), RULES, NOW).link
    to_planfix = decide(replace(BOTH, planfix=google, google=planfix), RULES, NOW).link
    for after in (to_google, to_planfix):
        assert after is not None
        assert after.base_planfix == after.base_google == {"notes": "a", "given": "Anna"}


def test_leaving_is_noted_with_the_last_edit_and_a_reason_ends_with_it() -> None:
    for link in (
        replace(LINKED, member=False, google=OTHER, hold=REFUSED),
        replace(LINKED, member=False, hold=REFUSED),
    ):
        after = decide(link, RULES, NOW).link
        assert after is not None
        assert after.hold is None
        assert after.leaving is (link.google == OTHER)


LOSERS = [
    # name, link, rules, lost
    ("nothing_lost", replace(LINKED, planfix=OTHER), RULES, []),
    ("carried", replace(LINKED, google=OTHER), RULES, []),
    ("google_loses", replace(LINKED, planfix=OTHER, google=THIRD), RULES, [("notes", "google", "c")]),
    ("planfix_loses", replace(LINKED, planfix=OTHER, google=THIRD), GOOGLE_WINS, [("notes", "planfix", "b")]),
    ("restored", replace(LINKED, google=OTHER), ONE_WAY, [("notes", "google", "b")]),
    ("restored_read_only", replace(LINKED, google=OTHER, read_only=True), RULES, [("notes", "google", "b")]),
    ("cleared_and_restored", replace(LINKED, google=EMPTY), ONE_WAY, [("notes", "google", "")]),
    ("edited_while_one_way", replace(LINKED, google=OTHER, google_at=50.0), SWITCHED, [("notes", "google", "b")]),
    ("without_a_base", replace(UNMERGED, google=OTHER), RULES, [("notes", "google", "b")]),
    ("googles_loser_waits_for_its_write", replace(BOTH, planfix=P_MOVED, google=G_BOTH), RULES, []),
    ("planfixs_loser_goes_first", replace(BOTH, planfix=P_MOVED, google=G_BOTH), GOOGLE_WINS,
     [("notes", "planfix", "b")]),
    ("left_and_lost", replace(LINKED, member=False, planfix=OTHER, google=THIRD), RULES, [("notes", "google", "c")]),
    ("left_one_way", replace(LINKED, member=False, google=OTHER), ONE_WAY, [("notes", "google", "b")]),
    ("left_and_planfix_loses", replace(LINKED, member=False, planfix=OTHER, google=THIRD), GOOGLE_WINS,
     [("notes", "planfix", "b")]),
    ("left_without_an_edit", replace(LINKED, member=False, planfix=OTHER), RULES, []),
    ("left_and_not_taken", replace(LEAVING, google=OTHER), RULES, [("notes", "google", "b")]),
    ("left_and_not_taken_elements",
     replace(WITH_PHONES, member=False, leaving=True, google={"phones": phones("1 4")}), RULES,
     [("phones:+4", "google", "+4")]),
    ("left_and_nothing_taken", replace(LEAVING, **WITH_ALL, google={"notes": "b", "phones": phones("1 4")}), RULES,
     [("notes", "google", "b"), ("phones:+4", "google", "+4")]),
    ("left_and_another_filter_merges", replace(LEAVING, google=OTHER, merges=False), RULES, []),
    ("left_and_unmerged", replace(UNMERGED, member=False, google=OTHER), RULES, []),
]  # fmt: skip


@pytest.mark.parametrize(("link", "rules", "lost"), [r[1:] for r in LOSERS], ids=[r[0] for r in LOSERS])
def test_what_loses_stands_in_the_history(link: Link, rules: FilterRules, lost: list[tuple[str, str, str]]) -> None:
    decision = decide(link, rules, NOW)
    assert [(item.field, item.side.value, item.value) for item in decision.lost] == lost


def test_undo_gives_google_its_values_but_where_they_were_edited_since() -> None:
    google: Contact = {"notes": "z", "given": "Anna"}
    turned = {"notes": Turn("a", "b"), "given": Turn("Ann", "Anna")}
    undoing = Undoing("undo", "r1", google=turned, tried=True)
    link = replace(LINKED, planfix=WHOLE, google=google, base_planfix=WHOLE, base_google=google, undoing=undoing)
    after = decide(link, RULES, NOW).link
    assert after is not None
    assert after.pending is not None
    assert (after.pending.side, after.pending.target) == (Side.GOOGLE, {"given": "Ann"})
    unknown = decide(replace(link, planfix=UNKNOWN), RULES, NOW).link
    assert unknown is not None
    assert unknown.pending is None


def test_a_refused_element_is_offered_again_with_its_field() -> None:
    """So that the next e-mail can become the primary one."""
    a, b = Element("a@x", "a@x"), Element("b@x", "b@x")
    link = replace(
        LINKED,
        planfix={"emails": (a,)},
        base_planfix={"emails": (a,)},
        google={"emails": (b,)},
        base_google={"emails": (a, b)},
        limits={"emails:b@x": "One e-mail."},
    )
    after = decide(link, RULES, NOW).link
    assert after is not None
    assert after.pending is not None
    assert (after.pending.side, after.pending.target) == (Side.PLANFIX, {"emails": (b,)})
