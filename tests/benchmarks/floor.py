"""The floor: the same pages copied into the same simulators by a script without state, checks or recovery.

It reads each page of the filter from Planfix and creates its contacts in Google in full batches, one request after
another on each side, the next page being read while a batch is written. Nothing that keeps two sides the same can do
with fewer requests.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import anyio
import orjson

from contactsync.demo.world import TOKEN, World, choice_of
from contactsync.google.mapping import PERSON_FIELDS
from contactsync.planfix.mapping import FIELDS

PAGE, BATCH = 100, 200


async def copy(world: World, filter_id: str, email: str) -> float:
    """Copy the filter into the account; the seconds that it took."""
    async with aiohttp.ClientSession() as session:
        token = await _token(world, session, email)
        began = time.monotonic()
        send, receive = anyio.create_memory_object_stream[list[dict[str, Any]]](4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, world, session, filter_id, send)
            async with receive:
                waiting: list[dict[str, Any]] = []
                async for page in receive:
                    waiting += map(_person, page)
                    while len(waiting) >= BATCH:
                        await _create(world, session, token, waiting[:BATCH])
                        del waiting[:BATCH]
                if waiting:
                    await _create(world, session, token, waiting)
        return time.monotonic() - began


async def _read(world: World, session: aiohttp.ClientSession, filter_id: str, send: Any) -> None:
    async with send:
        offset = 0
        while True:
            body = {"offset": offset, "pageSize": PAGE, "filterId": filter_id, "fields": ",".join(FIELDS)}
            async with session.post(
                f"{world.sim}/rest/contact/list",
                data=orjson.dumps(body),
                headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
            ) as answer:
                contacts = orjson.loads(await answer.read())["contacts"]
            if not contacts:
                return
            await send.send(contacts)
            offset += len(contacts)


async def _create(world: World, session: aiohttp.ClientSession, token: str, people: list[dict[str, Any]]) -> None:
    body = {"contacts": [{"contactPerson": person} for person in people], "readMask": ",".join(PERSON_FIELDS)}
    async with session.post(
        f"{world.sim}/v1/people:batchCreateContacts",
        data=orjson.dumps(body),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    ) as answer:
        made = orjson.loads(await answer.read())
        assert answer.status == 200, made
        assert len(made["createdPeople"]) == len(people)


def _person(contact: dict[str, Any]) -> dict[str, Any]:
    """As little as a copy needs."""
    person: dict[str, Any] = {
        "names": [{"givenName": contact.get("name") or "", "familyName": contact.get("lastname") or ""}],
        "phoneNumbers": [{"value": phone["number"]} for phone in contact.get("phones") or ()],
    }
    if contact.get("email"):
        person["emailAddresses"] = [{"value": contact["email"]}]
    if contact.get("description"):
        person["biographies"] = [{"value": contact["description"]}]
    if contact.get("address"):
        person["addresses"] = [{"formattedValue": contact["address"]}]
    if contact.get("position"):
        person["organizations"] = [{"title": contact["position"]}]
    return person


async def _token(world: World, session: aiohttp.ClientSession, email: str) -> str:
    redirect = "http://127.0.0.1/none"
    query = {
        "client_id": "simulated-client",
        "redirect_uri": redirect,
        "response_type": "code",
        "scope": "openid email https://www.googleapis.com/auth/contacts",
        "access_type": "offline",
        "prompt": "consent select_account",
        "state": "floor",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    chooser = f"{world.sim}/o/oauth2/v2/auth"
    async with session.get(chooser, params=query) as answer:
        choice = choice_of(await answer.text(), email)
    async with session.get(urljoin(chooser, choice), allow_redirects=False) as answer:
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    form = {
        "code": code,
        "client_id": "simulated-client",
        "client_secret": "simulated-secret",
        "redirect_uri": redirect,
        "grant_type": "authorization_code",
        "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    }
    async with session.post(f"{world.sim}/token", data=form) as answer:
        granted = await answer.json()
        token: str = granted["access_token"]
        return token
