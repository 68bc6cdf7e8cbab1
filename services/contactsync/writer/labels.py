"""Which label a filter gets (2-semantics 2.4, *filter renamed*): never delete-then-create, never two of one stamp.

Pure; `google_labels.py` asks Google for the labels and carries the choice out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from contactsync.google.port import Label
from contactsync.records import known_to
from contactsync_contracts.messages import Outcome

FALLBACK_NAME: Final = "Planfix"
SUFFIXES_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """A filter's label in one account. `given`: the name that we gave last (a label named otherwise was renamed by
    a human). `sent_at`: a create with name `given` was sent then and not yet answered. `resource` is empty until
    there is a label. `found`: it was stamped before we knew of it. `since`: the filter's birth time, and `epoch` its
    owner's when it was told; older messages are not its own. `gone`: the filter that was born then has left the
    account. `two_way`, `active`: whether it may merge fields, known since `ranked_at`."""

    resource: str = ""
    name: str = ""
    given: str = ""
    etag: str = ""
    rev: int = 0
    mutation: str = ""
    reused: bool = False
    outcome: Outcome = Outcome.DONE
    reason: str = ""
    sent_at: float = 0.0
    found: bool = False
    since: float = 0.0
    epoch: int = 0
    gone: float = 0.0
    two_way: bool = True
    active: bool = True
    ranked_at: float = 0.0


def encode_label(record: LabelRecord) -> bytes:
    return orjson.dumps(record)


def decode_label(data: bytes) -> LabelRecord:
    found = orjson.loads(data)
    return LabelRecord(**{**known_to(LabelRecord, found), "outcome": Outcome(found["outcome"])})


@dataclass(frozen=True, slots=True)
class Reuse:
    """It is ours already, whatever it is called now."""

    label: Label


@dataclass(frozen=True, slots=True)
class Adopt:
    """Somebody's label of that name without anybody in it: it gets our stamp."""

    label: Label


@dataclass(frozen=True, slots=True)
class Create:
    name: str


Choice = Reuse | Adopt | Create


def choose(
    labels: Sequence[Label], filter_id: str, name: str, resource: str, taken: frozenset[str] = frozenset()
) -> Choice:
    """`resource`: of the label we had, if any; `taken`: folded names that Google refused although no label shows
    them."""
    for label in labels:
        if resource and label.resource == resource and label.stamp in (filter_id, None):
            return Reuse(label)
    stamped = sorted((label for label in labels if label.stamp == filter_id), key=lambda one: one.resource)
    if stamped:
        return Reuse(stamped[0])
    by_name = {fold(label.name): label for label in labels}
    for candidate in names(name):
        holder = by_name.get(fold(candidate))
        if holder is not None and holder.members == 0 and holder.stamp is None:
            return Adopt(holder)
        if holder is None and fold(candidate) not in taken:
            return Create(candidate)
    return Create(f"{clean(name)} ({filter_id})")


def free_name(labels: Sequence[Label], name: str, own: str, taken: frozenset[str] = frozenset()) -> str:
    """The first of the names for `name` that no other label than `own` (resource name) has."""
    used = {fold(label.name) for label in labels if label.resource != own} | taken
    return next((one for one in names(name) if fold(one) not in used), f"{clean(name)} ({own})")


def names(name: str) -> Iterator[str]:
    base = clean(name)
    yield base
    yield f"{base} (Planfix)"
    for number in range(2, SUFFIXES_MAX):
        yield f"{base} (Planfix {number})"


def clean(name: str) -> str:
    return " ".join(name.split()) or FALLBACK_NAME


def fold(name: str) -> str:
    """Names are compared without case: whether Google's own comparison heeds it is unknown, this is the safe side."""
    return clean(name).casefold()
