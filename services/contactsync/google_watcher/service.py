"""Watches the Google accounts of this replica's partitions: polls each for what changed and answers looks.

A thin shell over `cursor.py` (what to read, whom to tell) and `index.py` (who may be whom); `reading.py` reads one
account. Every look stays unacknowledged until it is answered, and the sync token is saved only after everything
that it covers was published: whatever is lost with a process is read again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import orjson
from pydantic import ValidationError

from contactsync.errors import AccessDenied, NotConnected, Rejected, TokenExpired, Unavailable, VendorError
from contactsync.google.port import PeopleApi
from contactsync.google_watcher.cursor import Read, decode, next_read
from contactsync.google_watcher.reading import Account, Reading, matches
from contactsync.hashing import Hasher
from contactsync.runtime.bus import Bus, Fence, NotMine, Put, Record, Refused, Subscription, Transient
from contactsync.runtime.dead import dead_letter, decoded
from contactsync.runtime.logs import get_logger
from contactsync.runtime.ownership import GOOGLE_WATCHER, Delivery, Mailboxes
from contactsync_contracts import subjects
from contactsync_contracts.messages import Class, LookGoogle

SERVICE = "google-watcher"
FULL_LISTING_S = 86400.0
RETRY_MAX_S = 60.0
ASKED_FULL_S = 3600.0
"""A sync that somebody asks for reads changes only, since first pages of listings have a small quota of their own.
But a delta may have silently lost its end, so that after an hour it is a whole listing all the same."""

FOLD_AFTER_S = 60.0
"""Of an index into which nobody has looked."""

_URGENCY = {Class.HUMAN: 0, Class.CHANGE: 1, Class.BACKGROUND: 2}

log = get_logger(SERVICE)


@dataclass(frozen=True, slots=True)
class _Look:
    seq: int
    delivery: Delivery
    asked: LookGoogle


@dataclass(slots=True)
class _Watch:
    """One account's schedule. `answered`: looks that were answered before another one of their batch failed."""

    account: Account
    next_poll: float
    failures: int = 0
    warned: str = ""
    dead_since: Record | None = None
    dead: bool = False
    listing_wanted: bool = False
    used_at: float = 0.0
    answered: set[int] = field(default_factory=set)


class GoogleWatcher:
    """The handler of the component `google-watcher`; its keys are account tokens.

    people: the People API of one account; parameters: a hash of the parameters of its listings, since a sync
    token belongs to them; kept_people: of how many people of quiet accounts the index is not folded up, one and a
    half kilobytes each; spread: a number in [0, 1) by which the accounts' polls are kept apart.
    """

    def __init__(
        self,
        bus: Bus,
        mailboxes: Mailboxes,
        people: Callable[[str], PeopleApi],
        hasher: Hasher,
        *,
        parameters: str,
        clock: Callable[[], float],
        poll_s: float,
        full_s: float = FULL_LISTING_S,
        spread: Callable[[], float] = random.random,
        kept_people: int = 0,
    ) -> None:
        self._kept_people = kept_people
        self._bus = bus
        self._mailboxes = mailboxes
        self._people = people
        self._hasher = hasher
        self._parameters = parameters
        self._clock = clock
        self._poll_s = poll_s
        self._full_s = full_s
        self._spread = spread
        self._watches: dict[str, _Watch] = {}
        self._counter = 0

    def freshness(self) -> Mapping[str, float]:
        """Filter to the moment up to which everything that happened in Google was told (Unix seconds)."""
        return {
            filter_id: watch.account.seen_at
            for watch in self._watches.values()
            for filter_id in watch.account.filters.values()
            if watch.account.seen_at
        }

    # ---- questions

    async def serve(self) -> list[Subscription]:
        """Answer `match` at once where the account is ours and its index complete and fresh; who is refused asks by
        a look, which is answered when it is."""
        return [await self._bus.serve(SERVICE, subjects.query("match"), self._match_at_once, everyone=True)]

    async def _match_at_once(self, _subject: str, data: bytes) -> bytes:
        try:
            look = LookGoogle.model_validate_json(data)
        except ValidationError as error:
            raise Refused("not a look", 400) from error
        if self._mailboxes.fence(look.account) is None:
            raise NotMine
        watch = self._watches.get(look.account)
        if watch is None or watch.dead or watch.account.catching_up or not watch.account.index.complete:
            raise Refused("the account has no complete index here", 409)
        if self._clock() - watch.account.seen_at >= 1.5 * self._poll_s:
            raise Refused("the account's index is not fresh", 409)
        answers = list(matches(watch.account, look))
        if len(answers) != 1:
            raise Refused("more than one message of candidates", 413)
        return answers[0]

    # ---- ownership

    async def gained(self, fences: Sequence[Fence]) -> None:
        now, ours = self._clock(), {fence.partition for fence in fences}
        async for record in self._bus.load("state.account.*.grant"):
            key = record.key.split(".")[2]
            if GOOGLE_WATCHER.partition_of(key) in ours:
                self._mailboxes.wake(key, now + self._spread() * self._poll_s)

    def rest(self, idle: Sequence[str]) -> Iterable[str]:
        """Every account is polled: they rest in between (`_fold`)."""
        return ()

    async def lost(self, partition: int) -> None:
        for key in [key for key in self._watches if GOOGLE_WATCHER.partition_of(key) == partition]:
            del self._watches[key]

    async def handle(self, key: str, deliveries: Sequence[Delivery], fence: Fence) -> None:
        if key == subjects.PLANFIX:
            return
        looks = [look for delivery in deliveries if (look := await self._parse(delivery))]
        watch = self._watches.get(key)
        if watch is None:
            watch, dead = await self._load(key)
            if dead:
                await self._disconnected(watch, looks, "the grant is dead", fence)
        seen_at = watch.account.seen_at
        try:
            alive = not watch.dead or await self._revived(watch, looks, fence)
            if alive:
                await self._work(watch, looks, fence)
        except NotConnected as error:
            await self._disconnected(watch, looks, error.reason, fence)
        except VendorError as error:
            self._failed(watch, error, waiting=bool(looks))
        else:
            if alive:
                watch.failures = 0
                if watch.warned and watch.account.seen_at > seen_at:
                    watch.warned = ""
                    log.info("Google answers again", account=watch.account.key)
        watch.answered.clear()
        if key in self._watches:
            self._mailboxes.wake(key, watch.next_poll)
            self._fold(watch)

    def _fold(self, watch: _Watch) -> None:
        """What is folded up is unfolded by whoever looks into it."""
        now, index = self._clock(), watch.account.index
        if index.was_touched():
            watch.used_at = now
            return
        in_memory = sum(one.account.index.unfolded for one in self._watches.values())
        if in_memory > self._kept_people and now - watch.used_at >= FOLD_AFTER_S:
            index.fold()

    # ---- the work of one call

    async def _work(self, watch: _Watch, looks: Sequence[_Look], fence: Fence) -> None:
        account = watch.account
        reading = self._reading(account, fence)
        if looks:
            await reading.load_filters()
        waiting = [look for look in looks if look.seq not in watch.answered]
        waiting.sort(key=lambda look: _URGENCY[look.asked.cls])
        for look in waiting:
            if look.asked.what in ("people", "label"):
                await self._answer(reading, look)
                watch.answered.add(look.seq)
        listings = [look for look in waiting if look.asked.what == "listing"]
        changes = [look for look in waiting if look.asked.what == "changes"]
        matches = [look for look in waiting if look.asked.what == "match"]
        await self._read(watch, reading, listings, index_asked=bool(matches), changes_asked=bool(changes))
        watch.answered.update(look.seq for look in listings)
        for look in (*changes, *matches):
            await self._answer(reading, look)
            watch.answered.add(look.seq)

    async def _answer(self, reading: Reading, look: _Look) -> None:
        asked = look.asked
        try:
            match asked.what:
                case "people":
                    await reading.answer_people(asked)
                case "label":
                    await reading.answer_label(asked)
                case "match":
                    await reading.answer_match(asked)
                case "changes":
                    await reading.answer_changes(asked)
                case "listing":
                    raise AssertionError("listings are answered by the read that they wait for")
                case _:
                    assert_never(asked.what)
        except Rejected as error:
            # It would be refused for ever: keep it where it can be seen instead of in front of all others.
            token = subjects.token(asked.filter_id)
            await dead_letter(self._bus, SERVICE, token, look.delivery, error.reason)

    async def _read(
        self,
        watch: _Watch,
        reading: Reading,
        listings: Sequence[_Look],
        *,
        index_asked: bool,
        changes_asked: bool,
    ) -> None:
        account, now = watch.account, self._clock()
        due = now >= watch.next_poll
        if due and not listings:
            await reading.load_filters()  # one may have been disconnected
        # An account without a label has nobody to tell: not a request is spent on it. Whoever looks for a partner
        # gets what is known up to now, not up to the last time that somebody was to be told.
        due = (due and bool(account.filters)) or (index_asked and now - account.seen_at >= self._poll_s)
        asked = [look.asked for look in listings]
        new = reading.new_labels(asked)
        due = due or changes_asked or new is not None
        read = next_read(
            account.cursor,
            now=now,
            parameters=self._parameters,
            labels=account.filters.keys() - (new or ()),
            full_s=min(self._full_s, ASKED_FULL_S) if changes_asked or new is not None else self._full_s,
            indexed=account.index.complete and not account.catching_up,
            due=due,
            listing_asked=(bool(listings) and new is None) or (watch.listing_wanted and due),
            index_asked=index_asked,
        )
        cls = min((look.asked.cls for look in listings), key=_URGENCY.__getitem__, default=Class.BACKGROUND)
        match read:
            case Read.NONE:
                pass
            case Read.DELTA:
                try:
                    await reading.delta(told_from_index=True)
                except TokenExpired:
                    account.cursor = account.cursor and account.cursor.expired()
                    await reading.full(asked, cls=cls)
                else:
                    await reading.answer_new(asked, cls=cls)
            case Read.FULL:
                if account.catching_up:  # what the index knows was not told to everybody
                    account.index.clear()
                    account.catching_up = False
                await reading.full(asked, cls=cls)
            case Read.CATCH_UP:
                # Until the delta is told, the index knows more than the filters: a failure starts this anew.
                account.catching_up = True
                await reading.full(asked, cls=cls, silent=True)
                try:
                    await reading.delta(told_from_index=False)
                except TokenExpired:
                    account.cursor = account.cursor and account.cursor.expired()
                    account.index.clear()
                    account.catching_up = False
                    await reading.full(asked, cls=cls)
                account.catching_up = False
            case _:
                assert_never(read)
        if read in (Read.FULL, Read.CATCH_UP):
            watch.listing_wanted = False
        if read is not Read.NONE or now >= watch.next_poll:
            watch.next_poll = self._clock() + self._poll_s

    # ---- what goes wrong

    def _failed(self, watch: _Watch, error: VendorError, *, waiting: bool) -> None:
        watch.failures += 1
        patience = RETRY_MAX_S if isinstance(error, AccessDenied | Rejected) else 1.0
        asked = error.retry_after_s if isinstance(error, Unavailable) else patience
        retry_s = max(asked, min(2.0 ** min(watch.failures, 16), RETRY_MAX_S) if watch.failures > 1 else 0.0)
        if watch.warned != type(error).__name__:
            watch.warned = type(error).__name__
            log.warning("Google does not answer as it should", account=watch.account.key, reason=error.reason)
        watch.next_poll = max(watch.next_poll, self._clock() + retry_s)
        self._mailboxes.wake(watch.account.key, watch.next_poll)
        if waiting:
            raise Transient(error.reason, retry_s) from error

    async def _disconnected(self, watch: _Watch, looks: Sequence[_Look], reason: str, fence: Fence) -> None:
        """Tell the account's filters once; looks are answered by that, their askers ask again when it is alive."""
        account = watch.account
        reading = self._reading(account, fence)
        await reading.load_filters()
        already = set(account.filters.values()) if watch.dead else set()
        watch.dead, watch.listing_wanted = True, True
        watch.dead_since = await self._bus.get(subjects.grant_key(account.key))
        watch.next_poll = self._clock() + self._poll_s
        concerned = (set(account.filters.values()) - already) | {look.asked.filter_id for look in looks}
        await reading.tell_connected(sorted(concerned), connected=False, reason=reason)
        if not already:
            log.warning("account has to be reconnected", account=account.key, reason=reason)
        if watch.dead_since is None and not account.filters:
            await self._leave(account, fence)

    async def _revived(self, watch: _Watch, looks: Sequence[_Look], fence: Fence) -> bool:
        """Whether the grant changed since it was found dead; no request is made before that."""
        account = watch.account
        grant = await self._bus.get(subjects.grant_key(account.key))
        known = watch.dead_since.seq if watch.dead_since else 0
        if grant is None and not looks:
            await self._reading(account, fence).load_filters()
            if not account.filters:
                await self._leave(account, fence)
                return False
        if grant is None or grant.seq == known or _is_dead(grant):
            watch.next_poll = self._clock() + self._poll_s
            if looks:
                names = sorted({look.asked.filter_id for look in looks})
                await self._reading(account, fence).tell_connected(names, connected=False, reason="reconnect")
            return False
        watch.dead, account.recovering = False, True
        watch.next_poll = self._clock()
        return True

    async def _leave(self, account: Account, fence: Fence) -> None:
        """The last filter has left the account: nothing of it is kept, and nobody polls it."""
        await self._bus.commit(fence, [Put(f"state.account.{account.key}.cursor", None)])
        self._watches.pop(account.key, None)
        self._mailboxes.wake(account.key, None)

    # ---- small parts

    async def _load(self, key: str) -> tuple[_Watch, bool]:
        """The account as it was left, and whether its grant is dead."""
        record = await self._bus.get(f"state.account.{key}.cursor")
        grant = await self._bus.get(subjects.grant_key(key))
        account = Account(key, cursor=decode(record.value) if record else None)
        watch = self._watches[key] = _Watch(account, next_poll=self._clock())
        return watch, grant is not None and _is_dead(grant)

    def _reading(self, account: Account, fence: Fence) -> Reading:
        return Reading(
            self._bus,
            self._people(account.key),
            account,
            fence,
            hasher=self._hasher,
            parameters=self._parameters,
            clock=self._clock,
            number=self._number,
        )

    def _number(self) -> int:
        """Counts publications; with the epoch it makes message ids that no other owner ever used."""
        self._counter += 1
        return self._counter

    async def _parse(self, delivery: Delivery) -> _Look | None:
        look = await decoded(self._bus, SERVICE, None, delivery, LookGoogle)
        return None if look is None else _Look(delivery.stream_seq, delivery, look)


def _is_dead(grant: Record) -> bool:
    try:
        return bool(orjson.loads(grant.value).get("dead"))
    except (orjson.JSONDecodeError, AttributeError):
        return True
