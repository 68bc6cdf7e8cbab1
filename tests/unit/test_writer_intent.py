"""Creates without an answer: when they are looked for, and when they may be sent again."""

from __future__ import annotations

from contactsync.writer.intent import (
    Sent,
    decode_intent,
    disappeared,
    encode_intent,
    looked,
    next_look,
    sending,
    unresolved,
    without,
)
from contactsync_contracts.messages import GooglePerson, Kept, Stamp

LAG_S = 300.0


def person(contact: int, source_id: str = "a") -> GooglePerson:
    return GooglePerson(
        resource=f"people/{source_id}",
        source_id=source_id,
        etag="#1",
        updated_at=0.0,
        fields={},
        raw={},
        stamps=(Stamp(contact=contact, kept=Kept.OURS),),
    )


def test_the_record_reads_back_and_is_deleted_when_empty() -> None:
    intent = {7: Sent(10.0, 2, True), 8: Sent(10.0, 0, gone="people/c1")}
    data = encode_intent(intent)
    assert data is not None
    assert decode_intent(data, {7: "people/x", 8: "people/c1"}.__getitem__) == intent
    assert decode_intent(b'{"9": [1.0, 2, true, "of a later release"]}', str) == {9: Sent(1.0, 2, True)}
    assert encode_intent({}) is None


def test_a_contact_that_the_lists_lack_may_be_sent_again_only_after_the_lag() -> None:
    intent = sending({}, [7], 1000.0)
    early, _ = looked(intent, [], 1000.0 + LAG_S - 1, LAG_S, 0.0)
    assert unresolved(early) == {7}
    late, _ = looked(intent, [], 1000.0 + LAG_S, LAG_S, 0.0)
    assert unresolved(late) == set()
    assert sending(late, [7], 2000.0) == {7: Sent(2000.0, 2, False)}


def test_a_contact_whose_stamp_is_found_is_done() -> None:
    after, found = looked(sending({}, [7, 8], 1000.0), [person(7), person(9)], 1001.0, LAG_S, 0.0)
    assert after.keys() == {8}
    assert found.keys() == {7}


def test_of_two_people_with_one_stamp_the_lower_source_id_counts() -> None:
    _, found = looked(sending({}, [7], 0.0), [person(7, "b"), person(7, "a")], 1.0, LAG_S, 0.0)
    assert found[7].source_id == "a"


def test_looks_become_rarer_and_the_last_one_is_at_the_lag() -> None:
    intent = sending({}, [7], 1000.0)
    times: list[float] = []
    began = 0.0
    while unresolved(intent):
        at = next_look(intent, began, LAG_S, 0.0)
        assert at is not None
        times.append(at - 1000.0)
        began = at
        intent, _ = looked(intent, [], began, LAG_S, 0.0)
    assert times == [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0]
    assert next_look(intent, began, LAG_S, 0.0) is None


def test_a_person_that_vanished_is_made_anew_only_when_the_account_has_it_by_no_name() -> None:
    intent = disappeared({}, {7: "people/a"}, 1000.0)
    assert next_look(intent, 0.0, LAG_S) == 1000.0
    absent, _ = looked(intent, [], 1000.0, LAG_S, 0.0)
    assert unresolved(absent) == set()
    renamed = person(7, "b")
    after, found = looked(intent, [renamed], 1000.0, LAG_S, 0.0)
    assert (after, found) == ({}, {7: renamed})
    # A list that lags shows it as it was.
    waits, found = looked(intent, [person(7, "a")], 1000.0 + 2 * LAG_S, LAG_S, 0.0)
    assert (waits, found) == (intent, {})
    doubtful, _ = looked(intent, [], 1000.0, LAG_S, LAG_S)
    assert doubtful == intent


def test_settled_contacts_leave_the_record() -> None:
    assert without({7: Sent(1.0), 8: Sent(1.0)}, {7}) == {8: Sent(1.0)}
