"""State in the stream STATE: one subject a key, atomic batches, the fence as an expected sequence.

Part of `nats_bus.NatsBus`; what the methods promise is said in `bus.Bus`.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime

import anyio
import nats.errors
import orjson
from nats.aio.msg import Msg

from contactsync.runtime.bus import (
    COMMIT_MAX,
    MSG_ID,
    VALUE_BYTES_MAX,
    Conflict,
    Deposed,
    Fence,
    Put,
    Record,
    Refused,
    Transient,
)
from contactsync.runtime.nats_link import Link, refusal

STATE = "STATE"
IN_FLIGHT_MAX = 8
DELETED = "Contactsync-Deleted"
EXPECT = "Nats-Expected-Last-Subject-Sequence"
EXPECT_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
TTL = "Nats-TTL"

WRONG_SEQUENCE = 10071
LANDED_BEFORE = 10201
"""The batch holds a message id that the stream knows: an earlier attempt of the same commit."""

PASSING = frozenset({10164, 10176, 10210})
"""Another write to the fence's subject is in flight; the batch is incomplete; too many batches: again, new
batch id.
"""

_NOTHING_FOUND = 10037
_SINGLY_MAX = 64
_MULTI_LAST_MAX = 1000  # the server's limit is 1024 (413)
_TOO_MANY = 413
_PEEKS_MAX = 5
_LOAD_BATCH = 100_000
_LOAD_SILENCE_S = 10.0


def check_key(key: str) -> str:
    if not key or any(character in " *>\t\r\n" for character in key) or key[0] == "." or key[-1] == ".":
        raise ValueError(f"not a key: {key!r}")
    return key


def check_commit(puts: Sequence[Put]) -> None:
    if not 1 <= len(puts) <= COMMIT_MAX:
        raise ValueError(f"a commit has 1 to {COMMIT_MAX} puts, not {len(puts)}")
    if len({put.key for put in puts}) != len(puts):
        raise ValueError("a key occurs twice in one commit")
    for put in puts:
        check_key(put.key)
        if put.value is not None and len(put.value) > VALUE_BYTES_MAX:
            raise ValueError(f"the value of {put.key} is larger than {VALUE_BYTES_MAX} bytes")
        if put.ttl_s is not None and put.ttl_s < 1:
            raise ValueError("ttl_s is at least 1")


def as_filter(pattern: str) -> str:
    return f"{pattern}>" if pattern.endswith(".") else pattern


def needs_bearer(fence: Fence | None, puts: Sequence[Put]) -> bool:
    """Whether no put has its expectation free to carry the fence (a message has one expectation header)."""
    return fence is not None and all(put.expect_seq is not None for put in puts)


class Inflow:
    """What a subscription has received, taken in lots: a queue with a checkpoint for each message costs a
    second in 25,000.
    """

    def __init__(self) -> None:
        self._messages: list[Msg] = []
        self._arrived = anyio.Event()

    def put(self, message: Msg) -> None:
        self._messages.append(message)
        self._arrived.set()

    async def take(self, silence_s: float, otherwise: str) -> list[Msg]:
        try:
            with anyio.fail_after(silence_s):
                await self._arrived.wait()
        except TimeoutError as error:
            raise Transient(otherwise) from error
        taken, self._messages, self._arrived = self._messages, [], anyio.Event()
        return taken


class NatsState:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._slots = anyio.CapacityLimiter(IN_FLIGHT_MAX)
        self._turns: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._barrier: tuple[str, int] | None = None

    # ---- commit

    async def commit(self, fence: Fence | None, puts: Sequence[Put], *, deadline_s: float = 30.0) -> int:
        check_commit(puts)
        messages = [_message(put) for put in puts]
        if needs_bearer(fence, puts):
            assert fence is not None
            if len(puts) == COMMIT_MAX:
                raise ValueError(f"a fenced commit where all puts expect a sequence has at most {COMMIT_MAX - 1}")
            messages.insert(0, _message(Put(f"state.fence.{fence.component}.{fence.partition}", None)))
        if fence is not None:
            carrier = next(headers for _, _, headers in messages if EXPECT not in headers)
            carrier[EXPECT], carrier[EXPECT_SUBJECT] = str(fence.epoch), fence.key
        # An attempt given up on may still reach the server, after later commits: the id makes it a duplicate.
        messages[0][2][MSG_ID] = f"commit.{uuid.uuid4().hex}"
        turn = self._turns[fence.key] if fence else contextlib.nullcontext()
        async with turn, self._slots:
            return await self._commit(fence, puts, messages, deadline_s)

    async def _commit(
        self, fence: Fence | None, puts: Sequence[Put], messages: list[_Headed], deadline_s: float
    ) -> int:
        unsure, delay_s = False, 0.02
        with anyio.move_on_after(deadline_s):
            while True:
                await self._link.wait_connected()
                try:
                    answer = orjson.loads((await self._send(messages)).data)
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError, Transient) as error:
                    unsure = True
                    if isinstance(error, nats.errors.NoRespondersError):
                        await self._require_stream()
                else:
                    trouble = answer.get("error")
                    if trouble is None:
                        return int(answer["seq"])
                    if trouble["err_code"] == WRONG_SEQUENCE:
                        with contextlib.suppress(Transient):
                            if (seq := await self._refused(fence, puts, unsure)) is not None:
                                return seq
                    elif trouble["err_code"] == LANDED_BEFORE:
                        with contextlib.suppress(Transient):
                            return (await self._last(puts[-1].key))[0]
                    elif trouble["err_code"] not in PASSING:
                        failure = refusal(trouble)
                        if not isinstance(failure, Transient):
                            raise failure
                await anyio.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
        raise Transient("the commit was not acknowledged in time")

    async def _send(self, messages: list[_Headed]) -> Msg:
        """The messages as one atomic batch (ADR-50): only the last has an answer; errors of all come with it."""
        if len(messages) == 1:
            subject, value, headers = messages[0]
            return await self._link.request(subject, value, headers)
        batch = {"Nats-Batch-Id": uuid.uuid4().hex}
        for number, (subject, value, headers) in enumerate(messages[:-1], start=1):
            await self._link.send(subject, value, headers={**headers, **batch, "Nats-Batch-Sequence": str(number)})
        subject, value, headers = messages[-1]
        last = {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        return await self._link.request(subject, value, {**headers, **batch, **last})

    async def _refused(self, fence: Fence | None, puts: Sequence[Put], unsure: bool) -> int | None:
        """Why a sequence was wrong: Deposed, Conflict, or our own earlier attempt that did land (its
        sequence).

        None when nothing is wrong any more (a tombstone was in the way and has just vanished): try again.
        """
        if fence is not None:
            epoch, _ = await self._last(fence.key)
            if epoch != fence.epoch:
                raise Deposed(f"{fence.component} partition {fence.partition}: epoch {fence.epoch} is over")
        landed = 0
        for put in puts:
            if put.expect_seq is None:
                continue
            seq, value = await self._last(put.key)
            if seq == put.expect_seq or (put.expect_seq == 0 and value is None):
                continue
            if not (unsure and seq > put.expect_seq and value == put.value):
                raise Conflict(put.key)
            landed = max(landed, seq)
        return landed or None

    # ---- one key

    async def cas(self, key: str, value: bytes, last_seq: int, ttl_s: int | None = None) -> int:
        subject, body, headers = _message(Put(check_key(key), value, ttl_s, last_seq))
        for _ in range(2):
            try:
                answer = orjson.loads((await self._link.request(subject, body, headers)).data)
            except (nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
                if isinstance(error, nats.errors.NoRespondersError):
                    await self._require_stream()
                raise Transient("the change was not acknowledged in time") from error
            if (trouble := answer.get("error")) is None:
                seq = int(answer["seq"])
                if key.startswith("epoch."):
                    self._barrier = (key, seq)
                return seq
            if trouble["err_code"] in PASSING:
                raise Transient("another change is in flight", retry_after_s=0.05)
            if trouble["err_code"] != WRONG_SEQUENCE:
                raise refusal(trouble)
            # A key deleted a moment ago still has a tombstone under which it counts as absent.
            seq, there = await self._last(key)
            if last_seq != 0 or seq == 0 or there is not None:
                break
            headers[EXPECT] = str(seq)
        raise Conflict(key)

    async def get(self, key: str) -> Record | None:
        seq, value = await self._last(check_key(key))
        return None if value is None else Record(key, value, seq)

    async def _last(self, key: str) -> tuple[int, bytes | None]:
        """(sequence or 0, value or None) as the stream's leader has it; a direct get may be older on three
        replicas.
        """
        try:
            answer = await self._link.api(f"STREAM.MSG.GET.{STATE}", {"last_by_subj": key})
        except Refused as error:
            if error.code == _NOTHING_FOUND:
                return 0, None
            raise
        message = answer["message"]
        headers = base64.b64decode(message.get("hdrs") or "")
        value = None if DELETED.encode() in headers else base64.b64decode(message.get("data") or "")
        return int(message["seq"]), value

    # ---- many keys

    def load(self, pattern: str, since_seq: int | None = None) -> AsyncIterator[Record]:
        """All of it, complete up to the last epoch that we claimed.

        Whoever answers may be a replica that lags behind. Our newest epoch record comes after everything
        that an earlier owner could commit: once that has been seen, nothing is missing.
        """
        if since_seq is not None:
            return self._newer(pattern, since_seq)
        barrier = self._barrier if self._barrier and not pattern.startswith(("epoch.", ">")) else None
        return self._all_of(pattern, barrier)

    async def _all_of(self, pattern: str, barrier: tuple[str, int] | None) -> AsyncGenerator[Record, None]:
        """In one answer where it fits into one, with the barrier's record from the same moment. A consumer would look
        at every message of the stream for it, those of a thousand other filters, too.
        """
        try:
            found = await self.peek([pattern, barrier[0]] if barrier else [pattern])
        except Refused as error:
            if error.code != _TOO_MANY:
                raise
        else:
            reached = found.pop(barrier[0], None) if barrier else None
            if barrier is None or (reached is not None and reached.seq >= barrier[1]):
                for record in found.values():
                    yield record
                return
        async with contextlib.aclosing(self._consumed(pattern, barrier=barrier)) as records:
            async for record in records:
                yield record

    async def _newer(self, pattern: str, seq: int) -> AsyncGenerator[Record, None]:
        """Asked of the leader one by one: mostly there are none or few. Of many a consumer brings those that its
        replica has, and the leader the others.
        """
        end = int((await self._link.api(f"STREAM.INFO.{STATE}"))["state"]["last_seq"])
        if end < seq:
            raise Conflict(pattern)
        singly = 0
        while seq < end and (record := await self._next(as_filter(pattern), seq + 1)) is not None:
            if record.seq > end:
                return
            seq, singly = record.seq, singly + 1
            yield record
            if singly == _SINGLY_MAX:
                singly = 0
                async with contextlib.aclosing(self._consumed(pattern, seq + 1)) as records:
                    async for record in records:
                        seq = record.seq
                        yield record

    async def _next(self, subject: str, seq: int) -> Record | None:
        """The first of the subject at this sequence or later, as the leader has it."""
        try:
            answer = await self._link.api(f"STREAM.MSG.GET.{STATE}", {"next_by_subj": subject, "seq": seq})
        except Refused as error:
            if error.code == _NOTHING_FOUND:
                return None
            raise
        message = answer["message"]
        deleted = DELETED.encode() in base64.b64decode(message.get("hdrs") or "")
        value = base64.b64decode(message.get("data") or "")
        return Record(message["subject"], value, int(message["seq"]), deleted)

    async def _consumed(
        self, pattern: str, start: int | None = None, barrier: tuple[str, int] | None = None
    ) -> AsyncGenerator[Record, None]:
        """Through a consumer in the server's memory, counted; from the sequence `start` on deletions come as well.
        `barrier`: goes on until this key has been seen at this sequence.
        """
        subjects = [as_filter(pattern)]
        if barrier:
            subjects.append(barrier[0])
        begin: dict[str, object] = {"deliver_policy": "all"}
        if start is not None:
            begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": start}
        name = f"load-{uuid.uuid4().hex}"
        created = await self._link.api(
            f"CONSUMER.CREATE.{STATE}.{name}",
            {
                "stream_name": STATE,
                "config": {
                    "name": name,
                    "filter_subjects": subjects,
                    **begin,
                    "ack_policy": "none",
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": 30_000_000_000,
                },
            },
        )
        inflow, inbox = Inflow(), self._link.inbox()
        subscription = await self._link.subscribe(inbox, inflow.put)
        try:
            ask = orjson.dumps({"batch": _LOAD_BATCH, "expires": 30_000_000_000})
            await self._link.send(f"$JS.API.CONSUMER.MSG.NEXT.{STATE}.{name}", ask, reply=inbox)
            expected, pending, asked = 1, int(created.get("num_pending", 0)), _LOAD_BATCH
            while pending or barrier:
                for message in await inflow.take(_LOAD_SILENCE_S, f"loading {pattern} stopped half-way"):
                    headers = message.headers
                    if headers and "Status" in headers:
                        raise Transient(f"loading {pattern} was cut off ({headers['Status']})")
                    token = message.reply.split(".")
                    if int(token[-3]) != expected:
                        raise Transient(f"loading {pattern} lost a message")
                    expected, pending, seq = expected + 1, int(token[-1]), int(token[-4])
                    if barrier and message.subject == barrier[0]:
                        if seq >= barrier[1]:
                            barrier = None
                    elif message.subject in subjects[1:]:
                        continue
                    elif not (headers and DELETED in headers):
                        yield Record(message.subject, message.data, seq)
                    elif start is not None:
                        yield Record(message.subject, b"", seq, deleted=True)
                if expected > asked:
                    asked += _LOAD_BATCH
                    await self._link.send(f"$JS.API.CONSUMER.MSG.NEXT.{STATE}.{name}", ask, reply=inbox)
        finally:
            with anyio.CancelScope(shield=True):
                await subscription.close()
                with contextlib.suppress(Exception):
                    await self._link.send(f"$JS.API.CONSUMER.DELETE.{STATE}.{name}")

    async def load_keys(self, keys: Sequence[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for start in range(0, len(keys), _MULTI_LAST_MAX):
            found |= await self.peek([check_key(key) for key in keys[start : start + _MULTI_LAST_MAX]])
        return found

    async def peek(self, patterns: Sequence[str]) -> dict[str, Record]:
        body = {"multi_last": [as_filter(pattern) for pattern in patterns]}
        for _ in range(_PEEKS_MAX):
            found: dict[str, Record] = {}
            left: int | None = None
            async for message in self.direct(STATE, body):
                headers = message.headers or {}
                counted = int(headers["Nats-Num-Pending"])
                if left is not None and counted != left - 1:
                    break
                left = counted
                if DELETED not in headers:
                    subject = headers["Nats-Subject"]
                    found[subject] = Record(subject, message.data, int(headers["Nats-Sequence"]))
            # The server notes what there is and then reads it: what was written over in between would be missing.
            if not left:
                return found
        raise Transient("the state changes faster than it can be read")

    async def copies(self) -> int:
        return int((await self._link.api(f"STREAM.INFO.{STATE}"))["config"]["num_replicas"])

    async def direct(self, stream: str, body: Mapping[str, object]) -> AsyncIterator[Msg]:
        """A batched direct get; complete, or Transient. Without a match nothing comes."""
        inflow, inbox = Inflow(), self._link.inbox()
        subscription = await self._link.subscribe(inbox, inflow.put)
        try:
            await self._link.send(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(body), reply=inbox)
            while True:
                for message in await inflow.take(5.0, f"{stream} did not answer"):
                    match (message.headers or {}).get("Status"):
                        case None:
                            yield message
                        case "204" | "404":
                            return
                        case "503":
                            await self._require_stream(stream)
                            raise Transient(f"{stream} is not available")
                        case status:
                            raise Refused(f"{stream}: direct get answered {status}", int(status))
        finally:
            with anyio.CancelScope(shield=True):
                await subscription.close()

    async def time(self) -> float:
        info = await self._link.api(f"STREAM.INFO.{STATE}")
        return datetime.fromisoformat(info["ts"]).timestamp()

    async def keys(self, pattern: str) -> set[str]:
        return {key async for page in self._listed(pattern) for key in page}

    async def count(self, pattern: str) -> int:
        return sum([len(page) async for page in self._listed(pattern)])

    async def _listed(self, pattern: str) -> AsyncIterator[Mapping[str, int]]:
        """Keys with how many messages each has, LISTED_MAX a page: the server lists no more at once."""
        body = {"subjects_filter": as_filter(pattern)}
        total = 0
        while True:
            info = await self._link.api(f"STREAM.INFO.{STATE}", {**body, "offset": total})
            page: dict[str, int] = info["state"].get("subjects") or {}
            yield page
            total += len(page)
            if not page or total >= int(info.get("total", 0)):
                return

    async def purge(self, pattern: str) -> int:
        answer = await self._link.api(f"STREAM.PURGE.{STATE}", {"filter": as_filter(pattern)})
        return int(answer.get("purged", 0))

    async def _require_stream(self, stream: str = STATE) -> None:
        """Tell a missing stream from one without a leader; says nothing where the answer is not allowed to
        us.
        """
        with contextlib.suppress(Transient, Refused):
            await self._link.api(f"STREAM.INFO.{stream}")


_Headed = tuple[str, bytes, dict[str, str]]


def _message(put: Put) -> _Headed:
    headers: dict[str, str] = {}
    ttl_s = put.ttl_s
    if put.value is None:
        headers[DELETED], ttl_s = "1", 1
    if ttl_s is not None:
        headers[TTL] = f"{int(ttl_s)}s"
    if put.expect_seq is not None:
        headers[EXPECT] = str(put.expect_seq)
    return put.key, put.value or b"", headers
