"""Prometheus metrics of one process and the little server that shows them beside its health.

What happens is counted where it happens; what has to be asked for (`refreshed_by`) is asked for when somebody looks.
Labels carry service, side, operation and filter names only, never data of people. `Metrics` is made once by
the composition root and handed to whoever counts; the gateway mounts the same routes with `add_routes`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import anyio
from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

log = logging.getLogger(__name__)

REFRESH_S: Final = 15.0
REFRESH_WITHIN_S: Final = 5.0

Refresh = Callable[[], Awaitable[None]]

Ready = Callable[[], str | None]
"""None when the service can do its work, else why it cannot."""

PROPAGATION_S: Final = (1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 7200)
API_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH: Final = (1, 2, 5, 10, 25, 50, 100, 150, 200)


class Metrics:
    """Every metric under its interface name, in a registry of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry: Final = CollectorRegistry()
        self._clock = clock
        self._refreshed_at: dict[Refresh, float] = {}
        self.filters: Final = self._gauge("filters", "Filters by state", "state")
        self.contacts: Final = self._gauge("contacts", "Contacts of a filter by state", "filter", "state")
        self.sync_lag_seconds: Final = self._gauge(
            "sync_lag_seconds", "Age of the newest complete look at a side", "filter", "side"
        )
        self.propagation_seconds: Final = self._histogram(
            "propagation_seconds", "From an edit seen to its write acknowledged", PROPAGATION_S, "direction"
        )
        self.mutations: Final = self._counter(
            "mutations", "Writes to a vendor by what came of them", "side", "operation", "outcome"
        )
        self.conflicts: Final = self._counter("conflicts", "Fields edited on both sides", "winner")
        self.api_requests: Final = self._counter(
            "api_requests", "Requests to a vendor (status 0: no answer)", "api", "method", "status"
        )
        self.api_seconds: Final = self._histogram("api_seconds", "Time to a vendor's answer", API_S, "api", "method")
        self.quota_wait_seconds: Final = self._counter(
            "quota_wait_seconds", "Time spent waiting for a vendor's quota", "bucket"
        )
        self.quota_remaining: Final = self._gauge("quota_remaining", "What is left of a quota", "bucket")
        self.batch_size: Final = self._histogram("batch_size", "People in one batch", BATCH, "operation")
        self.frozen_plans: Final = self._gauge("frozen_plans", "Plans that wait for approval", "filter")
        self.actors: Final = self._gauge("actors", "Actors in memory", "service")
        self.clock_offset_seconds: Final = self._gauge(
            "clock_offset_seconds", "By how much this machine's clock is ahead of the NATS server's"
        )
        self.partitions: Final = self._gauge("partitions", "Partitions that this replica owns", "service")
        self.messages: Final = self._counter(
            "messages", "Messages handled by what came of them", "service", "type", "outcome"
        )
        self.queue_lag: Final = self._gauge("queue_lag", "Messages that wait for a consumer", "consumer")
        self.dead_messages: Final = self._counter(
            "dead_messages", "Messages that did not fit their contract", "service"
        )

    @contextmanager
    def refreshed_by(self, *refreshes: Refresh) -> Iterator[None]:
        """While the context lasts these run before metrics are shown, each at most every REFRESH_S."""
        self._refreshed_at.update(dict.fromkeys(refreshes, float("-inf")))
        try:
            yield
        finally:
            for refresh in refreshes:
                self._refreshed_at.pop(refresh, None)

    async def text(self) -> bytes:
        """What `/metrics` shows. A refresh that fails or takes too long leaves the earlier figures."""
        for refresh, at in list(self._refreshed_at.items()):
            now = self._clock()
            if now - at < REFRESH_S:
                continue
            self._refreshed_at[refresh] = now
            try:
                with anyio.move_on_after(REFRESH_WITHIN_S):
                    await refresh()
            except Exception as error:
                log.warning("metrics could not be refreshed", extra={"reason": type(error).__name__})
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"contactsync_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        """The library appends `_total`."""
        return Counter(f"contactsync_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"contactsync_{name}", text, labels, buckets=buckets, registry=self.registry)


class Shown:
    """The part of a gauge that one owner fills: series that it does not name any more disappear."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._labels: set[tuple[str, ...]] = set()

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Label values (in the gauge's order) to the figure."""
        for gone in self._labels - values.keys():
            with suppress(KeyError):
                self._gauge.remove(*gone)
        self._labels = set(values)
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)


def add_routes(app: web.Application, metrics: Metrics, ready: Ready) -> None:
    """Adds `/metrics`, `/healthz` (alive at all) and `/readyz` (503 and the reason while it cannot work)."""

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_request: web.Request) -> web.Response:
        reason = ready()
        return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=reason + "\n")

    app.router.add_get("/metrics", show)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", readiness)


@asynccontextmanager
async def serve_metrics(metrics: Metrics, ready: Ready, *, host: str, port: int) -> AsyncIterator[int]:
    """Serves the three routes while the context lasts; yields the port (a free one for `port` 0).

    Raises OSError when the port is taken.
    """
    app = web.Application()
    add_routes(app, metrics, ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
