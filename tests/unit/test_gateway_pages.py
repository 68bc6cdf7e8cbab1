"""Pages, headers, webhooks and queries of the gateway."""

from __future__ import annotations

import anyio
import orjson
import pytest

from contactsync.gateway.problems import Problem
from contactsync.gateway.texts import PROBLEMS, STATES, WORDS, language_of
from contactsync.gateway.webhooks import contact_in
from contactsync.runtime.bus import Refused
from contactsync_contracts import subjects
from contactsync_contracts.messages import FilterState, LookPlanfix
from gateway_world import OWNER_EMAIL, WEBHOOK_SECRET, World, status, world


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("en-US,en;q=0.9,ru;q=0.8", "en"),
        ("de-DE,ru;q=0.4,en;q=0.3", "ru"),
        ("fr, *;q=0.5", "en"),
        ("ru;q=nonsense", "en"),
    ],
)
def test_pages_speak_the_language_that_the_reader_prefers(header: str, language: str) -> None:
    assert language_of(header) == language


def test_every_problem_and_state_has_words_in_both_languages() -> None:
    for problem in Problem:
        assert set(PROBLEMS[problem]) == {"en", "ru"}
        assert 400 <= problem.status < 600
    assert set(STATES["en"]) == set(STATES["ru"]) == set(FilterState)
    assert set(WORDS["en"]) == set(WORDS["ru"])


@pytest.mark.parametrize("path", ["", "filters/77", "activate/x", "nothing/here", "static/style.css", "healthz"])
async def test_every_answer_carries_the_security_headers(path: str) -> None:
    async with world() as here, here.browser() as browser:
        answer = await browser.get(here.root + path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in answer.text


async def test_a_russian_reader_gets_russian_pages() -> None:
    async with world() as here, here.browser() as browser:
        answer = await browser.get(f"{here.root}activate/x", Accept_Language="ru")
        assert "Ссылка повреждена" in answer.text


async def test_a_stranger_is_asked_to_sign_in_and_learns_nothing() -> None:
    async with world() as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        answer = await browser.get(f"{here.root}filters/{here.filter_id}")
        assert answer.status == 200
        assert "Sign in with Google" in answer.text
        assert answer.text.replace(here.filter_id, "77") == (await browser.get(f"{here.root}filters/77")).text
        assert OWNER_EMAIL not in answer.text
        assert "Clients" not in answer.text


async def test_who_activated_a_filter_sees_its_details_but_not_another_filters() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        here.statuses["77"] = status(here, "secret@acme.example")
        mine = await browser.get(f"{here.root}filters/{here.filter_id}")
        assert OWNER_EMAIL in mine.text
        assert "5 created, 0 updated, 0 removed" in mine.text
        assert "secret@acme.example" not in (await browser.get(f"{here.root}filters/77")).text


async def test_a_filters_name_cannot_bring_markup_into_the_page() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL) | {"name": "<b id=evil>"}
        async with browser.session.get(f"{here.root}filters/{here.filter_id}") as response:
            assert "<b id=evil>" not in await response.text()


async def test_a_filter_that_is_not_synchronised_is_not_found() -> None:
    async with world() as here, here.browser() as browser:
        await browser.activate(await here.link())
        assert (await browser.get(f"{here.root}filters/77")).status == 404
        assert (await browser.get(f"{here.root}filters/_nothex")).status == 404


async def test_without_nats_pages_say_so_and_readiness_fails() -> None:
    async with world() as here, here.browser() as browser:
        here.server.disconnect()
        assert (await browser.get(f"{here.root}healthz")).status == 200
        assert (await browser.get(f"{here.root}readyz")).status == 503
        assert (await browser.get(here.signed(here.filter_id, here.owner))).status == 503
        here.server.reconnect()


async def test_cookies_are_for_this_browser_and_this_site_only() -> None:
    async with world() as here, here.browser() as browser:
        answer = await browser.get(await here.link())
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie


async def test_behind_https_cookies_are_secure_and_the_callback_is_the_public_one() -> None:
    async with world(public_url="https://sync.acme.example/contactsync/") as here, here.browser() as browser:
        here_locally = f"http://{here.local}/contactsync/"
        answer = await browser.get(here.signed(here.filter_id, here.owner).replace(here.root, here_locally))
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "Path=/contactsync/" in answer.headers["Set-Cookie"]
        assert "sync.acme.example%2Fcontactsync%2Foauth%2Fgoogle%2Fcallback" in answer.headers["Location"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]


# ---- webhooks


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({"id": 12}, 12),
        ({"id": "12"}, 12),
        ({"contact": "contact:12"}, 12),
        ({"contact_id": 12, "event": "changed"}, 12),
        ({"contact": {"id": "contact:12"}}, 12),
        ({"data": {"contact_id": 12}}, 12),
        ({"a": {"b": {"id": 12}}}, None),
        ({"id": "task:12"}, None),
        ({"id": True}, None),
        ({"id": 0}, None),
        ({"id": -3}, None),
        ({"id": "9" * 40}, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_the_contact_number_of_a_webhook(body: object, number: int | None) -> None:
    assert contact_in(body) == number


async def hooked(here: World, body: object, *, secret: str = WEBHOOK_SECRET, form: bool = False) -> int:
    async with here.browser() as browser:
        data = body if form else orjson.dumps(body)
        async with browser.session.post(f"{here.root}webhooks/planfix/{secret}", data=data) as response:
            return response.status


async def looks(here: World, count: int) -> list[LookPlanfix]:
    with anyio.fail_after(3):
        while len(found := here.sent("LOOK")) < count:  # noqa: ASYNC110 - the bus in memory tells nobody
            await anyio.sleep(0.02)
    return [LookPlanfix.model_validate(one) for one in found]


async def test_many_webhooks_become_one_look() -> None:
    async with world() as here:
        for number in (12, 13, 12):
            assert await hooked(here, {"id": number}) == 200
        assert await hooked(here, {"contact": "contact:14"}, form=True) == 200
        (look,) = await looks(here, 1)
        assert look.contacts == (12, 13, 14)
        assert (look.what, look.cls, look.filter_id) == ("contacts", "human", "")
        assert look.not_before == here.clock.now_s


async def test_a_look_names_at_most_a_hundred_contacts() -> None:
    async with world() as here:
        for number in range(1, 131):
            assert await hooked(here, {"id": number}) == 200
        found = await looks(here, 2)
        assert sorted(number for look in found for number in look.contacts) == list(range(1, 131))
        assert max(len(look.contacts) for look in found) <= 100


async def test_a_webhook_without_the_secret_does_not_exist() -> None:
    async with world() as here:
        assert await hooked(here, {"id": 12}, secret="guess") == 404
    async with world(webhook_secret="") as here:
        assert await hooked(here, {"id": 12}, secret="") == 404
        assert await hooked(here, {"id": 12}, secret="anything") == 404


async def test_a_webhook_that_says_nothing_is_answered_and_forgotten() -> None:
    async with world() as here:
        assert await hooked(here, {"hello": "world"}) == 200
        assert await hooked(here, {"id": 1, "padding": "x" * 70_000}) == 413
        await anyio.sleep(0.4)
        assert here.sent("LOOK") == []


async def test_webhooks_wait_for_nats() -> None:
    async with world() as here:
        here.server.disconnect()
        assert await hooked(here, {"id": 12}) == 200
        await anyio.sleep(0.4)
        here.server.reconnect()
        (look,) = await looks(here, 1)
        assert look.contacts == (12,)


# ---- queries


async def test_planfixs_filters_come_with_their_owners() -> None:
    async with world() as here:
        answer = orjson.loads(await here.bus.request(subjects.query("planfix_filters"), b"{}"))
        mine = next(one for one in answer["filters"] if one["filter_id"] == here.filter_id)
        assert (mine["name"], mine["owner"], mine["owner_active"]) == ("Clients", here.owner, True)
        assert mine["owner_name"]


@pytest.mark.parametrize("question", [b"{}", b"nonsense", b'{"filter_id": ""}', b'{"filter_id": "1", "user": 0}'])
async def test_a_question_that_does_not_fit_is_refused(question: bytes) -> None:
    async with world() as here:
        with pytest.raises(Refused) as refused:
            await here.bus.request(subjects.query("link"), question)
        assert refused.value.code == 400
