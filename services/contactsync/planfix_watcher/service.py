"""Watches Planfix: the one scheduler that reads the account for all filters.

A thin shell: `schedule.py` says whose turn it is, `work.py` what to request and what follows from the answer. Each
call of `handle` takes new looks in or gives one turn, so that whatever is urgent waits for one request at most (where
requests need no spacing, a few looks have their turns side by side). A
look is committed before it is acknowledged and removed when it is answered; a listing's place is saved every few
pages, so that a successor goes on where a killed watcher was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import anyio
import orjson

from contactsync.errors import AccessDenied, PlanNeeded, Rejected, Unavailable, VendorError
from contactsync.planfix.port import ContactPage, PlanfixApi
from contactsync.planfix_watcher.confirm import Confirm
from contactsync.planfix_watcher.known import FilterView, Known, view_of
from contactsync.planfix_watcher.matching import Matching
from contactsync.planfix_watcher.schedule import Rank, Turn, next_at, next_turns, pause_s, rank_of, retry_s
from contactsync.planfix_watcher.sweep import Sweeper
from contactsync.planfix_watcher.work import (
    NUMBERS_MAX,
    Contacts,
    Delta,
    Hints,
    Listing,
    Membership,
    Sighting,
    Work,
)
from contactsync.runtime.bus import COMMIT_MAX, Bus, Fence, Message, Put, Transient
from contactsync.runtime.dead import decoded
from contactsync.runtime.logs import get_logger
from contactsync.runtime.ownership import Delivery, Mailboxes
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    Class,
    FilterObserved,
    FilterProblem,
    LookPlanfix,
    Model,
    PlanfixContact,
    PlanfixObserved,
    type_of,
)

SERVICE = "planfix-watcher"
CURSOR_KEY = "state.planfix.cursor"
LOOK_PREFIX = "state.planfix.look."
MESSAGE_BYTES_MAX = 480_000
SAVE_PAGES = 5
SAVE_QUIET_S = 600.0
STARVED_S = 2.0
DELTA_AGE_MAX_S = 86400.0
SUSPECT_S = 30.0

_DELTA, _SWEEP = ("delta",), ("sweep",)

log = get_logger(SERVICE)


@dataclass(slots=True)
class _Job:
    """A look that waits for its answer. `shares`: looks that the same work answers."""

    seq: int
    look: LookPlanfix
    progress: dict[str, Any] | None = None
    work: Work | None = None
    shares: list[int] = field(default_factory=list)


class PlanfixWatcher:
    """The handler of the component `planfix-watcher`, whose only key is `planfix`.

    poll_s, full_scan_s: targets, stretched by the day's remainder; overlap_s: how far each delta reaches back behind
    the one before; remaining: requests left today and the seconds until that is reset, None if unknown; at_once: so
    many looks have their turns side by side.
    """

    def __init__(
        self,
        bus: Bus,
        mailboxes: Mailboxes,
        api: PlanfixApi,
        *,
        clock: Callable[[], float],
        poll_s: float,
        full_scan_s: float,
        overlap_s: float = 60.0,
        remaining: Callable[[], tuple[int, float] | None] = lambda: None,
        at_once: int = 1,
    ) -> None:
        self._bus = bus
        self._mailboxes = mailboxes
        self._api = api
        self._clock = clock
        self._poll_s = poll_s
        self._full_scan_s = full_scan_s
        self._overlap_s = overlap_s
        self._remaining = remaining
        self._at_once = at_once
        self._counter = 0
        self._forget()

    def _forget(self) -> None:
        self._jobs: dict[int, _Job] = {}
        self._views: dict[str, FilterView] = {}
        self._known = Known()
        self._sweeper = Sweeper()
        self._sweep_at = 0.0
        self._delta: Delta | None = None
        self._delta_at = 0.0
        self._delta_works: bool | None = None
        self._since: float | None = None
        self._before: dict[int, Sighting] = {}
        self._pending: dict[tuple[str, bool], set[int]] = {}
        self._rotation: Listing | None = None
        self._rotation_at = 0.0
        self._unsaved = False
        self._saved_at = 0.0
        self._failures: dict[Hashable, tuple[int, float]] = {}
        self._paused_until = 0.0
        self._trouble = ""
        self._tell_all = False
        self._stepped_at = 0.0

    def freshness(self) -> Mapping[str, float]:
        """Filter to the moment up to which everything that Planfix reports as changed was told (Unix seconds)."""
        since = self._since or 0.0
        return {
            view.filter_id: max(since, self._known.of(view.filter_id).listed_at)
            for view in self._views.values()
            if view.polled
        }

    # ---- ownership

    async def gained(self, fences: Sequence[Fence]) -> None:
        self._forget()
        self._saved_at = self._clock()
        await self._load_views()
        cursor = await self._bus.get(CURSOR_KEY)
        if cursor is not None:
            saved = orjson.loads(cursor.value)
            since = float(saved["since"])
            if self._clock() - since < DELTA_AGE_MAX_S:
                self._since = since
                for filter_id, listed_at in saved["listed"].items():
                    if filter_id in self._views:
                        self._known.of(filter_id).listed_at = float(listed_at)
        async for record in self._bus.load(LOOK_PREFIX):
            saved, seq = orjson.loads(record.value), int(record.key.removeprefix(LOOK_PREFIX))
            look = LookPlanfix.model_validate(saved["look"])
            self._jobs[seq] = _Job(seq, look, progress=saved["progress"])
        self._mailboxes.wake(subjects.PLANFIX, self._clock())

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        return ()

    async def lost(self, partition: int) -> None:
        self._forget()

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        if deliveries:
            await self.take_in(deliveries, fence)
        if not deliveries or self._clock() - self._stepped_at > STARVED_S:
            await self._step(fence)
            self._stepped_at = self._clock()
        at = next_at(self._turns())
        self._mailboxes.wake(key, self._clock() + self._poll_s if at is None else at)

    async def take_in(self, deliveries: Sequence[Delivery], fence: Fence) -> None:
        """Commit these looks; from then on they are answered even if this process is not there any more.

        A run's listing that is asked for again, by a new owner of the filter that cannot know whether the old one has
        said it, is the one that is under way: of a large filter another one would cost minutes of requests.
        """
        jobs: list[_Job] = []
        runs = {_run_of(job.look): seq for seq, job in self._jobs.items()}
        for delivery in deliveries:
            look = await decoded(self._bus, SERVICE, None, delivery, LookPlanfix)
            if look is None:
                continue
            seq, run = delivery.stream_seq, _run_of(look)
            known = self._jobs.get(seq)
            again = run is not None and runs.setdefault(run, seq) != seq
            if not again and (known is None or known.look != look):
                jobs.append(_Job(seq, look))
        for at in range(0, len(jobs), COMMIT_MAX - 1):
            await self._bus.commit(fence, [_put(job) for job in jobs[at : at + COMMIT_MAX - 1]])
        self._jobs |= {job.seq: job for job in jobs}

    # ---- the line

    def _turns(self) -> list[Turn]:
        return [*self._look_turns(), *self._poll_turns()]

    def _turn(self, rank: Rank, ready_at: float, order: float, of: Hashable, *, alone: bool = True) -> Turn:
        return Turn(rank, max(ready_at, self._held_until(of)), order, of, alone)

    def _held_until(self, of: Hashable) -> float:
        return max(self._paused_until, self._failures.get(of, (0, 0.0))[1])

    def _look_turns(self) -> Iterable[Turn]:
        shared = self._shared()
        for job in self._jobs.values():
            if job.seq not in shared:
                swept = job.look.what == "filter"
                of: Hashable = _SWEEP if swept else ("look", job.seq)
                yield self._turn(rank_of(job.look), job.look.not_before, job.seq, of, alone=swept)

    def _shared(self) -> set[int]:
        """Looks that another one's work answers."""
        return {seq for job in self._jobs.values() for seq in job.shares}

    def _poll_turns(self) -> Iterable[Turn]:
        # Also without filters: their records are read again when the time has come.
        yield self._turn(Rank.DELTA, 0.0 if self._delta else self._delta_at, 0, _DELTA)
        if self._views:
            yield self._turn(Rank.SWEEP, self._sweep_at, 0, _SWEEP)
        for filter_id, companies in self._pending:
            yield self._turn(Rank.MEMBERSHIP, 0.0, 0, ("member", filter_id, companies))
        if self._rotation is not None:
            yield self._turn(Rank.ROTATION, self._rotation_at, 0, ("rotation", self._rotation.filter_id))
        elif (first := min(self._rotations(), default=None)) is not None:
            at, filter_id = first
            yield Turn(Rank.ROTATION, at, at, ("rotation", filter_id))

    def _rotations(self) -> Iterable[tuple[float, str]]:
        """When each filter's next background listing is due: the first one has its turn, of a thousand."""
        listing = {job.look.filter_id for job in self._jobs.values() if job.look.what == "listing"}
        interval_s = self._full_scan_s if self._delta_works is not False else self._full_scan_s / 4
        for view in self._views.values():
            if view.polled and view.rotates and view.filter_id not in listing:
                at = max(self._known.of(view.filter_id).listed_at + interval_s, self._rotation_at)
                yield max(at, self._held_until(("rotation", view.filter_id))), view.filter_id

    async def _step(self, fence: Fence) -> None:
        async with anyio.create_task_group() as tasks:
            for turn in next_turns(self._turns(), self._clock(), self._at_once):
                tasks.start_soon(self._take_turn, turn, fence)

    async def _take_turn(self, turn: Turn, fence: Fence) -> None:
        try:
            await self._give(turn, fence)
        except VendorError as error:
            await self._failed(turn, error, fence)
        else:
            self._failures.pop(turn.of, None)

    async def _give(self, turn: Turn, fence: Fence) -> None:
        match turn.of:
            case ("look", int(seq)):
                if (job := self._jobs.get(seq)) is not None:
                    await self._look_turn(job, fence)
            case ("delta",):
                await self._delta_turn(fence)
            case ("sweep",):
                await self._sweep_turn(fence)
            case ("member", str(filter_id), bool(companies)):
                await self._member_turn(filter_id, companies, fence)
            case ("rotation", str(filter_id)):
                await self._rotation_turn(filter_id, fence)
            case other:
                raise AssertionError(other)

    async def _request(self, work: Work, cls: Class, fence: Fence) -> None:
        """One request of this work, and what follows from its answer published."""
        ask, began = work.ask(), self._clock()
        if ask is None:
            page = ContactPage((), 0)
        elif ask.number is not None:
            contact = await self._api.get_contact(ask.number, cls=cls)
            page = ContactPage((contact,), 1) if contact else ContactPage((), 0)
        else:
            page = await self._api.list_contacts(ask.query, offset=ask.offset, cls=cls)
        await self._works(fence)
        await self._publish(work.take(page, began), fence)

    # ---- looks

    async def _look_turn(self, job: _Job, fence: Fence) -> None:
        if job.work is None:
            if job.seq in self._shared():  # by one whose turn began a moment ago
                return
            job.work = self._work_for(job)
        work = job.work
        if not work.done:
            await self._request(work, job.look.cls, fence)
        if work.done:
            if isinstance(work, Hints):
                await self._ask_membership(_kinds(work.entering))
            if isinstance(work, Listing):
                _explain_empty(work)
            await self._answered([job.seq, *job.shares], fence)
        elif isinstance(work, Listing) and work.pages and work.pages % SAVE_PAGES == 0:
            job.progress = work.progress()
            await self._bus.commit(fence, [_put(job)])

    def _work_for(self, job: _Job) -> Work:
        look = job.look
        owner = look.owner
        if owner is None and look.filter_id in self._views:
            owner = self._views[look.filter_id].owner
        match look.what:
            case "listing":
                if self._rotation is not None and self._rotation.filter_id == look.filter_id:
                    self._rotation = None  # this listing does its work as well
                self._share(job, lambda other: other.owner == look.owner)
                requests = [look, *(self._jobs[seq].look for seq in job.shares)]
                names = tuple(one.request_id for one in requests)
                probe = min((one.probe for one in requests if one.probe is not None), default=None)
                listing = Listing(look.filter_id, owner, self._known, names, probe=probe)
                if job.progress is not None:
                    listing.resume(job.progress)
                return listing
            case "contacts" if not look.filter_id:
                room = NUMBERS_MAX - len(set(look.contacts))
                self._share(job, lambda other: other.not_before <= self._clock(), room)
                numbers = {n for seq in (job.seq, *job.shares) for n in self._jobs[seq].look.contacts}
                return Hints(self._known, sorted(numbers))
            case "contacts":
                return Contacts(look.filter_id, owner, self._known, look.contacts, look.request_id)
            case "confirm":
                return Confirm(look.filter_id, owner, look.request_id, look.contacts, look.known)
            case "match":
                return Matching(look.filter_id, owner, look.request_id, look.match)
            case "filter":
                raise AssertionError("answered by a sweep")
            case _:
                assert_never(look.what)

    def _share(self, job: _Job, fits: Callable[[LookPlanfix], bool], room: int | None = None) -> None:
        """Let this job's work answer others of its kind that have not begun; `room`: for so many more numbers."""
        taken = self._shared()
        for other in self._jobs.values():
            same = (other.look.what, other.look.filter_id) == (job.look.what, job.look.filter_id)
            begun = other.work is not None or other.progress is not None or other.seq in taken
            if other is job or not same or begun or not fits(other.look):
                continue
            if room is not None:
                if len(other.look.contacts) > room:
                    continue
                room -= len(other.look.contacts)
            job.shares.append(other.seq)

    async def _answered(self, seqs: Sequence[int], fence: Fence) -> None:
        keys = [f"{LOOK_PREFIX}{seq}" for seq in seqs]
        for at in range(0, len(keys), COMMIT_MAX - 1):
            await self._bus.commit(fence, [Put(key, None) for key in keys[at : at + COMMIT_MAX - 1]])
        for seq in seqs:
            self._jobs.pop(seq, None)

    # ---- polling

    async def _delta_turn(self, fence: Fence) -> None:
        if self._delta is None:
            await self._load_views()
            if not any(view.polled for view in self._views.values()):
                self._since, self._delta_at = None, self._clock() + self._poll_s
                return
            if not await self._deltas_work():
                self._delta_at = self._clock() + self._full_scan_s
                return
            if self._since is None:
                self._since = self._clock()
            self._delta = Delta(self._since - self._overlap_s, self._known, self._before)
        delta = self._delta
        await self._request(delta, Class.CHANGE, fence)
        if not delta.done:
            return
        self._delta = None
        self._before, self._since = delta.seen, delta.began_at
        self._unsaved = self._unsaved or bool(delta.changed)
        self._delta_at = delta.began_at + max(self._poll_s, 2 * self._pause_s())
        await self._ask_membership([*_kinds(delta.changed), *delta.settled])
        await self._save(fence)

    async def _deltas_work(self) -> bool:
        if not self._delta_works:
            works = await self._api.delta_filter_works(cls=Class.CHANGE)
            if not works and self._delta_works is None:
                log.warning("Planfix cannot say what changed: filters are listed more often instead")
            self._delta_works = works
        return self._delta_works

    async def _ask_membership(self, contacts: Sequence[tuple[int, bool]]) -> None:
        """Which filters these contacts (number, company or not) are in now; asked in groups when their turn comes."""
        if not contacts:
            return
        await self._load_views()
        for number, is_company in contacts:
            for view in self._views.values():
                if view.polled:
                    self._pending.setdefault((view.filter_id, is_company), set()).add(number)

    async def _member_turn(self, filter_id: str, companies: bool, fence: Fence) -> None:
        numbers = self._pending[filter_id, companies]
        view = self._views.get(filter_id)
        part = sorted(numbers)[:NUMBERS_MAX]
        if view is not None and view.polled:
            work = Membership(filter_id, view.owner, self._known, part, companies)
            await self._request(work, Class.CHANGE, fence)
        numbers.difference_update(part)
        if not numbers:
            del self._pending[filter_id, companies]
        await self._save(fence)

    async def _rotation_turn(self, filter_id: str, fence: Fence) -> None:
        view = self._views.get(filter_id)
        if view is None or not view.rotates:
            self._rotation = None
            return
        if self._rotation is None:
            self._rotation = Listing(filter_id, view.owner, self._known)
        rotation = self._rotation
        await self._request(rotation, Class.BACKGROUND, fence)
        self._rotation_at = self._clock() + (2 * self._pause_s() if self._pause_s() > 1 else 0.0)
        if rotation.done:
            _explain_empty(rotation)
            self._rotation = None
            self._unsaved = True
            await self._save(fence)

    async def _sweep_turn(self, fence: Fence) -> None:
        await self._load_views()
        jobs = [job for job in self._jobs.values() if job.look.what == "filter"]
        cls = Class.HUMAN if any(job.look.cls is Class.HUMAN for job in jobs) else Class.CHANGE
        filters = await self._api.filters(cls=cls)
        owners = {view.owner for view in self._views.values() if view.watched and view.owner is not None}
        owners |= {job.look.owner for job in jobs if job.look.owner is not None}
        employees = await self._api.employees(cls=cls, until=owners)
        await self._works(fence)
        views = {view.filter_id: view for view in self._views.values() if view.watched}
        for job in jobs:  # a filter that is being activated may have no record yet
            if job.look.filter_id not in views:
                asked = FilterView(job.look.filter_id, job.look.owner, "enabling", None)
                views[asked.filter_id] = asked
        names = set(views) if self._tell_all else {job.look.filter_id for job in jobs}
        observed, again = self._sweeper.conclude(views.values(), filters, employees, asked=names, now=self._clock())
        await self._publish(observed, fence)
        self._tell_all = False
        told = {one.filter_id for one in observed}
        if done := [job.seq for job in jobs if job.look.filter_id in told]:
            await self._answered(done, fence)
        self._sweep_at = self._clock() + (min(SUSPECT_S, self._full_scan_s) if again else self._full_scan_s)

    # ---- what goes wrong

    async def _failed(self, turn: Turn, error: VendorError, fence: Fence) -> None:
        """The same piece is repeated after a growing pause; nothing is concluded."""
        count = self._failures.get(turn.of, (0, 0.0))[0] + 1
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else 5.0
        now = self._clock()
        self._failures[turn.of] = (count, now + retry_s(count, asked_s))
        if isinstance(error, Unavailable) and error.bucket is not None:
            self._paused_until = now + error.retry_after_s
        if isinstance(error, PlanNeeded):
            self._paused_until = self._failures[turn.of][1]
            await self._plan_needed(error.reason, fence)
        elif isinstance(error, Rejected) and turn.of != _DELTA:
            await self._rejected(turn, error, fence)
        if self._trouble == type(error).__name__:
            return
        self._trouble = type(error).__name__
        if isinstance(error, AccessDenied):
            log.error("Planfix refuses: check the token, its scopes and its employee's rights", reason=error.reason)
        elif not isinstance(error, PlanNeeded):
            log.warning("Planfix does not answer as it should", reason=error.reason)

    async def _rejected(self, turn: Turn, error: Rejected, fence: Fence) -> None:
        """Refused for good: most likely the filter is gone, which a sweep finds out."""
        self._sweep_at = min(self._sweep_at, self._clock())
        match turn.of:
            case ("look", int(seq)):
                job = self._jobs[seq]
                for one in (job.seq, *job.shares):
                    look = self._jobs[one].look
                    await self._bus.publish(
                        subjects.dead(SERVICE, look.filter_id or None),
                        look.model_dump_json().encode(),
                        msg_id=f"{subjects.look(subjects.PLANFIX)}.{one}",
                        type_=type_of(look),
                        headers={"Contactsync-Reason": error.reason[:500]},
                    )
                await self._answered([job.seq, *job.shares], fence)
            case ("rotation", _):
                self._rotation = None
            case ("member", str(filter_id), bool(companies)):
                del self._pending[filter_id, companies]
            case _:
                pass

    async def _plan_needed(self, reason: str, fence: Fence) -> None:
        if self._tell_all:
            return
        self._tell_all = True  # once it works again, every filter hears its name
        log.error("Planfix does not serve its API to this account: a paid plan is needed", reason=reason)
        now = self._clock()
        problem = FilterProblem.PLAN_NEEDED
        await self._publish(
            [
                FilterObserved(filter_id=view.filter_id, seen_at=now, problem=problem, detail=reason)
                for view in self._views.values()
                if view.watched
            ],
            fence,
        )

    async def _works(self, fence: Fence) -> None:
        """Planfix has just answered."""
        if self._trouble:
            log.info("Planfix answers again")
            self._trouble = ""
        if self._tell_all:
            self._sweep_at = min(self._sweep_at, self._clock())

    # ---- small parts

    def _pause_s(self) -> float:
        left = self._remaining()
        return pause_s(*left) if left is not None else 0.0

    async def _load_views(self) -> None:
        views = [view async for record in self._bus.load("state.filter.*") if (view := view_of(record.value))]
        self._views = {view.filter_id: view for view in views if view.watched}
        self._known.keep_only(self._views)

    async def _save(self, fence: Fence) -> None:
        """The cursor, once everything that it covers was told; a quiet delta is not worth a write of its own."""
        due = self._unsaved or self._clock() - self._saved_at >= SAVE_QUIET_S
        if self._since is None or self._pending or self._delta is not None or not due:
            return
        listed = {name: self._known.of(name).listed_at for name in self._views}
        value = orjson.dumps({"since": self._since, "listed": listed})
        await self._bus.commit(fence, [Put(CURSOR_KEY, value)])
        self._unsaved, self._saved_at = False, self._clock()

    async def _publish(self, models: Sequence[Model], fence: Fence) -> None:
        self._counter += 1
        messages = [
            Message(
                subject=subjects.mailbox(filter_id, "planfix"),
                data=body,
                msg_id=f"{subjects.token(filter_id)}.planfix.{fence.epoch}.{self._counter}.{page}",
                type_=type_of(model),
            )
            for page, (filter_id, model, body) in enumerate(item for model in models for item in _fitting(model))
        ]
        while messages:
            try:
                await self._bus.publish_many(messages)
                return
            except Transient as error:
                # The work has moved on already, so this page is repeated until it stands; the ids make that safe.
                await anyio.sleep(error.retry_after_s)


def _kinds(contacts: Iterable[PlanfixContact]) -> list[tuple[int, bool]]:
    return [(contact.contact, contact.is_company) for contact in contacts]


def _run_of(look: LookPlanfix) -> tuple[str, int | None, str] | None:
    """What makes a listing the same as another one."""
    asked = look.what == "listing" and look.request_id
    return (look.filter_id, look.owner, look.request_id) if asked else None


def _put(job: _Job) -> Put:
    value = {"look": job.look.model_dump(mode="json"), "progress": job.progress}
    return Put(f"{LOOK_PREFIX}{job.seq}", orjson.dumps(value))


def _fitting(model: Model) -> list[tuple[str, Model, bytes]]:
    """The message, in halves if it would be too large."""
    body = model.model_dump_json().encode()
    if isinstance(model, PlanfixObserved) and len(body) > MESSAGE_BYTES_MAX and len(model.contacts) > 1:
        middle = len(model.contacts) // 2
        halves = (model.contacts[:middle], model.contacts[middle:])
        return [item for half in halves for item in _fitting(model.model_copy(update={"contacts": half}))]
    filter_id: str = model.filter_id  # type: ignore[attr-defined]
    return [(filter_id, model, body)]


def _explain_empty(listing: Listing) -> None:
    if listing.without_owner is None:
        return
    if listing.without_owner:
        log.warning(
            "the filter has contacts, but none that its owner may see", filter=listing.filter_id, owner=listing.owner
        )
    else:
        log.info("the filter is empty", filter=listing.filter_id)
