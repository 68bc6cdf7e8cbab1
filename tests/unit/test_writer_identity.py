"""Who wants what of a person, and what the account's map costs."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

from contactsync.writer.identity import (
    Ask,
    IdentityMap,
    Known,
    Want,
    decode,
    encode,
    known_after,
    merger_of,
    unite,
)
from contactsync_contracts.messages import Class, GoogleMutation, GooglePerson, Kept, Outcome
from writer_world import member


def known(number: int = 1) -> Known:
    return Known(
        resource=f"people/c{4_000_000_000_000_000_000 + number * 7919}",
        source_id=f"{4_000_000_000_000_000_000 + number * 7919:x}",
        etag=f"#{number * 104729:012d}=",
        chain=(f"#{number * 1299709:012d}=",),
        memberships=(member("contactGroups/myContacts"), member("contactGroups/6f1e0a2b8c")),
        client_data=({"key": "contactsync", "value": f"acme/{number}/ours"},),
        kept=Kept.OURS,
        wants={"1234": Want(1_700_000_000.0, True, 3)},
    )


def ask(filter_id: str, op: str = "ensure", since: float = 1.0, two_way: bool = True) -> Ask:
    mutation = GoogleMutation.model_validate(
        {"contact": 7, "mutation_id": f"{filter_id}-1", "revision": 1, "op": op, "base_google": {"given": "A"}}
    )
    return Ask(filter_id, since, two_way, Class.CHANGE, 1, mutation)


def person(etag: str) -> GooglePerson:
    return GooglePerson(
        resource="people/c1", source_id="1", etag=etag, updated_at=0.0, fields={}, raw={"memberships": [member("x")]}
    )


def test_a_record_reads_back_as_it_was() -> None:
    assert decode(encode(known())) == known()


def test_the_map_gives_back_what_was_put() -> None:
    people = IdentityMap()
    people.put(7, known(7))
    assert people.get(7) == known(7)
    assert people.get(8) is None


def test_twenty_five_thousand_records_stay_under_twenty_megabytes() -> None:
    tracemalloc.start()
    try:
        people = IdentityMap()
        for number in range(25_000):
            people.put(number, known(number))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(people) == 25_000
    assert size < 10_000_000


def test_the_oldest_two_way_filter_merges_else_the_oldest() -> None:
    wants = {"a": Want(1.0, False), "b": Want(3.0, True), "c": Want(2.0, True), "d": Want(0.0, True, active=False)}
    assert merger_of(wants) == "c"
    assert merger_of({"a": Want(2.0, False), "b": Want(1.0, False)}) == "b"
    assert merger_of({}) is None


def test_uniting_two_filters_writes_the_fields_of_the_merger_and_both_labels() -> None:
    united = unite(7, None, [ask("new", since=5.0), ask("old", since=1.0)])
    assert united.merger == "old"
    assert united.writes is not None
    assert united.writes.filter_id == "old"
    assert set(united.wanted) == {"old", "new"}
    assert united.handovers == ()


def test_a_leaving_merger_hands_its_bases_over() -> None:
    before = replace(known(), wants={"old": Want(1.0, True), "new": Want(5.0, True)})
    united = unite(7, before, [ask("old", "remove")])
    assert united.leaving == ("old",)
    assert united.writes is None
    ((filter_id, handover),) = united.handovers
    assert (filter_id, handover.base_google) == ("new", {"given": "A"})


def test_a_filter_whose_label_a_human_took_off_hands_over_and_puts_it_on_no_more() -> None:
    before = replace(known(), wants={"old": Want(1.0, True), "new": Want(5.0, True)})
    united = unite(7, before, [ask("old", "release")])
    ((filter_id, handover),) = united.handovers
    assert (filter_id, handover.base_google) == ("new", {"given": "A"})
    assert (united.wanted, united.leaving) == (("new",), ())


def test_an_older_filter_that_joins_is_handed_the_merging_without_bases() -> None:
    before = replace(known(), wants={"new": Want(5.0, True)})
    united = unite(7, before, [ask("old", since=1.0)])
    told = [(name, handover.merges, handover.base_google) for name, handover in united.handovers]
    assert told == [("old", True, None), ("new", False, None)]


def test_versions_that_only_our_labels_outdated_are_still_known() -> None:
    first = known_after(Known(), person("#1"), ("names",), "", Kept.OURS)
    second = known_after(first, person("#2"), ("memberships",), "#1", Kept.OURS)
    assert second.knows("#1")
    assert second.knows("#2")
    third = known_after(second, person("#3"), ("names",), "#2", Kept.OURS)
    assert not third.knows("#1")
    assert not third.knows("#2")
    assert not third.knows("")


def test_what_was_settled_is_kept_with_the_record() -> None:
    stored = replace(known(), wants={"1": Want(1.0, True, 4, Outcome.REFUSED, "why", active=False)})
    assert decode(encode(stored)).wants["1"] == Want(1.0, True, 4, Outcome.REFUSED, "why", active=False)
