"""The command line `contactsync`: its words, exit codes and how it finds NATS; the words are in `cli_*.py`.

Exit codes: 0 done, 1 failed, 2 usage or settings, 3 not reachable. Answers go to standard output, everything else
to standard error.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import click

from contactsync.runtime.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from contactsync.client import Client

FAILED: Final = 1
BAD_SETTINGS: Final = 2
NOT_REACHABLE: Final = 3
CONNECT_S: Final = 5.0

T = TypeVar("T")


class Commands(click.Group):
    """Turns what went wrong into a line on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        # Here, so that `contactsync --help` does not load what only running commands need.
        from contactsync.client import Declined, NotReachable
        from contactsync.runtime.bus import BusError

        try:
            return super().invoke(ctx)
        except SettingsError as error:
            for problem in error.problems:
                click.echo(problem, err=True)
            ctx.exit(BAD_SETTINGS)
        except Declined as error:
            click.echo(str(error), err=True)
            ctx.exit(FAILED)
        except NotReachable as error:
            click.echo(str(error), err=True)
            ctx.exit(NOT_REACHABLE)
        except BusError as error:
            click.echo(f"NATS: {error}", err=True)
            ctx.exit(NOT_REACHABLE)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="contactsync")
def cli() -> None:
    """Keeps Planfix contact filters and Google Contacts labels the same, both ways."""


def settings_now() -> Settings:
    """From the environment and `.env`. Raises SettingsError."""
    return load_settings(os.environ)


def nats_url(settings: Settings) -> str:
    """NATS_URL, else the server of a running `up`. Raises NotReachable."""
    from contactsync.client import NotReachable

    if settings.nats_url is not None:
        return settings.nats_url
    runtime = runtime_file(settings)
    try:
        found = json.loads(runtime.read_text(encoding="utf-8"))
        url, pid = str(found["nats_url"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        url, pid = "", 0
    if not url or not _is_alive(pid):
        raise NotReachable(
            f"NATS is not known: set CONTACTSYNC_NATS_URL, or start `contactsync up` with the same "
            f"CONTACTSYNC_DATA_DIR (looked for {runtime})"
        )
    return url


def runtime_file(settings: Settings) -> Path:
    """Where `up` writes `{"nats_url", "pid"}` for the other commands."""
    return settings.data_dir / "runtime.json"


def ask(question: Callable[[Client], Awaitable[T]]) -> T:
    """Run `question(client)` on a connection to NATS. Raises NotReachable when no server answers in time."""
    return anyio.run(partial(_ask, settings_now(), question))


async def _ask(settings: Settings, question: Callable[[Client], Awaitable[T]]) -> T:
    from contactsync.client import Client, NotReachable
    from contactsync.runtime.nats_bus import connect
    from contactsync.wiring import link_settings

    url = nats_url(settings)
    heard: list[str] = []
    answers: list[T] = []
    failures: list[Exception] = []
    with anyio.CancelScope(deadline=anyio.current_time() + CONNECT_S) as waiting:
        async with connect(
            link_settings(settings, url, "contactsync-cli"), lambda _, text: heard.append(text)
        ) as bus:
            waiting.deadline = math.inf
            try:
                answers.append(await question(Client(bus)))
            except Exception as error:  # or the connection's task group would wrap it
                failures.append(error)
    if waiting.cancelled_caught:
        why = f" ({heard[-1]})" if heard else ""
        raise NotReachable(f"NATS at {url} does not answer{why}: is it running, is CONTACTSYNC_NATS_URL right?")
    if failures:
        raise failures[0]
    return answers[0]


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid > 0
