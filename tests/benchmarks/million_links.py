"""A million links in the state store: how long until a replica is up, and until any filter does something.

    make bench-links                             # a million, five minutes; needs 3 GB of disk for a while
    make bench-links BENCH="--links 250000"

The links are put into an embedded NATS server as 40 filters of 25,000, as the reconciler stores a link that is in
sync. Then one `contactsync run reconciler` starts beside it; what is measured is the time from its start until
`/readyz` says yes, and for some of the filters from a sync request until the first event that answers it, each filter
for the first time: its links have to be read. The reference is reading the same filter's records with nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from contactsync.hashing import content_hash
from contactsync.reconciler.core.filter import FilterRecord, filter_to_json
from contactsync.reconciler.core.link import Link, link_to_json
from contactsync.runtime.bus import TYPE, Put
from contactsync.runtime.embedded import EmbeddedNats
from contactsync.runtime.nats_bus import NatsBus, connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.provision import provision
from contactsync_contracts import subjects
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Kept, SyncRequest, type_of

OF_A_FILTER = 25_000
ASKED = 8
DEADLINE_S = 120.0


def link_of(number: int) -> bytes:
    """As stored for a contact with a phone number, an address and a position that is the same on both sides."""
    fields: Contact = {
        **dict.fromkeys(("middle", "notes", "address", "site", "skype", "telegram", "viber", "facebook"), ""),
        "given": f"Given{number}",
        "family": f"Family{number}",
        "position": "Head of purchasing",
        "company": f"Company {number % 500}",
        "emails": (Element(f"person{number}@people.example", f"person{number}@people.example"),),
        "phones": (Element(f"+4930{number:07}", f"+4930{number:07}", "work"),),
    }
    link = Link(
        contact=number,
        planfix=fields,
        planfix_hash=content_hash(fields),
        planfix_at=1.79e9,
        google=fields,
        google_hash=content_hash(fields),
        google_at=1.79e9,
        base_planfix=fields,
        base_google=fields,
        resource=f"people/c{number:019}",
        source_id=f"{number:016x}",
        etag=f"#{number:010}=",
        member=True,
        member_at=1.79e9,
        own=Kept.OURS,
        labelled=True,
        stamped=True,
        revision=1,
    )
    return orjson.dumps(link_to_json(link))


def record_of(filter_id: str, links: int) -> bytes:
    record = FilterRecord(
        filter_id=filter_id,
        name=f"Clients {filter_id}",
        owner=2,
        account=f"10{filter_id}",
        google_email=f"owner{filter_id}@example.com",
        since=1.79e9,
        phase="done",
        label="contactGroups/1",
        label_name="Clients",
        label_revision=1,
        revisions=1,
        counts={"in_sync": links},
    )
    return orjson.dumps(filter_to_json(record))


async def fill(bus: NatsBus, links: int, console: Console) -> list[str]:
    filters = [str(4000 + n) for n in range(links // OF_A_FILTER)]
    for filter_id in track(filters, "storing links", console=console):
        key = subjects.filter_key(filter_id)
        for at in range(1, OF_A_FILTER + 1, 900):
            numbers = range(at, min(at + 900, OF_A_FILTER + 1))
            await bus.commit(None, [Put(f"{key}.link.{number}", link_of(number)) for number in numbers])
        await bus.commit(None, [Put(key, record_of(filter_id, OF_A_FILTER))])
    return filters


@contextmanager
def replica(url: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    settings = {
        "NATS_URL": url,
        "METRICS_PORT": str(port),
        "PLANFIX_URL": "http://127.0.0.1:9/rest/",
        "PLANFIX_TOKEN": "none",
        "GOOGLE_CLIENT_ID": "c",
        "GOOGLE_CLIENT_SECRET": "s",
        "SECRET_KEYS": "benchmark-secret-key-of-this-run",
        "LOG_LEVEL": "warning",
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("CONTACTSYNC_")}
    env |= {f"CONTACTSYNC_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "contactsync", "run", "reconciler"], cwd=folder, env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def first_action(bus: NatsBus, filter_id: str) -> float:
    """Seconds from a sync request to the first event of that filter."""
    request = SyncRequest(request_id=f"bench-{filter_id}", filter_id=filter_id, reason="benchmark")
    with anyio.fail_after(DEADLINE_S):
        return await _first_action(bus, request)


async def _first_action(bus: NatsBus, request: SyncRequest) -> float:
    filter_id, began = request.filter_id, time.monotonic()
    async with anyio.create_task_group() as tasks:
        took: list[float] = []

        async def listen(task_status: anyio.abc.TaskStatus[None]) -> None:
            task_status.started()
            async for event in bus.events(subjects.event(filter_id), start="all"):
                if event.headers.get(TYPE) == "SyncStarted.v1":
                    took.append(time.monotonic() - began)
                    tasks.cancel_scope.cancel()

        await tasks.start(listen)
        await bus.publish(
            f"contacts.v1.filter.{filter_id}.sync",
            request.model_dump_json().encode(),
            msg_id=request.request_id,
            type_=type_of(request),
        )
    return took[0]


async def read(bus: NatsBus, filter_id: str) -> float:
    began = time.monotonic()
    count = 0
    async for _ in bus.load(f"{subjects.filter_key(filter_id)}.link."):
        count += 1
    assert count == OF_A_FILTER
    return time.monotonic() - began


def memory_mb(pid: int) -> int:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6)


async def main(links: int, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as temporary:
        folder = Path(temporary)
        async with (
            EmbeddedNats(folder / "data", sync_interval="2m") as server,
            connect(LinkSettings(server.url)) as bus,
        ):
            await provision(bus.link)
            filters = await fill(bus, links, console)
        async with EmbeddedNats(folder / "data") as server, connect(LinkSettings(server.url)) as bus:
            port, began = 9377, time.monotonic()
            with replica(server.url, folder, port) as process:
                while not ready(port):
                    assert process.poll() is None, "the replica ended"
                    assert time.monotonic() - began < DEADLINE_S
                    await anyio.sleep(0.05)
                up_s = time.monotonic() - began
                asked = Random(1).sample(filters, min(ASKED, len(filters)))
                reads = [await read(bus, filter_id) for filter_id in asked[:3]]
                actions = [await first_action(bus, filter_id) for filter_id in asked]
                memory = memory_mb(process.pid)
            return {
                "links": links,
                "filters": len(filters),
                "replica_up_s": round(up_s, 2),
                "first_action_s": [round(each, 2) for each in sorted(actions)],
                "first_action_median_s": round(statistics.median(actions), 2),
                "reading_one_filter_alone_s": round(statistics.median(reads), 2),
                "memory_mb": memory,
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000)
    asked = parser.parse_args()
    console = Console()
    found = anyio.run(main, asked.links, console)
    table = Table("what", "measured", "to reach")
    table.add_row("links, filters", f"{found['links']:,}, {found['filters']}", "")
    table.add_row("a replica is ready after", f"{found['replica_up_s']} s", "< 10 s")
    table.add_row("first action of a filter, median", f"{found['first_action_median_s']} s", "< 1 s")
    table.add_row("each", ", ".join(map(str, found["first_action_s"])), "")
    table.add_row("reading one filter's records with nothing else", f"{found['reading_one_filter_alone_s']} s", "")
    table.add_row("memory of the replica after these", f"{found['memory_mb']} MB", "")
    console.print(table)
    print(orjson.dumps(found).decode())
