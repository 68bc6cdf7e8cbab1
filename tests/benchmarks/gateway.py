"""The gateway under load: a storm of webhooks, and many people who look at a first sync's progress.

    make bench-gateway                           # three minutes
    make bench-gateway BENCH="--contacts 1000"

Webhooks: Planfix says of each of 3,000 contacts that it changed, 100 a second, and says it again a moment later; what
is measured is how long each answer takes, and how many requests to Planfix follow. Progress: first syncs of equal
filters in turn, without and with 50 open streams of server-sent events, all quotas off.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import orjson
from first_sync import DEADLINE_S
from rich.console import Console
from rich.table import Table

from contactsync.client import Client, Declined
from contactsync.demo.world import Quotas, World
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings

SECRET, ADMIN = "a-webhook-secret-of-some-length", "an-operators-token-of-some-length"
A_SECOND = 100
STORM_S = 30
REPEATED_AFTER_S = 0.1
STREAMS = 50
ROUNDS = 3
"""First syncs with streams, and as many without."""
SETTLE_S = 20.0


async def furnish(world: World, contacts: int) -> list[str]:
    """Filters with an account each."""
    count = 1 + 2 * ROUNDS
    seeded = await world.control("planfix", "seed", count=contacts * count, seed=1, filters=count)
    filters = [str(one) for one in seeded["filters"]]
    for number, filter_id in enumerate(filters):
        who = email(number)
        owner = await world.control("planfix", "add_employee", name=f"O{number}", email=who, login=who)
        await world.control("google", "add_account", email=who, sub=f"20{number:05}")
        await world.control("planfix", "set_filter_owner", filter_id=filter_id, owner=owner)
    await world.control("google", "set_options", full_syncs_per_minute=0, contacts_max=100_000, list_lag_s=5.0)
    return filters


def email(number: int) -> str:
    return f"owner{number}@example.com"


async def synced(
    client: Client, world: World, filter_id: str, number: int, begun: Callable[[], None] = lambda: None
) -> float:
    """Seconds of a first sync."""
    link = await client.link(filter_id, None, relink=False)
    began = time.monotonic()
    await world.activate(link["url"], email(number))
    begun()
    with anyio.fail_after(DEADLINE_S):
        while True:
            try:
                if (await client.status(filter_id))["last_sync"] is not None:
                    return time.monotonic() - began
            except Declined:  # the activation is on its way
                pass
            await anyio.sleep(0.2)


async def watched(client: Client, world: World, filter_id: str, number: int) -> tuple[float, int]:
    """The same with people who look at it; how many pieces of news they got."""
    news = 0

    async def look(session: aiohttp.ClientSession) -> None:
        nonlocal news
        while True:
            async with session.get(f"{world.gateway}/api/v1/filters/{filter_id}/events") as answer:
                async for line in answer.content:
                    news += line.startswith(b"data:")
            await anyio.sleep(1.0)  # until the filter is there

    headers = {"Authorization": f"Bearer {ADMIN}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session,
        anyio.create_task_group() as tasks,
    ):

        def all_look() -> None:
            for _ in range(STREAMS):
                tasks.start_soon(look, session)

        seconds = await synced(client, world, filter_id, number, all_look)
        tasks.cancel_scope.cancel()
    return seconds, news


async def storm(world: World, contacts: list[int]) -> dict[str, Any]:
    """Each contact twice; answers' times, and what was asked of Planfix until nothing more comes."""
    took: list[float] = []
    statuses: Counter[int] = Counter()
    url = f"{world.gateway}/webhooks/planfix/{SECRET}"

    async def say(session: aiohttp.ClientSession, contact: int) -> None:
        for pause_s in (0.0, REPEATED_AFTER_S):
            await anyio.sleep(pause_s)
            began = time.perf_counter()
            async with session.post(url, json={"id": contact}) as answer:
                await answer.read()
                statuses[answer.status] += 1
            took.append((time.perf_counter() - began) * 1000)

    await world.control("planfix", "reset_counters")
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        anyio.create_task_group() as tasks,
    ):
        began = time.monotonic()
        for place, contact in enumerate(contacts):
            await anyio.sleep(max(0.0, began + place * 2 / A_SECOND - time.monotonic()))
            tasks.start_soon(say, session, contact)
    await anyio.sleep(SETTLE_S)
    requests = (await world.look("planfix", "counters"))["requests"]
    took.sort()
    return {
        "webhooks": len(took),
        "contacts": len(contacts),
        "statuses": dict(statuses),
        "median_ms": round(statistics.median(took), 1),
        "p99_ms": round(took[int(len(took) * 0.99)], 1),
        "planfix_requests": requests,
    }


async def main(contacts: int, console: Console) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="contactsync-bench-"))
    world = World(
        folder,
        Quotas(0, 0, 0, 0, 0),
        poll_s=600,
        extra_settings={"WEBHOOK_SECRET": SECRET, "ADMIN_TOKEN": ADMIN},
    )
    try:
        await world.start_simulators()
        filters = await furnish(world, contacts)
        await world.start_services()
        async with connect(LinkSettings(url=world.nats_url, name="contactsync-bench"), lambda *_: None) as bus:
            client = Client(bus)
            await synced(client, world, filters[0], 0)
            alone, together, news = [], [], 0
            for turn in range(ROUNDS):
                at = 1 + 2 * turn
                alone.append(await synced(client, world, filters[at], at))
                seconds, heard = await watched(client, world, filters[at + 1], at + 1)
                together.append(seconds)
                news += heard
                console.print(f"first sync of {contacts}: {alone[-1]:.1f} s, with streams {together[-1]:.1f} s")
        people = (await world.look("planfix", "dump"))["contacts"][: A_SECOND * STORM_S // 2]
        stormy = await storm(world, [int(one["id"]) for one in people])
        return {
            "contacts": contacts,
            "alone_s": [round(each, 1) for each in alone],
            "with_streams_s": [round(each, 1) for each in together],
            "ratio": round(statistics.median(together) / statistics.median(alone), 3),
            "news_a_stream": round(news / STREAMS / ROUNDS, 1),
            "storm": stormy,
        }
    finally:
        with anyio.CancelScope(shield=True):
            await world.stop()
        shutil.rmtree(folder, ignore_errors=True)


def show(found: dict[str, Any], console: Console) -> None:
    table = Table("what", "measured", "to reach")
    table.add_row("first sync alone", f"{found['alone_s']} s", "")
    table.add_row(f"with {STREAMS} streams of progress", f"{found['with_streams_s']} s", "")
    table.add_row("ratio of the medians", f"{found['ratio']}", "≤ 1.05")
    table.add_row("news a stream and sync", f"{found['news_a_stream']}", "")
    storm = found["storm"]
    table.add_row(f"{storm['webhooks']} webhooks", f"{storm['statuses']}", "all 200")
    table.add_row("answered after, median, p99", f"{storm['median_ms']} ms, {storm['p99_ms']} ms", "< 50 ms")
    table.add_row(
        f"requests to Planfix for {storm['contacts']} contacts", f"{storm['planfix_requests']}", "each looked at once"
    )
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, default=2_000)
    terminal = Console(width=140)
    figures = anyio.run(main, parser.parse_args().contacts, terminal)
    show(figures, terminal)
    print(orjson.dumps(figures).decode())
