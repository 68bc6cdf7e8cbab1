"""`contactsync doctor`: looks at everything that the services depend on and says what to do about each failure.

It changes nothing: scopes are probed with requests that Planfix refuses for another reason when the scope is there,
and Google's token endpoint with a code that it never gave.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import anyio
import orjson

from contactsync.runtime.settings import Settings

WAIT_S: Final = 10.0
CLOCK_OFF_MAX_S: Final = 5.0
NATS_VERSION_MIN: Final = (2, 14)
_BYTES_MAX: Final = 1024 * 1024
_NO_SUCH_CONTACT: Final = 2**31 - 1


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "failed"
    NOT_REACHABLE = "not reachable"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    verdict: Verdict
    found: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        return {"check": self.name, "result": self.verdict.value, "found": self.found, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any
    heard_at: float


@dataclass(slots=True)
class _Dates:
    """Offsets of our clock by the Date headers that we saw (seconds, positive: we are ahead)."""

    offsets_s: list[float] = field(default_factory=list)

    def note(self, answer: Answer) -> None:
        try:
            stated = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return
        # The header has whole seconds: it may be up to one second old at no fault.
        offset_s = answer.heard_at - stated
        self.offsets_s.append(offset_s - min(max(offset_s, 0.0), 1.0))


async def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which they should be mended."""
    dates = _Dates()
    found = [_settings(settings), *await _nats(settings)]
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=WAIT_S), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        web = _Web(session, dates)
        found += await _planfix(settings, web)
        found += await _google(settings, web)
    return [*found, _clock(dates)]


def _settings(settings: Settings) -> Check:
    needed = ("planfix_url", "planfix_token", "google_client_id", "google_client_secret")
    missing = [f"CONTACTSYNC_{name.upper()}" for name in needed if not getattr(settings, name)]
    if missing:
        return Check("settings", Verdict.FAILED, f"not set: {', '.join(missing)}", "set them, e.g. in .env")
    if not settings.secret_keys:
        return Check("settings", Verdict.OK, "complete; SECRET_KEYS is made and kept by `up` under DATA_DIR")
    return Check("settings", Verdict.OK, "complete")


# ---- NATS


async def _nats(settings: Settings) -> list[Check]:
    from contactsync.cli import CONNECT_S, nats_url
    from contactsync.client import NotReachable
    from contactsync.runtime.bus import BusError, NotProvisioned
    from contactsync.runtime.nats_bus import connect
    from contactsync.runtime.provision import require_provisioned
    from contactsync.wiring import link_settings

    name = "NATS server"
    try:
        url = nats_url(settings)
    except NotReachable as error:
        return [Check(name, Verdict.NOT_REACHABLE, "address not known", str(error))]
    heard: list[str] = []
    checks: list[Check] = []
    with anyio.CancelScope(deadline=anyio.current_time() + CONNECT_S) as waiting:
        async with connect(
            link_settings(settings, url, "contactsync-doctor"), lambda _, text: heard.append(text)
        ) as bus:
            waiting.deadline = math.inf
            checks.append(nats_version(str(bus.link.client.connected_server_version)))
            try:
                await require_provisioned(bus.link)
                checks.append(Check("NATS streams", Verdict.OK, "provisioned"))
            except NotProvisioned:
                checks.append(Check("NATS streams", Verdict.FAILED, "missing", "run `contactsync provision`"))
            except BusError as error:
                reason = f"JetStream does not answer ({type(error).__name__})"
                advice = "start nats-server with JetStream (-js) and let this user use it"
                checks.append(Check("NATS streams", Verdict.NOT_REACHABLE, reason, advice))
    if waiting.cancelled_caught:
        why = heard[-1] if heard else "no answer"
        advice = "start the server, or set CONTACTSYNC_NATS_URL, NATS_CREDS and NATS_TLS_CA to where and what it is"
        return [Check(name, Verdict.NOT_REACHABLE, f"{url}: {why}", advice)]
    return checks


def nats_version(text: str) -> Check:
    """`text` holds the version somewhere, as `v2.15.1`."""
    found = re.search(r"(\d+)\.(\d+)(\.\d+)?", text)
    if found is None or (int(found[1]), int(found[2])) < NATS_VERSION_MIN:
        version = found[0] if found else "unknown"
        return Check("NATS server", Verdict.FAILED, f"version {version}", "upgrade nats-server to 2.14 or newer")
    return Check("NATS server", Verdict.OK, f"version {found[0]}")


# ---- HTTP


class NoAnswer(Exception):
    """No connection, or none in time; the text says which."""


class _Web:
    def __init__(self, session: aiohttp.ClientSession, dates: _Dates) -> None:
        self._session = session
        self._dates = dates

    async def ask(self, method: str, url: str, **options: Any) -> Answer:
        """One request without following redirects. Raises NoAnswer."""
        try:
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                body = await response.content.read(_BYTES_MAX)
                heard_at = time.time()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from error
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError:
            decoded = None
        answer = Answer(response.status, response.headers, body, decoded, heard_at)
        self._dates.note(answer)
        return answer


# ---- Planfix


async def _planfix(settings: Settings, web: _Web) -> list[Check]:
    if settings.planfix_url is None or settings.planfix_token is None:
        return [Check("Planfix", Verdict.SKIPPED, "not set up")]
    headers = {
        "Authorization": f"Bearer {settings.planfix_token.get_secret_value()}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }
    pace_s = 1.1 / settings.planfix_requests_per_second if settings.planfix_requests_per_second else 0.0

    async def ask(method: str, path: str, body: bytes | None = None) -> Answer:
        answer = await web.ask(method, f"{settings.planfix_url}{path}", headers=headers, data=body)
        await anyio.sleep(pace_s)
        return answer

    checks: list[Check] = []
    try:
        first = planfix_first(await ask("GET", "ping"))
        checks.append(first)
        if first.verdict is not Verdict.OK:
            return checks
        reading = await ask("POST", "contact/list", b'{"offset":0,"pageSize":1,"fields":"id"}')
        checks.append(planfix_scope("contact_readonly", reading, done=reading.status == 200))
        # What is not there and what is not JSON is refused for its own sake, if the scope is there.
        checks.append(planfix_scope("contact_update", await ask("POST", f"contact/{_NO_SUCH_CONTACT}", b"{}")))
        checks.append(planfix_scope("contact_add", await ask("POST", "contact/", b"{")))
        listed = await ask("POST", "contact/filters", b"{}")
        checks.append(planfix_filters(listed))
    except NoAnswer as error:
        advice = "check CONTACTSYNC_PLANFIX_URL, the network and the firewall"
        checks.append(Check("Planfix", Verdict.NOT_REACHABLE, f"no answer ({error})", advice))
    return checks


def planfix_first(answer: Answer) -> Check:
    """Is this a Planfix REST API, does it know the token, is the plan paid?"""
    if 300 <= answer.status < 400:
        target = urlsplit(answer.headers.get("Location", ""))
        where = f"{target.scheme}://{target.netloc}/rest/" if target.netloc else "the address that it names"
        advice = f"set CONTACTSYNC_PLANFIX_URL to {where} (requests with a token are not redirected)"
        return Check("Planfix", Verdict.FAILED, f"redirects (HTTP {answer.status})", advice)
    if not isinstance(answer.json, dict):
        kind = "a web page" if b"<html" in answer.body[:2000].lower() else "something that is not JSON"
        advice = "CONTACTSYNC_PLANFIX_URL must be the REST address, e.g. https://acme.planfix.com/rest/"
        return Check("Planfix", Verdict.FAILED, f"answers with {kind} (HTTP {answer.status})", advice)
    code = answer.json.get("code")
    if code in (10, 11, 20, 21, 24):
        advice = "the REST API needs a paid plan: look at the subscription in Planfix"
        return Check("Planfix", Verdict.FAILED, f"the plan does not allow the API (code {code})", advice)
    if answer.status == 401 or code in (1, 2, 16):
        advice = "make a token in Account management, API access, REST API and set CONTACTSYNC_PLANFIX_TOKEN"
        return Check("Planfix", Verdict.FAILED, f"does not accept the token (code {code})", advice)
    if answer.status == 429 or code == 22:
        advice = "wait, or lower CONTACTSYNC_PLANFIX_REQUESTS_PER_DAY: other integrations share the limit"
        return Check("Planfix", Verdict.FAILED, "the request limit is used up", advice)
    if answer.status >= 500:
        return Check("Planfix", Verdict.NOT_REACHABLE, f"HTTP {answer.status}", "try again later")
    if answer.status == 200 and answer.json.get("result") == "success":
        return Check("Planfix", Verdict.OK, "reachable, token accepted, plan allows the API")
    return Check("Planfix", Verdict.FAILED, f"HTTP {answer.status}, code {code}", "is this the REST address?")


def planfix_scope(scope: str, answer: Answer, *, done: bool | None = None) -> Check:
    """`done`: whether it worked; None where the probe is meant to be refused for another reason."""
    name = f"Planfix scope {scope}"
    code = answer.json.get("code") if isinstance(answer.json, dict) else None
    if code == 5 or answer.status == 405:
        return Check(name, Verdict.FAILED, "missing", f"allow {scope} for the token, or set no scopes at all")
    if answer.status >= 500 or answer.status == 429 or answer.json is None or done is False:
        return Check(name, Verdict.FAILED, f"could not be found out (HTTP {answer.status}, code {code})", "try again")
    return Check(name, Verdict.OK, "allowed")


def planfix_filters(answer: Answer) -> Check:
    filters = answer.json.get("filters") if isinstance(answer.json, dict) else None
    if not isinstance(filters, list):
        return Check(
            "Planfix filters", Verdict.FAILED, f"HTTP {answer.status}", "allow contact_readonly for the token"
        )
    owned = [one for one in filters if isinstance(one, dict) and one.get("owner")]
    if not owned:
        advice = "save a contact filter in Planfix and share it with the token's employee"
        return Check("Planfix filters", Verdict.FAILED, "none with an owner is visible", advice)
    return Check("Planfix filters", Verdict.OK, f"{len(owned)} with an owner are visible")


# ---- Google


async def _google(settings: Settings, web: _Web) -> list[Check]:
    client_id, secret = settings.google_client_id, settings.google_client_secret
    if client_id is None or secret is None:
        return [Check("Google", Verdict.SKIPPED, "not set up")]
    form = {
        "grant_type": "authorization_code",
        "code": "contactsync-doctor",
        "redirect_uri": f"{settings.public_url}oauth/google/callback",
        "client_id": client_id,
        "client_secret": secret.get_secret_value(),
    }
    try:
        token = google_client(await web.ask("POST", settings.google_token_url, data=form), settings.public_url)
    except NoAnswer as error:
        advice = "check the network and the firewall, and CONTACTSYNC_GOOGLE_TOKEN_URL if it is set"
        return [Check("Google", Verdict.NOT_REACHABLE, f"no answer ({error})", advice)]
    try:
        answer = await web.ask("GET", f"{settings.google_people_url}v1/people/me?personFields=names")
    except NoAnswer as error:
        advice = "check the network and the firewall, and CONTACTSYNC_GOOGLE_PEOPLE_URL if it is set"
        return [token, Check("Google People API", Verdict.NOT_REACHABLE, f"no answer ({error})", advice)]
    if answer.status in (401, 403) and isinstance(answer.json, dict):
        return [token, Check("Google People API", Verdict.OK, "reachable")]
    advice = "CONTACTSYNC_GOOGLE_PEOPLE_URL must be the root, e.g. https://people.googleapis.com/"
    return [token, Check("Google People API", Verdict.FAILED, f"HTTP {answer.status} without a token", advice)]


def google_client(answer: Answer, public_url: str) -> Check:
    """A code that Google never gave must be the only thing that it minds."""
    name = "Google client"
    match answer.json.get("error") if isinstance(answer.json, dict) else None:
        case "invalid_grant":
            return Check(name, Verdict.OK, "id and secret are accepted")
        case "invalid_client" | "unauthorized_client":
            advice = "copy CONTACTSYNC_GOOGLE_CLIENT_ID and _CLIENT_SECRET again from the Google Cloud console"
            return Check(name, Verdict.FAILED, "id or secret is wrong", advice)
        case "redirect_uri_mismatch":
            advice = f"add {public_url}oauth/google/callback to the client's redirect addresses"
            return Check(name, Verdict.FAILED, "the redirect address is not registered", advice)
        case str(other):
            return Check(name, Verdict.FAILED, f"answers {other}", "check the client in the Google Cloud console")
        case _:
            advice = "CONTACTSYNC_GOOGLE_TOKEN_URL must be an OAuth token endpoint"
            return Check(name, Verdict.FAILED, f"HTTP {answer.status}, not an OAuth answer", advice)


def _clock(dates: _Dates) -> Check:
    if not dates.offsets_s:
        return Check("clock", Verdict.SKIPPED, "nobody answered who could tell the time")
    off_s = sorted(dates.offsets_s)[len(dates.offsets_s) // 2]
    if abs(off_s) > CLOCK_OFF_MAX_S:
        direction = "ahead" if off_s > 0 else "behind"
        advice = "switch time synchronisation on (e.g. systemd-timesyncd or chrony)"
        return Check("clock", Verdict.FAILED, f"{abs(off_s):.0f} s {direction}", advice)
    return Check("clock", Verdict.OK, f"within {CLOCK_OFF_MAX_S:.0f} s")
