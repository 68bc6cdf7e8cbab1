"""The main job as users meet it: the demo, `up` beside simulated vendors, services alone, the README's example."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Filter, Installation, free_port, installed

from contactsync.runtime.embedded import server_binary

pytestmark = pytest.mark.nats

README = Path(__file__).parents[2] / "README.md"
INVARIANTS = [f"I{number}" for number in range(1, 11)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("main"), contacts=40) as found:
        found.start_up()
        yield found
        assert found.end("up") == 0


@pytest.fixture(scope="module")
def mine(site: Installation) -> Filter:
    """The filter, after its first sync."""
    one = site.filters[0]
    status = site.first_sync(one)
    assert status["last_sync"]["created"] == 40
    site.holds(one)
    return one


def test_the_demo_shows_the_first_sync_and_that_every_invariant_holds(tmp_path: Path) -> None:
    clean = Installation(tmp_path, "", "", "", {})
    done = clean.run("demo", "--contacts", "120", "--filters", "2", "--seed", "3", timeout_s=110)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("Clients 1", "Clients 2"):
        assert re.search(rf"first sync of {name}.*60/60.*done", done.stdout), done.stdout
    rows = [re.match(r"[│┃ ]*(I\d+) .* (yes|NO) ", line) for line in done.stdout.splitlines()]
    assert [(row[1], row[2]) for row in rows if row] == [(name, "yes") for name in INVARIANTS]
    assert "contacts a second" in done.stdout
    assert "fewest possible" in done.stdout


# ---- `up`


def test_the_status_has_the_keys_of_the_interface(site: Installation, mine: Filter) -> None:
    asked = site.run("status", mine.filter_id, "--json")
    status = json.loads(asked.stdout)
    promised = {"filter_id", "name", "state", "two_way", "google_account", "contacts", "last_sync"}
    figures = {"run_id", "started_at", "finished_at", "outcome", "created", "updated", "removed"}
    assert promised <= status.keys()
    assert {"in_sync", "pending", "held_back", "dismissed"} <= status["contacts"].keys()
    assert figures <= status["last_sync"].keys()
    assert (status["filter_id"], status["name"], status["state"]) == (mine.filter_id, "Clients 1", "in_sync")
    assert status["google_account"] == mine.email
    assert status["last_sync"]["outcome"] == "succeeded"


def test_a_second_sync_finds_nothing_to_do(site: Installation, mine: Filter) -> None:
    done = site.run("sync", mine.filter_id, "--wait")
    assert (done.returncode, done.stdout) == (0, "0 created, 0 updated, 0 removed\n"), done.stderr


def test_an_edit_in_planfix_reaches_google(site: Installation, mine: Filter) -> None:
    number = site.members(mine.filter_id)[0]
    site.control("planfix", "edit_contact", contact=number, fields={"position": "Head of everything"})
    site.until(lambda: site.title(mine, number) == "Head of everything", "Google did not get it")


def test_an_edit_in_google_reaches_planfix(site: Installation, mine: Filter) -> None:
    number = site.members(mine.filter_id)[1]
    site.edit_title(mine, number, "Chief listener")
    site.until(lambda: site.contact(number)["position"] == "Chief listener", "Planfix did not get it")
    site.until(lambda: site.converged(mine), "the sides differ")


def test_one_way_puts_back_what_was_edited_in_google_until_it_is_switched_off(
    site: Installation, mine: Filter
) -> None:
    number = site.members(mine.filter_id)[2]
    site.control("planfix", "edit_contact", contact=number, fields={"position": "Clerk"})
    site.until(lambda: site.title(mine, number) == "Clerk", "Google did not get it")
    assert site.run("set", mine.filter_id, "--one-way").returncode == 0
    site.edit_title(mine, number, "King")
    site.until(lambda: site.title(mine, number) == "Clerk", "the edit was not undone")
    assert site.contact(number)["position"] == "Clerk"
    assert site.run("set", mine.filter_id, "--two-way").returncode == 0
    site.edit_title(mine, number, "Queen")
    site.until(lambda: site.contact(number)["position"] == "Queen", "Planfix did not get it")


def test_a_paused_filter_rests_and_catches_up_when_it_is_resumed(site: Installation, mine: Filter) -> None:
    first, second = site.members(mine.filter_id)[3:5]
    assert site.run("pause", mine.filter_id).returncode == 0
    site.until(lambda: site.status(mine.filter_id)["contacts"]["pending"] == 0, "it does not come to rest")
    site.control("google", "reset_counters")
    site.control("planfix", "reset_counters")
    site.control("planfix", "edit_contact", contact=first, fields={"position": "Baker"})
    site.edit_title(mine, second, "Butcher")
    for _ in range(2):  # longer than two polls
        assert site.status(mine.filter_id)["state"] == "paused"
        assert site.run("filters").returncode == 0
    assert site.look("google", "counters")["mutations"] == 0
    assert site.look("planfix", "counters")["writes"] == 0
    assert site.run("resume", mine.filter_id).returncode == 0
    site.until(lambda: site.title(mine, first) == "Baker", "Google did not catch up")
    site.until(lambda: site.contact(second)["position"] == "Butcher", "Planfix did not catch up")


def test_a_person_deleted_in_google_is_dismissed_and_the_contact_stays(site: Installation, mine: Filter) -> None:
    number = site.members(mine.filter_id)[5]
    name = site.people(mine.email)[number]["resourceName"]
    site.control("google", "delete_person", account=mine.email, resource_name=name)
    site.until(lambda: site.status(mine.filter_id)["contacts"]["dismissed"] == 1, "nobody noticed")
    listed = json.loads(site.run("contacts", mine.filter_id, "--state", "dismissed", "--json").stdout)
    assert [(one["contact"], one["state"]) for one in listed] == [(number, "dismissed")]
    assert listed[0]["reason"]
    assert not site.contact(number)["isDeleted"]
    everybody = json.loads(site.run("contacts", mine.filter_id, "--json").stdout)
    assert {one["contact"] for one in everybody} == set(site.members(mine.filter_id))


def test_contacts_come_and_go_with_their_filter(site: Installation, mine: Filter) -> None:
    goes = site.members(mine.filter_id)[6]
    fields = {"name": "Nova", "lastname": "Comer", "email": "nova@comer.example", "group": {"id": mine.group}}
    comes = site.control("planfix", "add_contact", fields=fields)
    site.until(lambda: comes in site.people(mine.email), "the new contact did not come")
    site.control("planfix", "remove_from_filter", filter_id=mine.filter_id, contact=goes)
    site.until(lambda: not labelled(site, mine, goes), "the contact kept its label")
    site.control("planfix", "put_into_filter", filter_id=mine.filter_id, contact=goes)
    # Planfix tells changes by the minute: two moves within one look like one, and are told apart minutes later, or
    # when somebody asks.
    assert site.run("sync", mine.filter_id, "--wait").returncode == 0
    site.until(lambda: labelled(site, mine, goes), "the contact did not come back")


def test_the_filters_are_listed_with_owner_and_state(site: Installation, mine: Filter) -> None:
    listed = json.loads(site.run("filters", "--json").stdout)
    assert [(one["filter_id"], one["name"], one["owner"]) for one in listed if one["state"]] == [
        (mine.filter_id, "Clients 1", mine.employee)
    ]


def test_the_example_of_the_readme_hears_the_end_of_the_sync_that_it_asked_for(
    site: Installation, mine: Filter
) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = found[1]
    assert mine.filter_id in script
    assert "nats://127.0.0.1:4222" in script
    done = subprocess.run(
        [sys.executable, "-c", script.replace("nats://127.0.0.1:4222", site.nats_url())],
        capture_output=True,
        text=True,
        timeout=40,
        cwd=site.folder,
    )
    assert done.returncode == 0, done.stderr
    heard = done.stdout.splitlines()
    assert heard[0].startswith("SyncStarted.v1")
    assert heard[-1].startswith("SyncFinished.v1")
    assert "'outcome': 'succeeded'" in heard[-1]


# ---- each service alone


def test_five_processes_and_a_server_of_their_own_make_the_first_sync(tmp_path: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        [str(server_binary()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path / "js")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings = {"NATS_URL": f"nats://127.0.0.1:{port}", "SECRET_KEYS": "0123456789abcdef0123456789abcdef"}
    names = ("planfix-watcher", "google-watcher", "reconciler", "writer", "gateway")
    try:
        with installed(tmp_path, contacts=30, settings=settings) as site:
            for name in names:
                site.start("run", name, METRICS_PORT=str(free_port()))
            site.until(lambda: all(waits(site, name) for name in names), "they do not say that streams are missing")
            made = site.run("provision")
            assert made.returncode == 0, made.stderr
            assert "stream STATE created" in made.stdout
            site.until(lambda: all(said(site, name, "started") for name in names), "they do not start")
            site.first_sync(site.filters[0])
            site.until(lambda: site.converged(), "the sides differ")
            assert [site.end(name) for name in names] == [0] * 5
    finally:
        server.terminate()
        server.wait()


# ---- small parts


def labelled(site: Installation, one: Filter, number: int) -> bool:
    dump = site.look("google", "dump", account=one.email)
    label = site.status(one.filter_id)["label"]
    group = next(each["resourceName"] for each in dump["groups"] if each.get("name") == label)
    person = site.people(one.email).get(number, {})
    memberships = [
        each["contactGroupMembership"]["contactGroupResourceName"] for each in person.get("memberships", [])
    ]
    return group in memberships


def said(site: Installation, name: str, sentence: str) -> bool:
    return any(line["event"] == sentence for line in site.lines(name))


def waits(site: Installation, name: str) -> bool:
    return any("provision" in str(line.get("reason")) for line in site.lines(name))
