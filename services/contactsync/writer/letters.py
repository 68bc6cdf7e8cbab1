"""Messages in and answers out: decoding each delivery once, and publishing what was settled until it is taken.

A delivery may be handed to the handler many times (`bus.Transient` keeps it): it is decoded once, and mutations
that were answered meanwhile are not answered again. Answers are queued here after their commit and stay queued
until the stream has acknowledged them. Used by `google_target.py` and `planfix_target.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from contactsync.chunks import chunks, spliced
from contactsync.runtime.bus import Bus, Message
from contactsync.runtime.dead import dead_letter, decoded
from contactsync.runtime.ownership import Delivery
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Forget,
    Handover,
    LabelSettled,
    Model,
    Mutate,
    Settled,
    SettledItem,
    type_name,
    type_of,
)

Clock = Callable[[], float]
"""Unix seconds."""

SERVICE = "writer"
_SETTLED = type_name(Settled)


@dataclass(frozen=True, slots=True)
class Letter:
    """One decoded message; `seen_at`: when this process first saw it (Unix seconds)."""

    seq: int
    mutate: Mutate
    seen_at: float


class Inbox:
    def __init__(self, bus: Bus, target: str, clock: Clock) -> None:
        self._bus, self._target, self._clock = bus, target, clock
        self._letters: dict[int, Letter | None] = {}
        self.answered: set[str] = set()

    async def read(self, deliveries: Sequence[Delivery]) -> list[Letter]:
        """The messages in their order; one that does not fit its contract goes to the dead letters."""
        current = {delivery.stream_seq for delivery in deliveries}
        self._letters = {seq: letter for seq, letter in self._letters.items() if seq in current}
        for delivery in deliveries:
            if delivery.stream_seq not in self._letters:
                self._letters[delivery.stream_seq] = await self._decode(delivery)
        return [letter for d in deliveries if (letter := self._letters[d.stream_seq]) is not None]

    async def _decode(self, delivery: Delivery) -> Letter | None:
        mutate = await decoded(self._bus, SERVICE, None, delivery, Mutate)
        if mutate is None:
            return None
        if mutate.target != self._target:
            await dead_letter(self._bus, SERVICE, subjects.token(mutate.filter_id), delivery, "another target")
            return None
        return Letter(delivery.stream_seq, mutate, self._clock())

    def done(self) -> None:
        """All deliveries of the call are acknowledged now."""
        self._letters.clear()
        self.answered.clear()


class Outbox:
    def __init__(self, bus: Bus, target: str) -> None:
        self._bus, self._target = bus, target
        self._waiting: list[Message] = []

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def settled(self, filter_id: str, items: Iterable[SettledItem], *, answered_at: float, epoch: int) -> None:
        """Queue what came of a filter's mutations, in messages of at most 200 contacts and 512 kB."""
        encoded = ((item, item.model_dump_json(exclude_defaults=True).encode()) for item in items)
        envelope = {"filter_id": filter_id, "target": self._target, "answered_at": answered_at}
        for number, chunk in enumerate(chunks(encoded, lambda one: len(one[1]))):
            first, _ = chunk[0]
            # With the moment: whoever lost an answer asks for the same revision again, perhaps within the two minutes
            # in which an id is remembered.
            behind = f".behind-{first.latest}" if first.latest else ""
            suffix = f"{first.mutation_id}.{epoch}.{number}.{answered_at:.3f}{behind}"
            self._settled(filter_id, spliced(envelope, "items", [body for _, body in chunk]), suffix)

    def handover(self, filter_id: str, handover: Handover, cause: str, *, answered_at: float, epoch: int) -> None:
        message = Settled(filter_id=filter_id, target=self._target, answered_at=answered_at, handovers=(handover,))
        self._settled(filter_id, message.model_dump_json().encode(), f"{cause}.handover-{handover.contact}.{epoch}")

    def handovers(
        self, filter_id: str, items: Sequence[Handover], cause: str, *, answered_at: float, epoch: int
    ) -> None:
        """cause: what no other handover of these contacts has, however soon it follows; two that undo each other must
        not share an id."""
        message = Settled(filter_id=filter_id, target=self._target, answered_at=answered_at, handovers=tuple(items))
        self._settled(filter_id, message.model_dump_json().encode(), f"{cause}.handovers-{items[0].contact}.{epoch}")

    def forgotten(self, filter_id: str, wish: Forget, *, answered_at: float, epoch: int) -> None:
        message = Settled(
            filter_id=filter_id, target=self._target, answered_at=answered_at, forgotten=wish.mutation_id
        )
        self._settled(filter_id, message.model_dump_json().encode(), f"{wish.mutation_id}.{self._target}.{epoch}")

    def label(self, filter_id: str, label: LabelSettled, *, answered_at: float, epoch: int) -> None:
        message = Settled(filter_id=filter_id, target=self._target, answered_at=answered_at, label=label)
        self._settled(filter_id, message.model_dump_json().encode(), f"{label.mutation_id}.{epoch}.{answered_at:.3f}")

    def post(self, subject: str, message: Model, msg_id: str) -> None:
        self._waiting.append(Message(subject, message.model_dump_json().encode(), msg_id, type_of(message)))

    def _settled(self, filter_id: str, body: bytes, suffix: str) -> None:
        """body: a `Settled` as JSON."""
        msg_id = f"{subjects.token(filter_id)}.settled.{suffix}"
        self._waiting.append(Message(subjects.mailbox(filter_id, "settled"), body, msg_id, _SETTLED))

    async def flush(self) -> None:
        """Publish until acknowledged; what was not stays queued when this raises."""
        if self._waiting:
            sent = list(self._waiting)
            await self._bus.publish_many(sent)
            del self._waiting[: len(sent)]
