"""Partners in a preview: an older answer, corrected by who moved in Google since."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from contactsync.reconciler.core.previewing import called, with_newcomers
from contactsync_contracts.messages import Candidate, ContactCandidates, GoogleCandidates

By = Literal["stamp", "email", "phone"]


def people(*named: tuple[str, By]) -> tuple[Candidate, ...]:
    return tuple(Candidate(resource=resource, by=by) for resource, by in named)


ROWS: dict[str, tuple[Any, Any, Any, Any]] = {
    "nobody moved": ([("a", "email")], [], [], [("a", "email")]),
    "somebody came": ([], ["a"], [("a", "email")], [("a", "email")]),
    "somebody went": ([("a", "email"), ("b", "phone")], ["a"], [], [("b", "phone")]),
    "somebody has another address": ([("a", "email")], ["a"], [("a", "phone")], [("a", "phone")]),
    "one with the stamp came": ([("a", "email")], ["b"], [("b", "stamp")], [("b", "stamp")]),
    "an address goes before a number": ([("a", "phone")], ["b"], [("b", "email")], [("b", "email"), ("a", "phone")]),
}


@pytest.mark.parametrize(("older", "moved", "newer", "expected"), ROWS.values(), ids=ROWS)
def test_candidates_are_as_if_the_watcher_had_read_on(older: Any, moved: Any, newer: Any, expected: Any) -> None:
    answers = (ContactCandidates(contact=1, candidates=people(*older)), ContactCandidates(contact=2))
    answer = GoogleCandidates(filter_id="1", account="101", seen_at=1.0, answers=answers)
    later = [ContactCandidates(contact=1, candidates=people(*newer)).model_dump(mode="json")]
    corrected = with_newcomers(answer, moved, later)
    assert corrected.answers[0].candidates == people(*expected)
    assert corrected.answers[1] == ContactCandidates(contact=2)


def test_people_read_names_in_a_preview() -> None:
    assert called({"given": "Ada", "family": "Adams"}, {"given": "Adah"}) == "Ada Adams"
    assert called({"notes": "x"}, None, {"company": "Acme", "given": ""}) == "Acme"
    assert called(None, {}) == ""
