"""Whether contacts that may not be edited are really locked: what is asked together (2-semantics 2.4)."""

from __future__ import annotations

import pytest

from contactsync.writer.planfix_batch import confirmed_missing, proof


@pytest.mark.parametrize("known", [0, 1, 2, 3, 4, 7, 60, 99, 100])
@pytest.mark.parametrize("missing", [1, 5, 80])
def test_no_more_is_asked_for_than_was_shown_at_once(missing: int, known: int) -> None:
    asked, with_known = proof(range(1000, 1000 + missing), range(known))
    assert len(with_known) > len(asked) or not asked
    assert len(asked) + len(with_known) <= max(3, known)
    assert bool(asked) == (known > 1)


def test_an_answer_that_is_always_cut_at_the_same_length_locks_nobody() -> None:
    editable = range(1, 8)
    for most in range(3, 7):
        missing = list(editable[most:])
        while missing:
            asked, with_known = proof(missing, editable[:most])
            answers = [[number for number in editable if number in (*asked, *with_known)][:most]] * 2
            assert confirmed_missing(asked, with_known, answers) == frozenset()
            missing = [number for number in missing if number not in asked]
