"""The rules of order (semantics 2.3): which observations tell something new, and what they make of a link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contactsync.hashing import content_hash
from contactsync.reconciler.core.link import Hold, Link
from contactsync.reconciler.core.observe import Doubt, google_seen, planfix_seen
from contactsync.reconciler.core.reasons import NOT_IN_FILTER
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import GooglePerson, Kept, PlanfixContact, Stamp

LABEL = "contactGroups/ours"
OLD: Contact = {"notes": "a"}
NEW: Contact = {"notes": "b"}

LINK = Link(
    contact=1,
    planfix=OLD,
    planfix_hash=content_hash(OLD),
    planfix_at=100.0,
    member_at=100.0,
    resource="people/c1",
    source_id="1",
    etag="e1",
    google=OLD,
    google_hash=content_hash(OLD),
    google_at=100.0,
    google_prev=50.0,
    raw={"was": "there"},
    base_planfix=OLD,
    base_google=OLD,
    labelled=True,
    stamped=True,
    own=Kept.OURS,
)


# --- Planfix ----------------------------------------------------------------------------------------------


def seen_planfix(
    link: Link, fields: Contact, at: float, member: bool | None = None, *, company: bool = False
) -> Link | Doubt:
    contact = PlanfixContact(contact=1, fields=fields, is_company=company)
    return planfix_seen(link, contact, content_hash(fields), at, member)


PLANFIX_ORDER = [
    # name, our last write there was answered, content, seen at, doubt: not before
    ("newer_news", 0.0, NEW, 101.0, None),
    ("news_of_the_same_moment", 0.0, NEW, 100.0, 1.0),
    ("older_news", 0.0, NEW, 99.0, 1.0),
    ("nothing_new", 0.0, OLD, 101.0, None),
    ("nothing_new_and_old", 0.0, OLD, 99.0, None),
    ("news_right_after_our_write", 100.0, NEW, 105.0, 106.0),
    ("news_a_little_later", 100.0, NEW, 105.5, None),
    ("nothing_new_right_after_our_write", 100.0, OLD, 104.0, None),
]


@pytest.mark.parametrize(
    ("wrote", "fields", "at", "not_before"), [r[1:] for r in PLANFIX_ORDER], ids=[r[0] for r in PLANFIX_ORDER]
)
def test_planfix_is_compared_in_order(wrote: float, fields: Contact, at: float, not_before: float | None) -> None:
    seen = seen_planfix(replace(LINK, planfix_wrote=wrote), fields, at)
    if not_before is not None:
        assert seen == Doubt(not_before=not_before)
        return
    assert isinstance(seen, Link)
    assert seen.planfix == fields
    assert seen.planfix_hash == content_hash(fields)
    assert seen.planfix_at == max(at, 100.0)


def test_an_edit_in_planfix_is_from_before_it_was_first_seen() -> None:
    edited = seen_planfix(LINK, NEW, 110.0)
    assert isinstance(edited, Link)
    assert (edited.planfix_since, edited.planfix_at) == (0.0, 110.0)
    again = seen_planfix(edited, NEW, 120.0)
    assert isinstance(again, Link)
    assert (again.planfix_since, again.planfix_at) == (110.0, 120.0)
    third = seen_planfix(again, NEW, 130.0)
    assert isinstance(third, Link)
    assert (third.planfix_since, third.planfix_at) == (110.0, 130.0)
    for late in (125.0, 130.0):
        assert seen_planfix(third, NEW, late) == third
    assert seen_planfix(LINK, OLD, 100.0) == LINK
    other = seen_planfix(third, {"notes": "c"}, 140.0)
    assert isinstance(other, Link)
    assert (other.planfix_since, other.planfix_at) == (0.0, 140.0)


MEMBERSHIP = [
    # name, link, told, at, member, member_at, kept, asked
    ("still_one", LINK, True, 110.0, True, 110.0, "", ""),
    ("told_late", LINK, True, 90.0, True, 100.0, "", ""),
    ("told_of_the_same_moment", replace(LINK, member=False), True, 100.0, False, 100.0, "", ""),
    ("back_again", replace(LINK, member=False, leaving=True), True, 110.0, True, 110.0, "", ""),
    ("kept_by_hand_and_now_a_member", replace(LINK, member=False, kept="By hand."), True, 110.0, True, 110.0, "", ""),
    ("not_told", LINK, None, 110.0, True, 100.0, "", ""),
    ("no_member_is_no_proof", LINK, False, 110.0, True, 100.0, "", ""),
    (
        "asked_and_not_in_the_filter",
        replace(LINK, member=False, kept="By hand.", asked="membership"),
        None, 110.0, False, 100.0, NOT_IN_FILTER, "",
    ),
    ("asked_and_a_member", replace(LINK, member=False, asked="membership"), True, 110.0, True, 110.0, "", ""),
    ("another_look_goes_on", replace(LINK, asked="label"), True, 110.0, True, 110.0, "", "label"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "told", "at", "member", "member_at", "kept", "asked"),
    [r[1:] for r in MEMBERSHIP],
    ids=[r[0] for r in MEMBERSHIP],
)
def test_membership_is_noted(
    link: Link, told: bool | None, at: float, member: bool, member_at: float, kept: str, asked: str
) -> None:
    seen = seen_planfix(link, OLD, at, told)
    assert isinstance(seen, Link)
    assert (seen.member, seen.member_at, seen.kept, seen.asked) == (member, member_at, kept, asked)
    assert seen.leaving is False


@pytest.mark.parametrize(
    ("state", "again"), [("quarantined", True), ("held_back", True), ("possible_duplicate", False)]
)
def test_a_refused_contact_is_tried_again_when_either_side_changes(state: str, again: bool) -> None:
    held = replace(LINK, hold=Hold(state, "No."))
    stays = None if again else held.hold
    changed, same = seen_planfix(held, NEW, 110.0, company=True), seen_planfix(held, OLD, 110.0)
    assert isinstance(changed, Link)
    assert isinstance(same, Link)
    assert (changed.hold, changed.is_company, same.hold, same.is_company) == (stays, True, held.hold, False)
    changed, same = seen_google(held, person(NEW, 110.0)), seen_google(held, person(OLD, 110.0))
    assert isinstance(changed, Link)
    assert isinstance(same, Link)
    assert (changed.hold, same.hold) == (stays, held.hold)


def test_a_reason_about_an_element_ends_when_planfix_has_it() -> None:
    emails: Contact = {"emails": (Element("b:1@x", "b:1@x"), Element("d@x", "d@x")), "site": "s"}
    reasons = {
        "emails:b:1@x": "taken",
        "phones:+1": "taken",
        "emails:c@x": "taken",
        "emails": "only one",
        "site": "No.",
        "custom:7": "No.",
    }
    seen = seen_planfix(replace(LINK, limits=reasons), emails, 110.0)
    assert isinstance(seen, Link)
    assert seen.limits == {name: reason for name, reason in reasons.items() if name != "emails:b:1@x"}


# --- Google -----------------------------------------------------------------------------------------------


def person(fields: Contact, at: float, **more: Any) -> GooglePerson:
    values: dict[str, Any] = {
        "resource": "people/c1", "source_id": "1", "etag": "e2", "labels": (LABEL,), "raw": {"is": "now"}, **more
    }  # fmt: skip
    return GooglePerson(updated_at=at, fields=fields, **values)


def seen_google(link: Link, who: GooglePerson, *, at: float = 200.0, by_name: bool = False) -> Link | Doubt:
    return google_seen(link, who, content_hash(who.fields), at, LABEL, by_name=by_name)


ASKED = replace(LINK, asked="person", asked_at=150.0)
GOOGLE_ORDER = [
    # name, link, person, seen at, by name, compared
    ("newer_news", LINK, person(NEW, 101.0), 200.0, False, True),
    ("newer_without_news", LINK, person(OLD, 101.0), 200.0, False, True),
    ("older_news", LINK, person(NEW, 99.0), 200.0, False, False),
    ("older_without_news", LINK, person(OLD, 99.0), 200.0, False, False),
    ("older_news_by_name", LINK, person(NEW, 99.0), 200.0, True, False),
    ("news_of_the_same_moment", LINK, person(NEW, 100.0), 200.0, False, False),
    ("news_of_the_same_moment_by_name", LINK, person(NEW, 100.0), 200.0, True, True),
    ("label_off_at_the_same_moment", LINK, person(OLD, 100.0, labels=()), 200.0, False, False),
    ("label_off_at_the_same_moment_by_name", LINK, person(OLD, 100.0, labels=()), 200.0, True, True),
    ("label_on_at_the_same_moment", replace(LINK, labelled=False), person(OLD, 100.0), 200.0, False, False),
    ("same_moment_without_news", LINK, person(OLD, 100.0), 200.0, False, True),
    ("no_time", replace(LINK, google_at=0.0), person(NEW, 0.0), 200.0, False, False),
    ("no_time_and_no_news", replace(LINK, google_at=0.0), person(OLD, 0.0), 200.0, False, False),
    ("no_time_by_name", replace(LINK, google_at=0.0), person(NEW, 0.0), 200.0, True, True),
    ("a_tombstones_time", LINK, person(NEW, 0.0), 200.0, True, False),
    ("never_seen", replace(LINK, google=None), person(NEW, 50.0), 200.0, False, True),
    ("never_seen_and_asked_for", replace(ASKED, google=None), person(NEW, 50.0), 200.0, False, True),
    ("the_answer", ASKED, person(NEW, 101.0), 200.0, True, True),
    ("the_answer_of_the_same_moment", ASKED, person(NEW, 101.0), 150.0, True, True),
    ("the_answer_is_older", ASKED, person(NEW, 99.0), 200.0, True, True),
    ("read_before_it_was_asked_for", ASKED, person(NEW, 101.0), 149.0, True, False),
    ("a_list_is_no_answer", ASKED, person(NEW, 101.0), 200.0, False, False),
    ("an_old_list_is_no_answer", ASKED, person(NEW, 99.0), 200.0, False, False),
    ("another_look_is_under_way", replace(LINK, asked="label"), person(NEW, 101.0), 200.0, False, True),
    ("merged_into_another", LINK, person(NEW, 99.0, resource="people/c2", source_id="2"), 200.0, False, True),
    ("merged_while_asked_for", ASKED, person(NEW, 99.0, resource="people/c2", source_id="2"), 200.0, False, True),
    ("renamed", LINK, person(NEW, 101.0, resource="people/c9"), 200.0, False, True),
    ("an_old_page_with_the_old_name", LINK, person(NEW, 99.0, resource="people/c9"), 200.0, False, False),
]


@pytest.mark.parametrize(
    ("link", "who", "at", "by_name", "compared"), [r[1:] for r in GOOGLE_ORDER], ids=[r[0] for r in GOOGLE_ORDER]
)
def test_google_is_compared_in_order(link: Link, who: GooglePerson, at: float, by_name: bool, compared: bool) -> None:
    seen = seen_google(link, who, at=at, by_name=by_name)
    if not compared:
        assert seen == Doubt(not_before=0.0)
        return
    assert isinstance(seen, Link)
    assert (seen.google, seen.google_hash, seen.raw) == (who.fields, content_hash(who.fields), {"is": "now"})
    assert (seen.resource, seen.source_id, seen.etag) == (who.resource, who.source_id, "e2")
    assert seen.labelled is (LABEL in who.labels)
    moved = who.source_id != "1"
    assert seen.google_at == (who.updated_at if moved else max(who.updated_at, link.google_at))


@pytest.mark.parametrize(
    ("link", "by_name", "asked"),
    [
        pytest.param(ASKED, True, "", id="answered"),
        pytest.param(replace(ASKED, google=None), False, "", id="never_seen_before"),
        pytest.param(replace(LINK, asked="label"), True, "label", id="another_look"),
        pytest.param(replace(LINK, asked="match", google=None), True, "match", id="another_look_never_seen"),
        pytest.param(LINK, True, "", id="not_asked"),
    ],
)
def test_a_look_ends_with_its_answer(link: Link, by_name: bool, asked: str) -> None:
    seen = seen_google(link, person(NEW, 110.0), by_name=by_name)
    assert isinstance(seen, Link)
    assert seen.asked == asked


def test_an_edit_in_google_is_between_the_last_time_without_it_and_the_first_with_it() -> None:
    """The time moves without an edit, too; that neither widens nor narrows the interval in the wrong direction."""
    touched = seen_google(LINK, person(OLD, 110.0))
    assert isinstance(touched, Link)
    assert (touched.google_prev, touched.google_since, touched.google_at) == (50.0, 100.0, 110.0)
    edited = seen_google(touched, person(NEW, 120.0))
    assert isinstance(edited, Link)
    assert (edited.google_prev, edited.google_since, edited.google_at) == (110.0, 0.0, 120.0)
    again = seen_google(edited, person(NEW, 130.0))
    assert isinstance(again, Link)
    assert (again.google_prev, again.google_since, again.google_at) == (110.0, 120.0, 130.0)
    third = seen_google(again, person(NEW, 140.0))
    assert isinstance(third, Link)
    assert (third.google_prev, third.google_since, third.google_at) == (110.0, 120.0, 140.0)


def test_an_edit_that_waits_keeps_its_beginning_when_another_follows() -> None:
    link = replace(LINK, google=NEW, google_hash=content_hash(NEW))
    second = seen_google(link, person({"notes": "b", "given": "Ann"}, 130.0))
    assert isinstance(second, Link)
    assert second.google_prev == 50.0
    carried = seen_google(replace(link, base_google=NEW), person({"notes": "c"}, 130.0))
    assert isinstance(carried, Link)
    assert carried.google_prev == 100.0
    unmerged = seen_google(replace(link, base_google=None), person({"notes": "c"}, 130.0))
    assert isinstance(unmerged, Link)
    assert unmerged.google_prev == 100.0


OURS, ADOPTED = Stamp(contact=1, kept=Kept.OURS), Stamp(contact=1, kept=Kept.ADOPTED)
FOREIGN = Stamp(contact=2, kept=Kept.OURS)
ELSEWHERE = {"resource": "people/c2", "source_id": "2"}
FOUND = replace(LINK, source_id="", google=None, stamped=False, own=None, labelled=False)
OWNERSHIP = [
    # name, link, person, own, stamped
    ("as_it_was", LINK, {}, Kept.OURS, True),
    ("stamp_lost", LINK, {"stamps": (FOREIGN,)}, Kept.OURS, True),
    ("found_by_stamp", FOUND, {"stamps": (FOREIGN, OURS)}, Kept.OURS, True),
    ("found_by_stamp_adopted", FOUND, {"stamps": (ADOPTED,)}, Kept.ADOPTED, True),
    ("found_without_one", FOUND, {}, None, False),
    ("another_contacts_stamp", FOUND, {"stamps": (FOREIGN,)}, None, False),
    ("known_better", replace(LINK, stamped=False), {"stamps": (ADOPTED,)}, Kept.OURS, True),
    ("merged_into_a_strangers", LINK, ELSEWHERE, Kept.ADOPTED, False),
    ("merged_with_the_stamp", LINK, {**ELSEWHERE, "stamps": (OURS,)}, Kept.ADOPTED, False),
    ("merged_and_stamped_again", LINK, {**ELSEWHERE, "stamps": (ADOPTED,)}, Kept.ADOPTED, True),
    ("renamed", LINK, {"resource": "people/c2"}, Kept.OURS, True),
]


@pytest.mark.parametrize(
    ("link", "more", "own", "stamped"), [r[1:] for r in OWNERSHIP], ids=[r[0] for r in OWNERSHIP]
)
def test_a_person_that_a_link_moved_to_is_adopted(
    link: Link, more: dict[str, Any], own: Kept | None, stamped: bool
) -> None:
    seen = seen_google(link, person(NEW, 110.0, **more))
    assert isinstance(seen, Link)
    assert (seen.own, seen.stamped) == (own, stamped)


@pytest.mark.parametrize(
    ("link", "more", "adopt"),
    [
        pytest.param(replace(FOUND, adopt=True), {"labels": ()}, True, id="private"),
        pytest.param(replace(FOUND, adopt=True), {"labels": (LABEL,)}, False, id="carries_the_label"),
        pytest.param(replace(FOUND, adopt=True), {"labels": (), "stamps": (OURS,)}, False, id="carries_our_stamp"),
        pytest.param(replace(LINK, adopt=True), {"labels": (LABEL,), "stamps": (OURS,)}, True, id="our_own_write"),
        pytest.param(FOUND, {"labels": ()}, False, id="not_matched"),
    ],
)
def test_a_person_that_was_ours_before_is_not_adopted_as_a_private_one(
    link: Link, more: dict[str, Any], adopt: bool
) -> None:
    seen = seen_google(link, person(NEW, 110.0, **more))
    assert isinstance(seen, Link)
    assert seen.adopt is adopt


def test_reasons_end_with_what_they_are_about() -> None:
    fields: Contact = {"emails": (Element("b:1@x", "b:1@x"),), "phones": (), "site": "s", "custom:7": "x"}
    stays = {"emails:b:1@x": "taken", "phones": "too many", "site": "No.", "custom:7": "No."}
    link = replace(LINK, limits={**stays, "emails:c@x": "taken", "birthday": "No year.", "custom:8": "No."})
    seen = seen_google(link, person(fields, 110.0, limits={"birthday": "Still no year."}))
    assert isinstance(seen, Link)
    assert seen.limits == {**stays, "birthday": "Still no year."}
    same = seen_google(link, person(OLD, 110.0, limits={"birthday": "Still no year."}))
    assert isinstance(same, Link)
    assert same.limits == link.limits
