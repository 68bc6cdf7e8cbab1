"""What `/metrics` shows: counted where it happens, asked for when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiohttp
import anyio
import pytest

from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.measures import Measures
from contactsync.runtime.bus import Fence, Transient
from contactsync.runtime.dead import dead_letter
from contactsync.runtime.memory_bus import MemoryBus
from contactsync.runtime.metrics import Metrics, Shown, serve_metrics
from contactsync.runtime.ownership import RECONCILER, Component, Delivery
from contactsync.runtime.quota import GoogleLimits, PlanfixLimits, Quotas
from contactsync_contracts.messages import Class
from reconciler_world import FILTER, World, phones


def figures(text: bytes) -> dict[str, float]:
    rows = (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_refresh_runs_when_somebody_looks_and_not_more_often_than_every_15_seconds() -> None:
    clock = Clock()
    metrics, calls = Metrics(clock), 0

    async def refresh() -> None:
        nonlocal calls
        calls += 1

    with metrics.refreshed_by(refresh):
        await metrics.text()
        await metrics.text()
        assert calls == 1
        clock.now += 15.0
        await metrics.text()
        assert calls == 2
    clock.now += 15.0
    await metrics.text()
    assert calls == 2


async def test_a_refresh_that_fails_leaves_the_earlier_figures() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    shown = Shown(metrics.queue_lag)

    async def refresh() -> None:
        if clock.now:
            raise Transient("NATS is away")
        shown.show({("writer",): 3.0})

    with metrics.refreshed_by(refresh):
        before = await metrics.text()
        clock.now = 20.0
        assert await metrics.text() == before
    assert figures(before)['contactsync_queue_lag{consumer="writer"}'] == 3.0


def test_series_that_are_not_named_any_more_disappear_and_those_of_others_stay() -> None:
    metrics = Metrics()
    planfix, google = Shown(metrics.sync_lag_seconds), Shown(metrics.sync_lag_seconds)
    planfix.show({("1", "planfix"): 5.0, ("2", "planfix"): 6.0})
    google.show({("1", "google"): 7.0})
    planfix.show({("2", "planfix"): 1.0})
    samples = {tuple(s.labels.values()): s.value for m in metrics.sync_lag_seconds.collect() for s in m.samples}
    assert samples == {("2", "planfix"): 1.0, ("1", "google"): 7.0}


def record(filter_id: str, **more: object) -> FilterRecord:
    values: dict[str, object] = {"name": "n", "owner": 1, "account": "a", "google_email": "e", "since": 0.0, **more}
    return FilterRecord(filter_id=filter_id, **values)  # type: ignore[arg-type]


async def test_filters_and_their_contacts_are_shown_by_state() -> None:
    metrics = Metrics()
    measures = Measures(metrics)
    measures.show([record("1", phase="done", counts={"in_sync": 4, "dismissed": 1}), record("2", paused=True)])
    measures.show([record("1", phase="done", counts={"in_sync": 5})])
    found = figures(await metrics.text())
    assert found['contactsync_filters{state="in_sync"}'] == 1
    assert found['contactsync_filters{state="paused"}'] == 0
    assert found['contactsync_contacts{filter="1",state="in_sync"}'] == 5
    assert found['contactsync_contacts{filter="1",state="dismissed"}'] == 0
    assert not any('filter="2"' in name for name in found)


async def test_conflicts_and_the_time_of_edits_are_counted_from_the_steps() -> None:
    world = World()
    world.contact(1, given="Ann")
    world.enable()
    world.contact(1, notes="P")
    person = world.person(world.person_of(1).resource, notes="G", phones=phones("+2"))
    metrics = Metrics()
    world.on_step = Measures(metrics).count
    world.run(world.saw_planfix(1), world.saw_google(person.resource))
    found = figures(await metrics.text())
    assert found['contactsync_conflicts_total{winner="planfix"}'] >= 1
    assert found['contactsync_propagation_seconds_count{direction="google_to_planfix"}'] == 1
    assert found['contactsync_propagation_seconds_count{direction="planfix_to_google"}'] == 1
    assert found['contactsync_propagation_seconds_sum{direction="planfix_to_google"}'] > 0


class Handled:
    """Puts what has no known type aside, and waits for the word before it takes anything."""

    def __init__(self, bus: MemoryBus, busy: anyio.Event) -> None:
        self.bus, self.busy, self.calls = bus, busy, 0

    async def gained(self, fences: Sequence[Fence]) -> None: ...

    async def lost(self, partition: int) -> None: ...

    def rest(self, idle: Sequence[str]) -> Sequence[str]:
        return ()

    async def handle(self, key: str, deliveries: list[Delivery], fence: Fence) -> None:  # type: ignore[override]
        self.calls += 1
        if self.calls == 1:
            raise Transient("not yet", 0.01)
        await self.busy.wait()
        for delivery in deliveries:
            if delivery.headers["Contactsync-Type"] == "Strange.v1":
                await dead_letter(self.bus, "reconciler", FILTER, delivery, "unknown type")


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(2):
        while not done():  # noqa: ASYNC110 - the component decides
            await anyio.sleep(0.01)


@pytest.mark.parametrize("type_", ["SyncRequest.v1", "Strange.v1"])
async def test_messages_are_counted_by_what_came_of_them_and_by_how_many_wait(type_: str) -> None:
    bus, busy, stop = MemoryBus(), anyio.Event(), anyio.Event()
    metrics = Metrics()
    component = Component(bus, RECONCILER, metrics=metrics)
    handler = Handled(bus, busy)

    async def measure() -> None:
        metrics.queue_lag.labels("reconciler").set(await component.waiting())

    async with (
        serve_metrics(metrics, lambda: None, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession() as session,
        anyio.create_task_group() as tasks,
    ):

        async def scrape() -> dict[str, float]:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                return figures(await answer.read())

        async def run() -> None:
            await component.run(handler, stop=stop)  # type: ignore[arg-type]

        tasks.start_soon(run)
        await bus.publish(f"contacts.v1.filter.{FILTER}.sync", b"{}", msg_id="1", type_=type_)
        await until(lambda: handler.calls == 2)
        with metrics.refreshed_by(measure):
            assert (await scrape())['contactsync_queue_lag{consumer="reconciler"}'] == 1
        busy.set()
        await until(lambda: component.unacked == 0)
        with metrics.refreshed_by(measure):
            found = await scrape()
        stop.set()
    kind = type_ if type_ == "SyncRequest.v1" else "unknown"
    outcome = "done" if type_ == "SyncRequest.v1" else "dead"
    name = f'contactsync_messages_total{{outcome="%s",service="reconciler",type="{kind}"}}'
    assert found[name % "put_off"] == 1
    assert found[name % outcome] == 1
    assert found.get('contactsync_dead_messages_total{service="reconciler"}', 0) == (outcome == "dead")
    assert found['contactsync_queue_lag{consumer="reconciler"}'] == 0


async def test_what_is_left_of_a_quota_is_that_of_the_account_with_the_least() -> None:
    quotas = Quotas(MemoryBus(), GoogleLimits(daily_writes=1000), PlanfixLimits(0, 100))
    quotas.google("idle").remaining()
    await quotas.google("busy").acquire("list_people", Class.CHANGE)
    await quotas.planfix().answered(await quotas.planfix().acquire(Class.CHANGE))
    left = quotas.remaining()
    assert left["planfix_day"] == 99
    assert left["critical_read"] == quotas.google("busy").remaining()["critical_read"]
    assert left["critical_read"] < quotas.google("idle").remaining()["critical_read"]
