"""Words of the command line about what happened: history, undo, export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from contactsync.cli import FAILED, ask, cli, print_json
from contactsync.cli_query import as_json, show

if TYPE_CHECKING:
    from contactsync.client import Client

COLUMNS = ("entry", "when", "side", "what", "why", "run", "values")
VALUE_MAX = 60
KINDS = {
    "arrival": "arrivals",
    "decided": "decisions",
    "request": "requests",
    "link": "links",
    "history": "history",
}


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.argument("contact", type=click.IntRange(min=1), metavar="[CONTACT]", required=False)
@click.option("--run", metavar="RUN", help="Only what this run did.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, metavar="N")
@as_json
def history(filter_id: str, contact: int | None, run: str | None, limit: int, json_: bool) -> None:
    """What was done to a filter's contacts and why, the newest first."""

    async def question(client: Client) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await client.history(filter_id, contact, run=run, limit=limit)
        return found

    found = ask(question)
    if json_:
        print_json(found)
        return
    show(COLUMNS, [_row(entry) for entry in found])


@cli.command()
@click.argument("words", metavar="[FILTER] [ENTRY]", nargs=-1)
@click.option("--run", metavar="RUN", help="Everything that this run did, instead of one entry.")
@as_json
def undo(words: tuple[str, ...], run: str | None, json_: bool) -> None:
    """Take back an entry of the history, or a run. A value that was edited since is left alone."""
    filter_id, entry = target_of(words, run)

    async def question(client: Client) -> dict[str, Any]:
        where = filter_id or await client.filter_of_run(run or "")
        found: dict[str, Any] = await client.undo(where, entry=entry, run=run)
        return found

    outcome = ask(question)
    if json_:
        print_json({name: outcome[name] for name in ("undone", "left", "why")})
    else:
        click.echo(f"{outcome['undone']} taken back, {outcome['left']} left alone")
        for reason in outcome["why"]:
            click.echo(reason, err=True)
        if outcome["left"] > len(outcome["why"]):
            click.echo(f"and {outcome['left'] - len(outcome['why'])} more", err=True)
    if not outcome["undone"]:
        raise click.exceptions.Exit(FAILED)


@cli.command()
@click.argument("filter_id", metavar="FILTER")
def export(filter_id: str) -> None:
    """Print everything that is stored of a filter as JSON: settings, people without a contact, links, history."""

    async def question(client: Client) -> None:
        await client.status(filter_id)  # says so when there is no such filter
        shown = ""
        async with aclosing(client.export(filter_id)) as pieces:
            async for kind, piece in pieces:
                if kind == "filter":
                    click.echo(f'{{"filter": {_json(piece)}', nl=False)
                    continue
                for name in _lists_up_to(shown, kind):
                    click.echo(f'{"]" if shown else ""},\n"{name}": [', nl=False)
                    shown, comma = name, "\n"
                click.echo(f"{comma}{_json(piece)}", nl=False)
                comma = ",\n"
        for name in _lists_up_to(shown, "history"):
            click.echo(f'{"]" if shown else ""},\n"{name}": [', nl=False)
            shown = name
        click.echo("]}")

    ask(question)


def target_of(words: tuple[str, ...], run: str | None) -> tuple[str | None, str | None]:
    """The filter and the entry (`<contact>.<number>`), each None where it is not said. An entry is named as the
    history prints it, with its filter in front, or after its filter."""
    if run is not None:
        if len(words) > 1:
            raise click.UsageError("with --run there is no ENTRY: undo [FILTER] --run RUN")
        return (words[0] if words else None), None
    if not 1 <= len(words) <= 2:
        raise click.UsageError("say what: undo ENTRY, undo FILTER ENTRY or undo [FILTER] --run RUN")
    filter_id, _, entry = words[-1].rpartition(":")
    if len(words) == 2:
        if filter_id and filter_id != words[0]:
            raise click.UsageError(f"the entry is of filter {filter_id}, not {words[0]}")
        filter_id = words[0]
    contact, _, number = entry.partition(".")
    if not filter_id or not contact.isdigit() or not number.isdigit():
        raise click.BadParameter("must be as the history prints it, e.g. 4115:17.3", param_hint="ENTRY")
    return filter_id, entry


def _lists_up_to(shown: str, kind: str) -> list[str]:
    """The lists that begin before a piece of this kind comes: an empty one is told, too."""
    names = list(KINDS.values())
    begun = names.index(shown) + 1 if shown else 0
    return names[begun : names.index(KINDS[kind]) + 1]


def _json(piece: object) -> str:
    return json.dumps(piece, ensure_ascii=False)


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    when = datetime.fromtimestamp(entry["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    what = entry.get("operation", "updated")
    names = ("side", "cause", "run")
    side, cause, run = (str(entry.get(name, "")) for name in names)
    return entry["id"], when, side, what, cause, run, "; ".join(_values(entry))


def _values(entry: Mapping[str, Any]) -> list[str]:
    fields = [f"{name}: {_said(pair[0])} -> {_said(pair[1])}" for name, pair in entry.get("fields", {}).items()]
    lost = [f"{name}: lost {_said(value)} of {side}" for name, (side, value) in entry.get("lost", {}).items()]
    reason = [str(entry["reason"])] if entry.get("reason") else []
    return [*fields, *lost, *reason]


def _said(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    short = text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return repr(short)
