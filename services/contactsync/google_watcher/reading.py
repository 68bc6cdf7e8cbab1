"""Reads one Google account and tells its filters: deltas, full listings, people and labels by name.

Each page is published as it arrives (observations conclude nothing by themselves) and only then enters the index;
what follows from *absence* is said at the end of a listing that is known to be complete. `service.py` decides what
to read and deals with failures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from contactsync.errors import TokenExpired, Unavailable
from contactsync.google.port import Label, PeopleApi, PeoplePage
from contactsync.google_watcher.answers import candidates_json, observed_json, person_json
from contactsync.google_watcher.cursor import (
    Cursor,
    belongs,
    concerned,
    concerned_in_listing,
    encode,
    label_of,
    listed_parts,
    listing_complete,
)
from contactsync.google_watcher.index import Entry, Index, entry_of, version_of
from contactsync.hashing import Hasher
from contactsync.runtime.bus import Bus, Fence, Message, Put
from contactsync.runtime.logs import get_logger
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    AccountObserved,
    Class,
    GoogleCaughtUp,
    GoogleGone,
    GoogleListed,
    GooglePerson,
    LabelObserved,
    LookGoogle,
    Model,
    type_of,
)

NAMES_MAX = 200
"""Names in one look-up of people, and in one message about those that are gone."""

INCOMPLETE_RETRY_S = 30.0

log = get_logger("google-watcher")


@dataclass(slots=True)
class Account:
    """What is known of an account in memory. `filters`: label to filter; `seen_at`: when the last complete read
    began; `recovering`: its grant changed after it was dead, and nothing was read yet; `catching_up`: the index was
    listed silently and what changed meanwhile is still to be told."""

    key: str
    cursor: Cursor | None
    index: Index = field(default_factory=Index)
    filters: dict[str, str] = field(default_factory=dict)
    recovering: bool = False
    catching_up: bool = False
    seen_at: float = 0.0
    unread: int = 0
    """People of the last listing that could not be read and so are not in the index."""


def matches(account: Account, look: LookGoogle) -> Iterator[bytes]:
    """`GoogleCandidates` messages for the contacts that `look` asks about."""
    return candidates_json(
        filter_id=look.filter_id,
        account=account.key,
        seen_at=account.seen_at,
        answers=[account.index.candidates(query) for query in look.match],
        request_id=look.request_id,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    bus: Bus
    api: PeopleApi
    account: Account
    fence: Fence
    hasher: Hasher
    parameters: str
    clock: Callable[[], float]
    number: Callable[[], int]

    async def load_filters(self) -> None:
        """The labels that the writer has made for this account's filters."""
        prefix = f"state.account.{self.account.key}.label."
        found = {}
        async for record in self.bus.load(prefix):
            if label := label_of(record.value):
                found[label] = subjects.untoken(record.key.removeprefix(prefix))
        self.account.filters = found

    # ---- deltas

    async def delta(self, *, told_from_index: bool) -> None:
        """Read what changed since the token to its end, tell it, save the new token. Raises TokenExpired.

        told_from_index: people that are in the index as they came were told already.
        """
        cursor = self.account.cursor
        if cursor is None:
            raise TokenExpired("there is no token yet")
        began, page_token, seen = self.clock(), None, False
        while True:
            page = await self.api.list_page(sync_token=cursor.sync_token, page_token=page_token, cls=Class.CHANGE)
            await self._alive()
            if page.unreadable:
                # What changed there would be lost with the token; a listing at least counts them.
                reason = next(iter(page.unreadable.values()))
                log.warning(
                    "some changes cannot be read: everybody is listed",
                    account=self.account.key,
                    people=len(page.unreadable),
                    reason=reason,
                )
                raise TokenExpired(reason)
            if page.people or page.tombstones:
                # Read after the page: a label that the page shows may be a second old.
                await self.load_filters()
                self._read_with_these_labels()
                await self._tell_changed(page, began, told_from_index=told_from_index)
                seen = True
            if not page.next_page:
                break
            page_token = page.next_page
        if page.next_sync_token is None:
            raise Unavailable("the last page of a delta has no sync token", INCOMPLETE_RETRY_S)
        assert self.account.cursor is not None
        self.account.cursor = replace(self.account.cursor, sync_token=page.next_sync_token)
        self.account.seen_at = began
        if seen:  # a quiet delta's token is not worth a write: the older one leads to the same place
            await self._save()

    async def _tell_changed(self, page: PeoplePage, began: float, *, told_from_index: bool) -> None:
        people, gone = list(page.people), list[str]()
        for names in _cut(page.tombstones):
            # Tombstones are hints (2.3): only a look-up by name tells deleted from merged, or from nothing.
            for name, person in (await self.api.get_people(names, cls=Class.CHANGE)).items():
                if person is None:
                    gone.append(name)
                elif person.resource == name or name in person.previous:
                    people.append(person)
                else:
                    people.append(person.model_copy(update={"previous": (*person.previous, name)}))
        told: dict[str, list[GooglePerson]] = defaultdict(list)
        entries: list[tuple[GooglePerson, Entry]] = []
        for person in people:
            before = self._before(person)
            version = version_of(person)
            known = self.account.index.people.get(person.resource)
            if told_from_index and known and known.version == version and len(before) == 1:
                continue
            names_to_tell = self._concerned(person, before)
            for filter_id in names_to_tell:
                told[filter_id].append(person)
            entries.append((person, self._entry(person, version, before, names_to_tell)))
        lost: dict[str, list[str]] = defaultdict(list)
        for name in gone:
            entry = self.account.index.people.get(name)
            for filter_id in self._mourners(entry):
                lost[filter_id].append(name)
        await self._publish([*self._observed(told, began, {}), *self._gone(lost, began, "")])
        for person, entry in entries:
            self._put(person, entry)
        for name in gone:
            self.account.index.drop(name)

    # ---- full listings

    async def full(self, asked: Sequence[LookGoogle], *, cls: Class, silent: bool = False) -> None:
        """List everybody; answers the `listing` looks. Raises Unavailable when the listing proves incomplete.

        Filters that were not told of everything before are told of all their people. silent: only those who ask are
        told, the others have the delta that follows; the token is not replaced.
        """
        account, began = self.account, self.clock()
        labels: frozenset[str] | None = None
        requests = {look.filter_id: look.request_id for look in reversed(asked)}
        seen: set[str] = set()
        mine: dict[str, list[str]] = defaultdict(list)
        totals: list[int] = []
        unplaced, page_token = 0, None
        while True:
            page = await self._listing_page(page_token, cls)
            await self.load_filters()
            self._read_with_these_labels()
            labels = frozenset(account.filters) if labels is None else labels & account.filters.keys()
            await self._tell_listed(page, began, requests, mine, seen, silent=silent)
            # Whoever is there but cannot be read is not absent.
            named = [name for name in page.unreadable if name.startswith("people/")]
            seen.update(named)
            unplaced += len(page.unreadable) - len(named)
            for filter_id in {*account.filters.values(), *requests}:
                mine[filter_id].extend(named)
            if page.total is not None:
                totals.append(page.total)
            if not page.next_page:
                break
            page_token = page.next_page
        if not listing_complete(len(seen) + unplaced, totals, page.next_sync_token):
            raise Unavailable(
                f"the listing ended after {len(seen)} of {min(totals, default=0)} people, or without a sync token",
                INCOMPLETE_RETRY_S,
            )
        account.index.keep_only(seen)
        account.unread = len(seen) + unplaced - len(account.index.people)
        account.index.complete = True
        account.seen_at = began
        to_tell = [(look.filter_id, look.request_id) for look in asked]
        if not silent:
            to_tell += [(name, "") for name in sorted({*account.filters.values()} - requests.keys())]
        await self._publish(
            item
            for filter_id, request_id in to_tell
            for item in self._listed(filter_id, mine[filter_id], began, len(seen) + unplaced, request_id)
        )
        if not silent and page.next_sync_token is not None:
            account.cursor = Cursor(page.next_sync_token, self.parameters, began, labels)
            await self._save()

    def new_labels(self, asked: Sequence[LookGoogle]) -> set[str] | None:
        """The labels of these looks, if all of them were just made: whoever is under them by now comes with the
        changes. None if a listing is needed."""
        labels = {filter_id: label for label, filter_id in self.account.filters.items()}
        if not asked or not all(look.new_label and look.filter_id in labels for look in asked):
            return None
        return {labels[look.filter_id] for look in asked}

    async def answer_new(self, asked: Sequence[LookGoogle], *, cls: Class) -> None:
        """Answer `listing` looks of new labels (`new_labels`) from the index, which has just been brought up to date.
        People whom somebody has put under the label by now are read by name."""
        if not asked:
            return
        account, began = self.account, self.account.seen_at
        labels = {filter_id: label for label, filter_id in account.filters.items()}
        # A label may have vanished meanwhile, or be an old one to which a filter has come back.
        if (new := self.new_labels(asked)) is None or any(len(self._under(label)) > NAMES_MAX for label in new):
            await self.full(asked, cls=cls)
            return
        for look in asked:
            if names := self._under(labels[look.filter_id]):
                await self.answer_people(look.model_copy(update={"resources": tuple(names), "cls": cls}))
        total = len(account.index.people) + account.unread
        await self._publish(
            item
            for look in asked
            for item in self._listed(
                look.filter_id, self._under(labels[look.filter_id]), began, total, look.request_id
            )
        )
        if account.cursor is not None and account.cursor.labels is not None:
            told = account.cursor.labels | {labels[look.filter_id] for look in asked}
            account.cursor = replace(account.cursor, labels=told)
            await self._save()

    def _under(self, label: str) -> list[str]:
        """Who was last seen with it."""
        return [name for name, entry in self.account.index.people.items() if label in entry.labels]

    async def _listing_page(self, page_token: str | None, cls: Class) -> PeoplePage:
        try:
            page = await self.api.list_page(sync_token=None, page_token=page_token, cls=cls)
        except TokenExpired as error:
            raise Unavailable("the listing's page token expired: it is read again", 1.0) from error
        await self._alive()
        return page

    async def _tell_listed(
        self,
        page: PeoplePage,
        began: float,
        requests: dict[str, str],
        mine: dict[str, list[str]],
        seen: set[str],
        *,
        silent: bool,
    ) -> None:
        told: dict[str, list[GooglePerson]] = defaultdict(list)
        entries: list[tuple[GooglePerson, Entry]] = []
        labels = {filter_id: label for label, filter_id in self.account.filters.items()}
        to_all = set(requests)
        if not silent and self.account.cursor is not None:
            to_all |= {self.account.filters[label] for label in self.account.cursor.behind(self.account.filters)}
        for person in page.people:
            if person.resource in seen:  # pages may shift while they are read
                continue
            seen.add(person.resource)
            owners = {name for name in {*labels, *requests} if belongs(person, labels.get(name))}
            known = self.account.index.people.get(person.resource)
            version = version_of(person)
            to_tell = owners & to_all
            if known is None or known.version != version:
                before = self._before(person)
                if not silent:
                    to_tell |= concerned_in_listing(
                        person.labels,
                        stamped=bool(person.stamps),
                        before=before,
                        filters=self.account.filters,
                    )
                entries.append((person, self._entry(person, version, before, to_tell)))
            for filter_id in to_tell:
                told[filter_id].append(person)
            # By its stamp alone it is there only for those who know how it is now: it may have lost their label.
            aware = to_tell | (set(known.told) if known is not None and known.version == version else set())
            for filter_id in owners:
                if filter_id in aware or labels.get(filter_id) in person.labels:
                    mine[filter_id].append(person.resource)
        await self._publish(self._observed(told, began, requests))
        for person, entry in entries:
            self._put(person, entry)

    # ---- looks

    async def answer_people(self, look: LookGoogle) -> None:
        """Everybody asked for by name, private people too: whoever asks wants to link them. What is news of them is
        told to all whom it concerns: the next delta finds it in the index."""
        began = self.clock()
        found: list[GooglePerson] = []
        gone: list[str] = []
        for names in _cut(look.resources):
            for name, person in (await self.api.get_people(names, cls=look.cls)).items():
                if person is None:
                    gone.append(name)
                else:
                    found.append(person)
        await self._alive()
        messages: list[tuple[str, str, bytes]] = []
        told: dict[str, list[GooglePerson]] = defaultdict(list)
        if found or not gone:
            told[look.filter_id] = found
        for person in found:
            for filter_id in self._others(person) - {look.filter_id}:
                told[filter_id].append(person)
        messages += self._observed(told, began, {look.filter_id: look.request_id})
        messages += self._gone({look.filter_id: gone}, began, look.request_id)
        await self._publish(messages)
        self._read_with_these_labels()
        for person in found:
            before = self._before(person)
            informed = {name for name, people in told.items() if person in people}
            self._put(person, self._entry(person, version_of(person), before, informed))
        for name in gone:
            self.account.index.drop(name)

    async def answer_match(self, look: LookGoogle) -> None:
        bodies = matches(self.account, look)
        await self._publish((look.filter_id, "GoogleCandidates.v1", body) for body in bodies)

    async def answer_changes(self, look: LookGoogle) -> None:
        """The read before this has told what changed."""
        told = GoogleCaughtUp(
            filter_id=look.filter_id,
            account=self.account.key,
            seen_at=self.account.seen_at,
            request_id=look.request_id,
        )
        await self._publish([(look.filter_id, type_of(told), told.model_dump_json().encode())])

    async def answer_label(self, look: LookGoogle) -> None:
        resource = look.label or next(
            (label for label, name in self.account.filters.items() if name == look.filter_id), None
        )
        if resource is None:
            log.warning("asked for a label that the filter does not have", filter=look.filter_id)
            return
        began = self.clock()
        label = await self.api.get_label(resource, cls=look.cls)
        await self._alive()
        observed = LabelObserved(
            filter_id=look.filter_id,
            account=self.account.key,
            seen_at=began,
            label=resource,
            exists=label is not None,
            name=label.name if label else "",
            members=self._members(label) if label else 0,
        )
        await self._publish([_item(observed.filter_id, observed)])

    def _members(self, label: Label) -> int:
        """Google leaves a count of 0 out, other servers every count: then those who were last seen with the label."""
        return label.members or len(self._under(label.resource))

    async def tell_connected(self, filters: Sequence[str], *, connected: bool, reason: str = "") -> None:
        now = self.clock()
        await self._publish(
            _item(
                name,
                AccountObserved(
                    filter_id=name,
                    account=self.account.key,
                    seen_at=now,
                    connected=connected,
                    reason=reason,
                ),
            )
            for name in filters
        )

    # ---- small parts

    async def _alive(self) -> None:
        """The account has just answered: if it was dead before, say so before anything else."""
        if self.account.recovering:
            await self.load_filters()
            await self.tell_connected(sorted({*self.account.filters.values()}), connected=True)
            self.account.recovering = False
            log.info("account is connected again", account=self.account.key)

    def _read_with_these_labels(self) -> None:
        """What is in the index is not told again: not to those either whose label is not known now."""
        if self.account.cursor is not None:
            self.account.cursor = self.account.cursor.read_with(self.account.filters.keys())

    def _before(self, person: GooglePerson) -> list[Entry]:
        people = self.account.index.people
        names = dict.fromkeys((person.resource, *person.previous))
        return [people[name] for name in names if name in people]

    def _concerned(self, person: GooglePerson, before: Sequence[Entry]) -> set[str]:
        return concerned(person.labels, stamped=bool(person.stamps), before=before, filters=self.account.filters)

    def _others(self, person: GooglePerson) -> set[str]:
        """Whom it concerns, if it is not in the index as it is now."""
        known = self.account.index.people.get(person.resource)
        if known is not None and known.version == version_of(person):
            return set()
        return self._concerned(person, self._before(person))

    def _mourners(self, entry: Entry | None) -> set[str]:
        everybody = {*self.account.filters.values()}
        if entry is None:  # never seen: it may have been anybody's
            return everybody
        # Whoever was told of a private person, too: it may have been linked and deleted between two polls.
        return concerned((), stamped=False, before=[entry], filters=self.account.filters) | everybody & {*entry.told}

    def _entry(self, person: GooglePerson, version: int, before: Iterable[Entry], told: Iterable[str]) -> Entry:
        everybody = {*told, *(name for entry in before for name in entry.told)}
        return entry_of(person, version, tuple(sorted(everybody)), self.hasher)

    def _put(self, person: GooglePerson, entry: Entry) -> None:
        for name in person.previous:
            if name != person.resource:
                self.account.index.drop(name)
        self.account.index.put(person.resource, entry)

    def _observed(
        self, told: dict[str, list[GooglePerson]], began: float, requests: dict[str, str]
    ) -> Iterator[tuple[str, str, bytes]]:
        texts: dict[int, bytes] = {}  # of each version: a delta may bring two of one person
        for filter_id, people in told.items():
            for person in people:
                if id(person) not in texts:
                    texts[id(person)] = person_json(person)
            bodies = observed_json(
                filter_id=filter_id,
                account=self.account.key,
                seen_at=began,
                people=[texts[id(person)] for person in people],
                request_id=requests.get(filter_id, ""),
            )
            for body in bodies:
                yield filter_id, "GoogleObserved.v1", body

    def _gone(self, lost: dict[str, list[str]], began: float, request_id: str) -> Iterator[tuple[str, str, bytes]]:
        for filter_id, names in lost.items():
            for part in _cut(names):
                message = GoogleGone(
                    filter_id=filter_id,
                    account=self.account.key,
                    seen_at=began,
                    resources=tuple(part),
                    request_id=request_id,
                )
                yield _item(filter_id, message)

    def _listed(
        self, filter_id: str, names: Sequence[str], began: float, total: int, request_id: str
    ) -> Iterator[tuple[str, str, bytes]]:
        parts = listed_parts(names)
        for number, (low, high, resources) in enumerate(parts, 1):
            message = GoogleListed(
                filter_id=filter_id,
                account=self.account.key,
                began_at=began,
                low=low,
                high=high,
                resources=resources,
                people_total=total,
                last=number == len(parts),
                request_id=request_id,
            )
            yield _item(filter_id, message)

    async def _publish(self, items: Iterable[tuple[str, str, bytes]]) -> None:
        counter = self.number()
        messages = [
            Message(
                subject=subjects.mailbox(filter_id, "google"),
                data=body,
                msg_id=f"{subjects.token(filter_id)}.google.{self.fence.epoch}.{counter}.{page}",
                type_=type_,
            )
            for page, (filter_id, type_, body) in enumerate(items)
        ]
        if messages:
            await self.bus.publish_many(messages)

    async def _save(self) -> None:
        if self.account.cursor is not None:
            key = f"state.account.{self.account.key}.cursor"
            await self.bus.commit(self.fence, [Put(key, encode(self.account.cursor))])


def _item(filter_id: str, message: Model) -> tuple[str, str, bytes]:
    return filter_id, type_of(message), message.model_dump_json().encode()


def _cut(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(names), NAMES_MAX):
        yield names[at : at + NAMES_MAX]
