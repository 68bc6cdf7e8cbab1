"""Dead letters over the bus in memory: what is kept of a message, and that it goes back to where it came from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from contactsync.runtime import dead
from contactsync.runtime.bus import Pulled
from contactsync.runtime.mailbox import Delivery
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import partition_of

SECRET = "+49 30 987654"


class Contract(BaseModel):
    number: int
    names: list[int] = []


def delivery(subject: str = "filters.28.1.sync", data: bytes = b"{}", **headers: str) -> Delivery:
    return Delivery("1", "sync", subject, data, headers, 7, 1)


async def kept(bus: MemoryBus) -> list[dead.DeadLetter]:
    return await dead.letters(bus)


async def test_what_does_not_fit_is_put_aside_with_the_place_and_never_a_value() -> None:
    bus = MemoryBus()
    body = b'{"number": "%s", "names": ["%s"]}' % (SECRET.encode(), SECRET.encode())
    one = delivery(data=body)
    assert await dead.decoded(bus, "writer", None, one, Contract) is None
    assert one.fate.dead
    (letter,) = await kept(bus)
    assert (letter.service, letter.filter_id, letter.data) == ("writer", "", body)
    assert "number: Input should be a valid integer" in letter.reason
    assert "names.0" in letter.reason
    assert SECRET not in letter.reason
    assert await dead.decoded(bus, "writer", None, delivery(data=b'{"number": 1}'), Contract) == Contract(number=1)
    assert len(await kept(bus)) == 1


async def test_only_the_first_places_are_named_and_the_rest_counted() -> None:
    bus = MemoryBus()
    await dead.decoded(
        bus, "writer", None, delivery(data=b'{"number": 1, "names": ["a","b","c","d","e","f","g"]}'), Contract
    )
    (letter,) = await kept(bus)
    assert letter.reason.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("stream", "subject"),
    [
        ("FILTERS", "contacts.v1.filter.4115.planfix"),
        ("WRITER", "contacts.v1.writer.planfix.mutate"),
        ("LOOK", "contacts.v1.look.account-1"),
    ],
)
async def test_a_letter_goes_back_to_where_it_was_published(stream: str, subject: str) -> None:
    bus = MemoryBus(MemoryServer())
    got: list[Pulled] = []
    key = subject.split(".")[3]
    await bus.publish(subject, b"x", msg_id="first", type_="T.v1", headers={"traceparent": "00-1-2-01"})
    intake = await bus.open_intake(stream, f"p{partition_of(key)}", got.append)
    await intake.pull(10, 60)
    (first,) = got
    letter = Delivery(key, "", first.subject, first.data, first.headers, first.stream_seq, 1)
    await dead.dead_letter(bus, "reconciler", "4115", letter, "no: such\nthing \u00e9")
    await bus.ack([first.ack])
    (one,) = await kept(bus)
    assert (one.subject, one.type, one.reason) == (subject, "T.v1", "no: such thing ?")
    assert one.headers == {"traceparent": "00-1-2-01"}
    await dead.resend(bus, [one])
    assert await kept(bus) == []
    assert [(again.subject, again.data, again.headers["Contactsync-Type"]) for again in got[1:]] == [
        (first.subject, b"x", "T.v1")
    ]


async def test_one_is_found_by_its_number() -> None:
    bus = MemoryBus()
    for text in (b"a", b"b"):
        await dead.dead_letter(bus, "writer", None, delivery(data=text, Id=text.decode()), text.decode())
        bus.server.streams["DEAD"].ids.clear()
    letters = await kept(bus)
    numbers = [one.number for one in letters]
    found = await dead.letter(bus, numbers[1])
    assert found is not None
    assert found.data == b"b"
    await dead.drop(bus, letters[:1])
    assert await dead.letter(bus, numbers[0]) is None
    assert await dead.letter(bus, 99) is None


@given(st.text(min_size=1))
def test_a_subject_that_is_no_mailboxs_stays_as_it_is(text: str) -> None:
    assert dead.published_as(f"contacts.v1.{text}") == f"contacts.v1.{text}"
