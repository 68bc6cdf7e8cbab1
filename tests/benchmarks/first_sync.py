"""First sync and quiet cycle, quotas off, beside the floor: `make bench BENCH="--contacts 24900"`.

The simulators run in a process of their own, `contactsync up` in another with the embedded NATS server; the floor
(`floor.py`) copies the same pages into another account of the same simulators, before and after, in the same run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import floor
from rich.console import Console
from rich.table import Table

from contactsync.client import Client, Declined
from contactsync.demo.world import Quotas, World
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings

DEADLINE_S = 600.0
POLL_S = 60  # the default
POLLS = ("people.connections.list",)


async def main(contacts: int, quiet_s: float, console: Console) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="contactsync-bench-"))
    world = World(folder, Quotas(0, 0, 0, 0, 0), poll_s=POLL_S)
    try:
        await world.start_simulators()
        filter_id = await _furnish(world, contacts)
        floors = [await floor.copy(world, filter_id, "floor1@example.com")]
        await world.start_services()
        for side in ("google", "planfix"):
            await world.control(side, "reset_counters")
        settings = LinkSettings(url=world.nats_url, name="contactsync-bench")
        async with connect(settings, lambda *_: None) as bus:
            client = Client(bus)
            seconds = await _first_sync(world, client, filter_id)
            used = await _used(world)
            memory, cpu = _memory_mb(world), _cpu_s(world)
            console.print(f"first sync: {seconds:.1f} s, memory {memory} MB, cpu {cpu}; a quiet minute follows ...")
            quiet = await _quiet(world, client, filter_id, quiet_s)
        floors.append(await floor.copy(world, filter_id, "floor2@example.com"))
        return {
            "contacts": contacts,
            "floor_s": [round(each, 2) for each in floors],
            "first_sync_s": round(seconds, 2),
            "ratio": round(seconds / (sum(floors) / len(floors)), 2),
            "google_requests": used["google"],
            "planfix_requests": used["planfix"],
            "memory_mb": memory,
            "cpu_s": cpu,
            "quiet": quiet,
        }
    finally:
        with anyio.CancelScope(shield=True):
            await world.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _furnish(world: World, contacts: int) -> str:
    employee = await world.control(
        "planfix", "add_employee", name="Owner", email="owner@example.com", login="owner@example.com"
    )
    seeded = await world.control("planfix", "seed", count=contacts, seed=1, filters=1, names=["Clients"])
    filter_id = str(seeded["filters"][0])
    await world.control("planfix", "set_filter_owner", filter_id=filter_id, owner=employee)
    for n, email in enumerate(("owner@example.com", "floor1@example.com", "floor2@example.com")):
        await world.control("google", "add_account", email=email, sub=f"20{n:05}")
    await world.control("google", "set_options", full_syncs_per_minute=0, contacts_max=100_000, list_lag_s=5.0)
    return filter_id


async def _first_sync(world: World, client: Client, filter_id: str) -> float:
    """From the click on the activation link to the end of the first sync."""
    link = (await anyio.to_thread.run_sync(world.command, "link", filter_id)).strip()
    for side in ("google", "planfix"):
        await world.control(side, "reset_counters")
    began = time.monotonic()
    await world.activate(link, "owner@example.com")
    with anyio.fail_after(DEADLINE_S):
        while not await _ended(client, filter_id):  # noqa: ASYNC110 - another process decides
            await anyio.sleep(0.1)
    return time.monotonic() - began


async def _ended(client: Client, filter_id: str) -> bool:
    try:
        return (await client.status(filter_id))["last_sync"] is not None
    except Declined:  # the activation is on its way
        return False


async def _quiet(world: World, client: Client, filter_id: str, seconds: float) -> dict[str, Any]:
    """Requests and writes of a rested system, per poll of each side."""
    # Our own writes come back in the deltas first.
    await anyio.sleep(1.5 * POLL_S)
    for side in ("google", "planfix"):
        await world.control(side, "reset_counters")
    await anyio.sleep(seconds)
    used = await _used(world)
    cycles = max(1, round(seconds / world.poll_s))
    return {
        "cycles": cycles,
        "google_per_cycle": round(sum(used["google"].values()) / cycles, 2),
        "planfix_per_cycle": round(sum(used["planfix"].values()) / cycles, 2),
        "writes": used["writes"],
    }


async def _used(world: World) -> dict[str, Any]:
    google, planfix = await world.look("google", "counters"), await world.look("planfix", "counters")
    requests: Mapping[str, int] = google["requests"]
    return {
        "google": {name: n for name, n in sorted(requests.items()) if not name.startswith("oauth")},
        "planfix": dict(sorted(planfix["requests"].items())),
        "writes": google["mutations"] + planfix["writes"],
    }


def _memory_mb(world: World) -> int:
    """Resident memory of `up` and of the NATS server that it started (Linux)."""
    root = world.children["up"].pid
    pids = [root, *(int(p) for p in Path(f"/proc/{root}/task/{root}/children").read_text().split())]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return round(pages * 4096 / 1e6)


def _cpu_s(world: World) -> dict[str, float]:
    """Processor time used so far, by process: steadier than the clock on a shared machine (Linux)."""
    root = world.children["up"].pid
    nats = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    pids = {"up": root, "nats": int(nats[0]) if nats else root, "simulators": world.children["simulate"].pid}
    ticks = {name: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for name, pid in pids.items()}
    return {name: (int(stat[11]) + int(stat[12])) / 100 for name, stat in ticks.items()}


def show(result: dict[str, Any], console: Console) -> None:
    google, planfix = result["google_requests"], result["planfix_requests"]
    beside = sum(n for name, n in google.items() if name not in POLLS)
    table = Table(title=f"First sync of {result['contacts']} contacts, quotas off")
    for column in ("what", "measured", "to reach"):
        table.add_column(column)
    table.add_row("floor before, after", f"{result['floor_s']} s", "")
    table.add_row("first sync", f"{result['first_sync_s']} s", "")
    table.add_row("processor time until then", f"{result['cpu_s']}", "")
    table.add_row("ratio to the floor", f"{result['ratio']}", "≤ 6")
    table.add_row("Google requests beside polls", f"{beside}  {google}", "≤ 140 (25,000)")
    table.add_row("Planfix requests", f"{sum(planfix.values())}  {planfix}", "≤ 260 (25,000)")
    table.add_row("memory, up and NATS", f"{result['memory_mb']} MB", "< 400 MB")
    quiet = result["quiet"]
    table.add_row(
        f"quiet, {quiet['cycles']} cycles",
        f"Google {quiet['google_per_cycle']}, Planfix {quiet['planfix_per_cycle']} a cycle; {quiet['writes']} writes",
        "1, 1, 0",
    )
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=24_900)
    parser.add_argument("--quiet-seconds", type=float, default=120.0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    terminal = Console(width=140)
    figures = anyio.run(main, arguments.contacts, arguments.quiet_seconds, terminal)
    show(figures, terminal)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
