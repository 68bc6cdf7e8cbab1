"""What the reconciler tells Prometheus: of each step what happened, and of the filters' records how they stand.

The core only names facts (`Step`); counting is done here, after the commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.step import Step
from contactsync.runtime.metrics import Metrics, Shown
from contactsync_contracts.messages import ContactState, FilterState

DIRECTIONS = {Side.GOOGLE: "planfix_to_google", Side.PLANFIX: "google_to_planfix"}
"""By the side that was written to."""


class Measures:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._filters = Shown(metrics.filters)
        self._contacts = Shown(metrics.contacts)
        self._frozen = Shown(metrics.frozen_plans)

    def count(self, step: Step) -> None:
        for winner in step.conflicts:
            self._metrics.conflicts.labels(winner.value).inc()
        for side, seconds in step.carried_s:
            self._metrics.propagation_seconds.labels(DIRECTIONS[side]).observe(seconds)

    def show(self, records: Iterable[FilterRecord]) -> None:
        """All filters of this replica."""
        states: Counter[str] = Counter({state.value: 0 for state in FilterState})
        contacts: dict[tuple[str, ...], float] = {}
        frozen: dict[tuple[str, ...], float] = {}
        for record in records:
            states[record.state.value] += 1
            frozen[(record.filter_id,)] = bool(record.frozen) + len(record.waiting_plans)
            for state in ContactState:
                contacts[record.filter_id, state.value] = record.counts.get(state.value, 0)
        self._filters.show({(state,): number for state, number in states.items()})
        self._contacts.show(contacts)
        self._frozen.show(frozen)
