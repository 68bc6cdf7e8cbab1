"""The demo's world: both simulators and all services as child processes in a temporary folder, and hands in it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import anyio
import orjson

START_S = 60.0
STOP_S = 30.0
TOKEN = "simulated-planfix-token"
SPEED_UP = 20
"""The demo's quotas are the vendors' documented ones times this, on both ends: kept, but not waited for."""


class DemoFailed(Exception):
    """The demo could not go on; the text says why and where the log is."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Planfix starts a second; Google's per minute and account."""

    planfix_per_second: float
    critical_reads: int
    critical_writes: int
    writes: int
    group_reads: int

    @classmethod
    def documented(cls, times: int) -> Quotas:
        return cls(1.0 * times, 60 * times, 30 * times, 30 * times, 90 * times)


@dataclass(slots=True)
class World:
    """`folder` holds the services' state and both logs.

    The rest makes another world of it, for the tests: `google_options` and `planfix_options` of the simulators,
    `extra_settings` without their prefix, `first_faults` and `back_faults` (fields of `simulators.faults.Fault`) for
    the first sync and the sync back, `simulator` what serves the vendors, `sub` the form of Google's account ids.
    """

    folder: Path
    quotas: Quotas
    poll_s: int = 5
    google_options: Mapping[str, Any] = field(default_factory=dict)
    planfix_options: Mapping[str, Any] = field(default_factory=dict)
    extra_settings: Mapping[str, str] = field(default_factory=dict)
    first_faults: Sequence[Mapping[str, Any]] = ()
    back_faults: Sequence[Mapping[str, Any]] = ()
    simulator: Sequence[str] = ("-m", "contactsync", "simulate", "--no-seed")
    sub: str = "10{:05}"
    sync_s: float = 3600.0
    sim_port: int = 0
    gateway_port: int = 0
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    # ---- processes

    async def start_simulators(self) -> None:
        self.sim_port = free_port()
        quotas = self.quotas
        self._spawn("simulate", [*self.simulator, "--port", str(self.sim_port)], {})
        await self._until_answers(f"{self.sim}/_control/planfix/counters", "simulate")
        planfix = {"requests_per_second": quotas.planfix_per_second}
        await self.control("planfix", "set_options", **{**planfix, **self.planfix_options})
        google = {
            "critical_reads_per_minute": quotas.critical_reads,
            "critical_writes_per_minute": quotas.critical_writes,
            "writes_per_minute": quotas.writes,
            "group_reads_per_minute": quotas.group_reads,
            "list_lag_s": self.list_lag_s,
        }
        await self.control("google", "set_options", **{**google, **self.google_options})

    @property
    def list_lag_s(self) -> float:
        return float(self.google_options.get("list_lag_s", 1.0))

    async def start_services(self) -> None:
        self.gateway_port = free_port()
        self._spawn("up", ["-m", "contactsync", "up"], self.settings())
        await self._until_answers(f"{self.gateway}/healthz", "up")

    def settings(self) -> dict[str, str]:
        """What an operator would put into `.env`."""
        quotas = self.quotas
        values = {
            "DATA_DIR": str(self.folder / "data"),
            "PLANFIX_URL": f"{self.sim}/rest/",
            "PLANFIX_TOKEN": TOKEN,
            "PLANFIX_REQUESTS_PER_SECOND": f"{quotas.planfix_per_second:g}",
            "PLANFIX_TIMEZONE": "Europe/Berlin",
            "GOOGLE_CLIENT_ID": "simulated-client",
            "GOOGLE_CLIENT_SECRET": "simulated-secret",
            "GOOGLE_PEOPLE_URL": f"{self.sim}/",
            "GOOGLE_AUTH_URL": f"{self.sim}/o/oauth2/v2/auth",
            "GOOGLE_TOKEN_URL": f"{self.sim}/token",
            "GOOGLE_REVOKE_URL": f"{self.sim}/revoke",
            "GOOGLE_USERINFO_URL": f"{self.sim}/userinfo",
            "GOOGLE_CRITICAL_READS_PER_MINUTE": str(quotas.critical_reads),
            "GOOGLE_CRITICAL_WRITES_PER_MINUTE": str(quotas.critical_writes),
            "GOOGLE_WRITES_PER_MINUTE": str(quotas.writes),
            "GOOGLE_GROUP_READS_PER_MINUTE": str(quotas.group_reads),
            "GOOGLE_LIST_LAG_SECONDS": "5",
            "POLL_PLANFIX_SECONDS": str(self.poll_s),
            "POLL_GOOGLE_SECONDS": str(self.poll_s),
            "PUBLIC_URL": f"{self.gateway}/",
            "METRICS_PORT": str(free_port()),
            "LOG_FORMAT": "json",
        }
        return {f"CONTACTSYNC_{name}": value for name, value in {**values, **self.extra_settings}.items()}

    def _spawn(self, name: str, words: list[str], settings: Mapping[str, str]) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CONTACTSYNC_")}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.children[name] = subprocess.Popen(
                [sys.executable, *words],
                env={**clean, **settings},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def command(self, *words: str) -> str:
        """Run a word of the command line as an operator would; its standard output."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CONTACTSYNC_")}
        done = subprocess.run(
            [sys.executable, "-m", "contactsync", *words],
            env={**clean, **self.settings()},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"`contactsync {' '.join(words)}` failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    async def stop(self) -> None:
        """End our children, services first, each with time to leave in order."""
        for name in ("up", "simulate"):
            await self._end(name)

    async def stop_services(self) -> None:
        await self._end("up")

    async def _end(self, name: str) -> None:
        child = self.children.get(name)
        if child is None or child.poll() is not None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            await anyio.to_thread.run_sync(child.wait, STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    async def _until_answers(self, url: str, name: str) -> None:
        deadline = time.monotonic() + START_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if self.children[name].poll() is not None:
                    raise DemoFailed(f"`contactsync {name}` ended at its start:\n{self.log_tail(name)}")
                try:
                    async with session.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                        if answer.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await anyio.sleep(0.1)
        raise DemoFailed(f"`contactsync {name}` does not answer at {url}:\n{self.log_tail(name)}")

    def log_tail(self, name: str, lines: int = 15) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    # ---- addresses

    @property
    def sim(self) -> str:
        return f"http://127.0.0.1:{self.sim_port}"

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def nats_url(self) -> str:
        found: str = json.loads((self.folder / "data" / "runtime.json").read_text())["nats_url"]
        return found

    @property
    def planfix_account(self) -> str:
        return "127.0.0.1"

    # ---- hands in the simulators

    async def control(self, side: str, method: str, /, **kwargs: Any) -> Any:
        return await self._call("POST", f"/_control/{side}/{method}", kwargs)

    async def look(self, side: str, what: str, **query: str) -> Any:
        return await self._call("GET", f"/_control/{side}/{what}", None, query)

    async def _call(self, verb: str, path: str, body: Any, query: Mapping[str, str] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=120)
        async with (
            aiohttp.ClientSession() as session,
            session.request(verb, self.sim + path, data=data, params=query or {}, timeout=timeout) as answer,
        ):
            raw = await answer.read()
            if answer.status >= 400:
                raise DemoFailed(f"{path}: {answer.status} {raw[:300].decode(errors='replace')}")
            return orjson.loads(raw)["result"]

    async def activate(self, link: str, email: str) -> None:
        """Open the link as the employee would, choose the Google account, allow what is asked."""
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            async with browser.get(link, allow_redirects=False) as answer:
                if answer.status not in (302, 303):
                    raise DemoFailed(f"the activation link answered {answer.status}: {await answer.text()}")
                chooser = urljoin(link, answer.headers["Location"])
            async with browser.get(chooser) as answer:
                page = await answer.text()
                if answer.status >= 400:
                    raise DemoFailed(f"activation ended with {answer.status}: {_words(page)}")
                if str(answer.url).startswith(self.gateway):
                    return  # Google asked nothing
            choice = choice_of(page, email)
            async with browser.get(urljoin(chooser, choice)) as answer:
                text = await answer.text()
                if answer.status >= 400:
                    raise DemoFailed(f"activation ended with {answer.status}: {_words(text)}")


def choice_of(page: str, email: str) -> str:
    """The link of the account chooser that stands for this account."""
    for href, text in re.findall(r'<a[^>]+href="([^"]+)"[^>]*>(.*?)</a>', page, re.DOTALL):
        if email in text:
            return str(href).replace("&amp;", "&")
    raise DemoFailed(f"the account chooser does not offer the account: {_words(page)}")


def _words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())[:400]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
