"""The composition root: the only place where real objects are made and handed to each other.

`parts_of` makes what the services of one process share, `SERVICES` runs one of them on it, `running` keeps several
going and stops them in order. `cli_run.py` and `demo.py` call it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import anyio

from contactsync.errors import VendorError
from contactsync.google import mapping as google_mapping
from contactsync.google.client import LIST_PARAMETERS_HASH, GooglePeople
from contactsync.google.oauth import GoogleEndpoints, OAuth
from contactsync.google.session import PeopleSession
from contactsync.hashing import Hasher
from contactsync.planfix.client import PlanfixRest
from contactsync.planfix.mapping import MappingConfig as PlanfixMapping
from contactsync.runtime import tenure
from contactsync.runtime.bus import Bus, BusError, NotProvisioned
from contactsync.runtime.grants import AccessTokens
from contactsync.runtime.logs import get_logger
from contactsync.runtime.metrics import Metrics, Shown
from contactsync.runtime.nats_link import LinkSettings
from contactsync.runtime.ownership import (
    GOOGLE_WATCHER,
    PLANFIX_WATCHER,
    RECONCILER,
    WRITER,
    Component,
    ComponentSpec,
    Handler,
)
from contactsync.runtime.pacing import DAILY
from contactsync.runtime.permissions import inbox_prefix
from contactsync.runtime.quota import Clock, GoogleLimits, PlanfixLimits, Quotas
from contactsync.runtime.settings import Settings, SettingsError
from contactsync.runtime.vault import Vault

if TYPE_CHECKING:
    from contactsync.reconciler.core.policy import Policy

NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "planfix-watcher": ("planfix_url", "planfix_token", "secret_keys"),
    "google-watcher": ("planfix_url", "google_client_id", "google_client_secret", "secret_keys"),
    "reconciler": ("secret_keys",),
    "writer": ("planfix_url", "planfix_token", "google_client_id", "google_client_secret", "secret_keys"),
    "gateway": ("planfix_url", "planfix_token", "google_client_id", "google_client_secret", "secret_keys"),
}
"""Service -> settings that it cannot work without. The Planfix address names the account in stamps."""

STOP_ORDER: Final = ("gateway", "planfix-watcher", "google-watcher", "reconciler", "writer")
"""Intake first, so that the rest can drain."""

SIMULATED_CLIENT: Final = "simulated-client"
SIMULATED_SECRET: Final = "simulated-secret"

PLANFIX_AT_ONCE: Final = 8
STOP_S: Final = 25.0
RETRY_MAX_S: Final = 30.0
DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Parts:
    """What the services of one process share. `time`: where it comes from. `layout`: what a component reads, where it
    is not everything. `elapsed`: as `tenure.elapsed`. `components`: the newest of each name. `not_ready`: service ->
    why it cannot work at the moment."""

    settings: Settings
    bus: Bus
    metrics: Metrics
    vault: Vault
    quotas: Quotas
    planfix: PlanfixRest | None
    oauth: OAuth | None
    tokens: AccessTokens | None
    people: Callable[[str], GooglePeople]
    time: Clock = field(default_factory=Clock)
    layout: Callable[[ComponentSpec], ComponentSpec] = lambda spec: spec
    elapsed: Callable[[], float] = tenure.elapsed
    components: dict[str, Component] = field(default_factory=dict)
    not_ready: dict[str, str] = field(default_factory=dict)

    @property
    def clock(self) -> Callable[[], float]:
        """Unix seconds."""
        return self.time.now

    async def hasher(self) -> Hasher:
        return Hasher(await self.vault.match_key(self.bus))

    def started(self, service: str) -> None:
        self.not_ready.pop(service, None)
        get_logger(service).info("started")

    def ready(self) -> str | None:
        """None when all services of the process can work, else why not."""
        if not self.bus.connected:
            return "NATS is not connected"
        troubles = {name: component.trouble for name, component in self.components.items()}
        return "; ".join(f"{name}: {why}" for name, why in (troubles | self.not_ready).items() if why) or None


Service = Callable[[Parts, anyio.Event], Awaitable[None]]
"""Works until the event is set, then finishes what it has begun."""


def link_settings(settings: Settings, url: str, name: str) -> LinkSettings:
    """NATS_CREDS is a file of credentials, or one that holds nothing but an NKEY seed. Raises SettingsError."""
    creds, seed = settings.nats_creds, None
    if creds is not None:
        try:
            text = creds.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"CONTACTSYNC_NATS_CREDS: {creds} cannot be read: {type(error).__name__}"
            raise SettingsError((problem,)) from error
        seed = text if text.startswith("SU") else None
    return LinkSettings(
        url,
        name=name,
        creds=str(creds) if creds and seed is None else None,
        nkey_seed=seed,
        tls_ca=str(settings.nats_tls_ca) if settings.nats_tls_ca else None,
        inbox_prefix=inbox_prefix(name),
    )


def google_endpoints(settings: Settings) -> GoogleEndpoints:
    """Raises SettingsError without a client."""
    client_id, client_secret = settings.google_client()
    return GoogleEndpoints(
        people_url=settings.google_people_url,
        auth_url=settings.google_auth_url,
        token_url=settings.google_token_url,
        revoke_url=settings.google_revoke_url,
        userinfo_url=settings.google_userinfo_url,
        client_id=client_id,
        client_secret=client_secret.get_secret_value(),
    )


def planfix_rest(settings: Settings, quotas: Quotas, metrics: Metrics, clock: Callable[[], float]) -> PlanfixRest:
    """Raises SettingsError without address and token."""
    url, token = settings.planfix_access()
    return PlanfixRest(
        url,
        token.get_secret_value(),
        quota=quotas.planfix(),
        config=PlanfixMapping(settings.default_region, tuple(settings.custom_fields)),
        timezone=settings.planfix_timezone,
        stamp_field=settings.planfix_stamp_field,
        metrics=metrics,
        clock=clock,
        at_once=planfix_at_once(settings),
    )


def planfix_at_once(settings: Settings) -> int:
    """One request at a time, unless the installation has no spacing between them."""
    return 1 if settings.planfix_requests_per_second else PLANFIX_AT_ONCE


def google_limits(settings: Settings) -> GoogleLimits:
    return GoogleLimits(
        critical_reads_per_minute=settings.google_critical_reads_per_minute,
        critical_writes_per_minute=settings.google_critical_writes_per_minute,
        writes_per_minute=settings.google_writes_per_minute,
        group_reads_per_minute=settings.google_group_reads_per_minute,
        daily_writes=settings.google_daily_writes,
    )


def planfix_limits(settings: Settings) -> PlanfixLimits:
    return PlanfixLimits(settings.planfix_requests_per_second, settings.planfix_requests_per_day)


def quotas_of(settings: Settings, bus: Bus, metrics: Metrics, clock: Clock) -> Quotas:
    return Quotas(
        bus,
        google_limits(settings),
        planfix_limits(settings),
        clock=clock,
        waited=lambda bucket, seconds: metrics.quota_wait_seconds.labels(bucket).inc(seconds),
    )


def google_mapping_of(settings: Settings) -> google_mapping.MappingConfig:
    return google_mapping.MappingConfig(
        settings.default_region, settings.planfix_account, dict(settings.custom_fields)
    )


@asynccontextmanager
async def parts_of(settings: Settings, bus: Bus, metrics: Metrics) -> AsyncIterator[Parts]:
    """Makes the clients that the settings allow; closes them at the end."""
    vault = Vault([key.get_secret_value() for key in settings.secret_keys])
    clock = Clock()
    metrics.clock_offset_seconds.set_function(lambda: clock.off_s)
    quotas = quotas_of(settings, bus, metrics, clock)
    async with AsyncExitStack() as stack:
        planfix = oauth = tokens = None
        if settings.planfix_url and settings.planfix_token:
            planfix = await stack.enter_async_context(planfix_rest(settings, quotas, metrics, clock.now))
        if settings.google_client_id and settings.google_client_secret:
            session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            oauth = OAuth(google_endpoints(settings), session)
            tokens = AccessTokens(bus, vault, oauth, now=clock.now)
        people_session = await stack.enter_async_context(PeopleSession())
        people: dict[str, GooglePeople] = {}

        def people_of(account: str) -> GooglePeople:
            """One client an account: it is what sends the account's mutations one after another."""
            assert tokens is not None, "the service asked for Google without a Google client"
            if account not in people:
                people[account] = GooglePeople(
                    account,
                    session=people_session,
                    people_url=settings.google_people_url,
                    tokens=tokens,
                    quota=quotas.google(account),
                    config=google_mapping_of(settings),
                    observe=lambda method, status, seconds: _observe(metrics, method, status, seconds),
                )
            return people[account]

        quota_left = Shown(metrics.quota_remaining)

        async def measure_quotas() -> None:
            quota_left.show({(bucket,): left for bucket, left in quotas.remaining().items()})

        with metrics.refreshed_by(measure_quotas):
            yield Parts(settings, bus, metrics, vault, quotas, planfix, oauth, tokens, people_of, clock)


def _observe(metrics: Metrics, method: str, status: str, seconds: float) -> None:
    metrics.api_requests.labels("google", method, status).inc()
    metrics.api_seconds.labels("google", method).observe(seconds)


# ---- services


def _component(parts: Parts, spec: ComponentSpec) -> Component:
    component = Component(
        parts.bus, parts.layout(spec), now=parts.clock, elapsed=parts.elapsed, metrics=parts.metrics
    )
    parts.metrics.actors.labels(spec.name).set_function(lambda: component.actors)
    parts.metrics.partitions.labels(spec.name).set_function(lambda: len(component.partitions))
    parts.components[spec.name] = component
    return component


async def _work(
    parts: Parts,
    component: Component,
    handler: Handler,
    stop: anyio.Event,
    measure: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the component; `measure` and its queue are asked for whenever somebody looks at the metrics."""

    async def measure_queue() -> None:
        parts.metrics.queue_lag.labels(component.spec.name).set(await component.waiting())

    with parts.metrics.refreshed_by(measure_queue, *([measure] if measure is not None else [])):
        parts.started(component.spec.name)
        await component.run(handler, stop=stop)


def _lag(parts: Parts, side: str, freshness: Callable[[], Mapping[str, float]]) -> Callable[[], Awaitable[None]]:
    """How old the newest complete look of a watcher is, for each filter; nothing for filters never looked at."""
    shown = Shown(parts.metrics.sync_lag_seconds)

    async def measure() -> None:
        now = parts.clock()
        shown.show({(name, side): max(0.0, now - at) for name, at in freshness().items() if at})

    return measure


def policy_of(settings: Settings) -> Policy:
    from contactsync.reconciler.core.policy import Limits, Policy

    return Policy(
        conflict=settings.conflict,
        limits=Limits(settings.breaker_remove, settings.breaker_update, settings.breaker_create),
        first_sync_waits=settings.first_sync == "approve",
    )


async def run_reconciler(parts: Parts, stop: anyio.Event) -> None:
    from contactsync.reconciler.service import Reconciler

    component = _component(parts, RECONCILER)
    service = Reconciler(
        parts.bus,
        component,
        await parts.hasher(),
        parts.settings.new_contact,
        now=parts.clock,
        metrics=parts.metrics,
        policy=policy_of(parts.settings),
        history_days=parts.settings.history_days,
        kept_links=parts.settings.idle_contacts_kept,
    )
    subscriptions = await service.serve()
    try:
        await _work(parts, component, service, stop, service.measure)
    finally:
        for subscription in subscriptions:
            await subscription.close()


async def run_google_watcher(parts: Parts, stop: anyio.Event) -> None:
    from contactsync.google_watcher.peek import GooglePeek
    from contactsync.google_watcher.service import GoogleWatcher

    component, hasher = _component(parts, GOOGLE_WATCHER), await parts.hasher()
    service = GoogleWatcher(
        parts.bus,
        component,
        parts.people,
        hasher,
        parameters=LIST_PARAMETERS_HASH,
        clock=parts.clock,
        poll_s=parts.settings.poll_google_seconds,
        kept_people=parts.settings.idle_contacts_kept,
    )
    subscriptions = await service.serve()
    subscriptions += await GooglePeek(parts.bus, parts.people, hasher, LIST_PARAMETERS_HASH).serve()
    try:
        await _work(parts, component, service, stop, _lag(parts, "google", service.freshness))
    finally:
        for subscription in subscriptions:
            await subscription.close()


async def run_gateway(parts: Parts, stop: anyio.Event) -> None:
    from contactsync.gateway.service import Gateway

    assert parts.planfix is not None
    assert parts.tokens is not None
    gateway = Gateway(
        bus=parts.bus,
        settings=parts.settings,
        planfix=parts.planfix,
        vault=parts.vault,
        grants=parts.tokens,
        oauth=parts.oauth,
        clock=parts.clock,
        metrics=parts.metrics,
        ready=parts.ready,
    )
    host, port = parts.settings.bind
    async with gateway.serving(host, port):
        parts.started("gateway")
        await stop.wait()


async def run_planfix_watcher(parts: Parts, stop: anyio.Event) -> None:
    from contactsync.planfix_watcher.peek import PlanfixPeek
    from contactsync.planfix_watcher.service import PlanfixWatcher

    assert parts.planfix is not None
    component = _component(parts, PLANFIX_WATCHER)
    service = PlanfixWatcher(
        parts.bus,
        component,
        parts.planfix,
        clock=parts.clock,
        poll_s=parts.settings.poll_planfix_seconds,
        full_scan_s=parts.settings.full_scan_seconds,
        remaining=lambda: _planfix_day(parts.quotas),
        at_once=planfix_at_once(parts.settings),
    )
    subscriptions = await PlanfixPeek(parts.bus, parts.planfix).serve()
    try:
        await _work(parts, component, service, stop, _lag(parts, "planfix", service.freshness))
    finally:
        for subscription in subscriptions:
            await subscription.close()


def _planfix_day(quotas: Quotas) -> tuple[int, float] | None:
    """Requests left and how long they must last."""
    left = quotas.planfix().remaining().get("planfix_day")
    return None if left is None else (left, DAY_S)


async def run_writer(parts: Parts, stop: anyio.Event) -> None:
    from contactsync.writer.google_target import GoogleRules
    from contactsync.writer.service import Writer

    assert parts.planfix is not None
    component = _component(parts, WRITER)

    assert parts.tokens is not None

    async def day_left(account: str) -> int | None:
        return parts.quotas.google(account).remaining().get(DAILY)

    service = Writer(
        parts.bus,
        component,
        planfix=parts.planfix,
        people=parts.people,
        config=google_mapping_of(parts.settings),
        rules=GoogleRules(lag_s=parts.settings.google_list_lag_seconds),
        day_left=day_left,
        clock=parts.clock,
        metrics=parts.metrics,
        release=parts.tokens.release,
        kept_people=parts.settings.idle_contacts_kept,
    )
    await _work(parts, component, service, stop)


SERVICES: Final[Mapping[str, Service]] = {
    "planfix-watcher": run_planfix_watcher,
    "writer": run_writer,
    "reconciler": run_reconciler,
    "google-watcher": run_google_watcher,
    "gateway": run_gateway,
}


# ---- simulated vendors


@asynccontextmanager
async def simulated(
    *, host: str, port: int, contacts: int, filters: int, seed: int, seeded: bool
) -> AsyncIterator[list[str]]:
    """Both simulators behind one server; yields lines for `.env`, comments about what is in there included.

    `seeded`: employees with a filter and a Google account each, and the contacts spread over the filters.
    """
    from contactsync.simulators.faults import Faults
    from contactsync.simulators.google import GoogleSimulator
    from contactsync.simulators.google_options import GoogleOptions
    from contactsync.simulators.http import Simulators, serve
    from contactsync.simulators.oauth import OAuthOptions, OAuthSimulator
    from contactsync.simulators.planfix import PlanfixSimulator
    from contactsync.simulators.planfix_options import PlanfixOptions

    faults = Faults()
    client = OAuthOptions(client_id=SIMULATED_CLIENT, client_secret=SIMULATED_SECRET, seed=seed)
    oauth = OAuthSimulator(time.time, client)
    google = GoogleSimulator(time.time, GoogleOptions(seed=seed), faults, oauth)
    options = PlanfixOptions()
    planfix = PlanfixSimulator(time.time, options, faults)
    comments: list[str] = []
    if seeded:
        owners = [planfix.add_employee(f"Employee{n}", email=_email(n)) for n in range(1, filters + 1)]
        made: Any = planfix.seed(contacts, seed=seed, filters=filters)
        for number, (filter_id, owner) in enumerate(zip(made["filters"], owners, strict=True), 1):
            planfix.set_filter_owner(filter_id, owner)
            google.add_account(_email(number), f"10{number:05}")
            comments.append(f"# filter {filter_id} belongs to employee {owner}, Google account {_email(number)}")
    async with serve(Simulators(google, planfix, faults), host, port) as server:
        lines = server.settings() | {
            "CONTACTSYNC_PLANFIX_TOKEN": options.token,
            "CONTACTSYNC_GOOGLE_CLIENT_ID": SIMULATED_CLIENT,
            "CONTACTSYNC_GOOGLE_CLIENT_SECRET": SIMULATED_SECRET,
            "CONTACTSYNC_GOOGLE_LIST_LAG_SECONDS": "15",
        }
        yield [*(f"{name}={value}" for name, value in lines.items()), *comments]


def _email(number: int) -> str:
    return f"employee{number}@example.com"


# ---- keeping them going


class PortTaken(Exception):
    """The gateway cannot listen; repeating will not help."""


@asynccontextmanager
async def running(parts: Parts, names: Sequence[str]) -> AsyncIterator[None]:
    """Runs the services while the block lasts, then stops them in order within STOP_S.

    A service that fails starts again after a growing pause; other services go on.
    """
    stops = {name: anyio.Event() for name in names}
    ended = {name: anyio.Event() for name in names}
    parts.not_ready.update(dict.fromkeys(names, "starting"))

    async def keep(name: str) -> None:
        try:
            await _keep_going(parts, name, stops[name])
        finally:
            ended[name].set()

    with suppress(BusError):
        await parts.time.follow(parts.bus)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parts.time.keep, parts.bus)
        for name in names:
            tasks.start_soon(keep, name)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(STOP_S):
                for name in (one for one in STOP_ORDER if one in stops):
                    stops[name].set()
                    await ended[name].wait()
            tasks.cancel_scope.cancel()


async def _keep_going(parts: Parts, name: str, stop: anyio.Event) -> None:
    log = get_logger(name)
    delay_s, said = 1.0, ""
    while not stop.is_set():
        began = time.monotonic()
        try:
            await SERVICES[name](parts, stop)
        except OSError as error:
            if name == "gateway" and error.errno is not None:
                host, port = parts.settings.bind
                raise PortTaken(f"the gateway cannot listen on {host}:{port} ({error.strerror})") from error
            reason = type(error).__name__
            log.warning("failed, starts again", reason=reason)
        except NotProvisioned:
            reason = "NATS has no streams yet: run `contactsync provision`"
            if said != reason:
                log.warning("waits", reason=reason)
        except (BusError, VendorError) as error:
            reason = error.reason if isinstance(error, VendorError) else f"NATS: {type(error).__name__}"
            if said != reason:
                log.warning("waits", reason=reason)
        except Exception:
            reason = "it failed and starts again"
            log.exception("failed, starts again")
        else:
            reason = "stopped"
        said = parts.not_ready[name] = reason
        if stop.is_set():
            return
        if time.monotonic() - began > 60:
            delay_s, said = 1.0, ""
        with anyio.move_on_after(delay_s):
            await stop.wait()
        delay_s = min(delay_s * 2, RETRY_MAX_S)
