"""Things fail, again and again, while people work; in the end both sides hold what they should (issue: I1 to I9).

`python tests/chaos/run.py [--servers 1|3] [--faults 200] [--seed N]`: two replicas of each service, people at both
ends, and at random: kill -9, SIGSTOP for longer than a lease, SIGTERM, a replica cut off from NATS, kill -9 of a NATS
server, one that stands still again and again as on a disk that is too slow, and kills and stops exactly before or
after a commit, a claim, a publication, an acknowledgement, a request.

`python tests/chaos/run.py --former [REVISION]`: half of the replicas run the code of an earlier release, and each
changes over with every start: an upgrade and its taking back, again and again.

`python tests/chaos/run.py --first-sync 24900`: kill -9 of a random process every three seconds during a first sync.

The judgement is made from the contents of the simulators alone. The same seed draws the same faults; what they meet
is decided by the machine.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

if __package__ is None:  # as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos import former
from chaos.people import People
from chaos.replica import STEPS
from chaos.site import DISARMED, WORKERS, Replica, Site, chaotic

RESTART_S = 1.0
LEASE_S = {1: 4.0, 3: 7.0}
ARMED_S = 6.0
PACE_S = (0.5, 2.0)
SETTLE_S = 180.0
LOOK_S = 1.0
SHOWN = 60
FAULTS = {"kill": 3, "stop": 2, "term": 2, "cut": 2, "nats": 1, "disk": 1, "point": 6}
"""How often each is drawn, among all of them."""


@dataclass
class Run:
    site: Site
    people: People
    random: Random
    done: dict[str, int] = field(default_factory=dict)
    unmet: int = 0
    """Points that no process came by."""

    def fault(self) -> str:
        """One of the faults, to somebody who is at work; at least one replica of each service stays."""
        kind = self.random.choices(list(FAULTS), list(FAULTS.values()))[0]
        replica = self.random.choice([r for r in self.site.replicas if r.service in WORKERS])
        if kind in ("nats", "disk"):
            what = getattr(self, f"_{kind}")()
        else:
            if not replica.at_work or not self._other_at_work(replica):
                return ""
            what = getattr(self, f"_{kind}")(replica)
        self.done[kind] = self.done.get(kind, 0) + 1
        return f"{kind}: {what}"

    def _other_at_work(self, replica: Replica) -> bool:
        return any(r.at_work for r in self.site.replicas if r.service == replica.service and r is not replica)

    def _kill(self, replica: Replica) -> str:
        self.site.signal(replica, signal.SIGKILL)
        replica.down_until = time.monotonic() + RESTART_S
        return replica.name

    def _term(self, replica: Replica) -> str:
        self.site.signal(replica, signal.SIGTERM)
        replica.down_until = time.monotonic() + RESTART_S
        return replica.name

    def _stop(self, replica: Replica) -> str:
        self.site.signal(replica, signal.SIGSTOP)
        return self._asleep(replica)

    def _asleep(self, replica: Replica) -> str:
        lease_s = LEASE_S[self.site.cluster.size]
        seconds = lease_s + self.random.uniform(0.5, 4.0)
        replica.down_until, replica.stopped = time.monotonic() + seconds, True
        return f"{replica.name} for {seconds:.1f} s"

    def _cut(self, replica: Replica) -> str:
        seconds = self.random.choice([0.0, 1.0, LEASE_S[self.site.cluster.size] + 2.0])
        replica.door.cut(seconds)
        return f"{replica.name} for {seconds:.0f} s"

    def _nats(self) -> str:
        nodes = self.site.cluster.nodes
        if not all(node.alive for node in nodes):
            self.site.cluster.settled()
        node = self.random.choice(nodes)
        self.site.cluster.kill(node)
        time.sleep(self.random.uniform(0.2, 2.0))
        self.site.cluster.start(node)
        self.site.cluster.settled()
        return f"node {node.number}"

    def _disk(self) -> str:
        """Each write takes long: the server stands still, works a moment, stands still."""
        node = self.random.choice([one for one in self.site.cluster.nodes if one.alive])
        still_s = self.random.uniform(0.3, 1.5)
        for _ in range(5):
            self.site.cluster.signal(node, signal.SIGSTOP)
            time.sleep(still_s)
            self.site.cluster.signal(node, signal.SIGCONT)
            self.people.act()
            time.sleep(0.1)
        return f"node {node.number}, {still_s:.1f} s at a time"

    def _point(self, replica: Replica) -> str:
        """Armed until somebody comes by."""
        step = self.random.choice(STEPS[replica.service])
        when, what = self.random.choice(["before", "after"]), self.random.choice(["kill", "stop"])
        text = f"{when} {step} {what} {self.random.choice([1, 1, 2, 5])}"
        replica.point.write_text(text)
        deadline = time.monotonic() + ARMED_S
        while time.monotonic() < deadline:
            self.people.act()
            if not replica.alive:
                replica.down_until = time.monotonic() + RESTART_S
                return f"{replica.name} {text}"
            if self.site.is_stopped(replica):
                return f"{text}, {self._asleep(replica)}"
            time.sleep(0.1)
        replica.point.write_text(DISARMED)
        self.unmet += 1
        return f"{replica.name} {text}: it never came there"


def play(site: Site, faults: int, say: bool) -> list[str]:
    """What is broken at the end."""
    installation = site.installation
    for one in installation.filters:
        installation.activate(one)
    people = People(installation, Random(site.random.random()))
    run = Run(site, people, Random(site.random.random()))
    began = time.monotonic()
    while sum(run.done.values()) < faults:
        site.tend()
        people.act()
        if (what := run.fault()) and say:
            print(f"{time.monotonic() - began:7.1f} s  {sum(run.done.values()):4}  {what}", flush=True)
        time.sleep(run.random.uniform(*PACE_S))
    site.mend()
    if say:
        print(f"faults: {run.done}, points not met: {run.unmet}, edits: {people.count}; settling", flush=True)
    return settled(site, people)


def settled(site: Site, people: People) -> list[str]:
    """Waits until nothing is broken any more; what still is after SETTLE_S."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        site.tend()
        broken = people.broken()
        if not broken and not people.findings():
            break
        if time.monotonic() > deadline:
            filters = site.installation.run("filters").stdout.splitlines()
            return [*filters, *site.complaints()[:10], *broken, *people.findings()]
        time.sleep(1.0)
    return quiet(site)


def quiet(site: Site) -> list[str]:
    """Nothing is written any more (I7)."""
    time.sleep(3.0)
    for side in ("google", "planfix"):
        site.installation.control(side, "reset_counters")
    time.sleep(5.0)
    google, planfix = (site.installation.look(side, "counters") for side in ("google", "planfix"))
    written = (google["mutations"], planfix["writes"])
    return [] if written == (0, 0) else [f"I7: at rest there were {written} writes in Google and Planfix"]


def first_sync(site: Site, contacts: int, say: bool) -> list[str]:
    """kill -9 of a random process every three seconds, started again after one: progress only grows, it ends."""
    installation, one = site.installation, site.installation.filters[0]
    installation.activate(one)
    there, kills, began = 0, 0, time.monotonic()
    next_kill, next_look = began + 3.0, began
    deadline = began + 60.0 + contacts * 0.03
    while there < contacts:
        site.tend()
        if time.monotonic() >= next_look:
            now = int(installation.look("google", "count_people", account=one.email))
            if now < there:
                return [f"progress went back from {there} to {now}"]
            if say and now != there:
                print(f"{time.monotonic() - began:7.1f} s  {now} of {contacts}, {kills} kills", flush=True)
            there, next_look = now, time.monotonic() + LOOK_S
        if time.monotonic() > deadline:
            return [f"only {there} of {contacts} after {kills} kills", *site.complaints()[:10]]
        if time.monotonic() >= next_kill:
            next_kill += 3.0
            victim = site.random.choice([*site.replicas, *site.cluster.nodes])
            if isinstance(victim, Replica):
                if victim.alive:
                    site.signal(victim, signal.SIGKILL)
                    victim.down_until = time.monotonic() + RESTART_S
            else:
                site.cluster.kill(victim)
                time.sleep(RESTART_S)
                site.cluster.start(victim)
                site.cluster.settled()
            kills += 1
        time.sleep(0.3)
    site.mend()
    if say:
        print(f"{contacts} contacts in {time.monotonic() - began:.0f} s with {kills} kills", flush=True)
    return settled(site, People(installation, Random(1)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--contacts", type=int, default=60)
    parser.add_argument("--filters", type=int, default=3)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first-sync", type=int, metavar="CONTACTS", default=0)
    parser.add_argument("--former", nargs="?", const=former.REVISION, help="beside an earlier release")
    parser.add_argument("--keep", type=Path, help="a folder for logs and data that stays")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.servers} NATS server(s)", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        contacts, filters = (asked.first_sync, 1) if asked.first_sync else (asked.contacts, asked.filters)
        with chaotic(
            folder,
            servers=asked.servers,
            contacts=contacts,
            filters=filters,
            replicas=asked.replicas,
            seed=asked.seed,
            former=former.unpacked(folder, asked.former) if asked.former else None,
        ) as site:
            broken = first_sync(site, contacts, True) if asked.first_sync else play(site, asked.faults, True)
    for line in broken[:SHOWN]:
        print(f"BROKEN  {line}")
    print("every invariant holds" if not broken else f"again with --seed {asked.seed}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
