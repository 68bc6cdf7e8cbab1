"""Simulated people: what they would edit in Planfix and on their phones, each call with its expectation.

Pure: `plan_edits` reads both dumps and decides; the demo and the tests carry the actions out, against the
simulators themselves or their control endpoints, and report `expected` beside what happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .people_edits import KINDS
from .people_scene import HumanAction, Pair, Scene

__all__ = ["KINDS", "HumanAction", "Pair", "Scene", "pairs_of", "plan_edits"]


def plan_edits(
    rng: random.Random,
    planfix_dump: Mapping[str, Any],
    google_dump: Mapping[str, Any],
    label: str,
    *,
    count: int | None = None,
    filter_id: str | None = None,
    account: str | None = None,
) -> list[HumanAction]:
    """Edits of every kind that the content allows, each on another contact.

    ``count`` kinds are tried in turn; by default each once.

    ``label`` is the resource name or the name of the label; ``filter_id`` defaults to the filter of that
    name; ``account`` is added to the arguments of Google's methods when it is given.
    """
    scene = _scene(rng, planfix_dump, google_dump, label, filter_id, account)
    actions: list[HumanAction] = []
    kinds = list(KINDS)
    for turn in range(len(kinds) if count is None else count):
        kind = kinds[turn % len(kinds)]
        for action in KINDS[kind](scene):
            actions.append(replace(action, kind=kind))
    return actions


def pairs_of(
    planfix_dump: Mapping[str, Any], google_dump: Mapping[str, Any], filter_id: str, label: str
) -> list[Pair]:
    """The filter's contacts with their people under the label, by primary e-mail; others are left out."""
    members = set(_filter(planfix_dump, filter_id)["members"])
    by_email: dict[str, Mapping[str, Any]] = {}
    for person in _people(google_dump):
        if label in _labels(person):
            for address in person.get("emailAddresses") or ():
                by_email.setdefault(str(address.get("value", "")).casefold(), person)
    found = []
    for contact in planfix_dump["contacts"]:
        partner = by_email.get(str(contact.get("email") or "").casefold())
        if partner is not None and contact["id"] in members and not contact["isDeleted"]:
            found.append(Pair(contact, partner))
    return found


def _scene(
    rng: random.Random,
    planfix_dump: Mapping[str, Any],
    google_dump: Mapping[str, Any],
    label: str,
    filter_id: str | None,
    account: str | None,
) -> Scene:
    resource, name = _label(google_dump, label)
    if filter_id is None:
        filter_id = next(each["id"] for each in planfix_dump["filters"] if each["name"] == name)
    chosen = _filter(planfix_dump, filter_id)
    pairs = pairs_of(planfix_dump, google_dump, filter_id, resource)
    rng.shuffle(pairs)
    members = set(chosen["members"])
    outsiders = [
        each
        for each in planfix_dump["contacts"]
        if each["id"] not in members and not each["isDeleted"] and not each["isCompany"]
    ]
    private = [each for each in _people(google_dump) if resource not in _labels(each) and each.get("names")]
    rng.shuffle(outsiders)
    rng.shuffle(private)
    return Scene(rng, chosen, resource, account, pairs, outsiders, private)


def _people(google_dump: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    people = google_dump["people"]
    return people.values() if isinstance(people, Mapping) else people


def _label(google_dump: Mapping[str, Any], label: str) -> tuple[str, str]:
    groups = google_dump["groups"]
    for group in groups.values() if isinstance(groups, Mapping) else groups:
        if label in (group["resourceName"], group["name"]):
            return str(group["resourceName"]), str(group["name"])
    raise ValueError(f"there is no label {label}")


def _labels(person: Mapping[str, Any]) -> set[str]:
    return {
        str(each.get("contactGroupMembership", {}).get("contactGroupResourceName"))
        for each in person.get("memberships") or ()
    }


def _filter(planfix_dump: Mapping[str, Any], filter_id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(each for each in planfix_dump["filters"] if each["id"] == filter_id)
    return found
