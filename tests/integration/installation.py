"""Contactsync as an operator has it: `simulate` and services as processes in a folder, and the command line.

Tests use people's ways in only: settings, the command line, the activation link, NATS, the simulators' control calls.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import anyio
import pytest

from contactsync.client import Client
from contactsync.runtime.nats_bus import NatsBus, connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.permissions import inbox_prefix
from contactsync.simulators.invariants import Checker, Snapshot, Synced
from gateway_world import Answer, Browser, choice

T = TypeVar("T")
WAIT_S = 40.0
STOP_S = 20.0
ACCOUNT = "127.0.0.1"
"""How the simulated Planfix account is called in stamps."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter with its owner, the contact group that makes it up and the owner's Google account."""

    filter_id: str
    employee: int
    group: int
    email: str


@dataclass
class Installation:
    """`settings`: names without prefix, for every process started from now on."""

    folder: Path
    sim: str
    gateway: str
    metrics: str
    settings: dict[str, str]
    filters: list[Filter] = field(default_factory=list)
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # ---- processes

    def env(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CONTACTSYNC_")}
        return clean | {f"CONTACTSYNC_{name}": value for name, value in (self.settings | (extra or {})).items()}

    def run(self, *words: str, timeout_s: float = 60, **settings: str) -> subprocess.CompletedProcess[str]:
        """A word of the command line, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "contactsync", *words],
            cwd=self.folder,
            env=self.env(settings),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def start(self, *words: str, name: str | None = None, **settings: str) -> subprocess.Popen[bytes]:
        name = name or words[-1]
        with self.log_of(name).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "contactsync", *words],
                cwd=self.folder,
                env=self.env(settings),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.children[name] = child
        return child

    def start_up(self, *, ready: bool = True, **settings: str) -> subprocess.Popen[bytes]:
        child = self.start("up", **settings)
        path = "readyz" if ready else "healthz"
        self.until(lambda: answers(f"{self.metrics}{path}"), "up does not answer", child=child)
        return child

    def end(self, name: str) -> int:
        """SIGTERM; the exit code, -9 if it had to be killed."""
        child = self.children.pop(name)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        try:
            return child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return -9

    def kill(self, name: str) -> None:
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def lines(self, name: str = "up") -> list[dict[str, Any]]:
        """The log lines of a process (JSON), those of others left out."""
        texts = self.log_of(name).read_text(errors="replace").splitlines() if self.log_of(name).exists() else []
        return [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]

    def until(
        self,
        condition: Callable[[], T | None],
        what: str,
        *,
        seconds: float = WAIT_S,
        child: subprocess.Popen[bytes] | None = None,
    ) -> T:
        """What `condition` answers, as soon as that is true."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            gone = child is not None and child.poll() is not None
            if gone or time.monotonic() > deadline:
                logs = {log.name: log.read_text(errors="replace")[-3000:] for log in self.folder.glob("*.log")}
                pytest.fail(f"{what}; {logs}")
            time.sleep(0.1)
        return found

    # ---- hands in the simulators

    def control(self, side: str, call: str, /, **arguments: Any) -> Any:
        return fetch(f"{self.sim}_control/{side}/{call}", json.dumps(arguments).encode())["result"]

    def look(self, side: str, what: str, **query: str) -> Any:
        return fetch(f"{self.sim}_control/{side}/{what}?{urllib.parse.urlencode(query)}")["result"]

    def fault(self, kind: str, path: str = "", times: int | None = None, **fields: Any) -> None:
        """From now on; `times` None: until the faults are cleared."""
        self.control("faults", "add_fault", kind=kind, path=path, times=times, **fields)

    def snapshot(self) -> Snapshot:
        emails = {one.email for one in self.filters}
        return Snapshot(
            planfix=self.look("planfix", "dump"),
            google={email: self.look("google", "dump", account=email) for email in emails},
        )

    def contact(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = next(c for c in self.look("planfix", "dump")["contacts"] if c["id"] == number)
        return found

    def members(self, filter_id: str) -> list[int]:
        found: list[int] = next(f["members"] for f in self.look("planfix", "dump")["filters"] if f["id"] == filter_id)
        return found

    def people(self, email: str) -> dict[int, dict[str, Any]]:
        """Contact number -> the person in Google that bears its stamp."""
        dump = self.look("google", "dump", account=email)
        stamped = Checker(ACCOUNT).people(dump)
        by_name = {row["resourceName"]: row for row in dump["people"]}
        return {stamp.contact: by_name[name] for name, one in stamped.items() for stamp in one.stamps}

    def title(self, one: Filter, number: int) -> str:
        """What Google has as the contact's position."""
        person = self.people(one.email).get(number, {})
        return next((str(each.get("title", "")) for each in person.get("organizations", [])), "")

    def edit_title(self, one: Filter, number: int, title: str) -> None:
        """By hand, in Google."""
        person = self.people(one.email)[number]
        first: dict[str, Any] = next(iter(person.get("organizations", [])), {})
        kept = {name: value for name, value in first.items() if name in ("name", "type")}
        name, fields = person["resourceName"], {"organizations": [{**kept, "title": title}]}
        self.control("google", "edit_person", account=one.email, resource_name=name, fields=fields)

    # ---- what people and other programs do

    def ask(self, question: Callable[[Client, NatsBus], Awaitable[T]], *, url: str | None = None) -> T:
        """Run `question` on a connection of its own."""
        at = url or self.nats_url()
        link = LinkSettings(at, name="contactsync-test")
        if creds := self.settings.get("NATS_CREDS"):
            seed = Path(creds).read_text()
            link = LinkSettings(at, nkey_seed=seed, inbox_prefix=inbox_prefix("contactsync-cli"))

        async def main() -> T:
            found: list[T] = []
            async with connect(link, lambda *_: None) as bus:
                found.append(await question(Client(bus), bus))
            return found[0]

        return anyio.run(main)

    def nats_url(self) -> str:
        if "NATS_URL" in self.settings:
            return self.settings["NATS_URL"]
        found: str = json.loads((self.folder / "data" / "runtime.json").read_text())["nats_url"]
        return found

    def status(self, filter_id: str) -> dict[str, Any]:
        async def question(client: Client, _: NatsBus) -> dict[str, Any]:
            return await client.status(filter_id)

        return self.ask(question)

    def synchronised(self) -> list[str]:
        """The filters that are switched on."""

        async def question(client: Client, _: NatsBus) -> list[str]:
            return [one["filter_id"] for one in await client.filters()]

        return self.ask(question)

    def link(self, filter_id: str, *more: str) -> str:
        done = self.run("link", filter_id, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def activate(self, one: Filter, *more: str) -> Answer:
        answer = follow(self.link(one.filter_id, *more), f"Continue as {one.email}")
        assert answer.status == 200, answer.text
        return answer

    def first_sync(self, one: Filter) -> dict[str, Any]:
        """Activated, to the end of the first sync; the status."""
        self.activate(one)
        return self.until(lambda: self.in_sync(one), "the first sync did not end")

    def in_sync(self, one: Filter) -> dict[str, Any] | None:
        """The status once a sync has succeeded and nothing is left to do."""
        try:
            found = self.status(one.filter_id)
        except Exception:
            return None  # the command may not have been carried out yet
        return found if found["last_sync"] and found["state"] == "in_sync" else None

    def holds(self, *filters: Filter, one_way: bool = False) -> None:
        """Both sides agree and nobody is there twice."""
        assert self.findings(*filters, one_way=one_way) == []

    def findings(self, *filters: Filter, one_way: bool = False) -> list[str]:
        """Who is there twice, and where the sides differ."""
        now = self.snapshot()
        checker = Checker(ACCOUNT)
        synced = []
        for one in filters or self.filters:
            label = self.status(one.filter_id)["label"]
            name = next(g["resourceName"] for g in now.google[one.email]["groups"] if g["name"] == label)
            synced.append(Synced(one.filter_id, one.email, name, two_way=not one_way))
        return [*checker.no_duplicates(now, now.google).broken, *checker.convergence(now, synced).broken]

    def converged(self, *filters: Filter) -> bool:
        return not self.findings(*filters)


def follow(link: str, words: str) -> Answer:
    """Open an activation link and click on these words of Google's page."""

    async def main() -> Answer:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            browser = Browser(session)
            page = await browser.chooser(link)
            if page.status != 200 or words not in page.text:
                return page
            return await browser.get(choice(page, words), follow=True)

    return anyio.run(main)


def fetch(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, data=body, timeout=30) as response:
        return json.loads(response.read())


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def installed(
    folder: Path,
    *,
    contacts: int,
    filters: int = 1,
    lag_s: float = 0.5,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Installation]:
    """A running `simulate` with that many contacts, and settings that lead there; no service runs yet."""
    gateway, metrics = free_port(), free_port()
    site = Installation(folder, "", f"http://127.0.0.1:{gateway}/", f"http://127.0.0.1:{metrics}/", {})
    words = ("--port", "0", "--contacts", str(contacts), "--filters", str(filters))
    try:
        child = site.start("simulate", *words, name="simulate")
        log = site.log_of("simulate")
        site.until(lambda: log.read_text().count("# filter") == filters, "simulate did not start", child=child)
        lines = log.read_text()
        site.settings |= dict(re.findall(r"^CONTACTSYNC_(\w+)=(.*)$", lines, re.MULTILINE))
        site.sim = site.settings["GOOGLE_PEOPLE_URL"]
        site.settings |= {
            "DATA_DIR": str(folder / "data"),
            "PUBLIC_URL": site.gateway,
            "METRICS_PORT": str(metrics),
            "PLANFIX_REQUESTS_PER_SECOND": "0",
            "PLANFIX_REQUESTS_PER_DAY": "0",
            "PLANFIX_TIMEZONE": "Europe/Berlin",
            "POLL_PLANFIX_SECONDS": "1",
            "POLL_GOOGLE_SECONDS": "1",
            "GOOGLE_LIST_LAG_SECONDS": "2",
            "LOG_FORMAT": "json",
        }
        quotas = (
            "critical_reads_per_minute",
            "critical_writes_per_minute",
            "writes_per_minute",
            "group_reads_per_minute",
        )
        site.settings |= {f"GOOGLE_{name.upper()}": "0" for name in quotas}
        site.settings |= settings or {}
        unlimited: dict[str, Any] = dict.fromkeys((*quotas, "full_syncs_per_minute"), 0)
        site.control("planfix", "set_options", requests_per_second=0, requests_per_day=0)
        site.control("google", "set_options", list_lag_s=lag_s, **unlimited)
        found = re.findall(r"# filter (\d+) belongs to employee (\d+), Google account (\S+)", lines)
        groups = {group["name"]: group["id"] for group in site.look("planfix", "dump")["groups"]}
        named = {one["id"]: one["name"] for one in site.look("planfix", "dump")["filters"]}
        site.filters = [Filter(i, int(owner), groups[named[i]], email) for i, owner, email in found]
        yield site
    finally:
        for name in [name for name in site.children if name != "simulate"]:
            site.end(name)
        if "simulate" in site.children:
            site.end("simulate")
