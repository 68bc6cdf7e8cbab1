"""Sync runs: what a person or service that asked for a sync is told."""

from __future__ import annotations

from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.filter import FilterRecord, Run, counted
from contactsync_contracts.messages import SyncFinished, SyncProgress, SyncStarted

__all__ = ["answered", "counted", "ended", "finished", "finished_again", "progress", "start", "started"]


SAID_AGAIN_S = 300.0
PAUSED = "The synchronisation is paused."


def start(record: FilterRecord, request_id: str, now: float, *, first: bool = False) -> FilterRecord:
    """A first sync waits for its phases; a later one for both listings that it asks for."""
    run = Run(
        run_id=request_id,
        request_id=request_id,
        started_at=now,
        first=first,
        waits=() if first else ("planfix", "google"),
    )
    return replace(record, run=run)


def answered(record: FilterRecord, side: str, request_id: str) -> FilterRecord:
    run = record.run
    if run is None or run.run_id != request_id or side not in run.waits:
        return record
    return replace(record, run=replace(run, waits=tuple(wait for wait in run.waits if wait != side)))


def started(record: FilterRecord, run: Run) -> SyncStarted:
    return SyncStarted(filter_id=record.filter_id, run_id=run.run_id, request_id=run.request_id, at=run.started_at)


def progress(record: FilterRecord, links: int, open_: int, now: float) -> SyncProgress | None:
    """Contacts that are done of those known so far; the total is known when the listing has ended."""
    run = record.run
    if run is None:
        return None
    total = links if record.phase == "done" and "planfix" not in run.waits else None
    return SyncProgress(
        filter_id=record.filter_id,
        run_id=run.run_id,
        at=now,
        done=max(0, links - open_),
        total=total,
        created=run.created,
        updated=run.updated,
        removed=run.removed,
    )


def finished(record: FilterRecord, run: Run, now: float, *, cut_short: bool) -> SyncFinished:
    """`cut_short`: something was still to be done, and a pause or a problem keeps it from being done."""
    failed = bool(record.problem)
    cancelled = cut_short and not failed
    return SyncFinished(
        filter_id=record.filter_id,
        run_id=run.run_id,
        request_id=run.request_id,
        started_at=run.started_at,
        finished_at=now,
        outcome="failed" if failed else "cancelled" if cancelled else "succeeded",
        created=run.created,
        updated=run.updated,
        removed=run.removed,
        reason=record.problem_reason if failed else PAUSED if cancelled else "",
    )


def finished_again(record: FilterRecord, now: float) -> SyncFinished | None:
    """The last run's end, if it is so recent that whoever waits for it may not have heard."""
    last = record.last_sync
    if last is None or now - float(last["finished_at"]) > SAID_AGAIN_S:
        return None
    return SyncFinished.model_validate({"filter_id": record.filter_id, "request_id": last["run_id"], **last})


def ended(record: FilterRecord, finish: SyncFinished) -> FilterRecord:
    return replace(record, run=None, last_sync=finish.model_dump(include=_LAST_SYNC))


_LAST_SYNC = {"run_id", "started_at", "finished_at", "outcome", "created", "updated", "removed", "reason"}
