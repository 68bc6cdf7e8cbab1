"""Words of the command line for dead letters: what could not be carried out, and what becomes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import orjson

from contactsync.cli import ask, cli, print_json
from contactsync.cli_query import as_json, show

if TYPE_CHECKING:
    from contactsync.client import Client
    from contactsync.runtime.bus import Bus
    from contactsync.runtime.dead import DeadLetter

COLUMNS = ("number", "when", "service", "filter", "type", "reason")
NEXT = "`contactsync dead show NUMBER` shows one whole; `dead resend NUMBER` sends it again once the cause is mended."

NUMBERS = click.argument("numbers", metavar="NUMBER...", type=click.IntRange(min=1), nargs=-1)
EVERY = click.option("--all", "every", is_flag=True, help="All of them.")
SERVICE = click.option("--service", metavar="NAME", help="With --all: only those of this service.")


@cli.group(invoke_without_command=True)
@as_json
@click.pass_context
def dead(context: click.Context, json_: bool) -> None:
    """Messages that could not be carried out: a list, with the reason for each.

    They are kept for 30 days. `dead resend` sends them again, `dead drop` throws them away.
    """
    if context.invoked_subcommand is None:
        listed(json_)


@dead.command("list")
@as_json
def list_(json_: bool) -> None:
    """The same list."""
    listed(json_)


def listed(json_: bool) -> None:
    found = ask(_all_of)
    if json_:
        print_json([summary(one) for one in found])
        return
    if not found:
        click.echo("no dead letters")
        return
    show(COLUMNS, [[str(summary(one)[name] or "-") for name in COLUMNS] for one in found])
    click.echo(NEXT)


@dead.command("show")
@click.argument("number", type=click.IntRange(min=1))
@as_json
def show_one(number: int, json_: bool) -> None:
    """One message whole, with the contacts' data that are in it."""
    (one,) = ask(lambda client: _numbered(client, [number]))
    whole = summary(one) | {"subject": one.subject, "headers": dict(one.headers), "message": _readable(one.data)}
    if json_:
        print_json(whole)
        return
    for name, value in whole.items():
        if name != "message":
            click.echo(f"{name}: {value or '-'}")
    message = whole["message"]
    text = message if isinstance(message, str) else orjson.dumps(message, option=orjson.OPT_INDENT_2).decode()
    click.echo(text)


@dead.command()
@NUMBERS
@EVERY
@SERVICE
def resend(numbers: tuple[int, ...], every: bool, service: str | None) -> None:
    """Send messages again to where they were sent at first."""
    from contactsync.runtime.dead import resend as send

    click.echo(f"sent again: {carried_out(send, numbers, every=every, service=service)}")


@dead.command()
@NUMBERS
@EVERY
@SERVICE
def drop(numbers: tuple[int, ...], every: bool, service: str | None) -> None:
    """Throw messages away for good."""
    from contactsync.runtime.dead import drop as throw_away

    click.echo(f"dropped: {carried_out(throw_away, numbers, every=every, service=service)}")


def carried_out(
    act: Callable[[Bus, Sequence[DeadLetter]], Awaitable[None]],
    numbers: Sequence[int],
    *,
    every: bool,
    service: str | None,
) -> int:
    """To how many."""
    if bool(numbers) == every:
        raise click.UsageError("name the messages by number (`contactsync dead` lists them), or say --all")

    async def question(client: Client) -> int:
        chosen = await (_all_of(client, service) if every else _numbered(client, numbers))
        await act(client.nats, chosen)
        return len(chosen)

    return ask(question)


# ---- small parts


def summary(one: DeadLetter) -> dict[str, Any]:
    return {
        "number": one.number,
        "when": one.at[:19].replace("T", " "),
        "service": one.service,
        "filter": one.filter_id,
        "type": one.type,
        "reason": one.reason,
    }


async def _all_of(client: Client, service: str | None = None) -> list[DeadLetter]:
    from contactsync.runtime.dead import letters

    return await letters(client.nats, service or "*")


async def _numbered(client: Client, numbers: Sequence[int]) -> list[DeadLetter]:
    """Raises Declined for a number that is not there."""
    from contactsync.client import Declined
    from contactsync.runtime.dead import letter

    found = {number: await letter(client.nats, number) for number in numbers}
    if missing := [number for number, one in found.items() if one is None]:
        names = ", ".join(map(str, missing))
        raise Declined(f"There is no dead letter {names}: `contactsync dead` lists those that are there.")
    return [one for one in found.values() if one is not None]


def _readable(data: bytes) -> Any:
    """JSON as such, else text, unreadable bytes marked."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="backslashreplace")
