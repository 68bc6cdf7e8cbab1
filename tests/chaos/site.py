"""Replicas of each service against real NATS servers, each behind a door of its own, and what can be done to them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos.cluster import Cluster
from chaos.door import Door
from integration.installation import Installation, answers, free_port, installed

SERVICES = ("planfix-watcher", "google-watcher", "reconciler", "writer", "gateway")
WORKERS = SERVICES[:-1]
READY_S = 60.0
DISARMED = "before nothing kill 1"
"""A point that nobody comes by takes the place of one that a process has read and not met."""
WRAPPER = Path(__file__).with_name("replica.py")


@dataclass
class Replica:
    """name: `writer-1`. down_until: when it is started again or goes on (monotonic), None while it works."""

    name: str
    service: str
    door: Door
    metrics: int
    bind: int
    point: Path
    process: subprocess.Popen[bytes] | None = None
    down_until: float | None = None
    stopped: bool = False
    starts: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def at_work(self) -> bool:
        return self.alive and self.down_until is None


@dataclass
class Site:
    """`installation`: the simulators, people's ways in, the settings. `random`: of the whole run. `former`: the code
    of an earlier release (`former.py`): each replica runs it or this one, and another one after each start."""

    installation: Installation
    cluster: Cluster
    random: Random
    replicas: list[Replica] = field(default_factory=list)
    former: Path | None = None

    # ---- replicas

    def make(self, count: int) -> None:
        folder = self.installation.folder
        for service in SERVICES:
            for number in range(1, count + 1):
                name = f"{service}-{number}"
                bind = int(self.installation.gateway.rsplit(":", 1)[1].strip("/"))
                if service != "gateway" or number > 1:
                    bind = free_port()
                door = Door(self._doors)
                replica = Replica(name, service, door, free_port(), bind, folder / f"{name}.point")
                self.replicas.append(replica)
                self.start(replica)
        for replica in self.replicas:
            self.installation.until(lambda r=replica: self.ready(r), f"{replica.name} is not ready", seconds=READY_S)

    def _doors(self) -> list[int]:
        ports = [node.port for node in self.cluster.nodes if node.alive]
        self.random_order.shuffle(ports)
        return ports

    random_order: Random = field(default_factory=Random)

    def start(self, replica: Replica) -> None:
        replica.point.unlink(missing_ok=True)
        settings = {
            "NATS_URL": f"nats://127.0.0.1:{replica.door.port}",
            "METRICS_PORT": str(replica.metrics),
            "HTTP_BIND": f"127.0.0.1:{replica.bind}",
        }
        replica.starts += 1
        code: dict[str, str] = {}
        if self.former is not None and (int(replica.name[-1]) + replica.starts) % 2:
            code["PYTHONPATH"] = os.pathsep.join(str(self.former / part) for part in ("services", "contracts"))
        with self.installation.log_of(replica.name).open("ab") as log:
            replica.process = subprocess.Popen(
                [sys.executable, str(WRAPPER), str(replica.point), "run", replica.service],
                cwd=self.installation.folder,
                env=self.installation.env(settings) | code,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        replica.down_until, replica.stopped = None, False

    def ready(self, replica: Replica) -> bool:
        return replica.alive and answers(f"http://127.0.0.1:{replica.metrics}/readyz")

    def signal(self, replica: Replica, number: int) -> None:
        assert replica.process is not None
        if replica.alive:
            os.kill(replica.process.pid, number)

    def is_stopped(self, replica: Replica) -> bool:
        """By SIGSTOP, its own or ours."""
        assert replica.process is not None
        try:
            stat = Path(f"/proc/{replica.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rsplit(")", 1)[1].split()[0] == "T"

    def tend(self) -> None:
        """Start again and wake up what is due."""
        now = time.monotonic()
        for replica in self.replicas:
            if not replica.alive and replica.down_until is None:
                replica.down_until = now + 1.0
            if replica.down_until is None and self.is_stopped(replica):  # at a point, when nobody waited any more
                replica.down_until, replica.stopped = now + 1.0, True
            if replica.down_until is None or now < replica.down_until:
                continue
            if replica.stopped and replica.alive:
                self.signal(replica, signal.SIGCONT)
                replica.down_until, replica.stopped = None, False
            elif not replica.alive:
                assert replica.process is not None
                replica.process.wait()
                self.start(replica)
            else:
                replica.down_until = None

    def mend(self) -> None:
        """Everything runs again, and nothing is armed."""
        for node in self.cluster.nodes:
            if not node.alive:
                self.cluster.start(node)
        self.cluster.settled()
        for replica in self.replicas:
            replica.point.write_text(DISARMED)
            replica.down_until = 0.0 if replica.down_until is not None or not replica.alive else None

        def ready(replica: Replica) -> bool:
            self.tend()
            return self.ready(replica)

        for replica in self.replicas:
            self.installation.until(lambda r=replica: ready(r), f"{replica.name} is not ready", seconds=READY_S)

    def end(self) -> None:
        for replica in self.replicas:
            if replica.process is not None and replica.alive:
                replica.process.send_signal(signal.SIGCONT)
                replica.process.kill()
                replica.process.wait()
            replica.door.close()

    # ---- what they say of themselves

    def complaints(self) -> list[str]:
        """Lines of their logs that nobody expects: failed handlers, tracebacks."""
        found = []
        for replica in self.replicas:
            for line in self.installation.lines(replica.name):
                text = str(line.get("event", ""))
                if line.get("level") in ("error", "critical") or re.search(r"failed, starts again", text):
                    found.append(f"{replica.name}: {text} {line.get('exception', '')}"[-1500:])
        return found


@contextmanager
def chaotic(
    folder: Path,
    *,
    servers: int,
    contacts: int,
    filters: int,
    replicas: int,
    seed: int,
    former: Path | None = None,
) -> Iterator[Site]:
    with (
        Cluster(folder / "nats", servers) as cluster,
        installed(
            folder,
            contacts=contacts,
            filters=filters,
            settings={
                "NATS_URL": cluster.urls,
                "SECRET_KEYS": "chaos-secret-key-of-the-test-run",
                # People do here in minutes what takes them months, and nobody is there to approve it.
                **dict.fromkeys(("BREAKER_REMOVE", "BREAKER_UPDATE", "BREAKER_CREATE"), "1000000,100"),
            },
        ) as installation,
    ):
        done = installation.run("provision", "--replicas", str(servers), timeout_s=120)
        assert done.returncode == 0, done.stderr
        site = Site(installation, cluster, Random(seed), former=former)
        try:
            site.make(replicas)
            yield site
        finally:
            site.end()
