"""Wrong settings, absent servers, answers and messages that are not what they should be: said once, without harm."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import Filter, Installation, free_port, installed

from contactsync.client import Client
from contactsync.runtime.nats_bus import NatsBus
from contactsync_contracts import subjects

pytestmark = pytest.mark.nats

TROUBLE = ("warning", "error")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("bad"), contacts=20) as found:
        found.start_up()
        yield found
        assert found.end("up") == 0


@pytest.fixture(scope="module")
def synced(site: Installation) -> Filter:
    site.first_sync(site.filters[0])
    return site.filters[0]


@pytest.fixture
def mine(site: Installation, synced: Filter) -> Iterator[Filter]:
    """The synchronised filter; what the test did to the vendors is over afterwards."""
    yield synced
    site.control("faults", "clear")


# ---- settings and servers


def test_each_wrong_setting_is_a_line_and_nothing_else_happens(tmp_path: Path) -> None:
    wrong = {"POLL_GOOGLE_SECONDS": "soon", "PLANFIX_TOKN": "x", "PLANFIX_URL": "acme", "CUSTOM_FIELDS": "{"}
    for word in ("up", "status", "doctor"):
        done = Installation(tmp_path, "", "", "", wrong).run(word)
        assert (done.returncode, done.stdout) == (2, "")
        lines = done.stderr.splitlines()
        assert len(lines) == len(wrong), done.stderr
        for name in wrong:
            assert sum(f"CONTACTSYNC_{name}" in line for line in lines) == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_nats_server_commands_say_so_and_services_wait_without_spinning(tmp_path: Path) -> None:
    nowhere = {
        "NATS_URL": f"nats://127.0.0.1:{free_port()}",
        "SECRET_KEYS": "k" * 32,
        "METRICS_PORT": str(free_port()),
    }
    lone = Installation(tmp_path, "", "", "", nowhere | {"LOG_FORMAT": "json"})
    asked = lone.run("status")
    assert (asked.returncode, asked.stdout) == (3, "")
    assert len(asked.stderr.splitlines()) == 1
    assert nowhere["NATS_URL"] in asked.stderr
    child = lone.start("run", "reconciler")
    try:
        lone.until(lambda: troubles(lone, 0, "reconciler"), "it says nothing", child=child)
        used = cpu_s(child)
        assert lone.run("status").returncode == 3  # five seconds pass
        assert child.poll() is None
        assert cpu_s(child) - used < 0.5
        said = troubles(lone, 0, "reconciler")
        assert len(said) == 1, said
    finally:
        assert lone.end("reconciler") == 0


@pytest.mark.parametrize(
    ("settings", "check", "found", "advice"),
    [
        ({"PLANFIX_TOKEN": "wrong"}, "Planfix", "token", "CONTACTSYNC_PLANFIX_TOKEN"),
        ({"PLANFIX_TOKEN": "readonly"}, "Planfix scope contact_add", "missing", "contact_add"),
        ({"PLANFIX_URL": "http://127.0.0.1:9/rest/"}, "Planfix", "no answer", "CONTACTSYNC_PLANFIX_URL"),
        ({"GOOGLE_CLIENT_SECRET": "wrong"}, "Google client", "wrong", "CLIENT_SECRET"),
        ({"GOOGLE_TOKEN_URL": "http://127.0.0.1:9/token"}, "Google", "no answer", "CONTACTSYNC_GOOGLE_TOKEN_URL"),
    ],
)
def test_the_doctor_names_what_is_wrong(
    site: Installation, settings: dict[str, Any], check: str, found: str, advice: str
) -> None:
    site.control("planfix", "add_token", token="readonly", employee=1, scopes=["contact_readonly", "user_readonly"])
    done = site.run("doctor", "--json", **settings)
    named = {one["check"]: one for one in json.loads(done.stdout)}
    assert done.returncode in (1, 3)
    assert found in named[check]["found"]
    assert advice in named[check]["advice"]


def test_the_doctor_recognises_a_redirect_and_a_web_page(site: Installation, mine: Filter) -> None:
    moved = {"Location": "https://crm.acme.example/rest/ping"}
    site.fault("status", r"^/rest/ping$", times=1, status=301, headers=moved)
    first = {one["check"]: one for one in json.loads(site.run("doctor", "--json").stdout)}["Planfix"]
    assert (first["result"], "https://crm.acme.example/rest/" in first["advice"]) == ("failed", True)
    site.fault("html", r"^/rest/ping$", times=1)
    second = {one["check"]: one for one in json.loads(site.run("doctor", "--json").stdout)}["Planfix"]
    assert (second["result"], "web page" in second["found"]) == ("failed", True)


# ---- answers


PLANFIX, GOOGLE = r"^/rest/", r"^/v1/"


def answer(status: int, body: str, **headers: str) -> dict[str, Any]:
    return {"kind": "status", "status": status, "body": body, "headers": headers}


BAD_ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no answer": ({"kind": "reset"}, {"kind": "reset"}),
    "a web page": ({"kind": "html"}, {"kind": "html"}),
    "half an answer": ({"kind": "truncate_body"}, {"kind": "truncate_body"}),
    "nothing in it": (answer(200, '{"result":"success"}'), answer(200, "{}")),
    "rows of nothing": (
        answer(200, '{"result":"success","contacts":[{},{"id":"x"},7]}'),
        answer(200, '{"connections":[{},{"resourceName":7}],"nextSyncToken":"x"}'),
    ),
    "refused or a list": (answer(401, '{"result":"fail","code":2}'), answer(200, "[]")),
    "elsewhere or broken": (answer(302, "", Location="https://a.example/"), answer(503, "{}")),
}
"""What Planfix and what Google say instead of an answer."""


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_bad_answers_harm_nothing_and_are_reported_once(site: Installation, mine: Filter, case: str) -> None:
    before = len(site.lines())
    place = 2 * list(BAD_ANSWERS).index(case)
    first, second = site.members(mine.filter_id)[place : place + 2]
    for path, fault in zip((PLANFIX, GOOGLE), BAD_ANSWERS[case], strict=True):
        site.control("faults", "add_fault", path=path, times=2 if case == "no answer" else 1, **fault)
    site.until(
        lambda: all(rule["times"] == 0 for rule in site.look("faults", "dump")), f"{case}: no requests any more"
    )
    site.edit_title(mine, first, case)
    site.control("planfix", "edit_contact", contact=second, fields={"position": case})
    site.until(lambda: site.contact(first)["position"] == case, f"{case}: Planfix does not get it")
    site.until(lambda: site.title(mine, second) == case, f"{case}: Google does not get it")
    site.until(lambda: site.converged(mine), f"{case}: the sides differ")
    assert len(site.people(mine.email)) == len(site.members(mine.filter_id)) == 20
    said = troubles(site, before)
    assert [line["service"] for line in said].count("planfix-watcher") == 1, said
    assert [line["service"] for line in said].count("google-watcher") == 1, said
    assert all(line.get("reason") for line in said), said
    again = {str(line["event"]) for line in site.lines()[before:] if "answers again" in str(line["event"])}
    assert "Planfix answers again" in again
    assert "Google answers again" in again or case == "rows of nothing"  # there it answered at once, with a listing


# ---- messages


def test_malformed_messages_are_kept_aside_with_the_reason(site: Installation, mine: Filter) -> None:
    account = "1000001"
    filter_ = mine.filter_id
    places = {
        subjects.mailbox(filter_, "sync"): ("reconciler", filter_),
        subjects.mailbox(filter_, "command"): ("reconciler", filter_),
        subjects.mailbox(filter_, "planfix"): ("reconciler", filter_),
        subjects.mailbox(filter_, "google"): ("reconciler", filter_),
        subjects.mailbox(filter_, "settled"): ("reconciler", filter_),
        subjects.mailbox(filter_, "nonsense"): ("reconciler", filter_),
        "contacts.v1.filter._zz.sync": ("reconciler", "none"),
        "contacts.v1.filter.never-seen.sync": ("reconciler", "never-seen"),
        subjects.mutate(account): ("writer", "none"),
        subjects.mutate("planfix"): ("writer", "none"),
        subjects.mutate("nobody"): ("writer", "none"),
        subjects.look(account): ("google-watcher", "none"),
        subjects.look("nobody"): ("google-watcher", "none"),
        subjects.look("planfix"): ("planfix-watcher", "none"),
    }
    bodies = {b"{": "SyncRequest.v1", b'{"request_id": 7}': "Mutate.v1", b"\xff\x00": "Unheard.v9", b"[]": ""}
    before = len(site.lines())

    async def publish(_: Client, bus: NatsBus) -> None:
        for subject in places:
            for body, kind in bodies.items():
                await bus.publish(subject, body, msg_id=uuid.uuid4().hex, type_=kind)

    async def letters(_: Client, bus: NatsBus) -> dict[str, int]:
        info = await bus.link.api("STREAM.INFO.DEAD", {"subjects_filter": ">"})
        return dict(info["state"].get("subjects") or {})

    async def reasons(_: Client, bus: NatsBus) -> set[str]:
        found = set()
        for service, name in set(places.values()):
            last = await bus.link.api("STREAM.MSG.GET.DEAD", {"last_by_subj": f"contacts.v1.dead.{service}.{name}"})
            found.add(last["message"]["hdrs"])
        return found

    site.ask(publish)
    wanted: dict[str, int] = {}
    for service, name in places.values():
        subject = f"contacts.v1.dead.{service}.{name}"
        wanted[subject] = wanted.get(subject, 0) + len(bodies)
    site.until(lambda: site.ask(letters) == wanted, "not all are kept aside", seconds=15)
    assert len(site.ask(reasons)) == len(set(places.values()))
    assert [line for line in site.lines()[before:] if line["level"] == "error"] == []
    done = site.run("sync", mine.filter_id, "--wait")
    assert (done.returncode, done.stdout) == (0, "0 created, 0 updated, 0 removed\n"), done.stderr
    site.holds(mine)


def test_dead_letters_are_shown_sent_again_and_dropped(site: Installation, mine: Filter) -> None:
    """After the test before: one was a request that only named another filter than its mailbox's."""
    wrong = subjects.mailbox(mine.filter_id, "sync")
    body = json.dumps({"request_id": uuid.uuid4().hex, "filter_id": "never-seen", "reason": "a mix-up"}).encode()

    async def publish(_: Client, bus: NatsBus) -> None:
        await bus.publish(wrong, body, msg_id=uuid.uuid4().hex, type_="SyncRequest.v1")

    def listed() -> list[dict[str, Any]]:
        done = site.run("dead", "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    before = {one["number"] for one in listed()}
    site.ask(publish)
    (letter,) = site.until(
        lambda: [one for one in listed() if one["number"] not in before], "the mix-up is not put aside"
    )
    assert (letter["service"], letter["filter"], letter["type"]) == ("reconciler", mine.filter_id, "SyncRequest.v1")
    assert letter["reason"] == "not for this filter's mailbox"
    number = str(letter["number"])
    shown = json.loads(site.run("dead", "show", number, "--json").stdout)
    assert shown["subject"] == wrong
    assert shown["message"] == json.loads(body)
    assert number in site.run("dead").stdout
    assert site.run("dead", "resend", number).stdout == "sent again: 1\n"
    # It is still no request for this filter: it comes back, under another number.
    again = site.until(lambda: [one for one in listed() if one["number"] > int(number)], "it was not sent again")
    assert [one["reason"] for one in again] == [letter["reason"]]
    gone = site.run("dead", "show", number)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "`contactsync dead` lists" in gone.stderr
    assert site.run("dead", "drop").returncode == 2
    rest = len([one for one in listed() if one["service"] == "reconciler"])
    assert site.run("dead", "drop", "--all", "--service", "reconciler").stdout == f"dropped: {rest}\n"
    assert all(one["service"] != "reconciler" for one in listed())
    assert site.run("dead", "drop", "--all").returncode == 0
    assert site.run("dead").stdout == "no dead letters\n"


# ---- small parts


def troubles(site: Installation, since: int, name: str = "up") -> list[dict[str, object]]:
    return [line for line in site.lines(name)[since:] if line["level"] in TROUBLE]


def cpu_s(child: subprocess.Popen[bytes]) -> float:
    """Seconds that the process has computed (Linux)."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))
