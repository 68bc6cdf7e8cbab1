"""Breakers (semantics 2.5): how many actions of a kind a day are carried out without asking, and the frozen plans of
those that are more.

Pure figures and values; `guard.py` holds the actions of a step against them. A plan is collected while its wave goes
on, then sealed: from then on it has a hash over exactly its actions and takes no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Final, Literal

from contactsync.reconciler.core.policy import Limits
from contactsync.records import known_to
from contactsync_contracts.contact import Contact

Kind = Literal["remove", "update", "create", "empty", "first", "again"]
"""remove: a person is deleted, or its label comes off. update: values are rewritten on either side. create: a contact
is created in Planfix. Always held, however few: empty: everybody would leave, since the list came back empty; first:
what a first sync writes, where settings say so; again: people made anew although our memory of dismissals is lost."""

COUNTED: Final[frozenset[Kind]] = frozenset({"remove", "update", "create"})
DAY_S: Final = 86_400.0
SLOT_S: Final = 600.0
"""A day's count is kept by such slots; each counts until a whole day after its end."""

SEAL_AFTER_S: Final = 5.0
SEAL_AT_LAST_S: Final = 900.0

Spent = Mapping[str, Iterable[Iterable[float]]]


@dataclass(frozen=True, slots=True)
class Frozen:
    """An action of a contact that waits in a plan. digest: what exactly would be done."""

    plan: int
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Frozen actions of one kind. hash is empty while it is collected. actions: how many it had when sealed (or has
    so far). at: of kind *empty*: when the list came back empty. approved: it is being carried out."""

    number: int
    kind: Kind
    since: float
    touched_at: float
    hash: str = ""
    actions: int = 0
    at: float = 0.0
    approved: bool = False


def plan_to_json(plan: Plan) -> dict[str, Any]:
    return asdict(plan)


def plan_from_json(stored: Mapping[str, Any]) -> Plan:
    return Plan(**known_to(Plan, stored))


def digest_of(side: str, op: str, target: Contact) -> str:
    """Equal for two actions that write the same."""
    if op == "remove":
        return "remove"
    return _hash(f"{side} {op} {sorted(target.items())!r}")


def plan_hash(actions: Iterable[tuple[str, str]]) -> str:
    """Of a plan's contacts (or people) and the digests of what would be done with each."""
    return _hash("\n".join(f"{name} {digest}" for name, digest in sorted(actions)))


def allowed(kind: Kind, limits: Limits, links: int) -> int:
    """How many actions of the kind a day need no approval, in a filter with so many links."""
    if kind not in COUNTED:
        return 0
    limit = {"remove": limits.remove, "update": limits.update, "create": limits.create}[kind]
    return max(limit.least, int(links * limit.percent / 100))


def spent_today(spent: Spent, kind: Kind, now: float) -> int:
    return int(sum(count for end, count in spent.get(kind, ()) if end + DAY_S > now))


def spend(spent: Spent, kind: Kind, number: int, now: float) -> dict[str, list[list[float]]]:
    """The counts with so many more; what is older than a day is dropped."""
    kept = {name: [[*slot] for slot in slots] for name, slots in spent.items()}
    end = (now // SLOT_S + 1) * SLOT_S
    slots = [slot for slot in kept.get(kind, []) if slot[0] + DAY_S > now]
    if slots and slots[-1][0] == end:
        slots[-1][1] += number
    else:
        slots.append([end, number])
    return kept | {kind: slots}


def may_seal(plan: Plan, now: float, *, more_may_come: bool) -> bool:
    if plan.hash:
        return False
    if plan.kind not in ("first",) and now - plan.since >= SEAL_AT_LAST_S:
        return True
    return not more_may_come and now - plan.touched_at >= SEAL_AFTER_S


WOULD: Final[Mapping[Kind, tuple[str, str]]] = {
    "remove": ("1 contact would be removed from Google", "{} contacts would be removed from Google"),
    "update": ("1 contact would be rewritten", "{} contacts would be rewritten"),
    "create": ("1 contact would be created in Planfix", "{} contacts would be created in Planfix"),
    "empty": (
        "The list is empty in Planfix now; 1 contact would be removed from Google",
        "The list is empty in Planfix now; {} contacts would be removed from Google",
    ),
    "first": ("The first sync would write 1 contact to Google", "The first sync would write {} contacts to Google"),
    "again": (
        "1 contact would be created in Google; some may have been removed by hand before our memory of it was lost",
        "{} contacts would be created in Google; some may have been removed by hand before our memory of it was lost",
    ),
}


def would(plan: Plan) -> str:
    """A sentence on what the plan would do."""
    one, many = WOULD[plan.kind]
    return f"{one if plan.actions == 1 else many.format(plan.actions)}."


def _hash(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
