"""`deploy/compose.yaml` as the README starts it, with hands in its simulators.

What the simulated people do goes through `exec`: the simulators let only loopback hold their controls. Ports are free
ones and the project has a name of its own, so that nobody's installation is touched.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
from engine import free_port, inspected, run, until

from contactsync.simulators.invariants import Checker, Snapshot, Synced
from gateway_world import Answer, Browser

SERVICES = ("planfix-watcher", "google-watcher", "reconciler", "writer", "gateway")
ACCOUNT = "simulators"
"""How the simulated Planfix account is called in stamps: the host of its address."""
FILTER, EMAIL = "4115", "employee1@example.com"
DEMO = ("--env-file", "deploy/demo.env", "--profile", "demo")

_HANDS = """
import sys, urllib.request
path, body = sys.argv[1], sys.argv[2].encode() or None
print(urllib.request.urlopen("http://127.0.0.1:8900/_control/" + path, data=body, timeout=30).read().decode())
"""
_KILL = "import os, sys; os.kill(int(sys.argv[1]), int(sys.argv[2]))"


@dataclass
class Composition:
    """`image`: what is run; it is built where there is none of that name. `prometheus`: None leaves it out."""

    image: str
    prometheus: str | None
    project: str = field(default_factory=lambda: f"contactsync-test-{os.getpid()}")
    gateway: int = field(default_factory=free_port)
    prometheus_port: int = field(default_factory=free_port)
    simulators: int = field(default_factory=free_port)

    @property
    def env(self) -> Mapping[str, str]:
        return {
            "IMAGE": self.image,
            "PROMETHEUS_IMAGE": self.prometheus or "none",
            "GATEWAY_PORT": str(self.gateway),
            "SIMULATORS_PORT": str(self.simulators),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }

    def compose(self, *words: str, timeout_s: float = 120) -> str:
        """`docker compose` with the demo's settings; what it printed."""
        named = ("compose", "-p", self.project, "-f", "deploy/compose.yaml", *DEMO)
        return run(*named, *words, env=self.env, timeout_s=timeout_s).stdout

    def up(self) -> None:
        """Returns when everything is well by its own health check; fails where something does not get well."""
        without = () if self.prometheus else ("--scale", "prometheus=0")
        self.compose("up", "-d", "--wait", *without, timeout_s=280)

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "2")

    # ---- containers

    def name(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def states(self) -> dict[str, str]:
        """Service to its health, of all containers that run."""
        lines = self.compose("ps", "--format", "json").splitlines()
        return {row["Service"]: row["Health"] for row in map(json.loads, lines)}

    def health(self, service: str) -> tuple[str, str]:
        """Docker's word for it, and what the newest check said."""
        found = inspected(self.name(service))["State"]["Health"]
        return found["Status"], found["Log"][-1]["Output"].strip() if found["Log"] else ""

    def all_healthy(self) -> bool:
        return all(state == "healthy" for state in self.states().values())

    def kill(self, service: str) -> None:
        """Its process dies, as by the kernel's hand: Docker does not start again what `docker kill` ended."""
        pid = str(inspected(self.name(service))["State"]["Pid"])
        rights = ("--pid", "host", "--user", "0", "--privileged", "--entrypoint", "python")
        run("run", "--rm", *rights, self.image, "-c", _KILL, pid, str(int(signal.SIGKILL)))

    def contactsync(self, *words: str) -> str:
        """A word of the command line, in the gateway's container."""
        return self.compose("exec", "-T", "gateway", "contactsync", *words)

    # ---- people

    def control(self, side: str, call: str, /, **arguments: Any) -> Any:
        return self._hand(f"{side}/{call}", json.dumps(arguments))

    def look(self, side: str, what: str) -> Any:
        return self._hand(f"{side}/{what}", "")

    def _hand(self, path: str, body: str) -> Any:
        told = self.compose("exec", "-T", "simulators", "python", "-IS", "-c", _HANDS, path, body)
        return json.loads(told)["result"]

    def activate(self) -> Answer:
        """The filter's owner opens the link in a browser and chooses the account."""
        link = self.contactsync("link", FILTER).strip()

        async def browse() -> Answer:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                return await Browser(session).activate(link, EMAIL)

        return anyio.run(browse)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.contactsync("status", FILTER, "--json"))
        return found

    def until_in_sync(self) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            now = self.status()
            return now if now["state"] == "in_sync" and now["last_sync"] else None

        return until(found, "the filter does not get in sync", seconds=90)

    # ---- what is there

    def google(self) -> dict[str, Any]:
        found: dict[str, Any] = self.look("google", f"dump?account={EMAIL}")
        return found

    def findings(self) -> list[str]:
        """Who is there twice, and where the sides differ."""
        now = Snapshot(planfix=self.look("planfix", "dump"), google={EMAIL: self.google()})
        checker = Checker(ACCOUNT)
        label = self.status()["label"]
        group = next(g["resourceName"] for g in now.google[EMAIL]["groups"] if g["name"] == label)
        synced = [Synced(FILTER, EMAIL, group, two_way=True)]
        return [*checker.no_duplicates(now, now.google).broken, *checker.convergence(now, synced).broken]

    def people(self) -> dict[int, dict[str, Any]]:
        """Contact number to the person in Google that bears its stamp."""
        dump = self.google()
        by_name = {row["resourceName"]: row for row in dump["people"]}
        stamped = Checker(ACCOUNT).people(dump)
        return {stamp.contact: by_name[name] for name, one in stamped.items() for stamp in one.stamps}

    def title_in_google(self, number: int) -> str:
        person = self.people().get(number, {})
        return next((str(each.get("title", "")) for each in person.get("organizations", [])), "")

    def title_in_planfix(self, number: int) -> str:
        rows = self.look("planfix", "dump")["contacts"]
        return str(next(row for row in rows if row["id"] == number).get("position", ""))

    def edit_in_planfix(self, number: int, title: str) -> None:
        self.control("planfix", "edit_contact", contact=number, fields={"position": title})

    def edit_in_google(self, number: int, title: str) -> None:
        person = self.people()[number]
        first: dict[str, Any] = next(iter(person.get("organizations", [])), {})
        kept = {name: value for name, value in first.items() if name in ("name", "type")}
        fields = {"organizations": [{**kept, "title": title}]}
        name = person["resourceName"]
        self.control("google", "edit_person", account=EMAIL, resource_name=name, fields=fields)
