"""What an answer to a mutation makes of its link: facts, bases and reasons (semantics 2.3, 2.4, 2.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contactsync.hashing import content_hash
from contactsync.reconciler.core import settle
from contactsync.reconciler.core.link import Hold, Link, Pending, Undoing
from contactsync.reconciler.core.merge import Rules, Side
from contactsync.reconciler.core.reasons import ACCOUNT_FULL, CHECKING, DELETED, STAYS_IN_GOOGLE, UNLABELLED, refused
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import GooglePerson, Kept, Outcome, PlanfixContact, SettledItem

LABEL = "contactGroups/ours"
OLD: Contact = {"notes": "a"}
NEW: Contact = {"notes": "b"}
ANSWERED, NOW = 300.0, 310.0


def pending(side: Side, op: str = "update", target: Contact = NEW, **more: Any) -> Pending:
    values: dict[str, Any] = {"source": target, "before": {n: OLD.get(n, "") for n in target}, **more}
    return Pending(side, op, "f1.1.5", 5, target, at=250.0, etag="e1", **values)  # type: ignore[arg-type]


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
    matched=True,
    revision=5,
)
TO_GOOGLE = replace(LINK, planfix=NEW, planfix_hash=content_hash(NEW), pending=pending(Side.GOOGLE))
TO_PLANFIX = replace(LINK, google=NEW, google_hash=content_hash(NEW), pending=pending(Side.PLANFIX))
REMOVING = replace(LINK, member=False, leaving=True, pending=pending(Side.GOOGLE, "remove", {}))


def person(fields: Contact, at: float = 290.0, **more: Any) -> GooglePerson:
    values: dict[str, Any] = {
        "resource": "people/c1", "source_id": "1", "etag": "e2", "labels": (LABEL,), "raw": {"is": "now"}, **more
    }  # fmt: skip
    return GooglePerson(updated_at=at, fields=fields, **values)


def contact(fields: Contact) -> PlanfixContact:
    return PlanfixContact(contact=1, fields=fields)


def settled(link: Link, outcome: Outcome, rules: Rules | None = None, **more: Any) -> Link | None:
    item = SettledItem(contact=1, mutation_id="f1.1.5", revision=5, outcome=outcome, **more)
    return settle.settled(link, item, rules or Rules(), ANSWERED, LABEL, NOW)


def done(link: Link, **more: Any) -> Link:
    after = settled(link, Outcome.DONE, **more)
    assert after is not None
    return after


# --- done -------------------------------------------------------------------------------------------------


def test_without_a_mutation_under_way_an_answer_says_nothing() -> None:
    assert settled(LINK, Outcome.REFUSED, reason="No.") == LINK


def test_a_write_to_google_is_agreed_in_the_form_that_google_gives_it() -> None:
    after = done(TO_GOOGLE, person=person({"notes": "B"}))
    assert after == replace(
        TO_GOOGLE,
        pending=None,
        etag="e2",
        google={"notes": "B"},
        google_hash=content_hash({"notes": "B"}),
        google_at=290.0,
        google_prev=100.0,
        raw={"is": "now"},
        base_planfix=NEW,
        base_google={"notes": "B"},
    )


def test_a_write_to_planfix_is_agreed_in_the_form_that_planfix_gives_it() -> None:
    after = done(TO_PLANFIX, planfix=contact({"notes": "B"}))
    assert after == replace(
        TO_PLANFIX,
        pending=None,
        planfix={"notes": "B"},
        planfix_hash=content_hash({"notes": "B"}),
        planfix_at=ANSWERED,
        planfix_wrote=ANSWERED,
        base_planfix={"notes": "B"},
        base_google=NEW,
    )


def test_what_was_seen_after_a_write_to_google_is_a_change_to_its_answer() -> None:
    newer = replace(TO_GOOGLE, google={"notes": "c"}, google_hash=7, google_at=295.0, labelled=False, etag="e3")
    after = done(newer, person=person(NEW, limits={"site": "No."}))
    assert (after.google, after.google_hash, after.google_at, after.etag) == ({"notes": "c"}, 7, 295.0, "e3")
    assert (after.base_planfix, after.base_google) == (NEW, NEW)
    assert not after.labelled, "it was taken off since"
    at_once = done(replace(newer, google_at=290.0), person=person(NEW))
    assert (at_once.google, at_once.labelled) == (NEW, True)


def test_what_was_seen_after_a_write_to_planfix_is_a_change_to_its_answer() -> None:
    newer = replace(TO_PLANFIX, planfix={"notes": "c"}, planfix_hash=7, planfix_at=301.0)
    after = done(newer, planfix=contact(NEW))
    assert (after.planfix, after.planfix_hash, after.planfix_at) == ({"notes": "c"}, 7, 301.0)
    assert (after.base_planfix, after.planfix_wrote) == (NEW, ANSWERED)
    at_once = done(replace(newer, planfix_at=ANSWERED), planfix=contact(NEW))
    assert at_once.planfix == NEW


def test_an_answer_that_planfix_reads_back_unchanged_keeps_the_time_of_its_content() -> None:
    after = done(TO_PLANFIX, planfix=contact(OLD))
    assert (after.planfix_since, after.planfix_at) == (100.0, ANSWERED)
    assert (after.base_planfix, after.base_google) == (OLD, NEW), "ignored: no difference until it changes again"


def test_an_answer_from_the_writers_memory_is_taken_as_asked_for_and_looked_at() -> None:
    after = done(replace(TO_GOOGLE, google={"notes": "a", "given": "Ann"}))
    assert after.google == {"notes": "b", "given": "Ann"}
    assert after.google_hash == content_hash({"notes": "b", "given": "Ann"})
    assert (after.asked, after.asked_at) == ("person", NOW)
    assert (after.base_planfix, after.base_google, after.google_at) == (NEW, NEW, 100.0)
    for_label = done(replace(LINK, labelled=False, pending=pending(Side.GOOGLE, "update", {})))
    assert (for_label.asked, for_label.labelled, for_label.google) == ("", True, OLD)
    seen_since = done(replace(TO_GOOGLE, google={"notes": "B"}))
    assert (seen_since.google, seen_since.base_google, seen_since.asked) == ({"notes": "B"}, NEW, "person")
    unknown = done(replace(TO_GOOGLE, google=None, base_google=None, pending=pending(Side.GOOGLE, before={})))
    assert unknown.google == NEW


def test_an_answer_of_planfix_from_the_writers_memory_is_taken_as_asked_for() -> None:
    """Else the old value would look like Planfix's own change, and go over the edit that was just carried over."""
    after = done(replace(TO_PLANFIX, planfix={"notes": "a", "given": "Ann"}))
    content: Contact = {"notes": "b", "given": "Ann"}
    assert (after.planfix, after.planfix_hash, after.planfix_at) == (content, content_hash(content), 100.0)
    assert (after.base_planfix, after.base_google, after.planfix_wrote) == (NEW, NEW, ANSWERED)
    seen_since = done(replace(TO_PLANFIX, planfix={"notes": "B"}))
    assert (seen_since.planfix, seen_since.base_planfix, seen_since.base_google) == ({"notes": "B"}, NEW, NEW)
    unknown = done(replace(TO_PLANFIX, planfix=None, pending=pending(Side.PLANFIX, before={})))
    assert (unknown.planfix, unknown.base_planfix) == (NEW, NEW)


def test_an_answer_from_memory_says_what_was_not_taken_as_it_was_sent() -> None:
    """So that what Planfix refused is not taken for Planfix's removal afterwards."""
    both_ways: Contact = {"emails": emails("a@x", "b@x")}
    link = both({"emails": emails("a@x")}, both_ways, Side.PLANFIX)
    after = done(link, otherwise={"emails": emails("a@x")}, refused={"emails": "One e-mail."})
    assert (after.planfix, after.google) == ({"emails": emails("a@x")}, both_ways)
    assert after.base_planfix == {"notes": "a", "emails": emails("a@x")}
    assert after.base_google == {"notes": "a", **both_ways}
    assert after.limits == {"emails:b@x": "One e-mail."}
    cut = done(replace(TO_GOOGLE, planfix={"notes": "long"}, pending=pending(Side.GOOGLE, target={"notes": "long"})),
               otherwise={"notes": "lo"})  # fmt: skip
    assert (cut.google, cut.base_google, cut.base_planfix) == ({"notes": "lo"}, {"notes": "lo"}, {"notes": "long"})


@pytest.mark.parametrize(
    ("op", "own", "expected"),
    [
        ("adopt", None, Kept.ADOPTED),
        ("adopt", Kept.OURS, Kept.OURS),
        ("update", None, None),
        ("update", Kept.OURS, Kept.OURS),
    ],
)
def test_an_adopted_person_is_under_the_label_stamped_and_no_private_one_any_more(
    op: str, own: Kept | None, expected: Kept | None
) -> None:
    link = replace(LINK, own=own, stamped=False, labelled=False, adopt=True, pending=pending(Side.GOOGLE, op, {}))
    after = done(link, person=person(OLD))
    assert (after.own, after.stamped, after.labelled, after.adopt) == (expected, True, True, False)


SENT: Contact = {"notes": "long", "given": "Ann"}
CREATING = Link(
    contact=1,
    planfix=SENT,
    planfix_hash=content_hash(SENT),
    planfix_at=100.0,
    base_planfix=SENT,
    matched=True,
    revision=5,
    pending=pending(Side.GOOGLE, "ensure", {}),
    limits={"site": "No."},
)


def test_a_created_person_is_the_base_as_it_was_answered() -> None:
    answer: Contact = {"notes": "lo", "skype": ""}
    made = person(answer, limits={"birthday": "No year."}, labels=())
    after = done(CREATING, person=made, refused={"given": "Too long."})
    assert after == replace(
        CREATING,
        pending=None,
        resource="people/c1",
        source_id="1",
        etag="e2",
        google=answer,
        google_hash=content_hash(answer),
        google_at=290.0,
        raw={"is": "now"},
        labelled=True,
        stamped=True,
        own=Kept.OURS,
        base_google={"notes": "lo"},
        limits={"site": "No.", "birthday": "No year.", "given": "Too long."},
    )
    assert done(CREATING, person=made, kept=Kept.ADOPTED).own is Kept.ADOPTED


def test_a_person_made_before_a_take_over_is_found_by_its_stamp() -> None:
    after = done(CREATING)
    assert after == replace(CREATING, pending=None, asked="match", asked_at=NOW, matched=False)


def test_a_created_person_that_was_seen_meanwhile_keeps_what_was_seen() -> None:
    seen = replace(CREATING, resource="people/c1", google={"notes": "x"}, google_hash=7, google_at=295.0, etag="e3")
    after = done(seen, person=person(SENT))
    assert (after.google, after.etag, after.base_google) == ({"notes": "x"}, "e3", SENT)


# --- removed ----------------------------------------------------------------------------------------------


def test_a_contact_that_left_is_forgotten_when_its_label_came_off() -> None:
    assert settled(REMOVING, Outcome.DONE, removed=True) is None


@pytest.mark.parametrize("stays", [{"member": True}, {"kept": "By hand."}])
def test_a_contact_that_came_back_meanwhile_is_linked_again_from_the_start(stays: dict[str, Any]) -> None:
    after = done(
        replace(
            REMOVING,
            is_company=True,
            planfix_since=90.0,
            planfix_wrote=80.0,
            limits={"site": "No."},
            hold=Hold("held_back", "No."),
            **stays,
        ),
        removed=True,
    )
    assert after == Link(
        contact=1,
        is_company=True,
        planfix=OLD,
        planfix_hash=content_hash(OLD),
        planfix_at=100.0,
        planfix_since=90.0,
        planfix_wrote=80.0,
        member=bool(stays.get("member", False)),
        member_at=100.0,
        kept=str(stays.get("kept", "")),
        revision=5,
    )


def test_a_contact_whose_link_was_undone_is_not_linked_again() -> None:
    undoing = Undoing("undo", "r1", unlink="Undone.")
    link = replace(REMOVING, member=True, undoing=undoing, asked="label", hold=Hold("held_back", "No."))
    after = done(link, removed=True)
    assert after == replace(LINK, labelled=False, stamped=False, released=True, dismissed="Undone.")
    taken_back = done(replace(link, undoing=replace(undoing, unlink="")), removed=True)
    assert (taken_back.resource, taken_back.dismissed) == (None, "")


# --- not done ---------------------------------------------------------------------------------------------


def test_another_filter_merges_the_fields() -> None:
    ensuring = replace(CREATING, adopt=True, merges=True)
    after = settled(ensuring, Outcome.LABELLED, person=person(OLD, labels=()), kept=Kept.ADOPTED)
    assert after is not None
    assert (after.merges, after.own, after.labelled, after.stamped) == (False, Kept.ADOPTED, True, True)
    assert (after.pending, after.google, after.adopt, after.resource) == (None, OLD, False, "people/c1")
    known = settled(replace(TO_GOOGLE, stamped=False, labelled=False), Outcome.LABELLED)
    assert known == replace(TO_GOOGLE, pending=None, merges=False)
    unknown = settled(ensuring, Outcome.LABELLED, kept=Kept.OURS)
    assert unknown is not None
    assert (unknown.asked, unknown.asked_at, unknown.matched) == ("match", NOW, False)
    assert (unknown.merges, unknown.own, unknown.labelled, unknown.stamped) == (False, Kept.OURS, False, False)


def test_a_stale_write_is_decided_again_from_what_was_answered() -> None:
    after = settled(TO_GOOGLE, Outcome.STALE, person=person({"notes": "c"}, labels=()))
    assert after is not None
    assert (after.pending, after.google, after.etag, after.asked) == (None, {"notes": "c"}, "e2", "")
    labelled = settled(replace(TO_GOOGLE, labelled=False), Outcome.STALE, person=person({"notes": "c"}))
    assert labelled is not None
    assert labelled.labelled
    assert (after.base_google, after.labelled, after.google_prev) == (OLD, False, 100.0)
    after = settled(replace(TO_PLANFIX, leaving=True), Outcome.STALE, planfix=contact({"notes": "c"}))
    assert after is not None
    assert (after.pending, after.planfix, after.planfix_at, after.leaving) == (None, {"notes": "c"}, ANSWERED, False)
    assert after.planfix_wrote == 0.0, "nothing was written"


def test_an_edit_seen_again_with_a_stale_answer_is_not_later_for_that() -> None:
    edited = replace(TO_GOOGLE, google={"notes": "c"}, google_hash=content_hash({"notes": "c"}))
    after = settled(edited, Outcome.STALE, person=person({"notes": "c"}))
    assert after is not None
    assert (after.google_prev, after.google_since, after.google_at) == (50.0, 100.0, 290.0)


def test_a_stale_answer_without_news_is_no_reason_to_write_the_same_again() -> None:
    after = settled(TO_GOOGLE, Outcome.STALE)
    assert after == replace(TO_GOOGLE, pending=None, asked="person", asked_at=NOW)
    older = settled(TO_GOOGLE, Outcome.STALE, person=person(NEW, at=99.0, labels=()))
    assert older == after
    nobody = settled(replace(CREATING), Outcome.STALE)
    assert nobody == replace(CREATING, pending=None)


def test_a_person_that_is_gone_ends_what_was_under_way() -> None:
    """A look-up by name found out, while a write to Planfix was under way."""
    after = settle.person_gone(TO_PLANFIX, 305.0, NOW)
    assert after == replace(TO_PLANFIX, **{**VANISHED, "gone_at": 305.0})
    at_no_time = settle.person_gone(TO_PLANFIX, 0.0, NOW)
    assert at_no_time is not None
    assert at_no_time.gone_at == 1.0
    for known in ({"gone_at": 5.0}, {"dismissed": "Long ago."}, {"merged_into": 2}):
        again = settle.person_gone(replace(TO_PLANFIX, **known), 305.0, NOW)
        assert again == replace(TO_PLANFIX, pending=None, **known)


VANISHED: dict[str, Any] = {
    "pending": None, "labelled": False, "asked": "label", "asked_at": NOW, "gone_at": ANSWERED,
}  # fmt: skip
"""Whether a human deleted this one, or most of what is under the label, is told once the label was looked at."""
GONE = [
    # name, link, what is left of it
    (
        "deleted_by_a_human",
        TO_GOOGLE,
        replace(TO_GOOGLE, **VANISHED),
    ),
    (
        "whatever_it_waited_for",
        replace(TO_GOOGLE, asked="person", hold=Hold("held_back", "No."), due=True),
        replace(TO_GOOGLE, **VANISHED),
    ),
    ("left_meanwhile", replace(TO_GOOGLE, member=False), None),
    (
        "kept_by_hand",
        replace(TO_GOOGLE, member=False, kept="By hand."),
        replace(TO_GOOGLE, member=False, kept="By hand.", **VANISHED),
    ),
    (
        "about_to_be_adopted",
        replace(TO_GOOGLE, own=None, labelled=False, stamped=False, adopt=True, limits={"site": "No."}),
        Link(
            contact=1, planfix=NEW, planfix_hash=content_hash(NEW), planfix_at=100.0, member_at=100.0, revision=5,
            limits={"site": "No."},
        ),
    ),
    (
        "labelled_by_hand",
        replace(TO_GOOGLE, own=None),
        replace(TO_GOOGLE, own=None, **VANISHED),
    ),
    (
        "ours_without_a_label",
        replace(TO_GOOGLE, labelled=False),
        replace(TO_GOOGLE, **VANISHED),
    ),
    (
        "dismissed_before",
        replace(TO_GOOGLE, dismissed="Long ago."),
        replace(TO_GOOGLE, pending=None, dismissed="Long ago."),
    ),
    ("merged_before", replace(TO_GOOGLE, merged_into=2), replace(TO_GOOGLE, pending=None, merged_into=2)),
]  # fmt: skip


@pytest.mark.parametrize(("link", "left"), [r[1:] for r in GONE], ids=[r[0] for r in GONE])
def test_a_person_that_is_gone(link: Link, left: Link | None) -> None:
    assert settled(link, Outcome.GONE) == left


DELETED_BY_US = [
    (
        "looked_for_anew",
        replace(TO_GOOGLE, limits={"site": "No."}),
        Link(
            contact=1, planfix=NEW, planfix_hash=content_hash(NEW), planfix_at=100.0, member_at=100.0, revision=5,
            limits={"site": "No."},
        ),
    ),
    ("left_meanwhile", replace(TO_GOOGLE, member=False), None),
    (
        "dismissed_before",
        replace(TO_GOOGLE, dismissed="Long ago."),
        replace(TO_GOOGLE, pending=None, dismissed="Long ago."),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("link", "left"), [r[1:] for r in DELETED_BY_US], ids=[r[0] for r in DELETED_BY_US])
def test_a_person_that_we_deleted_for_another_filter_is_not_a_humans_deletion(link: Link, left: Link | None) -> None:
    assert settled(link, Outcome.GONE, removed=True) == left


PLANFIX_GONE = [
    ("a_member_is_looked_up", TO_PLANFIX, {"hold": Hold("held_back", CHECKING)}),
    (
        "kept_by_hand_is_looked_up",
        replace(TO_PLANFIX, member=False, kept="By hand."),
        {"hold": Hold("held_back", CHECKING)},
    ),
    (
        "one_that_left_goes_on_leaving",
        replace(TO_PLANFIX, member=False, hold=Hold("held_back", "No.")),
        {"hold": None, "leaving": True},
    ),
]


@pytest.mark.parametrize(("link", "changes"), [r[1:] for r in PLANFIX_GONE], ids=[r[0] for r in PLANFIX_GONE])
def test_a_contact_that_planfix_does_not_answer_with(link: Link, changes: dict[str, Any]) -> None:
    """Absence from one answer means nothing yet."""
    assert settled(link, Outcome.GONE) == replace(link, pending=None, **changes)


REFUSALS = [
    # name, link, outcome, reason, what changes
    ("read_only", TO_PLANFIX, Outcome.READ_ONLY, "", {"read_only": True}),
    ("account_full", CREATING, Outcome.FULL, "", {"hold": Hold("held_back", ACCOUNT_FULL)}),
    (
        "refused",
        TO_GOOGLE,
        Outcome.REFUSED,
        "Too long.",
        {"hold": Hold("quarantined", refused("google", "Too long."))},
    ),
    (
        "refused_without_a_reason",
        TO_PLANFIX,
        Outcome.REFUSED,
        "",
        {"hold": Hold("quarantined", refused("planfix", ""))},
    ),
    ("last_edit_refused", replace(TO_PLANFIX, member=False, leaving=True), Outcome.REFUSED, "No.", {}),
    (
        "removal_refused",
        replace(REMOVING, leaving=False),
        Outcome.REFUSED,
        "No.",
        {"leaving": True, "hold": Hold("quarantined", refused("google", "No."))},
    ),
    (
        "removal_refused_after_the_last_edit",
        REMOVING,
        Outcome.REFUSED,
        "No.",
        {"leaving": True, "hold": Hold("quarantined", refused("google", "No."))},
    ),
]


@pytest.mark.parametrize(
    ("link", "outcome", "reason", "changes"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_a_refused_contact_waits_with_its_reason(
    link: Link, outcome: Outcome, reason: str, changes: dict[str, Any]
) -> None:
    assert settled(link, outcome, reason=reason) == replace(link, pending=None, **changes)


# --- refused fields ---------------------------------------------------------------------------------------


def emails(*keys: str) -> tuple[Element, ...]:
    return tuple(Element(key, key) for key in keys)


def both(planfix: Contact, google: Contact, side: Side, **more: Any) -> Link:
    target, before = (google, planfix) if side is Side.PLANFIX else (planfix, google)
    under_way = pending(side, target=target, source=target, before=before)
    return replace(LINK, planfix=planfix, google=google, pending=under_way, **more)


def test_a_refused_field_stays_where_it_was_edited_with_its_reason() -> None:
    link = both({"site": "a"}, {"site": "b"}, Side.PLANFIX, limits={"site": "Before.", "skype": "No."})
    after = done(link, planfix=contact({"site": "a"}), refused={"site": "No."})
    assert (after.planfix, after.google) == ({"site": "a"}, {"site": "b"})
    assert after.limits == {"site": "No.", "skype": "No."}
    assert after.base_planfix == {"notes": "a", "site": "a"}
    assert after.base_google == {"notes": "a", "site": "b"}


def test_a_reason_ends_with_a_write_that_is_taken() -> None:
    link = both({"site": "a", "emails": ()}, {"site": "b", "emails": emails("c@x")}, Side.PLANFIX)
    link = replace(
        link, limits={"site": "No.", "emails": "No.", "emails:c@x": "No.", "custom:7": "No.", "phones": "No."}
    )
    after = done(link, planfix=contact({"site": "b", "emails": emails()}))
    assert after.limits == {"custom:7": "No.", "phones": "No."}


def test_refused_elements_are_named_one_by_one() -> None:
    link = both({"emails": emails("a@x")}, {"emails": emails("a@x", "b@x", "c@x")}, Side.PLANFIX)
    after = done(link, planfix=contact({"emails": emails("a@x", "b@x")}), refused={"emails": "Taken."})
    assert after.limits == {"emails:c@x": "Taken."}
    unreadable = done(link, planfix=contact({"notes": "a"}), refused={"emails": "Taken."})
    assert unreadable.limits == {"emails": "Taken."}


def test_what_planfix_refused_stays_named_after_a_write_to_google() -> None:
    now: Contact = {"emails": emails("a@x", "b@x"), "site": "s"}
    link = both({"emails": emails("a@x"), "site": "s"}, now, Side.GOOGLE)
    link = replace(link, limits={"emails:b@x": "Taken.", "emails:a@x": "Was.", "emails:z@x": "Was.", "site": "Was."})
    after = done(link, person=person(now, limits={"birthday": "No year.", "site": "Cut."}))
    assert after.limits == {"emails:b@x": "Taken.", "birthday": "No year.", "site": "Cut."}
    stale = settled(link, Outcome.STALE, person=person(now, limits={"birthday": "No year."}))
    assert stale is not None
    assert stale.limits == {**link.limits, "birthday": "No year."}


@pytest.mark.parametrize(
    ("name", "wanted", "side", "restored"),
    [
        pytest.param("given", "", Side.PLANFIX, True, id="a_name_cleared_in_google"),
        pytest.param("family", "", Side.PLANFIX, True, id="a_family_name_cleared_in_google"),
        pytest.param("given", "B", Side.PLANFIX, False, id="another_name"),
        pytest.param("site", "", Side.PLANFIX, False, id="no_name"),
        pytest.param("given", "", Side.GOOGLE, False, id="a_name_that_google_does_not_clear"),
    ],
)
def test_a_name_that_planfix_cannot_do_without_is_restored_in_google(
    name: str, wanted: str, side: Side, restored: bool
) -> None:
    """Without an entry in the reasons: it counts as Planfix's change against a base without the name."""
    planfix, google = ({name: "A"}, {name: wanted}) if side is Side.PLANFIX else ({name: wanted}, {name: "A"})
    answer: dict[str, Any] = (
        {"planfix": contact({name: "A"})} if side is Side.PLANFIX else {"person": person({name: "A"})}
    )
    after = done(both(planfix, google, side), refused={name: "Needed."}, **answer)
    assert after.base_planfix is not None
    assert after.base_google is not None
    if restored:
        assert (after.base_planfix[name], after.base_google[name], after.limits) == ("", "", {})
    else:
        assert after.limits == {name: "Needed."}
        assert (after.base_planfix[name], after.base_google[name]) == (planfix[name], google[name])


def test_a_contact_whose_person_was_merged_into_anothers_is_not_created_again() -> None:
    link = replace(TO_GOOGLE, asked="person", hold=Hold("held_back", "No."))
    assert settle.merged(link, 2) == replace(TO_GOOGLE, pending=None, resource=None, labelled=False, merged_into=2)


# --- from an older state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("latest", [5, 8], ids=["by_the_same_number", "later"])
@pytest.mark.parametrize(
    ("there", "reason"),
    [(None, DELETED), (person(NEW, labels=()), UNLABELLED)],
    ids=["deleted", "off"],
)
def test_what_a_human_took_away_after_the_state_that_we_have_is_dismissed(
    there: GooglePerson | None, reason: str, latest: int
) -> None:
    left = settled(TO_GOOGLE, Outcome.GONE, person=there, latest=latest)
    assert left is not None
    assert (left.pending, left.dismissed, left.labelled, left.revision) == (None, reason, False, latest)


@pytest.mark.parametrize("latest", [0, 4])
def test_a_person_that_is_gone_for_a_state_that_is_the_latest_is_looked_for(latest: int) -> None:
    left = settled(TO_GOOGLE, Outcome.GONE, latest=latest)
    assert left is not None
    assert (left.asked, left.dismissed) == ("label", "")


# --- what Planfix cannot be given ----------------------------------------------------------------------------

HERE, THERE = Element("+491", "+491", "work"), Element("+492", "+492", "work")
WANTED: Contact = {"notes": "b", "position": "Boss", "site": "x.example", "phones": (HERE, THERE), "emails": (HERE,)}


def test_what_google_had_before_there_was_any_agreement_stays_there_with_a_reason() -> None:
    known: Contact = {"notes": "a", "site": "old.example", "phones": (HERE,)}
    link = replace(
        TO_PLANFIX, planfix=known, base_planfix={"notes": "a"}, pending=pending(Side.PLANFIX, target=WANTED)
    )
    left = settled(replace(link, limits={"skype": "No."}), Outcome.READ_ONLY)
    assert left is not None
    assert left.read_only
    assert left.limits == {
        "skype": "No.",  # as before; notes were agreed on, site and a number are in Planfix
        "position": STAYS_IN_GOOGLE,
        "phones:+492": STAYS_IN_GOOGLE,
        "emails:+491": STAYS_IN_GOOGLE,
    }


def test_without_any_agreement_nothing_is_taken_away_from_google() -> None:
    bare = replace(TO_PLANFIX, planfix=None, base_planfix=None, pending=pending(Side.PLANFIX, target=WANTED))
    left = settled(bare, Outcome.READ_ONLY)
    assert left is not None
    assert left.limits.keys() == {"notes", "position", "site", "phones:+491", "phones:+492", "emails:+491"}
