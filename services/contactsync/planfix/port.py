"""What the watcher, the writer and the gateway need of Planfix; `client.py` does it over the REST API."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class, NewContactDefaults, PlanfixContact


@dataclass(frozen=True, slots=True)
class Filter:
    """A saved contact list. `owner` is None for the system's own (`:contact`, `:company`)."""

    filter_id: str
    name: str
    owner: int | None


@dataclass(frozen=True, slots=True)
class Employee:
    number: int
    name: str
    email: str
    emails: tuple[str, ...]
    active: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. Every condition given must hold (AND).

    visible_to, editable_by: employee numbers (complex filters 47 and 48); numbers: contact numbers (4231);
    email: the exact primary address; phone: a canonical key, found inside the stored spelling, so the answer may
    hold other numbers too and the caller compares keys.
    modified_since, created_since: Unix seconds, applied with minute granularity in the time zone of the token's
    employee, already widened by the client so that nothing at or after the moment is missed.
    """

    filter_id: str | None = None
    visible_to: int | None = None
    editable_by: int | None = None
    numbers: tuple[int, ...] | None = None
    email: str | None = None
    phone: str | None = None
    modified_since: float | None = None
    created_since: float | None = None
    marker: str | None = None
    companies: bool = False


@dataclass(frozen=True, slots=True)
class ContactPage:
    """`count` is the number of rows in the answer (before dropping any that could not be mapped)."""

    contacts: tuple[PlanfixContact, ...]
    count: int
    markers: Mapping[int, str] = field(default_factory=dict)
    """`sourceObjectId`, else our stamp field, of the contacts that have one."""
    phones: Mapping[int, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Each contact's phones as Planfix spells them: what a write of the whole list is laid over."""
    skipped: Mapping[int, str] = field(default_factory=dict)
    """Number to the reason why a row is not in `contacts`: in the trash, or not mappable (0: without a number)."""
    modified: Mapping[int, str] = field(default_factory=dict)
    """When each contact was last changed, as Planfix writes it: to be compared, not read."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an update answered.

    `queued`: HTTP 202, it will be applied later. `sent`: false when nothing was left to send. `failures`: Planfix's
    field to its error. `refused`: canonical field to the reason why it, or one of its elements, is not written:
    what Planfix cannot hold (not sent) and `failures` by our names.
    """

    queued: bool = False
    sent: bool = True
    failures: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class PlanfixApi(Protocol):
    """All calls obey the quota first (waiting) and raise `contactsync.errors`."""

    async def list_contacts(
        self, query: Query, *, offset: int = 0, ids_only: bool = False, cls: Class
    ) -> ContactPage:
        """One page of at most 100; with all mapped fields unless `ids_only` (then `fields` are empty)."""

    async def get_contact(self, number: int, *, cls: Class) -> PlanfixContact | None:
        """None when it does not exist or is in the trash."""

    async def filters(self, *, cls: Class) -> list[Filter]: ...

    async def employees(self, *, cls: Class, until: Collection[int] = ()) -> list[Employee]:
        """All employees, inactive ones too; with `until`, only as far as needed to see all of these."""

    async def update_contact(
        self,
        number: int,
        fields: Contact,
        *,
        is_company: bool,
        phones: Sequence[Mapping[str, Any]],
        current: Contact | None = None,
        cls: Class,
    ) -> Written:
        """Silent partial update. `phones` is the current list as Planfix spells it (the overlay's ground), `current`
        the contact as it was just read: it keeps the primary e-mail address and a birthday without a year.

        Raises Rejected with `items` (canonical field to reason) when Planfix refuses the whole request because of
        one field, OutcomeUnknown, Gone."""

    async def create_contact(
        self,
        fields: Contact,
        *,
        is_company: bool,
        owner: int,
        defaults: NewContactDefaults,
        marker: str,
        cls: Class,
    ) -> int:
        """The new contact's number. Raises OutcomeUnknown when it may exist already."""

    async def company_number(self, name: str, *, cls: Class) -> int | None:
        """The one company of exactly this name."""

    async def delta_filter_works(self, *, cls: Class) -> bool:
        """Whether "modified after 2000" answers something and "modified after tomorrow" nothing: an unknown
        filter type answers an empty success."""

    async def ping(self) -> None: ...
