"""What a person is told about a filter and its contacts: states, figures, and reasons in plain sentences."""

from __future__ import annotations

from typing import Any

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.breaker import Plan, would
from contactsync.reconciler.core.filter import FilterRecord
from contactsync.reconciler.core.index import state_of
from contactsync.reconciler.core.link import Arrival, Link
from contactsync_contracts.messages import ContactState


def filter_status(record: FilterRecord) -> dict[str, Any]:
    """The answer to `status FILTER` (4-interfaces 4.1)."""
    counts = {state.value: 0 for state in ContactState} | record.counts
    return {
        "filter_id": record.filter_id,
        "name": record.name,
        "owner": record.owner,
        "state": record.state.value,
        "reason": record.reason,
        "two_way": record.two_way,
        "google_account": record.google_email,
        "account": record.account,
        "new_contact": record.new_contact,
        "label": record.label_name,
        "contacts": counts,
        "plans": [plan_status(plan) for plan in record.plans if not plan.approved],
        "conflict": record.conflict,
        "breakers": record.breakers,
        "people_in_account": record.people_total,
        "last_sync": record.last_sync,
        "run": None if record.run is None else {"run_id": record.run.run_id, "started_at": record.run.started_at},
        "planfix_seen_at": record.planfix_seen_at,
        "google_seen_at": record.google_seen_at,
    }


def plan_status(plan: Plan) -> dict[str, Any]:
    """A frozen plan in brief; its hash is empty while it is still being collected."""
    return {
        "hash": plan.hash,
        "kind": plan.kind,
        "reason": would(plan),
        "actions": plan.actions,
        "since": plan.since,
    }


def contact_status(link: Link) -> dict[str, Any]:
    return {
        "contact": link.contact,
        "state": state_of(link).value,
        "reason": reason_of(link),
        "notes": notes_of(link),
        "person": link.resource,
        "candidates": list(link.hold.candidates) if link.hold is not None else [],
    }


def arrival_status(arrival: Arrival) -> dict[str, Any]:
    held = arrival.stage == "held"
    return {
        "contact": None,
        "state": arrival.state if held else ContactState.PENDING.value,
        "reason": arrival.reason if held else reasons.LOOKING,
        "notes": [],
        "person": arrival.resource,
        "candidates": [] if not held else list(arrival.candidates) or _stamped(arrival),
    }


def reason_of(link: Link) -> str:
    if link.merged_into is not None:
        return reasons.merged_into(link.merged_into)
    if link.dismissed:
        return link.dismissed
    if link.hold is not None:
        return link.hold.reason
    if link.frozen is not None:
        return reasons.FROZEN
    if link.pending is not None:
        return reasons.WRITING
    if link.asked:
        return reasons.LOOKING
    if state_of(link) is ContactState.PENDING:
        return reasons.WAITING
    return ""


def notes_of(link: Link) -> list[str]:
    """What is different on purpose on a contact that is otherwise in sync."""
    notes = [f"{name.partition(':')[0]}: {reason}" for name, reason in sorted(link.limits.items())]
    if link.read_only:
        notes.append(reasons.READ_ONLY)
    if link.kept:
        notes.append(link.kept)
    return notes


def _stamped(arrival: Arrival) -> list[int]:
    return [] if arrival.stamp_contact is None else [arrival.stamp_contact]
