"""The command line against running services: `simulate` and `up` as processes, words beside them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import pytest

from gateway_world import Answer, Browser, choice

pytestmark = pytest.mark.nats
STOP_S = 25.0


@dataclass
class Site:
    """Processes in one folder, whose `.env` points at the simulators."""

    folder: Path
    up: subprocess.Popen[bytes]
    filter_id: str
    email: str
    gateway: str
    metrics: str

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        env = clean_env() | {f"CONTACTSYNC_{name}": value for name, value in settings.items()}
        return subprocess.run(
            [sys.executable, "-m", "contactsync", *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )


def clean_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CONTACTSYNC_")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / f"{words[0]}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "contactsync", *words],
            cwd=folder,
            env=clean_env(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_for(found: Callable[[], bool], folder: Path, what: str) -> None:
    deadline = time.monotonic() + 30
    while not found():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: {[(log.name, log.read_text()) for log in folder.glob('*.log')]}")
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -9


def without_pace(lines: str) -> None:
    """Let the simulated Planfix take any number of requests a second."""
    by_hand(lines, "planfix", "set_options", requests_per_second=0)


def by_hand(lines: str, side: str, method: str, **arguments: object) -> object:
    """What people do at the vendors' own pages; `lines`: what the simulators said when they started."""
    found = re.search(r"CONTACTSYNC_GOOGLE_PEOPLE_URL=(\S+)", lines)
    assert found is not None
    body = json.dumps(arguments).encode()
    with urllib.request.urlopen(f"{found[1]}_control/{side}/{method}", data=body, timeout=5) as response:
        return json.loads(response.read())["result"]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    gateway, metrics = free_port(), free_port()
    simulate = spawn(folder, "simulate", "--port", "0", "--contacts", "12")
    log = folder / "simulate.log"
    try:
        wait_for(lambda: "# filter" in log.read_text(), folder, "simulate did not start")
        lines = log.read_text()
        found = re.search(r"# filter (\d+) belongs to employee \d+, Google account (\S+)", lines)
        assert found is not None
        extra = {
            "PUBLIC_URL": f"http://127.0.0.1:{gateway}/",
            "METRICS_PORT": str(metrics),
            "PLANFIX_REQUESTS_PER_SECOND": "0",
        }
        without_pace(lines)
        (folder / ".env").write_text(lines + "".join(f"CONTACTSYNC_{k}={v}\n" for k, v in extra.items()))
        up = spawn(folder, "up")
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{metrics}/readyz"), folder, "up did not become ready")
            yield Site(folder, up, found[1], found[2], f"http://127.0.0.1:{gateway}/", f"http://127.0.0.1:{metrics}/")
        finally:
            ended = end(up)
        assert ended == 0, (folder / "up.log").read_text()
        assert not (folder / "data" / "runtime.json").exists()
    finally:
        end(simulate)


def activate(link: str, email: str) -> Answer:
    async def main() -> Answer:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            browser = Browser(session)
            page = await browser.chooser(link)
            return await browser.get(choice(page, f"Continue as {email}"), follow=True)

    return anyio.run(main)


@pytest.fixture(scope="module")
def synced(site: Site) -> Site:
    """The filter is switched on and its first sync is done."""
    linked = site.run("link", site.filter_id)
    assert linked.returncode == 0, linked.stderr
    assert len(linked.stdout.splitlines()) == 1
    assert linked.stdout.startswith(f"{site.gateway}activate/")
    assert activate(linked.stdout.strip(), site.email).status == 200
    wait_for(lambda: status(site).get("state") == "in_sync", site.folder, "the first sync did not end")
    return site


def status(site: Site) -> dict[str, object]:
    asked = site.run("status", site.filter_id, "--json")
    found: dict[str, object] = json.loads(asked.stdout) if asked.returncode == 0 else {}
    return found


def test_up_says_where_people_reach_it_and_what_to_do_next(site: Site) -> None:
    log = (site.folder / "up.log").read_text()
    assert site.gateway in log
    assert "contactsync link FILTER" in log


def test_the_doctor_finds_nothing_wrong(site: Site) -> None:
    found = site.run("doctor", "--json")
    checks = {one["check"]: one["result"] for one in json.loads(found.stdout)}
    assert set(checks.values()) == {"ok"}, checks
    assert {"settings", "NATS server", "NATS streams", "Planfix", "Google client", "clock"} <= set(checks)
    assert {f"Planfix scope contact_{what}" for what in ("readonly", "add", "update")} <= set(checks)
    assert found.returncode == 0


@pytest.mark.parametrize(
    ("setting", "value", "check", "result", "code"),
    [
        ("GOOGLE_CLIENT_SECRET", "wrong", "Google client", "failed", 1),
        ("PLANFIX_TOKEN", "wrong", "Planfix", "failed", 1),
        ("PLANFIX_URL", "http://127.0.0.1:9/rest/", "Planfix", "not reachable", 3),
        ("NATS_URL", "nats://127.0.0.1:9", "NATS server", "not reachable", 3),
    ],
)
def test_the_doctor_names_what_is_wrong_and_what_to_do(
    site: Site, setting: str, value: str, check: str, result: str, code: int
) -> None:
    found = site.run("doctor", "--json", **{setting: value})
    named = {one["check"]: one for one in json.loads(found.stdout)}
    assert named[check]["result"] == result
    assert named[check]["advice"]
    assert found.returncode == code


def test_the_doctor_recognises_a_web_page_where_planfix_should_be(site: Site) -> None:
    found = site.run("doctor", "--json", PLANFIX_URL=site.gateway)
    named = {one["check"]: one for one in json.loads(found.stdout)}
    assert "web page" in named["Planfix"]["found"]
    assert "/rest/" in named["Planfix"]["advice"]


def test_provisioning_again_changes_nothing(site: Site) -> None:
    again = site.run("provision")
    assert (again.returncode, again.stdout) == (0, "nothing to do\n")


def test_a_link_for_no_filter_fails_with_the_reason(site: Site) -> None:
    refused = site.run("link", "999999")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "no such filter" in refused.stderr


def test_the_status_has_what_the_interface_promises(synced: Site) -> None:
    found = status(synced)
    assert {"filter_id", "name", "state", "two_way", "google_account", "contacts", "last_sync"} <= set(found)
    contacts, last = found["contacts"], found["last_sync"]
    assert isinstance(contacts, dict)
    assert isinstance(last, dict)
    assert {"in_sync", "pending", "held_back", "dismissed"} <= set(contacts)
    assert {"run_id", "started_at", "finished_at", "outcome", "created", "updated", "removed"} <= set(last)
    assert found["google_account"] == synced.email
    assert sum(contacts.values()) == 12


def test_sync_with_wait_ends_with_the_figures(synced: Site) -> None:
    done = synced.run("sync", synced.filter_id, "--wait")
    assert done.returncode == 0, done.stderr
    assert "created" in done.stdout


def test_words_about_a_filter_that_is_not_synchronised_fail(synced: Site) -> None:
    for words in (("sync", "999"), ("pause", "999"), ("status", "999"), ("contacts", "999")):
        failed = synced.run(*words)
        assert failed.returncode == 1, words
        assert "not synchronised" in failed.stderr


def test_pause_resume_and_settings_show_in_the_status(synced: Site) -> None:
    assert synced.run("pause", synced.filter_id).returncode == 0
    assert status(synced)["state"] == "paused"
    assert synced.run("resume", synced.filter_id).returncode == 0
    assert status(synced)["state"] != "paused"
    assert synced.run("set", synced.filter_id, "--one-way").returncode == 0
    assert status(synced)["two_way"] is False
    assert synced.run("set", synced.filter_id, "--two-way").returncode == 0
    assert status(synced)["two_way"] is True


def test_the_past_is_told_exported_and_taken_back(synced: Site) -> None:
    told = json.loads(synced.run("history", synced.filter_id, "--json").stdout)
    created = [entry for entry in told if entry["operation"] == "created"]
    assert len(created) == 12
    shown = synced.run("history", synced.filter_id, str(created[0]["contact"]))
    assert created[0]["id"] in shown.stdout
    assert "in the list" in shown.stdout
    undone = synced.run("undo", created[0]["id"])
    assert (undone.returncode, undone.stdout) == (0, "1 taken back, 0 left alone\n"), undone.stderr
    wait_for(lambda: in_state(synced, "dismissed") == 1, synced.folder, "the person was not removed")
    again = json.loads(synced.run("history", synced.filter_id, str(created[0]["contact"]), "--json").stdout)
    assert again[0]["operation"] == "removed"
    assert again[0]["cause"] == f"undo of {created[0]['id'].split(':')[1]}"
    back = synced.run("undo", synced.filter_id, "--run", again[0]["run"])
    assert back.returncode == 0, back.stderr
    wait_for(lambda: in_state(synced, "in_sync") == 12, synced.folder, "the person was not made again")
    exported = json.loads(synced.run("export", synced.filter_id).stdout)
    assert exported["filter"]["filter_id"] == synced.filter_id
    assert len(exported["links"]) == 12
    assert len(exported["history"]) >= 14
    for words in (("undo", f"{synced.filter_id}:1.1"), ("undo", "--run", "nobody"), ("export", "999")):
        assert synced.run(*words).returncode == 1, words


def in_state(site: Site, state: str) -> int:
    contacts = status(site).get("contacts", {})
    assert isinstance(contacts, dict)
    return int(contacts.get(state, 0))


def test_filters_and_contacts_are_listed(synced: Site) -> None:
    filters = json.loads(synced.run("filters", "--json").stdout)
    mine = next(one for one in filters if one["filter_id"] == synced.filter_id)
    assert mine["owner_name"]
    assert mine["state"]
    contacts = json.loads(synced.run("contacts", synced.filter_id, "--json").stdout)
    assert len(contacts) == 12
    held = json.loads(synced.run("contacts", synced.filter_id, "--state", "held_back", "--json").stdout)
    assert all(one["state"] == "held_back" and one["reason"] for one in held)


def rows_in(site: Site, state: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        site.run("contacts", site.filter_id, "--state", state, "--json").stdout
    )
    return found


def test_a_possible_duplicate_is_shown_and_decided_and_a_deleted_person_restored(synced: Site) -> None:
    lines = (synced.folder / "simulate.log").read_text()
    twin = {"names": [{"givenName": "Twin"}], "emailAddresses": [{"value": "twin@example.com"}]}
    people = [by_hand(lines, "google", "add_person", account=synced.email, person=twin) for _ in range(2)]
    number = by_hand(lines, "planfix", "add_contact", fields={"name": "Twin", "email": "twin@example.com"})
    time.sleep(6)  # Google's lists lag by five seconds here, too
    assert synced.run("sync", synced.filter_id, "--wait").returncode == 0
    by_hand(lines, "planfix", "put_into_filter", filter_id=synced.filter_id, contact=number)
    assert synced.run("sync", synced.filter_id, "--wait").returncode == 0
    (held,) = rows_in(synced, "possible-duplicate")
    assert (held["contact"], held["candidates"]) == (number, sorted(map(str, people)))
    shown = synced.run("contacts", synced.filter_id, "--state", "possible_duplicate").stdout
    assert all(str(name) in shown for name in people)
    assert synced.run("decide", synced.filter_id, str(number), "same", str(people[0])).stdout == "decided\n"
    wait_for(lambda: not rows_in(synced, "possible-duplicate"), synced.folder, "it was not decided")
    again = synced.run("decide", synced.filter_id, str(number), "new")
    assert (again.returncode, again.stdout) == (1, "")
    assert "no possible duplicate" in again.stderr
    wait_for(lambda: status(synced)["state"] == "in_sync", synced.folder, "the person was not adopted")

    by_hand(lines, "google", "delete_person", account=synced.email, resource_name=people[0])
    time.sleep(6)
    assert synced.run("sync", synced.filter_id, "--wait").returncode == 0
    wait_for(lambda: bool(rows_in(synced, "dismissed")), synced.folder, "the deletion was not seen")
    assert synced.run("restore", synced.filter_id, str(number)).stdout == "restored\n"
    wait_for(lambda: len(rows_in(synced, "in-sync")) == 13, synced.folder, "it did not come back")
    assert synced.run("restore", synced.filter_id, "999999").returncode == 1
    assert synced.run("restore", synced.filter_id).returncode == 0


def test_no_log_line_names_a_person(synced: Site) -> None:
    log = (synced.folder / "up.log").read_text()
    assert synced.email not in log
    assert "/activate/" not in log


def test_a_rebuild_changes_nothing_and_a_disconnected_filter_is_gone(synced: Site) -> None:
    wait_for(lambda: status(synced).get("state") == "in_sync", synced.folder, "it does not come to rest")
    before = status(synced)["contacts"]
    asked = synced.run("rebuild", synced.filter_id)
    assert (asked.returncode, asked.stdout) == (0, "requested\n"), asked.stderr
    wait_for(lambda: status(synced).get("state") == "in_sync", synced.folder, "the rebuild did not end")
    assert status(synced)["contacts"] == before
    left = synced.run("disconnect", synced.filter_id, "--remove-contacts")
    assert left.returncode == 0, left.stderr
    wait_for(lambda: synced.run("status", synced.filter_id).returncode == 1, synced.folder, "it is not disconnected")
    again = synced.run("disconnect", synced.filter_id)
    assert again.returncode == 1
    assert "not synchronised" in again.stderr


def test_a_disconnected_filter_is_activated_again(synced: Site) -> None:
    linked = synced.run("link", synced.filter_id)
    assert activate(linked.stdout.strip(), synced.email).status == 200
    wait_for(lambda: status(synced).get("state") == "in_sync", synced.folder, "the first sync did not end")
    assert sum(int(n) for n in dict(status(synced)["contacts"]).values()) >= 12  # type: ignore[call-overload]
