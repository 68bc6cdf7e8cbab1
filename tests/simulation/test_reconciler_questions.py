"""What the reconciler and the client answer: contacts in pages, the history, an undo's figures, the export."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import orjson
import pytest

from contactsync.client import Client, Declined
from contactsync.reconciler import past
from contactsync.reconciler.core.filter import FilterRecord, Undo, filter_to_json
from contactsync.reconciler.core.link import Arrival as Person
from contactsync.reconciler.core.link import Hold, Link, arrival_to_json, link_to_json
from contactsync.reconciler.service import Reconciler
from contactsync.reconciler.shelf import Shelf
from contactsync.runtime.bus import Put, Record, Refused, Transient
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.state import commit_all
from contactsync_contracts import subjects
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import Kept
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


# ---- contacts


def synced(contact: int, name: str, **more: Any) -> Link:
    fields: dict[str, Any] = {"given": name, "emails": (Element(f"{name}@x.test".lower(), f"{name}@x.test"),)}
    return Link(contact, planfix=fields, google=fields, resource=f"people/{contact}", own=Kept.OURS, **more)


TEAM = (
    synced(3, "Ann"),
    synced(20, "Bo", hold=Hold("held_back", "It has no name.")),
    synced(100, "Anna"),
    Link(101, planfix={"given": "Cem", "company": "Ann & Sons"}),
)
NEWCOMER = Person("s1", "people/s1", "e", {"given": "Annette"}, 1.0, {})


async def store(client: Client, *links: Link) -> None:
    puts = [Put(subjects.link_key(FILTER, link.contact), orjson.dumps(link_to_json(link))) for link in links]
    await client._bus.commit(None, puts)


async def delete(client: Client, *contacts: int) -> None:
    await client._bus.commit(None, [Put(subjects.link_key(FILTER, contact), None) for contact in contacts])


def numbers(page: dict[str, Any]) -> list[int | None]:
    return [one["contact"] for one in page["contacts"]]


async def test_the_command_line_s_list_is_as_it_was() -> None:
    async with a_site({}, TEAM, (NEWCOMER,)) as client:
        rows = await client.contacts(FILTER, None)
        assert [row["contact"] for row in rows] == [None, 3, 20, 100, 101]
        assert rows[2] == {
            "contact": 20,
            "state": "held_back",
            "reason": "It has no name.",
            "notes": [],
            "person": "people/20",
            "candidates": [],
        }
        assert [row["contact"] for row in await client.contacts(FILTER, "pending")] == [None, 101]


async def test_all_contacts_of_the_command_line_come_over_many_pages() -> None:
    async with a_site({}, tuple(Link(n) for n in range(1, 2501)), (NEWCOMER,)) as client:
        assert [row["contact"] for row in await client.contacts(FILTER, None)] == [None, *range(1, 2501)]


async def test_a_search_finds_contacts_and_counts_them_by_state() -> None:
    async with a_site({}, TEAM, (NEWCOMER,)) as client:
        page = await client.contact_page(FILTER, search="ANN", limit=2)
        assert numbers(page) == [None, 3]
        assert [one["name"] for one in page["contacts"]] == ["Annette", "Ann"]
        assert (page["contacts"][1]["email"], page["contacts"][1]["phone"]) == ("Ann@x.test", "")
        assert (page["total"], page["next"]) == (4, 3)
        assert {state: count for state, count in page["states"].items() if count} == {"in_sync": 2, "pending": 2}
        page = await client.contact_page(FILTER, search="ANN", after=page["next"], limit=2)
        assert (numbers(page), page["total"], page["next"]) == ([100, 101], 4, None)
        page = await client.contact_page(FILTER, state="held-back", search="x.test")
        assert (numbers(page), page["total"], page["states"]["in_sync"]) == ([20], 1, 2)


async def test_an_answer_is_never_older_than_its_question() -> None:
    async with a_site({}, TEAM) as client:
        assert (await client.contact_page(FILTER, search="bo"))["states"]["held_back"] == 1
        await store(client, synced(20, "Zoe"), synced(7, "Bo"))
        assert numbers(await client.contact_page(FILTER, search="bo")) == [7]
        assert numbers(await client.contact_page(FILTER)) == [3, 7, 20, 100, 101]
        await delete(client, 7, 101)
        await store(client, synced(101, "Cem"))
        await delete(client, 3)
        page = await client.contact_page(FILTER)
        assert (numbers(page), page["states"]["in_sync"]) == ([20, 100, 101], 3)


async def test_a_malformed_question_is_refused_and_says_which_field() -> None:
    async with a_site({}, TEAM) as client:
        for field, value in (("after", "x"), ("search", "x" * 201), ("state", "lost"), ("limit", 0), ("names", 1)):
            with pytest.raises(Refused, match=field) as caught:
                await asked(client, "contacts", {"filter_id": FILTER, field: value})
            assert caught.value.code == 400
        for verb, data in (("contacts", b"no JSON"), ("contact", b"[]"), ("contact", b'{"filter_id":"4115"}')):
            with pytest.raises(Refused) as caught:
                await client._bus.request(subjects.query(verb), data, timeout_s=1.0)
            assert caught.value.code == 400
        with pytest.raises(Refused, match="not synchronised") as caught:
            await asked(client, "contacts", {"filter_id": "9"})
        assert caught.value.code == 404


async def test_one_contact_shows_both_sides() -> None:
    link = replace(TEAM[0], google={"given": "Anne", "emails": ()}, limits={"emails": "Not taken."})
    async with a_site({}, (link,)) as client:
        found = await client.contact(FILTER, 3)
        assert found["planfix"] == {"given": "Ann", "emails": [{"value": "Ann@x.test", "type": ""}]}
        assert found["google"] == {"given": "Anne", "emails": []}
        assert (found["contact"], found["name"], found["limits"]) == (3, "Ann", {"emails": "Not taken."})
        with pytest.raises(Declined, match="no contact 4"):
            await client.contact(FILTER, 4)
        with pytest.raises(Declined, match="not synchronised"):
            await client.contact("9", 3)
        assert (await client.status(FILTER))["owner"] == 7


class Seldom(MemoryBus):
    """Counts what is read, and fails half-way if it is told to."""

    read = 0
    fails_after: int | None = None

    async def load(self, pattern: str, since_seq: int | None = None) -> AsyncIterator[Record]:
        async for record in super().load(pattern, since_seq):
            if self.fails_after is not None and self.read >= self.fails_after:
                raise Transient
            self.read += 1
            yield record


class AShelf:
    """A shelf of few rows over a state that the test writes, under the test's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = MemoryServer(now=lambda: self.now)
        self.bus = Seldom(self.server)
        self.shelf = Shelf(self.bus, lambda: self.now, rows_max=10)

    async def put(self, filter_id: str, *contacts: int) -> None:
        await self.bus.commit(
            None, [Put(subjects.link_key(filter_id, n), orjson.dumps({"contact": n})) for n in contacts]
        )

    async def delete(self, filter_id: str, *contacts: int) -> None:
        await self.bus.commit(None, [Put(subjects.link_key(filter_id, n), None) for n in contacts])

    async def rows(self, filter_id: str) -> tuple[list[int], int]:
        """The contacts, and how many records were read for that."""
        self.bus.read = 0
        return [row.contact for row in await self.shelf.rows(filter_id)], self.bus.read


async def test_only_what_changed_is_read_again() -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    assert await scene.rows("1") == ([1, 2, 3], 3)
    assert await scene.rows("1") == ([1, 2, 3], 0)
    await scene.put("1", 2, 4)
    assert await scene.rows("1") == ([1, 2, 3, 4], 2)


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 100.0])
async def test_a_deletion_is_noticed_however_long_ago_it_was(seconds: float) -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    await scene.rows("1")
    await scene.delete("1", 2)
    scene.now += seconds
    assert (await scene.rows("1"))[0] == [1, 3]
    await scene.delete("1", 3)
    await scene.put("1", 5)
    scene.now += seconds
    assert (await scene.rows("1"))[0] == [1, 5]
    await scene.bus.purge(f"{subjects.filter_key('1')}.link.1")
    assert (await scene.rows("1"))[0] == [5]


async def test_rows_that_nobody_asks_for_are_dropped() -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    await scene.rows("1")
    scene.now = 119.0
    scene.shelf.sweep()
    assert scene.shelf.size == 3
    scene.now = 121.0
    scene.shelf.sweep()
    assert scene.shelf.size == 0
    assert await scene.rows("1") == ([1, 2, 3], 3)


async def test_the_filter_asked_for_least_lately_makes_room() -> None:
    scene = AShelf()
    for filter_id in ("1", "2", "3"):
        await scene.put(filter_id, 1, 2, 3, 4)
    for filter_id in ("1", "2", "1", "3"):
        await scene.rows(filter_id)
    assert scene.shelf.size == 8
    assert (await scene.rows("1"))[1] == 0
    assert (await scene.rows("2"))[1] == 4
    await scene.put("4", *range(1, 12))
    assert await scene.rows("4") == (list(range(1, 12)), 11)
    assert scene.shelf.size == 8, "a filter too large for the shelf is not kept and drives nobody out"


async def test_a_reading_that_broke_off_leaves_nothing_half_read() -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    scene.bus.fails_after = 2
    with pytest.raises(Transient):
        await scene.rows("1")
    scene.bus.fails_after = None
    assert await scene.rows("1") == ([1, 2, 3], 3)


async def test_a_state_that_was_restored_is_read_from_its_beginning() -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    await scene.rows("1")
    scene.server.values.clear()
    scene.server.state_seq = 0
    await scene.put("1", 9)
    assert await scene.rows("1") == ([9], 1)
    await scene.put("1", 10)
    await scene.rows("1")
    scene.server.values.pop(subjects.link_key("1", 10))
    scene.server.reconnect()
    assert await scene.rows("1") == ([9], 1)


async def test_questions_at_once_are_answered_one_after_another() -> None:
    scene = AShelf()
    await scene.put("1", 1, 2, 3)
    found: list[list[int]] = []

    async def ask() -> None:
        found.append([row.contact for row in await scene.shelf.rows("1")])

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert found == [[1, 2, 3]] * 5
    assert scene.bus.read == 3


# ---- the export


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
