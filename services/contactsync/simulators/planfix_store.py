"""The simulated Planfix account's content: contacts, employees, saved filters, and what makes lists fast.

A contact only changes inside `PlanfixStore.changing`, which keeps the e-mail index, each filter's
sorted members and the list by time of modification right. `planfix.py` answers requests from it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

import orjson

from .planfix_conditions import Condition, Everything, OneOf, matches

TEXT_FIELDS = (
    "name",
    "midname",
    "lastname",
    "gender",
    "description",
    "address",
    "site",
    "email",
    "skype",
    "telegramId",
    "telegram",
    "facebook",
    "instagram",
    "viberId",
    "position",
    "languageCode",
    "communicationLanguageCode",
    "timezone",
    "sourceObjectId",
    "sourceDataVersion",
)
SYSTEM_FILTERS = {":contact": "Contacts", ":company": "Companies"}


def empty_texts() -> dict[str, str]:
    return {**dict.fromkeys(TEXT_FIELDS, ""), "gender": "NotDefined"}


@dataclass(frozen=True, slots=True)
class Phone:
    """``type``: 1 mobile, 2 work, 3 home, 4 other."""

    number: str
    type: int


@dataclass(slots=True, eq=False)
class Contact:
    """One contact or company; times in seconds since the epoch."""

    id: int
    created_s: float
    modified_s: float
    added_by: str
    is_company: bool = False
    template: int = 1
    group: int | None = None
    trashed: bool = False
    merged_into: int | None = None
    texts: dict[str, str] = field(default_factory=empty_texts)
    additional_emails: tuple[str, ...] = ()
    phones: tuple[Phone, ...] = ()
    birth_date: date | None = None
    companies: tuple[int, ...] = ()
    supervisors: tuple[str, ...] = ()
    supervisor_groups: tuple[int, ...] = ()
    custom: dict[int, object] = field(default_factory=dict)
    rendered: dict[object, orjson.Fragment] = field(default_factory=dict, repr=False)

    def emails(self) -> Iterator[str]:
        """All its addresses, case-folded."""
        if self.texts["email"]:
            yield self.texts["email"].casefold()
        for address in self.additional_emails:
            yield address.casefold()

    def content(self) -> tuple[object, ...]:
        """What an edit can change, comparable; neither times nor caches."""
        return (
            self.is_company,
            self.template,
            self.group,
            self.trashed,
            tuple(self.texts.values()),
            self.additional_emails,
            self.phones,
            self.birth_date,
            self.companies,
            self.supervisors,
            self.supervisor_groups,
            tuple(sorted((number, repr(value)) for number, value in self.custom.items())),
        )


@dataclass(slots=True)
class Access:
    """Which contacts an employee may see or edit: refusals first, then grants, then the rule."""

    everything: bool = True
    supervised: bool = False
    groups: frozenset[int] = frozenset()
    granted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Employee:
    id: int
    name: str
    lastname: str
    email: str
    role: str
    status: str
    timezone: str
    login: str
    secondary_emails: tuple[str, ...] = ()
    sees: Access = field(default_factory=Access)
    edits: Access = field(default_factory=Access)

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.lastname}".strip()


@dataclass(slots=True)
class SavedFilter:
    """``shared_with`` None: every employee finds it in `/contact/filters`."""

    id: str
    name: str
    owner: int
    condition: Condition
    shared_with: set[int] | None = None

    def is_shared_with(self, employee: Employee) -> bool:
        return self.shared_with is None or employee.id == self.owner or employee.id in self.shared_with


@dataclass(frozen=True, slots=True)
class CustomField:
    """``type`` is Planfix's number of it: 0 line, 1 number, 2 text, 3 date, 7 checkbox, 8 list."""

    id: int
    name: str
    type: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    id: int
    name: str
    is_company: bool


@dataclass(slots=True)
class Token:
    """``scopes`` None: not restricted."""

    employee: int
    scopes: frozenset[str] | None = None
    active: bool = True


class PlanfixStore:
    """All of an account. ``epoch`` moves with every change that a list could show."""

    def __init__(self, *, list_trashed: bool = False, trash_keeps_emails: bool = True) -> None:
        self.contacts: dict[int, Contact] = {}
        self.employees: dict[int, Employee] = {}
        self.filters: dict[str, SavedFilter] = {}
        self.groups: dict[int, str] = {}
        self.templates: dict[int, Template] = {}
        self.custom_fields: dict[int, CustomField] = {}
        self.tokens: dict[str, Token] = {}
        self.epoch = 0
        self.next_contact = 1
        self.next_filter = 4115
        self._list_trashed = list_trashed
        self._trash_keeps_emails = trash_keeps_emails
        self._by_email: dict[str, set[int]] = {}
        self._persons_of: dict[int, set[int]] = {}
        self._by_modified: list[tuple[float, int]] = []
        self._members: dict[tuple[str, bool | None], list[int]] = {}

    # -- contacts ------------------------------------------------------------------------------------------

    def new_contact(self, at_s: float, added_by: str, *, is_company: bool = False) -> Contact:
        """A contact with the next number that is not in the store yet: fill it, then `insert` it."""
        contact = Contact(self.next_contact, at_s, at_s, added_by, is_company, template=2 if is_company else 1)
        self.next_contact += 1
        return contact

    def insert(self, contact: Contact) -> None:
        self.contacts[contact.id] = contact
        self._index(contact)

    @contextmanager
    def changing(self, contact: Contact, modified_s: float | None) -> Iterator[Contact]:
        """The only place where a stored contact changes; ``modified_s`` None leaves its time of change."""
        self._unindex(contact)
        try:
            yield contact
        finally:
            if modified_s is not None:
                contact.modified_s = modified_s
            contact.rendered.clear()
            self._index(contact)

    def live(self, number: int) -> Contact | None:
        contact = self.contacts.get(number)
        return None if contact is None or contact.trashed else contact

    def email_owner(self, address: str, *, except_contact: int | None = None) -> str | None:
        """`contact:5` or `user:2`, whoever has the address already; employees count too."""
        folded = address.casefold()
        for number in sorted(self._by_email.get(folded, ())):
            if number != except_contact:
                return f"contact:{number}"
        for employee in self.employees.values():
            if folded in {
                employee.email.casefold(),
                *(other.casefold() for other in employee.secondary_emails),
            }:
                return f"user:{employee.id}"
        return None

    def with_email(self, address: str) -> list[int]:
        return sorted(self._by_email.get(address.casefold(), ()))

    def persons_of(self, company: int) -> list[int]:
        return sorted(self._persons_of.get(company, ()))

    def modified_since(self, since_s: float) -> list[int]:
        """Numbers of the contacts modified at or after a moment, ascending."""
        start = bisect_left(self._by_modified, (since_s, 0))
        recent = self._by_modified[start:]
        return sorted({number for at_s, number in recent if self.contacts[number].modified_s == at_s})

    def _index(self, contact: Contact) -> None:
        self.epoch += 1
        if not contact.trashed or (self._trash_keeps_emails and contact.merged_into is None):
            for address in contact.emails():
                self._by_email.setdefault(address, set()).add(contact.id)
        for company in contact.companies:
            self._persons_of.setdefault(company, set()).add(contact.id)
        entry = (contact.modified_s, contact.id)
        if not self._by_modified or self._by_modified[-1] < entry:
            self._by_modified.append(entry)
        else:
            insort(self._by_modified, entry)
        if len(self._by_modified) > 2 * len(self.contacts) + 1000:
            self._by_modified = sorted((each.modified_s, each.id) for each in self.contacts.values())
        for (filter_id, is_company), members in self._members.items():
            self._place(contact, members, self._belongs(contact, self._condition(filter_id), is_company))
        self._forget_linked_pieces(contact)

    def _unindex(self, contact: Contact) -> None:
        for address in contact.emails():
            self._by_email.get(address, set()).discard(contact.id)
        for company in contact.companies:
            self._persons_of.get(company, set()).discard(contact.id)
        self._forget_linked_pieces(contact)

    def _forget_linked_pieces(self, contact: Contact) -> None:
        """Answers show names of companies and persons: those of the other end are stale now."""
        for number in (
            *contact.companies,
            *(self._persons_of.get(contact.id, ()) if contact.is_company else ()),
        ):
            other = self.contacts.get(number)
            if other is not None:
                other.rendered.clear()

    # -- filters -------------------------------------------------------------------------------------------

    def members(self, filter_id: str | None, is_company: bool | None) -> list[int]:
        """A filter's contacts by ascending number (do not change the list); None: all contacts.

        ``is_company`` None gives persons and companies together.
        """
        key = (filter_id or "", is_company)
        known = self._members.get(key)
        if known is None:
            condition = self._condition(key[0])
            known = [each.id for each in self.contacts.values() if self._belongs(each, condition, is_company)]
            self._members[key] = known
        return known

    def forget_members(self, filter_id: str) -> None:
        """After a filter's conditions changed or it went away."""
        self.epoch += 1
        for key in [key for key in self._members if key[0] == filter_id]:
            del self._members[key]

    def put_into_set(self, saved: SavedFilter, numbers: Iterable[int], *, inside: bool) -> None:
        """Moves contacts in or out of an explicit set; they do not count as modified."""
        if not isinstance(saved.condition, OneOf):
            raise ValueError(f"filter {saved.id} has no explicit set of contacts")
        for number in numbers:
            (saved.condition.ids.add if inside else saved.condition.ids.discard)(number)
            contact = self.contacts[number]
            for (filter_id, is_company), members in self._members.items():
                if filter_id == saved.id:
                    self._place(contact, members, self._belongs(contact, saved.condition, is_company))
        self.epoch += 1

    def _condition(self, filter_id: str) -> Condition:
        saved = self.filters.get(filter_id)
        return Everything() if saved is None else saved.condition

    def _belongs(self, contact: Contact, condition: Condition, is_company: bool | None) -> bool:
        if contact.merged_into is not None or (contact.trashed and not self._list_trashed):
            return False
        return (is_company is None or contact.is_company == is_company) and matches(condition, contact)

    @staticmethod
    def _place(contact: Contact, members: list[int], belongs: bool) -> None:
        at = bisect_left(members, contact.id)
        present = at < len(members) and members[at] == contact.id
        if belongs and not present:
            members.insert(at, contact.id)
        elif present and not belongs:
            del members[at]

    # -- employees -----------------------------------------------------------------------------------------

    def may_see(self, employee: Employee, contact: Contact) -> bool:
        return employee.role == "Robot" or allowed(employee.sees, employee, contact)

    def may_edit(self, employee: Employee, contact: Contact) -> bool:
        if employee.role == "Robot":
            return True
        return allowed(employee.edits, employee, contact) and allowed(employee.sees, employee, contact)


def allowed(access: Access, employee: Employee, contact: Contact) -> bool:
    if contact.id in access.refused:
        return False
    if access.everything or contact.id in access.granted:
        return True
    return (access.supervised and f"user:{employee.id}" in contact.supervisors) or (
        contact.group is not None and contact.group in access.groups
    )
