"""Words of the command line for what only a human can say: who is who, and who shall come back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import click

from contactsync.cli import ask, cli
from contactsync_contracts.messages import Decide, Restore

if TYPE_CHECKING:
    from contactsync.client import Client

PEOPLE: Final = "people/"
USAGE: Final = (
    "say CONTACT same PERSON, CONTACT separate, CONTACT new or --all new, e.g. `decide 4115 12 same people/c34`"
)


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.argument("words", metavar="[CONTACT same PERSON|separate|new]", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="With `new`: all possible duplicates are new.")
def decide(filter_id: str, words: tuple[str, ...], all_: bool) -> None:
    """Settle a possible duplicate, for good.

    `same`: contact and person are one. `separate` or `new`: it is none of its candidates, and is created. Candidates
    are shown by `contacts FILTER --state possible-duplicate`. A person under the label that has no contact yet is
    named as it is shown there: `decide FILTER people/c34 same 12`.
    """
    said = decision_of(words, every=all_)

    async def question(client: Client) -> None:
        await client.command(Decide.model_validate({"request_id": uuid.uuid4().hex, "filter_id": filter_id, **said}))

    ask(question)
    click.echo("decided")


@cli.command()
@click.argument("filter_id", metavar="FILTER")
@click.argument("contact", metavar="[CONTACT]", type=click.IntRange(min=1), required=False)
def restore(filter_id: str, contact: int | None) -> None:
    """Bring back to Google what was thrown away there: one contact, or all of the filter.

    A contact that was refused is tried again.
    """

    async def question(client: Client) -> None:
        await client.command(Restore(request_id=uuid.uuid4().hex, filter_id=filter_id, contact=contact))

    ask(question)
    click.echo("restored")


def decision_of(words: tuple[str, ...], *, every: bool) -> dict[str, Any]:
    """The fields of `Decide`; the contact and the person may come in either order."""
    if every:
        if words != ("new",):
            raise click.UsageError("with --all say just: new")
        return {"decision": "new"}
    match words:
        case (who, "same", whom):
            named = {**named_by(who), **named_by(whom)}
            if len(named) == 2:
                return {"decision": "same", **named}
        case (who, ("separate" | "new") as decision):
            return {"decision": decision, **named_by(who)}
    raise click.UsageError(USAGE)


def named_by(text: str) -> dict[str, Any]:
    """A Planfix contact by its number, or a person by its resource name."""
    if text.isascii() and text.isdigit() and int(text):
        return {"contact": int(text)}
    if text.startswith(PEOPLE) and len(text) > len(PEOPLE):
        return {"person": text}
    raise click.UsageError(f"{text} is neither a contact's number nor a person, e.g. 12 or people/c34")
