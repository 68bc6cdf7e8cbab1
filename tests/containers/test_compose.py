"""The README's one command: everything gets well, the main job is done, and faults of containers pass."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from composition import SERVICES, Composition
from engine import inspected, run, until

from contactsync.runtime.settings import METRICS_PORTS

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

# A stand-in for Prometheus' own image where that cannot be had: the same program, from Debian.
_PROMETHEUS = """\
FROM python:3.12-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus \\
    && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]
"""


def prometheus_image() -> str | None:
    """Debian's Prometheus as an image; None where it cannot be made."""
    try:
        made = run("build", "-q", "-t", "contactsync-test-prometheus", "-", stdin=_PROMETHEUS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return "contactsync-test-prometheus" if made.returncode == 0 else None


@pytest.fixture(scope="module")
def site(image: str) -> Iterator[Composition]:
    if run("compose", "version", check=False).returncode:
        pytest.skip("no `docker compose` here")
    composition = Composition("contactsync:composed", prometheus_image())
    # Of a name that is not there yet, so that Compose has to build it: from what is left of the build of `image`.
    run("image", "rm", "--force", composition.image, check=False)
    try:
        composition.up()
        yield composition
    finally:
        composition.down()


@pytest.fixture(scope="module")
def members(site: Composition) -> list[int]:
    """The filter's contacts, after its first sync."""
    assert site.activate().status == 200
    status = site.until_in_sync()
    found: list[int] = next(f["members"] for f in site.look("planfix", "dump")["filters"] if f["id"] == "4115")
    assert status["last_sync"]["created"] == len(found) == 200
    return found


def test_everything_that_runs_is_healthy_by_its_own_check(site: Composition) -> None:
    expected = {*SERVICES, "nats", "simulators"} | ({"prometheus"} if site.prometheus else set())
    assert site.states() == dict.fromkeys(expected, "healthy")


@pytest.mark.parametrize("service", [*SERVICES, "nats", "simulators"])
def test_no_container_has_rights_that_it_does_not_need(site: Composition, service: str) -> None:
    found = inspected(site.name(service))
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert found["Config"]["User"] == "10001:10001"
    bound = [binding["HostIp"] for bindings in (host["PortBindings"] or {}).values() for binding in bindings]
    assert set(bound) <= {"127.0.0.1"}


def test_the_doctor_finds_nothing_wrong(site: Composition) -> None:
    assert {row["result"] for row in json.loads(site.contactsync("doctor", "--json"))} == {"ok"}


def test_the_first_sync_brings_every_contact_to_google(site: Composition, members: list[int]) -> None:
    assert site.findings() == []
    assert set(members) == site.people().keys()


def test_an_edit_in_planfix_reaches_google(site: Composition, members: list[int]) -> None:
    site.edit_in_planfix(members[0], "Head of containers")
    until(lambda: site.title_in_google(members[0]) == "Head of containers", "Google did not get it")


def test_an_edit_in_google_reaches_planfix(site: Composition, members: list[int]) -> None:
    site.edit_in_google(members[1], "Captain")
    until(lambda: site.title_in_planfix(members[1]) == "Captain", "Planfix did not get it")


def test_a_killed_container_starts_again_and_the_sync_goes_on(site: Composition, members: list[int]) -> None:
    for service in ("reconciler", "writer"):
        site.kill(service)
    site.edit_in_planfix(members[2], "Survivor")
    until(lambda: site.title_in_google(members[2]) == "Survivor", "Google did not get it")
    until(site.all_healthy, "not everything got well again")
    for service in ("reconciler", "writer"):
        assert inspected(site.name(service))["RestartCount"] == 1
    assert site.findings() == []


def test_a_paused_nats_is_said_by_every_service_and_passes(site: Composition, members: list[int]) -> None:
    run("pause", site.name("nats"))
    try:
        for service in SERVICES:
            until(lambda one=service: "NATS" in unwell(site, one), f"{service} does not say what is wrong")
            assert asked_alive(site, service) == "ok"
        site.edit_in_planfix(members[3], "Patient")
    finally:
        run("unpause", site.name("nats"))
    until(lambda: site.title_in_google(members[3]) == "Patient", "Google did not get it")
    until(site.all_healthy, "not everything got well again")
    # Nobody ended for it: a service waits for NATS.
    assert {inspected(site.name(service))["RestartCount"] for service in ("planfix-watcher", "gateway")} == {0}
    assert site.findings() == []


def unwell(site: Composition, service: str) -> str:
    """What the service's check says; nothing while it finds nothing."""
    done = run("exec", site.name(service), "contactsync-healthcheck", check=False)
    return done.stdout.strip() if done.returncode else ""


def asked_alive(site: Composition, service: str) -> str:
    """What /healthz says: that nobody has to kill it."""
    url = f"http://127.0.0.1:{METRICS_PORTS[service]}/healthz"
    ask = f"import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode())"
    return run("exec", site.name(service), "python", "-IS", "-c", ask).stdout.strip()


def test_prometheus_sees_every_service(site: Composition) -> None:
    if site.prometheus is None:
        pytest.skip("no Prometheus here: its image cannot be made without Debian's packages")
    query = urllib.parse.urlencode({"query": "max by (job) (up)"})
    url = f"http://127.0.0.1:{site.prometheus_port}/api/v1/query?{query}"

    def seen() -> bool:
        with urllib.request.urlopen(url, timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        return {row["metric"]["job"]: row["value"][1] for row in rows} == dict.fromkeys(
            [*SERVICES, "prometheus"], "1"
        )

    until(seen, "Prometheus does not see them all")


def test_without_settings_compose_says_which_file_is_missing() -> None:
    env = {"SETTINGS": "nobody-wrote-it.env"}
    done = run("compose", "-f", "deploy/compose.yaml", "config", "--quiet", check=False, env=env)
    assert done.returncode != 0
    assert "nobody-wrote-it.env" in done.stderr
