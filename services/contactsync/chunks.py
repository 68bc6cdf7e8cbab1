"""Things that are encoded once and cut into messages of the allowed size. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import orjson

from contactsync_contracts.messages import CONTACTS_MAX

T = TypeVar("T")

BYTES_MAX = 480_000
"""Below the contract's 512 kB, with room for the envelope."""


def chunks(
    items: Iterable[T],
    size_of: Callable[[T], int],
    count_max: int = CONTACTS_MAX,
    bytes_max: int = BYTES_MAX,
) -> Iterator[list[T]]:
    """Items in their order, as many in each chunk as fit; an item larger than a chunk stands alone."""
    chunk: list[T] = []
    size = 0
    for item in items:
        length = size_of(item) + 1
        if chunk and (len(chunk) == count_max or size + length > bytes_max):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length
    if chunk:
        yield chunk


def spliced(envelope: Mapping[str, object], name: str, items: Sequence[bytes]) -> bytes:
    """The JSON object `envelope` with a list of items, which are JSON already, as its last member."""
    return orjson.dumps(envelope)[:-1] + b',"' + name.encode() + b'":[' + b",".join(items) + b"]}"
