"""The simulators behind a real server: cut connections, late answers, sequential mutations, control, sign-in."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import unescape
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import anyio
import orjson
import pytest

from contactsync.simulators.faults import Fault, Faults, faulty
from contactsync.simulators.google_errors import fbs_quota_body
from contactsync.simulators.http import Running, Simulators, serve
from contactsync.simulators.oauth import CONTACTS_SCOPE
from contactsync.simulators.wire import Request, Response
from simulated_google import EMAIL, MASK, Phone

VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://127.0.0.1:9/oauth/google/callback"
CONSENT = {
    "response_type": "code",
    "client_id": "client",
    "redirect_uri": REDIRECT,
    "scope": f"openid email {CONTACTS_SCOPE}",
    "state": "state 1",
    "nonce": "nonce-1",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "access_type": "offline",
    "prompt": "consent select_account",
}


class Echo:
    """A vendor that is not Google: answers with the path."""

    CONTROL = frozenset({"add_contact"})

    def handle(self, request: Request) -> Response:
        return Response(200, orjson.dumps({"path": request.path, "bytes": len(request.body)}))

    def add_contact(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"added": fields}


@dataclass
class World:
    phone: Phone
    running: Running
    session: aiohttp.ClientSession
    faults: Faults

    async def call(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.phone.token}"}
        url = self.running.url + path
        # A file, because aiohttp warns of more than a megabyte of bytes.
        data = None if body is None else BytesIO(orjson.dumps(body))
        async with self.session.request(method, url, data=data, params=query, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def control(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        async with self.session.request(method, f"{self.running.url}_control/{path}", json=body) as response:
            return response.status, orjson.loads(await response.read())

    async def token(self, **form: str) -> tuple[int, Any]:
        async with self.session.post(self.running.token_url, data={"client_id": "client", **form}) as response:
            return response.status, orjson.loads(await response.read())

    async def consent(self, **changes: str) -> tuple[int, dict[str, str], str]:
        """Status, what the redirect carries, and the page."""
        query = {name: value for name, value in (CONSENT | changes).items() if value}
        async with self.session.get(self.running.auth_url, params=query, allow_redirects=False) as response:
            location = response.headers.get("Location", "")
            carried = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
            return response.status, carried, await response.text()

    def people(self) -> int:
        return len(self.phone.google.dump()["people"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    phone = Phone()
    faults = phone.google.faults
    async with (
        serve(Simulators(google=phone.google, planfix=Echo(), faults=faults)) as running,
        aiohttp.ClientSession() as session,
    ):
        yield World(phone, running, session, faults)


PERSON = {"names": [{"givenName": "Ann"}]}


async def test_a_lost_answer_took_effect(world: World) -> None:
    world.faults.add(Fault(kind="lost_answer", path="createContact"))
    with pytest.raises(aiohttp.ClientError):
        await world.call("POST", "v1/people:createContact", PERSON)
    assert world.people() == 1


async def test_a_reset_did_not(world: World) -> None:
    world.faults.add(Fault(kind="reset", path="createContact"))
    with pytest.raises(aiohttp.ClientError):
        await world.call("POST", "v1/people:createContact", PERSON)
    assert world.people() == 0
    assert (await world.call("POST", "v1/people:createContact", PERSON))[0] == 200


async def test_an_error_before_and_after_the_effect(world: World) -> None:
    world.faults.add(Fault(kind="status", path="createContact", status=429, body=fbs_quota_body()))
    status, answer = await world.call("POST", "v1/people:createContact", PERSON)
    assert (status, answer["error"]["details"][0]["violations"][0]["subject"]) == (429, "QUOTA_EXCEEDED")
    assert world.people() == 0
    world.faults.add(Fault(kind="status_after", path="createContact", status=500, body="{}"))
    assert (await world.call("POST", "v1/people:createContact", PERSON))[0] == 500
    assert world.people() == 1


async def test_an_html_page_and_half_an_answer(world: World) -> None:
    for kind in ("html", "truncate_body"):
        world.faults.add(Fault(kind=kind, path="contactGroups"))
        with pytest.raises(orjson.JSONDecodeError):
            await world.call("GET", "v1/contactGroups")
    assert (await world.call("GET", "v1/contactGroups"))[0] == 200


async def test_a_fault_skips_counts_and_keeps_to_its_method(world: World) -> None:
    world.faults.add(Fault(kind="status", method="GET", path="^/v1/contactGroups$", skip=1, times=2))
    group = {"contactGroup": {"name": "Clients"}}
    assert (await world.call("POST", "v1/contactGroups", group))[0] == 200
    statuses = []
    for _ in range(4):
        async with world.session.get(world.running.url + "v1/contactGroups") as response:
            statuses.append(response.status)
    assert statuses == [401, 503, 503, 401]
    assert world.faults.counters() == {"status": 2}


async def test_a_late_answer_comes_late(world: World) -> None:
    world.faults.add(Fault(kind="delay", seconds=0.05, times=None))
    started = anyio.current_time()
    await world.call("GET", "v1/contactGroups")
    assert anyio.current_time() - started >= 0.05


def test_the_same_faults_in_process() -> None:
    faults = Faults()
    phone = Phone()
    handle = faulty(phone.google.handle, faults)
    request = Request("GET", "/v1/contactGroups", {}, {"authorization": f"Bearer {phone.token}"})
    for kind in ("reset", "lost_answer"):
        faults.add(Fault(kind=kind))
        with pytest.raises(ConnectionResetError):
            handle(request)
    assert phone.google.counters()["requests"] == {"contactGroups.list": 1}
    faults.add(Fault(kind="html"))
    assert handle(request).body.startswith(b"<!DOCTYPE")
    assert handle(request).status == 200


@pytest.mark.parametrize("arguments", [{"kind": "flood"}, {"kind": "reset", "path": "("}, {"kind": "reset", "x": 1}])
async def test_a_fault_that_makes_no_sense_is_refused(world: World, arguments: dict[str, Any]) -> None:
    status, answer = await world.control("faults/add_fault", arguments)
    assert (status, bool(answer["error"])) == (400, True)


@pytest.mark.parametrize(("option", "expected"), [("record", 200), ("503", 503), ("409", 409)])
async def test_two_mutations_at_once_are_noted(world: World, option: str, expected: int) -> None:
    await world.control("google/set_options", {"mutation_latency_s": 0.05, "concurrent_mutations": option})
    statuses: list[int] = []

    async def create() -> None:
        statuses.append((await world.call("POST", "v1/people:createContact", PERSON))[0])

    async with anyio.create_task_group() as group:
        group.start_soon(create)
        group.start_soon(create)
    assert sorted(statuses) == [200, expected]
    _, violations = await world.control("google/violations", method="GET")
    assert [each["kind"] for each in violations["result"]] == ["concurrent_mutations"]


async def test_mutations_one_after_another_are_fine(world: World) -> None:
    world.phone.google.options.mutation_latency_s = 0.01
    for _ in range(3):
        await world.call("POST", "v1/people:createContact", PERSON)
        await world.call("GET", "v1/people/me/connections", personFields=MASK)
    assert world.phone.google.violations == []


async def test_paths_go_to_their_vendor_and_big_bodies_arrive(world: World) -> None:
    async with world.session.post(
        world.running.planfix_url + "contact/list", data=BytesIO(b"x" * 3_000_000)
    ) as response:
        assert await response.json() == {"path": "/rest/contact/list", "bytes": 3_000_000}
    contacts = [{"contactPerson": {"biographies": [{"value": "x" * 12_000}]}} for _ in range(200)]
    status, _ = await world.call("POST", "v1/people:batchCreateContacts", {"contacts": contacts, "readMask": ""})
    assert (status, world.people()) == (200, 200)


async def test_people_act_through_the_control_endpoint(world: World) -> None:
    status, answer = await world.control("google/add_person", {"account": EMAIL, "person": PERSON})
    assert status == 200
    _, dump = await world.control("google/dump", method="GET")
    assert [each["resourceName"] for each in dump["result"]["people"]] == [answer["result"]]
    _, counters = await world.control("google/counters", method="GET")
    assert counters["result"]["mutations"] == 0
    assert (await world.control("planfix/add_contact", {"fields": {"name": "Ann"}}))[1] == {
        "result": {"added": {"name": "Ann"}}
    }


@pytest.mark.parametrize(
    "path", ["google/handle", "google/__init__", "planfix/handle", "nobody/dump", "google/nothing"]
)
async def test_nothing_else_is_reachable(world: World, path: str) -> None:
    assert (await world.control(path, {}))[0] == 404


async def test_what_people_cannot_do_is_a_400_with_the_reason(world: World) -> None:
    status, answer = await world.control("google/delete_person", {"account": EMAIL, "resource_name": "people/c1"})
    assert (status, answer["error"]) == (400, "there is no person people/c1")
    assert (await world.control("google/delete_person", {"person": 1}))[0] == 400


# -- sign-in -------------------------------------------------------------------------------------------------------


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


async def test_signing_in_from_the_page_to_a_refreshed_token(world: World) -> None:
    status, _, page = await world.consent()
    assert (status, f"Continue as {EMAIL}" in page) == (200, True)
    link = unescape(re.findall(r'class="select_account" href="([^"]+)"', page)[0])
    url = world.running.url.rstrip("/") + link
    async with world.session.get(url, allow_redirects=False) as response:
        assert response.status == 302
        carried = parse_qs(urlsplit(response.headers["Location"]).query)
    assert carried["state"] == ["state 1"]
    form = {"grant_type": "authorization_code", "code": carried["code"][0], "redirect_uri": REDIRECT}
    status, tokens = await world.token(**form, code_verifier=VERIFIER)
    assert (status, tokens["expires_in"], tokens["token_type"]) == (200, 3599, "Bearer")
    assert CONTACTS_SCOPE in tokens["scope"].split()
    claims = claims_of(tokens["id_token"])
    assert (claims["sub"], claims["email"], claims["email_verified"]) == (world.phone.sub, EMAIL, True)
    assert (claims["aud"], claims["nonce"], claims["iss"]) == ("client", "nonce-1", "https://accounts.google.com")
    assert claims["exp"] > world.phone.clock.now_s
    status, again = await world.token(**form, code_verifier=VERIFIER)
    assert (status, again["error"]) == (400, "invalid_grant")
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    status, refreshed = await world.token(**refresh)
    assert (status, "refresh_token" in refreshed, "id_token" in refreshed) == (200, False, False)
    headers = {"Authorization": f"Bearer {refreshed['access_token']}"}
    async with world.session.get(world.running.userinfo_url, headers=headers) as response:
        assert await response.json() == {"sub": world.phone.sub, "email": EMAIL, "email_verified": True}
    async with world.session.post(world.running.revoke_url, data={"token": tokens["refresh_token"]}) as response:
        assert response.status == 200
    assert (await world.token(**refresh))[1]["error"] == "invalid_grant"
    async with world.session.get(world.running.userinfo_url, headers=headers) as response:
        assert response.status == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": ""},
        {"state": ""},
        {"scope": ""},
        {"redirect_uri": "http://evil.example/callback"},
        {"response_type": "token"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"access_type": "always"},
        {"prompt": "sometimes"},
    ],
)
async def test_a_wrong_request_for_consent_is_not_redirected(world: World, changes: dict[str, str]) -> None:
    assert (await world.consent(login_hint=EMAIL, **changes))[0] == 400


async def test_only_the_registered_client_and_address_are_taken(world: World) -> None:
    options = world.phone.google.oauth.options
    options.client_id, options.client_secret, options.redirect_uris = "client", "secret", (REDIRECT,)
    assert (await world.consent(login_hint=EMAIL, redirect_uri="https://example.com/"))[0] == 400
    assert (await world.consent(login_hint=EMAIL, client_id="other"))[0] == 400
    _, carried, _ = await world.consent(login_hint=EMAIL)
    form = {"grant_type": "authorization_code", "code": carried["code"], "redirect_uri": REDIRECT}
    assert (await world.token(**form, code_verifier=VERIFIER))[1]["error"] == "invalid_client"
    status, _ = await world.token(**form, code_verifier=VERIFIER, client_secret="secret")
    assert status == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:9/other"}, "redirect_uri_mismatch"),
        ({"client_id": "other"}, "invalid_grant"),
    ],
)
async def test_a_code_is_worth_nothing_to_anybody_else(world: World, form: dict[str, str], error: str) -> None:
    _, carried, _ = await world.consent(login_hint=EMAIL)
    good = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    assert (await world.token(**(good | {"code": carried["code"]} | form)))[1]["error"] == error


async def test_a_person_may_deny_or_leave_out_the_contacts(world: World) -> None:
    status, carried, _ = await world.consent(decision="deny")
    assert (status, carried) == (302, {"state": "state 1", "error": "access_denied"})
    _, carried, _ = await world.consent(select_account=EMAIL, untick=CONTACTS_SCOPE)
    form = {"grant_type": "authorization_code", "code": carried["code"], "redirect_uri": REDIRECT}
    _, tokens = await world.token(**form, code_verifier=VERIFIER)
    assert CONTACTS_SCOPE not in tokens["scope"]
    world.phone.token = tokens["access_token"]
    assert (await world.call("GET", "v1/contactGroups"))[0] == 403


@pytest.mark.parametrize("changes", [{"access_type": "online"}, {"prompt": "select_account"}])
async def test_a_refresh_token_needs_offline_access_and_consent(world: World, changes: dict[str, str]) -> None:
    world.phone.google.set_account_chooser(EMAIL)
    _, carried, _ = await world.consent(**changes)
    form = {"grant_type": "authorization_code", "code": carried["code"], "redirect_uri": REDIRECT}
    status, tokens = await world.token(**form, code_verifier=VERIFIER)
    assert (status, "refresh_token" in tokens) == (200, False)


async def test_a_code_expires_and_a_revoked_account_does_not_refresh(world: World) -> None:
    _, carried, _ = await world.consent(login_hint=EMAIL)
    world.phone.clock.now_s += 600
    form = {"grant_type": "authorization_code", "code": carried["code"], "redirect_uri": REDIRECT}
    assert (await world.token(**form, code_verifier=VERIFIER))[1]["error"] == "invalid_grant"
    _, tokens = await world.control("google/issue_tokens", {"account": EMAIL})
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["result"]["refresh_token"]}
    assert (await world.token(**refresh))[0] == 200
    await world.control("google/revoke_grant", {"account": EMAIL})
    assert (await world.token(**refresh))[1]["error"] == "invalid_grant"
