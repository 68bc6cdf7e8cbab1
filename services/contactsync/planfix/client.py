"""Planfix's REST API as `port.PlanfixApi`: which request asks what, and which part of the answer counts.

`transport.py` sends and paces, `mapping.py` translates contacts, `walltime.py` translates moments. Facts about the
requests are those of Planfix's OpenAPI description 1.6.9 and its page on complex contact filters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from contactsync.errors import Gone
from contactsync.planfix.answers import Asked, malformed
from contactsync.planfix.mapping import (
    Json,
    MappingConfig,
    UnmappableError,
    entity_number,
    number_of,
    text,
    to_contact,
)
from contactsync.planfix.port import ContactPage, Employee, Filter, Query, Written
from contactsync.planfix.query import list_body
from contactsync.planfix.shown import Shown
from contactsync.planfix.transport import Carrier, Quota, Transport
from contactsync.planfix.walltime import WallClock
from contactsync.planfix.writing import canonical_names, to_update
from contactsync.runtime.metrics import Metrics
from contactsync_contracts.contact import Contact
from contactsync_contracts.markers import person_of
from contactsync_contracts.messages import Class, NewContactDefaults, PlanfixContact

PAGE: Final = 100
PAGES_MAX: Final = 50
"""Bound of the small lists (employees, companies of a name)."""

_LIST: Final = Asked("contact/list")
_FILTERED: Final = Asked("contact/list", filtered=True)
_GET: Final = Asked("contact/get")
_UPDATE: Final = Asked("contact/update", write=True)
_CREATE: Final = Asked("contact/create", write=True)
_FILTERS: Final = Asked("contact/filters")
_USERS: Final = Asked("user/list")
_PING: Final = Asked("ping")

NO_COMPANY: Final = "Planfix has not exactly one company of this name"


class PlanfixRest:
    """Implements `PlanfixApi`; an async context manager. All requests of a process go through one of these.

    `timezone`: of the token's employee (None: discovered). `stamp_field`: custom field that holds our marker of a
    created contact besides `sourceObjectId`. `at_once`: requests side by side, where the account allows it.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        quota: Quota,
        config: MappingConfig,
        timezone: str | None = None,
        stamp_field: int | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        total_s: float = 30.0,
        carrier: Carrier | None = None,
        at_once: int = 1,
    ) -> None:
        self._transport = Transport(
            base_url, token, quota, metrics=metrics, total_s=total_s, carrier=carrier, at_once=at_once
        )
        self._config = config
        self._stamp_field = stamp_field
        self._clock = clock
        self._walls = WallClock(timezone, clock)
        self._shown = Shown()
        self._extra_emails: bool | None = None
        stamp = "" if stamp_field is None else f",{stamp_field}"
        self._fields = config.fields + stamp
        self._id_fields = "id,isCompany,isDeleted,dateOfLastUpdate"

    async def __aenter__(self) -> PlanfixRest:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    def learn_extra_emails(self, sticks: bool) -> None:
        """A read-back showed whether a write of `additionalEmailAddresses`, read-only in the description, stays."""
        self._extra_emails = sticks

    @property
    def extra_emails(self) -> bool | None:
        """Whether additional e-mail addresses can be written; None until a read-back showed it."""
        return self._extra_emails

    # --- reading ------------------------------------------------------------------------------------------

    async def list_contacts(
        self, query: Query, *, offset: int = 0, ids_only: bool = False, cls: Class
    ) -> ContactPage:
        if (query.numbers is not None and not query.numbers) or (query.marker and self._stamp_field is None):
            return ContactPage(contacts=(), count=0)
        fields = self._id_fields if ids_only else self._fields
        body = list_body(query, self._walls, offset=offset, page=PAGE, fields=fields, stamp_field=self._stamp_field)
        return self._page(await self._rows(body, cls), ids_only=ids_only)

    async def get_contact(self, number: int, *, cls: Class) -> PlanfixContact | None:
        row = await self._get(number, self._fields, cls)
        if row is None or row.get("isDeleted") is True:
            return None
        try:
            return to_contact(self._shown.completed([row])[0], self._config)
        except UnmappableError:
            malformed(_GET, "contact")

    async def filters(self, *, cls: Class) -> list[Filter]:
        _, content = await self._transport.request("POST", "contact/filters", _FILTERS, cls=cls, body={})
        found: list[Filter] = []
        for row in _objects(content, "filters", _FILTERS):
            if not isinstance(row.get("id"), str | int):
                malformed(_FILTERS, "filters")
            owner = row.get("owner")
            number = entity_number(owner.get("id")) if isinstance(owner, Mapping) else None
            found.append(Filter(filter_id=str(row["id"]), name=str(row.get("name") or ""), owner=number))
        return found

    async def employees(self, *, cls: Class, until: Collection[int] = ()) -> list[Employee]:
        """Pages to an empty one, since a page may be short before the end, or until the wanted ones were seen."""
        found: dict[int, Employee] = {}
        offset = 0
        for _ in range(PAGES_MAX):
            body = {
                "offset": offset,
                "pageSize": PAGE,
                "onlyActive": False,
                "fields": "id,name,lastname,email,secondaryEmails,status",
            }
            _, content = await self._transport.request("POST", "user/list", _USERS, cls=cls, body=body)
            rows = _objects(content, "users", _USERS)
            if not rows:
                break
            offset += len(rows)
            for row in rows:
                if (number := entity_number(row.get("id"))) is not None:
                    found[number] = _employee(number, row)
            if until and found.keys() >= set(until):
                break
        return list(found.values())

    async def company_number(self, name: str, *, cls: Class) -> int | None:
        """4001 finds every company that contains the name; only an exactly equal one counts."""
        found: set[int] = set()
        offset = 0
        for _ in range(PAGES_MAX):
            body = {
                "offset": offset,
                "pageSize": PAGE,
                "isCompany": True,
                "fields": "id,name,isCompany,isDeleted",
                "filters": [{"type": 4001, "operator": "equal", "value": name}],
            }
            rows = await self._rows(body, cls)
            offset += len(rows)
            for row in rows:
                usable = row.get("isCompany") is True and row.get("isDeleted") is not True
                if usable and text(str(row.get("name") or "")) == text(name):
                    found.add(number_of(row))
            if len(rows) < PAGE:
                return found.pop() if len(found) == 1 else None
        return None

    async def delta_filter_works(self, *, cls: Class) -> bool:
        """Also teaches the time zone, from the contacts of the first answer."""
        since_2000 = await self._modified_after("01-01-2000 00:00", cls)
        if not since_2000:
            return False
        return not await self._modified_after(self._walls.tomorrow(), cls)

    async def ping(self) -> None:
        await self._transport.request("GET", "ping", _PING, cls=Class.HUMAN)

    # --- writing ------------------------------------------------------------------------------------------

    async def update_contact(
        self,
        number: int,
        fields: Contact,
        *,
        is_company: bool,
        phones: Sequence[Mapping[str, Any]],
        current: Contact | None = None,
        cls: Class,
    ) -> Written:
        company = fields.get("company") if not is_company else None
        update = to_update(
            {name: value for name, value in fields.items() if name != "company" or is_company},
            is_company=is_company,
            phones=phones,
            config=self._config,
            writable_extra_emails=self._extra_emails is not False,
            current=current,
        )
        body, refused = update.body, update.refused
        if isinstance(company, str):
            companies = await self._companies_after(number, company, cls)
            if companies is None:
                refused["company"] = NO_COMPANY
            else:
                body["companies"] = companies
        if not body:
            return Written(sent=False, refused=refused)
        status, content = await self._transport.request(
            "POST", f"contact/{number}", _UPDATE, cls=cls, body=body, query={"silent": "true"}
        )
        failures = _failures(content)
        for vendor in failures:
            for name in canonical_names(vendor, body, is_company=is_company):
                refused[name] = "Planfix did not change this field"
        return Written(queued=status == 202, failures=failures, refused=refused)

    async def create_contact(
        self,
        fields: Contact,
        *,
        is_company: bool,
        owner: int,
        defaults: NewContactDefaults,
        marker: str,
        cls: Class,
    ) -> int:
        given = {name: value for name, value in fields.items() if value}
        company = given.pop("company", None) if not is_company else None
        update = to_update(
            given,
            is_company=is_company,
            phones=(),
            config=self._config,
            writable_extra_emails=self._extra_emails is True,
        )
        body = {**update.body, "isCompany": is_company, "sourceObjectId": marker}
        body |= _defaults(defaults, owner)
        custom = {number: value for number, value in defaults.custom_fields.items() if value}
        custom |= {str(item["field"]["id"]): item["value"] for item in body.get("customFieldData", ())}
        if self._stamp_field is not None:
            custom[str(self._stamp_field)] = marker
        if custom:
            body["customFieldData"] = [
                {"field": {"id": int(number)}, "value": value} for number, value in custom.items()
            ]
        if isinstance(company, str) and (known := await self.company_number(company, cls=cls)) is not None:
            body["companies"] = [{"id": known}]
        _, content = await self._transport.request("POST", "contact/", _CREATE, cls=cls, body=body)
        number = entity_number(content.get("id"))
        if number is None or number < 1:
            malformed(_CREATE, "number of the new contact")
        return number

    # --- parts --------------------------------------------------------------------------------------------

    async def _rows(self, body: Json, cls: Class) -> list[dict[str, Any]]:
        asked = _FILTERED if "filterId" in body else _LIST
        _, content = await self._transport.request("POST", "contact/list", asked, cls=cls, body=body)
        rows = _objects(content, "contacts", asked)
        for row in rows:
            self._walls.learn(row.get("dateOfLastUpdate"))
        return rows

    async def _get(self, number: int, fields: str, cls: Class) -> dict[str, Any] | None:
        try:
            _, content = await self._transport.request(
                "GET", f"contact/{number}", _GET, cls=cls, query={"fields": fields}
            )
        except Gone:
            return None
        row = content.get("contact")
        if not isinstance(row, dict):
            malformed(_GET, "contact")
        return row

    async def _modified_after(self, minute: str, cls: Class) -> int:
        """How many contacts the first page holds."""
        value = {"dateType": "otherDate_withTime", "dateFrom": minute}
        filters = [{"type": 38, "operator": "gt", "value": value}]
        body = {"offset": 0, "pageSize": PAGE, "fields": self._id_fields, "filters": filters}
        return len(await self._rows(body, cls))

    async def _companies_after(self, number: int, name: str, cls: Class) -> list[dict[str, int]] | None:
        """The contact's companies with this one first; the list is replaced whole, so the others are kept."""
        row = await self._get(number, "id,companies", cls)
        if row is None:
            raise Gone("the contact is not in Planfix")
        present = row.get("companies")
        if not isinstance(present, list):
            return None
        numbers = [known for item in present if (known := _entity(item)) is not None]
        if name:
            wanted = await self.company_number(name, cls=cls)
            if wanted is None:
                return None
            numbers = [wanted, *(other for other in numbers[1:] if other != wanted)]
        else:
            # Several companies: canonically there is one, and clearing it clears them all.
            numbers = []
        return [{"id": one} for one in numbers]

    def _page(self, rows: Sequence[Json], *, ids_only: bool) -> ContactPage:
        contacts: list[PlanfixContact] = []
        markers: dict[int, str] = {}
        phones: dict[int, tuple[Json, ...]] = {}
        skipped: dict[int, str] = {}
        modified: dict[int, str] = {}
        for row in rows if ids_only else self._shown.completed(rows):
            try:
                number = number_of(row)
            except UnmappableError as error:
                skipped[0] = str(error)
                continue
            if row.get("isDeleted") is True:
                skipped[number] = "in the trash"
                continue
            if ids_only:
                is_company = row.get("isCompany") is True
                contacts.append(PlanfixContact(contact=number, fields={}, is_company=is_company))
                continue
            contact = to_contact(row, self._config)
            if point := row.get("dateOfLastUpdate"):
                modified[number] = str(point)
            if marker := self._marker(row):
                markers[number] = marker
                contact = contact.model_copy(update={"made_from": person_of(marker)})
            contacts.append(contact)
            if isinstance(row.get("phones"), list):
                phones[number] = tuple(item for item in row["phones"] if isinstance(item, Mapping))
        return ContactPage(tuple(contacts), len(rows), markers, phones, skipped, modified)

    def _marker(self, row: Json) -> str:
        """Our own field comes first: `sourceObjectId` may be another integration's."""
        for item in row.get("customFieldData") or ():
            ours = isinstance(item, Mapping) and _entity(item.get("field")) == self._stamp_field is not None
            if ours and item.get("value"):
                return str(item["value"])
        marker = row.get("sourceObjectId")
        return marker if isinstance(marker, str) else ""


def _objects(content: Json, key: str, asked: Asked) -> list[dict[str, Any]]:
    """A list of objects, or the answer is malformed: half an answer must not read as contacts that left."""
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        malformed(asked, key)
    return rows


def _entity(item: object) -> int | None:
    return entity_number(item.get("id")) if isinstance(item, Mapping) else None


def _employee(number: int, row: Json) -> Employee:
    name = text(" ".join(str(row.get(part) or "") for part in ("name", "lastname")))
    others = row.get("secondaryEmails")
    listed = (row.get("email"), *(others if isinstance(others, list) else ()))
    emails = tuple(dict.fromkeys(one.strip() for one in listed if isinstance(one, str) and one.strip()))
    return Employee(
        number=number,
        name=name,
        email=emails[0] if emails else "",
        emails=emails,
        # A status that did not come is not known to be inactive.
        active=row.get("status") != "Inactive",
    )


def _failures(content: Json) -> dict[str, str]:
    """Field to error of an update that succeeded in part: a list, or (in the description's example) one object."""
    value = content.get("failures")
    items = [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return {
        str(item["field"]): str(item.get("error") or "not changed")
        for item in items
        if isinstance(item, Mapping) and item.get("field")
    }


def _defaults(defaults: NewContactDefaults, owner: int) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if defaults.template is not None:
        body["template"] = {"id": defaults.template}
    if defaults.group is not None:
        body["group"] = {"id": defaults.group}
    supervisor = str(owner) if defaults.supervisor == "owner" else defaults.supervisor
    if supervisor.isascii() and supervisor.isdigit():
        body["supervisors"] = {"users": [{"id": f"user:{supervisor}"}], "groups": []}
    return body
