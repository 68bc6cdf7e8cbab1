"""Words of the command line that ask and change nothing: filters, status, contacts, link, contracts, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contactsync.cli import FAILED, NOT_REACHABLE, ask, cli, print_json, settings_now

if TYPE_CHECKING:
    from contactsync.client import Client

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")


STATUS_COLUMNS = (
    "filter",
    "name",
    "state",
    "direction",
    "account",
    "in sync",
    "pending",
    "held back",
    "dismissed",
    "last sync",
)


@cli.command()
@as_json
def filters(json_: bool) -> None:
    """What Planfix lists, and what of it is synchronised."""

    async def question(client: Client) -> list[dict[str, Any]]:
        return merged(await client.planfix_filters(), await client.filters())

    found = ask(question)
    if json_:
        print_json(found)
        return
    rows = [
        (one["filter_id"], one["name"], one["owner_name"] or "-", one["state"] or "not synchronised") for one in found
    ]
    show(("filter", "name", "owner", "state"), rows)


@cli.command()
@click.argument("filter_id", metavar="[FILTER]", required=False)
@as_json
def status(filter_id: str | None, json_: bool) -> None:
    """How far the synchronisation is."""

    async def question(client: Client) -> Any:
        return await client.filters() if filter_id is None else await client.status(filter_id)

    found = ask(question)
    if json_:
        print_json(found)
        return
    listed = found if filter_id is None else [found]
    show(STATUS_COLUMNS, [_status_row(one) for one in listed])
    for one in listed:
        if one.get("reason"):
            click.echo(f"{one['filter_id']}: {one['reason']}")


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.option("--state", metavar="S", help="Only contacts in this state, e.g. held_back.")
@as_json
def contacts(filter_id: str, state: str | None, json_: bool) -> None:
    """The contacts of a filter, and why one is not in sync."""
    from contactsync_contracts.messages import ContactState

    state = None if state is None else state.replace("-", "_")
    if state is not None and state not in set(ContactState):
        raise click.BadParameter(f"one of {', '.join(ContactState)}", param_hint="--state")

    async def question(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await client.contacts(filter_id, state)
        return found

    found = ask(question)
    if json_:
        print_json(found)
        return
    # A contact in sync may have values that one side cannot hold: why they differ is said, too.
    show(("contact", "state", "reason"), [_contact_row(one) for one in found])


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.option("--user", type=click.IntRange(min=1), metavar="N", help="The employee; else the filter's owner.")
@click.option("--relink", is_flag=True, help="Allow another Google account than the one connected now.")
@click.option("--shared", is_flag=True, help="Allow a Google account that another employee uses.")
def link(filter_id: str, user: int | None, relink: bool, shared: bool) -> None:
    """Print a signed activation link, good for seven days and for one activation."""

    async def question(client: Client) -> str:
        return str((await client.link(filter_id, user, relink=relink, shared=shared))["url"])

    click.echo(ask(question))


@cli.command()
@click.option("--check", is_flag=True, help="Only compare; exit 1 and name what differs.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("contracts"),
    show_default=True,
    help="Where the documents are.",
)
def contracts(check: bool, directory: Path) -> None:
    """Write or check the generated JSON Schemas and the AsyncAPI document."""
    from contactsync_contracts import export

    if not check:
        for name in export.write(directory):
            click.echo(f"{directory / name}: written")
        return
    differing = export.differing(directory)
    for name in differing:
        click.echo(f"{directory / name}: differs; run `contactsync contracts`", err=True)
    if differing:
        raise click.exceptions.Exit(FAILED)


@cli.command()
@as_json
def doctor(json_: bool) -> None:
    """Check settings, NATS, Planfix, Google and the clock, and say what to do about each failure."""
    from contactsync.doctor import Verdict, examine

    checks = anyio.run(examine, settings_now())
    if json_:
        print_json([one.as_json() for one in checks])
    else:
        show(
            ("check", "result", "what was found", "what to do"),
            [(one.name, one.verdict.value, one.found, one.advice) for one in checks],
        )
    verdicts = {one.verdict for one in checks}
    if Verdict.NOT_REACHABLE in verdicts:
        raise click.exceptions.Exit(NOT_REACHABLE)
    if Verdict.FAILED in verdicts:
        raise click.exceptions.Exit(FAILED)


def merged(listed: Sequence[dict[str, Any]], synced: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Planfix's filters with the state of those that are synchronised; those that Planfix lists no more as well."""
    states = {one["filter_id"]: one["state"] for one in synced}
    found = [{**one, "state": states.get(one["filter_id"])} for one in listed]
    known = {one["filter_id"] for one in listed}
    nobody = {"owner": None, "owner_name": None}
    found += [
        {"filter_id": one["filter_id"], "name": one["name"], **nobody, "state": one["state"]}
        for one in synced
        if one["filter_id"] not in known
    ]
    return found


def show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; wide enough for everything where the output is no terminal."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=max(200, console.width), no_color=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(table)


def _status_row(one: dict[str, Any]) -> tuple[str, ...]:
    counts = one["contacts"]
    return (
        one["filter_id"],
        one["name"],
        one["state"],
        "two-way" if one["two_way"] else "to Google",
        one["google_account"] or "-",
        *(str(counts[name]) for name in ("in_sync", "pending", "held_back", "dismissed")),
        _last(one["last_sync"]),
    )


def _contact_row(one: dict[str, Any]) -> tuple[str, str, str]:
    """A person under the label that has no contact yet goes by its resource name."""
    reason = one.get("reason") or "; ".join(one.get("notes") or ())
    if one.get("candidates"):
        reason += f" Candidates: {', '.join(map(str, one['candidates']))}"
    return str(one["contact"] or one["person"]), one["state"], reason


def _last(run: dict[str, Any] | None) -> str:
    if not run:
        return "never"
    moment = run.get("finished_at") or run.get("started_at")
    when = datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""
    return f"{run.get('outcome') or 'running'} {when} (+{run['created']} ~{run['updated']} -{run['removed']})"
