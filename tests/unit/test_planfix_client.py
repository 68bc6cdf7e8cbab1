"""The Planfix client against the simulated account, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contactsync.errors import AccessDenied, Gone, PlanNeeded, Rejected, Unavailable
from contactsync.planfix.client import NO_COMPANY, PlanfixRest
from contactsync.planfix.mapping import MappingConfig
from contactsync.planfix.port import PlanfixApi, Query
from contactsync.planfix.transport import Turns
from contactsync.planfix.walltime import WallClock
from contactsync.runtime.metrics import Metrics
from contactsync.simulators.wire import Request
from contactsync_contracts.contact import Element
from contactsync_contracts.markers import marker_of
from contactsync_contracts.messages import Class, NewContactDefaults
from simulated_planfix import Account

CLS = Class.CHANGE


class NoLimit:
    """A quota that gives every permit at once and writes down what it was told."""

    def __init__(self) -> None:
        self.limited: list[float] = []
        self.left: list[int] = []
        self.sent_count = 0

    async def acquire(self, _cls: Class) -> NoLimit:
        return self

    async def answered(self, _: object) -> None:

        pass

    async def told(self, left: int) -> None:
        self.left.append(left)

    async def penalise(self, pause_s: float) -> None:
        self.limited.append(pause_s)

    flight = ""

    def require(self) -> None:
        self.sent_count += 1


class Paced(NoLimit):
    """A quota that waits as it is told to."""

    def __init__(self, pace: Callable[[Class], Awaitable[None]]) -> None:
        super().__init__()
        self._pace = pace

    async def acquire(self, cls: Class) -> NoLimit:
        await self._pace(cls)
        return self


@asynccontextmanager
async def connected(account: Account, **options: Any) -> AsyncIterator[PlanfixRest]:
    async def answer(request: web.Request) -> web.Response:
        query = {key: request.query.getall(key) for key in request.query}
        headers = {key.lower(): value for key, value in request.headers.items()}
        told = account.planfix.handle(Request(request.method, request.path, query, headers, await request.read()))
        return web.Response(status=told.status, body=told.body, headers=dict(told.headers))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        given: dict[str, Any] = {
            "quota": NoLimit(),
            "config": MappingConfig(region="US"),
            "clock": account.clock,
        }
        async with PlanfixRest(
            str(server.make_url("/rest")), "simulated-planfix-token", **(given | options)
        ) as client:
            yield client


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
async def client(account: Account) -> AsyncIterator[PlanfixApi]:
    async with connected(account) as client:
        yield client


def minutes(account: Account, count: float) -> None:
    account.clock.now_s += 60 * count


# -- reading ---------------------------------------------------------------------------------------------------


async def test_a_page_has_contacts_their_markers_and_their_phones(account: Account, client: PlanfixApi) -> None:
    phones = [{"number": "+1 415 555 2671", "type": 2}]
    number = account.planfix.add_contact({"name": "Ann", "phones": phones, "sourceObjectId": "mark-1"})
    page = await client.list_contacts(Query(), cls=CLS)
    (contact,) = page.contacts
    assert (contact.contact, contact.fields["given"], page.count) == (number, "Ann", 1)
    assert contact.fields["phones"] == (Element(key="+14155552671", value="+14155552671", kind="work"),)
    assert page.markers == {number: "mark-1"}
    assert [item["number"] for item in page.phones[number]] == ["14155552671"]


async def test_a_contact_of_ours_says_which_person_it_was_made_from(account: Account, client: PlanfixApi) -> None:
    markers = ["", "0c091b1f-a735-44e9-a56c-43435e7a40b6", marker_of("101", "39e5")]
    made = [account.planfix.add_contact({"name": "Ann", "sourceObjectId": marker}) for marker in markers]
    page = await client.list_contacts(Query(), cls=CLS)
    assert {c.contact: c.made_from for c in page.contacts} == dict(zip(made, ["", "", "101:39e5"], strict=True))


async def test_ids_only_asks_for_no_fields(account: Account, client: PlanfixApi) -> None:
    account.planfix.add_contact({"name": "Ann"})
    page = await client.list_contacts(Query(), ids_only=True, cls=CLS)
    assert [contact.fields for contact in page.contacts] == [{}]


async def test_a_contact_in_the_trash_is_not_listed_as_a_contact() -> None:
    account = Account(list_trashed=True, get_trashed=True)
    kept, trashed = (account.planfix.add_contact({"name": name}) for name in ("Ann", "Bob"))
    account.planfix.trash_contact(trashed)
    async with connected(account) as client:
        for ids_only in (True, False):
            page = await client.list_contacts(Query(), ids_only=ids_only, cls=CLS)
            assert [contact.contact for contact in page.contacts] == [kept]
            assert (page.count, page.skipped) == (2, {trashed: "in the trash"})
        assert await client.get_contact(trashed, cls=CLS) is None
        assert await client.get_contact(999, cls=CLS) is None
        found = await client.get_contact(kept, cls=CLS)
        assert found is not None
        assert found.fields["given"] == "Ann"


async def test_filter_visibility_and_numbers_narrow_together(account: Account, client: PlanfixApi) -> None:
    one, two, three = (account.planfix.add_contact({"name": name}) for name in ("Ann", "Bob", "Cid"))
    owner = account.planfix.add_employee("Owner", email="o@example.com")
    chosen = account.planfix.add_filter("Chosen", owner, {"kind": "ids", "ids": []})
    account.planfix.set_filter_members(chosen, [one, two])
    account.planfix.set_visible(owner, None, True)
    account.planfix.set_visible(owner, [two], False)

    async def numbers(**query: Any) -> list[int]:
        page = await client.list_contacts(Query(**query), cls=CLS)
        return [contact.contact for contact in page.contacts]

    assert await numbers(filter_id=chosen) == [one, two]
    assert await numbers(filter_id=chosen, visible_to=owner) == [one]
    assert await numbers(filter_id=chosen, numbers=(two, three)) == [two]
    assert await numbers(numbers=()) == []
    assert [(f.name, f.owner) for f in await client.filters(cls=CLS) if f.filter_id == chosen] == [("Chosen", owner)]


async def test_addresses_are_found_whatever_their_spelling(account: Account, client: PlanfixApi) -> None:
    number = account.planfix.add_contact(
        {"name": "Ann", "email": "ann@x.org", "phones": [{"number": "8 964 375-24-16", "type": 1}]}
    )
    for query in (Query(email="ann@x.org"), Query(phone="+79643752416")):
        assert [one.contact for one in (await client.list_contacts(query, cls=CLS)).contacts] == [number]
    assert (await client.list_contacts(Query(phone="+79643752417"), cls=CLS)).count == 0


async def test_an_unknown_filter_is_gone(client: PlanfixApi) -> None:
    with pytest.raises(Gone):
        await client.list_contacts(Query(filter_id="99999"), cls=CLS)


async def test_inactive_employees_are_listed_too(account: Account, client: PlanfixApi) -> None:
    number = account.planfix.add_employee("Ann", email="ann@example.com")
    account.planfix.set_employee_status(number, "Inactive")
    found = {one.number: one for one in await client.employees(cls=CLS)}
    assert (found[number].email, found[number].active) == ("ann@example.com", False)
    assert found[account.planfix.robot].active


@pytest.mark.parametrize("timezone", ["Europe/Berlin", None])
@pytest.mark.parametrize("includes", [True, False])
async def test_nothing_changed_since_a_moment_is_missed(timezone: str | None, includes: bool) -> None:
    account = Account(gt_includes_start=includes)
    old = account.planfix.add_contact({"name": "Old"})
    minutes(account, 60 * 48)
    new = account.planfix.add_contact({"name": "New"})
    async with connected(account, timezone=timezone) as client:
        assert await client.delta_filter_works(cls=CLS)
        query = Query(modified_since=account.clock.now_s)
        minutes(account, 1)
        assert [one.contact for one in (await client.list_contacts(query, cls=CLS)).contacts] == [new]
        assert old != new


async def test_a_delta_filter_that_finds_nothing_at_all_does_not_work(client: PlanfixApi) -> None:
    assert not await client.delta_filter_works(cls=CLS)


# -- moments ---------------------------------------------------------------------------------------------------


def test_an_unknown_zone_is_taken_as_the_westernmost_and_then_learned() -> None:
    now = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
    walls = WallClock(None, now.timestamp)
    assert walls.minute(now.timestamp()) == "17-11-2026 23:58"
    walls.learn({"datetime": "2026-06-01T12:00Z", "dateTimeUtcSeconds": "2026-06-01T10:00:30+0000"})
    assert walls.minute(now.timestamp()) == "18-11-2026 12:58", "an old offset may be summer time: an hour off"
    walls.learn({"datetime": "2026-11-18T12:30Z", "dateTimeUtcSeconds": "2026-11-18T11:30:30+0000"})
    assert walls.minute(now.timestamp()) == "18-11-2026 12:58"
    walls.learn({"datetime": "2020-11-18T12:30Z", "dateTimeUtcSeconds": "2020-11-18T09:30:30+0000"})
    walls.learn({"datetime": "nonsense"})
    assert walls.minute(now.timestamp()) == "18-11-2026 12:58", "older time points teach nothing new"


def test_the_hour_that_comes_twice_is_read_from_its_beginning() -> None:
    walls = WallClock("Europe/Berlin", lambda: 0.0)
    first_pass = datetime(2026, 10, 25, 0, 32, tzinfo=UTC)
    assert walls.minute(first_pass.timestamp()) == "25-10-2026 01:30"
    assert walls.minute((first_pass + timedelta(hours=1)).timestamp()) == "25-10-2026 02:30"


# -- writing ---------------------------------------------------------------------------------------------------


async def test_an_update_is_silent_and_partial(account: Account, client: PlanfixApi) -> None:
    number = account.planfix.add_contact({"name": "Ann", "position": "boss"})
    written = await client.update_contact(number, {"family": "Bee"}, is_company=False, phones=(), cls=CLS)
    assert (written.sent, written.queued, dict(written.refused)) == (True, False, {})
    assert account.read(number, "name,lastname,position") == {"name": "Ann", "lastname": "Bee", "position": "boss"}
    assert account.planfix.journal[-1]["body"] == {"lastname": "Bee"}


@pytest.mark.parametrize("shape", ["list", "object"])
async def test_failures_of_single_fields_are_told_by_our_names(shape: str) -> None:
    account = Account(readonly_fields=frozenset({"birthDate"}), failures_shape=shape)
    number = account.planfix.add_contact({"name": "Ann"})
    async with connected(account) as client:
        written = await client.update_contact(
            number, {"birthday": "1990-01-02", "position": "p"}, is_company=False, phones=(), cls=CLS
        )
    assert list(written.failures) == ["birthDate"]
    assert list(written.refused) == ["birthday"]
    assert account.read(number, "position") == {"position": "p"}


async def test_an_update_that_waits_in_planfix_is_queued(account: Account, client: PlanfixApi) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    account.planfix.queue_next_updates(1)
    written = await client.update_contact(number, {"family": "B"}, is_company=False, phones=(), cls=CLS)
    assert written.queued


async def test_nothing_is_sent_when_everything_is_refused(account: Account, client: PlanfixApi) -> None:
    number = account.planfix.add_contact({"name": "Ann"})
    written = await client.update_contact(number, {"birthday": "--01-02"}, is_company=False, phones=(), cls=CLS)
    assert not written.sent
    assert account.planfix.journal == []


async def test_an_address_in_use_is_refused_by_its_field(account: Account, client: PlanfixApi) -> None:
    account.planfix.add_contact({"name": "Ann", "email": "a@x.org"})
    number = account.planfix.add_contact({"name": "Bob"})
    emails = (Element(key="a@x.org", value="a@x.org"),)
    with pytest.raises(Rejected) as caught:
        await client.update_contact(number, {"emails": emails}, is_company=False, phones=(), cls=CLS)
    assert list(caught.value.items) == ["emails"]
    with pytest.raises(Gone):
        await client.update_contact(999, {"family": "B"}, is_company=False, phones=(), cls=CLS)


async def test_a_company_is_linked_by_its_exact_name_and_further_ones_stay(
    account: Account, client: PlanfixApi
) -> None:
    first, acme, _longer, other = (
        account.planfix.add_contact({"name": name, "isCompany": True})
        for name in ("First", "Acme", "Acme Inc", "Other")
    )
    number = account.planfix.add_contact({"name": "Ann", "companies": [{"id": first}, {"id": other}]})
    assert await client.company_number("Acme", cls=CLS) == acme
    written = await client.update_contact(number, {"company": "Acme"}, is_company=False, phones=(), cls=CLS)
    assert dict(written.refused) == {}
    assert [one["id"] for one in account.read(number, "companies")["companies"]] == [acme, other]
    written = await client.update_contact(number, {"company": "Nobody"}, is_company=False, phones=(), cls=CLS)
    assert (written.sent, dict(written.refused)) == (False, {"company": NO_COMPANY})
    account.planfix.add_contact({"name": "Acme", "isCompany": True})
    assert await client.company_number("Acme", cls=CLS) is None


async def test_a_created_contact_has_marker_defaults_and_its_owner_as_supervisor(account: Account) -> None:
    owner = account.planfix.add_employee("Owner", email="o@example.com")
    group, stamp, colour = (
        account.planfix.add_group("G"),
        account.planfix.add_custom_field("Stamp"),
        account.planfix.add_custom_field("Colour"),
    )
    async with connected(account, stamp_field=stamp) as client:
        number = await client.create_contact(
            {"given": "Ann", "family": "", "emails": (Element(key="a@x.org", value="A@x.org"),)},
            is_company=False,
            owner=owner,
            defaults=NewContactDefaults(group=group, custom_fields={str(colour): "red"}),
            marker="mark-7",
            cls=CLS,
        )
        query = Query(created_since=account.clock.now_s)
        minutes(account, 1)
        page = await client.list_contacts(query, cls=CLS)
    assert page.markers == {number: "mark-7"}
    row = account.read(number, f"email,group,supervisors,{colour},{stamp}")
    assert (row["email"], row["group"]["id"]) == ("A@x.org", group)
    assert [user["id"] for user in row["supervisors"]["users"]] == [f"user:{owner}"]
    assert [one["value"] for one in row["customFieldData"]] == ["red", "mark-7"]


# -- who may ask, and how often --------------------------------------------------------------------------------


async def test_no_scope_no_plan_and_no_token_are_told_apart(account: Account) -> None:
    account.planfix.add_token("narrow", account.planfix.robot, ["contact_readonly"])
    async with connected(account) as client:
        await client.ping()
        number = account.planfix.add_contact({"name": "Ann"})
        account.planfix.set_plan("unpaid")
        with pytest.raises(PlanNeeded):
            await client.ping()
        account.planfix.set_plan("paid")
        account.planfix.store.tokens["simulated-planfix-token"].active = False
        with pytest.raises(AccessDenied, match="not active"):
            await client.update_contact(number, {"family": "B"}, is_company=False, phones=(), cls=CLS)


@pytest.mark.parametrize(("breach", "failures_as_200"), [("429", False), ("403", True)])
async def test_a_request_too_soon_is_told_to_the_quota(breach: str, failures_as_200: bool) -> None:
    account = Account(requests_per_second=1.0, rate_breach=breach, failures_as_200=failures_as_200)
    quota = NoLimit()
    metrics = Metrics()
    async with connected(account, quota=quota, metrics=metrics) as client:
        await client.ping()
        with pytest.raises(Unavailable) as caught:
            await client.ping()
    assert caught.value.bucket == "planfix"
    assert quota.limited == [caught.value.retry_after_s]
    assert 1 <= quota.limited[0] < 10
    assert (quota.sent_count, quota.left[0]) == (2, 19_999)
    count = metrics.registry.get_sample_value
    labels = {"api": "planfix", "method": "ping", "status": breach}
    assert count("contactsync_api_requests_total", labels) == 1.0


async def test_the_daily_limit_waits_for_the_end_of_the_day() -> None:
    account = Account(requests_per_day=1, remaining_refresh_s=0.0)
    async with connected(account) as client:
        await client.ping()
        with pytest.raises(Unavailable) as caught:
            await client.ping()
    assert caught.value.retry_after_s > 3600


async def test_a_redirect_is_not_followed_and_names_the_host() -> None:
    account = Account(redirect_to="https://crm.example.org/rest")
    async with connected(account) as client:
        with pytest.raises(AccessDenied, match=r"crm\.example\.org"):
            await client.ping()


async def test_a_humans_request_overtakes_one_that_waits_for_the_quota() -> None:
    order: list[Class] = []
    quota = anyio.Event()

    async def pace(cls: Class) -> None:
        if cls is not Class.HUMAN:
            await quota.wait()

    turns = Turns(Paced(pace))

    async def ask(cls: Class) -> None:
        async with turns.turn(cls):
            order.append(cls)
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for cls in (Class.BACKGROUND, Class.CHANGE, Class.BACKGROUND):
                group.start_soon(ask, cls)
                await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as humans:
                humans.start_soon(ask, Class.HUMAN)
                humans.start_soon(ask, Class.HUMAN)
            assert order == [Class.HUMAN, Class.HUMAN]
            quota.set()
    assert order[2:] == [Class.CHANGE, Class.BACKGROUND, Class.BACKGROUND]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_requests_than_agreed_are_under_way_at_once(at_once: int) -> None:
    async def pace(_cls: Class) -> None:
        await anyio.lowlevel.checkpoint()

    turns = Turns(Paced(pace), at_once)
    under_way = most = done = 0

    async def ask(cls: Class) -> None:
        nonlocal under_way, most, done
        async with turns.turn(cls):
            under_way += 1
            most = max(most, under_way)
            await anyio.wait_all_tasks_blocked()
            under_way -= 1
            done += 1

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(7):
                group.start_soon(ask, list(Class)[number % 3])
    assert (most, done) == (at_once, 7)


async def test_whoever_waits_for_the_quota_with_the_lowest_class_gives_way() -> None:
    paced: list[Class] = []
    quota = anyio.Event()

    async def pace(cls: Class) -> None:
        paced.append(cls)
        if cls is not Class.HUMAN:
            await quota.wait()

    turns = Turns(Paced(pace), 2)

    async def ask(cls: Class) -> None:
        async with turns.turn(cls):
            pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for cls in (Class.BACKGROUND, Class.CHANGE):
                group.start_soon(ask, cls)
                await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as humans:
                humans.start_soon(ask, Class.HUMAN)
            assert paced[:3] == [Class.BACKGROUND, Class.CHANGE, Class.HUMAN]
            await anyio.wait_all_tasks_blocked()
            assert paced[3:] == [Class.BACKGROUND]  # the change kept its place
            quota.set()


async def test_a_cancelled_request_gives_its_turn_back() -> None:
    async def pace(_cls: Class) -> None:
        await anyio.lowlevel.checkpoint()

    turns = Turns(Paced(pace))
    async with anyio.create_task_group() as group:

        async def hold() -> None:
            async with turns.turn(Class.CHANGE):
                await anyio.sleep_forever()

        group.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01):
            async with turns.turn(Class.HUMAN):
                pytest.fail("there is one turn only")
        group.cancel_scope.cancel()
    with anyio.fail_after(1):
        async with turns.turn(Class.BACKGROUND):
            pass
