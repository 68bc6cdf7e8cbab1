"""What the writer makes of Planfix's answers about single fields, new contacts and rights."""

from __future__ import annotations

import pytest

from contactsync.writer.planfix_batch import alike_new, confirmed_missing, fewer_emails, proof
from contactsync_contracts.contact import Contact, Element


def mails(*names: str) -> tuple[Element, ...]:
    return tuple(Element(name, name) for name in names)


@pytest.mark.parametrize(
    ("wanted", "held", "expected"),
    [
        pytest.param(mails("x", "b"), mails("a"), mails("b"), id="the primary one is taken: the next"),
        pytest.param(mails("x"), mails("a"), (), id="none left: the old one goes all the same"),
        pytest.param(mails("x"), (), None, id="none left and none there"),
        pytest.param(mails("x", "b"), None, mails("b"), id="nothing known of Planfix"),
        pytest.param(
            mails("b", "a", "c"), mails("a"), mails("a"), id="its own stays: the additional ones are refused"
        ),
        pytest.param(mails("a"), mails("a"), None, id="nothing to try"),
        pytest.param((), mails("a"), None, id="cleared"),
    ],
)
def test_the_addresses_without_the_refused_one(
    wanted: tuple[Element, ...], held: tuple[Element, ...] | None, expected: tuple[Element, ...] | None
) -> None:
    assert fewer_emails(wanted, held) == expected


SENT: Contact = {"given": "Ann", "family": "Lee", "emails": mails("a"), "phones": mails("1")}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            {"given": "Ann", "family": "Lee", "middle": "", "emails": mails("a")}, True, id="name and e-mail"
        ),
        pytest.param({"given": "Ann", "family": "Lee", "phones": mails("2", "1")}, True, id="name and phone"),
        pytest.param({"given": "Ann", "family": "Lee"}, False, id="a name alone"),
        pytest.param({"given": "Bob", "family": "Lee", "phones": mails("1")}, False, id="a shared phone"),
        pytest.param(
            {"given": "Ann", "family": "Lee", "middle": "B", "emails": mails("a")}, False, id="more of a name"
        ),
    ],
)
def test_a_new_contact_is_the_one_that_was_sent(found: Contact, expected: bool) -> None:
    assert alike_new(SENT, found) is expected


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
