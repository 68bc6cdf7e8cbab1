"""The console: pages and forms for the employee and the operator. Every page works without a script; `static/app.js`
only keeps a filter's page up to date.

What a form does is said to the desk (`desk.py`), which knows whose the filter is; then the browser is led to a page
that shows it (so that reloading repeats nothing). Search words travel in bodies, not in addresses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from aiohttp import web
from pydantic import ValidationError

from contactsync.gateway.activation import Activation
from contactsync.gateway.desk import Desk, wrong_in
from contactsync.gateway.live import Live, TooManyPages
from contactsync.gateway.pages import Pages
from contactsync.gateway.places import Places
from contactsync.gateway.problems import Problem, Refusal
from contactsync.gateway.security import CSRF_FIELD, headers_of, require_csrf, require_same_site
from contactsync.gateway.sessions import Kind, Sessions, Who
from contactsync.gateway.signin import SIGNED_IN_COOKIE, SignIn
from contactsync_contracts import subjects
from contactsync_contracts.messages import Breakers, ContactState, Limit

PAGE: Final = 50
KEEP_ALIVE_S: Final = 20.0
BREAKERS: Final = ("remove", "update", "create")

Act = Callable[[Who, str, Any], Awaitable[str]]
"""(who, filter, form) -> the name of what was done, or a path that begins with a slash."""


class Console:
    def __init__(
        self,
        *,
        desk: Desk,
        sessions: Sessions,
        signin: SignIn,
        activation: Activation,
        live: Live,
        pages: Pages,
        places: Places,
        freshness_s: tuple[float, float],
        healthy: Callable[[], bool],
    ) -> None:
        """`freshness_s`: how old what is seen of Planfix and of Google may be."""
        self._desk = desk
        self._sessions = sessions
        self._signin = signin
        self._activation = activation
        self._live = live
        self._pages = pages
        self._places = places
        self._freshness_s = freshness_s
        self._healthy = healthy

    def add_routes(self, app: web.Application) -> None:
        base = self._places.base
        page = f"{base}filters/{{filter}}"
        get, post = app.router.add_get, app.router.add_post
        get(base, self.home)
        get(f"{base}login", self.login)
        get(page, self.filter)
        get(f"{page}/live", self.live)
        get(f"{page}/contacts", self.contacts)
        post(f"{page}/contacts", self.contacts)
        get(f"{page}/contacts/{{contact:[0-9]{{1,15}}}}", self.contact)
        get(f"{page}/plans", self.plans)
        get(f"{page}/disconnect", self.leave)
        get(f"{base}system", self.system)
        post(f"{base}system/resend", self.resend)
        acts: dict[str, Act] = {
            "activate": self._activate,
            "sync": self._sync,
            "pause": self._pause,
            "resume": self._resume,
            "settings": self._settings,
            "approve": self._approve,
            "decide": self._decide,
            "restore": self._restore,
            "undo": self._undo,
            "disconnect": self._disconnect,
        }
        for name, act in acts.items():
            post(f"{page}/{name}", self._form(act))

    # ---- pages

    async def home(self, request: web.Request) -> web.Response:
        who = await self._who(request)
        if who is None:
            return self._login_page(request, "")
        filters = await self._desk.filters(who)
        if who.kind is Kind.LINK and len(filters) == 1:
            raise web.HTTPSeeOther(self._places.filter(who.filter_id))
        return await self._page(request, who, "filters.html", filters=filters)

    async def login(self, request: web.Request) -> web.Response:
        then = request.query.get("then", "")[:400]
        if await self._who(request) is not None:
            raise web.HTTPSeeOther(self._places.local(then))
        return self._login_page(request, then)

    async def filter(self, request: web.Request) -> web.Response:
        filter_id = named_in(request)
        who = await self._who(request)
        if who is None:
            return self._login_page(request, f"filters/{subjects.token(filter_id)}")
        fresh = "activated" in request.query
        try:
            status = await self._desk.status(who, filter_id)
        except Refusal as refusal:
            if refusal.problem is not Problem.NOT_SYNCED:
                raise
            theirs = who.filter_id == filter_id or await self._desk.may_activate(who, filter_id)
            if fresh and theirs and not who.operator:
                # The command is on its way to the filter's actor.
                status = {"filter_id": filter_id, "name": "", "state": "enabling", "two_way": True}
            elif theirs and not who.operator:
                return await self._page(request, who, "activate.html", filter_id=filter_id)
            else:
                raise
        shown = _BLANK | status
        return await self._page(
            request,
            who,
            "filter.html",
            filter=shown,
            fresh=fresh,
            progress=None,
            sees_contacts=self._desk.sees_contacts(who),
            done=done_of(request),
            freshness_s=self._freshness_s,
        )

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the filter's news as a piece of its page."""
        filter_id = named_in(request)
        who = await self._require(request)
        await self._desk.status(who, filter_id)
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers_of(self._places) | headers)
        await response.prepare(request)

        async def beat() -> None:
            while True:
                await anyio.sleep(KEEP_ALIVE_S)
                if await self._who(request) is None:
                    tasks.cancel_scope.cancel()  # signed out, or the session is over
                    return
                await response.write(b": still here\n\n")

        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beat)
                async for status, progress in self._live.follow(filter_id):
                    if status is None:
                        await response.write(b"event: gone\ndata:\n\n")
                        break
                    html = self._pages.news(request, _BLANK | status, progress, self._freshness_s)
                    lines = "".join(f"data: {line}\n" for line in html.splitlines())
                    await response.write(f"event: news\n{lines}\n".encode())
                tasks.cancel_scope.cancel()
        except* (ConnectionError, TooManyPages):
            pass  # the browser left, or asks again in a while by itself
        return response

    async def contacts(self, request: web.Request) -> web.Response:
        filter_id = named_in(request)
        who = await self._require(request)
        given: Any = request.query
        if request.method == "POST":
            require_same_site(request, self._places.root)
            given = await request.post()
        state, words, after = (
            str(given.get("state", "")),
            str(given.get("q", "")).strip(),
            str(given.get("after", "")),
        )
        if state and state not in set(ContactState):
            raise Refusal(Problem.BAD_INPUT, what=f"state: {state[:40]!r}")
        if after and not (
            after.removeprefix("-").isascii() and after.removeprefix("-").isdigit() and len(after) <= 16
        ):
            raise Refusal(Problem.BAD_INPUT, what="after: not a number")
        if len(words) > 200:
            raise Refusal(Problem.BAD_INPUT, what="q: more than 200 characters")
        status = await self._desk.status(who, filter_id)
        found = await self._desk.contacts(
            who, filter_id, state=state or None, search=words, after=int(after or 0), limit=PAGE
        )
        return await self._page(
            request,
            who,
            "contacts.html",
            filter=_BLANK | status,
            found=found,
            state=state,
            words_given=words,
            after=after,
            more=found["next"],
            done=done_of(request),
        )

    async def contact(self, request: web.Request) -> web.Response:
        filter_id, number = named_in(request), int(request.match_info["contact"])
        who = await self._require(request)
        status = await self._desk.status(who, filter_id)
        contact = await self._desk.contact(who, filter_id, number)
        history = await self._desk.history(who, filter_id, number)
        return await self._page(
            request,
            who,
            "contact.html",
            filter=_BLANK | status,
            contact=contact,
            history=history,
            done=done_of(request),
        )

    async def plans(self, request: web.Request) -> web.Response:
        filter_id = named_in(request)
        who = await self._require(request)
        status = await self._desk.status(who, filter_id)
        found = await self._desk.preview(who, filter_id)
        return await self._page(request, who, "plans.html", filter=_BLANK | status, found=found)

    async def leave(self, request: web.Request) -> web.Response:
        filter_id = named_in(request)
        who = await self._require(request)
        status = await self._desk.status(who, filter_id)
        return await self._page(request, who, "disconnect.html", filter=_BLANK | status)

    async def system(self, request: web.Request) -> web.Response:
        who = await self._require(request)
        found = await self._desk.system(who)
        letters = await self._desk.dead_letters(who)
        return await self._page(
            request, who, "system.html", system=found, letters=letters[-PAGE:], done=done_of(request)
        )

    # ---- forms

    async def resend(self, request: web.Request) -> web.Response:
        who, form = await self._formed(request)
        await self._desk.resend(who, number_in(form, "number"))
        raise web.HTTPSeeOther(f"{self._places.base}system?done=resend")

    def _form(self, act: Act) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            filter_id = named_in(request)
            who, form = await self._formed(request)
            done = await act(who, filter_id, form)
            raise web.HTTPSeeOther(
                done if ":" in done or "/" in done else f"{self._places.filter(filter_id)}?done={done}"
            )

        return handle

    async def _activate(self, who: Who, filter_id: str, _form: Any) -> str:
        if who.operator or not await self._desk.may_activate(who, filter_id):
            raise Refusal(Problem.NOT_OWNER)
        link, _ = await self._activation.new_link(filter_id, who.employee, relink=False)
        return link

    async def _sync(self, who: Who, filter_id: str, _form: Any) -> str:
        await self._desk.sync(who, filter_id)
        return "sync"

    async def _pause(self, who: Who, filter_id: str, _form: Any) -> str:
        await self._desk.pause(who, filter_id)
        return "pause"

    async def _resume(self, who: Who, filter_id: str, _form: Any) -> str:
        await self._desk.resume(who, filter_id)
        return "resume"

    async def _settings(self, who: Who, filter_id: str, form: Any) -> str:
        limits: dict[str, Limit] = {}
        try:
            for name in BREAKERS:
                least, percent = form.get(f"{name}_least", ""), form.get(f"{name}_percent", "")
                if least and percent:
                    limits[name] = Limit(least=least, percent=percent)
        except ValidationError as error:
            raise Refusal(Problem.BAD_INPUT, what=wrong_in(error)) from error
        changes: dict[str, Any] = {"two_way": form.get("two_way") == "on"}
        if form.get("conflict"):
            changes["conflict"] = form["conflict"]
        if limits:
            changes["breakers"] = Breakers(**limits)
        await self._desk.change(who, filter_id, **changes)
        return "settings"

    async def _approve(self, who: Who, filter_id: str, form: Any) -> str:
        await self._desk.approve(who, filter_id, str(form.get("hash", "")))
        return "approve"

    async def _decide(self, who: Who, filter_id: str, form: Any) -> str:
        said: dict[str, Any] = {"decision": str(form.get("decision", ""))}
        if form.get("contact"):
            said["contact"] = number_in(form, "contact")
        if form.get("person"):
            said["person"] = str(form["person"])
        await self._desk.decide(who, filter_id, **said)
        return f"{self._places.filter(filter_id)}/contacts?state=possible_duplicate&done=decide"

    async def _restore(self, who: Who, filter_id: str, form: Any) -> str:
        contact = number_in(form, "contact") if form.get("contact") else None
        await self._desk.restore(who, filter_id, contact)
        place = f"{self._places.filter(filter_id)}/contacts"
        return f"{place}/{contact}?done=restore" if contact else f"{place}?done=restore"

    async def _undo(self, who: Who, filter_id: str, form: Any) -> str:
        entry, run = str(form.get("entry", "")) or None, str(form.get("run", "")) or None
        contact = number_in(form, "contact")
        if (entry is None) == (run is None):
            raise Refusal(Problem.BAD_INPUT, what="entry: either an entry or a run")
        await self._desk.undo(who, filter_id, entry=entry, run=run)
        return f"{self._places.filter(filter_id)}/contacts/{contact}?done=undo"

    async def _disconnect(self, who: Who, filter_id: str, form: Any) -> str:
        remove = form.get("contacts")
        if remove not in ("keep", "remove"):
            raise Refusal(Problem.BAD_INPUT, what="contacts: keep or remove")
        left = await self._desk.disconnect(who, filter_id, remove_contacts=remove == "remove")
        return f"{self._places.base}?done=gone" if left is None else "disconnect"

    # ---- who

    async def _who(self, request: web.Request) -> Who | None:
        return await self._sessions.find(request.cookies.get(SIGNED_IN_COOKIE))

    async def _require(self, request: web.Request) -> Who:
        who = await self._who(request)
        if who is None:
            raise web.HTTPSeeOther(f"{self._places.base}login")
        return who

    async def _formed(self, request: web.Request) -> tuple[Who, Any]:
        """Who sent this form, and it. Raises Refusal for one that is not from a page of this session."""
        require_same_site(request, self._places.root)
        who = await self._require(request)
        form = await request.post()
        require_csrf(str(form.get(CSRF_FIELD, "")), who)
        return who, form

    # ---- showing

    def _login_page(self, request: web.Request, then: str) -> web.Response:
        return self._pages.show(
            request,
            "login.html",
            then=then,
            with_google=self._signin.with_google,
            with_token=self._signin.with_token,
            healthy=self._healthy(),
        )

    async def _page(self, request: web.Request, who: Who, template: str, **values: Any) -> web.Response:
        name = await self._desk.name_of(who)
        return self._pages.show(request, template, who=who, who_name=name, **{"done": done_of(request)} | values)


_BLANK: Final[dict[str, Any]] = {
    "reason": "",
    "google_account": None,
    "contacts": None,
    "last_sync": None,
    "run": None,
    "plans": [],
    "label": "",
    "people_in_account": 0,
    "conflict": None,
    "breakers": None,
}


def named_in(request: web.Request) -> str:
    """The filter that the address names. Raises Refusal."""
    try:
        return subjects.untoken(request.match_info["filter"])
    except ValueError as error:
        raise Refusal(Problem.NOT_SYNCED) from error


def number_in(form: Any, name: str) -> int:
    text = str(form.get(name, ""))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**15):
        raise Refusal(Problem.BAD_INPUT, what=f"{name}: not a number")
    return int(text)


def done_of(request: web.Request) -> str:
    """What the page before this one did; the template has words for it, or says nothing."""
    return request.query.get("done", "")[:40]
