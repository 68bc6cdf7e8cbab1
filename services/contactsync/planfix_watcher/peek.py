"""A look at a filter as it is now, for previews: one page for one question, and nothing is remembered or told.

Beside `service.py`, which watches: any replica answers, since nothing depends on who does.
"""

from __future__ import annotations

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contactsync.errors import VendorError
from contactsync.planfix.port import PlanfixApi, Query
from contactsync.runtime.bus import Bus, Refused, Subscription
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class

SERVICE = "planfix-watcher"
VERB = "planfix_page"


class PageQuery(BaseModel):
    """A page of a filter as its owner sees it: persons or companies, from the row `offset` on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    filter_id: str
    owner: int | None = None
    companies: bool = False
    offset: int = Field(default=0, ge=0)


class PlanfixPeek:
    def __init__(self, bus: Bus, api: PlanfixApi) -> None:
        self._bus, self._api = bus, api

    async def serve(self) -> list[Subscription]:
        return [await self._bus.serve(SERVICE, subjects.query(VERB), self._page)]

    async def _page(self, _subject: str, data: bytes) -> bytes:
        """{contacts, count}: an answer of no rows ends the pass."""
        try:
            asked = PageQuery.model_validate_json(data)
        except ValidationError as error:
            raise Refused("not a question for a page", 400) from error
        query = Query(filter_id=asked.filter_id, visible_to=asked.owner, companies=asked.companies)
        try:
            page = await self._api.list_contacts(query, offset=asked.offset, cls=Class.HUMAN)
        except VendorError as error:
            raise Refused(error.reason, 503) from error
        contacts = [contact.model_dump(mode="json") for contact in page.contacts]
        return orjson.dumps({"contacts": contacts, "count": page.count})
