"""What a listing of an account proves about somebody who is not in it."""

from __future__ import annotations

import pytest

from contactsync.google.port import PeoplePage
from contactsync.writer.absence import Listing, hidden, missing, uncounted
from contactsync_contracts.messages import GooglePerson, Kept, Stamp

BEGAN = 10_000.0
LAG_S = 300.0


def person(name: str, *labels: str, contact: int = 0, updated_at: float = 0.0) -> GooglePerson:
    return GooglePerson(
        resource=f"people/{name}",
        source_id=name,
        etag="#1",
        updated_at=updated_at,
        fields={},
        raw={},
        labels=labels,
        stamps=(Stamp(contact=contact, kept=Kept.OURS),) if contact else (),
    )


def listing(*people: GooglePerson, total: int | None = None, unreadable: tuple[str, ...] = ()) -> Listing:
    found = Listing(BEGAN, frozenset({7}))
    found.add(PeoplePage(people, (), None, "token", total, dict.fromkeys(unreadable, "unreadable")))
    return found


def test_stamps_that_are_looked_for_are_found_and_people_counted_once() -> None:
    found = listing(
        person("a", contact=7), person("b", contact=8), person("a", contact=7), unreadable=("people/c", "4")
    )
    assert [one.resource for one in found.stamped] == ["people/a"]
    assert found.count == 4


def test_the_highest_total_of_the_pages_counts() -> None:
    found = Listing(BEGAN, frozenset())
    found.add(PeoplePage((person("a"),), (), "1", None, 3))
    found.add(PeoplePage((person("b"),), (), None, "token", 2))
    assert found.cut


def test_known_people_that_were_not_listed_are_missing() -> None:
    assert missing(listing(person("a")), {"people/a", "people/c", "people/b"}) == ["people/b", "people/c"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        pytest.param(None, False, id="deleted"),
        pytest.param(person("b", updated_at=BEGAN - LAG_S), True, id="there all the time"),
        pytest.param(person("b", updated_at=BEGAN - 1), False, id="written lately: lists may lag"),
        pytest.param(person("a"), False, id="merged into somebody listed"),
    ],
)
def test_a_missing_person_that_is_there_makes_the_listing_worthless(
    there: GooglePerson | None, expected: bool
) -> None:
    assert hidden(listing(person("a")), there, LAG_S) is expected


@pytest.mark.parametrize(
    ("count", "known", "unreadable", "expected"),
    [
        pytest.param(1, set(), (), False, id="as many as listed"),
        pytest.param(0, set(), (), False, id="fewer: taken off lately"),
        pytest.param(2, set(), (), True, id="one that nobody has seen"),
        pytest.param(2, {"people/b"}, (), False, id="one whom we know"),
        pytest.param(2, {"people/a"}, (), True, id="the one whom we know was listed"),
        pytest.param(2, set(), ("1",), False, id="one that could not be read"),
    ],
)
def test_a_label_counts_people_that_nobody_has_seen(
    count: int, known: set[str], unreadable: tuple[str, ...], expected: bool
) -> None:
    found = listing(person("a", "contactGroups/g"), unreadable=unreadable)
    assert uncounted(found, {"contactGroups/g": count}, {"contactGroups/g": known}) is expected
