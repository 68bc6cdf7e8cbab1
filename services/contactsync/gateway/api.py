"""REST under `/api/v1`: the operations of `contactsync_contracts.rest`, each a method here, said to the desk.

Who asks is known by a bearer token (a program) or by the console's session, which then has to bring its secret with
everything but reading. Errors are problem+json; nothing but the models leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import orjson
from aiohttp import web
from pydantic import ValidationError

from contactsync.gateway.console import number_in
from contactsync.gateway.desk import Desk, wrong_in
from contactsync.gateway.live import Live, TooManyPages
from contactsync.gateway.places import Places
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.rate import Rate
from contactsync.gateway.security import CSRF_HEADER, SAFE, headers_of, require_csrf, require_same_site
from contactsync.gateway.sessions import Kind, Sessions, Tokens, Who, same
from contactsync.gateway.signin import SIGNED_IN_COOKIE
from contactsync.gateway.texts import PROBLEMS
from contactsync_contracts import rest
from contactsync_contracts.messages import ContactState

Body = TypeVar("Body", bound=rest.Body)
KEEP_ALIVE_S: Final = 20.0
HISTORY_MAX: Final = rest.PAGE_MAX

Handle = Callable[[web.Request, Who], Awaitable[Any]]


class Api:
    def __init__(
        self,
        *,
        desk: Desk,
        sessions: Sessions,
        tokens: Tokens,
        live: Live,
        places: Places,
        admin_token: str,
        rate: Rate,
    ) -> None:
        self._desk = desk
        self._sessions = sessions
        self._tokens = tokens
        self._live = live
        self._places = places
        self._admin_token = admin_token
        self._rate = rate

    def add_routes(self, app: web.Application) -> None:
        root = self._places.base.rstrip("/") + rest.PREFIX
        app.router.add_get(f"{root}/openapi.json", self._document)
        for one in rest.OPERATIONS:
            path = one.path.replace("{contact}", "{contact:[0-9]{1,15}}")  # `search` is none
            app.router.add_route(one.method.upper(), root + path, self._answering(one, getattr(self, one.name)))

    def _answering(
        self, one: rest.Operation, handle: Handle
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            who = await self._who(request)
            self._rate.take((who.kind.value, who.employee, who.filter_id))
            found = await handle(request, who)
            if isinstance(found, web.StreamResponse):
                return found
            if one.answer is None:
                return web.Response(status=one.status)
            made = one.answer.model_validate(found)
            headers = {"ETag": etag_of(made)} if one.etag else {}
            return web.Response(
                status=one.status,
                body=made.model_dump_json().encode(),
                content_type="application/json",
                headers=headers,
            )

        return answer

    # ---- filters

    async def filters(self, request: web.Request, who: Who) -> Any:
        after, limit = request.query.get("after", ""), limit_in(request)
        found = sorted(await self._desk.filters(who), key=lambda one: str(one["filter_id"]))
        left = [one for one in found if one["filter_id"] > after]
        return {"filters": left[:limit], "next": left[limit - 1]["filter_id"] if len(left) > limit else None}

    async def filter(self, request: web.Request, who: Who) -> Any:
        return await self._desk.status(who, filter_in(request))

    async def settings(self, request: web.Request, who: Who) -> Any:
        return await self._desk.status(who, filter_in(request))

    async def change_settings(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.SettingsChange)
        wanted = request.headers.get("If-Match")
        if wanted is not None and wanted.strip() != "*":
            now = rest.FilterSettings.model_validate(await self._desk.status(who, filter_id))
            if etag_of(now) not in {one.strip() for one in wanted.split(",")}:
                raise Refusal(Problem.CHANGED_MEANWHILE)
        changes = {name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None}
        if not changes:
            return await self._desk.status(who, filter_id)
        return await self._desk.change(who, filter_id, **changes)

    async def sync(self, request: web.Request, who: Who) -> Any:
        return {"request_id": await self._desk.sync(who, filter_in(request))}

    async def pause(self, request: web.Request, who: Who) -> Any:
        return await self._desk.pause(who, filter_in(request))

    async def resume(self, request: web.Request, who: Who) -> Any:
        return await self._desk.resume(who, filter_in(request))

    async def preview(self, request: web.Request, who: Who) -> Any:
        return await self._desk.preview(who, filter_in(request))

    async def approve(self, request: web.Request, who: Who) -> Any:
        return await self._desk.approve(who, filter_in(request), request.match_info["hash"])

    async def rebuild(self, request: web.Request, who: Who) -> Any:
        return {"request_id": await self._desk.rebuild(who, filter_in(request))}

    async def disconnect(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.Disconnection)
        left = await self._desk.disconnect(who, filter_id, remove_contacts=body.remove_contacts)
        return {"gone": left is None}

    # ---- contacts

    async def contacts(self, request: web.Request, who: Who) -> Any:
        state = request.query.get("state")
        if state is not None and state not in set(ContactState):
            raise Refusal(Problem.BAD_INPUT, what=f"state: not one of {', '.join(ContactState)}")
        after = after_in(request)
        return await self._page(who, filter_in(request), state, "", after, limit_in(request))

    async def search(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.ContactSearch)
        state = body.state.value if body.state else None
        return await self._page(who, filter_id, state, body.search, body.after, body.limit)

    async def _page(self, who: Who, filter_id: str, state: str | None, search: str, after: int, limit: int) -> Any:
        return await self._desk.contacts(who, filter_id, state=state, search=search.strip(), after=after, limit=limit)

    async def contact(self, request: web.Request, who: Who) -> Any:
        return await self._desk.contact(who, filter_in(request), number_in(request.match_info, "contact"))

    async def history(self, request: web.Request, who: Who) -> Any:
        contact = number_or_none(request, "contact", least=1)
        found = await self._desk.history(who, filter_in(request), contact, limit_in(request))
        return {"entries": found}

    async def undo(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.UndoWhat)
        if (body.entry is None) == (body.run is None):
            raise Refusal(Problem.BAD_INPUT, what="entry: either an entry or a run")
        entry = body.entry.rpartition(":")[2] if body.entry else None
        return await self._desk.undo(who, filter_id, entry=entry, run=body.run)

    async def restore(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.RestoreOne)
        return await self._desk.restore(who, filter_id, body.contact)

    async def decide(self, request: web.Request, who: Who) -> Any:
        filter_id, body = filter_in(request), await body_of(request, rest.Decision)
        return await self._desk.decide(who, filter_id, **body.model_dump(exclude_none=True))

    # ---- the rest

    async def events(self, request: web.Request, who: Who) -> web.StreamResponse:
        filter_id = filter_in(request)
        await self._desk.status(who, filter_id)
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers_of(self._places) | headers)
        await response.prepare(request)

        async def beat() -> None:
            while True:
                await anyio.sleep(KEEP_ALIVE_S)
                await response.write(b": still here\n\n")

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beat)
                async for status, progress in self._live.follow(filter_id):
                    if status is None:
                        await response.write(b"event: gone\ndata: {}\n\n")
                        break
                    said = rest.FilterStatus.model_validate(status).model_dump(mode="json")
                    data = orjson.dumps({"status": said, "progress": progress})
                    await response.write(b"event: status\ndata: " + data + b"\n\n")
                tasks.cancel_scope.cancel()
        except* (ConnectionError, TooManyPages):
            pass
        return response

    async def tokens(self, _request: web.Request, who: Who) -> Any:
        return {"tokens": await self._tokens.of(who)}

    async def make_token(self, request: web.Request, who: Who) -> Any:
        body = await body_of(request, rest.TokenName)
        token, token_id = await self._tokens.make(who, body.name)
        return {"id": token_id, "token": token}

    async def end_token(self, request: web.Request, who: Who) -> Any:
        if not await self._tokens.end(who, request.match_info["token_id"]):
            raise Refusal(Problem.NO_PAGE)

    async def system(self, _request: web.Request, who: Who) -> Any:
        return await self._desk.system(who)

    async def _document(self, _request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(rest.openapi()), content_type="application/json")

    # ---- who

    async def _who(self, request: web.Request) -> Who:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme:
            who = await self._bearer(secret.strip()) if scheme.lower() == "bearer" else None
        else:
            who = await self._sessions.find(request.cookies.get(SIGNED_IN_COOKIE))
            if who is not None and request.method not in SAFE:
                require_same_site(request, self._places.root)
                require_csrf(request.headers.get(CSRF_HEADER, ""), who)
        if who is None:
            raise Refusal(Problem.NOT_SIGNED_IN)
        return who

    async def _bearer(self, secret: str) -> Who | None:
        if same(secret, self._admin_token):
            return Who(Kind.OPERATOR)
        return await self._tokens.find(secret)


def problem_json(refusal: Refusal) -> web.Response:
    """A refusal as RFC 9457 has it, in English: the code is what a program reads."""
    text = PROBLEMS[refusal.problem]["en"]
    body = {
        "type": "about:blank",
        "title": text.title,
        "status": refusal.problem.status,
        "detail": text.body.format_map(refusal.values),
        "code": refusal.problem.value,
    }
    response = web.Response(
        status=refusal.problem.status, body=orjson.dumps(body), content_type="application/problem+json"
    )
    if refusal.problem is Problem.NOT_SIGNED_IN:
        response.headers["WWW-Authenticate"] = "Bearer"
    if refusal.problem is Problem.TOO_MANY:
        response.headers["Retry-After"] = "60"
    return response


def etag_of(model: rest.Answer) -> str:
    return f'"{hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:32]}"'


def filter_in(request: web.Request) -> str:
    """The filter's id, in clear."""
    text = request.match_info["filter_id"]
    if len(text) > 200:
        raise Refusal(Problem.NOT_SYNCED)
    return text


def limit_in(request: web.Request) -> int:
    limit = number_or_none(request, "limit", least=1)
    if limit is not None and limit > rest.PAGE_MAX:
        raise Refusal(Problem.BAD_INPUT, what=f"limit: at most {rest.PAGE_MAX}")
    return 50 if limit is None else limit


def after_in(request: web.Request) -> int:
    """Where a page begins, as the page before it said."""
    text = request.query.get("after", "0")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise Refusal(Problem.BAD_INPUT, what="after: not a number")
    return int(text)


def number_or_none(request: web.Request, name: str, *, least: int) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) >= least):
        raise Refusal(Problem.BAD_INPUT, what=f"{name}: not a number from {least} on")
    return int(text)


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """The body by its model; none at all stands for an empty one. Raises Refusal naming what is wrong."""
    data = await request.read()
    if data and request.content_type != "application/json":
        raise Refusal(Problem.NOT_JSON)
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise Refusal(Problem.BAD_INPUT, what=wrong_in(error)) from error
