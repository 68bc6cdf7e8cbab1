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
from contactsync.runtime.bus import Bus, Refused, Subscription
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class, GooglePerson

SERVICE = "google-watcher"
VERB = "google_page"


class PeopleQuery(BaseModel):
    """people: these by name; else a page of what changed, or with `full` of everybody, that concerns the filter."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    account: str
    filter_id: str
    people: tuple[str, ...] = ()
    full: bool = False
    page: str | None = None


class GooglePeek:
    """`parameters`: the hash that a saved token must have been made with."""

    def __init__(self, bus: Bus, people: Callable[[str], PeopleApi], parameters: str) -> None:
        self._bus, self._people, self._parameters = bus, people, parameters

    async def serve(self) -> list[Subscription]:
        return [await self._bus.serve(SERVICE, subjects.query(VERB), self._answer)]

    async def _answer(self, _subject: str, data: bytes) -> bytes:
        """Packed JSON {people, gone, next, full}; `expired`: ask again with `full`."""
        try:
            asked = PeopleQuery.model_validate_json(data)
        except ValidationError as error:
            raise Refused("not a question for people", 400) from error
        api = self._people(asked.account)
        try:
            if asked.people:
                return await self._by_name(api, asked.people, None)
            return await self._page(api, asked)
        except TokenExpired:
            return _packed({"expired": True})
        except VendorError as error:
            raise Refused(error.reason, 503) from error

    async def _page(self, api: PeopleApi, asked: PeopleQuery) -> bytes:
        token = None
        if not asked.full:
            saved = await self._bus.get(f"state.account.{asked.account}.cursor")
            cursor = decode(saved.value) if saved is not None else None
            if cursor is None or cursor.parameters != self._parameters:
                return _packed({"expired": True})
            token = cursor.sync_token
        page = await api.list_page(sync_token=token, page_token=asked.page, cls=Class.HUMAN)
        stored = await self._bus.get(subjects.label_key(asked.account, asked.filter_id))
        label = label_of(stored.value) if stored is not None else None
        concerned = [person for person in page.people if belongs(person, label)]
        if page.tombstones:
            return await self._by_name(api, page.tombstones, page, concerned)
        return _packed(_content(concerned, [], page))

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
    return {"people": shown, "gone": gone, "next": page.next_page if page is not None else None}


def _packed(content: dict[str, object]) -> bytes:
    return zlib.compress(orjson.dumps(content), level=6)
