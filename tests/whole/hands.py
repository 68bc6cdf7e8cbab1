"""What people do on both sides of a world, in terms of canonical fields, and what of it must not get lost.

A `Claim` is a value that a human typed and nobody who saw it replaced: in the end it stands on both sides, or in the
history (2-semantics I3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from contactsync.google.reading import stamps_of
from contactsync.simulators.invariants import Checker
from contactsync_contracts.contact import Contact, Element

from .vendors import Vendors

Side = Literal["planfix", "google"]
PHONE_TYPES: Final = {"mobile": 1, "work": 2, "home": 3, "other": 4}
PLANFIX_TEXTS: Final = {
    "given": "name",
    "middle": "midname",
    "family": "lastname",
    "notes": "description",
    "position": "position",
    "address": "address",
    "site": "site",
    "skype": "skype",
}
SCALARS: Final = ("family", "notes", "position", "address", "birthday", "given")


@dataclass(frozen=True, slots=True)
class Claim:
    """`key`: of an element, None for a scalar."""

    contact: int
    account: str
    side: Side
    field: str
    value: str
    key: str | None
    at: float

    def __str__(self) -> str:
        what = self.field if self.key is None else f"{self.field} {self.key}"
        return f"contact {self.contact}: {what} = {self.value!r} typed in {self.side} at {self.at:.1f}"


def holds(claim: Claim, contact: Contact | None) -> bool:
    """Whether the value stands there."""
    if contact is None:
        return False
    value = contact.get(claim.field)
    if isinstance(value, tuple):
        return any(element.key == claim.key for element in value)
    return value == claim.value


@dataclass(slots=True)
class Hands:
    """Edits through the simulators' own hands. Contacts are numbers, accounts e-mail addresses."""

    vendors: Vendors
    checker: Checker
    claims: list[Claim] = field(default_factory=list)
    trashed: set[int] = field(default_factory=set)
    """Contacts that people threw away in Planfix at some time."""
    touched: set[str] = field(default_factory=set)
    """People that humans edited, labelled, merged or deleted."""
    adopted: set[str] = field(default_factory=set)
    """Private people that carried a stamp at some time."""
    left: set[int] = field(default_factory=set)
    """Contacts that were outside a filter, in the trash or invisible at some time (`note_absences`)."""
    state_lost: bool = False
    """Bases are gone: in one-way filters, what only Google has may be anybody's, and stays (2.3)."""
    dismissing: set[int] = field(default_factory=set)
    """Contacts whose person a human deleted, merged or took the label off, or whose label went."""

    # ---- looking

    def in_planfix(self, contact: int) -> Contact | None:
        """The contact as it is now, None when it is in the trash or merged."""
        found = self.vendors.planfix.store.live(contact)
        if found is None:
            return None
        return self.checker.contacts({"contacts": [self.vendors.planfix.shown(contact)]})[contact].fields

    def in_google(self, account: str, resource: str) -> Contact | None:
        person = self.vendors.google.shown(account, resource)
        if person is None:
            return None
        return next(iter(self.checker.people({"people": [person]}).values())).fields

    def people_of(self, account: str) -> dict[int, list[str]]:
        """Contact to the resource names of the living people that carry its stamp."""
        found: dict[int, list[str]] = {}
        for version in self.vendors.google.account(account).people.current.values():
            if not version.deleted:
                raw = {"clientData": version.fields.get("clientData", ())}
                for stamp in stamps_of(raw, self.checker.planfix_account):
                    found.setdefault(stamp.contact, []).append(version.resource_name)
        return found

    def person_of(self, contact: int, account: str) -> str | None:
        return next(iter(self.people_of(account).get(contact, ())), None)

    def contact_of_deleted(self, resource: str) -> int | None:
        """Whose person it was, from the trash."""
        for account in self.vendors.google.accounts.values():
            version = account.trash.get(resource) or account.people.current.get(resource)
            if version is not None:
                stamps = stamps_of({"clientData": version.fields.get("clientData", ())}, self.checker.planfix_account)
                return stamps[0].contact if stamps else None
        return None

    def note_absences(self) -> None:
        """Remember who is in no filter, as its owner sees it, at this moment; called after every step of a story."""
        store = self.vendors.planfix.store
        inside: set[int] = set()
        for saved in store.filters.values():
            owner = store.employees[saved.owner]
            here = {n for n in store.members(saved.id, None) if store.may_see(owner, store.contacts[n])}
            inside |= here
            self.left |= store.contacts.keys() - here
        self.left |= store.contacts.keys() - inside

    # ---- editing

    def edit_planfix(self, account: str, contact: int, name: str, value: str | Sequence[Element]) -> None:
        """Set a field of a contact; a scalar's text or all elements. Empty clears."""
        before = self.in_planfix(contact)
        if before is None:
            return
        self.vendors.planfix.edit_contact(contact, planfix_fields(name, value))
        self._claim("planfix", account, contact, name, before, self.in_planfix(contact))

    def edit_google(
        self, account: str, resource: str, name: str, value: str | Sequence[Element], contact: int
    ) -> None:
        """The same of a person; `contact`: whose it is, for the claim (0: nobody's)."""
        before = self.in_google(account, resource)
        person = self.vendors.google.shown(account, resource)
        if before is None or person is None:
            return
        self.touched.add(resource)
        self.vendors.google.edit_person(account, resource, google_fields(person, name, value))
        if contact:
            self._claim("google", account, contact, name, before, self.in_google(account, resource))

    def _claim(
        self, side: Side, account: str, contact: int, name: str, before: Contact, after: Contact | None
    ) -> None:
        """What stood on this side and does not any more was seen by who edited it: it is claimed no longer."""
        after = after or {}
        self.claims = [
            claim
            for claim in self.claims
            if not (
                claim.contact == contact and claim.field == name and holds(claim, before) and not holds(claim, after)
            )
        ]
        value, now = after.get(name), self.vendors.loop.time()
        if isinstance(value, tuple):
            old = before.get(name)
            known = {e.key for e in old} if isinstance(old, tuple) else set()
            self.claims += [
                Claim(contact, account, side, name, e.value, e.key, now) for e in value if e.key not in known
            ]
        elif value and value != before.get(name):
            self.claims.append(Claim(contact, account, side, name, value, None, now))

    def forget(self, contact: int, side: Side) -> None:
        """A human threw the contact away on this side, with all that stood there."""
        where = self.in_planfix(contact) if side == "planfix" else None
        self.claims = [
            claim
            for claim in self.claims
            if claim.contact != contact or not (claim.side == side or (where is not None and holds(claim, where)))
        ]

    # ---- membership

    def trash(self, contact: int) -> None:
        if self.vendors.planfix.store.live(contact) is not None:
            self.forget(contact, "planfix")
            self.trashed.add(contact)
            self.vendors.planfix.trash_contact(contact)

    def delete_person(self, account: str, resource: str, contact: int) -> None:
        self.touched.add(resource)
        if contact:
            self.dismissing.add(contact)
            self.forget(contact, "google")
        self.vendors.google.delete_person(account, resource)


def planfix_fields(name: str, value: str | Sequence[Element]) -> dict[str, Any]:
    """ContactRequest's fields for a canonical one."""
    if isinstance(value, str):
        if name == "birthday":
            year, month, day = value.split("-") if value else ("", "", "")
            return {"birthDate": {"date": f"{day}-{month}-{year}"} if value else None}
        return {PLANFIX_TEXTS[name]: value}
    if name == "phones":
        return {"phones": [{"number": e.value, "type": PHONE_TYPES.get(e.kind, 4)} for e in value]}
    addresses = [e.value for e in value]
    return {"email": addresses[0] if addresses else "", "additionalEmailAddresses": addresses[1:]}


def google_fields(person: Mapping[str, Any], name: str, value: str | Sequence[Element]) -> dict[str, Any]:
    """A Person's fields for a canonical one, what else stands in them kept."""
    match name:
        case "given" | "middle" | "family":
            part = {"given": "givenName", "middle": "middleName", "family": "familyName"}[name]
            old = _first(person, "names")
            kept = {k: old[k] for k in ("givenName", "middleName", "familyName", "honorificPrefix") if k in old}
            new = {k: v for k, v in {**kept, part: value}.items() if v}
            return {"names": [new] if new else []}
        case "notes":
            return {"biographies": [{"value": value, "contentType": "TEXT_PLAIN"}] if value else []}
        case "position":
            old = _first(person, "organizations")
            new = {k: v for k, v in {**old, "title": value}.items() if v}
            return {"organizations": [new] if new else []}
        case "address":
            return {"addresses": [{"formattedValue": value}] if value else []}
        case "birthday":
            assert isinstance(value, str)
            year, month, day = (int(part) for part in value.split("-")) if value else (0, 0, 0)
            return {"birthdays": [{"date": {"year": year, "month": month, "day": day}}] if value else []}
        case "phones" | "emails":
            assert not isinstance(value, str)
            return {
                {"phones": "phoneNumbers", "emails": "emailAddresses"}[name]: [
                    {"value": e.value, **({"type": e.kind} if e.kind else {})} for e in value
                ]
            }
        case _:
            raise ValueError(f"no hand knows {name}")


def _first(person: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = next(iter(person.get(name) or ()), {})
    return {k: v for k, v in found.items() if k not in ("metadata", "formattedType")}
