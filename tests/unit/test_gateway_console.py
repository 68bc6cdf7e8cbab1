"""The console and the REST routes: who gets in, what they may do, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from yarl import URL

from contactsync.gateway.words import CONSOLE
from contactsync_contracts import rest
from gateway_world import OTHER_EMAIL, OWNER_EMAIL, Browser, World, secret_in, status, world

TOKEN = "operators-own-token"
SIGNED_IN = "contactsync_signed_in"


def contact(number: int = 12, **other: Any) -> dict[str, Any]:
    row = {"contact": number, "state": "in_sync", "reason": "", "notes": [], "person": "people/c1", "candidates": []}
    return row | {"name": "Ada Adams", "email": "ada@acme.example", "phone": "+15550100"} | other


def commands(here: World) -> list[dict[str, Any]]:
    """What was asked of filters' actors, activations apart; `type` is the message's."""
    messages = here.server.streams["FILTERS"].messages.values()
    return [
        {"type": one.headers["Contactsync-Type"], **orjson.loads(one.data)}
        for one in messages
        if one.headers["Contactsync-Type"] != "Enable.v1"
    ]


def cookie(browser: Browser) -> str:
    return next(one.value for one in browser.session.cookie_jar if one.key == SIGNED_IN)


async def owner_in(here: World, browser: Browser) -> str:
    """Signed in as the filter's owner; the secret of the forms."""
    here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
    return secret_in(await browser.sign_in(here.root, OWNER_EMAIL))


# ---- signing in


async def test_an_employee_signs_in_with_google_and_sees_the_filters_that_they_own() -> None:
    async with world() as here, here.browser() as browser:
        other = here.planfix.add_filter("Suppliers", here.stranger, {"kind": "ids", "ids": []})
        mine = await browser.sign_in(here.root, OWNER_EMAIL)
        assert mine.status == 200
        assert "Clients" in mine.text
        assert "Suppliers" not in mine.text
        assert (await browser.get(f"{here.root}filters/{other}")).status == 404


async def test_signing_in_leads_back_to_the_page_that_asked_for_it() -> None:
    async with world() as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        page = await browser.sign_in(here.root, OWNER_EMAIL, then=f"filters/{here.filter_id}")
        assert page.url.path == f"/filters/{here.filter_id}"


@pytest.mark.parametrize(
    "then", ["//evil.example/", "https://evil.example/", "/\\evil.example", "filters/../../x", "x:y"]
)
async def test_signing_in_leads_nowhere_else(then: str) -> None:
    async with world() as here, here.browser() as browser:
        page = await browser.sign_in(here.root, OWNER_EMAIL, then=then.replace("/", "%2F").replace("\\", "%5C"))
        assert str(page.url) == here.root


async def test_a_secondary_address_in_planfix_is_as_good() -> None:
    async with world() as here, here.browser() as browser:
        here.google.add_account("rita@mail.example", "1003")
        rita = here.planfix.add_employee("Rita", email="rita@acme.example", secondary_emails=["Rita@mail.example"])
        here.planfix.add_filter("Patients", rita, {"kind": "ids", "ids": []})
        assert "Patients" in (await browser.sign_in(here.root, "rita@mail.example")).text


async def test_who_has_left_signs_in_no_more_and_is_let_in_no_more() -> None:
    async with world() as here, here.browser() as browser, here.browser() as other:
        await owner_in(here, browser)
        here.planfix.store.employees[here.owner].status = "Inactive"
        here.clock.now_s += 61
        assert (await other.sign_in(here.root, OWNER_EMAIL)).status == 403
        assert "Clients" not in (await browser.get(here.root)).text
        assert (await browser.get(f"{here.root}filters/{here.filter_id}")).status == 404


async def test_an_address_that_planfix_does_not_know_opens_nothing() -> None:
    async with world() as here, here.browser() as browser:
        here.google.add_account("nobody@acme.example", "1003")
        answer = await browser.sign_in(here.root, "nobody@acme.example")
        assert answer.status == 403
        assert "knows nobody" in answer.text
        assert "Sign in" in (await browser.get(here.root)).text


async def test_an_address_of_two_employees_is_nobodys_proof() -> None:
    async with world() as here, here.browser() as browser:
        here.planfix.add_employee("Olga", lastname="Namesake", email=OWNER_EMAIL)
        assert (await browser.sign_in(here.root, OWNER_EMAIL)).status == 403


async def test_signing_in_asks_google_for_no_lasting_grant_and_no_contacts() -> None:
    async with world() as here, here.browser() as browser:
        answer = await browser.get(f"{here.root}login/google")
        address = answer.headers["Location"]
        assert "access_type=online" in address
        assert "auth%2Fcontacts" not in address


async def test_another_browser_cannot_end_a_sign_in() -> None:
    """Login forgery: a victim's browser is led to the callback of the attacker's sign-in."""
    async with world() as here, here.browser() as mine, here.browser() as victim:
        page = await mine.get(f"{here.root}login/google", follow=True)
        found = re.search(r'href="([^"]+)">Continue as ' + re.escape(OWNER_EMAIL) + "</a>", page.text)
        assert found is not None
        to_callback = await mine.get(str(page.url.join(URL(found[1], encoded=True))))
        answer = await victim.get(to_callback.headers["Location"])
        assert answer.status == 400
        assert not [one for one in victim.session.cookie_jar if one.key == SIGNED_IN]


async def test_a_state_of_a_sign_in_works_once() -> None:
    async with world() as here, here.browser() as browser:
        page = await browser.get(f"{here.root}login/google", follow=True)
        found = re.search(r'href="([^"]+)">Continue as ' + re.escape(OWNER_EMAIL) + "</a>", page.text)
        assert found is not None
        callback = (await browser.get(str(page.url.join(URL(found[1], encoded=True))))).headers["Location"]
        assert (await browser.get(callback)).status == 303
        assert (await browser.get(callback)).status == 400


async def test_every_way_in_gives_a_new_cookie() -> None:
    """Session fixation."""
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        chosen = "chosen-by-an-attacker-chosen-by-an-attacker"
        browser.session.cookie_jar.update_cookies({SIGNED_IN: chosen}, URL(here.root))
        assert cookie(browser) == chosen
        await browser.post(f"{here.root}login/operator", {"token": TOKEN})
        first = cookie(browser)
        assert first != chosen
        await browser.sign_in(here.root, OWNER_EMAIL)
        assert cookie(browser) != first


async def test_signing_out_ends_the_session_for_whoever_has_its_cookie() -> None:
    async with world() as here, here.browser() as browser, here.browser() as thief:
        secret = await owner_in(here, browser)
        thief.session.cookie_jar.update_cookies({SIGNED_IN: cookie(browser)}, URL(here.root))
        assert "Clients" in (await thief.get(here.root)).text
        await browser.post(f"{here.root}logout", {"csrf": secret})
        assert "Clients" not in (await thief.get(here.root)).text


async def test_a_session_is_over_after_half_a_day() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        here.clock.now_s += 12 * 3600 + 60
        assert "Clients" not in (await browser.get(here.root)).text


async def test_the_store_does_not_hold_what_signs_in() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        stored = repr([(key, record.value) for key, record in here.server.values.items()])
        assert cookie(browser) not in stored


async def test_the_operators_token_is_guessed_ten_times_a_minute_at_most() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        statuses = [
            (await browser.post(f"{here.root}login/operator", {"token": f"guess {n}"})).status for n in range(12)
        ]
        assert statuses == [403] * 10 + [429] * 2
        assert (await browser.post(f"{here.root}login/operator", {"token": TOKEN})).status == 429
        here.clock.now_s += 61
        assert (await browser.post(f"{here.root}login/operator", {"token": TOKEN})).status == 303


async def test_without_an_operators_token_an_empty_one_opens_nothing() -> None:
    async with world() as here, here.browser() as browser:
        assert (await browser.post(f"{here.root}login/operator", {"token": ""})).status == 403


async def test_a_link_opens_its_own_filter_only() -> None:
    async with world() as here, here.browser() as browser:
        other = here.planfix.add_filter("Private", here.owner, {"kind": "ids", "ids": []})
        await browser.activate(await here.link())
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        assert "Clients" in (await browser.get(f"{here.root}filters/{here.filter_id}")).text
        assert (await browser.get(f"{here.root}filters/{other}")).status == 404


# ---- what they may do


async def test_the_owner_gives_every_command_from_the_filters_page() -> None:
    async with world() as here, here.browser() as browser:
        secret = await owner_in(here, browser)
        page = f"{here.root}filters/{here.filter_id}"
        form = {"csrf": secret}
        for name, extra in {
            "sync": {},
            "pause": {},
            "resume": {},
            "settings": {"conflict": "google", "remove_least": "20", "remove_percent": "5"},
            "approve": {"hash": "abc"},
            "decide": {"decision": "same", "contact": "12", "person": "people/c1"},
            "restore": {"contact": "12"},
            "disconnect": {"contacts": "keep"},
        }.items():
            answer = await browser.post(f"{page}/{name}", form | extra)
            assert answer.status == 303, (name, answer.text)
        given = {one["type"].removesuffix(".v1"): one for one in commands(here)}
        names = {"SyncRequest", "Pause", "Resume", "ChangeSettings", "Approve", "Decide", "Restore", "Disconnect"}
        assert set(given) == names
        assert given["ChangeSettings"]["two_way"] is False
        assert given["ChangeSettings"]["breakers"]["remove"] == {"least": 20, "percent": 5.0}
        assert given["Decide"]["person"] == "people/c1"


@pytest.mark.parametrize(
    "name", ["sync", "pause", "resume", "settings", "approve", "decide", "restore", "undo", "disconnect", "activate"]
)
async def test_another_employees_filter_is_untouchable(name: str) -> None:
    async with world() as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        secret = secret_in(await browser.sign_in(here.root, OTHER_EMAIL))
        form = {
            "csrf": secret,
            "contact": "12",
            "hash": "a",
            "decision": "new",
            "entry": "12.1",
            "contacts": "remove",
        }
        answer = await browser.post(f"{here.root}filters/{here.filter_id}/{name}", form)
        assert answer.status in (403, 404)
        assert commands(here) == []


@pytest.mark.parametrize("path", ["", "/contacts", "/contacts/12", "/plans", "/disconnect", "/live"])
async def test_another_employees_pages_do_not_exist(path: str) -> None:
    async with world() as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        here.contacts.append(contact())
        await browser.sign_in(here.root, OTHER_EMAIL)
        answer = await browser.get(f"{here.root}filters/{here.filter_id}{path}")
        assert answer.status == 404
        assert "Ada" not in answer.text


async def test_who_owned_a_filter_until_a_minute_ago_owns_it_no_more() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        assert (await browser.get(f"{here.root}filters/{here.filter_id}")).status == 200
        here.planfix.set_filter_owner(here.filter_id, here.stranger)
        here.clock.now_s += 61
        assert (await browser.get(f"{here.root}filters/{here.filter_id}")).status == 404


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"csrf": "guess"}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "right"}, {"Sec_Fetch_Site": "cross-site"}),
        ({"csrf": "right"}, {"Sec_Fetch_Site": "same-site"}),
        ({"csrf": "right"}, {"Origin": "https://evil.example"}),
    ],
)
async def test_a_form_of_another_site_changes_nothing(form: dict[str, str], headers: dict[str, str]) -> None:
    async with world() as here, here.browser() as browser:
        secret = await owner_in(here, browser)
        sent = {name: secret if value == "right" else value for name, value in form.items()}
        answer = await browser.post(f"{here.root}filters/{here.filter_id}/pause", sent, **headers)
        assert answer.status == 403
        assert commands(here) == []


async def test_reading_an_address_changes_nothing() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        for name in ("sync", "pause", "approve", "undo"):
            assert (await browser.get(f"{here.root}filters/{here.filter_id}/{name}")).status in (404, 405)
        assert commands(here) == []


async def test_a_reason_of_a_refusal_reaches_the_person() -> None:
    async with world() as here, here.browser() as browser:
        secret = await owner_in(here, browser)
        here.refused = "There is no such plan."
        answer = await browser.post(f"{here.root}filters/{here.filter_id}/approve", {"csrf": secret, "hash": "abc"})
        assert answer.status == 409
        assert "There is no such plan." in answer.text


@pytest.mark.parametrize("field", ["hash", "contact", "decision", "remove_least", "conflict"])
async def test_nonsense_in_a_form_is_named_and_does_nothing(field: str) -> None:
    async with world() as here, here.browser() as browser:
        secret = await owner_in(here, browser)
        name = {"hash": "approve", "contact": "restore", "decision": "decide"}.get(field, "settings")
        form = {"csrf": secret, field: "\r\nX-Evil: 1" * 20, "remove_percent": "x"}
        answer = await browser.post(f"{here.root}filters/{here.filter_id}/{name}", form)
        assert answer.status == 400
        assert "X-Evil" not in answer.headers
        assert commands(here) == []


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with world() as here, here.browser() as browser:
        secret = await owner_in(here, browser)
        answer = await browser.post(
            f"{here.root}filters/{here.filter_id}/approve", {"csrf": secret, "hash": "x" * 100_000}
        )
        assert answer.status == 413


@pytest.mark.parametrize("filter_id", ["..%2F..%2Fsystem", "a%00b", "*", "%3E", "x" * 5000, "_zz", "%0d%0aX: y"])
async def test_tricks_in_a_filters_name_find_nothing(filter_id: str) -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        async with browser.session.get(f"{here.root}filters/{filter_id}", allow_redirects=False) as answer:
            assert answer.status in (400, 404)


# ---- contacts


async def test_the_owner_searches_contacts_and_no_address_holds_the_words() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        here.contacts += [contact(), contact(13, state="held_back", reason="It has no name.", name="<i>Eve</i>")]
        page = f"{here.root}filters/{here.filter_id}/contacts"
        answer = await browser.post(page, {"q": "ada", "state": "in_sync", "after": "3"})
        assert answer.status == 200
        asked = here.questions[-1]
        assert (asked["search"], asked["state"], asked["after"], asked["names"]) == ("ada", "in_sync", 3, True)
        assert "It has no name." in answer.text
        assert not re.search(r'(href|action)="[^"]*ada', answer.text)
        async with browser.session.get(page) as raw:
            assert "<i>Eve" not in await raw.text()


async def test_a_contacts_page_shows_both_sides_and_its_history() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        here.contacts.append(contact())
        fields = {"given": ["Ada", "Adah"]}
        here.entries.append(
            {"id": f"{here.filter_id}:12.7", "contact": 12, "at": 1_795_000_000.0, "operation": "updated"}
            | {"side": "google", "cause": "edited in Planfix", "run": "r1", "fields": fields}
        )
        answer = await browser.get(f"{here.root}filters/{here.filter_id}/contacts/12")
        assert "Adah" in answer.text
        assert "edited in Planfix" in answer.text
        assert 'value="12.7"' in answer.text
        assert (await browser.get(f"{here.root}filters/{here.filter_id}/contacts/99")).status == 404


@pytest.mark.parametrize(("allowed", "expected"), [("false", 403), ("true", 200)])
async def test_the_operator_sees_contacts_only_where_the_setting_allows_it(allowed: str, expected: int) -> None:
    async with world(admin_token=TOKEN, operator_sees_contacts=allowed) as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        here.contacts.append(contact())
        await browser.post(f"{here.root}login/operator", {"token": TOKEN})
        page = f"{here.root}filters/{here.filter_id}"
        assert (await browser.get(page)).status == 200
        for path in ("/contacts", "/contacts/12"):
            answer = await browser.get(page + path)
            assert answer.status == expected
            assert ("Ada" in answer.text) == (expected == 200)


async def test_the_system_page_is_the_operators() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser, here.browser() as employee:
        await browser.post(f"{here.root}login/operator", {"token": TOKEN})
        assert "reconciler" in (await browser.get(f"{here.root}system")).text
        await employee.sign_in(here.root, OWNER_EMAIL)
        assert (await employee.get(f"{here.root}system")).status == 404


def test_both_languages_say_the_same_things() -> None:
    assert set(CONSOLE["en"]) == set(CONSOLE["ru"])
    for name, english in CONSOLE["en"].items():
        places = re.findall(r"{\w+}", english)
        assert sorted(places) == sorted(re.findall(r"{\w+}", CONSOLE["ru"][name])), name


# ---- REST


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_program_with_a_token_acts_as_its_maker_until_the_token_is_ended() -> None:
    async with world() as here, here.browser() as browser, here.browser() as program:
        secret = await owner_in(here, browser)
        api = f"{here.root}api/v1"
        async with browser.session.post(
            f"{api}/tokens", json={"name": "reports"}, headers={"X-CSRF-Token": secret}
        ) as answer:
            assert answer.status == 201
            made = await answer.json()
        headers = bearer(made["token"])
        async with program.session.get(f"{api}/filters", headers=headers) as answer:
            assert [one["filter_id"] for one in (await answer.json())["filters"]] == [here.filter_id]
        async with program.session.post(f"{api}/filters/{here.filter_id}/sync", headers=headers) as answer:
            assert answer.status == 202
            assert (await answer.json())["request_id"]
        assert made["token"] not in repr([one.value for one in here.server.values.values()])
        async with browser.session.delete(f"{api}/tokens/{made['id']}", headers={"X-CSRF-Token": secret}) as answer:
            assert answer.status == 204
        async with program.session.get(f"{api}/filters", headers=headers) as answer:
            assert answer.status == 401


async def test_without_a_sign_in_or_with_a_wrong_token_rest_answers_401_as_problem_json() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic eDp5"}, bearer("")):
            async with browser.session.get(f"{here.root}api/v1/filters", headers=headers) as answer:
                assert answer.status == 401
                assert answer.content_type == "application/problem+json"
                assert (await answer.json())["code"] == "not_signed_in"


async def test_rest_with_a_cookie_needs_the_forms_secret_for_everything_but_reading() -> None:
    async with world() as here, here.browser() as browser:
        await owner_in(here, browser)
        path = f"{here.root}api/v1/filters/{here.filter_id}"
        async with browser.session.get(path) as answer:
            assert answer.status == 200
        async with browser.session.post(f"{path}/pause") as answer:
            assert answer.status == 403
        assert commands(here) == []


async def test_settings_are_changed_only_by_who_knows_the_latest() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        path, headers = f"{here.root}api/v1/filters/{here.filter_id}/settings", bearer(TOKEN)
        async with browser.session.get(path, headers=headers) as answer:
            etag = answer.headers["ETag"]
        here.statuses[here.filter_id]["conflict"] = "planfix"
        change = {"conflict": "google"}
        async with browser.session.patch(path, json=change, headers=headers | {"If-Match": etag}) as answer:
            assert answer.status == 412
        async with browser.session.get(path, headers=headers) as answer:
            etag = answer.headers["ETag"]
        async with browser.session.patch(path, json=change, headers=headers | {"If-Match": etag}) as answer:
            assert answer.status == 200
        assert [one["conflict"] for one in commands(here)] == ["google"]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("patch", "settings", b'{"two_ways": true}', 400),
        ("patch", "settings", b'{"two_way": "perhaps"}', 400),
        ("patch", "settings", b"{", 400),
        ("post", "undo", b"{}", 400),
        ("post", "decide", b'{"decision": "maybe"}', 400),
        ("post", "contacts/search", b'{"search": "%s"}' % (b"x" * 300), 400),
        ("post", "contacts/search", b'{"limit": 100000}', 400),
        ("get", "contacts?after=x", b"", 400),
        ("get", "contacts?limit=0", b"", 400),
        ("get", "contacts?state=nonsense", b"", 400),
        ("get", "contacts/0", b"", 400),
        ("post", "restore", b'{"contact": 0}', 400),
    ],
)
async def test_a_request_that_does_not_fit_is_refused_by_name(
    method: str, path: str, body: bytes, expected: int
) -> None:
    async with world(admin_token=TOKEN, operator_sees_contacts="true") as here, here.browser() as browser:
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL)
        headers = bearer(TOKEN) | {"Content-Type": "application/json"}
        url = f"{here.root}api/v1/filters/{here.filter_id}/{path}"
        async with browser.session.request(method, url, data=body or None, headers=headers) as answer:
            assert answer.status == expected
            found = await answer.json()
            assert found["code"] == "bad_input"
            assert found["detail"]
        assert commands(here) == []


async def test_settings_that_were_never_chosen_are_null() -> None:
    """As the reconciler has them: found by schemathesis against the real one."""
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        own = {"conflict": "", "breakers": {}, "new_contact": {}}
        here.statuses[here.filter_id] = status(here, OWNER_EMAIL) | own
        path = f"{here.root}api/v1/filters/{here.filter_id}/settings"
        async with browser.session.get(path, headers=bearer(TOKEN)) as answer:
            assert answer.status == 200
            assert (await answer.json())["conflict"] is None


async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        seen = []
        for _ in range(610):
            async with browser.session.get(f"{here.root}api/v1/tokens", headers=bearer(TOKEN)) as answer:
                seen.append(answer.status)
        assert seen[599] == 200
        assert seen[600] == 429
        assert answer.headers["Retry-After"] == "60"


async def test_every_operation_of_the_document_is_served() -> None:
    async with world(admin_token=TOKEN) as here, here.browser() as browser:
        async with browser.session.get(f"{here.root}api/v1/openapi.json") as answer:
            document = orjson.loads(await answer.read())
        assert document == orjson.loads(orjson.dumps(rest.openapi()))
        for path, operations in document["paths"].items():
            for method in operations:
                url = here.root.rstrip("/") + re.sub(r"{\w+}", "1", path)
                async with browser.session.request(method, url) as answer:
                    assert answer.status == 401, (method, path)
