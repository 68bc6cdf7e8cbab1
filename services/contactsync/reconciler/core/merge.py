"""Three-way merge of one contact, per field and per element (semantics 2.3).

A link remembers a base *for each side*: the value that stood there when both sides last agreed. What a side
cannot hold, reformats or refuses is thus simply a difference between the two bases, and no difference since
then. A change is a value that is not its own side's base.

`merge` says what each side is to be given; `advance` says what the bases are once a write has been answered.
`plan.py` calls the one and `settle.py` the other; nothing here knows links, filters or vendors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum

from contactsync_contracts.contact import ELEMENT_FIELDS, Contact, Element

Value = str | tuple[Element, ...]


class Side(Enum):
    PLANFIX = "planfix"
    GOOGLE = "google"


class WithoutBase(Enum):
    """What to do where a field has no base: the pair was found (again), or the field is newly mapped."""

    UNITE = "unite"
    """The person already carried the label or our stamp: the filled side wins, elements are united."""
    ADOPT = "adopt"
    """A private person was adopted by match: Planfix is written, the person's own further values stay there."""


class Verdict(Enum):
    """Where one value goes."""

    KEEP = "keep"
    AGREE = "agree"
    TO_GOOGLE = "to_google"
    TO_PLANFIX = "to_planfix"


@dataclass(frozen=True, slots=True)
class Rules:
    """two_way: Google's changes go to Planfix; else Planfix is restored in Google.
    google_loses: Google's changes since the base are from when the filter was one-way, and Planfix wins against them.
    conflict_winner: who wins where both sides changed a value (decided from the two edits' times)."""

    two_way: bool = True
    google_loses: bool = False
    conflict_winner: Side = Side.PLANFIX
    without_base: WithoutBase = WithoutBase.UNITE


@dataclass(frozen=True, slots=True)
class Lost:
    """What lost against the other side, for the history. `field` is a field, or `field:key` of one element; `value`
    its text or spelling, the kind where both sides keep the element, and empty where a removal lost."""

    field: str
    side: Side
    value: str


@dataclass(frozen=True, slots=True)
class Merge:
    """What each side is to be given (whole fields: a list field holds all its elements), and the bases as far
    as they advance without any write."""

    to_google: Contact
    to_planfix: Contact
    base_planfix: Contact
    base_google: Contact
    lost: tuple[Lost, ...] = ()

    @property
    def quiet(self) -> bool:
        return not self.to_google and not self.to_planfix


@dataclass(slots=True)
class _Draft:
    to_google: Contact = field(default_factory=dict)
    to_planfix: Contact = field(default_factory=dict)
    base_planfix: Contact = field(default_factory=dict)
    base_google: Contact = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)


def merge(
    planfix: Contact,
    google: Contact,
    base_planfix: Contact | None,
    base_google: Contact | None,
    rules: Rules,
    refused: Mapping[str, str] | None = None,
) -> Merge:
    """Compare both sides with their bases. Fields that either side does not know are left alone.

    `refused` names elements (`emails:<key>`) that Planfix did not take; they are offered again only when their
    field is written anyway, so that the next e-mail can become the primary one.
    """
    bases_p, bases_g = base_planfix or {}, base_google or {}
    draft = _Draft(base_planfix=dict(bases_p), base_google=dict(bases_g))
    for name, value in planfix.items():
        if name not in google:
            continue
        other = google[name]
        if bases_p.get(name) == value and bases_g.get(name) == other:
            continue
        has_base = name in bases_p and name in bases_g
        if isinstance(value, tuple):
            _merge_elements(draft, name, value, other, has_base, bases_p, bases_g, rules, refused or {})
        else:
            _merge_scalar(draft, name, value, str(other), has_base, bases_p, bases_g, rules)
    return Merge(draft.to_google, draft.to_planfix, draft.base_planfix, draft.base_google, tuple(draft.lost))


def _merge_scalar(
    draft: _Draft, name: str, p: str, g: str, has_base: bool, bases_p: Contact, bases_g: Contact, rules: Rules
) -> None:
    if not has_base:
        verdict = _scalar_without_base(p, g, rules)
    else:
        verdict = _scalar_verdict(p, g, str(bases_p[name]), str(bases_g[name]), rules)
    match verdict:
        case Verdict.AGREE:
            draft.base_planfix[name], draft.base_google[name] = p, g
        case Verdict.TO_GOOGLE:
            draft.to_google[name] = p
            if g != bases_g[name] if has_base else g:
                draft.lost.append(Lost(name, Side.GOOGLE, g))
            if has_base and p == bases_p[name]:
                # Nothing but Google moved (one-way): what Google agreed to hold is restored, not a longer original.
                draft.to_google[name] = bases_g[name]
        case Verdict.TO_PLANFIX:
            draft.to_planfix[name] = g
            if has_base and p != bases_p[name]:
                draft.lost.append(Lost(name, Side.PLANFIX, p))
        case Verdict.KEEP:
            pass


def _scalar_verdict(p: str, g: str, base_p: str, base_g: str, rules: Rules) -> Verdict:
    p_changed, g_changed = p != base_p, g != base_g
    if not p_changed and not g_changed:
        return Verdict.KEEP
    if p == g:
        return Verdict.AGREE
    if p_changed and not g_changed:
        return Verdict.TO_GOOGLE
    if not rules.two_way or rules.google_loses:
        return Verdict.TO_GOOGLE
    if not p_changed:
        return Verdict.TO_PLANFIX
    return Verdict.TO_GOOGLE if rules.conflict_winner is Side.PLANFIX else Verdict.TO_PLANFIX


def _scalar_without_base(p: str, g: str, rules: Rules) -> Verdict:
    if p == g:
        return Verdict.AGREE
    if p:
        return Verdict.TO_GOOGLE
    # Only Google has something there.
    if rules.without_base is WithoutBase.ADOPT or not rules.two_way:
        return Verdict.AGREE
    return Verdict.TO_PLANFIX


def edited(now: Contact, base: Contact) -> bool:
    """Whether a side shows something else than its base."""
    return any(_differs(value, base[name]) for name, value in now.items() if name in base)


def _differs(now: Value, base: Value) -> bool:
    if isinstance(now, str):
        return now != base
    ours, theirs = _by_key(now), _by_key(base)
    return any(_changed(ours.get(key), theirs.get(key)) for key in {*ours, *theirs})


# --- elements ---------------------------------------------------------------------------------------------


def _by_key(value: Value | None) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in value if isinstance(value, tuple) else ():
        found.setdefault(element.key, element)
    return found


def _changed(now: Element | None, base: Element | None) -> bool:
    if now is None or base is None:
        return now is not base
    return bool(now.kind) and now.kind != base.kind


def _same(p: Element | None, g: Element | None) -> bool:
    if p is None or g is None:
        return p is g
    return not p.kind or not g.kind or p.kind == g.kind


def _element_verdict(
    p: Element | None,
    g: Element | None,
    base_p: Element | None,
    base_g: Element | None,
    has_base: bool,
    rules: Rules,
) -> Verdict:
    """One element. An edit beats a removal; of two edits of its kind the conflict's winner stays."""
    if not has_base:
        if p is not None:
            return Verdict.AGREE if _same(p, g) else Verdict.TO_GOOGLE
        if rules.without_base is WithoutBase.ADOPT or not rules.two_way:
            return Verdict.AGREE
        return Verdict.TO_PLANFIX
    p_changed, g_changed = _changed(p, base_p), _changed(g, base_g)
    if not p_changed and not g_changed:
        return Verdict.KEEP
    if p_changed and not g_changed:
        # An element that Planfix gained and Google holds already needs no write.
        return Verdict.AGREE if _same(p, g) else Verdict.TO_GOOGLE
    if _same(p, g):
        return Verdict.AGREE
    if not rules.two_way or rules.google_loses:
        # What Planfix never had and Google had at adoption is the human's own, whatever becomes of it.
        own = p is None and base_p is None and base_g is not None
        return Verdict.AGREE if own else Verdict.TO_GOOGLE
    if p is None or not p_changed:
        return Verdict.TO_PLANFIX
    if g is None or (base_p is None and base_g is None):
        return Verdict.TO_GOOGLE  # an element that is new on both sides has no base to date its edits by
    return Verdict.TO_GOOGLE if rules.conflict_winner is Side.PLANFIX else Verdict.TO_PLANFIX


def _verdicts(
    p: Value, g: Value, base_p: Value | None, base_g: Value | None, has_base: bool, rules: Rules
) -> Iterator[tuple[str, Verdict, Element | None, Element | None, Element | None, Element | None]]:
    """Every element of either side or base, in the order Planfix, Google, bases."""
    ps, gs = _by_key(p), _by_key(g)
    bps, bgs = (_by_key(base_p), _by_key(base_g)) if has_base else ({}, {})  # half a base is none
    for key in dict.fromkeys((*ps, *gs, *bps, *bgs)):
        sides = ps.get(key), gs.get(key), bps.get(key), bgs.get(key)
        yield key, _element_verdict(*sides, has_base, rules), *sides


def _merge_elements(
    draft: _Draft,
    name: str,
    p: Value,
    g: Value,
    has_base: bool,
    bases_p: Contact,
    bases_g: Contact,
    rules: Rules,
    refused: Mapping[str, str],
) -> None:
    to_google, to_planfix = _by_key(g), _by_key(p)
    base_p, base_g = (_by_key(bases_p[name]), _by_key(bases_g[name])) if has_base else ({}, {})
    google_moves = planfix_moves = False
    for key, verdict, p_el, g_el, bp_el, bg_el in _verdicts(
        p, g, bases_p.get(name), bases_g.get(name), has_base, rules
    ):
        match verdict:
            case Verdict.TO_GOOGLE:
                google_moves = True
                # Where nothing but Google moved (one-way), what Google agreed to hold is restored.
                wanted = p_el if _changed(p_el, bp_el) else bg_el or p_el
                _set(to_google, key, wanted)
                if _changed(g_el, bg_el):
                    draft.lost.append(_lost(f"{name}:{key}", Side.GOOGLE, g_el, wanted))
            case Verdict.TO_PLANFIX:
                planfix_moves = True
                _set(to_planfix, key, g_el)
                if _changed(p_el, bp_el):
                    draft.lost.append(_lost(f"{name}:{key}", Side.PLANFIX, p_el, g_el))
            case Verdict.AGREE:
                _set(base_p, key, p_el)
                _set(base_g, key, g_el)
            case Verdict.KEEP:
                pass
    if planfix_moves:
        for key, element in _by_key(g).items():
            if f"{name}:{key}" in refused:
                to_planfix.setdefault(key, element)
        draft.to_planfix[name] = tuple(to_planfix.values())
    if google_moves:
        draft.to_google[name] = tuple(to_google.values())
    if has_base or not (planfix_moves or google_moves):
        draft.base_planfix[name], draft.base_google[name] = tuple(base_p.values()), tuple(base_g.values())


def _lost(field: str, side: Side, loser: Element | None, winner: Element | None) -> Lost:
    if loser is None:
        return Lost(field, side, "")
    return Lost(field, side, loser.value if winner is None else loser.kind)


def _set(elements: dict[str, Element], key: str, element: Element | None) -> None:
    if element is None:
        elements.pop(key, None)
    else:
        elements[key] = element


# --- after a write ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """A write that has been answered, of the fields in `target` (the side written to is `side`).

    source: the other side's values of these fields when it was decided; before: the written side's values then;
    answer: what the written side says now. All hold just the fields written.
    """

    side: Side
    source: Contact
    before: Contact
    answer: Contact


def advance(
    base_planfix: Contact | None, base_google: Contact | None, write: Write, rules: Rules
) -> tuple[Contact, Contact]:
    """The bases after `write`: what it carried over is agreed, in the form that each side gives it. Changes that
    went the other way, or were not part of it, stay changes."""
    bases_p, bases_g = dict(base_planfix or {}), dict(base_google or {})
    for name, source in write.source.items():
        answer = write.answer.get(name)
        if answer is None:
            continue
        if name in ELEMENT_FIELDS:
            _advance_elements(bases_p, bases_g, name, source, write, answer, rules)
        elif write.side is Side.GOOGLE:
            bases_p[name], bases_g[name] = source, answer
        else:
            bases_p[name], bases_g[name] = answer, source
    return bases_p, bases_g


def _advance_elements(
    bases_p: Contact, bases_g: Contact, name: str, source: Value, write: Write, answer: Value, rules: Rules
) -> None:
    to_google = write.side is Side.GOOGLE
    before = write.before[name]
    p, g = (source, before) if to_google else (before, source)
    p_now, g_now = (source, answer) if to_google else (answer, source)
    base_p, base_g = bases_p.get(name), bases_g.get(name)
    has_base = base_p is not None and base_g is not None
    other_way = Verdict.TO_PLANFIX if to_google else Verdict.TO_GOOGLE
    verdicts = _verdicts(p, g, base_p, base_g, has_base, rules)
    waiting = {key for key, verdict, *_ in verdicts if verdict is other_way}
    bases_p[name] = _carried(base_p if has_base else None, p_now, waiting)
    bases_g[name] = _carried(base_g if has_base else None, g_now, waiting)


def _carried(base: Value | None, now: Value, waiting: Set[str]) -> Value:
    """What the server made of a number may have another key than what was sent: that is its own form of it."""
    left = {key: element for key, element in _by_key(base).items() if key in waiting}
    return tuple((left | {key: element for key, element in _by_key(now).items() if key not in waiting}).values())
