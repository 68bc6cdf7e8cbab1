"""A vendor that does not answer is tried more and more rarely, and once a minute at least."""

from __future__ import annotations

from contactsync.errors import OutcomeUnknown, Unavailable
from contactsync.writer.patience import Patience


def test_pauses_grow_to_a_minute_and_start_anew_once_it_answers() -> None:
    patience = Patience()
    assert [patience.after(OutcomeUnknown("lost")) for _ in range(6)] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    patience.rewarded()
    assert patience.after(Unavailable("gone", 2.0)) == 5.0


def test_a_longer_pause_that_was_asked_for_is_kept_and_a_quotas_does_not_grow() -> None:
    patience = Patience()
    assert patience.after(Unavailable("later", 300.0)) == 300.0
    assert [patience.after(Unavailable("used up", 7.0, "critical")) for _ in range(5)] == [7.0] * 5
    assert patience.after(Unavailable("gone", 2.0)) == 10.0
