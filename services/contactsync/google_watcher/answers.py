"""Observations cut into messages of the allowed size. Pure; `service.py` publishes them.

A person is serialised once, however many filters hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contactsync.chunks import chunks, spliced
from contactsync_contracts.messages import ContactCandidates, GooglePerson


def person_json(person: GooglePerson) -> bytes:
    return person.model_dump_json(exclude_defaults=True).encode()


def observed_json(
    *, filter_id: str, account: str, seen_at: float, people: Sequence[bytes], request_id: str
) -> Iterator[bytes]:
    """`GoogleObserved` messages; one without people if there are none, so that a look gets its answer."""
    envelope = {"filter_id": filter_id, "account": account, "seen_at": seen_at, "request_id": request_id}
    for chunk in chunks(people, len) if people else iter([[]]):
        yield spliced(envelope, "people", chunk)


def candidates_json(
    *, filter_id: str, account: str, seen_at: float, answers: Sequence[ContactCandidates], request_id: str
) -> Iterator[bytes]:
    """`GoogleCandidates` messages; one without answers if nothing was asked."""
    envelope = {"filter_id": filter_id, "account": account, "seen_at": seen_at, "request_id": request_id}
    items = [answer.model_dump_json().encode() for answer in answers]
    for chunk in chunks(items, len) if items else iter([[]]):
        yield spliced(envelope, "answers", chunk)
