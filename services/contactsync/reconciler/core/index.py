"""What an actor keeps in memory of every link: enough to tell that nothing changed without reading the link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from contactsync.reconciler.core import loops, reasons
from contactsync.reconciler.core.link import Link
from contactsync.reconciler.core.outline import Outline
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import ContactState


class Entry:
    """One link in brief; see `Link` for the meaning of each."""

    __slots__ = (
        "asked",
        "asked_at",
        "candidates",
        "checking",
        "contact",
        "dismissed_at",
        "etag",
        "frozen",
        "gone",
        "google_at",
        "google_hash",
        "held",
        "key",
        "labelled",
        "member",
        "member_at",
        "open",
        "planfix_at",
        "planfix_hash",
        "planfix_wrote",
        "read_only",
        "resource",
        "state",
        "unbegun",
    )

    def __init__(self, link: Link | Outline) -> None:
        self.contact = link.contact
        self.resource = link.resource
        self.etag = link.etag
        self.planfix_hash = link.planfix_hash
        self.planfix_at = link.planfix_at
        self.planfix_wrote = link.planfix_wrote
        self.google_hash = link.google_hash
        self.google_at = link.google_at
        self.member = link.member
        self.member_at = link.member_at
        self.labelled = link.labelled
        self.open = link.open
        self.asked = link.asked
        self.asked_at = link.asked_at
        self.held = link.hold is not None
        self.checking = link.hold is not None and link.hold.reason == reasons.CHECKING
        self.read_only = link.read_only
        self.frozen = link.frozen
        self.key = hash(key) if (key := loops.key_of(link.planfix)) is not None else 0
        self.state = state_of(link)
        self.candidates = link.hold.candidates if link.hold is not None else ()
        self.dismissed_at = link.dismissed_at
        self.gone = link.gone_at > 0
        self.unbegun = is_unbegun(link)


def is_unbegun(link: Link | Outline) -> bool:
    """Its partner was found by match, and nothing was written yet that would tie them."""
    return link.resource is not None and link.own is None and not link.stamped and link.pending is None


def state_of(link: Link | Outline) -> ContactState:
    if link.merged_into is not None:
        return ContactState.MERGED
    if link.dismissed:
        return ContactState.DISMISSED
    if link.hold is not None:
        return ContactState(link.hold.state)
    if link.frozen is not None:
        return ContactState.HELD_BACK
    away = link.due and not link.labelled  # the label or the person is gone, and the filter waits for a human
    if link.open or link.google is None or is_unbegun(link) or away:
        return ContactState.PENDING
    return ContactState.IN_SYNC


class Index:
    """Entries by contact number and by resource name, counted by state. A resource belongs to one contact only."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self._entries: dict[int, Entry] = {}
        self._resources: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._due: set[int] = set()
        self._open: set[int] = set()
        self._matching: set[int] = set()
        self._frozen: dict[int, set[int]] = {}
        self._keys: Counter[int] = Counter()
        self._claims: dict[str, set[int]] = {}
        self._loose: set[int] = set()
        for link in links:
            self.put(link)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, contact: int) -> Entry | None:
        return self._entries.get(contact)

    def owner_of(self, resource: str) -> int | None:
        return self._resources.get(resource)

    def put(self, link: Link | Outline) -> None:
        contact = link.contact
        old = self._entries.get(contact)
        if old is not None:
            self._forget(old)
            if old.resource and old.resource != link.resource:
                self._free(old.resource, contact)
        entry = self._entries[contact] = Entry(link)
        self._claim(old.candidates if old is not None else (), entry)
        self._counts[entry.state.value] += 1
        if entry.key:
            self._keys[entry.key] += 1
        if entry.frozen is not None:
            self._frozen.setdefault(entry.frozen.plan, set()).add(contact)
        if link.resource:
            self._resources.setdefault(link.resource, contact)
        _mark(self._open, contact, entry.open)
        _mark(self._matching, contact, entry.asked == "match")
        _mark(self._due, contact, link.due)

    def drop(self, contact: int) -> None:
        entry = self._entries.pop(contact, None)
        if entry is None:
            return
        self._forget(entry)
        self._open.discard(contact)
        self._matching.discard(contact)
        self._due.discard(contact)
        self._loose.discard(contact)
        for resource in entry.candidates:
            self._unclaim(resource, contact)
        if entry.resource:
            self._free(entry.resource, contact)

    def claims(self, resource: str) -> set[int]:
        """Contacts that are held as possible duplicates because they could be this person."""
        return self._claims.get(resource, set())

    def find_loose(self) -> None:
        """After a restart: those whose rival has gone, which may not have been seen to."""
        for resource, contacts in self._claims.items():
            for contact in contacts:
                lonely = self._entries[contact].candidates == (resource,) and len(contacts) == 1
                if lonely and resource not in self._resources:
                    self._loose.add(contact)

    def loosen(self, resource: str) -> None:
        """Nobody under the label claims this person's contacts any more."""
        self._loose |= self.claims(resource)

    def tighten(self, contacts: Iterable[int]) -> None:
        """They have been seen to."""
        self._loose.difference_update(contacts)

    def _claim(self, before: tuple[str, ...], entry: Entry) -> None:
        for resource in before:
            if resource not in entry.candidates:
                self._unclaim(resource, entry.contact)
        for resource in entry.candidates:
            self._claims.setdefault(resource, set()).add(entry.contact)
        if not entry.candidates:
            self._loose.discard(entry.contact)

    def _unclaim(self, resource: str, contact: int) -> None:
        contacts = self._claims.get(resource, set())
        contacts.discard(contact)
        self._loose |= contacts
        if not contacts:
            self._claims.pop(resource, None)

    def _free(self, resource: str, contact: int) -> None:
        if self._resources.get(resource) == contact:
            del self._resources[resource]
            self._loose |= self.claims(resource)

    def _forget(self, entry: Entry) -> None:
        self._counts[entry.state.value] -= 1
        if entry.key:
            self._keys[entry.key] -= 1
            if not self._keys[entry.key]:
                del self._keys[entry.key]
        if entry.frozen is not None:
            self._frozen[entry.frozen.plan].discard(entry.contact)

    def alike(self, fields: Contact | None) -> int:
        """How many contacts here have these names and numbers (`loops.py`)."""
        key = loops.key_of(fields)
        return self._keys[hash(key)] if key is not None else 0

    def frozen_in(self, plan: int) -> set[int]:
        """Contacts whose action waits in this plan."""
        return set(self._frozen.get(plan, ()))

    def counts(self) -> dict[str, int]:
        return {state: number for state, number in self._counts.items() if number}

    @property
    def open(self) -> set[int]:
        """Contacts with a write or a look under way."""
        return self._open

    @property
    def matching(self) -> set[int]:
        """Contacts whose partner is being looked for."""
        return self._matching

    @property
    def loose(self) -> set[int]:
        """Possible duplicates whose rival has gone, or has been decided about: they are matched again."""
        return self._loose

    @property
    def due(self) -> set[int]:
        """Contacts whose facts changed while nothing could be done (paused, not connected)."""
        return self._due


def _mark(members: set[int], contact: int, is_member: bool) -> None:
    if is_member:
        members.add(contact)
    else:
        members.discard(contact)
