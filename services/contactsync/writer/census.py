"""How many people an account's identity map holds, and whether it is all of them: kept beside the map, under a key of
its own, and changed in the same commits.

Pure. A map that lost a part of its records (a store restored by halves, a purge gone wrong) looks like one of which
nobody knew more. Where the census says otherwise, creates decided before that moment are looked for by their stamps
before anything is sent. A census that is missing proves nothing: older releases wrote none.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import orjson


@dataclass(frozen=True, slots=True)
class Census:
    """count: contacts that have a person. checksum: of their numbers. doubted_at: when the map was last found to be
    another one (Unix seconds, 0: never)."""

    count: int = 0
    checksum: int = 0
    doubted_at: float = 0.0

    def with_(self, contact: int) -> Census:
        return Census(self.count + 1, self.checksum + _weight(contact), self.doubted_at)

    def without(self, contact: int) -> Census:
        return Census(self.count - 1, self.checksum - _weight(contact), self.doubted_at)


def compared(stored: Census | None, loaded: Census, now: float) -> Census:
    """The census of a map that was just loaded, in the light of what was `stored` with it."""
    if stored is None:
        return loaded
    whole = (stored.count, stored.checksum) == (loaded.count, loaded.checksum)
    return replace(loaded, doubted_at=stored.doubted_at if whole else now)


def encode_census(census: Census) -> bytes:
    return orjson.dumps(census)


def decode_census(data: bytes) -> Census:
    """One that cannot be read says that nobody was there, which a map with people contradicts."""
    try:
        stored = orjson.loads(data)
        return Census(int(stored["count"]), int(stored["checksum"]), float(stored["doubted_at"]))
    except (ValueError, KeyError, TypeError):
        return Census(-1)


def _weight(contact: int) -> int:
    return zlib.crc32(str(contact).encode())
