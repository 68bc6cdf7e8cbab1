"""The console's contact list: how long until a large filter is first shown, and then any page and any search.

    make bench-list
    make bench-list BENCH="--contacts 25000 --others 75000"

The links of one filter, and of another beside it, are put into an embedded NATS server as the reconciler stores a
link that is in sync. One `contactsync run reconciler` starts beside it; what is measured is the time from a question
to its answer at a client. Between any two questions one contact is written or
deleted, so that there is always something to notice.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
from million_links import link_of, ready, record_of, replica

from contactsync.client import Client
from contactsync.runtime.bus import Put
from contactsync.runtime.embedded import EmbeddedNats
from contactsync.runtime.nats_bus import NatsBus, connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.provision import provision
from contactsync_contracts import subjects

FILTER = "4000"
ASKED = 30
PAGE = 100
PORT = 9378
READY_S = 20.0


async def answers(port: int) -> None:
    with anyio.fail_after(READY_S):
        while not ready(port):  # noqa: ASYNC110 - another process comes up
            await anyio.sleep(0.1)


async def fill(bus: NatsBus, filter_id: str, links: int) -> None:
    key = subjects.filter_key(filter_id)
    for at in range(1, links + 1, 900):
        numbers = range(at, min(at + 900, links + 1))
        await bus.commit(None, [Put(f"{key}.link.{number}", link_of(number)) for number in numbers])
    await bus.commit(None, [Put(key, record_of(filter_id, links))])


@asynccontextmanager
async def site(contacts: int, others: int) -> AsyncIterator[NatsBus]:
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as temporary:
        folder = Path(temporary)
        async with (
            EmbeddedNats(folder / "data", sync_interval="2m") as server,
            connect(LinkSettings(server.url)) as bus,
        ):
            await provision(bus.link)
            await fill(bus, FILTER, contacts)
            if others:
                await fill(bus, "4001", others)
            with replica(server.url, folder, PORT):
                await answers(PORT)
                yield bus


async def timed(question: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    await question()
    return (time.perf_counter() - began) * 1000


def spread(values: list[float]) -> dict[str, float]:
    return {"median_ms": round(statistics.median(values), 1), "worst_ms": round(max(values), 1)}


async def main(contacts: int, others: int) -> dict[str, Any]:
    random = Random(1)
    async with site(contacts, others) as bus:
        client = Client(bus)
        first_ms = await timed(lambda: client.contact_page(FILTER, limit=PAGE))
        expected = contacts
        pages, searches = [], []
        for number in range(ASKED):
            after = random.randrange(contacts)
            key = subjects.link_key(FILTER, number + 1)
            await bus.commit(None, [Put(key, None if number % 2 else link_of(number + 1))])
            expected -= number % 2
            pages.append(await timed(lambda after=after: client.contact_page(FILTER, after=after, limit=PAGE)))
        words = ("family", "company 7", "+49 30 12", "purchasing given12", "@people.example", "nobody")
        for number in range(ASKED):
            search = f"{words[number % len(words)]}{random.randrange(10)}"
            await bus.commit(None, [Put(subjects.link_key(FILTER, number + 1), link_of(number + 1))])
            searches.append(await timed(lambda search=search: client.contact_page(FILTER, search=search, limit=PAGE)))
            expected += number % 2
        assert (await client.contact_page(FILTER))["total"] == expected == contacts
    return {
        "contacts": contacts,
        "others": others,
        "first_opening_ms": round(first_ms, 1),
        "pages": spread(pages),
        "searches": spread(searches),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, default=25_000)
    parser.add_argument("--others", type=int, default=25_000)
    asked = parser.parse_args()
    found = anyio.run(main, asked.contacts, asked.others)
    print(f"first opening of {found['contacts']:,} contacts: {found['first_opening_ms']} ms (to reach: < 1000)")
    for what in ("pages", "searches"):
        print(f"{ASKED} {what}: median {found[what]['median_ms']} ms, worst {found[what]['worst_ms']} ms (< 150)")
    print(orjson.dumps(found).decode())
