"""What is to be done about one contact, from its link's facts alone: the decision table of semantics 2.3 and 2.4.

`decide` answers with the link as it is to be stored: with a mutation under way, a look asked for, bases that
advanced without a write, or unchanged. `outbox.py` turns what is new on a link into messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contactsync.reconciler.core import settle, slots
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.index import is_unbegun
from contactsync.reconciler.core.link import Ask, Link, Pending, Undoing, anew, mutation_id
from contactsync.reconciler.core.merge import Lost, Merge, Rules, Side, WithoutBase, merge
from contactsync.reconciler.core.reasons import POSSIBLE_DUPLICATE
from contactsync.reconciler.core.slots import Turns
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Kept


@dataclass(frozen=True, slots=True)
class FilterRules:
    """What of the filter matters to one contact. active: nothing is written or asked for otherwise."""

    filter_id: str
    two_way: bool = True
    active: bool = True
    conflict: str = "newest"
    leaving: bool = False
    """It is being disconnected, and people of ours are taken away."""
    two_way_since: float = 0.0
    """What was in Google before was edited while the filter was one-way: such edits lose."""
    first_matching: bool = False
    """Contacts of the first sync are still to be matched: another one may claim the same person."""
    crowded: bool = False
    """Nobody is created before all contacts are known (`places.py`)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """link: None when nothing is left to remember. lost: values that lost a conflict, for the history."""

    link: Link | None
    lost: tuple[Lost, ...] = ()


def decide(link: Link, rules: FilterRules, now: float) -> Decision:
    if rules.leaving:
        return _take_away(link, rules, now)
    if not rules.active:
        seen_both = link.planfix is not None and link.google is not None and not link.merges
        return Decision(replace(_agreed(link, rules) if seen_both else link, due=True))
    if link.due:
        link = replace(link, due=False)
    if link.open:
        return Decision(link)
    if link.dismissed or link.merged_into is not None:
        # Remembered, so that the contact does not come back by itself.
        return Decision(_begin(link, rules, now, Side.GOOGLE, "release", {}, {}, {}) if _to_release(link) else link)
    if not link.member and not link.kept:
        return _leave(link, rules, now)
    if link.gone_at:
        link = anew(link)  # it was one of many who vanished at once, and a human wants them back
    if link.hold is not None:
        again = link.hold.state == POSSIBLE_DUPLICATE and not link.matched
        return Decision(_ask(link, "match", now) if again else link)
    if link.resource is None:
        if not link.matched:
            return Decision(_ask(link, "match", now))
        return Decision(replace(link, due=True) if rules.crowded else _create(link, rules, now))
    if link.google is None or link.raw is None:
        return Decision(_ask(link, "person", now))
    if link.renew and _in_place(link):
        return Decision(_renew(link, rules, now))
    if link.undoing is not None:
        undone = _take_back(link, link.undoing, rules, now)
        if undone is not None:
            return undone
        link = link if link.merges else replace(link, undoing=None)
    if rules.first_matching and is_unbegun(link):
        return Decision(link)
    if not link.merges:
        # Another filter of the account merges the fields; this one only asks for its label. A person that the link
        # moved to may be another contact's, which the writer knows.
        if _in_place(link):
            return Decision(_agreed(link, rules))
        return Decision(_begin(link, rules, now, Side.GOOGLE, "update", {}, {}, {}))
    return _reconcile(link, rules, now)


def _in_place(link: Link) -> bool:
    """Its label and stamp are on, and the writer counts this filter among those that hold the person."""
    return link.labelled and link.stamped and not link.released


def _to_release(link: Link) -> bool:
    """The label was taken off by a human, and another filter that holds the person may have to merge its fields. Who
    was deleted or merged away is so for every filter."""
    told = link.released or link.own is None or link.resource is None
    return bool(link.dismissed) and not settle.is_gone(link) and not told


def _agreed(link: Link, rules: FilterRules) -> Link:
    """What both sides show alike is the base, whoever carried it over: this filter may have to merge next."""
    merged = _merge(link, rules)
    if merged.base_planfix == link.base_planfix and merged.base_google == link.base_google:
        return link
    return replace(link, base_planfix=merged.base_planfix, base_google=merged.base_google)


def _take_away(link: Link, rules: FilterRules, now: float) -> Decision:
    """The filter is being disconnected and the people that it made go, as if every contact left it. What is under way
    is waited for; a person that a human threw away or merged is theirs."""
    if link.pending is not None or link.asked == "person":
        return Decision(link)
    if link.dismissed or link.gone_at or link.merged_into is not None:
        return Decision(replace(link, asked=""))
    return _leave(replace(link, member=False, kept="", asked="", due=False), rules, now)


def _leave(link: Link, rules: FilterRules, now: float) -> Decision:
    """The contact left the filter (confirmed by id): the label comes off."""
    if link.gone_at or link.resource is None or (link.own is None and not link.labelled):
        return Decision(None)
    if link.leaving and link.hold is not None:
        return Decision(link)  # its removal was refused; a change or a person may try again
    return _let_go(link, rules, now)


def _let_go(link: Link, rules: FilterRules, now: float) -> Decision:
    """The person is let go; an edit made in Google goes to Planfix first."""
    link = replace(link, hold=None)
    lost: tuple[Lost, ...] = ()
    if link.merges and link.base_google:
        merged = _merge(link, rules)
        if merged.to_planfix and not link.leaving:
            return _to_planfix(replace(link, leaving=True), rules, now, merged)
        lost = _not_carried(link, merged)
    return Decision(_begin(link, rules, now, Side.GOOGLE, "remove", {}, {}, {}), lost)


def _not_carried(link: Link, merged: Merge) -> tuple[Lost, ...]:
    """Edits made in Google that go with the person: those that lost, and those that Planfix did not take."""
    lost = {item.field: item for item in merged.lost if item.side is Side.GOOGLE}
    planfix, google = link.planfix or {}, link.google or {}
    for name in merged.to_planfix:
        now, there = google[name], planfix[name]
        if isinstance(now, str):
            lost[name] = Lost(name, Side.GOOGLE, now)
            continue
        for element in now:
            if element not in there:
                lost[f"{name}:{element.key}"] = Lost(f"{name}:{element.key}", Side.GOOGLE, element.value)
    return tuple(lost.values())


def _create(link: Link, rules: FilterRules, now: float) -> Link:
    """What is sent becomes Planfix's base now, so that it is not stored twice; Google's comes with the answer."""
    sent = link.planfix or {}
    return _begin(link, rules, now, Side.GOOGLE, "ensure", {}, {}, {}, base_planfix=sent, base_google=None)


def _renew(link: Link, rules: FilterRules, now: float) -> Link:
    begun = _begin(replace(link, renew=False), rules, now, Side.GOOGLE, "update", {}, {}, {})
    assert begun.pending is not None
    return replace(begun, pending=replace(begun.pending, renew=True, etag=""))


def _take_back(link: Link, undoing: Undoing, rules: FilterRules, now: float) -> Decision | None:
    """Planfix gets its values back first, as if a human had edited them there; then `_reconcile` gives Google its
    own (`_with_undo`), and whoever is not to stay linked is let go."""
    names = slots.turned_back(link.planfix or {}, undoing.planfix)
    if names and not undoing.tried and link.merges and rules.two_way and not link.read_only:
        tried = replace(link, undoing=replace(undoing, tried=True))
        before = _of(link.planfix or {}, names)
        return Decision(_begin(tried, rules, now, Side.PLANFIX, "update", names, {}, before))
    if undoing.unlink and not slots.turned_back(link.google or {}, _turns_of_google(link, undoing)):
        return _let_go(link, rules, now)
    return None


def _turns_of_google(link: Link, undoing: Undoing) -> Turns:
    """Only where Planfix has its value back: what it refused stays on both sides."""
    planfix = link.planfix or {}
    return {
        slot: turn
        for slot, turn in undoing.google.items()
        if (there := undoing.planfix.get(slot)) is None or slots.stands(planfix, slot, there.before)
    }


def _with_undo(link: Link, undoing: Undoing, merged: Merge) -> Merge:
    """Google's own values from before, which may be others than Planfix's: what a side cannot hold, for example."""
    planfix, google = link.planfix or {}, link.google or {}
    to_google, base_planfix, base_google = dict(merged.to_google), dict(merged.base_planfix), dict(merged.base_google)
    for slot, turn in _turns_of_google(link, undoing).items():
        name = slots.field_of(slot)
        stands = any(slots.stands(google, slot, value) for value in (turn.before, turn.after))
        if not stands or name in merged.to_planfix or name not in planfix:
            continue  # edited since
        wanted = slots.with_value(to_google.get(name, google[name]), slot, turn.before)
        if wanted != google[name]:
            to_google[name] = wanted
        elif to_google.pop(name, None) is not None:
            base_planfix[name], base_google[name] = planfix[name], google[name]
    return replace(merged, to_google=to_google, base_planfix=base_planfix, base_google=base_google)


def _reconcile(link: Link, rules: FilterRules, now: float) -> Decision:
    merged = _merge(link, rules)
    if link.undoing is not None:
        merged = _with_undo(link, link.undoing, merged)
    if merged.to_planfix:
        return _to_planfix(link, rules, now, merged)
    bases: dict[str, Any] = {"base_planfix": merged.base_planfix, "base_google": merged.base_google}
    if not merged.to_google and _in_place(link):
        if link.undoing is not None and link.undoing.unlink:
            return _let_go(link, rules, now)
        return Decision(replace(link, undoing=None, **bases))
    planfix, google = link.planfix or {}, link.google or {}
    op = "update" if link.stamped or link.own is Kept.OURS else "adopt"
    names = merged.to_google
    begun = _begin(link, rules, now, Side.GOOGLE, op, names, _of(planfix, names), _of(google, names), **bases)
    return Decision(begun, merged.lost)


def _to_planfix(link: Link, rules: FilterRules, now: float, merged: Merge) -> Decision:
    planfix, google = link.planfix or {}, link.google or {}
    names = merged.to_planfix
    begun = _begin(
        replace(link, base_planfix=merged.base_planfix, base_google=merged.base_google),
        rules,
        now,
        Side.PLANFIX,
        "update",
        names,
        _of(google, names),
        _of(planfix, names),
    )
    lost = tuple(item for item in merged.lost if item.side is Side.PLANFIX)
    return Decision(begun, lost)


def _merge(link: Link, rules: FilterRules) -> Merge:
    return merge(
        link.planfix or {},
        link.google or {},
        link.base_planfix,
        link.base_google,
        merge_rules(link, rules),
        link.limits,
    )


def merge_rules(link: Link, rules: FilterRules) -> Rules:
    return Rules(
        two_way=rules.two_way and not link.read_only,
        google_loses=0 < (link.google_since or link.google_at) <= rules.two_way_since,
        conflict_winner=_winner(link, rules.conflict),
        without_base=WithoutBase.ADOPT if link.adopt else WithoutBase.UNITE,
    )


def _winner(link: Link, policy: str) -> Side:
    """The later edit wins only if the two intervals in which the edits happened do not overlap; else Planfix. So
    Google wins if it was seen without its edit after Planfix had been seen with its own."""
    if policy == "google":
        return Side.GOOGLE
    if policy == "newest" and link.google_prev >= (link.planfix_since or link.planfix_at):
        return Side.GOOGLE
    return Side.PLANFIX


def _of(contact: Contact, names: Contact) -> Contact:
    return {name: contact[name] for name in names if name in contact}


def _ask(link: Link, what: Ask, now: float) -> Link:
    return replace(link, asked=what, asked_at=now)


def _begin(
    link: Link,
    rules: FilterRules,
    now: float,
    side: Side,
    op: str,
    target: Contact,
    source: Contact,
    before: Contact,
    **changes: Any,
) -> Link:
    revision = link.revision + 1
    pending = Pending(
        side=side,
        op=op,  # type: ignore[arg-type]
        mutation_id=mutation_id(rules.filter_id, link.contact, revision, now),
        revision=revision,
        target=target,
        source=source,
        before=before,
        at=now,
        etag=link.etag,
    )
    return replace(link, pending=pending, revision=revision, **changes)
