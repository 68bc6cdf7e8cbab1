"""What the demo tells at its end: what happened on each side, what it cost, and whether the invariants hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from contactsync.client import Client
from contactsync.demo.world import World
from contactsync.runtime.bus import Bus, Deposed, Fence, Put
from contactsync.runtime.ownership import partition_of
from contactsync.simulators.invariants import Checker, Finding, Snapshot, Synced
from contactsync.simulators.people import HumanAction
from contactsync_contracts import subjects
from contactsync_contracts.contact import Contact


@dataclass(slots=True)
class Checked:
    """Everything that the report shows."""

    findings: list[Finding]
    actions: list[HumanAction]
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    """What, used, fewest possible."""
    contacts: int = 0
    seconds: float = 0.0
    states: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


async def check(
    *,
    world: World,
    bus: Bus,
    client: Client,
    parts: Sequence[Synced],
    names: Mapping[str, str],
    before: Snapshot,
    synced: Snapshot,
    now: Snapshot,
    at_last: Snapshot,
    actions: list[HumanAction],
    contacts: int,
    seconds: float,
    counters: tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]],
) -> Checked:
    checker = Checker(world.planfix_account)
    after_first, edited, quiet, short = counters
    excused: set[int] = set()
    states: dict[str, dict[str, int]] = {}
    waiting: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        rows = await client.contacts(part.filter_id, None)
        waiting[part.filter_id] = rows
        excused |= {r["contact"] for r in rows if r["contact"] and r["state"] not in ("in_sync", "pending")}
        states[names[part.filter_id]] = dict(Counter(r["state"] for r in rows))
    trashed = [a.contact for a in actions if a.method == "trash_contact" and a.contact]
    by_hand = {str(a.kwargs["resource_name"]) for a in actions if "resource_name" in a.kwargs}
    # A private person that was adopted is ours to write; its stamp may have gone again with its contact.
    adopted = {r for dump in synced.google.values() for r, p in checker.people(dump).items() if p.stamps}
    findings = [
        checker.convergence(now, parts, excused),
        checker.no_duplicates(now, now.google),
        await _nothing_lost(checker, bus, parts, now, actions, waiting),
        checker.planfix_kept(before, now, trashed, [v for v in short["violations"] if "trash" in str(v)]),
        _absence(checker, now, at_last),
        checker.foreign_data(before, now, by_hand | adopted),
        _quiet_finding(quiet),
        await _one_actor(bus, parts[0].filter_id),
        _quotas(after_first, edited, short),
        checker.isolation(now, parts),
    ]
    return Checked(
        findings=findings,
        actions=actions,
        requests=_requests(after_first, contacts, parts),
        contacts=contacts,
        seconds=seconds,
        states=states,
    )


# ---- I3, I5, I7, I8, I9


async def _nothing_lost(
    checker: Checker,
    bus: Bus,
    parts: Sequence[Synced],
    now: Snapshot,
    actions: Sequence[HumanAction],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Finding:
    """Each edited value stands on both sides, or in the history, or the contact's page says why not."""
    found = Finding("I3", "A human's edit is on both sides, or it lost a conflict and stands in the history.")
    contacts = checker.contacts(now.planfix)
    for part in parts:
        people = checker.people(now.google[part.account])
        partners = {s.contact: p for p in people.values() for s in p.stamps}
        notes = {row["contact"]: " ".join(row["notes"]) for row in rows[part.filter_id]}
        for action in actions:
            number = action.contact
            if number not in contacts or number not in partners or "fields" not in action.kwargs:
                continue
            found.checked += 1
            edited = _edited(checker, action, partners[number].resource)
            history = await _history(bus, part.filter_id, number)
            for name, value in edited.items():
                sides = contacts[number].fields.get(name), partners[number].fields.get(name)
                if not all(_holds(value, side) for side in sides) and not (
                    _in_history(value, history) or f"{name}:" in notes.get(number, "")
                ):
                    found.broken.append(f"contact {number}: the edit of {name} in {action.side} is lost")
    return found


def _edited(checker: Checker, action: HumanAction, resource: str) -> Contact:
    """The canonical form of the fields that a person edited."""
    fields = dict(action.kwargs["fields"])
    if action.side == "planfix":
        row = {"id": action.contact, "isDeleted": False, **fields}
        return checker.contacts({"contacts": [row]})[action.contact or 0].fields
    person = {
        "resourceName": resource,
        "etag": "%",
        "metadata": {"sources": [{"type": "CONTACT", "id": "1", "etag": "#", "updateTime": "2026-01-01T00:00:00Z"}]},
        **fields,
    }
    mapped = checker.people({"people": [person]})[resource].fields
    vendor = {
        "biographies": ("notes",),
        "addresses": ("address",),
        "phoneNumbers": ("phones",),
        "emailAddresses": ("emails",),
        "birthdays": ("birthday",),
        "names": ("given",),
        "organizations": ("position", "company"),
    }
    touched = {name for key in fields for name in vendor.get(key, ())}
    return {name: value for name, value in mapped.items() if name in touched}


def _holds(value: Any, side: Any) -> bool:
    if isinstance(value, tuple):
        return isinstance(side, tuple) and {e.key for e in value} <= {e.key for e in side}
    return bool(value == side)


async def _history(bus: Bus, filter_id: str, contact: int) -> list[dict[str, Any]]:
    prefix = f"history.{subjects.token(filter_id)}.{contact}."
    return [orjson.loads(record.value) async for record in bus.load(prefix)]


def _in_history(value: Any, history: Sequence[Mapping[str, Any]]) -> bool:
    lost = [text for entry in history for _, text in entry.get("lost", {}).values()]
    changed = [text for entry in history for pair in entry.get("fields", {}).values() for text in pair]
    return value in lost or value in changed


def _absence(checker: Checker, now: Snapshot, at_last: Snapshot) -> Finding:
    found = Finding("I5", "Lists that lose half of their content remove nothing.")
    for account, dump in now.google.items():
        was, is_now = checker.people(dump), checker.people(at_last.google[account])
        for resource, person in was.items():
            found.checked += 1
            if resource not in is_now or set(is_now[resource].labels) != set(person.labels):
                found.broken.append(f"{resource} lost something to a short page")
    return found


def _quiet_finding(quiet: Mapping[str, Any]) -> Finding:
    found = Finding("I7", "Two full syncs without an edit write nothing.", checked=2)
    if quiet["google"]["mutations"]:
        found.broken.append(f"Google mutations: {quiet['google']['mutations']}")
    if quiet["planfix"].get("writes"):
        found.broken.append(f"Planfix writes: {quiet['planfix']['writes']}")
    return found


async def _one_actor(bus: Bus, filter_id: str) -> Finding:
    """Somebody with an older claim on the filter's partition tries to commit."""
    found = Finding("I8", "A deposed actor's commit is rejected.", checked=1)
    token = subjects.token(filter_id)
    partition = partition_of(token)
    record = await bus.get(Fence("reconciler", partition, 0).key)
    if record is None:
        found.broken.append("nobody claimed the filter's partition")
        return found
    stale = Fence("reconciler", partition, record.seq - 1)
    try:
        await bus.commit(stale, [Put(f"state.filter.{token}.probe", b"{}", ttl_s=60)])
    except Deposed:
        return found
    found.broken.append("a stale fence could commit")
    return found


def _quotas(*counters: Mapping[str, Any]) -> Finding:
    found = Finding("I9", "No request leaves that the quotas do not allow; one mutation an account at a time.")
    for counted in counters:
        found.checked += sum(_google_requests(counted).values()) + sum(counted["planfix"]["requests"].values())
        if counted["planfix"]["too_many_requests"]:
            found.broken.append(f"Planfix answered 429 {counted['planfix']['too_many_requests']} times")
        if refused := counted["google"]["statuses"].get("429"):
            found.broken.append(f"Google answered 429 {refused} times")
    found.broken += [str(v) for v in counters[-1]["violations"]]
    return found


# ---- requests


def _google_requests(counted: Mapping[str, Any]) -> Mapping[str, int]:
    """Of the People API; signing in is not part of a sync."""
    return {name: n for name, n in counted["google"]["requests"].items() if not name.startswith("oauth")}


def _requests(counted: Mapping[str, Any], contacts: int, parts: Sequence[Synced]) -> list[tuple[str, int, int]]:
    """Used against the fewest possible, for the first sync."""
    google = _google_requests(counted)
    share = math.ceil(contacts / len(parts))
    creates = sum(n for name, n in google.items() if name.endswith(("batchCreateContacts", "createContact")))
    lists = counted["planfix"]["requests"]
    return [
        ("Google: creates", creates, len(parts) * math.ceil(share / 200)),
        ("Google: all requests, polls included", sum(google.values()), len(parts) * (math.ceil(share / 200) + 2)),
        ("Planfix: lists of contacts", _ending(lists, "/contact/list"), len(parts) * math.ceil(share / 100)),
        ("Planfix: all requests, polls included", sum(lists.values()), len(parts) * (math.ceil(share / 100) + 2)),
    ]


def _ending(counts: Mapping[str, int], end: str) -> int:
    return sum(n for name, n in counts.items() if name.endswith(end))


# ---- showing


class Report:
    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, checked: Checked) -> None:
        self._what_happened(checked)
        self._costs(checked)
        self._invariants(checked)

    def _what_happened(self, checked: Checked) -> None:
        table = Table(title="What people did, and what had to come of it", title_justify="left", show_lines=False)
        for column in ("where", "what", "expected"):
            table.add_column(column, overflow="fold")
        for action in checked.actions:
            table.add_row(action.side, action.sentence, action.expected)
        self._console.print(table)
        for name, states in checked.states.items():
            told = ", ".join(f"{number} {state.replace('_', ' ')}" for state, number in sorted(states.items()))
            self._console.print(f"{name}: {told}")

    def _costs(self, checked: Checked) -> None:
        table = Table(title="Requests of the first sync", title_justify="left")
        table.add_column("requests")
        table.add_column("used", justify="right")
        table.add_column("fewest possible", justify="right")
        for what, used, fewest in checked.requests:
            table.add_row(what, str(used), str(fewest))
        self._console.print(table)
        rate = checked.contacts / checked.seconds if checked.seconds else 0.0
        self._console.print(
            f"First sync of {checked.contacts} contacts in {checked.seconds:.1f} s: {rate:.0f} contacts a second"
        )

    def _invariants(self, checked: Checked) -> None:
        table = Table(title="Invariants, checked in the simulators' contents", title_justify="left")
        for column in ("", "invariant", "checked", "holds"):
            table.add_column(column, overflow="fold")
        for finding in checked.findings:
            verdict = "[green]yes[/]" if finding.holds else "[red]NO[/]"
            table.add_row(finding.name, finding.sentence, str(finding.checked), verdict)
        self._console.print(table)
        for finding in checked.findings:
            for broken in finding.broken[:20]:
                self._console.print(f"[red]{finding.name}[/]: {broken}", highlight=False)
