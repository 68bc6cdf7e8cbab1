"""Each service says and hears on NATS what it needs and nothing else, with the users that production has."""

from __future__ import annotations

import contextlib
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import nkeys
import pytest
from nats.aio.client import Client

from contactsync.runtime.embedded import server_binary
from contactsync.runtime.permissions import OPERATOR, REQUESTER, User, rendered, users, variable
from integration.installation import Installation, answers, free_port, installed

pytestmark = [pytest.mark.nats, pytest.mark.timeout(180)]

SERVICES = ("planfix-watcher", "google-watcher", "reconciler", "writer", "gateway")
USERS_CONF = Path(__file__).parents[2] / "k8s" / "nats" / "users.conf"
CONFIG = """\
host: 127.0.0.1
port: {port}
log_file: "{folder}/server.log"
jetstream {{ store_dir: "{folder}/js" }}
include "users.conf"
"""
ADMIN = "an-operators-token-of-some-length"


@dataclass(frozen=True)
class Server:
    folder: Path
    port: int
    seeds: dict[str, str]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def creds(self, name: str) -> str:
        path = self.folder / f"{name}.seed"
        path.write_text(self.seeds[name])
        return str(path)

    def violations(self) -> list[str]:
        return [line for line in (self.folder / "server.log").read_text().splitlines() if "Violation" in line]


@contextmanager
def guarded(folder: Path) -> Iterator[Server]:
    """A server with the users of `k8s/nats/users.conf` and throw-away keys."""
    seeds: dict[str, str] = {}
    keys: dict[str, str] = {}
    for name in (*users(), "sys"):
        seed = bytes(nkeys.encode_seed(os.urandom(32), prefix=nkeys.PREFIX_BYTE_USER))
        seeds[name] = seed.decode()
        keys[variable(name)] = nkeys.from_seed(bytearray(seed)).public_key.decode()
    server = Server(folder, free_port(), seeds)
    (folder / "users.conf").write_text(USERS_CONF.read_text())
    config = folder / "nats.conf"
    config.write_text(CONFIG.format(port=server.port, folder=folder))
    process = subprocess.Popen(
        [str(server_binary()), "-c", str(config)],
        env=os.environ | keys,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield server
    finally:
        process.terminate()
        process.communicate()


def at_work(site: Installation, server: Server) -> None:
    made = site.run("provision")
    assert made.returncode == 0, made.stderr
    ports = {name: free_port() for name in SERVICES}
    for name, port in ports.items():
        site.start("run", name, METRICS_PORT=str(port), NATS_CREDS=server.creds(name))
    for name, port in ports.items():
        site.until(
            lambda at=port: answers(f"http://127.0.0.1:{at}/readyz"), f"{name} is not ready: {server.violations()}"
        )


def asked(url: str) -> int:
    """As a program with the operator's token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {ADMIN}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return int(response.status)


def test_with_the_production_users_the_main_job_is_done_and_nothing_more_is_tried(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()
    with guarded(folder) as server:
        settings = {
            "NATS_URL": server.url,
            "NATS_CREDS": server.creds(OPERATOR),
            "SECRET_KEYS": "0123456789abcdef0123456789abcdef",
            "ADMIN_TOKEN": ADMIN,
            "OPERATOR_SEES_CONTACTS": "true",
        }
        with installed(tmp_path, contacts=60, filters=2, settings=settings) as site:
            at_work(site, server)
            first, second = site.filters
            site.first_sync(first)
            site.first_sync(second)
            number = site.members(first.filter_id)[0]
            site.edit_title(first, number, "Director")
            site.until(lambda: site.contact(number).get("position") == "Director", "the edit did not come to Planfix")
            for words in (
                ("sync", first.filter_id, "--wait"),
                ("preview", first.filter_id),
                ("contacts", first.filter_id),
                ("history", first.filter_id),
                ("status", first.filter_id),
                ("pause", first.filter_id),
                ("resume", first.filter_id),
                ("rebuild", first.filter_id),
                ("dead",),
                ("export", first.filter_id),
                ("disconnect", second.filter_id),
                ("erase", "--filter", second.filter_id, "--yes"),
            ):
                done = site.run(*words)
                assert done.returncode == 0, (words, done.stdout, done.stderr)
            for path in ("system", f"filters/{first.filter_id}", f"filters/{first.filter_id}/contacts"):
                assert asked(f"{site.gateway}api/v1/{path}") == 200
            site.until(lambda: site.converged(first), "the sides differ")
            assert [site.end(name) for name in SERVICES] == [0] * 5
        assert server.violations() == []


async def refused(server: Server, name: str, publish: str = "", subscribe: str = "") -> bool:
    """Whether the server does not allow it."""
    errors: list[str] = []

    async def heard(error: Exception) -> None:
        errors.append(str(error))

    client = Client()
    await client.connect(server.url, nkeys_seed_str=server.seeds[name], error_cb=heard)
    try:
        if publish:
            await client.publish(publish, b"{}")
        if subscribe:
            await client.subscribe(subscribe)
        await client.flush()
        await anyio.sleep(0.1)
        return any("permissions violation" in error.lower() for error in errors)
    finally:
        await client.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with guarded(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "publish"),
    [
        ("writer", "contacts.v1.filter.1.sync"),
        ("writer", "contacts.v1.filter.1.planfix"),
        ("writer", "state.filter.1"),
        ("writer", "epoch.reconciler.1"),
        ("writer", "$JS.API.STREAM.PURGE.STATE"),
        ("google-watcher", "contacts.v1.writer.1.mutate"),
        ("google-watcher", "state.filter.1.link.1"),
        ("google-watcher", "contacts.v1.filter.1.settled"),
        ("planfix-watcher", "state.account.1.grant"),
        ("planfix-watcher", "contacts.v1.filter.1.google"),
        ("reconciler", "state.account.1.grant"),
        ("reconciler", "contacts.v1.filter.1.settled"),
        ("reconciler", "lease.writer.1"),
        ("gateway", "contacts.v1.writer.1.mutate"),
        ("gateway", "history.1.1.1"),
        ("gateway", "$JS.API.STREAM.DELETE.STATE"),
        (REQUESTER, "contacts.v1.filter.1.command"),
        (REQUESTER, "state.filter.1"),
        (REQUESTER, "$JS.API.STREAM.INFO.STATE"),
        (REQUESTER, "contacts.v1.query.status"),
    ],
)
async def test_what_a_user_does_not_need_it_may_not_say(server: Server, name: str, publish: str) -> None:
    assert await refused(server, name, publish=publish)


@pytest.mark.parametrize("name", list(users()))
async def test_nobody_hears_what_others_are_answered(server: Server, name: str) -> None:
    mine: User = users()[name]
    others = [one.prefix for other, one in users().items() if other != name]
    assert not await refused(server, name, subscribe=f"{mine.prefix}.>")
    for inbox in (*(f"{prefix}.>" for prefix in others), "_INBOX.>", ">", "contacts.v1.>"):
        assert await refused(server, name, subscribe=inbox), inbox


async def test_another_team_may_ask_for_a_sync_and_hear_of_it(server: Server) -> None:
    assert not await refused(server, REQUESTER, publish="contacts.v1.filter.1.sync")
    assert not await refused(server, REQUESTER, subscribe="contacts.v1.event.1")


async def test_without_a_key_nobody_comes_in(server: Server) -> None:
    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(b"CONNECT {}\r\nPING\r\n")
        said = b""
        with anyio.fail_after(5), contextlib.suppress(anyio.EndOfStream):
            while True:
                said += await stream.receive()
    assert b"Authorization Violation" in said


def test_the_file_is_what_the_program_says() -> None:
    assert USERS_CONF.read_text() == rendered()
