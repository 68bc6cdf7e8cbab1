"""Notices: when a filter needs a person, its owner is told once."""

from __future__ import annotations

import email
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web

from contactsync.gateway.directory import Directory, Listing
from contactsync.gateway.needs import Need, letter, needs_of
from contactsync.gateway.notices import CLAIM_S, Mail, Notice, Notices, WebhookOut
from contactsync.planfix.port import Employee
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.settings import SettingsError, load_settings
from contactsync_contracts import subjects
from gateway_world import Clock, served

SECRET = "shared-secret"


def status(state: str = "in_sync", **other: Any) -> dict[str, Any]:
    found = {"filter_id": "7", "name": "Clients", "state": state, "owner": 3, "plans": [], "people_in_account": 10}
    return found | {"contacts": {"held_back": 0}} | other


@dataclass
class Office:
    """Two replicas of the gateway, and the program that their webhook goes to."""

    clock: Clock
    server: MemoryServer
    replicas: list[Notices] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    answers: int = 200

    async def look(self) -> None:
        for one in self.replicas:
            await one.look()


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    clock = Clock()
    made = Office(clock, MemoryServer(clock))

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        wanted = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert request.headers["Contactsync-Signature"] == f"sha256={wanted}"
        found = orjson.loads(body)
        assert request.headers["Idempotency-Key"] == found["id"]
        made.received.append(found)
        return web.Response(status=made.answers)

    async def filters(_subject: str, _data: bytes) -> bytes:
        return orjson.dumps({"filters": made.statuses})

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with served(app) as root:
        for _ in range(2):
            bus = MemoryBus(made.server)
            way = WebhookOut(f"{root}hook", SECRET)
            made.replicas.append(Notices(bus, [way], page=lambda f: f"http://sync/filters/{f}", clock=clock))
        await bus.serve("reconciler", subjects.query("filters"), filters)
        yield made


@pytest.mark.parametrize(
    ("found", "needs"),
    [
        (status(), []),
        (status("paused"), []),
        (status("syncing"), []),
        (status("reconnect_needed"), [Need("reconnect", "reconnect_needed")]),
        (status("frozen"), [Need("frozen", "frozen")]),
        (status("frozen", plans=[{"hash": "abc"}]), [Need("frozen", "abc")]),
        (status("frozen", plans=[{"hash": ""}]), []),
        (status("filter_gone"), [Need("filter_problem", "filter_gone")]),
        (status(people_in_account=24_900, contacts={"held_back": 5}), [Need("over_limit", "over_limit")]),
        (status(people_in_account=24_900), []),
    ],
)
def test_what_needs_a_person(found: dict[str, Any], needs: list[Need]) -> None:
    assert needs_of(found) == needs


async def test_an_episode_is_told_once_by_whichever_replica() -> None:
    async with office() as here:
        here.statuses = [status("reconnect_needed")]
        for _ in range(20):
            await here.look()
            here.clock.now_s += 600
        (told,) = here.received
        assert (told["kind"], told["filter_id"], told["owner"]) == ("reconnect", "7", 3)
        assert told["url"] == "http://sync/filters/7"


async def test_two_replicas_at_the_same_moment_tell_once() -> None:
    async with office() as here:
        here.statuses = [status("reconnect_needed")]
        async with anyio.create_task_group() as tasks:
            for one in here.replicas * 3:
                tasks.start_soon(one.look)
        assert len(here.received) == 1


async def test_what_comes_back_later_is_told_again_but_not_what_flaps() -> None:
    async with office() as here:
        for _ in range(4):
            here.statuses = [status("reconnect_needed")]
            await here.look()
            here.clock.now_s += 300
            here.statuses = [status()]
            await here.look()
            here.clock.now_s += 300
        assert len(here.received) == 1
        here.clock.now_s += 2 * 3600
        await here.look()
        here.statuses = [status("reconnect_needed")]
        await here.look()
        assert len(here.received) == 2
        assert here.received[0]["id"] != here.received[1]["id"]


async def test_another_plan_is_another_episode() -> None:
    async with office() as here:
        for plan in ("abc", "abc", "def"):
            here.statuses = [status("frozen", plans=[{"hash": plan}])]
            await here.look()
        assert len(here.received) == 2


async def test_a_webhook_that_is_down_is_tried_less_and_less_often_until_it_is_up() -> None:
    async with office() as here:
        here.statuses, here.answers = [status("reconnect_needed")], 503
        tried = []
        for _ in range(8 * 60):
            await here.look()
            tried.append(len(here.received))
            here.clock.now_s += 60
        assert 8 <= tried[-1] <= 16
        here.answers = 200
        here.clock.now_s += 3600
        await here.look()
        assert len({one["id"] for one in here.received}) == 1
        count = len(here.received)
        here.clock.now_s += 7200
        await here.look()
        assert len(here.received) == count


async def test_who_died_before_it_could_say_so_is_followed_under_the_same_id() -> None:
    async with office() as here:
        here.statuses = [status("reconnect_needed")]
        killed = here.replicas[0]
        real = killed._bus.cas
        writes = 0

        async def cas(key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
            nonlocal writes
            writes += 1
            if writes == 2:
                raise KeyboardInterrupt  # kill -9 between sending and recording
            return await real(key, value, last_seq, ttl_s)

        killed._bus.cas = cas  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            await killed.look()
        await here.replicas[1].look()
        assert len(here.received) == 1
        here.clock.now_s += CLAIM_S + 1
        await here.replicas[1].look()
        assert len(here.received) == 2
        assert len({one["id"] for one in here.received}) == 1


async def test_nothing_stays_of_a_filter_that_is_gone() -> None:
    async with office() as here:
        here.statuses = [status("reconnect_needed")]
        await here.look()
        assert [key for key in here.server.values if key.startswith("state.notice.")]
        here.statuses = []
        await here.look()
        left = [await here.replicas[0]._bus.get("state.notice.7")]
        assert left == [None]


async def test_a_damaged_record_is_made_anew() -> None:
    async with office() as here:
        here.statuses = [status("reconnect_needed")]
        await here.replicas[0]._bus.cas("state.notice.7", b"[not json", 0)
        await here.look()
        assert len(here.received) == 1


def test_a_letter_is_in_both_languages_and_names_no_contact() -> None:
    subject, text = letter("frozen", "Clients\r\nBcc: everybody@acme.example", "http://sync/filters/7")
    assert "\n" not in subject
    assert "\r" not in text
    assert "approve" in text
    assert "подтвердите" in text


class Staff(Directory):
    def __init__(self, employees: dict[int, Employee]) -> None:
        self._staff = employees

    async def listing(self, *, at_most_s: float = 60.0) -> Listing:
        return Listing(0.0, (), self._staff)


async def test_an_e_mail_goes_to_the_owner_and_a_filters_name_brings_no_header_into_it() -> None:
    got: list[bytes] = []
    done = anyio.Event()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        """As much SMTP as a letter needs."""
        async with stream:
            await stream.send(b"220 ready\r\n")
            data, inside = b"", False
            async for chunk in stream:
                data += chunk
                if inside:
                    if data.endswith(b"\r\n.\r\n"):
                        got.append(data)
                        data, inside = b"", False
                        await stream.send(b"250 taken\r\n")
                    continue
                while b"\r\n" in data:
                    line, _, data = data.partition(b"\r\n")
                    if line.upper().startswith(b"RCPT"):
                        got.append(line)
                    if line.upper() == b"DATA":
                        inside = True
                        await stream.send(b"354 go on\r\n")
                        break
                    await stream.send(b"221 bye\r\n" if line.upper() == b"QUIT" else b"250 ok\r\n")
        done.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    staff = Staff({3: Employee(3, "Olga", "olga@acme.example", (), active=True)})
    mail = Mail(f"smtp://127.0.0.1:{port}", "Contactsync <sync@acme.example>", staff)
    notice = Notice("a1", "reconnect", "7", "Clients\r\nBcc: x@evil.example", 3, "http://sync/filters/7", 1.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        await mail.send(notice)
        with anyio.fail_after(5):
            await done.wait()
        tasks.cancel_scope.cancel()
    await listener.aclose()
    assert got[0] == b"RCPT TO:<olga@acme.example>" or b"olga@acme.example" in got[0]
    message = email.message_from_bytes(got[1], policy=policy.default)
    assert message["Bcc"] is None
    assert message["Message-ID"] == "<a1@acme.example>"
    assert "http://sync/filters/7" in message.get_content()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP_URL", "http://mail.acme.com"),
        ("SMTP_URL", "smtp://"),
        ("NOTICE_FROM", "nobody"),
        ("NOTICE_FROM", "a@b.example\nBcc: c@d.example"),
        ("NOTICE_WEBHOOK_URL", "ftp://x"),
    ],
)
def test_settings_of_notices_that_cannot_work_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({f"CONTACTSYNC_{name}": value}, dotenv=None)
    assert f"CONTACTSYNC_{name}" in caught.value.problems[0]
    assert "example" in caught.value.problems[0]
