"""What the watcher remembers of the filters: who was told to be in them, with which content. Pure, in memory only.

It saves messages (a background listing tells only what differs) and says whom a changed contact concerns; nothing
is concluded from it. After a restart it is empty and fills with the next listing of each filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from contactsync.hashing import content_hash
from contactsync_contracts.messages import FilterState, PlanfixContact

_STOPPED = {"disconnected", FilterState.DISCONNECTING}
_NOT_POLLED = _STOPPED | {FilterState.PAUSED, FilterState.FILTER_GONE, FilterState.OWNER_GONE}
_ASKS_ITSELF = {FilterState.ENABLING, FilterState.FIRST_SYNC}


@dataclass(frozen=True, slots=True)
class FilterView:
    """What the watcher needs of the reconciler's record `state.filter.<f>`."""

    filter_id: str
    owner: int | None
    state: str
    name: str | None

    @property
    def watched(self) -> bool:
        """Its name and owner are of interest."""
        return self.state not in _STOPPED

    @property
    def polled(self) -> bool:
        """Changes of its contacts are of interest."""
        return self.state not in _NOT_POLLED

    @property
    def rotates(self) -> bool:
        """It is listed in the background; a filter in its first sync asks for its listing itself."""
        return self.polled and self.state not in _ASKS_ITSELF


def view_of(value: bytes) -> FilterView | None:
    """None for a record that is not a filter's."""
    try:
        raw: Any = orjson.loads(value)
        owner = raw.get("owner")
        return FilterView(
            filter_id=str(raw["filter_id"]),
            owner=int(owner) if owner is not None else None,
            state=str(raw.get("state", "")),
            name=raw.get("name"),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


@dataclass(slots=True)
class Members:
    """Of one filter: contact to the hash of what was told last. `complete` once a listing ended; `listed_at`: when
    the last complete one began."""

    told: dict[int, int] = field(default_factory=dict)
    companies: set[int] = field(default_factory=set)
    complete: bool = False
    listed_at: float = 0.0


def version_of(contact: PlanfixContact) -> int:
    return content_hash(contact.fields) ^ contact.is_company


@dataclass(slots=True)
class Known:
    filters: dict[str, Members] = field(default_factory=dict)

    def of(self, filter_id: str) -> Members:
        return self.filters.setdefault(filter_id, Members())

    def keep_only(self, views: Mapping[str, FilterView]) -> None:
        for filter_id in [name for name in self.filters if name not in views]:
            del self.filters[filter_id]

    def differs(self, filter_id: str, contact: PlanfixContact) -> bool:
        return self.of(filter_id).told.get(contact.contact) != version_of(contact)

    def tell(self, filter_id: str, contacts: Iterable[PlanfixContact]) -> None:
        """Members of the filter were told with this content."""
        members = self.of(filter_id)
        for contact in contacts:
            members.told[contact.contact] = version_of(contact)
            if contact.is_company:
                members.companies.add(contact.contact)

    def missed(self, filter_id: str, numbers: Iterable[int]) -> None:
        """These did not come: should they come again, they are told again even if they are as they were."""
        for number in numbers:
            self.of(filter_id).told.pop(number, None)

    def listed(self, filter_id: str, numbers: set[int], began_at: float) -> None:
        """A complete listing had exactly these."""
        members = self.of(filter_id)
        members.told = {number: told for number, told in members.told.items() if number in numbers}
        members.companies &= numbers
        members.complete, members.listed_at = True, began_at

    def holders(self, number: int) -> list[str]:
        return [name for name, members in self.filters.items() if number in members.told]

    def has_companies(self) -> bool:
        return any(members.companies for members in self.filters.values())
