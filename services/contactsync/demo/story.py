"""The demo's story: activate, first sync, people edit both sides, sync back, quiet, report."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from contactsync.client import Client, Declined
from contactsync.demo.report import Checked, Report, check
from contactsync.demo.world import SPEED_UP, DemoFailed, Quotas, World
from contactsync.runtime.bus import Bus
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.simulators.invariants import Snapshot, Synced
from contactsync.simulators.people import HumanAction, plan_edits
from contactsync.simulators.seed import adoption_cases, private_people
from contactsync_contracts.messages import NewContactDefaults

PRIVATE_PEOPLE = 40
ADOPTION_CASES = 12


@dataclass(slots=True)
class Part:
    """One filter of the demo, its owner and the owner's Google account."""

    filter_id: str
    name: str
    email: str
    account: str
    employee: int
    group: int
    label: str = ""


async def run(*, contacts: int, filters: int, seed: int, keep: bool, console: Console) -> int:
    """Play it; 0 only if every invariant holds. `keep`: leave everything running until Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="contactsync-demo-"))
    world = World(folder, Quotas.documented(SPEED_UP))
    tidy = False
    try:
        checked = await play(world, contacts, filters, seed, console)
        Report(console).show(checked)
        if keep:
            await _keep(world, console)
        tidy = checked.holds
        return 0 if checked.holds else 1
    except DemoFailed as error:
        console.print(f"[red]The demo could not go on:[/] {error}", highlight=False)
        console.print(f"The log of the services is {folder / 'up.log'}", highlight=False)
        return 1
    finally:
        with anyio.CancelScope(shield=True):
            await world.stop()
        if tidy:
            shutil.rmtree(folder, ignore_errors=True)


async def play(world: World, contacts: int, filters: int, seed: int, console: Console) -> Checked:
    """The whole story in this world, up to its figures. Raises DemoFailed where it cannot go on."""
    rng = random.Random(seed)
    console.print(f"[bold]Contactsync demo[/]: {contacts} contacts, {filters} filter(s), seed {seed}")
    console.print(
        f"Planfix and Google are simulated with their documented quotas times {SPEED_UP}: kept, but not waited for."
    )
    await world.start_simulators()
    parts = await _furnish(world, contacts, filters, seed)
    before = await _snapshot(world, parts)
    await world.start_services()
    await world.control("google", "reset_counters")
    await world.control("planfix", "reset_counters")
    async with _connected(world) as (bus, client):
        await _befall(world, world.first_faults)
        first = await _first_syncs(world, client, parts, console)
        await world.control("faults", "clear")
        after_first = await _counters(world)
        synced = await _snapshot(world, parts)
        for part in parts:
            part.label = (await client.status(part.filter_id))["label"]
            # So that a contact created from Google falls into the filter (here: its contact group).
            await client.change(part.filter_id, new_contact=NewContactDefaults(group=part.group))
        actions = await _people_edit(world, parts, rng, console)
        await _befall(world, world.back_faults)
        await _sync_back(world, client, parts, console)
        await world.control("faults", "clear")
        # What one filter's sync wrote to Planfix may still be on its way to another filter.
        await _sync_back(world, client, parts, console, quiet=True)
        edited = await _counters(world)
        now = await _snapshot(world, parts)
        quiet = await _quiet(world, client, parts, console)
        short = await _short_pages(world, client, parts, console)
        return await check(
            world=world,
            bus=bus,
            client=client,
            parts=[Synced(p.filter_id, p.email, _resource(now, p)) for p in parts],
            names={p.filter_id: p.name for p in parts},
            before=before,
            synced=synced,
            now=now,
            at_last=await _snapshot(world, parts),
            actions=actions,
            contacts=contacts,
            seconds=first,
            counters=(after_first, edited, quiet, short),
        )


async def _furnish(world: World, contacts: int, filters: int, seed: int) -> list[Part]:
    """Employees, their filters and contacts in Planfix; their accounts with private people in Google."""
    names = [f"Clients {number + 1}" for number in range(filters)]
    employees = [
        await world.control("planfix", "add_employee", name=f"Employee{n + 1}", email=_email(n), login=_email(n))
        for n in range(filters)
    ]
    seeded = await world.control("planfix", "seed", count=contacts, seed=seed, filters=filters, names=names)
    parts = []
    for n, (filter_id, group) in enumerate(zip(seeded["filters"], seeded["groups"], strict=True)):
        await world.control("planfix", "set_filter_owner", filter_id=filter_id, owner=employees[n])
        await world.control("google", "add_account", email=_email(n), sub=world.sub.format(n))
        parts.append(Part(filter_id, names[n], _email(n), world.sub.format(n), employees[n], group))
    bystander = "bystander@example.com"
    await world.control("google", "add_account", email=bystander, sub="999")
    dump = await world.look("planfix", "dump")
    for part in parts:
        members = set(next(f["members"] for f in dump["filters"] if f["id"] == part.filter_id))
        mine = [c for c in dump["contacts"] if c["id"] in members]
        people = [p for case in adoption_cases(mine, seed)[:ADOPTION_CASES] for p in case.people]
        people += private_people(PRIVATE_PEOPLE, seed)
        for person in people:
            await world.control("google", "add_person", account=part.email, person=person)
    for person in private_people(5, seed + 1):
        await world.control("google", "add_person", account=bystander, person=person)
    # So that the lists have caught up when the first sync begins, as they would have in life.
    await anyio.sleep(world.list_lag_s + 0.2)
    return parts


async def _befall(world: World, faults: Sequence[Mapping[str, Any]]) -> None:
    for fault in faults:
        await world.control("faults", "add_fault", **fault)


def _email(n: int) -> str:
    return f"employee{n + 1}@example.com"


@asynccontextmanager
async def _connected(world: World) -> AsyncIterator[tuple[Bus, Client]]:
    async with connect(LinkSettings(url=world.nats_url, name="contactsync-demo"), lambda *_: None) as bus:
        yield bus, Client(bus)


async def _first_syncs(world: World, client: Client, parts: list[Part], console: Console) -> float:
    """Activate every filter and follow their first syncs to the end; the seconds from the first click to it."""
    began = time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        tasks = {
            p.filter_id: progress.add_task(f"first sync of {p.name}", total=None, note="activating") for p in parts
        }
        for part in parts:
            link = (await anyio.to_thread.run_sync(world.command, "link", part.filter_id)).strip()
            await world.activate(link, part.email)
        with anyio.fail_after(world.sync_s):
            waiting = {p.filter_id: p for p in parts}
            while waiting:
                for filter_id, part in list(waiting.items()):
                    try:
                        status = await client.status(filter_id)
                    except Declined:
                        continue  # the activation is on its way to the filter's actor
                    counts = status["contacts"]
                    known = sum(counts.values())
                    done = known - counts["pending"]
                    total = known if status["state"] in ("in_sync", "syncing") else None
                    progress.update(
                        tasks[filter_id], completed=done, total=total or max(known, 1), note=status["state"]
                    )
                    if status["last_sync"] is not None:
                        del waiting[filter_id]
                        progress.update(tasks[filter_id], completed=known, total=known, note="done")
                    elif status["reason"]:
                        raise DemoFailed(f"{part.name}: {status['state']}: {status['reason']}")
                await anyio.sleep(0.2)
    return time.monotonic() - began


async def _people_edit(world: World, parts: list[Part], rng: random.Random, console: Console) -> list[HumanAction]:
    planfix = await world.look("planfix", "dump")
    done: list[HumanAction] = []
    for part in parts:
        google = await world.look("google", "dump", account=part.email)
        done += plan_edits(rng, planfix, google, part.label, filter_id=part.filter_id, account=part.email)
    for action in done:
        await world.control(action.side, action.method, **dict(action.kwargs))
    console.print(f"People made [bold]{len(done)}[/] edits, in Planfix and on their phones.")
    # Planfix answers "modified since" by the minute and Google's lists lag: as in life, nothing hurries them.
    await anyio.sleep(world.list_lag_s + 0.5)
    return done


async def _sync_back(
    world: World, client: Client, parts: list[Part], console: Console, *, quiet: bool = False
) -> None:
    for part in parts:
        with anyio.fail_after(world.sync_s):
            finished = await client.sync_and_follow(part.filter_id, lambda _: None)
        if finished.outcome != "succeeded":
            raise DemoFailed(f"{part.name}: the sync {finished.outcome}: {finished.reason}")
        if not quiet:
            console.print(
                f"synchronised {part.name}: {finished.created} created, {finished.updated} updated, "
                f"{finished.removed} removed"
            )


async def _quiet(world: World, client: Client, parts: list[Part], console: Console) -> dict[str, Any]:
    """Two more full syncs without any edit: how many writes they made."""
    await world.control("google", "reset_counters")
    await world.control("planfix", "reset_counters")
    for _ in range(2):
        await _sync_back(world, client, parts, console, quiet=True)
    return await _counters(world)


async def _short_pages(world: World, client: Client, parts: list[Part], console: Console) -> dict[str, Any]:
    """Both vendors silently lose half of their next list answers, and everything is listed again."""
    for path in (r"/contact/list$", r"/people/me/connections$"):
        await world.control("faults", "add_fault", kind="short_page", path=path, times=3)
    await _sync_back(world, client, parts, console, quiet=True)
    await world.control("faults", "clear")
    return await _counters(world)


async def _snapshot(world: World, parts: list[Part]) -> Snapshot:
    accounts = [p.email for p in parts] + ["bystander@example.com"]
    return Snapshot(
        planfix=await world.look("planfix", "dump"),
        google={account: await world.look("google", "dump", account=account) for account in accounts},
    )


async def _counters(world: World) -> dict[str, Any]:
    return {
        "planfix": await world.look("planfix", "counters"),
        "google": await world.look("google", "counters"),
        "violations": [*await world.look("planfix", "violations"), *await world.look("google", "violations")],
    }


def _resource(now: Snapshot, part: Part) -> str:
    groups = now.google[part.email]["groups"]
    rows = groups.values() if isinstance(groups, dict) else groups
    return next(str(g["resourceName"]) for g in rows if g.get("name") == part.label)


async def _keep(world: World, console: Console) -> None:
    console.print(f"\nEverything keeps running. The console is at [bold]{world.gateway}/[/]; Ctrl-C ends it.")
    console.print(f"Simulators: {world.sim}   settings for the command line: {world.folder / 'settings.env'}")
    lines = [f"{name}={value}" for name, value in world.settings().items()]
    (world.folder / "settings.env").write_text("\n".join(lines) + "\n")
    await anyio.sleep_forever()
