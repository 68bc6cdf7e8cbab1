"""Observations cut into messages of the allowed size. Pure; `service.py` publishes them.

A person is serialised once, however many filters hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import orjson

from contactsync_contracts.messages import CONTACTS_MAX, ContactCandidates, GooglePerson

BYTES_MAX = 480_000
"""Below the contract's 512 kB, with room for the envelope."""


def chunks(
    items: Iterable[bytes], count_max: int = CONTACTS_MAX, bytes_max: int = BYTES_MAX
) -> Iterator[list[bytes]]:
    """Items in their order, as many in each chunk as fit; an item larger than a chunk stands alone."""
    chunk: list[bytes] = []
    size = 0
    for item in items:
        if chunk and (len(chunk) == count_max or size + len(item) + 1 > bytes_max):
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += len(item) + 1
    if chunk:
        yield chunk


def person_json(person: GooglePerson) -> bytes:
    return person.model_dump_json(exclude_defaults=True).encode()


def observed_json(
    *, filter_id: str, account: str, seen_at: float, people: Sequence[bytes], request_id: str
) -> Iterator[bytes]:
    """`GoogleObserved` messages; one without people if there are none, so that a look gets its answer."""
    head = orjson.dumps({"filter_id": filter_id, "account": account, "seen_at": seen_at, "request_id": request_id})
    for chunk in chunks(people) if people else iter([[]]):
        yield head[:-1] + b',"people":[' + b",".join(chunk) + b"]}"


def candidates_json(
    *, filter_id: str, account: str, seen_at: float, answers: Sequence[ContactCandidates], request_id: str
) -> Iterator[bytes]:
    """`GoogleCandidates` messages; one without answers if nothing was asked."""
    head = orjson.dumps({"filter_id": filter_id, "account": account, "seen_at": seen_at, "request_id": request_id})
    items = [answer.model_dump_json().encode() for answer in answers]
    for chunk in chunks(items) if items else iter([[]]):
        yield head[:-1] + b',"answers":[' + b",".join(chunk) + b"]}"
