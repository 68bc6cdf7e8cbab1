"""A stored link as the index needs it. 25,000 of them may be read before a filter does anything, so of a link at rest
just these fields are decoded (an eighth of the time of the whole; tests/benchmarks, a million links).
"""

from __future__ import annotations

from typing import Final, TypedDict

import msgspec
import orjson

from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.link import Link, link_from_json


class _Something(msgspec.Struct, gc=False):
    """Is there, and is not read."""


class _Key(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Of an `Element` only what makes it the same."""

    key: str


class _Hold(msgspec.Struct, array_like=True, frozen=True):
    state: str
    reason: str
    candidates: tuple[str, ...] = ()


class _KeyFields(TypedDict, total=False):
    """What tells copies of a contact (`loops.key_of`)."""

    given: str
    family: str
    company: str
    phones: tuple[_Key, ...]
    emails: tuple[_Key, ...]


class Outline(msgspec.Struct, frozen=True):
    """A link at rest. The names and defaults are those of `Link`."""

    contact: int
    member: bool = True
    member_at: float = 0.0
    planfix: _KeyFields | None = None
    planfix_hash: int = 0
    planfix_at: float = 0.0
    planfix_wrote: float = 0.0
    resource: str | None = None
    etag: str = ""
    google: _Something | None = None
    google_hash: int = 0
    google_at: float = 0.0
    labelled: bool = False
    stamped: bool = False
    own: str | None = None
    asked: str = ""
    asked_at: float = 0.0
    read_only: bool = False
    due: bool = False
    dismissed: str = ""
    dismissed_at: float = 0.0
    gone_at: float = 0.0
    merged_into: int | None = None
    hold: _Hold | None = None
    pending: _Something | None = None
    waits: _Something | list[object] | None = msgspec.field(name="frozen", default=None)

    @property
    def open(self) -> bool:
        return self.pending is not None or bool(self.asked)

    @property
    def frozen(self) -> Frozen | None:
        """A link in a plan is read whole."""
        return None


_DECODER: Final = msgspec.json.Decoder(Outline)


def outlined(stored: bytes) -> Link | Outline:
    """A link as it was stored; whole if something is under way or waits in a plan.

    Raises what `link_from_json` does for a record that is not a link."""
    try:
        outline = _DECODER.decode(stored)
    except msgspec.DecodeError:
        return link_from_json(orjson.loads(stored))
    return link_from_json(orjson.loads(stored)) if outline.open or outline.waits is not None else outline
