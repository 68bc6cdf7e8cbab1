"""Streams and consumers, made once: at the start of `up` and `demo`, by `contactsync provision`, by a Job.

Services never create streams. Running it again changes nothing or brings limits up to date; the number of
partitions can never change, since queued messages lie in the partition of their time.

LOOK keeps a message while a consumer *interested* in it has not acknowledged it, unlike the other mailboxes:
key `planfix` belongs to the planfix-watcher wherever the hash puts it, and a work queue forbids the overlap
of its consumer with that partition's. The google-watcher acknowledges and ignores that one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from contactsync.runtime.bus import NotProvisioned, Refused
from contactsync.runtime.nats_link import Link
from contactsync.runtime.ownership import PARTITIONS

DAY_S = 86_400
_NS = 1_000_000_000
ACK_WAIT_S = 300
UNACKED_MAX = 4096
CONSUMERS_MAX = 10_000  # positive, or the server (2.15) allows 1000; loads are short-lived consumers
_AT_ONCE = 32
_PARTITIONS = "contactsync-partitions"


class PartitionsDiffer(Exception):
    """The stream was made for another number of partitions; nothing was changed."""


@dataclass(frozen=True, slots=True)
class MailboxStream:
    """A partitioned stream: `public` subjects stored as `<prefix>.<partition>.<tokens>`."""

    stream: str
    public: str
    prefix: str
    tokens: str
    retention: str
    extra: Mapping[str, str]

    @property
    def transform(self) -> dict[str, str]:
        partition = f"{{{{partition({PARTITIONS},1)}}}}"
        return {"src": self.public, "dest": f"{self.prefix}.{partition}.{self.tokens}"}

    @property
    def consumers(self) -> dict[str, str]:
        """durable name -> filter subject"""
        return {f"p{number}": f"{self.prefix}.{number}.>" for number in range(PARTITIONS)} | dict(self.extra)


MAILBOXES = (
    MailboxStream("FILTERS", "contacts.v1.filter.*.*", "filters", "{{wildcard(1)}}.{{wildcard(2)}}", "workqueue", {}),
    MailboxStream("WRITER", "contacts.v1.writer.*.mutate", "writer", "{{wildcard(1)}}", "workqueue", {}),
    MailboxStream("LOOK", "contacts.v1.look.*", "look", "{{wildcard(1)}}", "interest", {"planfix": "look.*.planfix"}),
)


def streams(replicas: int = 1) -> dict[str, dict[str, Any]]:
    """The configuration of each stream, as JetStream's API wants it."""
    common: dict[str, Any] = {
        "storage": "file",
        "num_replicas": replicas,
        "max_consumers": CONSUMERS_MAX,
        "duplicate_window": 120 * _NS,
        "discard": "new",
    }
    configs: dict[str, dict[str, Any]] = {}
    for box in MAILBOXES:
        configs[box.stream] = common | {
            "subjects": [box.public],
            "retention": box.retention,
            "subject_transform": box.transform,
            "metadata": {_PARTITIONS: str(PARTITIONS)},
        }
    configs["EVENTS"] = common | {
        "subjects": ["contacts.v1.event.>"],
        "retention": "limits",
        "discard": "old",
        "max_age": 7 * DAY_S * _NS,
        "allow_direct": True,
    }
    configs["DEAD"] = common | {
        "subjects": ["contacts.v1.dead.>"],
        "retention": "limits",
        "discard": "old",
        "max_age": 30 * DAY_S * _NS,
        "allow_direct": True,
    }
    configs["STATE"] = common | {
        "subjects": ["state.>", "history.>", "epoch.>", "lease.>", "quota.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "allow_direct": True,
        "allow_atomic": True,
    }
    return {name: {"name": name, **config} for name, config in configs.items()}


def consumer(name: str, filter_subject: str) -> dict[str, Any]:
    return {
        "name": name,
        "durable_name": name,
        "filter_subject": filter_subject,
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * _NS,
        "max_ack_pending": UNACKED_MAX,
        "max_deliver": -1,
        "max_waiting": 64,
    }


async def provision(link: Link, replicas: int = 1) -> list[str]:
    """Make or update everything; one line for each thing done, none when all was there already.

    Raises PartitionsDiffer before anything is changed, Refused where the server does not agree, Transient.
    """
    wanted = streams(replicas)
    present = {name: await _stream(link, name) for name in wanted}
    for box in MAILBOXES:
        if (config := present[box.stream]) is not None:
            _require_same_partitions(box, config)
    done: list[str] = []
    for name, config in wanted.items():
        if (old := present[name]) is None:
            await link.api(f"STREAM.CREATE.{name}", config, timeout_s=10)
            done.append(f"stream {name} created")
        elif any(old.get(field) != value for field, value in config.items() if field != "metadata"):
            await link.api(f"STREAM.UPDATE.{name}", old | config, timeout_s=10)
            done.append(f"stream {name} updated")
    for box in MAILBOXES:
        if made := await _consumers(link, box):
            done.append(f"stream {box.stream}: {made} consumers created")
    return done


async def _stream(link: Link, name: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await link.api(f"STREAM.INFO.{name}"))["config"]
    except NotProvisioned:
        return None
    return config


def _require_same_partitions(box: MailboxStream, config: Mapping[str, Any]) -> None:
    there = config.get("subject_transform") or {}
    if there.get("dest") != box.transform["dest"]:
        raise PartitionsDiffer(
            f"stream {box.stream} was made as {there.get('dest')!r}, this version needs "
            f"{box.transform['dest']!r}; the number of partitions cannot change while messages are queued"
        )


async def _consumers(link: Link, box: MailboxStream) -> int:
    there: set[str] = set()
    while True:
        page = await link.api(f"CONSUMER.NAMES.{box.stream}", {"offset": len(there)})
        there.update(page.get("consumers") or [])
        if not page.get("consumers") or len(there) >= page["total"]:
            break
    missing = {name: subject for name, subject in box.consumers.items() if name not in there}
    failures: list[Exception] = []
    slots = anyio.CapacityLimiter(_AT_ONCE)

    async def create(name: str, subject: str) -> None:
        async with slots:
            body = {"stream_name": box.stream, "config": consumer(name, subject), "action": "create"}
            try:
                # On three replicas 64 of them take four seconds together.
                await link.api(f"CONSUMER.CREATE.{box.stream}.{name}.{subject}", body, timeout_s=30)
            except Exception as error:
                failures.append(error)

    async with anyio.create_task_group() as tasks:
        for name, subject in missing.items():
            tasks.start_soon(create, name, subject)
    if failures:
        raise failures[0]
    return len(missing)


async def require_provisioned(link: Link) -> None:
    """What a service checks at its start: raises NotProvisioned naming the first stream that is missing."""
    for name in streams():
        try:
            await link.api(f"STREAM.INFO.{name}")
        except Refused:
            return  # not allowed to ask: the first use will tell
