"""`erase` leaves no trace in the store: every message of every stream is read and searched."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from contactsync.client import Client
from contactsync.runtime.bus import Refused
from contactsync.runtime.nats_bus import NatsBus
from contactsync_contracts import subjects
from integration.installation import Installation, installed

STREAMS = ("FILTERS", "WRITER", "LOOK", "EVENTS", "DEAD", "STATE")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("erasure"), contacts=12, filters=2) as one:
        one.start_up()
        for each in one.filters:
            one.first_sync(each)
        yield one


def store(site: Installation) -> dict[str, str]:
    """Subject -> headers and value, of every message that any stream holds."""

    async def question(_: Client, bus: NatsBus) -> dict[str, str]:
        found = {}
        for stream in STREAMS:
            state = (await bus.link.api(f"STREAM.INFO.{stream}"))["state"]
            for seq in range(int(state["first_seq"]), int(state["last_seq"]) + 1):
                try:
                    message = (await bus.link.api(f"STREAM.MSG.GET.{stream}", {"seq": seq}))["message"]
                except Refused:
                    continue  # deleted
                data = base64.b64decode(message.get("data") or "")
                headers = base64.b64decode(message.get("hdrs") or "")
                if b"Contactsync-Deleted" not in headers:
                    found[f"{message['subject']}#{seq}"] = (headers + data).decode(errors="replace")
        return found

    return site.ask(question)


def misfit(site: Installation, filter_id: str, text: str) -> None:
    """A message that does not fit its contract, with somebody's name in it."""

    async def question(_: Client, bus: NatsBus) -> None:
        body = orjson.dumps({"request_id": "", "filter_id": filter_id, "reason": text})
        await bus.publish(
            f"contacts.v1.filter.{filter_id}.sync", body, msg_id=f"misfit-{text}", type_="SyncRequest.v1"
        )

    site.ask(question)


def test_erasing_a_filter_leaves_no_trace_and_the_other_alone(site: Installation) -> None:
    one, other = site.filters
    misfit(site, one.filter_id, "Marked Name")
    site.until(lambda: "Marked Name" in repr(store(site)), "no dead letter")
    names = [str(site.contact(number)["name"]) for number in site.members(one.filter_id)]
    assert any(f"filter.{one.filter_id}" in subject for subject in store(site))

    done = site.run("erase", "--filter", one.filter_id, "--yes")

    assert done.returncode == 0, done.stderr
    left = store(site)
    keys = (subjects.filter_key(one.filter_id), subjects.history_prefix(one.filter_id), subjects.event(one.filter_id))
    assert [subject for subject in left if subject.startswith(keys)] == []
    assert "Marked Name" not in repr(left)
    assert not [subject for subject, text in left.items() if f'"filter_id":"{one.filter_id}"' in text]
    theirs = {str(site.contact(number)["name"]) for number in site.members(other.filter_id)}
    marked = [name for name in names if name and name not in theirs]
    assert not [name for name in marked if any(name in text for text in left.values())]
    # The people stay where they are, and the other filter goes on.
    assert len(site.people(one.email)) == len(names)
    assert site.in_sync(other)


def test_erasing_an_account_ends_its_filters_and_removes_what_is_stored_of_it(site: Installation) -> None:
    other = site.filters[1]
    account = str(site.status(other.filter_id)["account"])
    done = site.run("erase", "--account", other.email.upper(), "--yes")
    assert done.returncode == 0, done.stderr
    assert json.loads(site.run("filters", "--json").stdout)
    left = store(site)
    assert [subject for subject in left if f".{account}." in subject and subject.startswith("state.")] == []
    assert other.email not in repr(left)


def test_erasing_needs_to_be_told_what_and_asks_first(site: Installation) -> None:
    assert site.run("erase").returncode == 2
    assert site.run("erase", "--filter", "1", "--account", "a@b.c").returncode == 2
    refused: subprocess.CompletedProcess[str] = site.run("erase", "--filter", "1")
    assert refused.returncode == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_the_words(tmp_path: Path, shell: str, site: Installation) -> None:
    done = site.run("completion", shell)
    assert done.returncode == 0
    assert "_CONTACTSYNC_COMPLETE" in done.stdout
