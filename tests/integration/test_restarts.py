"""`up` killed in the middle of its work and told to leave: nothing is lost, doubled or begun anew."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installation import Installation, installed

from contactsync.client import Client
from contactsync.runtime.nats_bus import NatsBus
from contactsync.simulators.invariants import Checker

pytestmark = pytest.mark.nats

CONTACTS = 600
LEAVE_S = 5.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Slow vendors, so that there is something to be killed in the middle of."""
    with installed(tmp_path_factory.mktemp("restarts"), contacts=CONTACTS) as found:
        yield found


def test_a_first_sync_survives_being_killed_again_and_again(site: Installation) -> None:
    """In the order of this module: what follows works with the filter that this synchronises."""
    one = site.filters[0]
    site.fault("delay", r"contact/list$", seconds=0.15)
    site.fault("delay", r":batchCreateContacts$", seconds=0.6)
    site.start_up()
    site.activate(one)
    there: list[int] = []
    kills = 0
    while not there or there[-1] < CONTACTS:
        before = there[-1] if there else 0
        deadline = time.monotonic() + 15
        while (now := len(site.people(one.email))) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        there.append(now)
        assert now > before, f"no progress: {there}"
        if now < CONTACTS and kills < 3:
            site.kill("up")
            kills += 1
            site.start_up()
    assert kills >= 2, there
    site.until(lambda: site.in_sync(one), "the first sync did not end")
    assert there == sorted(there)
    status = site.status(one.filter_id)
    assert status["last_sync"]["outcome"] == "succeeded"
    assert status["contacts"]["in_sync"] == CONTACTS
    assert len(site.look("google", "dump", account=one.email)["people"]) == CONTACTS
    site.control("faults", "clear")
    site.holds(one)


def test_edits_on_both_sides_survive_being_killed_while_they_are_synced_back(site: Installation) -> None:
    one = site.filters[0]
    members = site.members(one.filter_id)
    people = site.people(one.email)
    for number in members[:25]:
        site.control("planfix", "edit_contact", contact=number, fields={"position": f"Planfix {number}"})
    for number in members[25:50]:
        name, fields = people[number]["resourceName"], {"organizations": [{"title": f"Google {number}"}]}
        site.control("google", "edit_person", account=one.email, resource_name=name, fields=fields)
    fresh = site.control("google", "add_person", account=one.email, person={"names": [{"givenName": "Fresh"}]})
    site.control("google", "add_to_label", account=one.email, resource_name=fresh, label="Clients 1")
    site.fault("lost_answer", r"contact/\d*$", times=1, method="POST")
    kills = 0
    while kills < 3 and not arrived(site, members):  # a quick machine may be done before the third
        changed = written(site)
        site.until(
            lambda: written(site) > changed or arrived(site, members),  # noqa: B023 - called at once
            "nothing is written",
        )
        site.kill("up")
        kills += 1
        site.start_up()
    assert kills
    site.until(lambda: arrived(site, members), "the edits did not arrive", seconds=60)
    now = site.snapshot()
    assert Checker("127.0.0.1").no_duplicates(now, now.google).broken == []
    named = [c for c in now.planfix["contacts"] if c["name"] == "Fresh" and not c["isDeleted"]]
    assert len(named) == 1


def test_quiet_polls_are_one_request_each_and_write_nothing_and_a_signal_ends_them_at_once(tmp_path: Path) -> None:
    with installed(tmp_path, contacts=40) as site:
        site.start_up()
        site.first_sync(site.filters[0])
        site.until(lambda: is_quiet(site), "it does not come to rest")
        # The first look at filters and employees, once an hour from then on, may still be on its way.
        assert any(only_polls(site, 3) for _ in range(5)), "more than polls is asked for again and again"
        reset(site)
        stored = state(site)
        began = time.monotonic()
        site.until(lambda: polls(site) >= 10, "it does not poll")
        elapsed_s = time.monotonic() - began
        google, planfix = site.look("google", "counters"), site.look("planfix", "counters")
        assert planfix["requests"].keys() == {"POST /contact/list"}
        assert google["requests"].keys() == {"people.connections.list"}
        assert elapsed_s >= 9, "polls are a second apart"
        assert google["requests"]["people.connections.list"] <= elapsed_s + 2
        assert (google["mutations"], planfix["writes"]) == (0, 0)
        assert state(site) <= stored, "markers of what was deleted may go, nothing may come"
        began = time.monotonic()
        assert site.end("up") == 0
        assert time.monotonic() - began < LEAVE_S


# ---- small parts


def reset(site: Installation) -> None:
    for side in ("google", "planfix"):
        site.control(side, "reset_counters")


def only_polls(site: Installation, number: int) -> bool:
    """Whether Planfix is asked for nothing else while it is polled so often."""
    reset(site)
    site.until(lambda: polls(site) >= number, "it does not poll")
    asked = site.look("planfix", "counters")["requests"]
    return bool(asked.keys() == {"POST /contact/list"})


def written(site: Installation) -> int:
    return int(site.look("planfix", "counters")["writes"]) + int(site.look("google", "counters")["mutations"])


def arrived(site: Installation, members: list[int]) -> bool:
    people = site.people(site.filters[0].email)
    rows = {row["id"]: row for row in site.look("planfix", "dump")["contacts"]}
    titles = {number: people[number].get("organizations", [{}])[0].get("title") for number in members[:50]}
    fresh = [row for row in rows.values() if row["name"] == "Fresh"]
    return (
        all(titles[n] == f"Planfix {n}" == rows[n]["position"] for n in members[:25])
        and all(titles[n] == f"Google {n}" == rows[n]["position"] for n in members[25:50])
        and bool(fresh)
    )


def is_quiet(site: Installation) -> bool:
    """Whether two polls pass without anything but polls."""
    before = state(site)
    site.control("planfix", "reset_counters")
    site.until(lambda: polls(site) >= 2, "it does not poll")
    return state(site) == before


def polls(site: Installation) -> int:
    return int(site.look("planfix", "counters")["requests"].get("POST /contact/list", 0))


def state(site: Installation) -> int:
    """Records in the state."""

    async def question(_: Client, bus: NatsBus) -> int:
        return int((await bus.link.api("STREAM.INFO.STATE"))["state"]["messages"])

    return site.ask(question)
