"""Random edits on both sides with every fault of both vendors at two per cent: do all invariants hold in the end,
and how many writes did it take? `make bench-edits`.

The whole product with both simulators in one process and virtual time (`tests/whole`). Edits come in rounds: each
picks contacts, fields and sides at random, all at one moment, then everything comes to rest under faults. A write
counts as the contacts in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.progress import Progress

from contactsync.simulators.faults import SEMANTIC_KINDS, TRANSPORT_KINDS, Chance
from contactsync_contracts.contact import Element
from whole import World, check
from whole.vendors import Write
from whole.world import Office

TEXTS = ("notes", "position", "address", "family")
KINDS = tuple(sorted(TRANSPORT_KINDS | SEMANTIC_KINDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--contacts", type=int, default=200)
    parser.add_argument("--round", type=int, default=250, help="edits at one moment")
    parser.add_argument("--percent", type=float, default=2.0, help="of each kind of fault, for each request")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = Chance(KINDS, given.percent / 100, Random(given.seed))
    random = Random(given.seed + 1)
    settings = {
        "BREAKER_UPDATE": "1000000,100",
        "PLANFIX_REQUESTS_PER_DAY": "0",
        "GOOGLE_DAILY_WRITES": "0",
        "POLL_PLANFIX_SECONDS": "60",
        "POLL_GOOGLE_SECONDS": "60",
    }
    began = time.process_time()
    limits = {"requests_per_day": 0}, {"daily_writes": 0}
    with World(planfix=limits[0], google=limits[1], settings=settings) as world, Progress(transient=True) as progress:
        office = world.office(given.contacts)
        world.faults.chance = chance
        task = progress.add_task("edits", total=given.edits)
        mark, fewest, edits = world.mark(), 0, 0
        while edits < given.edits:
            number = min(given.round, given.edits - edits)
            fewest += edit(world, office, random, number)
            edits += number
            world.settle(at_most_s=48 * 3600.0)
            world.sync(office.filter_id)  # a page that silently lost its end is made up for by a listing
            world.settle(at_most_s=48 * 3600.0)
            progress.update(task, completed=edits)
        world.faults.chance = None
        world.run_for(90_000.0)  # the daily listing
        world.settle()
        written = Counter(written_by(world.writes(mark)))
        faults = world.faults.counters()
        check(world)
    total = sum(written.values())
    print(
        f"{edits:,} edits of {given.contacts} contacts, seed {given.seed}; {len(KINDS)} faults at {given.percent} %"
    )
    print(f"contacts written: {total:,} ({dict(written)}), fewest possible {fewest:,}: ratio {total / fewest:.3f}")
    print(f"all invariants hold; {world.vendors.requests:,} requests, other faults {faults or 'none'}")
    print(f"{time.process_time() - began:.0f} s of processor time")


def edit(world: World, office: Office, random: Random, number: int) -> int:
    """So many edits at one moment; the fewest writes that carry them over."""
    edited: dict[int, dict[str, set[str]]] = {}
    email = office.account.email
    for _ in range(number):
        contact, name = random.choice(office.contacts), random.choice((*TEXTS, "phones"))
        value: str | tuple[Element, ...] = f"{name} {random.randrange(10**9)}"
        if name == "phones":
            keys = [f"+4915{random.randrange(10**8, 10**9)}" for _ in range(random.choice((1, 2)))]
            value = tuple(Element(key, key, "mobile") for key in keys)
        if random.random() < 0.5:
            world.hands.edit_planfix(email, contact, name, value)
            edited.setdefault(contact, {}).setdefault(name, set()).add("planfix")
        else:
            world.hands.edit_google(email, world.person(contact, office.account), name, value, contact)
            edited.setdefault(contact, {}).setdefault(name, set()).add("google")
    return sum(map(fewest_of, edited.values()))


def fewest_of(fields: dict[str, set[str]]) -> int:
    """Of one contact: a write to each side whose other side was edited. A text edited on both has one winner."""
    both = {"planfix", "google"}
    needed = {side for name, sides in fields.items() if sides != both or name == "phones" for side in sides}
    return max(1, len(needed))


def written_by(writes: list[Write]) -> dict[str, int]:
    """Contacts written, by vendor; a request that was refused or never arrived wrote nobody."""
    found: Counter[str] = Counter()
    for write in writes:
        if 200 <= write.status < 300:
            people = write.body.get("contacts") if isinstance(write.body, dict) else None
            found[write.vendor] += len(people) if people and "batch" in write.path else 1
    return dict(found)


if __name__ == "__main__":
    main()
