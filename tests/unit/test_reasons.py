"""Every contact that is not in sync says why, in words for people who never saw an API."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.describe import arrival_status, contact_status
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.link import Arrival, Hold, Link, Pending
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.reasons import WAITS
from contactsync_contracts.messages import ContactState, FilterState, Kept

JARGON = re.compile(r"http|etag|json|null|exception|api\b|resource|payload|`", re.IGNORECASE)

SEEN = Link(contact=7, planfix={"given": "Ann"}, google={"given": "Ann"}, resource="people/c1", own=Kept.OURS)
DONE = replace(SEEN, labelled=True, stamped=True)
WRITE = Pending(Side.GOOGLE, "update", "f.7.1", 1, {}, {}, {}, 0.0)
PERSON = Arrival(source_id="c9", resource="people/c9", etag="e", google={}, google_at=1.0, raw={})

LINKS = {
    "not looked at yet": Link(contact=7),
    "being matched": Link(contact=7, asked="match"),
    "being written": replace(DONE, pending=WRITE),
    "matched, the first sync still runs": replace(SEEN, own=None, adopt=True),
    "the label is gone from many": replace(SEEN, due=True),
    "deleted with many": replace(SEEN, due=True, gone_at=5.0),
    "possible duplicate": Link(contact=7, hold=Hold("possible_duplicate", reasons.MANY_PEOPLE, ("a", "b"))),
    "held back": replace(DONE, hold=Hold("held_back", reasons.ACCOUNT_FULL)),
    "refused": replace(DONE, hold=Hold("quarantined", reasons.refused("google", ""))),
    "waits for an approval": replace(DONE, frozen=Frozen(1, "x")),
    "dismissed": replace(DONE, dismissed=reasons.DELETED),
    "merged": replace(DONE, merged_into=8),
}
ARRIVALS = {
    "being matched": replace(PERSON, stage="matching"),
    "reverse sync off": replace(PERSON, stage="held", reason=reasons.REVERSE_OFF),
    "two contacts": replace(
        PERSON, stage="held", reason=reasons.MANY_CONTACTS, state="possible_duplicate", candidates=(5, 6)
    ),
    "a copy": replace(PERSON, stage="held", reason=reasons.COPY, state="possible_duplicate", stamp_contact=5),
}
SENTENCES = {
    **{name: text for name, text in vars(reasons).items() if name.isupper() and isinstance(text, str)},
    **{f"waits: {kind}": text for kind, text in WAITS.items()},
    **{f"problem: {state}": reasons.problem(state, "some words.") for state in FilterState},
    "refused": reasons.refused("planfix", "No."),
    "merged into": reasons.merged_into(3),
    "lost": reasons.lost_most(3),
}
del SENTENCES["POSSIBLE_DUPLICATE"]  # a state's name


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES.keys())
def test_a_reason_is_a_plain_sentence(text: str) -> None:
    assert re.fullmatch(r"[A-Z0-9].*\.", text)
    assert ".." not in text
    assert not JARGON.search(text)


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
def test_a_contact_that_is_not_in_sync_says_why(link: Link) -> None:
    said = contact_status(link)
    assert said["state"] != ContactState.IN_SYNC
    assert said["reason"]


def test_a_contact_in_sync_needs_no_reason() -> None:
    said = contact_status(DONE)
    assert (said["state"], said["reason"]) == (ContactState.IN_SYNC, "")


@pytest.mark.parametrize("arrival", ARRIVALS.values(), ids=ARRIVALS.keys())
def test_a_person_without_a_contact_says_why_and_who_it_could_be(arrival: Arrival) -> None:
    said = arrival_status(arrival)
    assert said["state"] != ContactState.IN_SYNC
    assert said["reason"]
    assert said["person"] == "people/c9"
    assert bool(said["candidates"]) is (said["state"] == ContactState.POSSIBLE_DUPLICATE)


@pytest.mark.parametrize("problem", ["frozen", "reconnect_needed", "plan_needed", "filter_gone", "owner_gone"])
def test_a_filter_that_does_not_go_on_says_why_and_what_to_do(problem: str) -> None:
    record = FilterRecord("f", "Clients", 7, "acc", "a@x", 0.0, problem=problem)
    assert replace(record, problem_reason=reasons.problem(problem, "")).reason
    assert replace(record, problem="", paused=True).reason == reasons.PAUSED
