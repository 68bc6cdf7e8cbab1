"""Whether a listing of a Google account proves that somebody is not in it (2-semantics I5).

Pure. A listing can silently lose a part and call itself complete, several times alike. It proves absence only if it
lacks nobody of whom we know otherwise: people of the identity map are looked up by name, and a label's own count of
people must not tell of more people under it than were listed or are known. `google_creates.py` lists and asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from contactsync.google.port import PeoplePage
from contactsync_contracts.messages import GooglePerson

LOOKED_UP_MAX: Final = 200
"""People looked up by name after one listing: one request of Google's."""
TRUST_LABELS_S: Final = 86_400.0
"""A label's count that does not fit is believed for so long; whether it counts people in the Trash is not known."""


class Doubt(Enum):
    """How far a listing can be believed."""

    NONE = "it proves absence"
    LABELS = "a label counts more people than it shows"
    SHORT = "it lacks people who are there"


@dataclass(slots=True)
class Listing:
    """Of a whole account, page by page. stamped: people with a stamp of `wanted`; labelled: names under each label;
    unplaced: people that could not even be named."""

    began: float
    wanted: frozenset[int]
    stamped: list[GooglePerson] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    labelled: dict[str, set[str]] = field(default_factory=dict)
    unplaced: int = 0
    total: int = 0

    def add(self, page: PeoplePage) -> None:
        for person in page.people:
            if person.resource in self.seen:  # pages may shift while they are read
                continue
            self.seen.add(person.resource)
            for label in person.labels:
                self.labelled.setdefault(label, set()).add(person.resource)
            if any(stamp.contact in self.wanted for stamp in person.stamps):
                self.stamped.append(person)
        named = [name for name in page.unreadable if name.startswith("people/")]
        self.seen.update(named)
        self.unplaced += len(page.unreadable) - len(named)
        # The pages of one listing agree on its total; one that says less has lost something.
        self.total = max(self.total, page.total or 0)

    @property
    def count(self) -> int:
        return len(self.seen) + self.unplaced

    @property
    def cut(self) -> bool:
        """It says itself that it is not whole."""
        return self.count < self.total


def missing(listing: Listing, known: Iterable[str]) -> list[str]:
    """The names of known people that the listing does not show."""
    return sorted(set(known) - listing.seen)


def hidden(listing: Listing, person: GooglePerson | None, lag_s: float) -> bool:
    """Whether a known person that was looked up should have been in the listing: it is there, under a name that was
    not listed, and was not written so lately that lists may lag."""
    return person is not None and person.resource not in listing.seen and person.updated_at <= listing.began - lag_s


def uncounted(listing: Listing, members: Mapping[str, int], known: Mapping[str, set[str]]) -> bool:
    """Whether a label tells of people that nobody has seen. `members`: its own count; `known`: whom we know to be
    under it."""
    return any(
        count > len(listing.labelled.get(label, set()) | known.get(label, set())) + listing.unplaced
        for label, count in members.items()
    )
