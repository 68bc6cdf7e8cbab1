"""NATS servers as processes: one, or a cluster of three as in production, every message synced to disk."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from contactsync.runtime.embedded import server_binary
from integration.installation import free_port

START_S = 40.0

_CONFIG = """\
host: 127.0.0.1
port: {port}
server_name: n{number}
http: "127.0.0.1:{monitor}"
max_payload: 1MB
log_file: "{folder}/server.log"
jetstream {{
  store_dir: "{folder}"
  sync_interval: always
}}
"""
# Clients are told of no other server, or they would go around the doors that the test can close.
_CLUSTERED = """\
cluster {{
  name: chaos
  listen: "127.0.0.1:{route}"
  no_advertise: true
  routes: [{routes}]
}}
"""


@dataclass
class Node:
    number: int
    port: int
    monitor: int
    config: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Cluster:
    """`with Cluster(folder, 3) as cluster:`; `settled` waits until all nodes serve JetStream."""

    folder: Path
    size: int
    nodes: list[Node] = field(default_factory=list)

    def __enter__(self) -> Cluster:
        routes = [free_port() for _ in range(self.size)]
        for number in range(self.size):
            folder = self.folder / f"nats-{number}"
            folder.mkdir(parents=True)
            port, monitor = free_port(), free_port()
            text = _CONFIG.format(port=port, number=number, monitor=monitor, folder=folder)
            if self.size > 1:
                names = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
                text += _CLUSTERED.format(route=routes[number], routes=names)
            config = folder / "nats.conf"
            config.write_text(text)
            self.nodes.append(Node(number, port, monitor, config))
        for node in self.nodes:
            self.start(node)
        self.settled()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.send_signal(signal.SIGCONT)
                node.process.kill()
                node.process.wait()

    @property
    def urls(self) -> str:
        return ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)

    def start(self, node: Node) -> None:
        node.process = subprocess.Popen(
            [str(server_binary()), "-c", str(node.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self, node: Node) -> None:
        """`kill -9`."""
        assert node.process is not None
        node.process.kill()
        node.process.wait()

    def signal(self, node: Node, number: signal.Signals) -> None:
        assert node.process is not None
        node.process.send_signal(number)

    def settled(self) -> None:
        """All nodes are there and have caught up."""
        from integration.installation import answers

        deadline = time.monotonic() + START_S
        for node in self.nodes:
            while not answers(f"http://127.0.0.1:{node.monitor}/healthz"):
                assert time.monotonic() < deadline, f"nats {node.number} does not come up"
                time.sleep(0.1)
