"""The census of an account's people: the same as counting them, and contradicted by any part that is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.runtime.bus import Fence, Put
from contactsync.runtime.memory_bus import MemoryBus
from contactsync.writer.account import Account, Changes
from contactsync.writer.census import Census, compared, decode_census, encode_census
from contactsync.writer.identity import IdentityMap, Known
from contactsync_contracts import subjects

ACCOUNT = "101"


def counted(people: dict[int, str]) -> Census:
    census = Census()
    for contact, resource in people.items():
        if resource:
            census = census.with_(contact)
    return census


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "people/a", "people/b", None]))))
def test_a_map_knows_its_census_whatever_was_put_and_dropped(changes: list[tuple[int, str | None]]) -> None:
    people, plain = IdentityMap(), dict[int, str]()
    for contact, resource in changes:
        known = None if resource is None else Known(resource=resource)
        expected = people.census_with(contact, known)
        if known is None:
            people.drop(contact)
            plain.pop(contact, None)
        else:
            people.put(contact, known)
            plain[contact] = known.resource
        assert people.census == expected == counted(plain)
        assert {c for c in plain if people.has_person(c)} == {c for c, r in plain.items() if r}


def test_only_a_census_that_says_otherwise_is_a_reason_for_doubt() -> None:
    loaded = Census().with_(1).with_(2)
    assert compared(None, loaded, 50.0) == loaded
    assert compared(Census().with_(2).with_(1), loaded, 50.0) == loaded
    assert compared(Census(loaded.count, loaded.checksum, 7.0), loaded, 50.0).doubted_at == 7.0
    for other in (Census(), loaded.with_(3), loaded.without(1), loaded.without(1).with_(3), decode_census(b"?")):
        assert compared(other, loaded, 50.0) == Census(loaded.count, loaded.checksum, 50.0)
    assert decode_census(encode_census(loaded)) == loaded


async def stored(bus: MemoryBus) -> Fence:
    return Fence("writer", 0, await bus.cas("epoch.writer.0", b"me", 0))


async def account(bus: MemoryBus, now: float = 50.0) -> Account:
    one = Account(ACCOUNT, bus)
    await one.load(now)
    return one


PEOPLE = {1: Known("people/a"), 2: Known("people/b"), 3: Known()}


@pytest.mark.parametrize(
    ("harm", "doubted"),
    [
        (lambda bus: None, False),
        (lambda bus: bus.server.values.pop(subjects.person_key(ACCOUNT, 1)), True),
        (lambda bus: [bus.server.values.pop(subjects.person_key(ACCOUNT, n)) for n in PEOPLE], True),
        (lambda bus: bus.server.values.pop(subjects.person_key(ACCOUNT, 3)), False),
        (lambda bus: bus.server.values.pop(subjects.census_key(ACCOUNT)), False),
        (lambda bus: bus.server.put(Put(subjects.census_key(ACCOUNT), b"{}")), True),
    ],
    ids=["nothing", "a person", "all of them", "one without a person", "the census", "what it says"],
)
async def test_a_lost_part_is_noticed_at_loading(harm: Callable[[MemoryBus], object], doubted: bool) -> None:
    bus = MemoryBus()
    fence = await stored(bus)
    first = await account(bus)
    await first.commit(fence, Changes(people=PEOPLE))
    harm(bus)
    again = await account(bus, 90.0)
    assert again.people.census.doubted_at == (90.0 if doubted else 0.0)
    await again.commit(fence, Changes(people={4: Known("people/d"), 2: None}))
    later = await account(bus, 130.0)
    assert later.people.census.doubted_at == again.people.census.doubted_at, "the doubt outlives a restart, once"
