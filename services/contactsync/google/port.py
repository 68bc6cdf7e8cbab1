"""What the watcher and the writer need of one Google account; `client.py` does it over the People API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from contactsync.errors import OutcomeUnknown
from contactsync_contracts.messages import Class, GooglePerson

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page of the account's people. `next_sync_token` is on the last page only; `total` is what the answer
    says (of the delta when a sync token was given)."""

    people: tuple[GooglePerson, ...]
    tombstones: tuple[str, ...]
    next_page: str | None
    next_sync_token: str | None
    total: int | None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Resource name (or its place on the page) to the reason why a person could not be mapped."""


class PartlyDone(OutcomeUnknown):
    """A batch was answered with success, but not for all of its items: `done` took effect.

    Update: `done` and `items` (the reasons) are by requested resource name; `stale`: those of `items` whose etag
    was old. Create: `done` is by the new resource name (match by stamp) and `items` by place in the answer, whose
    order says nothing. `fields`: the person's field that an item's error names, by the same keys as `items`. When
    `complete`, every item was answered: what is not in `done` has not been written.
    Whoever does not know this class looks for stamps or reads again, which is right, only slower.
    """

    def __init__(
        self,
        reason: str,
        done: Mapping[str, GooglePerson],
        items: Mapping[str, str],
        stale: frozenset[str] = frozenset(),
        *,
        complete: bool,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.fields = dict(fields or {})
        self.done = dict(done)
        self.items = dict(items)
        self.stale = stale
        self.complete = complete


@dataclass(frozen=True, slots=True)
class Label:
    """A user's contact group. `stamp` is the filter of this Planfix account that it was made for."""

    resource: str
    name: str
    etag: str
    members: int
    stamp: str | None
    client_data: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonUpdate:
    """One person of an update batch: `body` holds exactly the fields of the batch's mask, and the etags."""

    resource: str
    body: Json


class PeopleApi(Protocol):
    """All calls obey the account's quotas first (waiting) and raise `contactsync.errors`. A write that may have
    taken effect raises OutcomeUnknown, never Unavailable."""

    async def list_page(self, *, sync_token: str | None, page_token: str | None, cls: Class) -> PeoplePage: ...

    async def get_people(self, resources: Sequence[str], *, cls: Class) -> dict[str, GooglePerson | None]:
        """By requested name (any number); None for one that is not there. A person answered under another
        name than asked carries the asked one in `previous`."""

    async def create_people(self, bodies: Sequence[Json], *, cls: Class) -> list[GooglePerson]:
        """Create 1 to 200 people: one as a single call, else as a batch. The answers in any order: match by stamp.
        `Rejected.items` by index in `bodies` as text."""

    async def update_people(
        self, mask: Sequence[str], updates: Sequence[PersonUpdate], *, cls: Class
    ) -> dict[str, GooglePerson]:
        """Update 1 to 200 people with one mask; by requested resource name. `Rejected.items` by resource name."""

    async def delete_person(self, resource: str, *, cls: Class) -> None:
        """Deleting one that is not there succeeds."""

    async def list_labels(self, *, cls: Class) -> list[Label]: ...

    async def get_label(self, resource: str, *, cls: Class) -> Label | None: ...

    async def create_label(self, name: str, stamp: str, *, cls: Class) -> Label:
        """Raises Exists when the name is taken."""

    async def update_label(self, label: Label, *, name: str | None, stamp: str | None, cls: Class) -> Label:
        """None leaves as it is; an empty stamp takes ours off."""

    async def modify_members(
        self, label: str, add: Sequence[str], remove: Sequence[str], *, cls: Class
    ) -> Mapping[str, str]:
        """Fallback where memberships in updates prove ignored; resource name -> reason for those not done."""
