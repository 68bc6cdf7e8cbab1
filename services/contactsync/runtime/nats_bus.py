"""The bus over NATS JetStream: publishing, mailboxes, events and queries; state is in `nats_state`.

`connect` gives a `NatsBus` for the length of a block. The connection itself, and the traps of nats-py, are in
`nats_link`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import anyio
import nats.errors
import nats.micro
import orjson
from anyio.abc import TaskGroup
from nats.aio.msg import Msg
from nats.micro.request import Request

from contactsync.runtime.bus import (
    MSG_ID,
    TYPE,
    VALUE_BYTES_MAX,
    Bus,
    Event,
    Handler,
    Intake,
    Message,
    NoAnswer,
    NotMine,
    NotProvisioned,
    PubAck,
    Pulled,
    Refused,
    Subscription,
    Transient,
)
from contactsync.runtime.nats_link import Link, LinkSettings, LinkState, NatsSubscription, Report, refusal
from contactsync.runtime.nats_state import NatsState

log = logging.getLogger(__name__)

ATTEMPT_S = 3.0
SUBJECTS_IN_FLIGHT_MAX = 64
_EVENTS_BATCH = 256
_EVENTS_LOOK_S = 2.0
_SERVICE_VERSION = "1.0.0"
_NO_SUCH_MESSAGE = frozenset({10037, 10043, 10057})
"""Error codes of a deletion: there is no such message."""


def log_report(state: LinkState, text: str) -> None:
    level = logging.INFO if state is LinkState.CONNECTED else logging.WARNING
    log.log(level, "nats %s", state.value, extra={"reason": text})


@asynccontextmanager
async def connect(settings: LinkSettings, report: Report = log_report) -> AsyncIterator[NatsBus]:
    """A connected bus. Entering waits until a server answers, however long; `report` hears of it once an
    outage.
    """
    link = Link(settings, report)
    await link.open()
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.watch)
        bus = NatsBus(link, tasks)
        try:
            yield bus
        except Exception as error:
            # Raised below, outside of the group: users of a bus are to see their own error, not a group of one.
            failure = error
        finally:
            with anyio.CancelScope(shield=True):
                await bus.close()
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class NatsBus(NatsState, Bus):
    def __init__(self, link: Link, tasks: TaskGroup) -> None:
        super().__init__(link)
        self._tasks = tasks
        self._services: dict[str, Any] = {}

    @property
    def link(self) -> Link:
        return self._link

    @property
    def connected(self) -> bool:
        return self._link.connected

    def on_reconnect(self, hook: Callable[[], None]) -> Callable[[], None]:
        return self._link.on_reconnect(hook)

    async def close(self) -> None:
        for service in self._services.values():
            with suppress(Exception), anyio.move_on_after(2):
                await service.stop()
        self._services.clear()
        await self._link.close()

    # ---- messages

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str,
        type_: str,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = 30.0,
    ) -> PubAck:
        if len(data) > VALUE_BYTES_MAX:
            raise ValueError(f"a message for {subject} is larger than {VALUE_BYTES_MAX} bytes")
        sent = {**(headers or {}), MSG_ID: msg_id, TYPE: type_}
        delay_s = 0.05
        with anyio.move_on_after(deadline_s):
            while True:
                # Not while disconnected: nats-py would keep each attempt and send them all later.
                await self._link.wait_connected()
                try:
                    answer = orjson.loads((await self._link.request(subject, data, sent, ATTEMPT_S)).data)
                    if "error" not in answer:
                        return PubAck(int(answer["seq"]), bool(answer.get("duplicate")))
                    failure = refusal(answer["error"])
                    if not isinstance(failure, Transient):
                        raise failure
                except nats.errors.NoRespondersError:
                    await self._require_subject(subject)
                except (nats.errors.TimeoutError, Transient):
                    pass
                await anyio.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
        raise Transient(f"{subject}: not acknowledged in time")

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float = 60.0) -> list[PubAck]:
        acks: dict[int, PubAck] = {}
        lines: dict[str, list[int]] = {}
        for number, message in enumerate(messages):
            lines.setdefault(message.subject, []).append(number)
        waiting = iter(lines.values())
        failures: list[Exception] = []

        async def carry() -> None:
            for line in waiting:
                for number in line:
                    if failures:
                        return
                    message = messages[number]
                    try:
                        acks[number] = await self.publish(
                            message.subject,
                            message.data,
                            msg_id=message.msg_id,
                            type_=message.type_,
                            headers=message.headers,
                            deadline_s=deadline_s,
                        )
                    except Exception as error:
                        failures.append(error)

        async with anyio.create_task_group() as carriers:
            for _ in range(min(SUBJECTS_IN_FLIGHT_MAX, len(lines))):
                carriers.start_soon(carry)
        if failures:
            raise failures[0]
        return [acks[number] for number in range(len(messages))]

    async def _require_subject(self, subject: str) -> None:
        """No stream took the message: either none is there, or its leader is being elected (a few seconds)."""
        with suppress(Transient, Refused):
            answer = await self._link.api("STREAM.NAMES", {"subject": subject})
            if not answer.get("streams"):
                raise NotProvisioned(f"no stream for {subject}")

    async def open_intake(self, stream: str, consumer: str, sink: Callable[[Pulled], None]) -> Intake:
        inbox = self._link.inbox()

        def receive(message: Msg) -> None:
            if not (message.headers and "Status" in message.headers):
                sink(_pulled(message))

        subscription = await self._link.subscribe(inbox, receive)
        try:
            try:
                # From the very first, not from the acknowledgement floor: a server that was killed may have kept
                # a message below it, which would stay for ever. What was acknowledged is not in a work queue any
                # more, and what is delivered twice is known.
                await self._link.api(f"CONSUMER.RESET.{stream}.{consumer}", {"seq": 1}, timeout_s=2)
            except Transient:  # the server leaves a RESET of what does not exist unanswered
                await self._link.api(f"CONSUMER.INFO.{stream}.{consumer}", timeout_s=2)
                raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await subscription.close()
            raise
        return NatsIntake(self._link, stream, consumer, inbox, subscription)

    async def waiting(self, stream: str, consumer: str) -> int:
        info = await self._link.api(f"CONSUMER.INFO.{stream}.{consumer}")
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def ack(self, tokens: Sequence[str]) -> None:
        for token in tokens:
            await self._link.send(token, b"+ACK")

    async def working(self, tokens: Sequence[str]) -> None:
        for token in tokens:
            await self._link.send(token, b"+WPI")

    async def events(
        self, subject: str, *, stream: str = "EVENTS", start: Literal["new", "all"] | int = "new"
    ) -> AsyncGenerator[Event, None]:
        """Direct gets in turn; a plain subscription says when there is something, a clock covers what it
        misses.
        """
        arrived = anyio.Event()

        def hint(_: str, __: bytes) -> None:
            arrived.set()

        subscription = await self.listen(subject, hint)
        try:
            match start:
                case "new":
                    seq = int((await self._link.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"]) + 1
                case "all":
                    seq = 1
                case int():
                    seq = start
            while True:
                arrived = anyio.Event()
                found = 0
                with suppress(Transient):
                    async for event in self._batch(stream, subject, seq):
                        found, seq = found + 1, event.seq + 1
                        yield event
                if not found:
                    with anyio.move_on_after(_EVENTS_LOOK_S):
                        await arrived.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await subscription.close()

    async def stored(self, subject: str, *, stream: str, start: int = 1) -> AsyncIterator[Event]:
        seq = start
        while True:
            found = 0
            async for event in self._batch(stream, subject, seq):
                found, seq = found + 1, event.seq + 1
                yield event
            if not found:
                return

    async def _batch(self, stream: str, subject: str, seq: int) -> AsyncIterator[Event]:
        """The next messages of the subject from `seq` on, none at the stream's end."""
        async for message in self.direct(stream, {"batch": _EVENTS_BATCH, "next_by_subj": subject, "seq": seq}):
            headers = dict(message.headers or {})
            yield Event(headers["Nats-Subject"], message.data, headers, int(headers["Nats-Sequence"]))

    async def remove(self, stream: str, seq: int) -> None:
        try:
            await self._link.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq})
        except Refused as error:
            if error.code not in _NO_SUCH_MESSAGE:
                raise

    # ---- asking

    async def request(self, subject: str, data: bytes, timeout_s: float = 5.0) -> bytes:
        try:
            answer = await self._link.request(subject, data, timeout_s=timeout_s)
        except nats.errors.NoRespondersError as error:
            raise NoAnswer(f"nobody serves {subject}") from error
        except nats.errors.TimeoutError as error:
            raise NoAnswer(f"{subject} did not answer in {timeout_s} s") from error
        if answer.headers and (reason := answer.headers.get("Nats-Service-Error")):
            raise Refused(reason, int(answer.headers.get("Nats-Service-Error-Code", "500")))
        return bytes(answer.data)

    async def serve(self, service: str, subject: str, handler: Handler, *, everyone: bool = False) -> Subscription:
        """As an endpoint of a NATS micro service, which `nats micro ls` and `$SRV.PING` show."""
        if service not in self._services:
            self._services[service] = await nats.micro.add_service(
                self._link.client, name=service, version=_SERVICE_VERSION, queue_group=service
            )

        async def receive(request: Request) -> None:
            self._tasks.start_soon(_answer, handler, request)

        micro = self._services[service]
        name = subject.replace(".", "-").replace("*", "any").replace(">", "all")
        group = f"{service}-{uuid.uuid4().hex}" if everyone else service
        await micro.add_endpoint(name=name, subject=subject, handler=receive, queue_group=group)
        return NatsEndpoint(micro, name)

    async def listen(self, subject: str, sink: Callable[[str, bytes], None]) -> Subscription:
        return await self._link.subscribe(subject, lambda message: sink(message.subject, message.data))


class NatsIntake(Intake):
    def __init__(self, link: Link, stream: str, consumer: str, inbox: str, subscription: NatsSubscription) -> None:
        self._link = link
        self._name = f"{stream}.{consumer}"
        self._inbox = inbox
        self._subscription = subscription

    async def pull(self, batch: int, expires_s: float) -> None:
        body = orjson.dumps({"batch": batch, "expires": int(expires_s * 1e9)})
        await self._link.send(f"$JS.API.CONSUMER.MSG.NEXT.{self._name}", body, reply=self._inbox)

    async def delivered(self) -> int:
        info = await self._link.api(f"CONSUMER.INFO.{self._name}")
        return int(info["delivered"]["consumer_seq"])

    async def close(self) -> None:
        await self._subscription.close()  # without interest in its inbox the server drops the open pulls


class NatsEndpoint(Subscription):
    def __init__(self, service: Any, name: str) -> None:
        self._service = service
        self._name = name

    async def close(self) -> None:
        for endpoint in list(self._service._endpoints):
            if endpoint._name == self._name:
                with suppress(nats.errors.Error, OSError):
                    await endpoint._stop()
                self._service._endpoints.remove(endpoint)


async def _answer(handler: Handler, request: Request) -> None:
    with suppress(nats.errors.Error, OSError):
        try:
            await request.respond(await handler(request.subject, request.data))
        except NotMine:
            return
        except Refused as error:
            await request.respond_error(str(error.code), " ".join(str(error).split()))
        except Transient as error:
            await request.respond_error("503", " ".join(str(error).split()))
        except Exception:
            log.exception("a query failed", extra={"subject": request.subject})
            await request.respond_error("500", "internal error")


def _pulled(message: Msg) -> Pulled:
    # $JS.ACK.<stream>.<consumer>.<attempt>.<stream seq>.<consumer seq>.<time>.<pending>, with domain and
    # account before the stream and a token after the end in newer form
    token = message.reply.split(".")
    if len(token) > 9:
        token = token[2:]
    return Pulled(
        subject=message.subject,
        data=message.data,
        headers=message.headers or {},
        stream_seq=int(token[5]),
        consumer_seq=int(token[6]),
        attempt=int(token[4]),
        ack=message.reply,
    )
