"""Words of the command line that change something: sync, set, pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from contactsync.cli import FAILED, ask, cli
from contactsync_contracts.messages import (
    Breakers,
    Limit,
    NewContactDefaults,
    SyncFinished,
    SyncProgress,
    SyncStarted,
)

if TYPE_CHECKING:
    from contactsync.client import Client


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.option("--wait", is_flag=True, help="Show progress to the end; exit 1 if it did not succeed.")
def sync(filter_id: str, wait: bool) -> None:
    """Synchronise now."""

    async def question(client: Client) -> SyncFinished | None:
        await client.status(filter_id)  # says so when there is no such filter
        if not wait:
            await client.sync(filter_id)
            return None
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            bar = Bar(progress, progress.add_task("waiting", total=None))
            finished: SyncFinished = await client.sync_and_follow(filter_id, bar.report)
            return finished

    finished = ask(question)
    if finished is None:
        click.echo("requested")
        return
    figures = f"{finished.created} created, {finished.updated} updated, {finished.removed} removed"
    if finished.outcome != "succeeded":
        click.echo(f"{finished.outcome}: {finished.reason or 'no reason given'} ({figures})", err=True)
        raise click.exceptions.Exit(FAILED)
    click.echo(figures)


@cli.command("set")
@click.argument("filter_id", metavar="FILTER")
@click.option("--two-way/--one-way", "two_way", default=None, help="Whether edits made in Google reach Planfix.")
@click.option("--new-contact-template", type=click.IntRange(min=1), metavar="N")
@click.option("--new-contact-group", type=click.IntRange(min=1), metavar="N")
@click.option("--new-contact-field", "fields", multiple=True, metavar="ID=VALUE")
@click.option("--new-contact-supervisor", metavar="owner|none|N")
@click.option(
    "--breaker",
    "breakers",
    multiple=True,
    metavar="KIND=LEAST,PERCENT",
    help="How many actions a day need no approval; KIND is remove, update or create.",
)
@click.option("--conflict", type=click.Choice(["newest", "planfix", "google"]), help="Who wins a conflict.")
def set_(
    filter_id: str,
    two_way: bool | None,
    new_contact_template: int | None,
    new_contact_group: int | None,
    fields: tuple[str, ...],
    new_contact_supervisor: str | None,
    breakers: tuple[str, ...],
    conflict: str | None,
) -> None:
    """Change a filter's settings; those not given stay."""
    given = {
        "template": new_contact_template,
        "group": new_contact_group,
        "custom_fields": dict(map(field_of, fields)) or None,
        "supervisor": supervisor_of(new_contact_supervisor),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    limits = dict(map(limit_of, breakers))
    if two_way is None and conflict is None and not (changes or limits):
        raise click.UsageError("nothing to change: give at least one option")

    async def question(client: Client) -> None:
        new_contact = None
        if changes:
            before = (await client.status(filter_id)).get("new_contact") or {}
            new_contact = NewContactDefaults.model_validate({**before, **changes})
        settings = {
            "two_way": two_way,
            "new_contact": new_contact,
            "breakers": Breakers.model_validate(limits) if limits else None,
            "conflict": conflict,
        }
        if two_way and not (await client.status(filter_id))["two_way"]:
            await _show_preview(client, filter_id)
        await client.change(filter_id, **{name: value for name, value in settings.items() if value is not None})

    ask(question)
    click.echo("changed")


@cli.command()
@click.argument("filter_id", metavar="FILTER")
def pause(filter_id: str) -> None:
    """Stop synchronising a filter until `resume`."""

    async def question(client: Client) -> None:
        await client.pause(filter_id)

    ask(question)
    click.echo("paused")


@cli.command()
@click.argument("filter_id", metavar="FILTER")
def resume(filter_id: str) -> None:
    """Go on with a paused filter; restore a frozen one's label on everybody."""

    async def question(client: Client) -> str:
        return str((await client.resume(filter_id))["state"])

    click.echo(ask(question))


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.option("--remove-contacts", is_flag=True, help="Take the people that we created out of Google first.")
def disconnect(filter_id: str, remove_contacts: bool) -> None:
    """Stop for good and forget a filter; its people stay in Google unless asked otherwise."""

    async def question(client: Client) -> dict[str, Any] | None:
        return await client.disconnect(filter_id, remove_contacts=remove_contacts)

    left = ask(question)
    if left is None:
        click.echo("disconnected")
    elif left["state"] == "disconnecting":
        click.echo(f"disconnecting, goes on by itself: {left['reason'] or 'see `status`'}")
    else:
        click.echo("requested: the reconciler has not begun yet, is it running?", err=True)
        raise click.exceptions.Exit(FAILED)


@cli.command()
@click.argument("filter_id", metavar="FILTER")
def rebuild(filter_id: str) -> None:
    """Find a filter's links again by the stamps in Google, e.g. after a loss of state."""

    async def question(client: Client) -> None:
        await client.rebuild(filter_id)

    ask(question)
    click.echo("requested")


class Bar:
    """Shows the events of one run."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def report(self, event: SyncStarted | SyncProgress) -> None:
        if isinstance(event, SyncProgress):
            self._progress.update(self._task, completed=event.done, total=event.total)
        self._progress.update(self._task, description="synchronising")


async def _show_preview(client: Client, filter_id: str) -> None:
    """What the first sync in the other direction will do (semantics 2.4); the switch does not depend on it."""
    from contactsync.cli_plans import lines_of
    from contactsync.client import Declined

    try:
        found = await client.preview(filter_id, two_way=True)
    except Declined as error:
        click.echo(f"no preview: {error}", err=True)
        return
    for line in lines_of(found):
        click.echo(line)


def field_of(text: str) -> tuple[str, str]:
    number, equals, value = text.partition("=")
    if not equals or not (number.isascii() and number.isdigit()):
        raise click.BadParameter("must be ID=VALUE, e.g. 10=Google", param_hint="--new-contact-field")
    return number, value


def limit_of(text: str) -> tuple[str, Limit]:
    """`remove=10,10`."""
    kind, _, numbers = text.partition("=")
    least, comma, percent = numbers.partition(",")
    try:
        if kind not in Breakers.model_fields or not comma:
            raise ValueError
        return kind, Limit(least=int(least), percent=float(percent))
    except ValueError as error:
        raise click.BadParameter("must be KIND=LEAST,PERCENT, e.g. remove=10,10", param_hint="--breaker") from error


def supervisor_of(text: str | None) -> str | None:
    if text is None or text in ("owner", "none") or (text.isascii() and text.isdigit()):
        return text
    raise click.BadParameter("must be owner, none or an employee's number", param_hint="--new-contact-supervisor")
