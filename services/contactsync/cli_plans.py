"""Words of the command line about plans: what a sync would do, what waits for an approval, and its release."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from contactsync.cli import ask, cli, print_json
from contactsync.cli_query import as_json
from contactsync_contracts.messages import Approve

if TYPE_CHECKING:
    from contactsync.client import Client

EXAMPLES_SHOWN = 5


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@as_json
def preview(filter_id: str, json_: bool) -> None:
    """What a sync would do now, and the plans that wait for approval. Nothing is changed by looking."""

    async def question(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = await client.preview(filter_id)
        return found

    with Console(stderr=True).status("reading both sides"):
        found = ask(question)
    if json_:
        print_json(found)
        return
    for line in lines_of(found):
        click.echo(line)


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.argument("hash_", metavar="HASH")
def approve(filter_id: str, hash_: str) -> None:
    """Carry out exactly the plan with this hash, as far as it is still wanted."""

    async def question(client: Client) -> None:
        await client.command(Approve(request_id=uuid.uuid4().hex, filter_id=filter_id, hash=hash_))

    ask(question)
    click.echo("approved")


def lines_of(found: dict[str, Any]) -> list[str]:
    """For people: the plans that wait, then what a sync would do."""
    lines: list[str] = []
    for plan in found["plans"]:
        lines.append(plan["reason"])
        lines += [f"  {example_of(row)}" for row in plan["examples"][:EXAMPLES_SHOWN]]
        lines.append(
            f"  Release it with: contactsync approve {found['filter_id']} {plan['hash']}"
            if plan["hash"]
            else "  It is still being collected; look again in a minute."
        )
    for group in found["would"]:
        lines.append(f"{group['count']} {group['means']}")
        lines += [f"  {example_of(row)}" for row in group["examples"][:EXAMPLES_SHOWN]]
        if group["count"] > EXAMPLES_SHOWN:
            lines.append(f"  and {group['count'] - EXAMPLES_SHOWN} more")
    if found["reason"] and not found["plans"]:
        lines.append(found["reason"])
    if not found["would"] and not found["plans"]:
        lines.append("A sync would change nothing.")
    return lines


def example_of(row: dict[str, Any]) -> str:
    """`contact 12 (Ada Adams): notes "a" -> "b"`."""
    who = f"contact {row['contact']}" if row.get("contact") else str(row.get("person"))
    who += f" ({row['name']})" if row.get("name") else ""
    changes = ", ".join(
        f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in row.get("fields", {}).items()
    )
    return f"{who}: {changes}" if changes else who


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f'"{value}"'
