"""The image as it is shipped, beside a NATS server in a container: what is in it, and what it does without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from engine import NO_RIGHTS, ROOT, inspected, run, until
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

SECRET_KEYS = "only-for-this-test-0123456789abcdef"
OURS_BYTES_MAX = 150_000_000
"""What we may add to the base image: 125 MB when this was written."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def nats(network: Network) -> Iterator[DockerContainer]:
    """NATS' own image; testcontainers' module for it uses what testcontainers calls deprecated."""
    server = DockerContainer("nats:2.15").with_command("-js").with_network(network).with_network_aliases("nats")
    with server.waiting_for(LogMessageWaitStrategy("Server is ready")) as running:
        yield running


def container(image: str, network: Network, *words: str) -> DockerContainer:
    """Read-only, with no capability, as everybody should run it."""
    return (
        DockerContainer(image, read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"])
        .with_tmpfs_mount("/tmp")
        .with_command(list(words))
        .with_network(network)
        .with_env("CONTACTSYNC_NATS_URL", "nats://nats:4222")
        .with_env("CONTACTSYNC_SECRET_KEYS", SECRET_KEYS)
    )


def asked(one: DockerContainer, port: int, path: str) -> tuple[int, str] | None:
    """Status and text; None while nobody answers."""
    url = f"http://{one.get_container_host_ip()}:{one.get_exposed_port(port)}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()
    except OSError:
        return None


def test_the_image_names_its_version_and_runs_as_nobody_special(image: str) -> None:
    config = inspected(image)["Config"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "contactsync-healthcheck"]
    assert version in run("run", "--rm", *NO_RIGHTS, image, "--version").stdout


def test_the_image_is_small(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = int(inspected(image)["Size"])
    base = int(inspected(os.environ.get("BASE", "python:3.12-slim"))["Size"])
    with capsys.disabled():
        print(f"\nimage: {whole / 1e6:.0f} MB, of which the base is {base / 1e6:.0f} MB")
    assert whole - base < OURS_BYTES_MAX


def test_there_is_no_compiler_no_test_and_no_setting_in_the_image(image: str) -> None:
    look = "command -v gcc cc make; ls -A /etc/contactsync /data; ls /opt/contactsync/lib/*/site-packages"
    found = run("run", "--rm", "--entrypoint", "sh", image, "-c", look).stdout.split()
    assert found[:2] == ["/data:", "/etc/contactsync:"]
    assert {"contactsync", "contactsync_contracts", "aiohttp"} <= set(found)
    assert not {"pip", "pytest", "mypy", "playwright", "testcontainers"} & set(found)


def test_nobody_in_the_image_can_change_the_program(image: str) -> None:
    look = "find / -xdev -writable -not -path '/proc/*' -not -path '/dev/*' -not -type l -not -path '/tmp' -print"
    found = run("run", "--rm", "--entrypoint", "sh", image, "-c", look, check=False).stdout.split()
    assert set(found) <= {"/data", "/run/lock", "/var/tmp", "/var/lock"}


def test_a_service_waits_for_its_streams_gets_ready_and_ends_in_order(
    image: str, network: Network, nats: DockerContainer
) -> None:
    with container(image, network, "run", "reconciler").with_exposed_ports(9103) as service:
        unready = until(lambda: asked(service, 9103, "readyz"), "nobody serves /readyz")
        assert unready[0] == 503
        assert asked(service, 9103, "healthz") == (200, "ok")
        waiting = (503, "NATS has no streams yet: run `contactsync provision`")
        until(lambda: asked(service, 9103, "readyz") == waiting, "it does not say that streams are missing")
        name = service.get_wrapped_container().id or ""
        assert run("exec", name, "contactsync-healthcheck", check=False).stdout.strip() == waiting[1]
        with container(image, network, "provision") as provision:
            assert provision.wait() == 0
        until(lambda: asked(service, 9103, "readyz") == (200, "ok"), "it does not get ready")
        until(
            lambda: inspected(name)["State"]["Health"]["Status"] == "healthy", "Docker does not see that it is well"
        )
        assert run("exec", name, "contactsync-healthcheck").stdout.strip() == "ok"
        assert run("exec", name, "id", "-u").stdout.strip() == "10001"
        run("stop", "--time", "30", name)
        assert inspected(name)["State"]["ExitCode"] == 0


def test_a_wrong_setting_is_a_line_and_exit_2(image: str) -> None:
    done = run(
        "run", "--rm", *NO_RIGHTS, "-e", "CONTACTSYNC_NATS_ULR=nats://nats", image, "run", "writer", check=False
    )
    assert done.returncode == 2
    assert "CONTACTSYNC_NATS_ULR: there is no such setting" in done.stderr


def test_the_demo_holds_every_invariant_without_any_rights(image: str) -> None:
    done = run("run", "--rm", *NO_RIGHTS, image, "demo", "--contacts", "60", check=False, timeout_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Invariants, checked in the simulators' contents" in done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    ours = ROOT / "build" / "hadolint" / "bin" / "hadolint"
    found = str(ours) if ours.exists() else shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint here: `make containers` fetches it")
    done = subprocess.run([found, str(ROOT / "deploy" / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
