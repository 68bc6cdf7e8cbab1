"""What the watcher remembers of the people of one Google account: enough to tell what changed and to find the
candidates for a contact, nothing in clear. Pure; `cursor.py` decides with it, `service.py` keeps it.
"""

from __future__ import annotations

import marshal
import sys
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

from contactsync.hashing import Hasher, NameHashes, content_hash
from contactsync_contracts.messages import Candidate, ContactCandidates, GooglePerson, MatchQuery

_K = TypeVar("_K", str, int)

CANDIDATES_MAX = 2000
"""Candidates in one answer: a switchboard's number may be shared by hundreds, and the names decide."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One person. `version` changes with its etag, content, labels or stamps; `stamps` are contact numbers;
    `told` are the filters that an observation of it went to; `source` is the source id's hash (of this process)."""

    version: int
    labels: tuple[str, ...]
    stamps: tuple[int, ...]
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    names: NameHashes
    told: tuple[str, ...] = ()
    source: int = 0


_FIELDS = tuple(one.name for one in fields(Entry))


def version_of(person: GooglePerson) -> int:
    """Equal within this process exactly when nothing about the person moved, its etag included."""
    stamps = tuple((stamp.contact, stamp.kept) for stamp in person.stamps)
    return hash((person.etag, content_hash(person.fields), person.labels, stamps))


def entry_of(person: GooglePerson, version: int, told: tuple[str, ...], hasher: Hasher) -> Entry:
    given, family = person.fields.get("given", ""), person.fields.get("family", "")
    return Entry(
        version=version,
        labels=tuple(sys.intern(label) for label in person.labels),
        stamps=tuple(stamp.contact for stamp in person.stamps),
        emails=tuple(hasher.email(key) for key in _keys(person, "emails")),
        phones=tuple(hasher.phone(key) for key in _keys(person, "phones")),
        names=hasher.names(given if isinstance(given, str) else "", family if isinstance(family, str) else ""),
        told=told,
        source=hash(person.source_id) if person.source_id else 0,
    )


def _keys(person: GooglePerson, name: str) -> list[str]:
    elements = person.fields.get(name, ())
    return [] if isinstance(elements, str) else [element.key for element in elements]


@dataclass(slots=True)
class Index:
    """People by resource name, and by the hashes of what they can be matched by. `complete` once a listing has
    been read to its end. Folded up it takes a tenth of the memory; whoever looks into it unfolds it."""

    complete: bool = False
    _people: dict[str, Entry] = field(default_factory=dict)
    _by_email: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _by_phone: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _by_stamp: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _folded: bytes = b""
    _touched: bool = False

    @property
    def people(self) -> dict[str, Entry]:
        self._touched = True
        if self._folded:
            folded, self._folded = self._folded, b""
            for resource, *values in marshal.loads(zlib.decompress(folded)):
                self.put(resource, Entry(*values))
        return self._people

    @property
    def unfolded(self) -> int:
        """How many people are in memory as they are."""
        return len(self._people)

    def was_touched(self) -> bool:
        """Whether anybody looked into it since this was asked last."""
        touched, self._touched = self._touched, False
        return touched

    def fold(self) -> None:
        if self._people:
            people = [(name, *(getattr(entry, one) for one in _FIELDS)) for name, entry in self._people.items()]
            self._folded = zlib.compress(marshal.dumps(people), 1)
            for by in (self._people, self._by_email, self._by_phone, self._by_stamp):
                by.clear()

    def put(self, resource: str, entry: Entry) -> None:
        self.drop(resource)
        self.people[resource] = entry
        for email in entry.emails:
            _add(self._by_email, email, resource)
        for phone in entry.phones:
            _add(self._by_phone, phone, resource)
        for stamp in entry.stamps:
            _add(self._by_stamp, stamp, resource)

    def drop(self, resource: str) -> Entry | None:
        entry = self.people.pop(resource, None)
        if entry is None:
            return None
        for email in entry.emails:
            _remove(self._by_email, email, resource)
        for phone in entry.phones:
            _remove(self._by_phone, phone, resource)
        for stamp in entry.stamps:
            _remove(self._by_stamp, stamp, resource)
        return entry

    def clear(self) -> None:
        self.complete, self._folded = False, b""
        for by in (self._people, self._by_email, self._by_phone, self._by_stamp):
            by.clear()

    def keep_only(self, resources: Collection[str]) -> None:
        """Forget everybody else: a complete listing lacked them."""
        for resource in [name for name in self.people if name not in resources]:
            self.drop(resource)

    def candidates(self, query: MatchQuery) -> ContactCandidates:
        """Who may be this contact (2-semantics 2.2): the people stamped for it; else the person that it was created
        from; else those without any stamp that share an e-mail, and others that share a phone number. The names are
        for the asker to compare: where those of the former contradict, the latter count."""
        assert self.people is self._people  # unfolded
        found = self._stamped(query) or self._source(query)
        if not found:
            found = self._sharing(query.emails, self._by_email, "email")
            same = {candidate.resource for candidate in found}
            found += [c for c in self._sharing(query.phones, self._by_phone, "phone") if c.resource not in same]
        return ContactCandidates(contact=query.contact, candidates=tuple(found[:CANDIDATES_MAX]))

    def _stamped(self, query: MatchQuery) -> list[Candidate]:
        return [self._candidate(name, "stamp") for name in sorted(self._by_stamp.get(query.contact, ()))]

    def _source(self, query: MatchQuery) -> list[Candidate]:
        """Looked for one by one: it is asked for only where the answer to a create was lost, or our state."""
        if not query.source:
            return []
        wanted = hash(query.source)
        found = [name for name, entry in self.people.items() if entry.source == wanted and not entry.stamps]
        return [self._candidate(name, "source") for name in found]

    def _sharing(
        self, hashes: Collection[str], by: dict[str, tuple[str, ...]], how: Literal["email", "phone"]
    ) -> list[Candidate]:
        names = {name for key in hashes for name in by.get(key, ()) if not self.people[name].stamps}
        return [self._candidate(name, how) for name in sorted(names)]

    def _candidate(self, resource: str, by: Literal["stamp", "source", "email", "phone"]) -> Candidate:
        given, initial, is_initial, family = self.people[resource].names
        return Candidate(
            resource=resource,
            by=by,
            given=given,
            given_initial=initial,
            given_is_initial=is_initial,
            family=family,
        )


def _add(by: dict[_K, tuple[str, ...]], key: _K, resource: str) -> None:
    known: tuple[str, ...] = by.get(key, ())
    if resource not in known:
        by[key] = (*known, resource)


def _remove(by: dict[_K, tuple[str, ...]], key: _K, resource: str) -> None:
    rest = tuple(name for name in by.get(key, ()) if name != resource)
    if rest:
        by[key] = rest
    else:
        by.pop(key, None)
