"""One employee, one Google account, two filters that share contacts, which the demo does not show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from contactsync.client import Client
from contactsync.demo.world import Quotas, World
from contactsync.runtime.nats_bus import connect
from contactsync.runtime.nats_link import LinkSettings
from contactsync.simulators.invariants import Checker

pytestmark = [pytest.mark.nats, pytest.mark.timeout(180)]

EMAIL = "owner@example.com"
OFF = Quotas(0, 0, 0, 0, 0)
SECRET = "a-webhook-secret-of-some-length"


class Account:
    """The two filters `1` and `2` of one owner, in one account."""

    def __init__(self, world: World, client: Client, filters: dict[str, str], contacts: dict[str, int]) -> None:
        self.world, self.client, self.filters, self.contacts = world, client, filters, contacts
        self._checker = Checker("127.0.0.1", custom_fields={"10": "Client number"})

    async def people(self) -> dict[int, Any]:
        """Stamped people by contact; each contact at most once."""
        dump = await self.world.look("google", "dump", account=EMAIL)
        found: dict[int, Any] = {}
        for person in self._checker.people(dump).values():
            for stamp in person.stamps:
                assert stamp.contact not in found, "two people of one contact"
                found[stamp.contact] = person
        return found

    async def labels(self, name: str) -> set[str]:
        """Names of the labels on the contact's person."""
        dump = await self.world.look("google", "dump", account=EMAIL)
        names = {group["resourceName"]: group["name"] for group in dump["groups"]}
        person = (await self.people()).get(self.contacts[name])
        return {names[label] for label in person.labels if label in names} if person is not None else set()

    async def contact(self, name: str) -> dict[str, Any]:
        dump = await self.world.look("planfix", "dump")
        return next(row for row in dump["contacts"] if row["id"] == self.contacts[name])

    async def sync(self) -> None:
        """Both filters, and what one's write leaves for the other."""
        for filter_id in (*self.filters.values(), *self.filters.values()):
            finished = await self.client.sync_and_follow(filter_id, lambda _: None)
            assert finished.outcome == "succeeded", finished.reason

    async def until(self, what: Callable[[], Awaitable[bool]]) -> None:
        with anyio.fail_after(30):
            while not await what():  # noqa: ASYNC110 - another process decides
                await anyio.sleep(0.2)


@asynccontextmanager
async def one_account(folder: Path) -> Any:
    settings = {"CUSTOM_FIELDS": '{"10": "Client number"}', "WEBHOOK_SECRET": SECRET}
    world = World(folder, OFF, poll_s=1, google_options={"list_lag_s": 0.2}, extra_settings=settings)
    try:
        await world.start_simulators()
        owner = await world.control("planfix", "add_employee", name="Owner", email=EMAIL, login=EMAIL)
        await world.control("planfix", "add_custom_field", name="Client number")
        await world.control("google", "add_account", email=EMAIL, sub="42")
        contacts = {
            name: await world.control("planfix", "add_contact", fields=fields) for name, fields in CONTACTS.items()
        }
        filters = {}
        for title, members in MEMBERS.items():
            ids = [contacts[name] for name in members]
            condition = {"kind": "ids", "ids": ids}
            filters[title] = str(
                await world.control("planfix", "add_filter", name=title, owner=owner, condition=condition)
            )
        await world.start_services()
        async with connect(LinkSettings(url=world.nats_url, name="test"), lambda *_: None) as bus:
            account = Account(world, Client(bus), filters, contacts)
            for filter_id in filters.values():
                link = (await anyio.to_thread.run_sync(world.command, "link", filter_id)).strip()
                await world.activate(link, EMAIL)

                async def done(filter_id: str = filter_id) -> bool:
                    try:
                        return bool((await account.client.status(filter_id))["last_sync"])
                    except Exception:
                        return False

                await account.until(done)
            yield account
    finally:
        with anyio.CancelScope(shield=True):
            await world.stop()


CONTACTS: dict[str, dict[str, Any]] = {
    "shared": {"name": "Shared", "lastname": "Person", "email": "shared@example.org"},
    "first": {
        "name": "First",
        "lastname": "Only",
        "phones": [{"number": "+4915112345678", "type": 1}],
        "customFieldData": [{"field": {"id": 10}, "value": "C-7"}],
    },
    "second": {"name": "Second", "lastname": "Only", "email": "second@example.org"},
    "company": {"name": "Nord GmbH", "isCompany": True, "email": "office@nord.example.org"},
    "third": {"name": "Third", "lastname": "Only", "email": "third@example.org"},
}
MEMBERS = {
    "Clients": ("shared", "first", "company", "third"),
    "Partners": ("shared", "second", "third"),
}


async def test_two_filters_of_one_account_share_a_person_and_take_turns(tmp_path: Path) -> None:
    async with one_account(tmp_path) as account:
        world = account.world
        # One person for the contact of both filters, with both labels; a company, a custom field.
        assert await account.labels("shared") == {"Clients", "Partners"}
        assert await account.labels("first") == {"Clients"}
        people = await account.people()
        assert len(people) == len(CONTACTS)
        assert people[account.contacts["company"]].fields["company"] == "Nord GmbH"
        assert people[account.contacts["company"]].fields["given"] == ""
        assert people[account.contacts["first"]].fields["custom:10"] == "C-7"

        # An edit on either side of the shared contact reaches the other, once.
        shared = people[account.contacts["shared"]].resource
        note = {"biographies": [{"value": "from the phone", "contentType": "TEXT_PLAIN"}]}
        await world.control("google", "edit_person", account=EMAIL, resource_name=shared, fields=note)
        await world.control(
            "planfix", "edit_contact", contact=account.contacts["shared"], fields={"position": "Buyer"}
        )
        await anyio.sleep(0.5)
        await account.sync()
        assert (await account.contact("shared"))["description"] == "from the phone"
        assert (await account.people())[account.contacts["shared"]].fields["position"] == "Buyer"
        assert await account.labels("shared") == {"Clients", "Partners"}

        # It leaves the filter that merged its fields: one label goes, the person stays, the other filter takes over.
        await world.control(
            "planfix", "remove_from_filter", filter_id=account.filters["Clients"], contact=account.contacts["shared"]
        )
        await account.sync()

        async def only_partners() -> bool:
            return bool(await account.labels("shared") == {"Partners"})

        await account.until(only_partners)
        note = {"biographies": [{"value": "after the hand-over", "contentType": "TEXT_PLAIN"}]}
        await world.control("google", "edit_person", account=EMAIL, resource_name=shared, fields=note)
        await anyio.sleep(0.5)
        await account.sync()
        assert (await account.contact("shared"))["description"] == "after the hand-over"

        # A filter renamed in Planfix renames its label; the people under it stay.
        await world.control("planfix", "rename_filter", filter_id=account.filters["Clients"], name="Customers")
        await account.sync()

        async def renamed() -> bool:
            return bool(await account.labels("first") == {"Customers"})

        await account.until(renamed)
        assert len(await account.people()) == len(CONTACTS)


async def test_a_webhook_brings_an_edit_at_once(tmp_path: Path) -> None:
    async with one_account(tmp_path) as account:
        first = account.contacts["first"]
        await account.world.control("planfix", "edit_contact", contact=first, fields={"position": "CEO"})
        async with aiohttp.ClientSession() as session:
            for address, status in ((f"webhooks/planfix/{SECRET}", 200), ("webhooks/planfix/wrong", 404)):
                async with session.post(f"{account.world.gateway}/{address}", json={"id": first}) as answer:
                    assert answer.status == status

        async def arrived() -> bool:
            return bool((await account.people())[first].fields["position"] == "CEO")

        await account.until(arrived)
