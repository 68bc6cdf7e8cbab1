"""Messages are cut to what fits, named after all they hold, and built from the link alone."""

from __future__ import annotations

from dataclasses import replace

from contactsync.hashing import Hasher
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.link import Link, Pending
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.outbox import Outbox, Outgoing
from contactsync.reconciler.core.step import Begun, Step, Wishes
from contactsync_contracts import subjects
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    BYTES_MAX,
    CONTACTS_MAX,
    Class,
    LookGoogle,
    LookPlanfix,
    Mutate,
    NewContactDefaults,
)

HASHER = Hasher(b"a key for tests")
RECORD = FilterRecord("f1", "Clients", 7, "acc", "a@x", 5.0, phase="done", label="contactGroups/1")


def outbox(epoch: int = 3) -> Outbox:
    return Outbox(HASHER, NewContactDefaults(), epoch)


def update(contact: int, *, side: Side = Side.GOOGLE, notes: str = "new") -> Begun:
    target = {"notes": notes}
    pending = Pending(side, "update", f"f1.{contact}.2", 2, {**target}, {**target}, {"notes": "old"}, 1.0, "e1")
    link = Link(contact, resource=f"people/c{contact}", etag="e2", raw={"a": 1}, pending=pending, revision=2)
    return Begun(link, write=True, ask=False)


def ask(contact: int, what: str) -> Begun:
    fields = {"emails": (Element("a@x", "A@x"),), "phones": (Element("+1", "1"),)}
    link = Link(contact, planfix={**fields}, resource=f"people/c{contact}", asked=what)  # type: ignore[arg-type]
    return Begun(link, write=False, ask=True)


def step(*begun: Begun, wishes: Wishes | None = None) -> Step:
    return Step(RECORD, False, {}, {}, list(begun), [], wishes or Wishes(), [], [], [])


def mutates(outgoing: list[Outgoing]) -> list[Mutate]:
    return [out.message for out in outgoing if isinstance(out.message, Mutate)]


def test_a_message_holds_at_most_two_hundred_contacts() -> None:
    messages = mutates(outbox().messages(step(*(update(n) for n in range(1, 2 * CONTACTS_MAX + 2)))))
    assert [len(m.google) for m in messages] == [CONTACTS_MAX, CONTACTS_MAX, 1]


def test_a_message_that_is_too_large_is_halved_and_nothing_is_left_out() -> None:
    begun = [update(n, notes="x" * 9000) for n in range(1, 121)]
    outgoing = outbox().messages(step(*begun))
    assert all(len(out.data) <= BYTES_MAX for out in outgoing)
    assert [one.contact for m in mutates(outgoing) for one in m.google] == list(range(1, 121))


def test_each_side_has_its_target() -> None:
    google, planfix = outbox().messages(step(update(1), update(2, side=Side.PLANFIX)))
    assert (google.subject, planfix.subject) == (subjects.mutate("acc"), subjects.mutate("planfix"))
    (one,) = mutates([planfix])[0].planfix
    assert (one.fields, one.expected, one.owner) == ({"notes": "new"}, {"notes": "old"}, 7)


def test_a_write_is_sent_at_the_etag_it_was_decided_on() -> None:
    (message,) = mutates(outbox().messages(step(update(1))))
    assert message.google[0].etag == "e1"


def test_a_larger_message_in_the_same_epoch_has_another_id() -> None:
    box = outbox()
    (first,) = box.messages(step(update(1)))
    (larger,) = box.messages(step(update(1), update(2)))
    (again,) = box.messages(step(update(1)))
    assert first.msg_id == again.msg_id
    assert first.msg_id != larger.msg_id


def test_the_same_message_of_a_new_owner_has_another_id_and_the_same_mutation() -> None:
    (one,) = outbox(3).messages(step(update(1)))
    (other,) = outbox(4).messages(step(update(1)))
    assert one.msg_id != other.msg_id
    assert mutates([one])[0].google == mutates([other])[0].google


def test_candidates_are_asked_for_by_keyed_hashes_alone() -> None:
    (out,) = outbox().messages(step(ask(1, "match")))
    assert isinstance(out.message, LookGoogle)
    (query,) = out.message.match
    assert (query.emails, query.phones) == ((HASHER.email("a@x"),), (HASHER.phone("+1"),))
    assert b"a@x" not in out.data


def test_looks_are_collected() -> None:
    wishes = Wishes(planfix_contacts={5: 9.0}, confirm=[6], known=[7], people={"people/c9"}, label=True)
    outgoing = outbox().messages(step(ask(1, "person"), ask(2, "membership"), wishes=wishes))
    google = {m.what: m for out in outgoing if isinstance(m := out.message, LookGoogle)}
    planfix = {m.what: m for out in outgoing if isinstance(m := out.message, LookPlanfix)}
    assert google["people"].resources == ("people/c1", "people/c9")
    assert google["label"].label == "contactGroups/1"
    assert (planfix["contacts"].contacts, planfix["contacts"].not_before) == ((2, 5), 9.0)
    assert (planfix["confirm"].contacts, planfix["confirm"].known) == ((6,), (7,))
    assert len({out.msg_id for out in outgoing}) == len(outgoing)


def test_what_nobody_waits_for_does_not_go_before_people() -> None:
    (quiet,) = mutates(outbox().messages(step(update(1))))
    assert quiet.cls is Class.CHANGE


def test_a_filter_that_is_not_known_says_nothing() -> None:
    assert outbox().messages(replace(step(update(1)), record=None)) == []


def test_the_end_of_a_first_sync_releases_what_waits_for_a_full_batch() -> None:
    ended = step()
    ended.flush = True
    (flush,) = mutates(outbox().messages(ended))
    assert (flush.google, flush.more) == ((), False)

    with_creates = step(update(1))
    with_creates.flush = True
    assert [len(message.google) for message in mutates(outbox().messages(with_creates))] == [1]
