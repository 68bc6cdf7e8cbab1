"""What a sync would do, put into rows that a person can read (semantics 2.4, 2.5; D31). Pure.

`preview.py` plays the observations of now to a copy of the filter's machine; the steps that come of it are collected
here, never carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.link import Arrival, Link, Pending
from contactsync.reconciler.core.match import certain
from contactsync.reconciler.core.step import Step
from contactsync_contracts.contact import NAME_FIELDS, Contact
from contactsync_contracts.messages import ContactCandidates, GoogleCandidates

EXAMPLES_MAX: Final = 20

DOES: Final[Mapping[str, str]] = {
    "google ensure": "would be created in Google",
    "google adopt": "would be linked with a person that is in Google already",
    "google update": "would be changed in Google",
    "google label": "would be put under the label again",
    "google remove": "would leave Google",
    "planfix update": "would be changed in Planfix",
    "planfix create": "would be created in Planfix, or linked with its contact there",
    "dismiss": "was removed in Google by hand and would stay away",
    "possible_duplicate": "would wait for you to decide who it is",
    "held": "would wait for an approval, since it is one of many",
}


@dataclass(slots=True)
class Preview:
    """Rows by contact (or person): what would be done. A later step's word replaces an earlier one."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[int, Link | None] = field(default_factory=dict)

    def take(self, step: Step, before: Mapping[int, Link]) -> None:
        for contact, link in step.links.items():
            self.known[contact] = link
            earlier = before.get(contact)
            row = _row(earlier, link) if link is not None else None
            if row is not None and link is not None:
                self.rows[str(contact)] = row | {"name": called(link.planfix, link.google, link.base_planfix)}
        for source_id, arrival in step.arrivals.items():
            if arrival is not None and (row := _arrival_row(arrival)) is not None:
                self.rows[source_id] = row

    def groups(self, limit: int = EXAMPLES_MAX) -> list[dict[str, Any]]:
        """By what would be done: how many, and the first few."""
        by_action: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows.values():
            by_action.setdefault(row["action"], []).append(row)
        return [
            {"action": action, "means": DOES[action], "count": len(rows), "examples": rows[:limit]}
            for action, rows in sorted(by_action.items())
        ]


def with_newcomers(
    answer: GoogleCandidates, moved: Iterable[str], newer: Iterable[Mapping[str, Any]]
) -> GoogleCandidates:
    """An older answer about partners without those who moved since, and with `newer`, which is about them alone."""
    gone = frozenset(moved)
    came = {one.contact: one.candidates for one in map(ContactCandidates.model_validate, newer)}
    answers = []
    for one in answer.answers:
        kept = [c for c in one.candidates if c.resource not in gone]
        found = [*kept, *came.get(one.contact, ())]
        found = sorted(certain(found) or found, key=lambda c: (c.by, c.resource))
        answers.append(one.model_copy(update={"candidates": tuple(found)}))
    return answer.model_copy(update={"answers": tuple(answers)})


def frozen_rows(links: Iterable[tuple[Link, Pending | None]]) -> list[dict[str, Any]]:
    """Of links whose action waits in a plan: what the action is now (None: not wanted any more)."""
    return [
        _action_row(link, pending) | {"name": called(link.planfix, link.google, link.base_planfix)}
        for link, pending in links
        if pending is not None
    ]


def _row(before: Link | None, link: Link) -> dict[str, Any] | None:
    begins = link.pending is not None and link.pending.op != "release"
    if link.pending is not None and begins and (before is None or before.pending != link.pending):
        return _action_row(link, link.pending)
    if link.asked == "label" and (before is None or before.asked != "label"):
        return {"action": "dismiss", "contact": link.contact, "person": link.resource}
    if link.dismissed and (before is None or not before.dismissed):
        return {"action": "dismiss", "contact": link.contact, "person": link.resource}
    if link.hold is not None and link.hold.state == "possible_duplicate" and (before is None or before.hold is None):
        return {"action": "possible_duplicate", "contact": link.contact, "candidates": list(link.hold.candidates)}
    if link.frozen is not None and _other(before, link.frozen):
        return {"action": "held", "contact": link.contact, "person": link.resource}
    return None


def _other(before: Link | None, frozen: Frozen) -> bool:
    return before is None or before.frozen != frozen


def _action_row(link: Link, pending: Pending) -> dict[str, Any]:
    side, op = pending.side.value, pending.op
    wanted = link.base_planfix or {} if op == "ensure" else pending.target
    name = "label" if side == "google" and op == "update" and not pending.target else op
    return {
        "action": f"{side} {name}",
        "contact": link.contact,
        "person": link.resource,
        "fields": _changes(pending.before, wanted),
    }


def _arrival_row(arrival: Arrival) -> dict[str, Any] | None:
    if arrival.stage in ("matching", "creating") or arrival.frozen is not None:
        fields = _changes({}, arrival.source or arrival.google)
        name = called(arrival.source or arrival.google)
        return {
            "action": "planfix create",
            "contact": None,
            "person": arrival.resource,
            "fields": fields,
            "name": name,
        }
    return None


def _changes(before: Contact, after: Contact) -> dict[str, list[Any]]:
    """Field -> before and after, filled ones only where it is all new."""
    return {
        name: [plain(before.get(name, "")), plain(value)] for name, value in after.items() if value or name in before
    }


def called(*contents: Contact | None) -> str:
    """How people call whoever has this content: the first name that one of them has; empty where none has one."""
    for content in contents:
        parts = [str(content.get(name) or "") for name in (*NAME_FIELDS, "company")] if content else []
        if found := " ".join(filter(None, parts[:3])) or (parts[3] if parts else ""):
            return found
    return ""


def plain(value: object) -> object:
    """A field's value for people: a text, or the spellings of its elements."""
    return [getattr(one, "value", one) for one in value] if isinstance(value, tuple) else value
