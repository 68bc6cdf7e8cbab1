"""A step's actions against the breakers, and the frozen plans that come of it (semantics 2.5).

Called by `finishing.py` between deciding and storing: an action that is held leaves its link as it was, with a mark;
its facts go on changing, and what is still wanted when the plan is approved is done then. `breaker.py` has the
figures, `loops.py` the detector of other tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contactsync.reconciler.core import breaker, freeze, loops, reasons, sweeping
from contactsync.reconciler.core.breaker import COUNTED, Frozen, Kind, Plan
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.plan import Decision
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Breakers, PlanFrozen

UNKNOWN_PLAN = "No plan with this hash waits for approval; it may have changed. Look at the plan again."


@dataclass(frozen=True, slots=True)
class Action:
    """What is about to begin for a contact, or for a person without one. before: the mark it carries already;
    approved: the digest that a human released."""

    of: int | str
    kind: Kind
    digest: str
    before: Frozen | None
    approved: str


def action_of(draft: Draft, before: Link, after: Link) -> Action | None:
    """The guarded action that this decision begins; None where none is, or it needs no guard."""
    pending = after.pending
    if pending is None or before.pending is not None:
        return None
    kind = _kind(draft, after)
    if kind is None:
        return None
    digest = breaker.digest_of(pending.side.value, pending.op, pending.target)
    return Action(after.contact, kind, digest, before.frozen, before.approved)


def _kind(draft: Draft, link: Link) -> Kind | None:
    pending, record = link.pending, draft.filter
    if pending is None or record.leaving is not None or pending.op == "release":
        return None
    if record.first_waits and pending.op != "remove":
        return "first"
    if link.undoing is not None and link.undoing.tried and pending.side is Side.GOOGLE and pending.op != "remove":
        return None  # the other half of an undo that was let through with its first one
    match pending.op:
        case "remove":
            return "remove"
        case "ensure":
            return "again" if record.creates_wait else None
        case "update" | "adopt":
            first = record.phase != "done" or (record.run is not None and record.run.first)
            first = first or sweeping.ADOPT in record.sweeps  # its partners are adopted last
            return "update" if pending.target and not first else None


def arrival_action(draft: Draft, arrival: Arrival) -> Action | None:
    """A contact about to be created in Planfix."""
    if arrival.stage != "creating" or arrival.passed:
        return None
    digest = breaker.digest_of(Side.PLANFIX.value, "create", arrival.source or {})
    kind: Kind = "first" if draft.filter.first_waits else "create"
    return Action(arrival.source_id, kind, digest, arrival.frozen, arrival.approved)


def weigh(draft: Draft, actions: Iterable[Action], now: float) -> dict[int | str, Frozen]:
    """The actions that are not to begin, each with its mark."""
    held: dict[int | str, Frozen] = {}
    by_kind: dict[Kind, list[Action]] = {}
    for action in actions:
        if action.approved and action.approved == action.digest:
            continue
        if action.before is not None and action.before.digest == action.digest:
            held[action.of] = action.before
            continue
        by_kind.setdefault(action.kind, []).append(action)
    for kind, group in by_kind.items():
        if not _trips(draft, kind, len(group), now):
            if kind in COUNTED:
                draft.amend(spent=breaker.spend(draft.filter.spent, kind, len(group), now))
            continue
        plan = _collecting(draft, kind, now)
        held |= {action.of: Frozen(plan.number, action.digest) for action in group}
    return held


def _trips(draft: Draft, kind: Kind, number: int, now: float) -> bool:
    record = draft.filter
    if kind not in COUNTED or any(plan.kind == kind and not plan.hash for plan in record.plans):
        return True
    # A wave comes in parts: contacts that are being asked about would leave with these.
    coming = len(draft.confirming) if kind == "remove" else 0
    limits = draft.policy.limits.with_own(Breakers.model_validate(record.breakers))
    most = breaker.allowed(kind, limits, len(draft.index))
    return breaker.spent_today(record.spent, kind, now) + number + coming > most


def _collecting(draft: Draft, kind: Kind, now: float) -> Plan:
    record = draft.filter
    for plan in record.plans:
        if plan.kind == kind and not plan.hash:
            changed = replace(plan, touched_at=now)
            draft.amend(plans=tuple(changed if one is plan else one for one in record.plans))
            return changed
    plan = Plan(record.plans_made + 1, kind, since=now, touched_at=now)
    draft.amend(plans=(*record.plans, plan), plans_made=plan.number)
    return plan


def let_through(draft: Draft, arrivals: Iterable[Arrival], held: Mapping[int | str, Frozen]) -> list[Arrival]:
    """Arrivals whose creation is held wait with the reason; those that may be created are marked so."""
    through: list[Arrival] = []
    for arrival in arrivals:
        mark = held.get(arrival.source_id)
        if mark is not None:
            kind = next(plan.kind for plan in draft.filter.plans if plan.number == mark.plan)
            waiting = replace(arrival, stage="held", state="held_back", reason=reasons.WAITS[kind])
            draft.arrivals.put(replace(waiting, frozen=mark, approved=""))
            continue
        if arrival.stage == "creating" and not arrival.passed:
            arrival = replace(arrival, passed=True, frozen=None, approved="")
            draft.arrivals.put(arrival)
        through.append(arrival)
    return through


# ---- another tool


def loops_found(
    draft: Draft, decided: Iterable[tuple[Link, Decision]], arrivals: Iterable[Arrival], now: float
) -> bool:
    """Freeze the filter if this step would be a further round of somebody else's sync; then nothing of it begins."""
    record = draft.filter
    if record.phase != "done" or not record.active or (record.run is not None and record.run.first):
        return False
    decisions = draft.decisions  # whom a human said to be new is no tool's copy
    made: list[Contact | None] = [
        a.source for a in arrivals if a.stage == "creating" and not a.passed and not decisions.about(a.resource)
    ]
    for link, decision in decided:
        pending = decision.link.pending if decision.link is not None else None
        if pending is None or link.pending is not None:
            continue
        if pending.op in ("update", "adopt") and pending.target:
            if loops.flips(link, pending.target, record.resumed_at, now):
                draft.record = freeze.freeze(record, reasons.FLIPS, label_gone=False)
                return True
        elif pending.op != "ensure" or link.base_planfix is not None or decisions.get(link.contact) is not None:
            continue
        elif draft.index.alike(link.planfix) > 1:
            made.append(link.planfix)
    if _come_again(draft, now):
        draft.record = freeze.freeze(draft.filter, reasons.COPIES, label_gone=False)
        return True
    copies = record.copies
    for fields in made:
        key = loops.key_of(fields)
        if key is not None and draft.index.alike(fields):
            copies = loops.copied(copies, key, now)
    if copies is not record.copies:
        draft.amend(copies=copies)
        if loops.multiply(copies, len(draft.index)):
            draft.record = freeze.freeze(draft.filter, reasons.COPIES, label_gone=False)
            return True
    return False


def _come_again(draft: Draft, now: float) -> bool:
    """Whether people who could be somebody else's copies were put under the label in several rounds. They wait as
    possible duplicates, so that nothing grows by us; but they would."""
    doubles = draft.filter.doubles
    for name in sorted(draft.touched_arrivals):
        arrival = draft.arrivals.get(name)
        if arrival is None or arrival.stage != "held" or arrival.state != reasons.POSSIBLE_DUPLICATE:
            continue
        key = loops.key_of(arrival.google)
        if key is not None and not any(arrival.source_id in known for known in doubles.values()):
            doubles = loops.doubled(doubles, key, arrival.source_id, now)
    if doubles is draft.filter.doubles:
        return False
    draft.amend(doubles=doubles)
    return loops.come_again(doubles)


def back(draft: Draft, arrivals: Iterable[Arrival]) -> list[Arrival]:
    """The filter was frozen: what was about to be created is matched again when it goes on."""
    for arrival in arrivals:
        if not arrival.passed:
            draft.arrivals.put(replace(arrival, stage="new", source=None))
    return [arrival for arrival in arrivals if arrival.passed]


# ---- the list came back empty


def list_is_empty(draft: Draft, members: int, began_at: float) -> None:
    """A complete listing without anybody in it, of a filter that has links: never believed without a human."""
    record = draft.filter
    if not members or any(plan.kind == "empty" for plan in record.plans):
        return
    plan = Plan(record.plans_made + 1, "empty", since=began_at, touched_at=began_at, at=began_at)
    draft.amend(plans=(*record.plans, plan), plans_made=plan.number)


def list_is_not_empty(draft: Draft) -> None:
    if any(plan.kind == "empty" for plan in draft.filter.plans):
        draft.amend(plans=tuple(plan for plan in draft.filter.plans if plan.kind != "empty"))


# ---- plans


def contacts_in(draft: Draft, plan: Plan) -> set[int]:
    """Those whose action waits in the plan, as far as it is still wanted."""
    if plan.kind == "empty":
        return {e.contact for e in draft.index if e.member and e.member_at < plan.at}
    return draft.index.frozen_in(plan.number)


def people_in(draft: Draft, plan: Plan) -> list[Arrival]:
    return [a for a in draft.arrivals.values() if a.frozen is not None and a.frozen.plan == plan.number]


def tend(draft: Draft, now: float) -> None:
    """Seal plans whose wave is over; forget those of which nothing is wanted any more. One that turns out to be
    within the limits after all is carried out."""
    record = draft.filter
    if record.first_waits and not any(plan.kind == "first" for plan in record.plans):
        draft.amend(first_waits=_still_comparing(draft))
    if record.creates_wait and not any(plan.kind == "again" for plan in record.plans) and not _still_comparing(draft):
        draft.amend(creates_wait="")  # nobody had to be made anew, or it was approved: later ones are new indeed
    record = draft.filter
    if not record.plans:
        return
    kept: list[Plan] = []
    for plan in record.plans:
        contacts, people = contacts_in(draft, plan), people_in(draft, plan)
        size = len(contacts) + len(people)
        if not size and (plan.hash or plan.kind != "first" or record.phase == "done"):
            continue
        if breaker.may_seal(plan, now, more_may_come=_more_may_come(draft, plan)):
            plan = _sealed(draft, plan, contacts, people, now)
        elif not plan.hash and plan.actions != size:
            plan = replace(plan, actions=size)
        kept.append(plan)
    draft.amend(plans=tuple(kept))


def _sealed(draft: Draft, plan: Plan, contacts: set[int], people: Sequence[Arrival], now: float) -> Plan:
    actions = [(str(c), _digest(draft, plan, c)) for c in contacts]
    actions += [(a.source_id, a.frozen.digest) for a in people if a.frozen is not None]
    sealed = replace(plan, hash=breaker.plan_hash(actions), actions=len(actions))
    record = draft.filter
    limits = draft.policy.limits.with_own(Breakers.model_validate(record.breakers))
    most = breaker.allowed(plan.kind, limits, len(draft.index))
    if plan.kind in COUNTED and breaker.spent_today(record.spent, plan.kind, now) + len(actions) <= most:
        draft.amend(spent=breaker.spend(record.spent, plan.kind, len(actions), now))
        return replace(sealed, approved=True)
    draft.events.append(
        PlanFrozen(
            filter_id=record.filter_id, at=now, hash=sealed.hash, reason=breaker.would(sealed), actions=len(actions)
        )
    )
    return sealed


def _digest(draft: Draft, plan: Plan, contact: int) -> str:
    entry = draft.index.get(contact)
    if plan.kind == "empty" or entry is None or entry.frozen is None:
        return "remove"
    return entry.frozen.digest


def _more_may_come(draft: Draft, plan: Plan) -> bool:
    record = draft.filter
    if plan.kind == "empty":
        return False
    if plan.kind in ("first", "again"):
        return _still_comparing(draft)
    return bool(draft.confirming) or bool(record.run is not None and record.run.waits)


def _still_comparing(draft: Draft) -> bool:
    arriving = any(arrival.stage in ("new", "matching") for arrival in draft.arrivals.values())
    record = draft.filter
    matching = record.phase != "done" or record.first_matching or bool(record.sweeps)
    return matching or bool(draft.index.open) or arriving


# ---- approving


def approve(draft: Draft, request_id: str, hash_: str) -> None:
    """Release the plan with this hash; `due` and `released` carry it out bit by bit."""
    record = draft.filter
    if not any(plan.hash == hash_ for plan in record.plans):
        draft.refuse(request_id, UNKNOWN_PLAN)
        return
    draft.amend(plans=tuple(replace(p, approved=True) if p.hash == hash_ else p for p in record.plans))


def due(draft: Draft, most: int) -> set[int]:
    """Contacts of approved plans whose action has not begun yet."""
    found: set[int] = set()
    for plan in draft.filter.plans:
        if plan.approved:
            found |= set(sorted(contacts_in(draft, plan))[: most - len(found)])
        if len(found) >= most:
            break
    return found


def release_people(draft: Draft) -> None:
    """People whose contacts may be created now: there are few, and they are in memory."""
    for plan in draft.filter.plans if draft.filter.active else ():
        for arrival in people_in(draft, plan) if plan.approved else ():
            digest = arrival.frozen.digest if arrival.frozen is not None else ""
            draft.put_arrival(replace(arrival, frozen=None, approved=digest, stage="creating", reason=""))


def released(draft: Draft, contacts: Iterable[int]) -> None:
    """These are loaded: what waits in an approved plan may begin, if it is still the same."""
    plans = {plan.number: plan for plan in draft.filter.plans if plan.approved}
    if not plans:
        return
    empty = next((plan for plan in plans.values() if plan.kind == "empty"), None)
    for contact in contacts:
        link = draft.links.get(contact)
        if link is None:
            continue
        if link.frozen is not None and link.frozen.plan in plans:
            draft.put(replace(link, approved=link.frozen.digest, frozen=None))
        elif empty is not None and link.member and link.member_at < empty.at:
            draft.put(replace(link, member=False, member_at=empty.at, approved="remove", frozen=None))
