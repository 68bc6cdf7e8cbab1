"""Changes of a key space larger than one atomic batch, on top of `Bus.commit`.

Keys and safe tokens are made in `contactsync_contracts.subjects`. Commits of one partition run one after
another and at most eight are in flight in a process: `Bus.commit` sees to both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contactsync.runtime.bus import COMMIT_MAX, Bus, Fence, Put

BATCH_BYTES_MAX = 8_000_000
"""A batch is held by the server until its last message; this keeps it well under a second."""


def batches(puts: Sequence[Put], last: Sequence[Put] = ()) -> Iterator[list[Put]]:
    """`puts` in their order in batches of at most COMMIT_MAX - 1 messages and BATCH_BYTES_MAX bytes; `last`
    all in the last one. One message is left free in each, for the fence where all puts expect a sequence.
    """
    room = COMMIT_MAX - 1
    if len(last) > room:
        raise ValueError(f"what belongs together has at most {room} puts")
    batch: list[Put] = []
    size = 0
    for put in puts:
        weight = len(put.key) + len(put.value or b"")
        if batch and (len(batch) == room or size + weight > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(put)
        size += weight
    if len(batch) + len(last) > room:
        yield batch
        batch = []
    batch = [*batch, *last]
    if batch:
        yield batch


async def commit_all(bus: Bus, fence: Fence | None, puts: Sequence[Put], last: Sequence[Put] = ()) -> int:
    """Commit any number of puts as several atomic batches, one after another; the sequence of the last put.

    Each batch must leave a valid state. `last` (a cursor, a counter) goes whole into the last batch, so that
    it is never ahead of what it counts. Raises what `Bus.commit` raises; the batches before it stay. 0 if
    there is nothing.
    """
    seq = 0
    for batch in batches(puts, last):
        seq = await bus.commit(fence, batch)
    return seq
