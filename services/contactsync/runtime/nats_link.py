"""The connection: nats-py with its traps fenced off (facts in the comments), and requests to JetStream's API.

`NatsBus` is built on it, `provision` uses it alone. Nothing else in the project imports nats.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import anyio
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from contactsync.runtime.bus import NotProvisioned, Refused, Subscription, Transient

OUTBOUND_BYTES_MAX = 64 << 20  # nats-py refuses to publish beyond this while disconnected; its default is 2 MB
STREAM_MISSING = 10059
CONSUMER_MISSING = 10014
WATCH_S = 1.0
STUCK_S = 3.0


class LinkState(Enum):
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    """Not connected; tried again and again. Reported once for each outage."""
    CLOSED = "closed"
    """The client has given up for good (nats-py did it, not `close`): the process should end."""
    TROUBLE = "trouble"
    """The server objects to something, e.g. a missing permission; the connection goes on."""


Report = Callable[[LinkState, str], None]


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where and as whom to connect.

    url: one or several, comma-separated. creds: path of a credentials file; nkey_seed: the seed itself.
    tls_ca: path of a PEM bundle; tls_cert and tls_key: the client's own certificate.
    inbox_prefix: private to the service where permissions are in force (`_INBOX_reconciler`).
    """

    url: str
    name: str = "contactsync"
    creds: str | None = None
    nkey_seed: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    inbox_prefix: str = "_INBOX"

    def tls(self) -> ssl.SSLContext | None:
        if not (self.tls_ca or self.tls_cert):
            return None
        context = ssl.create_default_context(cafile=self.tls_ca)
        if self.tls_cert:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        return context


class Link:
    """One connection. `connected_event` is replaced at each disconnection, so that waiting on it is always
    right.
    """

    def __init__(self, settings: LinkSettings, report: Report) -> None:
        self.settings = settings
        self.client = Client()
        self._report = report
        self._hooks: list[Callable[[], None]] = []
        self._transport: Any = None
        self._asking: set[anyio.CancelScope] = set()
        self._up = anyio.Event()
        self._reported = False
        self._closing = False

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook) if hook in self._hooks else None

    async def open(self) -> None:
        """Connect, trying twice a second until it works; put a time limit around it if you cannot wait."""
        settings = self.settings
        options: dict[str, Any] = {"reconnect_time_wait": 0.5}  # any number, though typed int
        if tls := settings.tls():
            options["tls"] = tls
        if settings.creds:
            options["user_credentials"] = settings.creds
        if settings.nkey_seed:
            options["nkeys_seed_str"] = settings.nkey_seed
        try:
            await self.client.connect(
                servers=settings.url.split(","),
                name=settings.name,
                inbox_prefix=settings.inbox_prefix,
                max_reconnect_attempts=-1,  # the default gives up for ever after 60
                connect_timeout=2,
                ping_interval=5,  # the default notices a half-open connection after six minutes
                max_outstanding_pings=2,
                pending_size=OUTBOUND_BYTES_MAX,
                error_cb=self._on_error,  # the default logs a traceback for each failed attempt
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
                **options,
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise
        self._connected("connected")

    async def close(self) -> None:
        self._closing = True
        # nats-py's close raises TypeError and others when the connection is in the middle of something.
        with contextlib.suppress(Exception), anyio.move_on_after(5):
            if self.client.is_connected:
                await self.client.flush(timeout=2)
        with contextlib.suppress(Exception), anyio.move_on_after(5):
            await self.client.close()

    async def watch(self) -> None:
        """Run beside the connection. nats-py waits for a dead transport to flush before it connects again,
        which with a frozen server or a cut line takes TCP's quarter of an hour; and its task for that can
        die.
        """
        down_s = 0.0
        while True:
            await anyio.sleep(WATCH_S)
            if self.connected or self._closing:
                down_s, self._transport = 0.0, self.client._transport
                continue
            down_s += WATCH_S
            if down_s >= STUCK_S and self._transport and self.client._transport is self._transport:
                _abort(self._transport)
                self._transport = None
            task = self.client._reconnection_task
            if down_s >= STUCK_S and not self.client.is_closed and (task is None or task.done()):
                self._report(LinkState.CLOSED, "the NATS client has stopped trying to connect")
                down_s = 0.0

    async def wait_connected(self) -> None:
        while not self.connected:
            if self.client.is_closed:
                raise Transient("the connection to NATS is closed")
            with anyio.move_on_after(1):  # the event is a short cut, the state is the truth
                await self._up.wait()

    # ---- asking

    async def request(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = 5.0
    ) -> Msg:
        """Raises nats' TimeoutError, NoRespondersError; connection troubles as Transient."""
        scope = anyio.CancelScope()
        self._asking.add(scope)
        try:
            with scope:
                return await self.client.request(
                    subject, data, timeout=timeout_s, headers=dict(headers) if headers else None
                )
            raise nats.errors.TimeoutError  # the connection was lost: no answer will come
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            raise
        except (nats.errors.Error, OSError) as error:
            raise Transient(f"NATS: {type(error).__name__}") from error
        finally:
            self._asking.discard(scope)

    async def send(
        self, subject: str, data: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        try:
            await self.client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
        except (nats.errors.Error, OSError) as error:
            raise Transient(f"NATS: {type(error).__name__}") from error

    async def api(self, verb: str, body: Mapping[str, Any] | None = None, timeout_s: float = 5.0) -> dict[str, Any]:
        """One request to `$JS.API.<verb>`; the answer. Raises Transient, NotProvisioned, Refused (its
        err_code).
        """
        payload = orjson.dumps(body) if body is not None else b""
        try:
            answer = await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s)
        except nats.errors.TimeoutError as error:
            raise Transient(f"JetStream did not answer {verb}") from error
        except nats.errors.NoRespondersError as error:
            raise Transient("JetStream is not available") from error
        result: dict[str, Any] = orjson.loads(answer.data)
        if error_ := result.get("error"):
            raise refusal(error_)
        return result

    async def subscribe(
        self, subject: str, sink: Callable[[Msg], Awaitable[None] | None], queue: str = ""
    ) -> NatsSubscription:
        async def receive(message: Msg) -> None:
            outcome = sink(message)
            if outcome is not None:
                await outcome

        try:
            # Beyond the default limits nats-py drops messages and tells only error_cb.
            subscription = await self.client.subscribe(
                subject, queue=queue, cb=receive, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        except (nats.errors.Error, OSError) as error:
            raise Transient(f"NATS: {type(error).__name__}") from error
        return NatsSubscription(subscription)

    def inbox(self) -> str:
        return str(self.client.new_inbox())

    # ---- nats-py's callbacks

    async def _on_error(self, error: Exception) -> None:
        if self.connected:
            self._report(LinkState.TROUBLE, f"{type(error).__name__}: {error}")
        elif not self._reported and not self._closing:
            self._reported = True
            self._report(LinkState.UNREACHABLE, f"{type(error).__name__}: {error}")

    async def _on_disconnected(self) -> None:
        self._up = anyio.Event()
        for scope in self._asking:
            scope.cancel()
        if not self._reported and not self._closing:
            self._reported = True
            self._report(LinkState.UNREACHABLE, "the connection was lost")

    async def _on_reconnected(self) -> None:
        self._connected("connected again")
        for hook in list(self._hooks):
            hook()

    async def _on_closed(self) -> None:
        if not self._closing:
            self._report(LinkState.CLOSED, "the NATS client has closed")

    def _connected(self, text: str) -> None:
        self._reported = False
        self._up.set()
        self._report(LinkState.CONNECTED, text)


class NatsSubscription(Subscription):
    def __init__(self, subscription: Any) -> None:
        self._subscription = subscription

    async def close(self) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self._subscription.unsubscribe()


def _abort(transport: Any) -> None:
    transport._io_writer.transport.abort()


def refusal(error: Mapping[str, Any]) -> Exception:
    """JetStream's error as ours: what may pass (5xx) Transient, what is missing NotProvisioned, the rest
    Refused.
    """
    code, text = int(error.get("err_code", 0)), str(error.get("description", "refused"))
    if code in (STREAM_MISSING, CONSUMER_MISSING):
        return NotProvisioned(text)
    if int(error.get("code", 500)) >= 500:
        return Transient(f"JetStream: {text} ({code})")
    return Refused(f"JetStream: {text} ({code})", code)
