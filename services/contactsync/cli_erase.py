"""Words of the command line that remove every trace of a filter or of a Google account, and shell completion."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import anyio
import click
import orjson

from contactsync.cli import FAILED, ask, cli
from contactsync_contracts import subjects

if TYPE_CHECKING:
    from contactsync.client import Client
    from contactsync.runtime.nats_bus import NatsBus

PROGRAM: Final = "contactsync"
LEAVING_WAIT_S: Final = 120.0
LOOK_EVERY_S: Final = 1.0
NAMED_IN: Final = ("state.session.*", "state.token.*", "state.oauth.*")
"""Records of the gateway that may name a filter."""


@cli.command()
@click.option(
    "--filter", "filter_id", metavar="FILTER", help="A filter: settings, links, history, events, dead letters."
)
@click.option(
    "--account", metavar="ACCOUNT", help="A Google account by its e-mail: its filters, its grant, its people."
)
@click.option("--yes", is_flag=True, help="Do not ask first.")
def erase(filter_id: str | None, account: str | None, yes: bool) -> None:
    """Remove everything that was stored of a filter or of an account. What is in Planfix and Google stays.

    A filter that is synchronised is disconnected first; the grant is revoked with the account's last filter. To take
    people out of Google as well, `disconnect --remove-contacts` first.
    """
    if (filter_id is None) == (account is None):
        raise click.UsageError("say either --filter FILTER or --account ACCOUNT")
    if not yes:
        click.confirm(f"Erase everything stored of {filter_id or account}?", abort=True)

    async def question(client: Client) -> Counter[str] | None:
        if filter_id is not None:
            return await erase_filter(client, filter_id)
        return await erase_account(client, str(account))

    removed = ask(question)
    if removed is None:
        click.echo("still disconnecting (see `status`); erase again when it is done", err=True)
        raise click.exceptions.Exit(FAILED)
    rest = ", ".join(f"{number} {what}" for what, number in sorted(removed.items()) if number)
    click.echo(f"erased; left over and removed now: {rest or 'nothing'}")


@cli.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what makes a shell complete these words: `eval "$(contactsync completion bash)"`."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, PROGRAM, "_CONTACTSYNC_COMPLETE").source())


async def erase_filter(client: Client, filter_id: str) -> Counter[str] | None:
    """How much was left over by the disconnection, by kind; None while it still goes on."""
    if not await _gone(client, filter_id):
        return None
    token, bus = subjects.token(filter_id), client.nats
    key = subjects.filter_key(filter_id)
    removed: Counter[str] = Counter()
    removed["records"] = await bus.purge(key) + await bus.purge(f"{key}.")
    removed["history entries"] = await bus.purge(subjects.history_prefix(filter_id))
    removed["events"] = await _purge(bus, "EVENTS", subjects.event(filter_id))
    removed["dead letters"] = await _purge(bus, "DEAD", f"contacts.v1.dead.*.{token}")
    removed["sign-ins and tokens"] = await _drop_named(bus, {filter_id, token})
    return removed


async def erase_account(client: Client, account: str) -> Counter[str] | None:
    """The same for all filters of the account, and what is stored of the account itself."""
    from contactsync.client import Declined

    theirs = [one for one in await client.filters() if account.casefold() in _names(one)]
    tokens = {str(one["account"]) for one in theirs if one.get("account")}
    if not theirs and subjects.token(account) == account:
        tokens = {account}
    if not tokens:
        raise Declined(f"no filter is synchronised with {account}; erase what is left by the account's id")
    removed: Counter[str] = Counter()
    for one in theirs:
        left = await erase_filter(client, str(one["filter_id"]))
        if left is None:
            return None
        removed += left
    for token in tokens:
        removed["records of the account"] += await client.nats.purge(f"state.account.{token}.")
        removed["records of the account"] += await client.nats.purge(f"quota.google.{token}")
    return removed


def _names(status: dict[str, Any]) -> set[str]:
    return {str(status.get(name) or "").casefold() for name in ("google_account", "account")}


async def _gone(client: Client, filter_id: str) -> bool:
    """Disconnected, or never synchronised."""
    from contactsync.client import Declined

    try:
        await client.status(filter_id)
    except Declined:
        return True
    left = await client.disconnect(filter_id, remove_contacts=False)
    with anyio.move_on_after(LEAVING_WAIT_S):
        while left is not None:
            await anyio.sleep(LOOK_EVERY_S)
            try:
                left = await client.status(filter_id)
            except Declined:
                left = None
    return left is None


async def _purge(bus: NatsBus, stream: str, subject: str) -> int:
    answer = await bus.link.api(f"STREAM.PURGE.{stream}", {"filter": subject})
    return int(answer.get("purged", 0))


async def _drop_named(bus: NatsBus, names: set[str]) -> int:
    """Delete the gateway's records that name the filter."""
    from contactsync.runtime.bus import Put

    found = []
    for pattern in NAMED_IN:
        async for record in bus.load(pattern):
            stored = orjson.loads(record.value)
            if isinstance(stored, dict) and str(stored.get("filter_id", "")) in names:
                found.append(record.key)
    for key in found:
        await bus.commit(None, [Put(key, None)])
    return len(found)
