"""The arrivals of one filter in memory, by person, by resource name and by the contact that their stamp names.

`arrivals.py` decides about each; the machine's draft keeps them here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, KeysView
from typing import TypeVar

from contactsync.reconciler.core.link import Arrival
from contactsync_contracts.contact import Contact

K = TypeVar("K", int, str)


class Arrived:
    """Source id -> arrival. There are as many as people were put under the label lately, or wait for an answer."""

    def __init__(self, arrivals: Iterable[Arrival] = ()) -> None:
        self._arrivals: dict[str, Arrival] = {}
        self._resources: dict[str, str] = {}
        self._stamped: dict[int, dict[str, None]] = {}
        self._addresses: dict[str, dict[str, None]] = {}
        for arrival in arrivals:
            self.put(arrival)

    def __contains__(self, source_id: str) -> bool:
        return source_id in self._arrivals

    def get(self, source_id: str) -> Arrival | None:
        return self._arrivals.get(source_id)

    def values(self) -> Collection[Arrival]:
        return self._arrivals.values()

    @property
    def source_ids(self) -> KeysView[str]:
        return self._arrivals.keys()

    @property
    def resources(self) -> KeysView[str]:
        return self._resources.keys()

    def named(self, resource: str) -> Arrival | None:
        """The arrival of the person with this resource name."""
        return self._arrivals.get(self._resources.get(resource, ""))

    def stamped(self, contact: int) -> Arrival | None:
        """The first of those whose stamp names this contact."""
        return next((self._arrivals[source_id] for source_id in self._stamped.get(contact, ())), None)

    def sharing(self, fields: Contact) -> list[Arrival]:
        """Those that have an e-mail or phone of these fields."""
        found = {source_id: None for key in addresses(fields) for source_id in self._addresses.get(key, ())}
        return [self._arrivals[source_id] for source_id in found]

    def put(self, arrival: Arrival) -> None:
        before = self._arrivals.get(arrival.source_id)
        if before is not None:
            self._forget(before)
        self._arrivals[arrival.source_id] = arrival
        self._resources[arrival.resource] = arrival.source_id
        if arrival.stamp_contact is not None:
            self._stamped.setdefault(arrival.stamp_contact, {})[arrival.source_id] = None
        for address in addresses(arrival.google):
            self._addresses.setdefault(address, {})[arrival.source_id] = None

    def drop(self, source_id: str) -> Arrival | None:
        """The one that was there."""
        arrival = self._arrivals.pop(source_id, None)
        if arrival is not None:
            self._forget(arrival)
        return arrival

    def _forget(self, arrival: Arrival) -> None:
        if self._resources.get(arrival.resource) == arrival.source_id:
            del self._resources[arrival.resource]
        _remove(self._stamped, arrival.stamp_contact or 0, arrival.source_id)
        for address in addresses(arrival.google):
            _remove(self._addresses, address, arrival.source_id)


def addresses(fields: Contact) -> set[str]:
    """E-mails and phones in canonical form; neither can look like the other."""
    values = (fields.get("emails", ()), fields.get("phones", ()))
    return {element.key for value in values for element in value if not isinstance(element, str)}


def _remove(groups: dict[K, dict[str, None]], key: K, source_id: str) -> None:
    group = groups.get(key)
    if group is not None:
        group.pop(source_id, None)
        if not group:
            del groups[key]
