"""What has changed in an account since it was last told, for previews: read from the saved token, which stays as it
is; nothing is remembered or told.

Beside `service.py`, which watches. Answers are packed, since a page of people may pass the megabyte of a message.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from contactsync.errors import TokenExpired, VendorError
from contactsync.google.port import PeopleApi, PeoplePage
from contactsync.google_watcher.cursor import belongs, decode, label_of
from contactsync.google_watcher.index import Index, entry_of
from contactsync.hashing import Hasher
from contactsync.runtime.bus import Bus, Refused, Subscription
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class, GooglePerson, MatchQuery

SERVICE = "google-watcher"
VERB = "google_page"


class PeopleQuery(BaseModel):
    """people: these by name; match: who of those that changed could be these contacts; else a page of what changed,
    or with `full` of everybody, that concerns the filter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    filter_id: str
    people: tuple[str, ...] = ()
    match: tuple[MatchQuery, ...] = ()
    full: bool = False
    page: str | None = None


class GooglePeek:
    """`parameters`: the hash that a saved token must have been made with."""

    def __init__(self, bus: Bus, people: Callable[[str], PeopleApi], hasher: Hasher, parameters: str) -> None:
        self._bus, self._people, self._hasher, self._parameters = bus, people, hasher, parameters

    async def serve(self) -> list[Subscription]:
        return [await self._bus.serve(SERVICE, subjects.query(VERB), self._answer)]

    async def _answer(self, _subject: str, data: bytes) -> bytes:
        """Packed JSON {people, gone, next, moved}, or of `match` {moved, answers}; `expired`: ask with `full`."""
        try:
            asked = PeopleQuery.model_validate_json(data)
        except ValidationError as error:
            raise Refused("not a question for people", 400) from error
        api = self._people(asked.account)
        try:
            if asked.people:
                return await self._by_name(api, asked.people, None)
            return await (self._partners(api, asked) if asked.match else self._page(api, asked))
        except TokenExpired:
            return _packed({"expired": True})
        except VendorError as error:
            raise Refused(error.reason, 503) from error

    async def _page(self, api: PeopleApi, asked: PeopleQuery) -> bytes:
        token = None if asked.full else await self._token(asked.account)
        page = await api.list_page(sync_token=token, page_token=asked.page, cls=Class.HUMAN)
        stored = await self._bus.get(subjects.label_key(asked.account, asked.filter_id))
        label = label_of(stored.value) if stored is not None else None
        concerned = [person for person in page.people if belongs(person, label)]
        if page.tombstones:
            return await self._by_name(api, page.tombstones, page, concerned)
        return _packed(_content(concerned, [], page))

    async def _partners(self, api: PeopleApi, asked: PeopleQuery) -> bytes:
        """The watcher's index knows everybody as of its last reading; this is what a sync would add to it first."""
        token, after = await self._token(asked.account), None
        index, moved = Index(), set[str]()
        while True:
            page = await api.list_page(sync_token=token, page_token=after, cls=Class.HUMAN)
            named = await api.get_people(page.tombstones, cls=Class.HUMAN) if page.tombstones else {}
            for person in (*page.people, *(one for one in named.values() if one is not None)):
                index.put(person.resource, entry_of(person, 0, (), self._hasher))
            moved |= index.people.keys() | named.keys()
            after = page.next_page
            if after is None:
                break
        answers = [index.candidates(query).model_dump(mode="json") for query in asked.match]
        return _packed({"moved": sorted(moved), "answers": answers})

    async def _token(self, account: str) -> str:
        """Raises TokenExpired where none was saved that would do."""
        saved = await self._bus.get(f"state.account.{account}.cursor")
        cursor = decode(saved.value) if saved is not None else None
        if cursor is None or cursor.parameters != self._parameters:
            raise TokenExpired("no token was saved")
        return cursor.sync_token

    async def _by_name(
        self,
        api: PeopleApi,
        names: tuple[str, ...],
        page: PeoplePage | None,
        others: list[GooglePerson] | None = None,
    ) -> bytes:
        found = await api.get_people(names, cls=Class.HUMAN)
        people = [person for person in found.values() if person is not None]
        gone = [name for name, person in found.items() if person is None]
        return _packed(_content([*(others or []), *people], gone, page))


def _content(people: list[GooglePerson], gone: list[str], page: PeoplePage | None) -> dict[str, object]:
    shown = [person.model_dump(mode="json", exclude_defaults=True) for person in people]
    moved = page is not None and bool(page.people or page.tombstones)
    return {"people": shown, "gone": gone, "next": page.next_page if page is not None else None, "moved": moved}


def _packed(content: dict[str, object]) -> bytes:
    return zlib.compress(orjson.dumps(content), level=6)
