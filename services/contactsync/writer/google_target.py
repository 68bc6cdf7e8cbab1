"""One Google account as a target: what waits for it is united by contact, put into few requests and settled.

The order of every outcome is: answer of Google -> fenced commit of state -> Settled published -> return, which
acknowledges the messages. A revision that was settled before is answered from state and not done again. Decisions
are `identity.py` (who wants what), `batching.py` (how many a request) and `intent.py` (creates without an answer);
requests are `google_updates.py` and `google_creates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Protocol, assert_never, runtime_checkable

from contactsync.errors import (
    AccessDenied,
    Gone,
    NotConnected,
    OutcomeUnknown,
    Rejected,
    Unavailable,
    VendorError,
)
from contactsync.google.mapping import MappingConfig
from contactsync.google.port import PeopleApi
from contactsync.runtime.bus import Bus, Fence, Transient
from contactsync.runtime.metrics import Metrics
from contactsync.runtime.ownership import Delivery
from contactsync.writer import capacity, google_creates, google_updates, ranking, witness
from contactsync.writer.account import Account, AskKey, Changes, asks_of
from contactsync.writer.batching import BatchRules, waits_until
from contactsync.writer.forgetting import Forgetting, Release, keep_grant
from contactsync.writer.google_creates import Creates
from contactsync.writer.google_labels import Labels
from contactsync.writer.google_updates import Changed, Done, Refused, Update, Updates, Vanished
from contactsync.writer.google_work import (
    Verdict,
    Work,
    conclude,
    deleted_by_us,
    forgotten,
    item_of,
    key_of,
    made,
    under_another_name,
    unknown_to_asker,
    unwritten,
    version,
)
from contactsync.writer.google_writes import Writes
from contactsync.writer.identity import Ask, Known, United, known_after, unite
from contactsync.writer.intent import Intent, disappeared, unresolved, without
from contactsync.writer.letters import Clock, Inbox, Letter, Outbox
from contactsync.writer.patience import Patience
from contactsync.writer.witness import Standing
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    PEOPLE_MAX,
    AccountObserved,
    Class,
    GooglePerson,
    Outcome,
    SettledItem,
)

CLASSES: Final = (Class.HUMAN, Class.CHANGE, Class.BACKGROUND)
PAUSE_MAX_S: Final = 120.0
DOUBT_S: Final = 900.0
DELETE_MAX: Final = 500
DELETE_SINGLES_BELOW: Final = 11
NOT_UNDER_A_LABEL: Final = ("remove", "release")
DELETES_MAX: Final = 6
"""A person that Google does not delete so often stays."""


@runtime_checkable
class DeletesMany(Protocol):
    """A PeopleApi that can delete up to 500 people in one request (10 writes)."""

    async def delete_people(self, resources: Sequence[str], *, cls: Class) -> None: ...


@dataclass(frozen=True, slots=True)
class GoogleRules:
    """lag_s: GOOGLE_LIST_LAG_SECONDS. turn_max: people written in one turn before new messages are looked at.
    people_max: how many people we let an account hold."""

    batches: BatchRules = field(default_factory=BatchRules)
    lag_s: float = 300.0
    turn_max: int = 400
    people_max: int = PEOPLE_MAX


class Rest(Enum):
    """What a rest of creates that fills no batch does."""

    NONE = "is sent"
    MORE_MAY_COME = "waits for a while if more are announced"
    MORE_IS_HERE = "waits for the next turn"


class GoogleTarget:
    """`day_left`: writes of the day that the account has left, None for no limit. `wake`: call again at."""

    def __init__(
        self,
        account: str,
        *,
        people: PeopleApi,
        bus: Bus,
        config: MappingConfig,
        rules: GoogleRules,
        clock: Clock,
        wake: Callable[[float], None],
        day_left: Callable[[], Awaitable[int | None]],
        metrics: Metrics | None = None,
        release: Release = keep_grant,
    ) -> None:
        self._metrics = metrics
        self._name, self._people, self._bus, self._config = account, people, bus, config
        self._rules, self._clock, self._wake, self._day_left = rules, clock, wake, day_left
        self._account = Account(account, bus)
        self._writes = Writes(self._account, config)
        self._inbox = Inbox(bus, account, clock)
        self._outbox = Outbox(bus, account)
        self._forgetting = Forgetting(self._account, people, bus, self._outbox, clock, release)
        self._labels = Labels(self._account, people, clock, rules.lag_s)
        self._updates = Updates(people, rules.batches, self._lost_labels, self._sized)
        self._creates = Creates(
            self._account, people, clock, rules.batches, rules.lag_s, self._lost_labels, self._sized
        )
        self._patience = Patience()
        self._open: dict[AskKey, Ask] = {}
        self._seen: dict[AskKey, float] = {}
        self._more: dict[str, bool] = {}
        self._told: set[str] = set()
        self._undeleted: Counter[int] = Counter()
        self._doubt_before = clock() - DOUBT_S

    @property
    def people(self) -> int:
        """How many are in memory."""
        return len(self._account.people)

    @property
    def idle(self) -> bool:
        """Nothing waits here that is not stored, and nothing that is stored waits."""
        return self._account.loaded and not (self._account.held or self._account.intent or self._outbox.waiting)

    async def handle(self, deliveries: Sequence[Delivery], fence: Fence) -> None:
        """One turn. Raises Transient while something given here has to come again."""
        await self._outbox.flush()
        await self._account.load(self._clock())
        letters = await self._inbox.read(deliveries)
        try:
            await self._turn(letters, fence)
        except NotConnected as error:
            await self._disconnected(letters, error)
            raise Transient(error.reason, 30.0) from error
        except Unavailable as error:
            # Longer pauses are the quota's to keep: a new message may be one that needs no request.
            raise Transient(error.reason, min(self._patience.after(error), PAUSE_MAX_S)) from error
        except AccessDenied as error:
            raise Transient(error.reason, 60.0) from error
        except VendorError as error:
            raise Transient(error.reason, self._patience.after(error)) from error
        except Transient:
            self._patience.rewarded()
            raise
        self._patience.rewarded()
        self._inbox.done()

    # ---- one turn

    async def _turn(self, letters: Sequence[Letter], fence: Fence) -> None:
        letters = await self._forgetting.settle(letters, self._inbox.answered, fence)
        await self._count_people(letters, fence)
        await self._settle_labels(letters, fence)
        await ranking.settle(self._account, letters, self._outbox, self._clock, fence)
        self._collect(letters, fence)
        await self._answer_settled(fence)
        await self._release(fence)
        before = max(self._doubt_before, self._account.people.census.doubted_at)
        doubted = witness.doubted(self._open.values(), self._account.people, self._account.intent, before)
        if len(doubted) > len(self._account.intent):
            await self._account.commit(fence, Changes(intent=doubted))
        if self._account.intent:
            await self._creates.look(fence, Class.CHANGE)
        works = await self._with_places(self._works(), fence)
        blocked = unresolved(self._account.intent)
        left = [work for work in works if work.contact in blocked]
        humans = [w for w in works if w.cls is Class.HUMAN and w.contact not in blocked]
        others = [w for w in works if w.cls is not Class.HUMAN and w.contact not in blocked]
        turn, rest = others[: self._rules.turn_max], others[self._rules.turn_max :]
        left += await self._write(humans, fence, Rest.NONE)
        left += await self._write(turn, fence, Rest.MORE_IS_HERE if rest else Rest.MORE_MAY_COME)
        self._told.clear()
        await self._leave(left, rest, fence)

    async def _count_people(self, letters: Sequence[Letter], fence: Fence) -> None:
        """The newest listing that the filters have seen tells how many people there are."""
        newest = max((letter.mutate for letter in letters), key=lambda mutate: mutate.people_at, default=None)
        if newest is None or newest.people_at <= self._account.capacity.at:
            return
        rules = self._rules
        now_known = capacity.listed(
            self._account.capacity, newest.people_total, newest.people_at, rules.lag_s, rules.people_max
        )
        await self._account.commit(fence, Changes(capacity=now_known))

    async def _with_places(self, works: Sequence[Work], fence: Fence) -> list[Work]:
        """Those that need no new place in the account or get one; the others are told so, without a request."""
        sent = unresolved(self._account.intent)
        asking = [w for w in works if not w.resource and w.united.wanted and w.contact not in sent]
        places = capacity.free_places(self._account.capacity, len(sent), self._rules.people_max, self._clock())
        placed = capacity.admitted(
            [work.contact for work in asking], self._account.claims, places, self._account.capacity.round_at
        )
        waiting = {work.contact for work in asking} - placed
        without = Verdict(Outcome.FULL, reason=capacity.NO_PLACE)
        await self._finish([(work, without) for work in works if work.contact in waiting], fence)
        return [work for work in works if work.contact not in waiting]

    async def _settle_labels(self, letters: Sequence[Letter], fence: Fence) -> None:
        for letter in letters:
            wish, mutate = letter.mutate.label, letter.mutate
            if wish is None or wish.mutation_id in self._inbox.answered:
                continue
            settled = await self._labels.settle(mutate, wish, fence)
            self._inbox.answered.add(wish.mutation_id)
            self._outbox.label(mutate.filter_id, settled, answered_at=self._clock(), epoch=fence.epoch)
            await self._outbox.flush()

    def _collect(self, letters: Sequence[Letter], fence: Fence) -> None:
        """Everything that is open: of one contact and filter the highest revision."""
        self._open = dict(self._account.held)
        superseded: dict[str, list[SettledItem]] = {}
        for letter in letters:
            filter_id = letter.mutate.filter_id
            self._more[filter_id] = letter.mutate.more
            for ask in asks_of(letter.mutate):
                key = ask.mutation.contact, filter_id
                if ask.mutation.mutation_id in self._inbox.answered:
                    continue
                rival = self._open.get(key)
                older = None
                if rival is not None and rival.mutation.revision > ask.mutation.revision:
                    older = ask
                else:
                    self._open[key] = ask
                    self._seen[key] = letter.seen_at
                    if rival is not None and rival.mutation.mutation_id != ask.mutation.mutation_id:
                        older = rival
                if older is not None:
                    self._inbox.answered.add(older.mutation.mutation_id)
                    superseded.setdefault(filter_id, []).append(
                        item_of(older, Outcome.STALE, reason="a later change has taken its place")
                    )
        self._seen = {key: at for key, at in self._seen.items() if key in self._open}
        for filter_id, items in superseded.items():
            self._outbox.settled(filter_id, items, answered_at=self._clock(), epoch=fence.epoch)

    async def _answer_settled(self, fence: Fence) -> None:
        """Revisions that were settled before get the stored answer, those from an older state are told so; asks
        without a label cannot be done."""
        again: list[tuple[Ask, SettledItem]] = []
        behind: list[tuple[Ask, Known]] = []
        claimed: dict[str, int] = {}
        for (contact, filter_id), ask in sorted(self._open.items(), key=lambda item: item[0]):
            known = self._account.people.get(contact)
            want = known.wants.get(filter_id) if known is not None else None
            past = witness.standing(known, ask)
            if known is not None and past is Standing.BEHIND:
                behind.append((ask, known))
            elif (other := witness.other_owner(self._account.people, ask, claimed)) is not None:
                again.append((ask, witness.merged(ask, other)))
            elif known is not None and want is not None and past is Standing.SETTLED:
                item = item_of(ask, want.outcome, kept=known.kept, removed=want.removed, reason=want.reason)
                again.append((ask, item))
            elif ask.mutation.op not in NOT_UNDER_A_LABEL and not await self._labels.known(
                filter_id, ask.since, fence
            ):
                again.append((ask, item_of(ask, Outcome.REFUSED, reason="the filter has no label yet")))
        if behind:
            labels = {ask.filter_id: self._writes.label(ask.filter_id) for ask, _ in behind}
            lost = await self._lost_labels([label for label in labels.values() if label])
            again += await witness.behind(self._people, behind, labels, lost)
        await self._say(again, self._clock(), Changes(drop=[key_of(ask) for ask, _ in again]), fence)

    async def _release(self, fence: Fence) -> None:
        """People whom humans took from a filter: nothing is written, but another filter may have to merge now."""
        verdicts, ranks = [], self._account.ranks
        for (contact, _), ask in sorted(self._open.items(), key=lambda item: item[0]):
            if ask.mutation.op == "release":
                known = self._account.people.get(contact)
                united = unite(contact, known, [ask], ranks)
                verdicts.append((Work(contact, known, united, ask.cls), Verdict(Outcome.DONE)))
        await self._finish(verdicts, fence)

    def _works(self) -> list[Work]:
        """Humans' first, else in the order in which they came."""
        by_contact: dict[int, list[Ask]] = {}
        for (contact, _), ask in self._open.items():
            by_contact.setdefault(contact, []).append(ask)
        works, ranks = [], self._account.ranks
        for contact, asks in by_contact.items():
            known = self._account.people.get(contact)
            cls = min((ask.cls for ask in asks), key=CLASSES.index)
            works.append(Work(contact, known, unite(contact, known, asks, ranks), cls))
        return sorted(works, key=lambda work: CLASSES.index(work.cls))

    async def _leave(self, left: Sequence[Work], rest: Sequence[Work], fence: Fence) -> None:
        """What waits (for a full batch, or for an answer that was lost) is kept in state; what failed comes again,
        and so does `rest`, which this turn was too short for."""
        asks = [ask for work in left for ask in work.united.asks]
        waiting = {key_of(ask) for ask in asks}
        unread = {key_of(ask) for work in rest for ask in work.united.asks}
        if rest and not self._open.keys() - waiting - unread:
            raise Transient("more is waiting", 0.0)
        if self._open.keys() - waiting:
            raise Transient("some contacts could not be written yet", max(1.0, self._updates.delay_s))
        held = self._account.held
        await self._account.commit(fence, Changes(hold=[ask for ask in asks if held.get(key_of(ask)) != ask]))
        # Those whose answer was lost wait for a look at the account, not for a full batch.
        blocked = unresolved(self._account.intent)
        filling = [work for work in left if work.contact not in blocked]
        times = [at for at in (self._creates.next_look, self._fill_until(filling)) if at is not None]
        if times and left:
            self._wake(min(times))

    # ---- writing

    async def _write(self, works: Sequence[Work], fence: Fence, rest_is: Rest) -> list[Work]:
        """Write what can be written now; the works that have to wait."""
        if not works:
            return []
        cls = works[0].cls
        partial = self._rules.batches.partial_allowed(await self._day_left())
        vanished = await self._existing([w for w in works if w.resource], cls, partial, fence)
        fresh = [work for work in works if not work.resource and work.united.wanted]
        new, left = await self._absent([*await self._with_places(vanished, fence), *fresh], cls, fence)
        # A label that comes off somebody who is not there: nothing to do.
        nobody = [work for work in works if not work.resource and not work.united.wanted]
        await self._finish([(w, Verdict(Outcome.DONE, removed=True)) for w in nobody], fence)
        cut = len(new) - len(new) % self._rules.batches.batch_max
        until = self._fill_until(new[cut:]) if rest_is is Rest.MORE_MAY_COME else None
        if rest_is is Rest.MORE_IS_HERE or (until is not None and self._clock() < until):
            left, new = left + new[cut:], new[:cut]
        await self._create(new, cls, partial, fence)
        sent = unresolved(self._account.intent)
        return left + [work for work in new if work.contact in sent]

    async def _absent(self, new: Sequence[Work], cls: Class, fence: Fence) -> tuple[list[Work], list[Work]]:
        """Those who are for sure in the account by no name, and those of whom no listing could tell yet. Names
        change: who is not there by the last one is looked for by stamp, and is known again if found."""
        names = {work.contact: work.known.vanished for work in new if work.known is not None and work.known.vanished}
        after = disappeared(self._account.intent, names, self._clock())
        if after != self._account.intent:
            # Its wishes stay with it until it is known to be nowhere.
            people = {
                contact: replace(self._account.people.get(contact) or Known(), vanished=name)
                for contact, name in names.items()
            }
            await self._account.commit(fence, Changes(people=people, intent=after))
            await self._creates.look(fence, cls)
        still = [work for work in new if work.contact not in names or work.contact in self._account.intent]
        unclear = unresolved(self._account.intent)
        return [w for w in still if w.contact not in unclear], [w for w in still if w.contact in unclear]

    def _fill_until(self, rest: Sequence[Work]) -> float | None:
        """Until when these creates wait for a full batch; None when no more are announced."""
        keys = [key_of(ask) for work in rest for ask in work.united.asks]
        if not any(self._more.get(filter_id, False) for _, filter_id in keys):
            return None
        times = [self._seen.get(key, 0.0) for key in keys]
        return waits_until(min(times), max(times), self._rules.batches)

    async def _create(self, works: Sequence[Work], cls: Class, partial: bool, fence: Fence) -> None:
        by_contact = {work.contact: work for work in works}

        async def settle_created(results: google_creates.Results, intent: Intent) -> None:
            verdicts = [
                (by_contact[new.contact], made(by_contact[new.contact], result, new.without))
                for new, result in results
            ]
            created = sum(verdict.outcome is Outcome.DONE for _, verdict in verdicts)
            after = capacity.grown(self._account.capacity, created, self._clock())
            if any(verdict.outcome is Outcome.FULL for _, verdict in verdicts):
                after = capacity.refused(after, self._clock())
            await self._finish(verdicts, fence, intent, after)

        # The lowest numbers first: should Google's places run out, they are theirs.
        new = [self._writes.new(work) for work in sorted(works, key=lambda work: work.contact)]
        await self._creates.send(new, cls=cls, partial=partial, fence=fence, settle=settle_created)

    async def _existing(self, works: Sequence[Work], cls: Class, partial: bool, fence: Fence) -> list[Work]:
        """Update, or take away, people that are there; the works whose person is to be made anew, because it is not
        there by this name any more."""
        bases = {work.contact: self._writes.base(work) for work in works}
        for work in works:
            # Whoever does not know the person has to be told who it is, also if nothing is to be written.
            base = bases[work.contact]
            if base is not None and unknown_to_asker(work):
                write = self._writes.lay(work, base, self._writes.kept(work, None))
                bases[work.contact] = base if write.mask else None
        unread = [work for work in works if bases[work.contact] is None]
        people: Mapping[str, GooglePerson | None] = {}
        if unread:
            people = await self._people.get_people(list(dict.fromkeys(w.resource for w in unread)), cls=cls)
        vanished: list[Work] = []
        verdicts: list[tuple[Work, Verdict]] = []
        updates: list[Update] = []
        deletes: list[tuple[Work, GooglePerson]] = []
        for work in works:
            base = bases[work.contact]
            person = people.get(work.resource) if base is None else None
            if base is None and person is None:
                self._without_person(work, verdicts, vanished)
                continue
            kept = self._writes.kept(work, person)
            if person is not None:
                base = version(person)
                if (verdict := self._writes.outdated(work, person)) is not None:
                    verdicts.append((work, verdict))
                    continue
                if not work.united.wanted and self._writes.deletable(work, person, kept):
                    deletes.append((work, person))
                    continue
            assert base is not None
            write = self._writes.lay(work, base, kept)
            if not write.mask:
                verdicts.append((work, unwritten(work, person, write, kept)))
            elif person is not None and self._writes.overwrites(work, person, write):
                verdicts.append((work, Verdict(Outcome.STALE, person=person, reason="edited in Google meanwhile")))
            else:
                updates.append(self._writes.update(work, base, write, kept))
        await self._finish(verdicts, fence)
        await self._delete(deletes, cls, fence)
        await self._run_updates({work.contact: work for work in works}, updates, cls, partial, fence)
        return vanished

    def _without_person(self, work: Work, verdicts: list[tuple[Work, Verdict]], vanished: list[Work]) -> None:
        writes = work.united.writes
        nobody = forgotten(work.known, work.resource)
        if (elsewhere := under_another_name(work, work.resource)) is not None:
            verdicts.append((work, elsewhere))
        elif not work.united.wanted:
            verdicts.append((work, Verdict(Outcome.DONE, known=nobody, removed=True)))
        elif any(ask.mutation.op == "ensure" for ask in work.united.asks) and (
            writes is None or writes.mutation.op == "ensure"
        ):
            # The person we knew is gone and this filter wants one: the others' wishes went with the old one.
            united = unite(work.contact, nobody, work.united.asks, self._account.ranks)
            vanished.append(Work(work.contact, nobody, united, work.cls))
        else:
            reason = "the person is not in Google any more"
            verdicts.append((work, Verdict(Outcome.GONE, known=nobody, reason=reason, removed=nobody.deleted)))

    async def _run_updates(
        self, works: Mapping[int, Work], updates: Sequence[Update], cls: Class, partial: bool, fence: Fence
    ) -> None:
        async def settle_updated(results: google_updates.Results) -> None:
            verdicts = []
            for update, result in results:
                work = works[update.contact]
                verdicts.append((work, self._updated(work, update, result)))
            await self._finish(verdicts, fence)

        await self._updates.run(updates, cls=cls, partial=partial, settle=settle_updated)

    def _updated(self, work: Work, update: Update, result: google_updates.Result) -> Verdict:
        match result:
            case Done(person):
                kept = self._writes.kept(work, person)
                known = known_after(work.current, person, update.write.mask, update.base_etag, kept)
                return Verdict(Outcome.DONE, person, known, refused=update.write.unwritable)
            case Changed(person):
                return Verdict(Outcome.STALE, person, reason="edited in Google meanwhile")
            case Vanished(reason):
                if (elsewhere := under_another_name(work, update.resource)) is not None:
                    return elsewhere
                nobody = forgotten(work.known, update.resource)
                if not work.united.wanted:
                    return Verdict(Outcome.DONE, known=nobody, removed=True)
                return Verdict(Outcome.GONE, known=nobody, reason=reason, removed=nobody.deleted)
            case Refused(reason):
                return Verdict(Outcome.REFUSED, reason=reason)
            case _:
                assert_never(result)

    async def _delete(self, deletes: Sequence[tuple[Work, GooglePerson]], cls: Class, fence: Fence) -> None:
        """Read a moment ago, ours, wanted by nobody. Deleting twice does no harm: failures are simply repeated."""
        deleted = [(w, deleted_by_us(w)) for w, _ in deletes]
        if isinstance(self._people, DeletesMany) and len(deletes) >= DELETE_SINGLES_BELOW:
            for at in range(0, len(deletes), DELETE_MAX):
                chunk = deletes[at : at + DELETE_MAX]
                try:
                    await self._people.delete_people([person.resource for _, person in chunk], cls=cls)
                except (Gone, Rejected, OutcomeUnknown):
                    await self._delete_singly(chunk, cls, fence)
                else:
                    await self._finish(deleted[at : at + DELETE_MAX], fence)
        else:
            await self._delete_singly(deletes, cls, fence)

    async def _delete_singly(self, deletes: Sequence[tuple[Work, GooglePerson]], cls: Class, fence: Fence) -> None:
        for work, person in deletes:
            try:
                await self._people.delete_person(person.resource, cls=cls)
            except Rejected as error:
                await self._finish([(work, Verdict(Outcome.REFUSED, reason=error.reason))], fence)
            except OutcomeUnknown as error:
                self._undeleted[work.contact] += 1
                if self._undeleted[work.contact] < DELETES_MAX:
                    continue
                reason = f"Google keeps failing on this contact: {error.reason}"
                await self._finish([(work, Verdict(Outcome.REFUSED, reason=reason))], fence)
            else:
                await self._finish([(work, deleted_by_us(work))], fence)
            self._undeleted.pop(work.contact, None)

    # ---- settling

    async def _finish(
        self,
        verdicts: Sequence[tuple[Work, Verdict]],
        fence: Fence,
        intent: Intent | None = None,
        after: capacity.Capacity | None = None,
    ) -> None:
        """Commit what came of these works, then say it."""
        if not verdicts:
            return
        answered_at = self._clock()
        people: dict[int, Known] = {}
        said: list[tuple[Ask, SettledItem]] = []
        for work, verdict in verdicts:
            known, items = conclude(work, verdict, answered_at)
            people[work.contact] = known
            said += items
            if self._metrics is not None:
                for ask, item in items:
                    self._metrics.mutations.labels("google", ask.mutation.op, item.outcome).inc()
            if verdict.outcome is Outcome.DONE:
                self._hand_over(work.united, answered_at, fence)
        await self._outbox.flush()  # who merges is told before: after a crash behind the commit nobody would tell it
        if intent is None:
            contacts = [c for c, sent in self._account.intent.items() if sent.absent and c in people]
            intent = without(self._account.intent, contacts) if contacts else None
        changes = Changes(people=people, intent=intent, capacity=after, drop=[key_of(ask) for ask, _ in said])
        await self._say(said, answered_at, changes, fence)

    def _hand_over(self, united: United, at: float, fence: Fence) -> None:
        cause = united.asks[0].mutation.mutation_id
        for filter_id, handover in united.handovers:
            self._outbox.handover(filter_id, handover, cause, answered_at=at, epoch=fence.epoch)

    async def _say(
        self, said: Sequence[tuple[Ask, SettledItem]], answered_at: float, changes: Changes, fence: Fence
    ) -> None:
        # What is held has no message any more that would come again: it is let go when its answer has been said.
        held = [key for key in changes.drop if key in self._account.held]
        await self._account.commit(fence, replace(changes, drop=()))
        by_filter: dict[str, list[SettledItem]] = {}
        for ask, item in said:
            by_filter.setdefault(ask.filter_id, []).append(item)
            self._inbox.answered.add(ask.mutation.mutation_id)
            self._open.pop(key_of(ask), None)
        for filter_id, items in by_filter.items():
            self._outbox.settled(filter_id, items, answered_at=answered_at, epoch=fence.epoch)
        await self._outbox.flush()
        if held:
            await self._account.commit(fence, Changes(drop=held))

    async def _disconnected(self, letters: Sequence[Letter], error: NotConnected) -> None:
        """Tell every filter that waits here, once, that a person has to reconnect."""
        filters = {letter.mutate.filter_id for letter in letters}
        filters |= {filter_id for _, filter_id in self._account.held}
        for filter_id in sorted(filters - self._told):
            now = self._clock()
            message = AccountObserved(
                filter_id=filter_id, account=self._name, seen_at=now, connected=False, reason=error.reason
            )
            self._outbox.post(
                subjects.mailbox(filter_id, "google"),
                message,
                f"{subjects.token(filter_id)}.google.writer-{self._name}-{now:.3f}",
            )
        self._told |= filters
        await self._outbox.flush()

    def _sized(self, operation: str, size: int) -> None:
        if self._metrics is not None:
            self._metrics.batch_size.labels(operation).observe(size)

    # ---- labels

    async def _lost_labels(self, labels: Sequence[str]) -> frozenset[str]:
        lost = [one for one in labels if await self._people.get_label(one, cls=Class.CHANGE) is None]
        return frozenset(lost)
