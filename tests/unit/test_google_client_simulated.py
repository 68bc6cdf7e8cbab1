"""The whole Google side (sign-in, grants, quota, client, mapping) against the simulated Google over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from contactsync import errors
from contactsync.google.client import GooglePeople
from contactsync.google.mapping import MY_CONTACTS, MappingConfig, build_create, build_update
from contactsync.google.oauth import GoogleEndpoints, OAuth, authorisation_url, identity_of
from contactsync.google.port import PersonUpdate
from contactsync.google.session import PeopleSession
from contactsync.runtime.grants import AccessTokens
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.quota import Clock, GoogleLimits, PlanfixLimits, Quotas
from contactsync.runtime.vault import Vault
from contactsync.simulators.faults import Fault, Faults
from contactsync.simulators.google import GoogleSimulator
from contactsync.simulators.google_options import GoogleOptions
from contactsync.simulators.http import Running, Simulators, serve
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Class, GooglePerson, Kept, Stamp

CLS = Class.CHANGE
CONFIG = MappingConfig("US", "acme")
EMAIL = "ada@company.test"


class World:
    def __init__(self, running: Running, google: GoogleSimulator, faults: Faults, oauth: OAuth) -> None:
        self.running = running
        self.google = google
        self.faults = faults
        self.oauth = oauth
        self.now = 1_800_000_000.0
        self.bus = MemoryBus(MemoryServer(lambda: self.now))
        self.tokens = AccessTokens(self.bus, Vault(["k"]), oauth, now=lambda: self.now)
        self.people: GooglePeople

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def sign_in(self, session: aiohttp.ClientSession) -> str:
        verifier, callback = "v" * 50, "http://127.0.0.1:1/cb"
        url = authorisation_url(
            self.oauth.endpoints, redirect_uri=callback, state="S", nonce="N", verifier=verifier, login_hint=EMAIL
        )
        async with session.get(url, allow_redirects=False) as response:
            query = parse_qs(urlsplit(response.headers["Location"]).query)
        assert query["state"] == ["S"]
        answer = await self.oauth.exchange(query["code"][0], verifier=verifier, redirect_uri=callback)
        who = identity_of(answer.claims, "cid")
        assert (who.email, who.email_verified, who.nonce) == (EMAIL, True, "N")
        assert (await self.oauth.userinfo(answer.access_token)).sub == who.sub
        await self.tokens.store_grant(who.sub, who.email, answer)
        return who.sub

    async def create(self, contact: int, fields: Contact, labels: tuple[str, ...] = ()) -> GooglePerson:
        stamp = Stamp(contact=contact, kept=Kept.OURS)
        body = build_create(fields, is_company=False, labels=labels, stamp=stamp, config=CONFIG)
        (person,) = await self.people.create_people([body], cls=CLS)
        return person

    async def listing(self, sync_token: str | None = None) -> tuple[list[GooglePerson], list[str], str]:
        people: list[GooglePerson] = []
        gone: list[str] = []
        page_token: str | None = None
        while True:
            page = await self.people.list_page(sync_token=sync_token, page_token=page_token, cls=CLS)
            assert page.unreadable == {}
            people += page.people
            gone += page.tombstones
            page_token = page.next_page
            if page_token is None:
                assert page.next_sync_token is not None
                return people, gone, page.next_sync_token


@pytest.fixture
async def world() -> AsyncIterator[World]:
    faults = Faults()
    now = [0.0]
    google = GoogleSimulator(lambda: now[0], GoogleOptions(list_lag_s=0.0), faults)
    google.add_account(EMAIL)
    async with (
        serve(Simulators(google=google, faults=faults)) as running,
        PeopleSession(total_s=5.0) as session,
        aiohttp.ClientSession() as plain,
    ):
        endpoints = GoogleEndpoints(
            running.people_url,
            running.auth_url,
            running.token_url,
            running.revoke_url,
            running.userinfo_url,
            "cid",
            "secret",
        )
        made = World(running, google, faults, OAuth(endpoints, plain))
        google.clock = google.oauth.clock = lambda: made.now
        clock = Clock(wall=lambda: made.now, monotonic=lambda: made.now, sleep=made.sleep)
        account = await made.sign_in(plain)
        quota = Quotas(made.bus, GoogleLimits(), PlanfixLimits(), clock=clock).google(account)
        made.people = GooglePeople(
            account,
            session=session,
            people_url=running.people_url,
            tokens=made.tokens,
            quota=quota,
            config=CONFIG,
        )
        yield made
    assert google.violations == []


def rich(number: int) -> Contact:
    return {
        "given": f"Ada {number}",
        "family": "Lovelace",
        "birthday": "--02-29",
        "gender": "female",
        "notes": "one\ntwo",
        "position": "Engineer",
        "company": "Engines Ltd",
        "address": "Main St 1, Springfield",
        "site": "ada.test",
        "telegram": "ada_l",
        "facebook": "https://facebook.com/ada",
        "emails": (Element(key=f"ada{number}@x.test", value=f"ada{number}@x.test"),),
        "phones": (Element(key=f"+1415555{number:04d}", value=f"+1415555{number:04d}", kind="mobile"),),
    }


def sub(person: GooglePerson, fields: Contact) -> dict[str, Any]:
    return {name: person.fields.get(name) for name in fields}


async def test_a_person_is_created_changed_without_loss_and_deleted(world: World) -> None:
    person = await world.create(7, rich(1))
    assert sub(person, rich(1)) == rich(1)
    assert person.stamps == (Stamp(contact=7, kept=Kept.OURS),)
    assert MY_CONTACTS in person.labels
    world.google.edit_person(EMAIL, person.resource, {"nicknames": [{"value": "Countess"}]})
    seen = (await world.people.get_people([person.resource], cls=CLS))[person.resource]
    assert seen is not None
    assert seen.etag != person.etag

    stale = build_update(person.raw, person.etag, person.resource, person.source_id, {"given": "Eve"}, config=CONFIG)
    with pytest.raises(errors.Stale):
        await world.people.update_people(stale.mask, [PersonUpdate(person.resource, stale.body)], cls=CLS)
    write = build_update(seen.raw, seen.etag, seen.resource, seen.source_id, {"given": "Eve"}, config=CONFIG)
    assert write.mask == ("names",)
    changed = await world.people.update_people(write.mask, [PersonUpdate(seen.resource, write.body)], cls=CLS)
    assert sub(changed[seen.resource], rich(1)) == {**rich(1), "given": "Eve"}

    await world.people.delete_person(person.resource, cls=CLS)
    await world.people.delete_person(person.resource, cls=CLS)
    assert await world.people.get_people([person.resource], cls=CLS) == {person.resource: None}


async def test_batches_are_listed_then_their_changes_then_their_end(world: World) -> None:
    label = await world.people.create_label("VIP", "77", cls=CLS)
    bodies = [
        build_create(
            rich(n), is_company=False, labels=[label.resource], stamp=Stamp(contact=n, kept=Kept.OURS), config=CONFIG
        )
        for n in range(1, 201)
    ]
    created = await world.people.create_people(bodies, cls=CLS)
    assert {stamp.contact for person in created for stamp in person.stamps} == set(range(1, 201))
    people, gone, token = await world.listing()
    assert {person.resource for person in people} == {person.resource for person in created}
    assert all(label.resource in person.labels for person in people)
    assert await world.listing(token) == ([], [], (await world.listing(token))[2])

    updates, masks = [], set()
    for person in people[:150]:
        write = build_update(
            person.raw, person.etag, person.resource, person.source_id, {"family": "Byron"},
            labels_off=[label.resource], config=CONFIG,
        )  # fmt: skip
        masks.add(write.mask)
        updates.append(PersonUpdate(person.resource, write.body))
    (mask,) = masks
    changed = await world.people.update_people(mask, updates, cls=CLS)
    assert {person.fields["family"] for person in changed.values()} == {"Byron"}
    await world.people.delete_person(people[199].resource, cls=CLS)
    delta, gone, _ = await world.listing(token)
    assert len(delta) == 150
    assert gone == [people[199].resource]
    asked = [person.resource for person in people]
    found = await world.people.get_people(asked, cls=CLS)
    assert [name for name, seen in found.items() if seen is None] == [people[199].resource]
    assert (await world.people.get_label(label.resource, cls=CLS)) is not None


async def test_one_poisoned_person_is_named_and_nothing_of_the_batch_is_written(world: World) -> None:
    first, second = await world.create(1, rich(1)), await world.create(2, rich(2))
    updates = []
    for person in (first, second):
        write = build_update(
            person.raw, person.etag, person.resource, person.source_id, {"given": "New"}, config=CONFIG
        )
        updates.append(PersonUpdate(person.resource, write.body))
    world.google.edit_person(EMAIL, second.resource, {"nicknames": [{"value": "x"}]})
    with pytest.raises(errors.Rejected) as caught:
        await world.people.update_people(("names",), updates, cls=CLS)
    assert caught.value.stale == {second.resource}
    assert set(caught.value.items) == {second.resource}
    now = await world.people.get_people([first.resource], cls=CLS)
    assert now[first.resource] is not None
    assert now[first.resource].fields["given"] == "Ada 1"  # type: ignore[union-attr]


async def test_without_answer_the_create_happened_and_is_found_by_its_stamp(world: World) -> None:
    world.faults.add(Fault(kind="lost_answer", path="createContact"))
    with pytest.raises(errors.OutcomeUnknown):
        await world.create(7, rich(1))
    (person,), _, _ = await world.listing()
    assert person.stamps[0].contact == 7


@pytest.mark.parametrize("kind", ["html", "truncate_body", "reset", "status"])
async def test_a_broken_listing_is_tried_again(world: World, kind: str) -> None:
    await world.create(1, rich(1))
    world.faults.add(Fault(kind=kind, path="connections"))
    with pytest.raises(errors.Unavailable):
        await world.listing()
    assert len((await world.listing())[0]) == 1


async def test_expired_tokens_of_both_kinds(world: World) -> None:
    _, _, token = await world.listing()
    world.google.expire_access_tokens(EMAIL)
    await world.listing(token)
    world.google.expire_sync_tokens(EMAIL)
    with pytest.raises(errors.TokenExpired):
        await world.listing(token)
    world.google.revoke_grant(EMAIL)
    with pytest.raises(errors.NotConnected):
        await world.listing()


async def test_a_long_job_stays_within_the_quota_without_a_single_429(world: World) -> None:
    began = world.now
    for number in range(70):
        await world.create(number + 1, {"given": f"P{number}"})
    assert world.google.counters()["refused"] == {}
    assert set(world.google.counters()["statuses"]) == {"200", "302"}
    assert 120 < world.now - began < 200


async def test_labels_keep_their_stamp_and_their_unique_name(world: World) -> None:
    vip = await world.people.create_label("VIP", "77", cls=CLS)
    with pytest.raises(errors.Exists):
        await world.people.create_label("VIP", "78", cls=CLS)
    renamed = await world.people.update_label(vip, name="Best", stamp=None, cls=CLS)
    assert (renamed.name, renamed.stamp) == ("Best", "77")
    person = await world.create(1, rich(1))
    assert await world.people.modify_members(vip.resource, [person.resource], [], cls=CLS) == {}
    assert [(label.name, label.stamp, label.members) for label in await world.people.list_labels(cls=CLS)] == [
        ("Best", "77", 1)
    ]
    world.google.delete_label(EMAIL, vip.resource)
    assert await world.people.get_label(vip.resource, cls=CLS) is None


async def test_a_batch_that_answers_item_by_item(world: World) -> None:
    world.google.set_options(atomic_batches=False)
    first, second = await world.create(1, rich(1)), await world.create(2, rich(2))
    updates = []
    for person in (first, second):
        write = build_update(
            person.raw, person.etag, person.resource, person.source_id, {"given": "New"}, config=CONFIG
        )
        updates.append(PersonUpdate(person.resource, write.body))
    world.google.edit_person(EMAIL, second.resource, {"nicknames": [{"value": "x"}]})
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await world.people.update_people(("names",), updates, cls=CLS)
    assert set(caught.value.done) == {first.resource}  # type: ignore[attr-defined]
    assert caught.value.stale == {second.resource}  # type: ignore[attr-defined]
