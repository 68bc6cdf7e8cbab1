"""What the operator sees of the whole: replicas and what they own, quotas, what waits in the mailboxes."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import anyio
import orjson

from contactsync.runtime import pacing
from contactsync.runtime.bus import Bus, NotProvisioned, Refused
from contactsync.runtime.components import GOOGLE_WATCHER, PLANFIX_WATCHER, RECONCILER, WRITER

Json = dict[str, Any]

COMPONENTS: Final = (PLANFIX_WATCHER, GOOGLE_WATCHER, RECONCILER, WRITER)
_AT_ONCE: Final = 16


async def overview(bus: Bus) -> Json:
    """`services`: each with its `replicas` (where, since when not known, partitions owned, leaving?), `partitions`,
    how many of them `owned`, and messages `waiting`. `quotas`: pauses and what was used lately, by account."""
    leases = await bus.peek(["lease.*.*"])
    epochs = await bus.peek(["epoch.*.*"])
    owned: dict[str, Counter[str]] = {one.name: Counter() for one in COMPONENTS}
    for key, record in epochs.items():
        component = key.split(".")[1]
        if component in owned:
            owned[component][record.value.decode()] += 1
    services = []
    for spec in COMPONENTS:
        replicas = []
        for key, record in sorted(leases.items()):
            _, component, replica = key.split(".", 2)
            if component == spec.name:
                about = orjson.loads(record.value)
                replicas.append(
                    {
                        "replica": replica,
                        "host": str(about.get("host", "")),
                        "process": about.get("pid"),
                        "leaving": about.get("standing") == "leaving",
                        "partitions": owned[spec.name][replica],
                    }
                )
        services.append(
            {
                "service": spec.name,
                "replicas": replicas,
                "partitions": len(spec.consumers),
                "owned": sum(one["partitions"] for one in replicas),
                "waiting": await _waiting(bus, spec.stream, list(spec.consumers.values())),
            }
        )
    return {"services": services, "quotas": await _quotas(bus)}


async def _waiting(bus: Bus, stream: str, consumers: list[str]) -> int | None:
    """None where a consumer cannot be asked."""
    total = 0
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    failed = False

    async def ask(consumer: str) -> None:
        nonlocal total, failed
        async with limiter:
            try:
                total += await bus.waiting(stream, consumer)
            except (NotProvisioned, Refused):
                failed = True

    async with anyio.create_task_group() as tasks:
        for consumer in consumers:
            tasks.start_soon(ask, consumer)
    return None if failed else total


async def _quotas(bus: Bus) -> list[Json]:
    """One row for each account's record; a damaged one is said to be so."""
    now = await bus.time()
    rows: list[Json] = []
    for key, record in sorted((await bus.peek(["quota.>"])).items()):
        name = key.removeprefix("quota.")
        try:
            stored = orjson.loads(record.value)
            rows.append({"account": name, **(_pace(stored, now) if name == "planfix" else _book(stored, now))})
        except (ValueError, KeyError, TypeError, AttributeError):
            rows.append({"account": name, "used": {}, "pauses_s": None})
    return rows


def _book(stored: Json, now: float) -> Json:
    book = pacing.to_book(stored)
    used = {name: window.used(now, pacing.span(name)[0]) for name, window in book.windows.items()}
    pause = max((window.closed_until - now for window in book.windows.values()), default=0.0)
    return {"used": {name: number for name, number in used.items() if number}, "pauses_s": max(0.0, round(pause))}


def _pace(stored: Json, now: float) -> Json:
    pace = pacing.to_pace(stored)
    return {
        "used": {"day": pace.day.used(now, pacing.DAY_S)},
        "pauses_s": max(0.0, round(pace.day.closed_until - now)),
    }
