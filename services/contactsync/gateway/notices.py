"""Tells a filter's owner, once, that the filter needs a person: by a webhook to another program, by e-mail, or both.

Statuses are asked for again and again, so that no lost event loses a notice. One record `state.notice.<filter>` says
what was told of which kind; replicas of the gateway take turns by compare-and-set. Who dies between sending and
recording leaves a claim that runs out: then the notice is sent again, under the id by which a receiver knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
import anyio
import orjson

from contactsync.client import Client, Declined, NotReachable
from contactsync.gateway.directory import Directory
from contactsync.gateway.needs import FLAPPING_S, Need, letter, needs_of
from contactsync.gateway.problems import Refusal
from contactsync.runtime.bus import Bus, BusError, Conflict, Put, Record
from contactsync.runtime.logs import get_logger
from contactsync.runtime.setting_values import is_loopback
from contactsync.runtime.settings import Settings
from contactsync_contracts import subjects

LOOK_EVERY_S: Final = 60.0
CLAIM_S: Final = 120.0
SEND_S: Final = 30.0
PAUSE_S: Final = 60.0
PAUSE_MAX_S: Final = 3600.0
PREFIX: Final = "state.notice."

log = get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Notice:
    """`notice_id`: the same for one episode, however often it is sent. `owner`: the employee's number in Planfix."""

    notice_id: str
    kind: str
    filter_id: str
    name: str
    owner: int | None
    url: str
    at: float


class Way(Protocol):
    name: str

    async def send(self, notice: Notice) -> None:
        """Raises OSError, aiohttp.ClientError, smtplib.SMTPException or TimeoutError where it did not arrive."""


class Undeliverable(OSError):
    """It did not arrive; the text says why without data of people."""


class WebhookOut:
    """POSTs a notice as JSON. With a secret, `Contactsync-Signature: sha256=<hex>` is the body's HMAC."""

    name = "webhook"

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret

    async def send(self, notice: Notice) -> None:
        subject, text = letter(notice.kind, notice.name, notice.url)
        body = orjson.dumps(
            {
                "id": notice.notice_id,
                "kind": notice.kind,
                "filter_id": notice.filter_id,
                "owner": notice.owner,
                "subject": subject,
                "text": text,
                "url": notice.url,
                "at": notice.at,
            }
        )
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.notice_id}
        if self._secret:
            signature = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["Contactsync-Signature"] = f"sha256={signature}"
        timeout = aiohttp.ClientTimeout(total=SEND_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise Undeliverable(f"the webhook answered {answer.status}")


class Mail:
    """Sends a notice to the owner's address in Planfix. `smtp://` has to offer STARTTLS unless it is on loopback."""

    name = "email"

    def __init__(self, url: str, sender: str, directory: Directory) -> None:
        self._parts = urlsplit(url)
        self._sender = sender
        self._directory = directory

    async def send(self, notice: Notice) -> None:
        try:
            listing = await self._directory.listing()
        except Refusal as error:
            raise Undeliverable("Planfix does not say who the owner is") from error
        owner = listing.employees.get(notice.owner or 0)
        if owner is None or not owner.email:
            raise Undeliverable("the owner has no e-mail address in Planfix")
        message = self.message(notice, owner.email)
        await anyio.to_thread.run_sync(self._deliver, message, abandon_on_cancel=True)

    def message(self, notice: Notice, to: str) -> EmailMessage:
        message = EmailMessage()
        subject, text = letter(notice.kind, notice.name, notice.url)
        message["Subject"], message["From"], message["To"] = subject, self._sender, to
        domain = self._sender.rpartition("@")[2].strip("<> ") or "contactsync"
        message["Message-ID"] = f"<{notice.notice_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message

    def _deliver(self, message: EmailMessage) -> None:
        host, safe = self._parts.hostname or "", self._parts.scheme == "smtps"
        context = ssl.create_default_context()
        if safe:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, self._parts.port or 465, timeout=SEND_S, context=context)
        else:
            server = smtplib.SMTP(host, self._parts.port or 587, timeout=SEND_S)
        with server:
            if not safe and not is_loopback(host):
                server.starttls(context=context)
            if self._parts.username:
                server.login(unquote(self._parts.username), unquote(self._parts.password or ""))
            server.send_message(message)


def ways_of(settings: Settings, directory: Directory) -> list[Way]:
    """As the settings have it; none: nobody is told."""
    found: list[Way] = []
    if settings.notice_webhook_url is not None:
        secret = settings.notice_webhook_secret
        found.append(WebhookOut(settings.notice_webhook_url, secret.get_secret_value() if secret else ""))
    if settings.smtp_url is not None:
        sender = settings.notice_from or f"contactsync@{urlsplit(settings.public_url).hostname}"
        found.append(Mail(settings.smtp_url.get_secret_value(), sender, directory))
    return found


class Notices:
    """`run` beside the gateway's routes; `page`: the address of a filter's page."""

    def __init__(self, bus: Bus, ways: list[Way], *, page: Callable[[str], str], clock: Callable[[], float]) -> None:
        self._bus = bus
        self._client = Client(bus)
        self.ways = ways
        self._page = page
        self._clock = clock
        self._failing: set[str] = set()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except (BusError, NotReachable, Declined) as error:
                log.debug("notices wait", kind=type(error).__name__)
            await anyio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Tell what has not been told yet; forget what is over. Raises BusError, NotReachable, Declined."""
        statuses = {subjects.token(str(one["filter_id"])): one for one in await self._client.filters()}
        records = {record.key.removeprefix(PREFIX): record async for record in self._bus.load(f"{PREFIX}*")}
        for token in statuses.keys() | records.keys():
            try:
                await self._of_filter(token, statuses.get(token), records.get(token))
            except Conflict:
                continue  # another replica is at it

    async def _of_filter(self, token: str, status: Mapping[str, Any] | None, record: Record | None) -> None:
        seq, told = (0, {}) if record is None else (record.seq, _told_in(record.value))
        if status is None:
            await self._bus.commit(None, [Put(PREFIX + token, None, expect_seq=seq)])
            return
        now, needs = self._clock(), needs_of(status)
        wanted = {need.kind for need in needs}
        after = {kind: one for kind, one in told.items() if kind in wanted or _flaps(one, now)}
        for kind, one in after.items():
            after[kind] = one | {"seen_at": now} if kind in wanted and now - one["seen_at"] > FLAPPING_S / 4 else one
        due = [
            (need, way) for need in needs for way in self.ways if _is_due(after.get(need.kind), need, way.name, now)
        ]
        for need, way in due:
            before = after.get(need.kind)
            if before is None or before["episode"] != need.episode:
                before = {"episode": need.episode, "began_at": now, "seen_at": now, "ways": {}}
            state = before["ways"].get(way.name, {"tries": 0})
            claimed = state | {"again_at": now + CLAIM_S, "tries": state["tries"] + 1}
            after[need.kind] = before | {"ways": before["ways"] | {way.name: claimed}}
        if after == told:
            return
        if not after:
            await self._bus.commit(None, [Put(PREFIX + token, None, expect_seq=seq)])
            return
        seq = await self._bus.cas(PREFIX + token, orjson.dumps(after), seq)
        for need, way in due:
            one = after[need.kind]
            state = one["ways"][way.name]
            sent = await self._send(way, self._notice(token, status, need, one["began_at"]))
            pause = min(PAUSE_MAX_S, PAUSE_S * 2 ** (state["tries"] - 1))
            ended = {"sent": True} if sent else state | {"again_at": self._clock() + pause}
            after[need.kind] = one | {"ways": one["ways"] | {way.name: ended}}
        if due:
            await self._bus.cas(PREFIX + token, orjson.dumps(after), seq)

    def _notice(self, token: str, status: Mapping[str, Any], need: Need, began_at: float) -> Notice:
        named = f"{token}:{need.kind}:{need.episode}:{began_at!r}".encode()
        return Notice(
            notice_id=hashlib.sha256(named).hexdigest()[:32],
            kind=need.kind,
            filter_id=str(status["filter_id"]),
            name=str(status.get("name") or ""),
            owner=status.get("owner"),
            url=self._page(str(status["filter_id"])),
            at=began_at,
        )

    async def _send(self, way: Way, notice: Notice) -> bool:
        try:
            with anyio.fail_after(SEND_S + 5):
                await way.send(notice)
        except (OSError, aiohttp.ClientError, smtplib.SMTPException, TimeoutError, ValueError) as error:
            if way.name not in self._failing:
                why = str(error) if isinstance(error, Undeliverable) else type(error).__name__
                log.warning("a notice could not be sent; it is tried again", way=way.name, reason=why)
            self._failing.add(way.name)
            return False
        if way.name in self._failing:
            log.info("notices are sent again", way=way.name)
            self._failing.discard(way.name)
        log.info("a notice was sent", way=way.name, notice=notice.kind, filter=notice.filter_id)
        return True


def _is_due(one: Mapping[str, Any] | None, need: Need, way: str, now: float) -> bool:
    if one is None or one["episode"] != need.episode:
        return True
    state = one["ways"].get(way, {})
    return not state.get("sent") and now >= state.get("again_at", 0.0)


def _flaps(one: Mapping[str, Any], now: float) -> bool:
    return bool(now - one["seen_at"] < FLAPPING_S)


def _told_in(value: bytes) -> dict[str, dict[str, Any]]:
    """Kind -> {episode, began_at, seen_at, ways: {name: {sent} or {tries, again_at}}}; empty where it is damaged."""
    try:
        found = orjson.loads(value)
        return {str(kind): {**one, "ways": dict(one["ways"])} for kind, one in found.items() if "seen_at" in one}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
