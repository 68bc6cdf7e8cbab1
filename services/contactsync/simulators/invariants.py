"""The invariants of semantics 2.1, checked from the contents of both simulators alone.

The demo and the tests hold the end of every story against this: nothing here knows what the services believe.
`Snapshot` is both sides at rest; `before` is the same before the first sync.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contactsync.google import mapping as google_mapping
from contactsync.planfix import mapping as planfix_mapping
from contactsync_contracts.contact import ELEMENT_FIELDS, Contact, Element
from contactsync_contracts.messages import GooglePerson, PlanfixContact

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Synced:
    """One synchronised filter: where it lives and which way it goes."""

    filter_id: str
    account: str
    label: str
    two_way: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`planfix`: the Planfix simulator's dump. `google`: account -> the Google simulator's dump of it."""

    planfix: Json
    google: Mapping[str, Json]


@dataclass(slots=True)
class Finding:
    """One invariant: `broken` lists what contradicts it, by number and field name, never by value."""

    name: str
    sentence: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.broken


@dataclass(frozen=True, slots=True)
class Checker:
    """planfix_account: as in the stamps. excused: contacts whose sides may differ, with a reason shown to people
    (dismissed, possible duplicates, waiting for a human)."""

    planfix_account: str
    region: str = "US"
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    extra_emails: bool = False

    # ---- reading the dumps

    def people(self, dump: Json) -> dict[str, GooglePerson]:
        config = google_mapping.MappingConfig(
            default_region=self.region, custom_fields=dict(self.custom_fields), planfix_account=self.planfix_account
        )
        return {p["resourceName"]: google_mapping.to_person(p, config=config) for p in _rows(dump["people"])}

    def contacts(self, dump: Json) -> dict[int, PlanfixContact]:
        config = planfix_mapping.MappingConfig(self.region, tuple(self.custom_fields))
        return {
            row["id"]: planfix_mapping.to_contact(row, config) for row in dump["contacts"] if not row["isDeleted"]
        }

    # ---- I1, I2

    def convergence(self, now: Snapshot, filters: Sequence[Synced], excused: Iterable[int] = ()) -> Finding:
        found = Finding("I1", "Every linked pair agrees on every mapped field.")
        contacts, skip = self.contacts(now.planfix), set(excused)
        for synced in filters:
            members = set(_filter(now.planfix, synced.filter_id)["members"]) & contacts.keys()
            people = self.people(now.google[synced.account])
            partners = {s.contact: p for p in people.values() for s in p.stamps if synced.label in p.labels}
            for number in sorted(members - skip):
                found.checked += 1
                person = partners.get(number)
                if person is None:
                    found.broken.append(f"contact {number} has no person under {synced.label}")
                    continue
                found.broken += [
                    f"contact {number}: {name} differs"
                    for name in self.differences(contacts[number].fields, person.fields)
                ]
            for number in sorted(partners.keys() - members - skip):
                found.broken.append(f"contact {number} is under {synced.label} but not in filter {synced.filter_id}")
        return found

    def differences(self, planfix: Contact, google: Contact) -> list[str]:
        """Fields in which the sides differ, other than by what one side cannot hold (2.8) or by a private person's
        own further values (2.3)."""
        return [name for name, value in planfix.items() if name in google and not _agree(name, value, google[name])]

    def no_duplicates(self, now: Snapshot, accounts: Iterable[str]) -> Finding:
        found = Finding("I2", "At most one person per account and contact, at most one contact per person.")
        for account in accounts:
            people = self.people(now.google[account])
            stamps = Counter(s.contact for p in people.values() for s in p.stamps)
            found.checked += len(people)
            found.broken += [f"contact {c} has {n} people in {account}" for c, n in stamps.items() if n > 1]
            found.broken += [f"{p.resource} has {len(p.stamps)} stamps" for p in people.values() if len(p.stamps) > 1]
        markers = Counter(row.get("sourceObjectId") for row in now.planfix["contacts"] if row.get("sourceObjectId"))
        found.broken += [f"{n} contacts were created for one person" for n in markers.values() if n > 1]
        return found

    # ---- I4, I6

    def planfix_kept(
        self, before: Snapshot, now: Snapshot, trashed: Iterable[int], violations: Sequence[Any]
    ) -> Finding:
        """`trashed`: contacts that people threw away in Planfix."""
        found = Finding("I4", "No event in Google trashes, archives or empties a Planfix contact.")
        left, by_hand = self.contacts(now.planfix), set(trashed)
        for number, contact in self.contacts(before.planfix).items():
            found.checked += 1
            if number in by_hand:
                continue
            if number not in left:
                found.broken.append(f"contact {number} is gone from Planfix")
            elif not any(left[number].fields.get(name) for name in ("given", "family", "company")) and contact.fields:
                found.broken.append(f"contact {number} was emptied")
        found.broken += [str(violation) for violation in violations]
        return found

    def foreign_data(self, before: Snapshot, now: Snapshot, touched: Iterable[str] = ()) -> Finding:
        """Private people are byte for byte what they were; `touched`: those that people edited or labelled."""
        found = Finding("I6", "Google data outside the mapping, and private people, stay as they were.")
        by_hand = set(touched)
        for account, dump in now.google.items():
            was = {p["resourceName"]: p for p in _rows(before.google[account]["people"])}
            people = self.people(dump)
            for row in _rows(dump["people"]):
                resource = row["resourceName"]
                if resource in by_hand or resource not in was:
                    continue
                found.checked += 1
                if not people[resource].stamps and _plain(row) != _plain(was[resource]):
                    found.broken.append(f"private person {resource} was written")
                elif foreign := _foreign_changes(was[resource], row):
                    found.broken.append(f"{resource}: foreign {', '.join(foreign)} changed")
            found.broken += [f"private person {r} is gone" for r in was if r not in people and r not in by_hand]
        return found

    # ---- I10

    def isolation(self, now: Snapshot, filters: Sequence[Synced]) -> Finding:
        found = Finding("I10", "One employee's contacts never reach another one's account.")
        for account, dump in now.google.items():
            allowed: set[int] = set()
            for synced in filters:
                if synced.account == account:
                    allowed |= set(_filter(now.planfix, synced.filter_id)["members"])
            for person in self.people(dump).values():
                found.checked += 1
                labels = {s.label for s in filters if s.account == account}
                for stamp in person.stamps:
                    if stamp.contact not in allowed and labels & set(person.labels):
                        found.broken.append(f"contact {stamp.contact} is in {account}")
        return found


def _agree(name: str, planfix: str | tuple[Element, ...], google: str | tuple[Element, ...]) -> bool:
    if name in ELEMENT_FIELDS and isinstance(planfix, tuple) and isinstance(google, tuple):
        theirs = {e.key: e for e in google}
        return all(e.key in theirs and _kinds_agree(e, theirs[e.key]) for e in planfix)
    if planfix == google or not planfix:
        return True
    return isinstance(google, str) and len(google) >= 1000 and str(planfix).startswith(google)


def _kinds_agree(planfix: Element, google: Element) -> bool:
    return not planfix.kind or not google.kind or planfix.kind == google.kind


FOREIGN = ("nicknames", "events", "relations", "interests", "occupations", "sipAddresses", "externalIds", "photos")


def _foreign_changes(was: Json, now: Json) -> list[str]:
    return [name for name in FOREIGN if _plain(was.get(name)) != _plain(now.get(name))]


def _plain(value: Any) -> str:
    """Without what the server moves by itself (etags, times)."""
    return json.dumps(_without_versions(value), sort_keys=True, ensure_ascii=False)


def _without_versions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_versions(v) for k, v in value.items() if k not in ("etag", "updateTime")}
    if isinstance(value, list):
        return [_without_versions(each) for each in value]
    return value


def _rows(people: Any) -> list[Json]:
    return list(people.values()) if isinstance(people, Mapping) else list(people)


def _filter(dump: Json, filter_id: str) -> Json:
    return next(each for each in dump["filters"] if str(each["id"]) == filter_id)
