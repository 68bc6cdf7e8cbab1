"""A thousand filters over two hundred accounts: first sync, what a second replica costs, and what resting costs.

    make bench-many                              # 1,000 filters, 200 accounts, 100 contacts each: 15 minutes
    make bench-many BENCH="--filters 100 --accounts 20"

The first filter of each account is activated by its link, as people do, and ends its first sync; that is not
measured. The others are enabled at once by the command that a link ends in, half of them with one `up`, the others
with a replica of every service beside it: it costs and gains what it does on a machine of two cores. The **floor**
copies a twentieth of the same filters one after another and is multiplied. Then nobody does anything for as
long as filters and accounts need to rest, and processor time and memory are measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import floor
import orjson
from first_sync import DEADLINE_S
from rich.console import Console
from rich.table import Table

from contactsync.client import Client
from contactsync.demo.world import Quotas, World, free_port
from contactsync.runtime.nats_bus import NatsBus, connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync_contracts import subjects
from contactsync_contracts.messages import Enable, type_of

POLL_S = 60
REST_S = 150.0
"""Deltas bring our own writes, a minute passes, everything rests."""
IDLE_S = 180.0
SERVICES = ("planfix-watcher", "google-watcher", "reconciler", "writer")


def email(account: int) -> str:
    return f"owner{account}@example.com"


async def furnish(world: World, filters: int, accounts: int, contacts: int) -> list[list[str]]:
    """Filter ids by account; floor accounts besides."""
    seeded = await world.control("planfix", "seed", count=filters * contacts, seed=1, filters=filters)
    ids = [str(one) for one in seeded["filters"]]
    by_account: list[list[str]] = [[] for _ in range(accounts)]
    employees = []
    for number in range(accounts):
        who = email(number)
        employees.append(await world.control("planfix", "add_employee", name=f"O{number}", email=who, login=who))
        await world.control("google", "add_account", email=who, sub=f"20{number:05}")
    for place, filter_id in enumerate(ids):
        by_account[place % accounts].append(filter_id)
        await world.control("planfix", "set_filter_owner", filter_id=filter_id, owner=employees[place % accounts])
    await world.control("google", "set_options", full_syncs_per_minute=0, contacts_max=100_000, list_lag_s=5.0)
    return by_account


async def floor_s(world: World, filters: list[str]) -> float:
    """Seconds for one filter, from copying these."""
    seconds = 0.0
    for number, filter_id in enumerate(filters):
        who = f"floor{number}@example.com"
        await world.control("google", "add_account", email=who, sub=f"30{number:05}")
        seconds += await floor.copy(world, filter_id, who)
    return seconds / len(filters)


class Synced:
    """Filters that have ended a sync, by their events: to ask for all of them again and again would cost too much."""

    def __init__(self) -> None:
        self.filters: set[str] = set()

    def hear(self, _subject: str, data: bytes) -> None:
        event = orjson.loads(data)
        if event.get("outcome") == "succeeded":
            self.filters.add(event["filter_id"])

    async def until(self, wanted: int) -> float:
        """Seconds until there are so many."""
        began = time.monotonic()
        with anyio.fail_after(2 * DEADLINE_S):
            while len(self.filters) < wanted:  # noqa: ASYNC110 - other processes decide
                await anyio.sleep(0.1)
        return time.monotonic() - began


async def enable(bus: NatsBus, filters: list[tuple[str, str]], patterns: dict[str, dict[str, Any]]) -> None:
    """filters: with their accounts' e-mails; patterns: records of filters that are enabled already, by e-mail."""
    for filter_id, who in filters:
        request = Enable(
            request_id=f"bench-{filter_id}",
            filter_id=filter_id,
            filter_name=f"Clients {filter_id}",
            owner=patterns[who]["owner"],
            account=patterns[who]["account"],
            google_email=who,
        )
        await bus.publish(
            f"contacts.v1.filter.{subjects.token(filter_id)}.command",
            request.model_dump_json().encode(),
            msg_id=request.request_id,
            type_=type_of(request),
        )


def beside(world: World) -> list[subprocess.Popen[bytes]]:
    """A second replica of every service, as processes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CONTACTSYNC_")}
    keys = {"CONTACTSYNC_SECRET_KEYS": (world.folder / "data" / "secret_keys").read_text().strip()}
    made = []
    for service in SERVICES:
        settings = (
            world.settings()
            | keys
            | {
                "CONTACTSYNC_NATS_URL": world.nats_url,
                "CONTACTSYNC_METRICS_PORT": str(free_port()),
            }
        )
        with (world.folder / f"{service}.log").open("wb") as log:
            made.append(
                subprocess.Popen(
                    [sys.executable, "-m", "contactsync", "run", service],
                    env={**clean, **settings},
                    cwd=world.folder,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return made


def used(pids: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Processor seconds so far and resident MB, by process (Linux)."""
    found = {}
    for name, pid in pids.items():
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found[name] = ((int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), pages * 4096 / 1e6)
    return found


def pids_of(world: World) -> dict[str, int]:
    root = world.children["up"].pid
    nats = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    return {"up": root, "nats": int(nats[0])}


async def main(filters: int, accounts: int, contacts: int, console: Console) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="contactsync-bench-"))
    world = World(folder, Quotas(0, 0, 0, 0, 0), poll_s=POLL_S)
    replicas: list[subprocess.Popen[bytes]] = []
    try:
        await world.start_simulators()
        by_account = await furnish(world, filters, accounts, contacts)
        one_s = await floor_s(world, [one for part in by_account for one in part][:: max(1, filters // 50)])
        console.print(f"floor: {one_s * 1000:.0f} ms a filter")
        await world.start_services()
        empty = used(pids_of(world))
        async with connect(LinkSettings(url=world.nats_url, name="contactsync-bench"), lambda *_: None) as bus:
            client, ended = Client(bus), Synced()
            await bus.listen("contacts.v1.event.*", ended.hear)
            for number, part in enumerate(by_account):
                link = await client.link(part[0], None, relink=False)
                await world.activate(link["url"], email(number))
            await ended.until(accounts)
            records = [orjson.loads(one.value) async for one in bus.load("state.filter.*")]
            patterns = {one["google_email"]: one for one in records}
            rest = [(one, email(number)) for number, part in enumerate(by_account) for one in part[1:]]
            halves = [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
            took, synced = [], accounts
            for number, half in enumerate(halves):
                if number:
                    replicas = beside(world)
                    await anyio.sleep(20.0)
                await enable(bus, half, patterns)
                synced += len(half)
                took.append(await ended.until(synced))
                ratio = took[-1] / (one_s * len(half))
                console.print(f"{len(half)} filters in {took[-1]:.1f} s, {ratio:.1f} times the floor")
            for one in replicas:
                one.terminate()
                await anyio.to_thread.run_sync(one.wait)
            replicas = []
            console.print("everything rests ...")
            await anyio.sleep(REST_S)
            before, began = used(pids_of(world)), time.monotonic()
            await anyio.sleep(IDLE_S)
            after, seconds = used(pids_of(world)), time.monotonic() - began
        idle = {name: (after[name][0] - before[name][0]) / seconds for name in after}
        return {
            "filters": filters,
            "floor_ms_a_filter": round(one_s * 1000),
            "first_sync_s": [round(each, 1) for each in took],
            "ratio": [round(t / (one_s * len(h)), 2) for t, h in zip(took, halves, strict=True)],
            "idle_cores": {name: round(each, 3) for name, each in idle.items()},
            "memory_mb": {name: [round(empty[name][1]), round(after[name][1])] for name in after},
            "kb_a_filter": round((after["up"][1] - empty["up"][1]) * 1000 / filters, 1),
        }
    finally:
        with anyio.CancelScope(shield=True):
            for one in replicas:
                one.kill()
                one.wait()
            await world.stop()
        shutil.rmtree(folder, ignore_errors=True)


def show(found: dict[str, Any], console: Console) -> None:
    table = Table("what", "measured", "to reach")
    one, two = found["first_sync_s"]
    table.add_row("floor, a filter", f"{found['floor_ms_a_filter']} ms", "")
    table.add_row("first sync of a half, one replica", f"{one} s, {found['ratio'][0]} times the floor", "≤ 4 times")
    table.add_row("of the other half, two replicas", f"{two} s, {two / one - 1:+.0%}", "< +10 %")
    idle = found["idle_cores"]
    table.add_row("idle, all services and NATS", f"{sum(idle.values()):.1%} of a core {idle}", "< 10 %")
    table.add_row("memory of `up`, empty and idle", f"{found['memory_mb']['up']} MB", "")
    table.add_row("an idle filter", f"{found['kb_a_filter']} kB", "< 20 kB")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=1_000)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--contacts", type=int, default=100)
    asked = parser.parse_args()
    terminal = Console(width=140)
    figures = anyio.run(main, asked.filters, asked.accounts, asked.contacts, terminal)
    show(figures, terminal)
    print(orjson.dumps(figures).decode())
