"""How long a filter waits when its owner dies, or stops: `make bench-takeover`.

Two replicas of each service against one and then three NATS servers. Again and again one replica of all four
services dies at once (kill -9: as a machine would), or is asked to stop (SIGTERM); in the same moment a request is
published for one filter in each of the 64 partitions. Measured are the last of the 64 answers, and when no partition
of any component is the dead replica's any more. The requests are for filters that nobody has activated: answering
them needs no vendor.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anyio
import orjson
from rich.console import Console
from rich.table import Table

from chaos.site import WORKERS, Site, chaotic
from contactsync.runtime.mailbox import PARTITIONS, partition_of
from contactsync.runtime.nats_bus import NatsBus, connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync_contracts import subjects
from contactsync_contracts.messages import SyncRequest, type_of

REACH_S = {("kill", 1): 5.0, ("kill", 3): 8.0, ("term", 1): 1.0, ("term", 3): 1.0}
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
DEADLINE_S = 60.0
REST_S = 12.0
"""For the new replica to get its fair share again."""


def one_in_each() -> list[str]:
    """A filter id for every partition."""
    found: dict[int, str] = {}
    number = 900_000
    while len(found) < PARTITIONS:
        found.setdefault(partition_of(subjects.token(str(number))), str(number))
        number += 1
    return list(found.values())


async def round_of(bus: NatsBus, site: Site, kind: str, which: int, number: int) -> tuple[float, float]:
    """Seconds until the last answer, and until nothing is the gone replica's."""
    gone = [one for one in site.replicas if one.service in WORKERS and one.name.endswith(f"-{which}")]
    pids = {one.process.pid for one in gone if one.process is not None}
    leases = await bus.peek(["lease.*.*"])
    names = {key.rsplit(".", 1)[1] for key, record in leases.items() if orjson.loads(record.value).get("pid") in pids}
    waiting = set(one_in_each())
    answered = anyio.Event()

    def hear(subject: str, _: bytes) -> None:
        waiting.discard(subjects.untoken(subject.rsplit(".", 1)[1]))
        if not waiting:
            answered.set()

    listening = await bus.listen("contacts.v1.event.*", hear)
    began = time.monotonic()
    for one in gone:
        site.signal(one, SIGNALS[kind])
    for filter_id in list(waiting):
        request = SyncRequest(
            request_id=f"bench-{kind}-{number}-{filter_id}", filter_id=filter_id, reason="benchmark"
        )
        await bus.publish(
            f"contacts.v1.filter.{subjects.token(filter_id)}.sync",
            request.model_dump_json().encode(),
            msg_id=request.request_id,
            type_=type_of(request),
        )
    taken: list[float] = []

    async def watch() -> None:
        while True:
            owners = {record.value.decode() for record in (await bus.peek(["epoch.*.*"])).values()}
            if not owners & names:
                taken.append(time.monotonic() - began)
                return
            await anyio.sleep(0.05)

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await answered.wait()
            last = time.monotonic() - began
    await listening.close()
    for one in gone:
        assert one.process is not None
        one.process.wait()
        site.start(one)
    for one in gone:
        with anyio.fail_after(DEADLINE_S):
            while not site.ready(one):  # noqa: ASYNC110 - another process
                await anyio.sleep(0.1)
    await anyio.sleep(REST_S)
    return last, taken[0]


async def measure(site: Site, rounds: int, console: Console) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {"kill": [], "term": []}
    async with connect(LinkSettings(site.cluster.urls)) as bus:
        for number in range(rounds):
            for kind in found:
                took = await round_of(bus, site, kind, 1 + number % 2, number)
                found[kind].append(took)
                console.print(f"{site.cluster.size} server(s), {kind}: {took[0]:.2f} s, {took[1]:.2f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--servers", type=int, choices=(1, 3), action="append")
    asked = parser.parse_args()
    console = Console()
    table = Table(
        "NATS servers", "what", "last of 64 answers: median, worst", "all partitions taken over", "to reach"
    )
    results = []
    for servers in asked.servers or (1, 3):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            with chaotic(folder, servers=servers, contacts=20, filters=1, replicas=2, seed=1) as site:
                found = anyio.run(measure, site, asked.rounds, console)
        for kind, took in found.items():
            answers, taken = [one for one, _ in took], [one for _, one in took]
            results.append({"servers": servers, "kind": kind, "answers_s": answers, "taken_over_s": taken})
            table.add_row(
                str(servers),
                {"kill": "kill -9", "term": "SIGTERM"}[kind],
                f"{statistics.median(answers):.2f} s, {max(answers):.2f} s",
                f"{statistics.median(taken):.2f} s, {max(taken):.2f} s",
                f"≤ {REACH_S[kind, servers]:.0f} s",
            )
    console.print(table)
    print(orjson.dumps(results).decode())


if __name__ == "__main__":
    main()
