"""What is stored of links, people and filters is read back as it was."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.filter import FilterRecord, Run, Undo, filter_from_json, filter_to_json
from contactsync.reconciler.core.index import Entry
from contactsync.reconciler.core.link import (
    Arrival,
    Hold,
    Link,
    Pending,
    Undoing,
    arrival_from_json,
    arrival_to_json,
    link_from_json,
    link_to_json,
)
from contactsync.reconciler.core.merge import Lost, Side
from contactsync.reconciler.core.outline import outlined
from contactsync.reconciler.core.slots import Turn
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import ContactState, Kept

texts = st.sampled_from(["", "a", "="])
elements = st.lists(st.builds(Element, texts, texts, texts), max_size=2).map(tuple)
contacts = st.dictionaries(st.sampled_from(["notes", "phones", "emails", "family"]), texts | elements, max_size=3)
times = st.integers(0, 3).map(float)
pendings = st.builds(
    Pending,
    side=st.sampled_from(Side),
    op=st.sampled_from(["ensure", "update", "adopt", "remove"]),
    mutation_id=texts,
    revision=st.integers(1, 3),
    target=contacts,
    source=contacts,
    before=contacts,
    at=times,
    etag=texts,
    cause=texts,
    run=texts,
    lost=st.lists(st.builds(Lost, texts, st.sampled_from(Side), texts), max_size=2).map(tuple),
)
values = st.none() | texts | st.builds(Element, texts, texts, texts)
turns = st.dictionaries(st.sampled_from(["notes", "phones:+1"]), st.builds(Turn, values, values), max_size=2)
undoings = st.builds(Undoing, texts, texts, planfix=turns, google=turns, tried=st.booleans(), unlink=texts)
holds = st.builds(
    Hold, st.sampled_from([state.value for state in ContactState]), texts, st.lists(texts, max_size=2).map(tuple)
)
links = st.builds(
    Link,
    contact=st.integers(1, 9),
    member=st.booleans(),
    member_at=times,
    planfix=st.none() | contacts,
    google=st.none() | contacts,
    base_planfix=st.none() | contacts,
    base_google=st.none() | contacts,
    raw=st.none() | st.just({"names": [1]}),
    own=st.none() | st.sampled_from(Kept),
    pending=st.none() | pendings,
    hold=st.none() | holds,
    merged_into=st.none() | st.integers(1, 9),
    cause=texts,
    undoing=st.none() | undoings,
    resource=st.none() | texts,
    etag=texts,
    asked=st.sampled_from(["", "match", "person"]),
    asked_at=times,
    labelled=st.booleans(),
    stamped=st.booleans(),
    read_only=st.booleans(),
    due=st.booleans(),
    dismissed=texts,
    dismissed_at=times,
    gone_at=times,
    planfix_hash=st.integers(0, 2**64 - 1),
    planfix_wrote=times,
    frozen=st.none() | st.builds(Frozen, st.integers(1, 3), texts),
    limits=st.dictionaries(texts, texts, max_size=2),
)


def through_the_store(stored: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(orjson.dumps(stored))
    return read


@given(links)
def test_a_link_is_read_back_as_it_was(link: Link) -> None:
    assert link_from_json(through_the_store(link_to_json(link))) == link


def test_a_link_in_sync_does_not_repeat_its_content() -> None:
    content: Contact = {"notes": "text"}
    link = Link(contact=1, planfix=content, google=content, base_planfix=content, base_google=content)
    stored = link_to_json(link)
    assert stored["base_planfix"] == stored["base_google"] == "="
    assert link_from_json(through_the_store(stored)) == link


def test_what_a_later_release_stored_is_ignored() -> None:
    stored = {**link_to_json(Link(contact=1)), "something_new": [1]}
    assert link_from_json(stored) == Link(contact=1)


@given(contacts, st.none() | contacts)
def test_an_arrival_is_read_back_as_it_was(google: Contact, source: Contact | None) -> None:
    arrival = Arrival("c1", "people/c1", "e1", google, 1.0, {"names": []}, stage="held", source=source, reason="why")
    assert arrival_from_json(through_the_store(arrival_to_json(arrival))) == arrival


def test_a_filter_is_read_back_as_it_was() -> None:
    run = Run("r", "r", 1.0, waits=("planfix", "google"), created=2)
    undo = Undo("u", run="r", after=7, finished=False, undone=3, left=1, why=("7.1: notes was edited since",))
    record = FilterRecord(
        "f1", "Clients", 7, "acc", "a@x", 1.0, run=run, undo=undo, waiting=("s",), counts={"in_sync": 2}
    )
    stored = filter_to_json(record)
    assert stored["state"] == record.state.value
    assert filter_from_json(through_the_store(stored)) == record


@given(links)
def test_the_index_needs_no_more_than_an_outline(link: Link) -> None:
    known = outlined(orjson.dumps(link_to_json(link)))
    whole, outline = Entry(link), Entry(known)
    assert {name: getattr(outline, name) for name in Entry.__slots__} == {
        name: getattr(whole, name) for name in Entry.__slots__
    }
    if link.open or link.frozen is not None:
        assert known == link
