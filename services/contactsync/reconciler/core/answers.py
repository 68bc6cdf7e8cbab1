"""What the writer made of mutations: of links, of arrivals and of the label.

Called by `machine.py`; `settle.py` says what an answer makes of a link, `labelling.py` of the label.
"""

from __future__ import annotations

from contactsync.reconciler.core import arrivals as arriving
from contactsync.reconciler.core import history, labelling, loops, rebuilding, runs, settle, stamped, undoing
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.draft import Draft
from contactsync.reconciler.core.link import Arrival, Link
from contactsync.reconciler.core.merge import Side
from contactsync.reconciler.core.observe import PLANFIX_SETTLE_S
from contactsync.reconciler.core.plan import merge_rules
from contactsync_contracts.messages import ContactHeldBack, Handover, Outcome, Settled, SettledItem


def settled(draft: Draft, event: Settled, now: float) -> None:
    if event.label is not None:
        labelling.label_settled(draft, event.label, now)
    for item in event.items:
        if item.arrival is not None:
            _arrival_settled(draft, item, event.answered_at, now)
        elif item.contact is not None:
            _link_settled(draft, item, event.answered_at, now)
    for handover in event.handovers:
        _handover(draft, handover)


def _link_settled(draft: Draft, item: SettledItem, answered_at: float, now: float) -> None:
    link = draft.links.get(item.contact or 0)
    if link is None or link.pending is None or link.pending.mutation_id != item.mutation_id:
        return
    pending = link.pending
    rules = merge_rules(link, draft.rules)
    if settle.behind(link, item):
        rebuilding.behind(draft, now)
    if item.merged_into is not None:
        # The person may carry this filter's label: then it is looked at as any other's.
        draft.put(settle.merged(link, item.merged_into))
        draft.amend(left_at=now)
        draft.wishes.people.add(link.resource or "")
        return
    if item.outcome is Outcome.GONE and pending.side is Side.GOOGLE:
        followed = stamped.followed(draft, replace(link, pending=None), now)
        if followed is not None:
            draft.put(followed)
            return
    after = settle.settled(link, item, rules, answered_at, draft.filter.label, now)
    history.settled(draft, link, after, item)
    after = undoing.answered(after, pending, item.outcome)
    if item.outcome is Outcome.DONE and not pending.renew and pending.op != "release":
        if pending.side is Side.PLANFIX and item.planfix is None:
            draft.wishes.planfix_contacts[link.contact] = answered_at + PLANFIX_SETTLE_S + 1.0
        _count(draft, link, item)
        if after is not None and pending.op == "update" and pending.target and link.undoing is None:
            after = loops.written(after, pending.target, now)
        if pending.op == "update" and pending.target:
            draft.carried_s.append((pending.side, max(0.0, now - pending.at)))
    elif item.outcome is Outcome.GONE and pending.side is Side.PLANFIX and (link.member or link.kept):
        draft.confirm([link.contact], [], now)
    if after is not None and item.outcome is Outcome.DONE:
        after = replace(after, reported="")
    if after is not None and after.hold is not None and after.hold.reason != link.reported:
        held, after = after.hold, replace(after, reported=after.hold.reason)
        draft.events.append(
            ContactHeldBack(
                filter_id=draft.filter.filter_id,
                at=now,
                contact=link.contact,
                state=held.state,
                reason=held.reason,
            )
        )
    draft.put_or_drop(link.contact, after)


def _count(draft: Draft, link: Link, item: SettledItem) -> None:
    pending = link.pending
    if pending is None:
        return
    operation = {"ensure": "created", "remove": "removed", "adopt": "linked"}.get(pending.op, "updated")
    figure = "updated" if operation == "linked" else operation
    draft.record = runs.counted(draft.filter, **{figure: 1})
    draft.note(pending.side.value, operation, link.contact)


def _arrival_settled(draft: Draft, item: SettledItem, answered_at: float, now: float) -> None:
    arrival = draft.arrivals.get(item.arrival or "")
    if arrival is None or arrival.mutation_id != item.mutation_id:
        return
    result = arriving.created(arrival, item, answered_at, now)
    if isinstance(result, Arrival):
        draft.put_arrival(result)
        return
    draft.drop_arrival(arrival.source_id)
    draft.note("planfix", "created", result.contact)
    draft.record = runs.counted(draft.filter, created=1)
    draft.put(history.created_in_planfix(draft, replace(result, revision=draft.filter.revisions)))


def _handover(draft: Draft, handover: Handover) -> None:
    """Said again it changes nothing: bases that this filter has moved on from are no news."""
    link = draft.links.get(handover.contact)
    if link is None or (link.merges is handover.merges and link.base_google is not None):
        return
    link = replace(link, merges=handover.merges)
    if handover.base_planfix is not None and handover.base_google is not None:
        link = replace(
            link,
            base_planfix=handover.base_planfix,
            base_google=handover.base_google,
            limits={**link.limits, **handover.limits},
        )
    draft.put(link)
