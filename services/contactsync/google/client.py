"""One Google account through the People API: `PeopleApi` of `port.py`, over aiogoogle.

What to ask and what the answers say; `calls.py` sends each request with a token and within the quota, and
`answers.py` has the table of errors. The writer and the google-watcher are its users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import anyio
import anyio.lowlevel

from contactsync.errors import Gone, Rejected
from contactsync.google import answers, labels
from contactsync.google.calls import Observe, PeopleCalls, Quota, Tokens
from contactsync.google.people_discovery import people_api
from contactsync.google.port import Json, Label, PartlyDone, PeoplePage, PersonUpdate
from contactsync.google.reading import PERSON_FIELDS, MappingConfig, contact_source, to_person
from contactsync.google.session import PeopleSession
from contactsync_contracts.messages import Class, GooglePerson

PAGE_SIZE: Final = 1000
BATCH_MAX: Final = 200
GET_MAX: Final = 150
"""Names in one batchGet: Google takes 200, but their address would pass the 8 kB that proxies allow."""
MEMBERS_MAX: Final = 1000
YIELD_EVERY: Final = 100
"""Mapping so many people takes a few milliseconds: others get their turn in between."""
_MY_CONTACTS: Final = "contactGroups/myContacts"
SOURCE: Final = "READ_SOURCE_TYPE_CONTACT"
FIELDS: Final = ",".join(PERSON_FIELDS)

_LIST: Final = {
    "resourceName": "people/me",
    "personFields": FIELDS,
    "sources": SOURCE,
    "pageSize": PAGE_SIZE,
    "requestSyncToken": "true",
}
LIST_PARAMETERS_HASH: Final = hashlib.sha256(repr(sorted(_LIST.items())).encode()).hexdigest()[:16]
"""A sync token is good only for the parameters that it was made with (discovery, connections.list)."""

_MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError)
"""What walking through JSON of another shape than documented raises."""


class GooglePeople:
    """See `port.PeopleApi`. `session` is shared by all accounts of the process and closed by whoever made it."""

    def __init__(
        self,
        account: str,
        *,
        session: PeopleSession,
        people_url: str,
        tokens: Tokens,
        quota: Quota,
        config: MappingConfig,
        observe: Observe | None = None,
    ) -> None:
        self._api = people_api(people_url)
        self._config = config
        self._calls = PeopleCalls(account, session=session, tokens=tokens, quota=quota, observe=observe)
        self._read = self._calls.read
        self._write = self._calls.write

    # ---- people: reading

    async def list_page(self, *, sync_token: str | None, page_token: str | None, cls: Class) -> PeoplePage:
        body = await self._read(
            "list_people",
            self._api.people.connections.list,
            cls,
            has_token=bool(sync_token or page_token),
            first_page=not (sync_token or page_token),
            **_LIST,
            syncToken=sync_token or None,
            pageToken=page_token or None,
        )
        people: list[GooglePerson] = []
        tombstones: list[str] = []
        unreadable: dict[str, str] = {}
        for place, person in enumerate(_entries(body, "connections")):
            if place % YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()
            try:
                if (person.get("metadata") or {}).get("deleted"):
                    tombstones.append(str(person["resourceName"]))
                else:
                    people.append(to_person(person, config=self._config))
            except _MALFORMED as error:
                unreadable[_name_of(person) or str(place)] = f"unreadable: {type(error).__name__}"
        total = body.get("totalItems", body.get("totalPeople"))
        return PeoplePage(
            people=tuple(people),
            tombstones=tuple(tombstones),
            next_page=body.get("nextPageToken") or None,
            next_sync_token=body.get("nextSyncToken") or None,
            total=total if isinstance(total, int) else None,
            unreadable=unreadable,
        )

    async def get_people(self, resources: Sequence[str], *, cls: Class) -> dict[str, GooglePerson | None]:
        found: dict[str, GooglePerson | None] = {}
        names = list(dict.fromkeys(resources))
        for at in range(0, len(names), GET_MAX):
            found |= await self._get(names[at : at + GET_MAX], cls)
        return found

    async def _get(self, names: Sequence[str], cls: Class) -> dict[str, GooglePerson | None]:
        asked: dict[str, Any] = {"personFields": FIELDS, "sources": SOURCE}
        try:
            if len(names) == 1:
                person = await self._read("get_person", self._api.people.get, cls, resourceName=names[0], **asked)
                return {names[0]: self._looked_up(person, names[0])}
            body = await self._read(
                "get_people", self._api.people.getBatchGet, cls, resourceNames=list(names), **asked
            )
        except Gone:
            if len(names) == 1:
                return {names[0]: None}
            half = len(names) // 2
            return await self._get(names[:half], cls) | await self._get(names[half:], cls)
        found: dict[str, GooglePerson | None] = {}
        for item in _entries(body, "responses"):
            name = str(item.get("requestedResourceName") or _name_of(item.get("person")))
            if answers.item_is_missing(item):
                found[name] = None
            elif answers.item_failure(item) is None and item.get("person"):
                found[name] = self._looked_up(item["person"], name)
        if any(name not in found for name in names):
            # Absence from an answer is not a deletion (2-semantics I5).
            raise answers.malformed(write=False)
        return {name: found[name] for name in names}

    def _looked_up(self, json: Json, asked: str) -> GooglePerson | None:
        metadata = json.get("metadata") or {}
        if metadata.get("deleted") or (metadata.get("sources") and contact_source(metadata) is None):
            return None
        try:
            return self._person(json, asked)
        except _MALFORMED as error:
            raise answers.malformed(write=False) from error

    def _person(self, json: Json, asked: str | None = None) -> GooglePerson:
        person = to_person(json, config=self._config)
        if asked is None or person.resource == asked or asked in person.previous:
            return person
        return person.model_copy(update={"previous": (*person.previous, asked)})

    # ---- people: writing

    async def create_people(self, bodies: Sequence[Json], *, cls: Class) -> list[GooglePerson]:
        _check_size(bodies, BATCH_MAX)
        if len(bodies) == 1:
            answer = await self._write(
                "create_person",
                self._api.people.createContact,
                cls,
                json=dict(bodies[0]),
                personFields=FIELDS,
                sources=SOURCE,
            )
            return [self._written(answer)]
        answer = await self._write(
            "create_people",
            self._api.people.batchCreateContacts,
            cls,
            json={
                "contacts": [{"contactPerson": dict(body)} for body in bodies],
                "readMask": FIELDS,
                "sources": [SOURCE],
            },
        )
        done: dict[str, GooglePerson] = {}
        items: dict[str, str] = {}
        for at, item in enumerate(_entries(answer, "createdPeople")):
            self._sort_in(str(at), item, None, done, items)
        people = {person.resource: person for person in done.values()}
        if len(people) < len(bodies):
            complete = len(people) + len(items) == len(bodies)
            raise PartlyDone("Google did not create every contact of the batch", people, items, complete=complete)
        return list(people.values())

    async def update_people(
        self, mask: Sequence[str], updates: Sequence[PersonUpdate], *, cls: Class
    ) -> dict[str, GooglePerson]:
        _check_size(updates, BATCH_MAX)
        if not mask:
            raise ValueError("an update needs a mask")
        if len(updates) == 1:
            (update,) = updates
            answer = await self._write(
                "update_person",
                self._api.people.updateContact,
                cls,
                json=dict(update.body),
                resourceName=update.resource,
                updatePersonFields=",".join(mask),
                personFields=FIELDS,
                sources=SOURCE,
            )
            return {update.resource: self._written(answer, update.resource)}
        answer = await self._write(
            "update_people",
            self._api.people.batchUpdateContacts,
            cls,
            json={
                "contacts": {update.resource: dict(update.body) for update in updates},
                "updateMask": ",".join(mask),
                "readMask": FIELDS,
                "sources": [SOURCE],
            },
        )
        done: dict[str, GooglePerson] = {}
        items: dict[str, str] = {}
        fields: dict[str, str] = {}
        stale: set[str] = set()
        result = answer.get("updateResult")
        for key, item in result.items() if isinstance(result, dict) else ():
            name = str((isinstance(item, dict) and item.get("requestedResourceName")) or key)
            self._sort_in(name, item, name, done, items)
            if name in items and answers.is_stale(item.get("status") or {}):
                stale.add(name)
            if name in items and (field := answers.blamed_field(item.get("status") or {})):
                fields[name] = field
        missing = [update.resource for update in updates if update.resource not in done]
        if missing:
            raise PartlyDone(
                "Google did not update every contact of the batch",
                done,
                items,
                frozenset(stale),
                complete=all(name in items for name in missing),
                fields=fields,
            )
        return {update.resource: done[update.resource] for update in updates}

    def _sort_in(
        self,
        key: str,
        item: Any,
        asked: str | None,
        done: dict[str, GooglePerson],
        items: dict[str, str],
    ) -> None:
        try:
            reason = answers.item_failure(item)
            if reason is not None and answers.item_is_open(item):
                return
            if reason is not None:
                items[key] = reason
            elif item.get("person"):
                done[key] = self._person(item["person"], asked)
        except _MALFORMED:
            return  # neither done nor refused: its outcome is unknown

    def _written(self, json: Json, asked: str | None = None) -> GooglePerson:
        try:
            return self._person(json, asked)
        except _MALFORMED as error:
            raise answers.malformed(write=True) from error

    async def delete_person(self, resource: str, *, cls: Class) -> None:
        try:
            await self._write("delete_person", self._api.people.deleteContact, cls, resourceName=resource)
        except Gone:
            return

    # ---- labels

    async def list_labels(self, *, cls: Class) -> list[Label]:
        found: dict[str, Label] = {}
        page: str | None = None
        came, total = 0, 0
        while True:
            body = await self._read(
                "list_labels",
                self._api.contactGroups.list,
                cls,
                groupFields=labels.READ_FIELDS,
                pageSize=PAGE_SIZE,
                pageToken=page,
            )
            entries, said = _entries(body, "contactGroups"), body.get("totalItems")
            came, total = came + len(entries), said if isinstance(said, int) else total
            for json in entries:
                if (label := labels.to_label(json, self._config.planfix_account)) is not None:
                    found[label.resource] = label
            following = body.get("nextPageToken") or None
            if following is None:
                if came < total or (not came and await self._has_groups(cls)):
                    raise answers.malformed(write=False)
                return list(found.values())
            if following == page:
                raise answers.malformed(write=False)
            page = following

    async def _has_groups(self, cls: Class) -> bool:
        """Whether the account has groups at all. Every account has Google's own, so that a list of none is hardly
        ever true; a label made again on the strength of it would stand beside ours."""
        try:
            await self._read("get_label", self._api.contactGroups.get, cls, resourceName=_MY_CONTACTS)
        except (Gone, Rejected):
            return False
        return True

    async def get_label(self, resource: str, *, cls: Class) -> Label | None:
        try:
            body = await self._read(
                "get_label",
                self._api.contactGroups.get,
                cls,
                resourceName=resource,
                groupFields=labels.READ_FIELDS,
            )
        except Gone:
            return None
        label = labels.to_label(body, self._config.planfix_account)
        if label is None and not labels.is_deleted(body):
            raise answers.malformed(write=False)
        return label

    async def create_label(self, name: str, stamp: str, *, cls: Class) -> Label:
        body = labels.create_body(name, stamp, self._config.planfix_account)
        return self._label(await self._write("create_label", self._api.contactGroups.create, cls, json=body))

    async def update_label(self, label: Label, *, name: str | None, stamp: str | None, cls: Class) -> Label:
        body = labels.update_body(label, name, stamp, self._config.planfix_account)
        if body is None:
            return label
        answer = await self._write(
            "update_label", self._api.contactGroups.update, cls, json=body, resourceName=label.resource
        )
        return replace(self._label(answer), members=label.members)

    def _label(self, json: Json) -> Label:
        label = labels.to_label(json, self._config.planfix_account)
        if label is None:
            raise answers.malformed(write=True)
        return label

    async def modify_members(
        self, label: str, add: Sequence[str], remove: Sequence[str], *, cls: Class
    ) -> Mapping[str, str]:
        _check_size([*add, *remove], MEMBERS_MAX)
        answer = await self._write(
            "modify_members",
            self._api.contactGroups.members.modify,
            cls,
            json={"resourceNamesToAdd": list(add), "resourceNamesToRemove": list(remove)},
            resourceName=label,
        )
        refused = {str(name): "not found" for name in answer.get("notFoundResourceNames") or ()}
        for name in answer.get("canNotRemoveLastContactGroupResourceNames") or ():
            refused[str(name)] = "it would be left without any label"
        return refused


def _entries(body: Json, name: str) -> list[Json]:
    entries = body.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _name_of(person: Any) -> str:
    return str(person.get("resourceName") or "") if isinstance(person, dict) else ""


def _check_size(items: Sequence[object], size_max: int) -> None:
    if not 1 <= len(items) <= size_max:
        raise ValueError(f"between 1 and {size_max} at once, not {len(items)}")
