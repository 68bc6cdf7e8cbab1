"""Words of the command line that run something: up, run, provision, simulate, demo."""

from __future__ import annotations

import gc
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import click
from anyio.abc import TaskStatus
from pydantic import SecretStr

from contactsync.cli import FAILED, ask, cli, runtime_file, settings_now
from contactsync.runtime.settings import Settings, split_bind

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from contactsync.client import Client
    from contactsync.runtime.nats_link import Link

ALL = ("planfix-watcher", "google-watcher", "reconciler", "writer", "gateway")

NO_STREAMS = "NATS has no streams yet: run `contactsync provision`"
PROVISIONED_EVERY_S = 2.0

T = TypeVar("T")


@cli.command()
def up() -> None:
    """Run everything on this machine, with a NATS server of its own unless CONTACTSYNC_NATS_URL is set."""
    from contactsync.runtime.logs import configure_logs

    settings = with_secret_keys(settings_now())
    _require(settings, ALL)
    configure_logs(settings)
    run_loop(partial(_up, settings))


@cli.command()
@click.argument("service", type=click.Choice(ALL))
def run(service: str) -> None:
    """Run one service against the NATS server of CONTACTSYNC_NATS_URL."""
    from contactsync.runtime.logs import configure_logs

    settings = settings_now()
    settings.require("nats_url")
    _require(settings, (service,))
    configure_logs(settings)
    run_loop(partial(_run, settings, service))


@cli.command()
@click.option("--replicas", type=click.IntRange(1, 5), default=1, show_default=True, help="Copies of each stream.")
def provision(replicas: int) -> None:
    """Create or update the streams, consumers and buckets; running it again changes nothing."""
    from contactsync.runtime.provision import PartitionsDiffer
    from contactsync.runtime.provision import provision as make

    async def question(client: Client) -> list[str]:
        return await make(client.nats.link, replicas)

    try:
        done = ask(question)
    except PartitionsDiffer as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(FAILED) from error
    for line in done or ["nothing to do"]:
        click.echo(line)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8900, show_default=True, help="0: a free one.")
@click.option("--contacts", type=click.IntRange(0, 100_000), default=200, show_default=True)
@click.option("--filters", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--no-seed", is_flag=True, help="Start empty: no employees, filters, contacts or accounts.")
def simulate(host: str, port: int, contacts: int, filters: int, seed: int, no_seed: bool) -> None:
    """Run only the simulated Planfix and Google, and print the settings that lead to them."""
    from contactsync.wiring import simulated

    async def main() -> None:
        async with simulated(
            host=host, port=port, contacts=contacts, filters=filters, seed=seed, seeded=not no_seed
        ) as lines:
            for line in lines:
                click.echo(line)
            await stopped()

    run_loop(main)


@cli.command()
@click.option("--contacts", type=click.IntRange(1, 25_000), default=200, show_default=True)
@click.option("--filters", type=click.IntRange(1, 20), default=1, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--keep", is_flag=True, help="Leave it running and print the gateway's address.")
def demo(contacts: int, filters: int, seed: int, keep: bool) -> None:
    """Show the main job with nothing configured: simulated Planfix and Google, all services, a report."""
    from rich.console import Console

    from contactsync import demo as scene

    play = partial(scene.run, contacts=contacts, filters=filters, seed=seed, keep=keep, console=Console())

    async def main() -> int:
        """To its end or to a signal, and never without ending the processes that it has started."""
        outcome: int | Exception = FAILED
        async with anyio.create_task_group() as tasks:

            async def until_told() -> None:
                await stopped()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_told)
            try:
                outcome = await play()
            except Exception as error:  # or the task group would wrap it
                outcome = error
            tasks.cancel_scope.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    raise click.exceptions.Exit(run_loop(main))


# ---- the processes


async def _up(settings: Settings) -> None:
    from contactsync.runtime.embedded import EmbeddedNats

    if settings.nats_url is not None:
        await _work(settings, settings.nats_url, ALL, "up", provisioning=True)
        return
    async with EmbeddedNats(settings.data_dir / "nats") as server:
        with _runtime_file(settings, server.url):
            await _work(settings, server.url, ALL, "up", provisioning=True)


async def _run(settings: Settings, service: str) -> None:
    assert settings.nats_url is not None
    await _work(settings, settings.nats_url, (service,), service, provisioning=False)


async def _work(settings: Settings, url: str, names: Sequence[str], process: str, *, provisioning: bool) -> None:
    """Health is served from the start; then NATS, streams, services; until a signal."""
    from contactsync.runtime.logs import get_logger
    from contactsync.runtime.metrics import Metrics, serve_metrics
    from contactsync.runtime.nats_bus import connect
    from contactsync.runtime.provision import provision as make
    from contactsync.wiring import link_settings, parts_of, running

    log = get_logger(process)
    metrics = Metrics()
    health: list[Callable[[], str | None]] = [lambda: "NATS is not connected"]
    host = _metrics_host(settings, process)
    async with (
        serve_metrics(metrics, lambda: health[-1](), host=host, port=settings.metrics_port_of(process)) as port,
        until_signal() as stop,
        connect(link_settings(settings, url, f"contactsync-{process}")) as bus,
        parts_of(settings, bus, metrics) as parts,
    ):
        if provisioning:
            for line in await make(bus.link):
                log.info("provisioned", what=line)
        else:
            health.append(lambda: NO_STREAMS)
            await _until_provisioned(bus.link, log)
        health.append(parts.ready)
        async with running(parts, names):
            if process == "up":
                click.echo(welcome(settings, port), err=True)
            stop.connected()
            await stop.wait()
            log.info("stopping")
    log.info("stopped")


async def _until_provisioned(link: Link, log: FilteringBoundLogger) -> None:
    from contactsync.runtime.bus import NotProvisioned, Transient
    from contactsync.runtime.provision import require_provisioned

    said = ""
    while True:
        try:
            await require_provisioned(link)
            return
        except NotProvisioned:
            reason = NO_STREAMS
        except Transient as error:
            reason = str(error)
        if said != reason:
            log.warning("waits", reason=reason)
        said = reason
        await anyio.sleep(PROVISIONED_EVERY_S)


class Stop:
    """Ends the work: politely once `connected` was called, else at once (nothing has begun)."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._event = anyio.Event()
        self._polite = False

    def connected(self) -> None:
        self._polite = True

    def set(self) -> None:
        self._event.set()
        if not self._polite:
            self._scope.cancel()

    async def wait(self) -> None:
        await self._event.wait()


@asynccontextmanager
async def until_signal() -> AsyncIterator[Stop]:
    """SIGTERM and SIGINT set the `Stop`; a second one ends the process at once."""
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            stop = Stop(scope)
            await tasks.start(_listen, stop)
            yield stop
        tasks.cancel_scope.cancel()


async def _listen(stop: Stop, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.set()
            break
        async for _ in signals:
            os._exit(FAILED)


async def stopped() -> None:
    """Returns at SIGTERM or SIGINT."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            return


def run_loop(main: Callable[[], Awaitable[T]]) -> T:
    """On uvloop where there is one; what cannot be started is one line and exit 1."""
    from contactsync.runtime.embedded import DataDirInUse, ServerFailed, ServerNotFound
    from contactsync.wiring import PortTaken

    _spare_the_collector()
    try:
        return anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})
    except (DataDirInUse, ServerFailed, ServerNotFound, PortTaken) as error:
        reason: BaseException = error
    except BaseExceptionGroup as group:
        found, rest = group.split((PortTaken, OSError))
        if rest is not None or found is None:
            raise
        reason = _first(found)
    except OSError as error:
        reason = error
    click.echo(str(reason), err=True)
    raise click.exceptions.Exit(FAILED)


def _spare_the_collector() -> None:
    """Contacts come and go by the ten thousand without cycles: looking for cycles as often as Python does by default
    costs a third of a first sync (tests/benchmarks)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


# ---- small parts


def welcome(settings: Settings, metrics_port: int) -> str:
    return "\n".join(
        (
            f"Contactsync is running. People reach it at {settings.public_url}",
            f"Metrics and health: http://127.0.0.1:{metrics_port}/metrics, /healthz, /readyz",
            "Next: `contactsync doctor` checks the settings, `contactsync filters` shows what can be synchronised,",
            "      `contactsync link FILTER` prints the link with which the filter's owner switches it on.",
        )
    )


def with_secret_keys(settings: Settings) -> Settings:
    """SECRET_KEYS of the settings, else those kept under DATA_DIR, made at the first start."""
    if settings.secret_keys:
        return settings
    path = settings.data_dir / "secret_keys"
    try:
        kept = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        kept = secrets.token_hex(32)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        _write_private(path, kept + "\n")
    keys = tuple(SecretStr(key) for key in kept.split(",") if key)
    return settings.model_copy(update={"secret_keys": keys})


def _write_private(path: Path, text: str) -> None:
    """For our eyes only, and all or nothing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


@contextmanager
def _runtime_file(settings: Settings, url: str) -> Iterator[None]:
    """Tells the other commands where the NATS server is, while the block lasts."""
    path = runtime_file(settings)
    _write_private(path, json.dumps({"nats_url": url, "pid": os.getpid()}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _require(settings: Settings, services: Sequence[str]) -> None:
    """Raises SettingsError with a line for each setting that these services need and lack."""
    from contactsync.wiring import NEEDS

    settings.require(*dict.fromkeys(name for service in services for name in NEEDS[service]))


def _metrics_host(settings: Settings, process: str) -> str:
    """Where HTTP_BIND says; `up` without it as the gateway does, a single service on all addresses."""
    if settings.http_bind is not None:
        return split_bind(settings.http_bind)[0]
    return settings.bind[0] if process == "up" else "0.0.0.0"
