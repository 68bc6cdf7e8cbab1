"""What one filter remembers of one contact: the link, and of a labelled person without a contact: the arrival.

A link holds facts (what each side was when last seen), the agreement (a base for each side) and at most one
mutation under way. Actions are decided from the facts alone (`plan.py`), never from the event that brought them,
so that replays and reorderings decide the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from contactsync.reconciler.core.breaker import Frozen
from contactsync.reconciler.core.changes import replace
from contactsync.reconciler.core.merge import Lost, Side
from contactsync.reconciler.core.slots import Turns, turns_from_json, turns_to_json
from contactsync.records import known_to
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Kept

RESTORED: Final = "restored by hand"
DECIDED: Final = "decided by hand"
"""A `Link.cause`."""

Ask = Literal["", "match", "person", "label", "membership"]


def mutation_id(filter_id: str, of: int | str, revision: int, now: float) -> str:
    """Named by the time as well: where links were lost, a number is given again while an earlier write by it may
    still be under way, and the answer to that one must not pass for the answer to this one."""
    return f"{filter_id}.{of}.{revision}.{int(now)}"


@dataclass(frozen=True, slots=True)
class Pending:
    """The mutation under way. `target`, `source` and `before` hold just the fields written: what was asked for,
    and both sides' values when it was decided (the bases advance from them, `merge.advance`). `etag`: the person's
    then; one observed later must not excuse a write that was decided without it. cause, run, lost: for the history,
    why it is done, in which run, and which values lose by it."""

    side: Side
    op: Literal["ensure", "update", "adopt", "remove", "release"]
    mutation_id: str
    revision: int
    target: Contact
    source: Contact
    before: Contact
    at: float
    etag: str = ""
    renew: bool = False
    """Nothing is written that is there: the writer reads the person, and its record of it is new."""
    cause: str = ""
    run: str = ""
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True)
class Undoing:
    """What is to be taken back. planfix, google: the turns of each side, played backwards as far as the side still
    stands as they left it; tried: Planfix was told; unlink: why the person is let go then, and not linked again."""

    cause: str
    run: str
    planfix: Turns = field(default_factory=dict)
    google: Turns = field(default_factory=dict)
    tried: bool = False
    unlink: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the contact waits for a person or a change: `state` as in ContactState, `reason` a whole sentence."""

    state: str
    reason: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)  # without slots: `changes.replace`
class Link:
    """member: Planfix counts the contact to the filter and the owner sees it; member_at: when that was seen.
    kept: the reason why it stays although it does not (put under the label by hand). planfix/google: content last
    seen; *_at: when (Planfix: our clock when the read began; Google: the source's updateTime); *_since: when it was
    first seen with that content, where that was earlier; google_prev: the last time it was seen without any edit that
    has not been carried over yet; planfix_wrote: when our last write there was answered; planfix_source: of a contact
    that we created, its person's source id. merges: this filter
    merges the contact's fields (else it only asks for its label). asked: a look under way. adopt: found by match, not
    by stamp. stamp_on: another person that carries this contact's stamp, too. renew: the writer is to read the person
    again (`rebuilding.py`). due: facts changed while the filter was not active. cause: why a person wanted the next
    write, for the history (else the facts say it). gone_at: when the person was found to be gone, which counts as
    deleted once the label was looked at; left so after a freeze, it comes back. released: the writer knows that a
    human took the person from this filter. reported: why it is held back, as it was last said."""

    contact: int
    is_company: bool = False
    member: bool = True
    member_at: float = 0.0
    kept: str = ""
    planfix: Contact | None = None
    planfix_hash: int = 0
    planfix_at: float = 0.0
    planfix_since: float = 0.0
    planfix_wrote: float = 0.0
    planfix_source: str = ""
    resource: str | None = None
    source_id: str = ""
    etag: str = ""
    google: Contact | None = None
    google_hash: int = 0
    google_at: float = 0.0
    google_since: float = 0.0
    google_prev: float = 0.0
    raw: dict[str, Any] | None = None
    labelled: bool = False
    stamped: bool = False
    own: Kept | None = None
    adopt: bool = False
    base_planfix: Contact | None = None
    base_google: Contact | None = None
    revision: int = 0
    pending: Pending | None = None
    asked: Ask = ""
    asked_at: float = 0.0
    matched: bool = False
    merges: bool = True
    read_only: bool = False
    leaving: bool = False
    due: bool = False
    stamp_on: str = ""
    renew: bool = False
    dismissed: str = ""
    dismissed_at: float = 0.0
    gone_at: float = 0.0
    released: bool = False
    reported: str = ""
    merged_into: int | None = None
    hold: Hold | None = None
    cause: str = ""
    undoing: Undoing | None = None
    limits: dict[str, str] = field(default_factory=dict)
    """Field or `field:element` -> why one side cannot hold it."""
    frozen: Frozen | None = None
    """What would be done waits in a plan for an approval (`guard.py`)."""
    approved: str = ""
    """The digest of the action that an approval released."""
    turns: tuple[tuple[float, str], ...] = ()
    """What was written within the last day: when, and the digest of the values (`loops.py`)."""

    @property
    def open(self) -> bool:
        """Something is under way: a write or a look."""
        return self.pending is not None or bool(self.asked)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A person under the label that has no contact yet (semantics 2.4, "human puts the label on a person")."""

    source_id: str
    resource: str
    etag: str
    google: Contact
    google_at: float
    raw: dict[str, Any]
    stamp_contact: int | None = None
    stamp_kept: Kept | None = None
    stamps_many: bool = False
    """It carries other contacts' stamps, too: people were merged, and one stamp is to be written."""
    stage: Literal["new", "matching", "creating", "held"] = "new"
    asked_at: float = 0.0
    revision: int = 0
    mutation_id: str = ""
    source: Contact | None = None
    reason: str = ""
    state: str = "held_back"
    passed: bool = False
    """Its creation was weighed by the breakers and may begin."""
    frozen: Frozen | None = None
    approved: str = ""
    candidates: tuple[int, ...] = ()
    """Planfix contacts that it could be."""
    same: int = 0
    """The contact that a human says it is."""


# --- as stored --------------------------------------------------------------------------------------------


def contact_to_json(contact: Contact) -> dict[str, Any]:
    """Elements become triples: this is our own store, not a contract."""
    return {
        name: value if isinstance(value, str) else [[e.key, e.value, e.kind] for e in value]
        for name, value in contact.items()
    }


def contact_from_json(stored: dict[str, Any]) -> Contact:
    return {
        name: value if isinstance(value, str) else tuple(Element(*triple) for triple in value)
        for name, value in stored.items()
    }


_SAME = "="
"""Stands for "equal to what is there now" in place of a base: most links are in sync."""

_CONTACTS = frozenset({"planfix", "google", "base_planfix", "base_google"})
_DEFAULTS = {f.name: f.default for f in fields(Link)}
_BLANK: Final = Link(contact=0)


def link_to_json(link: Link) -> dict[str, Any]:
    """Only what differs from the defaults; bases equal to the present content are not repeated."""
    stored: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(link, name)
        if value == default and name != "contact":
            continue
        if name in _CONTACTS:
            now = getattr(link, name.removeprefix("base_"))
            same = name.startswith("base_") and now is not None and value == now
            stored[name] = _SAME if same else contact_to_json(value)
        elif isinstance(value, Pending):
            stored[name] = _pending_to_json(value)
        elif isinstance(value, Undoing):
            stored[name] = _undoing_to_json(value)
        elif isinstance(value, Hold):
            stored[name] = [value.state, value.reason, list(value.candidates)]
        elif isinstance(value, Frozen):
            stored[name] = [value.plan, value.digest]
        elif name == "limits":
            if value:
                stored[name] = value
        else:
            stored[name] = value
    return stored


def link_from_json(stored: dict[str, Any]) -> Link:
    """Unknown keys of a later release are ignored."""
    values = {name: value for name, value in stored.items() if name in _DEFAULTS}
    for name in ("planfix", "google", "base_planfix", "base_google"):
        value = values.get(name)
        if value == _SAME:
            values[name] = values[name.removeprefix("base_")]
        elif isinstance(value, dict):
            values[name] = contact_from_json(value)
    if "pending" in values:
        values["pending"] = _pending_from_json(values["pending"])
    if values.get("undoing"):
        values["undoing"] = _undoing_from_json(values["undoing"])
    if "hold" in values:
        state, reason, candidates = values["hold"]
        values["hold"] = Hold(state, reason, tuple(candidates))
    if values.get("frozen"):
        values["frozen"] = Frozen(*values["frozen"])
    if "turns" in values:
        values["turns"] = tuple((at, digest) for at, digest in values["turns"])
    if values.get("own"):
        values["own"] = Kept(values["own"])
    values.setdefault("limits", {})
    return replace(_BLANK, **values)


def _pending_to_json(pending: Pending) -> dict[str, Any]:
    why: dict[str, Any] = {"cause": pending.cause, "run": pending.run}
    if pending.lost:
        why["lost"] = [[lost.field, lost.side.value, lost.value] for lost in pending.lost]
    return why | {
        "side": pending.side.value,
        "op": pending.op,
        "id": pending.mutation_id,
        "revision": pending.revision,
        "target": contact_to_json(pending.target),
        "source": contact_to_json(pending.source),
        "before": contact_to_json(pending.before),
        "at": pending.at,
        "etag": pending.etag,
        **({"renew": True} if pending.renew else {}),
    }


def _pending_from_json(stored: dict[str, Any]) -> Pending:
    return Pending(
        side=Side(stored["side"]),
        op=stored["op"],
        mutation_id=stored["id"],
        revision=stored["revision"],
        target=contact_from_json(stored["target"]),
        source=contact_from_json(stored["source"]),
        before=contact_from_json(stored["before"]),
        at=stored["at"],
        etag=stored.get("etag", ""),
        renew=stored.get("renew", False),
        cause=stored.get("cause", ""),
        run=stored.get("run", ""),
        lost=tuple(Lost(name, Side(side), value) for name, side, value in stored.get("lost", ())),
    )


def _undoing_to_json(undoing: Undoing) -> dict[str, Any]:
    return {
        "cause": undoing.cause,
        "run": undoing.run,
        "planfix": turns_to_json(undoing.planfix),
        "google": turns_to_json(undoing.google),
        "tried": undoing.tried,
        "unlink": undoing.unlink,
    }


def _undoing_from_json(stored: dict[str, Any]) -> Undoing:
    return Undoing(
        cause=stored["cause"],
        run=stored["run"],
        planfix=turns_from_json(stored["planfix"]),
        google=turns_from_json(stored["google"]),
        tried=stored["tried"],
        unlink=stored["unlink"],
    )


def arrival_to_json(arrival: Arrival) -> dict[str, Any]:
    stored = {f.name: getattr(arrival, f.name) for f in fields(Arrival)}
    stored["google"] = contact_to_json(arrival.google)
    stored["source"] = None if arrival.source is None else contact_to_json(arrival.source)
    stored["frozen"] = None if arrival.frozen is None else [arrival.frozen.plan, arrival.frozen.digest]
    return stored


def arrival_from_json(stored: dict[str, Any]) -> Arrival:
    values = known_to(Arrival, stored)
    values["google"] = contact_from_json(values["google"])
    values["candidates"] = tuple(values.get("candidates", ()))
    if values.get("source") is not None:
        values["source"] = contact_from_json(values["source"])
    if values.get("stamp_kept"):
        values["stamp_kept"] = Kept(values["stamp_kept"])
    if values.get("frozen") is not None:
        values["frozen"] = Frozen(*values["frozen"])
    values["passed"] = values.get("stage") == "creating"  # only those are stored as such
    return Arrival(**values)


def anew(link: Link) -> Link:
    """Only what Planfix showed of it: its person is looked for by stamp and, if it is still there, merged without a
    base; else it is created anew."""
    kept = ("contact", "is_company", "member", "member_at", "kept", "revision", "released", "reported")
    names = [name for name in _DEFAULTS if name.startswith("planfix") or name in kept]
    return Link(**{name: getattr(link, name) for name in names})
