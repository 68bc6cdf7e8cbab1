"""Dead letters: messages that cannot be carried out, kept in the stream DEAD with the reason until a human decides.

Services put them there (`decoded`, `dead_letter`); the command line shows them, sends them again or drops them. They
are forgotten after 30 days.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from contactsync.runtime.bus import MSG_ID, TYPE, Bus, Event
from contactsync.runtime.mailbox import Delivery

STREAM = "DEAD"
_ROOT = "contacts.v1.dead"
_REASON = "Contactsync-Reason"
_SUBJECT = "Contactsync-Subject"
_OURS = frozenset({MSG_ID, TYPE, _REASON, _SUBJECT})
WHERE_MAX = 5
"""Places named in a reason."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """number: in the stream. at: when it was put aside, as the server writes it. filter_id: token, empty where none
    is known. subject: where it was published. headers: that came with it."""

    number: int
    at: str
    service: str
    filter_id: str
    type: str
    reason: str
    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def explained(error: ValidationError) -> str:
    """Where a message does not fit its contract, and how; never a value, which may be personal."""
    wrong = [f"{'.'.join(map(str, e['loc'])) or 'message'}: {e['msg']}" for e in error.errors()[:WHERE_MAX]]
    more = error.error_count() - WHERE_MAX
    return "; ".join(wrong) + (f"; and {more} more" if more > 0 else "")


async def decoded(bus: Bus, service: str, filter_id: str | None, delivery: Delivery, contract: type[M]) -> M | None:
    """The message as its contract has it; None for one that does not fit, which is a dead letter then."""
    try:
        return contract.model_validate_json(delivery.data)
    except ValidationError as error:
        await dead_letter(bus, service, filter_id, delivery, explained(error))
        return None


async def dead_letter(bus: Bus, service: str, filter_id: str | None, delivery: Delivery, reason: str) -> None:
    """Keep a message on `contacts.v1.dead.<service>.<filter or none>`.

    Returning from `handle` afterwards acknowledges the message itself.
    """
    carried = {name: value for name, value in delivery.headers.items() if not name.startswith("Nats-")}
    # Header values are one line of ASCII for all clients.
    told = " ".join(reason.encode("ascii", "replace").decode().split())[:500]
    await bus.publish(
        f"{_ROOT}.{service}.{filter_id or 'none'}",
        delivery.data,
        msg_id=f"{delivery.subject}.{delivery.stream_seq}",
        type_=delivery.headers.get(TYPE, "unknown"),
        headers={**carried, _REASON: told, _SUBJECT: published_as(delivery.subject)},
    )
    delivery.fate.dead = True


def published_as(stored: str) -> str:
    """The subject under which a message of a mailbox stream is published: those streams add a partition."""
    match stored.split("."):
        case ["filters", _, key, kind]:
            return f"contacts.v1.filter.{key}.{kind}"
        case ["writer", _, key]:
            return f"contacts.v1.writer.{key}.mutate"
        case ["look", _, key]:
            return f"contacts.v1.look.{key}"
        case _:
            return stored


# ---- what a human does with them


async def letters(bus: Bus, service: str = "*") -> list[DeadLetter]:
    """All that are kept, the oldest first."""
    return [_letter(event) async for event in bus.stored(f"{_ROOT}.{service}.>", stream=STREAM)]


async def letter(bus: Bus, number: int) -> DeadLetter | None:
    async for event in bus.stored(f"{_ROOT}.>", stream=STREAM, start=number):
        return _letter(event) if event.seq == number else None
    return None


async def resend(bus: Bus, chosen: Sequence[DeadLetter]) -> None:
    """Publish them again where they came from, then drop them.

    Under a new id, since the stream remembers the old one for two minutes. Killed in between, a letter may be sent
    twice: every mailbox takes that, requests by their id, mutations by their revision, observations by what they say.
    """
    for one in chosen:
        await bus.publish(
            published_as(one.subject),
            one.data,
            msg_id=f"resent.{one.number}.{uuid.uuid4().hex}",
            type_=one.type,
            headers=one.headers,
        )
        await drop(bus, [one])


async def drop(bus: Bus, chosen: Sequence[DeadLetter]) -> None:
    for one in chosen:
        await bus.remove(STREAM, one.number)


def _letter(event: Event) -> DeadLetter:
    service, _, filter_id = event.subject.removeprefix(f"{_ROOT}.").partition(".")
    headers = event.headers
    return DeadLetter(
        number=event.seq,
        at=headers.get("Nats-Time-Stamp", ""),
        service=service,
        filter_id="" if filter_id == "none" else filter_id,
        type=headers.get(TYPE, "unknown"),
        reason=headers.get(_REASON, ""),
        subject=headers.get(_SUBJECT, ""),
        data=event.data,
        headers={n: v for n, v in headers.items() if n not in _OURS and not n.startswith("Nats-")},
    )
