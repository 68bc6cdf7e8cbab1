"""What the reconciler and the client answer about the past: the history in pages, an undo's figures, the export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from contactsync.client import Client, Declined
from contactsync.reconciler import past
from contactsync.reconciler.core.filter import FilterRecord, Undo, filter_to_json
from contactsync.reconciler.core.link import Arrival as Person
from contactsync.reconciler.core.link import Link, arrival_to_json, link_to_json
from contactsync.reconciler.service import Reconciler
from contactsync.runtime.bus import Put
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.state import commit_all
from contactsync_contracts import subjects
from reconciler_world import HASHER

FILTER = "4115"


class NoMailboxes:
    """This replica owns nothing: questions are answered from the state."""

    def wake(self, key: str, at: float | None) -> None: ...

    def fence(self, key: str) -> None:
        return None


def entry(at: float, run: str = "r", **more: Any) -> dict[str, Any]:
    return {"at": at, "side": "google", "operation": "updated", "run": run, "cause": "edited in Planfix", **more}


@asynccontextmanager
async def a_site(
    history: dict[tuple[int, int], dict[str, Any]],
    links: tuple[Link, ...] = (),
    arrivals: tuple[Person, ...] = (),
    requests: tuple[str, ...] = (),
    **record: Any,
) -> AsyncIterator[Client]:
    """The client of a reconciler that owns nothing, over this state."""
    server = MemoryServer(now=lambda: 1000.0)
    bus = MemoryBus(server)
    stored = FilterRecord(FILTER, "Clients", 7, "acc", "a@x", 1.0, **record)
    puts = [Put(subjects.filter_key(FILTER), orjson.dumps(filter_to_json(stored)))]
    puts += [Put(subjects.history_key(FILTER, *name), orjson.dumps(one)) for name, one in history.items()]
    puts += [Put(subjects.link_key(FILTER, link.contact), orjson.dumps(link_to_json(link))) for link in links]
    puts += [Put(subjects.arrival_key(FILTER, a.source_id), orjson.dumps(arrival_to_json(a))) for a in arrivals]
    puts += [Put(subjects.request_key(FILTER, r), orjson.dumps({"at": 1.0, "refused": ""})) for r in requests]
    await commit_all(bus, None, puts)
    subscriptions = await Reconciler(bus, NoMailboxes(), HASHER).serve()  # type: ignore[arg-type]
    try:
        yield Client(bus)
    finally:
        for subscription in subscriptions:
            await subscription.close()


async def asked(client: Client, verb: str, question: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(
        await client._bus.request(subjects.query(verb), orjson.dumps(question), timeout_s=1.0)
    )
    return answer


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in entries]


MANY = {(contact, number): entry(100.0 * number + contact) for contact in (9, 10, 11) for number in range(1, 41)}


async def test_the_history_comes_newest_first_in_pages_and_numbers_count_as_numbers() -> None:
    async with a_site(MANY) as client:
        found = await client.history(FILTER, limit=2000)
    assert len(found) == len(MANY)
    assert ids(found)[:4] == ["4115:11.40", "4115:10.40", "4115:9.40", "4115:11.39"]
    assert ids(found)[-1] == "4115:9.1"


@pytest.mark.parametrize("limit", [1, 7, 119])
async def test_pages_follow_each_other_without_a_gap_or_a_repetition(limit: int) -> None:
    found: list[dict[str, Any]] = []
    question: dict[str, Any] = {"filter_id": FILTER, "limit": limit}
    async with a_site(MANY) as client:
        while question.get("before", "first"):
            page = await asked(client, "history", question)
            assert len(page["entries"]) <= limit
            found += page["entries"]
            question["before"] = page["next"]
    assert len(set(ids(found))) == len(found) == len(MANY)


async def test_one_contact_or_one_run_can_be_asked_for() -> None:
    history = {(1, 1): entry(1.0, "a"), (1, 2): entry(2.0, "b"), (10, 1): entry(3.0, "b")}
    async with a_site(history) as client:
        assert ids(await client.history(FILTER, 1)) == ["4115:1.2", "4115:1.1"]
        assert ids(await client.history(FILTER, run="b")) == ["4115:10.1", "4115:1.2"]
        assert ids(await client.history(FILTER, 1, run="b")) == ["4115:1.2"]
        assert await client.filter_of_run("b") == FILTER
        with pytest.raises(Declined, match="no history knows"):
            await client.filter_of_run("c")


async def test_a_page_of_large_entries_is_cut_where_an_answer_ends() -> None:
    large = {(1, n): entry(float(n), fields={"notes": ["x" * 300_000, ""]}) for n in range(1, 8)}
    async with a_site(large) as client:
        assert ids(await client.history(FILTER)) == [f"4115:1.{n}" for n in range(7, 0, -1)]


@pytest.mark.parametrize("text", ["", "x", "1:2", "1.0:1", "1.0:a.b", "1.0:1.2.3"])
def test_a_cursor_that_is_none_starts_at_the_newest(text: str) -> None:
    assert past.cursor(text) is None


def test_an_entry_too_large_for_the_server_is_kept_without_what_an_undo_needs_and_then_clipped() -> None:
    value = "\N{CYRILLIC SMALL LETTER A}" * 90_000
    back = {"planfix": {"notes": [value, ""]}, "google": {"notes": [value, ""]}}
    one = entry(1.0, fields={"notes": [value, ""]}, back=back)
    kept = orjson.loads(past.kept(one))
    assert "back" not in kept
    assert kept["fields"] == {"notes": [value, ""]}
    huge = orjson.loads(
        past.kept(entry(1.0, fields={"notes": [value * 5, value * 5]}, lost={"notes": ["google", "G"]}))
    )
    assert len(huge["fields"]["notes"][0]) == past.CLIPPED + 1
    assert huge["lost"] == {"notes": ["google", "G"]}
    small = entry(1.0, back={})
    assert orjson.loads(past.kept(small)) == small


ORDER = ("filter", "arrival", "decided", "request", "link", "history")


async def test_everything_that_is_stored_is_exported_once() -> None:
    links = tuple(Link(contact=n, planfix={"notes": "x" * 20_000}) for n in range(1, 301))
    people = tuple(Person(f"s{n}", f"people/s{n}", "e", {"notes": "y" * 9000}, 1.0, {}) for n in range(1, 121))
    history = {
        (n, m): entry(float(m), fields={"notes": ["z" * 30_000, ""]}) for n in (1, 2, 500) for m in range(1, 31)
    }
    async with a_site(history, links, people, requests=("a", "b")) as client:
        pieces = [piece async for piece in client.export(FILTER)]
    kinds = [kind for kind, _ in pieces]
    assert [kinds.count(kind) for kind in ORDER] == [1, 120, 0, 2, 300, 90]
    assert [one["contact"] for kind, one in pieces if kind == "link"] == list(range(1, 301))
    assert len({one["id"] for kind, one in pieces if kind == "history"}) == 90
    assert {one["source_id"] for kind, one in pieces if kind == "arrival"} == {f"s{n}" for n in range(1, 121)}
    assert kinds == sorted(kinds, key=ORDER.index)


async def test_a_filter_with_nothing_is_exported_too_and_an_unknown_one_is_not() -> None:
    async with a_site({}) as client:
        pieces = [piece async for piece in client.export(FILTER)]
        assert [kind for kind, _ in pieces] == ["filter"]
        assert pieces[0][1]["filter_id"] == FILTER
        with pytest.raises(Declined, match="not synchronised"):
            await client.history("9999")


async def test_whoever_undoes_hears_the_figures() -> None:
    undo = Undo("mine", finished=True, undone=2, left=1, why=("1.1: notes was edited since",))
    async with a_site({}, undo=undo, requests=("mine", "older")) as client:
        answer = await asked(client, "request", {"filter_id": FILTER, "request_id": "mine"})
        assert (answer["done"], answer["undo"]["undone"], answer["undo"]["why"]) == (True, 2, list(undo.why))
        older = await asked(client, "request", {"filter_id": FILTER, "request_id": "older"})
        assert older == {"done": True, "refused": ""}
        unknown = await asked(client, "request", {"filter_id": FILTER, "request_id": "unknown"})
        assert unknown == {"done": False, "refused": ""}
