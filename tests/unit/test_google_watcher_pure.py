"""What to read next, whom to tell, and who may be whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.chunks import chunks
from contactsync.google_watcher.answers import observed_json, person_json
from contactsync.google_watcher.cursor import (
    LAST,
    TOKEN_AGE_MAX_S,
    Cursor,
    Read,
    concerned,
    concerned_in_listing,
    decode,
    encode,
    label_of,
    listed_parts,
    listing_complete,
    next_read,
)
from contactsync.google_watcher.index import Entry, Index, entry_of, version_of
from contactsync.hashing import Hasher
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import GoogleObserved, GooglePerson, Kept, MatchQuery, Stamp

HASHER = Hasher(b"secret")
NOW = 1_000_000.0


def person(
    resource: str = "people/c1", *, stamps: tuple[int, ...] = (), email: str = "", phone: str = ""
) -> GooglePerson:
    return GooglePerson(
        resource=resource,
        source_id=resource,
        etag="e",
        updated_at=1.0,
        fields={
            "given": "Ann",
            "emails": (Element(email, email),) if email else (),
            "phones": (Element(phone, phone),) if phone else (),
        },
        raw={},
        stamps=tuple(Stamp(contact=number, kept=Kept.OURS) for number in stamps),
    )


def index_of(*people: GooglePerson) -> Index:
    index = Index(complete=True)
    for one in people:
        index.put(one.resource, entry_of(one, version_of(one), (), HASHER))
    return index


def test_the_person_that_a_contact_was_made_from_goes_before_those_who_share_an_address() -> None:
    made, other, stamped = person("people/c1"), person("people/c2", email="a@x"), person("people/c3", stamps=(9,))
    index = index_of(made, other, stamped)

    def found(contact: int, source: str) -> list[tuple[str, str]]:
        query = MatchQuery(contact=contact, emails=(HASHER.email("a@x"),), source=source)
        return [(one.resource, one.by) for one in index.candidates(query).candidates]

    assert found(5, "people/c1") == [("people/c1", "source")]
    assert found(9, "people/c1") == [("people/c3", "stamp")]
    assert found(5, "people/c3") == [("people/c2", "email")], "it carries another contact's stamp"
    assert found(5, "people/gone") == found(5, "") == [("people/c2", "email")]


@pytest.mark.parametrize(
    ("cursor_age_s", "parameters", "indexed", "due", "listing", "matching", "read"),
    [
        pytest.param(60, "p", True, False, False, False, Read.NONE, id="nothing to do"),
        pytest.param(60, "p", True, True, False, False, Read.DELTA, id="a poll"),
        pytest.param(60, "p", True, False, True, False, Read.FULL, id="somebody waits for a listing"),
        pytest.param(60, "p", True, False, False, True, Read.NONE, id="the index is there to match with"),
        pytest.param(60, "p", False, False, False, True, Read.CATCH_UP, id="to match, the index is completed first"),
        pytest.param(60, "p", False, True, False, False, Read.CATCH_UP, id="after a restart"),
        pytest.param(None, "p", False, True, False, False, Read.FULL, id="the first read"),
        pytest.param(90_000, "p", True, True, False, False, Read.FULL, id="a day old"),
        pytest.param(TOKEN_AGE_MAX_S, "p", False, True, False, False, Read.FULL, id="the token is about to expire"),
        pytest.param(60, "other", False, True, False, False, Read.FULL, id="the fields changed with a release"),
    ],
)
def test_next_read(
    cursor_age_s: float | None, parameters: str, indexed: bool, due: bool, listing: bool, matching: bool, read: Read
) -> None:
    cursor = None if cursor_age_s is None else Cursor("t", parameters, NOW - cursor_age_s, frozenset({"a", "b"}))
    assert (
        next_read(
            cursor,
            now=NOW,
            parameters="p",
            labels={"a"},
            full_s=86400,
            indexed=indexed,
            due=due,
            listing_asked=listing,
            index_asked=matching,
        )
        is read
    )


def test_a_filter_whose_label_was_not_known_in_a_read_needs_a_listing() -> None:
    def read(cursor: Cursor, *, due: bool = True) -> Read:
        return next_read(
            cursor,
            now=NOW,
            parameters="p",
            labels={"a", "b"},
            full_s=86400,
            indexed=True,
            due=due,
            listing_asked=False,
            index_asked=False,
        )

    cursor = Cursor("t", "p", NOW - 60, frozenset({"a", "b"}))
    missed = cursor.read_with({"a", "c"})
    assert (cursor.behind({"a", "b"}), missed.behind({"a", "b"})) == (set(), {"b"})
    assert (read(cursor), read(missed), read(missed, due=False)) == (Read.DELTA, Read.FULL, Read.NONE)
    assert (read(cursor.expired()), cursor.expired().behind({"c"})) == (Read.FULL, {"c"})
    former = decode(b'{"sync_token": "t", "parameters": "p", "full_at": 1.5}')
    assert former is not None
    assert (former.behind({"a"}), former.read_with({"a"}).behind({"a", "b"})) == (set(), {"b"})


def test_a_cursor_survives_its_record_and_a_broken_record_is_no_cursor() -> None:
    for labels in (frozenset({"a"}), frozenset[str](), None):
        cursor = Cursor("token", "hash", 12.5, labels)
        assert decode(encode(cursor)) == cursor
    assert decode(b'{"sync_token": "x"}') is None
    assert decode(b"[]") is None


@pytest.mark.parametrize(
    ("received", "totals", "token", "complete"),
    [
        (10, [10, 10], "t", True),
        (9, [10, 10], "t", False),
        (10, [10], None, False),
        pytest.param(10, [10, 11], "t", True, id="somebody came while it was read"),
        (0, [], "t", True),
    ],
)
def test_a_listing_counts_only_with_everybody_and_a_token(
    received: int, totals: list[int], token: str | None, complete: bool
) -> None:
    assert listing_complete(received, totals, token) is complete


FILTERS = {"L1": "f1", "L2": "f2"}


def entry(labels: tuple[str, ...] = (), stamps: tuple[int, ...] = (), told: tuple[str, ...] = ()) -> Entry:
    return Entry(0, labels, stamps, (), (), ("", "", False, ""), told)


@pytest.mark.parametrize(
    ("labels", "stamped", "before", "told", "listed"),
    [
        pytest.param(("L1",), False, [entry(("L2",))], {"f1", "f2"}, {"f1", "f2"}, id="moved to another label"),
        pytest.param((), False, [entry(("L2",))], {"f2"}, {"f2"}, id="label taken off"),
        pytest.param((), False, [], set(), set(), id="a private person"),
        pytest.param(("L9",), False, [entry(told=("f1",))], set(), set(), id="private, though once looked at"),
        pytest.param((), True, [entry(stamps=(1,), told=("f2",))], {"f1", "f2"}, {"f1", "f2"}, id="stamped alone"),
        pytest.param(("L1",), True, [], {"f1", "f2"}, {"f1"}, id="stamped and labelled"),
        pytest.param((), False, [entry(("L1",), (1,), ("f1",))], {"f1", "f2"}, {"f1"}, id="stamp and label lost"),
    ],
)
def test_concerned(
    labels: tuple[str, ...], stamped: bool, before: list[Entry], told: set[str], listed: set[str]
) -> None:
    assert concerned(labels, stamped=stamped, before=before, filters=FILTERS) == told
    assert concerned_in_listing(labels, stamped=stamped, before=before, filters=FILTERS) == listed


@given(st.lists(st.from_regex(r"people/c[0-9]{1,6}", fullmatch=True)), st.integers(1, 4), st.text(max_size=12))
def test_listed_ranges_hold_every_name_in_exactly_one_place(names: list[str], size: int, probe: str) -> None:
    parts = listed_parts(names, size)
    assert [name for _, _, part in parts for name in part] == sorted(set(names))
    assert parts[0][0] == ""
    assert parts[-1][1] == LAST
    assert all(len(part) <= size and all(low <= name <= high for name in part) for low, high, part in parts)
    assert sum(low <= probe <= high for low, high, _ in parts) == 1


def test_the_stamp_wins_over_an_equal_address() -> None:
    index = index_of(person("people/c1", stamps=(7,)), person("people/c2", email="a@x.example"))
    found = index.candidates(MatchQuery(contact=7, emails=(HASHER.email("a@x.example"),)))
    assert [(one.resource, one.by) for one in found.candidates] == [("people/c1", "stamp")]


def test_an_email_goes_before_a_phone_and_somebody_elses_person_is_no_candidate() -> None:
    index = index_of(
        person("people/c1", email="a@x.example", stamps=(9,)),
        person("people/c2", email="a@x.example"),
        person("people/c3", phone="+12025550101"),
    )
    query = MatchQuery(contact=7, emails=(HASHER.email("a@x.example"),), phones=(HASHER.phone("+12025550101"),))
    found = [(one.resource, one.by) for one in index.candidates(query).candidates]
    assert found == [("people/c2", "email"), ("people/c3", "phone")]
    phones = query.model_copy(update={"emails": ()})
    assert [(one.resource, one.by) for one in index.candidates(phones).candidates] == [("people/c3", "phone")]


def test_an_index_that_was_folded_up_answers_as_before() -> None:
    people = [person(f"people/c{n}", email=f"{n}@x.example", stamps=(n,) if n % 2 else ()) for n in range(1, 200)]
    index, kept = index_of(*people), index_of(*people)
    index.complete = True
    index.fold()
    assert (index.unfolded, index.complete) == (0, True)
    index.was_touched()
    queries = [MatchQuery(contact=n, emails=(HASHER.email(f"{n + 1}@x.example"),)) for n in (3, 5, 1001)]
    assert [index.candidates(query) for query in queries] == [kept.candidates(query) for query in queries]
    assert index.people == kept.people
    assert (index.unfolded, index.was_touched(), index.was_touched()) == (199, True, False)
    index.fold()
    index.drop("people/c7")
    assert index.people.keys() == kept.people.keys() - {"people/c7"}
    index.fold()
    index.clear()
    assert not index.people


def test_candidates_say_nothing_in_clear() -> None:
    found = index_of(person(email="a@x.example")).candidates(
        MatchQuery(contact=1, emails=(HASHER.email("a@x.example"),))
    )
    assert found.candidates[0].given == HASHER.names("Ann", "")[0]
    assert "Ann" not in found.model_dump_json()


def test_a_changed_person_is_found_by_its_new_address_only() -> None:
    index = index_of(person(email="old@x.example"))
    now = person(email="new@x.example")
    index.put(now.resource, entry_of(now, 1, (), HASHER))
    assert not index.candidates(MatchQuery(contact=1, emails=(HASHER.email("old@x.example"),))).candidates
    assert index.candidates(MatchQuery(contact=1, emails=(HASHER.email("new@x.example"),))).candidates
    index.keep_only(())
    assert not index.candidates(MatchQuery(contact=1, emails=(HASHER.email("new@x.example"),))).candidates


def test_only_what_moved_changes_the_version() -> None:
    one = person(email="a@x.example")
    assert version_of(one) == version_of(one.model_copy(update={"updated_at": 99.0, "raw": {"a": 1}}))
    changes: list[dict[str, object]] = [
        {"etag": "f"},
        {"labels": ("L",)},
        {"stamps": (Stamp(contact=1, kept=Kept.OURS),)},
        {"fields": {}},
    ]
    for change in changes:
        assert version_of(one) != version_of(one.model_copy(update=change))


def test_messages_stay_within_their_limits_and_lose_nobody() -> None:
    items = [b"x" * size for size in (5, 5, 20, 1, 1, 1)]
    assert [len(chunk) for chunk in chunks(items, len, count_max=2, bytes_max=13)] == [2, 1, 2, 1]
    assert [item for chunk in chunks(items, len, 2, 13) for item in chunk] == items


def test_people_are_read_back_as_they_were_sent() -> None:
    people = [person(f"people/c{n}", stamps=(n,), email="a@x.example") for n in range(1, 402)]
    bodies = list(
        observed_json(
            filter_id="f", account="a", seen_at=1.5, people=[person_json(p) for p in people], request_id="r"
        )
    )
    messages = [GoogleObserved.model_validate_json(body) for body in bodies]
    assert [len(message.people) for message in messages] == [200, 200, 1]
    assert [one for message in messages for one in message.people] == people
    assert {message.request_id for message in messages} == {"r"}


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (b"contactGroups/1", "contactGroups/1"),
        (b'{"resource": "contactGroups/1", "name": "X"}', "contactGroups/1"),
        pytest.param(b'{"resource": "", "name": "X"}', None, id="not created yet"),
    ],
)
def test_the_label_of_the_writers_record(value: bytes, label: str | None) -> None:
    assert label_of(value) == label
