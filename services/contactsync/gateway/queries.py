"""What the gateway answers over NATS: activation links, and the filters that Planfix lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contactsync.gateway.activation import Activation
from contactsync.gateway.problems import Refusal
from contactsync.gateway.rights import filters_with_owners
from contactsync.gateway.texts import PROBLEMS
from contactsync.planfix.port import PlanfixApi
from contactsync.runtime.bus import Handler, Refused
from contactsync_contracts.messages import FilterToken


class LinkQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    filter_id: FilterToken
    user: int | None = Field(default=None, ge=1)
    relink: bool = False
    shared: bool = False


def handlers(activation: Activation, planfix: PlanfixApi) -> Mapping[str, Handler]:
    """Verb of `contacts.v1.query.<verb>` -> handler."""

    async def link(data: bytes) -> dict[str, Any]:
        asked = LinkQuery.model_validate_json(data)
        url, expires_at = await activation.new_link(
            asked.filter_id, asked.user, relink=asked.relink, shared=asked.shared
        )
        return {"url": url, "expires_at": expires_at}

    async def planfix_filters(_data: bytes) -> dict[str, Any]:
        return {
            "filters": [
                {
                    "filter_id": one.filter_id,
                    "name": one.name,
                    "owner": one.owner,
                    "owner_name": owner.name if owner else None,
                    "owner_active": owner.active if owner else None,
                }
                for one, owner in await filters_with_owners(planfix)
            ]
        }

    return {"link": _handler(link), "planfix_filters": _handler(planfix_filters)}


def _handler(answer: Callable[[bytes], Awaitable[dict[str, Any]]]) -> Handler:
    """Refusals travel to the one who asked, in English, with the page's status as their code."""

    async def handle(_subject: str, data: bytes) -> bytes:
        try:
            return orjson.dumps(await answer(data))
        except Refusal as refusal:
            text = PROBLEMS[refusal.problem]["en"]
            body = text.body.format_map(refusal.values)
            raise Refused(f"{text.title}. {body}", refusal.problem.status) from refusal
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise Refused(f"the question does not fit its contract: {fields}", 400) from error

    return handle
