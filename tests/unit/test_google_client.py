"""The People API client against a server that answers what each test tells it to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contactsync import errors
from contactsync.google.client import FIELDS, GooglePeople
from contactsync.google.mapping import MappingConfig
from contactsync.google.port import PartlyDone, PersonUpdate
from contactsync.google.session import PeopleSession
from contactsync.runtime.pacing import GOOGLE_COSTS
from contactsync.runtime.quota import Clock, Place
from contactsync_contracts.messages import Class

CLS = Class.CHANGE
STALE = {"code": 400, "status": "FAILED_PRECONDITION",
         "message": "Request person.etag is different than the current person.etag. Clear local cache."}  # fmt: skip
EXPIRED = {"code": 400, "status": "FAILED_PRECONDITION",
           "message": "Sync token is expired. Clear local cache and retry call without the sync token."}  # fmt: skip


def person(number: int = 1, **more: Any) -> dict[str, Any]:
    source = {"type": "CONTACT", "id": f"{number:x}", "etag": f"#{number}", "updateTime": "2026-01-01T00:00:00Z"}
    return {"resourceName": f"people/c{number}", "etag": "%x", "metadata": {"sources": [source]}, **more}


def limited(metric: str, limit: str) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED",
            "metadata": {"quota_metric": f"people.googleapis.com/{metric}", "quota_limit": limit}}  # fmt: skip
    return {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded", "details": [info]}


class Vendor:
    """Answers from a script, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, dict[str, list[str]], Any, str]] = []
        self.drop = False
        self.hang = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        query = {key: request.query.getall(key) for key in request.query}
        token = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.path, query, json.loads(text) if text else None, token))
        if self.drop:
            assert request.transport is not None
            request.transport.abort()
        if self.hang:
            await anyio.sleep(5)
        status, body = self.script.pop(0)
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, content_type="text/html")
        return web.json_response({"error": body} if status >= 400 else body, status=status)


class TokensAndQuota:
    """Stands for `runtime/grants.py` and `runtime/quota.py`, which have tests of their own."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Class]] = []
        self.closed: list[tuple[tuple[str, ...], float]] = []
        self.dead = False
        self.wait_s = 0.0
        self.at_once = 0
        self.most_at_once = 0

    async def token(self, account: str) -> str:
        return f"{account}-1"

    async def refreshed(self, account: str, bad_token: str) -> str:
        if self.dead:
            raise errors.NotConnected("withdrawn")
        return bad_token + "-2"

    async def acquire(self, operation: str, cls: Class, *, leave_s: float = 1.0) -> Place:
        self.taken.append((operation, cls))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await anyio.sleep(self.wait_s)
        self.at_once -= 1
        return Place(Clock(), float("inf"))

    async def penalise(self, buckets: Sequence[str], pause_s: float) -> None:
        self.closed.append((tuple(buckets), pause_s))

    async def back_off(self) -> float:
        self.closed.append((("backend",), 600.0))
        return 600.0

    def metrics(self, operation: str) -> tuple[str, ...]:
        return tuple(name for name, cost in GOOGLE_COSTS[operation].items() if cost)


class World:
    def __init__(self, vendor: Vendor, people: GooglePeople, runtime: TokensAndQuota) -> None:
        self.vendor = vendor
        self.people = people
        self.runtime = runtime

    def answers(self, *script: tuple[int, Any]) -> None:
        self.vendor.script = list(script)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    vendor, runtime = Vendor(), TokensAndQuota()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", vendor.handle)
    async with TestServer(app) as server, PeopleSession(total_s=0.3) as session:
        people = GooglePeople(
            "acc",
            session=session,
            people_url=str(server.make_url("/")),
            tokens=runtime,
            quota=runtime,
            config=MappingConfig("US", "acme"),
        )
        yield World(vendor, people, runtime)


def update(number: int) -> PersonUpdate:
    return PersonUpdate(f"people/c{number}", {"names": [{"givenName": "A"}], "metadata": {"sources": []}})


READS: dict[str, Callable[[GooglePeople], Awaitable[Any]]] = {
    "list": lambda p: p.list_page(sync_token=None, page_token=None, cls=CLS),
    "get": lambda p: p.get_people(["people/c1"], cls=CLS),
    "labels": lambda p: p.list_labels(cls=CLS),
}
WRITES: dict[str, Callable[[GooglePeople], Awaitable[Any]]] = {
    "create": lambda p: p.create_people([{}], cls=CLS),
    "create batch": lambda p: p.create_people([{}, {}], cls=CLS),
    "update": lambda p: p.update_people(["names"], [update(1)], cls=CLS),
    "update batch": lambda p: p.update_people(["names"], [update(1), update(2)], cls=CLS),
    "delete": lambda p: p.delete_person("people/c1", cls=CLS),
    "create label": lambda p: p.create_label("L", "7", cls=CLS),
}
reads = pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
writes = pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())


async def test_a_listing_asks_for_contacts_only_and_for_a_sync_token(world: World) -> None:
    deleted = {"resourceName": "people/c9", "metadata": {"deleted": True, "sources": []}}
    strange = {"resourceName": "people/c8", "metadata": {"sources": []}}
    world.answers((200, {"connections": [person(1), deleted, strange], "nextPageToken": "P", "totalItems": 3}))
    page = await world.people.list_page(sync_token="S", page_token=None, cls=Class.BACKGROUND)
    assert [p.resource for p in page.people] == ["people/c1"]
    assert (page.tombstones, page.next_page, page.next_sync_token, page.total) == (("people/c9",), "P", None, 3)
    assert set(page.unreadable) == {"people/c8"}
    method, path, query, _, token = world.vendor.asked[0]
    assert (method, path, token) == ("GET", "/v1/people/me/connections", "Bearer acc-1")
    assert query == {
        "personFields": [FIELDS],
        "sources": ["READ_SOURCE_TYPE_CONTACT"],
        "pageSize": ["1000"],
        "requestSyncToken": ["true"],
        "syncToken": ["S"],
    }
    assert world.runtime.taken == [("list_people", Class.BACKGROUND)]


async def test_a_quiet_page_has_nobody(world: World) -> None:
    world.answers((200, {"nextSyncToken": "T"}))
    page = await world.people.list_page(sync_token="S", page_token=None, cls=CLS)
    assert (page.people, page.next_sync_token) == ((), "T")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, EXPIRED),
        (410, {"code": 410, "message": "gone"}),
        (400, {"code": 400, "status": "INVALID_ARGUMENT", "message": "Request contains an invalid argument."}),
        (400, {"code": 400, "message": "x", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "EXPIRED_SYNC_TOKEN"}]}),
    ],
)  # fmt: skip
async def test_a_token_that_is_no_good_starts_over(world: World, status: int, body: Any) -> None:
    world.answers((status, body))
    with pytest.raises(errors.TokenExpired):
        await world.people.list_page(sync_token="S", page_token=None, cls=CLS)


@reads
@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b'{"a": 1'), (200, b"[]"), (503, b"no"), (302, b"")]
)
async def test_a_read_with_a_broken_answer_may_be_tried_again(
    world: World, call: Any, status: int, body: Any
) -> None:
    world.answers((status, body))
    with pytest.raises(errors.Unavailable):
        await call(world.people)


@writes
@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b'{"a": 1'), (200, b"[]"), (500, b"no"), (503, {})]
)
async def test_a_write_with_a_broken_answer_has_an_unknown_outcome(
    world: World, call: Any, status: int, body: Any
) -> None:
    world.answers((status, body))
    with pytest.raises(errors.OutcomeUnknown):
        await call(world.people)


@pytest.mark.parametrize("fault", ["drop", "hang"])
async def test_a_lost_answer_is_unknown_for_writes_only_and_nothing_is_sent_twice(world: World, fault: str) -> None:
    setattr(world.vendor, fault, True)
    for call, kind in ((READS["get"], errors.Unavailable), (WRITES["delete"], errors.OutcomeUnknown)):
        world.vendor.asked.clear()
        with pytest.raises(kind):
            await call(world.people)
        assert len(world.vendor.asked) == 1


@writes
async def test_a_refused_connection_carried_no_write(call: Any) -> None:
    runtime = TokensAndQuota()
    async with PeopleSession() as session:
        people = GooglePeople("a", session=session, people_url="http://127.0.0.1:9/", tokens=runtime,
                              quota=runtime, config=MappingConfig("US", "acme"))  # fmt: skip
        with pytest.raises(errors.Unavailable):
            await call(people)


async def test_an_old_token_is_replaced_once(world: World) -> None:
    world.answers((401, {"code": 401}), (200, person(1)))
    assert (await world.people.get_people(["people/c1"], cls=CLS))["people/c1"] is not None
    assert [asked[4] for asked in world.vendor.asked] == ["Bearer acc-1", "Bearer acc-1-2"]
    assert len(world.runtime.taken) == 2
    world.answers((401, {}), (401, {}))
    with pytest.raises(errors.Unavailable):
        await world.people.get_people(["people/c1"], cls=CLS)


async def test_a_dead_grant_stops_the_call(world: World) -> None:
    world.runtime.dead = True
    world.answers((401, {}))
    with pytest.raises(errors.NotConnected):
        await world.people.delete_person("people/c1", cls=CLS)


async def test_one_person_is_looked_up_singly(world: World) -> None:
    world.answers((404, {"code": 404}), (200, person(5)))
    assert await world.people.get_people(["people/c1"], cls=CLS) == {"people/c1": None}
    found = (await world.people.get_people(["people/c4"], cls=CLS))["people/c4"]
    assert found is not None
    assert (found.resource, found.previous) == ("people/c5", ("people/c4",))


async def test_several_people_come_by_the_name_that_was_asked(world: World) -> None:
    responses = [
        {"requestedResourceName": "people/c2", "status": {"code": 5, "message": "not found"}},
        {"requestedResourceName": "people/c3", "httpStatusCode": 404},
        {"requestedResourceName": "people/c1", "person": person(7), "status": {}},
        {"requestedResourceName": "people/c4", "person": person(4, metadata={"sources": [{"type": "PROFILE"}]})},
    ]
    world.answers((200, {"responses": responses}))
    found = await world.people.get_people([f"people/c{n}" for n in (1, 2, 3, 4)], cls=CLS)
    assert found["people/c1"] is not None
    assert found["people/c1"].resource == "people/c7"
    assert [name for name, seen in found.items() if seen is None] == ["people/c2", "people/c3", "people/c4"]


async def test_a_person_that_an_answer_leaves_out_is_not_gone(world: World) -> None:
    world.answers((200, {"responses": [{"requestedResourceName": "people/c1", "person": person(1)}]}))
    with pytest.raises(errors.Unavailable):
        await world.people.get_people(["people/c1", "people/c2"], cls=CLS)


async def test_one_missing_person_does_not_hide_the_others(world: World) -> None:
    world.answers((404, {"code": 404}), (200, person(1)), (404, {"code": 404}))
    found = await world.people.get_people(["people/c1", "people/c2"], cls=CLS)
    assert [name for name, seen in found.items() if seen is None] == ["people/c2"]


async def test_a_batch_of_one_is_a_single_call(world: World) -> None:
    world.answers((200, person(1)), (200, person(3)))
    await world.people.create_people([{"names": []}], cls=CLS)
    changed = await world.people.update_people(["names", "urls"], [update(2)], cls=CLS)
    assert changed["people/c2"].previous == ("people/c2",)
    (create, patch) = world.vendor.asked
    assert create[:2] == ("POST", "/v1/people:createContact")
    assert patch[:2] == ("PATCH", "/v1/people/c2:updateContact")
    assert patch[2]["updatePersonFields"] == ["names,urls"]
    assert patch[3] == update(2).body


async def test_batches_name_mask_and_sources(world: World) -> None:
    world.answers(
        (200, {"createdPeople": [{"person": person(2)}, {"person": person(1), "status": {"code": 0}}]}),
        (200, {"updateResult": {f"people/c{n}": {"person": person(n), "httpStatusCode": 200} for n in (1, 2)}}),
    )
    assert len(await world.people.create_people([{"a": 1}, {"b": 2}], cls=CLS)) == 2
    assert set(await world.people.update_people(["names"], [update(1), update(2)], cls=CLS)) == {
        "people/c1",
        "people/c2",
    }
    create, change = (asked[3] for asked in world.vendor.asked)
    assert create == {
        "contacts": [{"contactPerson": {"a": 1}}, {"contactPerson": {"b": 2}}],
        "readMask": FIELDS,
        "sources": ["READ_SOURCE_TYPE_CONTACT"],
    }
    assert change["updateMask"] == "names"
    assert set(change["contacts"]) == {"people/c1", "people/c2"}
    assert [operation for operation, _ in world.runtime.taken] == ["create_people", "update_people"]


async def test_a_refused_batch_names_its_poisoned_and_stale_items(world: World) -> None:
    details = {
        "@type": "type.googleapis.com/google.people.v1.BatchUpdateContactsErrorDetails",
        "contactErrors": {
            "people/c1": {"code": 9, "message": STALE["message"]},
            "people/c2": {"code": 3, "message": "Invalid value 'ada@x.test'"},
        },
    }
    world.answers((400, {**STALE, "details": [details]}))
    with pytest.raises(errors.Rejected) as caught:
        await world.people.update_people(["names"], [update(n) for n in (1, 2, 3)], cls=CLS)
    assert set(caught.value.items) == {"people/c1", "people/c2"}
    assert caught.value.stale == {"people/c1"}
    assert "ada@" not in caught.value.items["people/c2"]


async def test_a_success_for_a_part_says_which(world: World) -> None:
    result = {
        "people/c1": {"person": person(1)},
        "people/c2": {"status": {"code": 9, "message": STALE["message"]}},
        "people/c3": {"httpStatusCode": 400},
    }
    world.answers(
        (200, {"updateResult": result}), (200, {"createdPeople": [{"person": person(1)}, {"status": {"code": 3}}]})
    )
    with pytest.raises(PartlyDone) as caught:
        await world.people.update_people(["names"], [update(n) for n in (1, 2, 3, 4)], cls=CLS)
    assert set(caught.value.done) == {"people/c1"}
    assert set(caught.value.items) == {"people/c2", "people/c3"}
    assert caught.value.stale == frozenset({"people/c2"})
    assert not caught.value.complete
    with pytest.raises(PartlyDone) as caught:
        await world.people.create_people([{}, {}], cls=CLS)
    assert caught.value.complete
    assert set(caught.value.done) == {"people/c1"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, STALE, errors.Stale),
        (412, {}, errors.Stale),
        (400, {"message": "Request person.metadata.sources.etag is different than the current"}, errors.Stale),
        (400, {"status": "INVALID_ARGUMENT", "message": "Cannot have more than one person.names"}, errors.Rejected),
        (404, {}, errors.Gone),
        (409, {"status": "ABORTED"}, errors.Unavailable),
        (403, {"status": "PERMISSION_DENIED", "message": "People API has not been used"}, errors.AccessDenied),
        (403, {"message": "Request had insufficient authentication scopes."}, errors.NotConnected),
        (429, {"message": "MY_CONTACTS_OVERFLOW_COUNT"}, errors.AccountFull),
        (400, {"message": "x: MY_CONTACTS_OVERFLOW_COUNT."}, errors.AccountFull),
        (500, {"status": "INTERNAL"}, errors.OutcomeUnknown),
    ],
)
async def test_a_refused_update_says_what_may_be_done(world: World, status: int, body: Any, kind: Any) -> None:
    world.answers((status, {"code": status, **body}))
    with pytest.raises(kind) as caught:
        await world.people.update_people(["names"], [update(1)], cls=CLS)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("body", "bucket", "closed"),
    [
        (limited("critical_read_requests", "CriticalReadsPerMinutePerProjectPerUser"), "critical_read",
         [(("critical_read",), 61.0)]),
        (limited("critical_write_requests", "CriticalWritesPerMinutePerProjectPerUser"), "critical_write",
         [(("critical_write",), 61.0)]),
        (limited("daily_contact_writes", "DailyContactWritesPerDayPerProjectPerUser"), "daily",
         [(("daily",), 3600.0)]),
        ({"code": 429, "message": "slow down"}, "critical_read", [(("critical_read", "critical_write"), 61.0)]),
        ({"code": 429, "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
            {"subject": "QUOTA_EXCEEDED", "description": "FBS quota limit exceeded"}]}]}, "backend",
         [(("backend",), 600.0)]),
    ],
)  # fmt: skip
async def test_a_429_closes_the_bucket_that_it_names(world: World, body: Any, bucket: str, closed: Any) -> None:
    world.answers((429, body))
    with pytest.raises(errors.Unavailable) as caught:
        await world.people.create_people([{}], cls=CLS)
    assert caught.value.bucket == bucket
    assert world.runtime.closed == closed
    assert caught.value.retry_after_s == closed[0][1]


async def test_too_many_first_pages_close_nothing_else(world: World) -> None:
    world.answers((429, {"code": 429, "status": "RESOURCE_EXHAUSTED"}))
    with pytest.raises(errors.Unavailable) as caught:
        await world.people.list_page(sync_token=None, page_token=None, cls=CLS)
    assert caught.value.bucket == "first_page"
    assert world.runtime.closed == []


async def test_deleting_what_is_gone_succeeds(world: World) -> None:
    world.answers((404, {"code": 404}), (200, {}))
    await world.people.delete_person("people/c1", cls=CLS)
    await world.people.delete_person("people/c1", cls=CLS)


async def test_labels_are_read_to_the_end_without_the_systems_own(world: World) -> None:
    stamped = {"resourceName": "contactGroups/1", "name": "VIP", "memberCount": 3, "groupType": "USER_CONTACT_GROUP",
               "etag": "e", "clientData": [{"key": "contactsync", "value": "acme/filter/7"}]}  # fmt: skip
    system = {"resourceName": "contactGroups/myContacts", "name": "myContacts", "groupType": "SYSTEM_CONTACT_GROUP"}
    foreign = {**stamped, "resourceName": "contactGroups/2",
               "clientData": [{"key": "contactsync", "value": "other/filter/7"}]}  # fmt: skip
    world.answers(
        (200, {"contactGroups": [stamped, system], "nextPageToken": "P"}), (200, {"contactGroups": [foreign]})
    )
    found = await world.people.list_labels(cls=CLS)
    assert [(label.resource, label.stamp, label.members) for label in found] == [
        ("contactGroups/1", "7", 3),
        ("contactGroups/2", None, 3),
    ]
    assert world.vendor.asked[1][2]["pageToken"] == ["P"]


SYSTEM = {"resourceName": "contactGroups/myContacts", "name": "myContacts", "groupType": "SYSTEM_CONTACT_GROUP"}


@pytest.mark.parametrize(
    "said", [[{"contactGroups": [SYSTEM], "totalItems": 2}], [{}, SYSTEM]], ids=["fewer than counted", "none at all"]
)
async def test_a_list_of_labels_without_its_end_is_not_believed(world: World, said: list[dict[str, Any]]) -> None:
    world.answers(*((200, body) for body in said))
    with pytest.raises(errors.Unavailable):
        await world.people.list_labels(cls=CLS)


async def test_an_account_without_any_group_has_no_labels(world: World) -> None:
    world.answers((200, {}), (404, {"code": 404}))
    assert await world.people.list_labels(cls=CLS) == []


async def test_a_label_is_stamped_and_other_stamps_stay(world: World) -> None:
    group = {"resourceName": "contactGroups/1", "name": "VIP", "etag": "e",
             "clientData": [{"key": "x", "value": "y"}]}  # fmt: skip
    world.answers((409, {"code": 409, "status": "ALREADY_EXISTS"}), (200, group), (200, group), (404, {"code": 404}))
    with pytest.raises(errors.Exists):
        await world.people.create_label("VIP", "7", cls=CLS)
    label = await world.people.get_label("contactGroups/1", cls=CLS)
    assert label is not None
    await world.people.update_label(label, name="VIP", stamp="7", cls=CLS)
    sent = world.vendor.asked[-1][3]
    assert sent["updateGroupFields"] == "clientData"
    assert sent["contactGroup"]["clientData"] == [
        {"key": "x", "value": "y"},
        {"key": "contactsync", "value": "acme/filter/7"},
    ]
    assert await world.people.update_label(label, name="VIP", stamp=None, cls=CLS) == label
    assert await world.people.get_label("contactGroups/9", cls=CLS) is None


async def test_members_that_could_not_be_changed_come_with_a_reason(world: World) -> None:
    world.answers(
        (200, {"notFoundResourceNames": ["people/c1"], "canNotRemoveLastContactGroupResourceNames": ["people/c2"]})
    )
    refused = await world.people.modify_members("contactGroups/1", ["people/c1"], ["people/c2"], cls=CLS)
    assert set(refused) == {"people/c1", "people/c2"}
    assert world.vendor.asked[0][1] == "/v1/contactGroups/1/members:modify"


async def test_a_name_that_would_be_another_address_is_refused(world: World) -> None:
    for name in ("people/../x", "people/c1?x=1", "people/c1#"):
        with pytest.raises(errors.Rejected):
            await world.people.delete_person(name, cls=CLS)
    assert world.vendor.asked == []


async def test_mutations_of_an_account_go_one_after_another(world: World) -> None:
    world.runtime.wait_s = 0.01
    world.answers(*[(200, {})] * 4)

    async def delete(number: int) -> None:
        await world.people.delete_person(f"people/c{number}", cls=CLS)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(delete, number)
    assert world.runtime.most_at_once == 1
    assert len(world.vendor.asked) == 4
