"""What the reconciler remembers of a filter itself, and the one state that people see."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from contactsync.reconciler.core import reasons
from contactsync.reconciler.core.breaker import Plan, plan_from_json, would
from contactsync.reconciler.core.changes import replace
from contactsync.records import known_to
from contactsync_contracts.messages import FilterState, NewContactDefaults

APPROVE = "Look at it with `preview`, release it with `approve`."

Phase = Literal["label", "google", "planfix", "done"]
"""How far the first sync is: the label is made, the account is listed to its end, then Planfix's pages come."""


@dataclass(frozen=True, slots=True)
class Run:
    """A sync that somebody waits for. waits: the looks not answered yet (`planfix`, `google`)."""

    run_id: str
    request_id: str
    started_at: float
    first: bool = False
    waits: tuple[str, ...] = ()
    total: int | None = None
    created: int = 0
    updated: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Leaving:
    """A disconnect under way (`leaving.py`). remove: people of ours leave Google first; after: contacts with higher
    numbers are still to be taken away; waits: the targets that have not forgotten the filter yet; next: the
    activation with another account that it makes room for, as it came."""

    request_id: str
    remove: bool = False
    stage: Literal["removing", "forgetting", "erasing"] = "removing"
    after: int = 0
    waits: tuple[str, ...] = ()
    next: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """What the latest undo came to. run: the run that it takes back, contact after contact up to `after`; undone:
    entries taken back; left: how many were not; why: of the first of those, in words without values."""

    request_id: str
    run: str = ""
    at: float = 0.0
    after: int = 0
    finished: bool = True
    undone: int = 0
    left: int = 0
    why: tuple[str, ...] = ()


@dataclass(frozen=True)  # without slots: `changes.replace`
class FilterRecord:
    """problem: why nothing is written (a FilterState other than the healthy ones) with its reason; label_*: the
    mutation of the label under way (again: only to be sure that it is known; found: the writer
    had no record of it; told_at: when it last was);
    ranked_*: what the writer was last told of it, and since when that is so (`ranking.py`);
    counts: contacts by state; waiting: requests that came during a run; left_at:
    when a link or a labelled person was last removed, so that older observations of strangers are looked at again;
    revisions: the highest revision of links that are gone, since the writer remembers those; filter_at/account_at:
    what the latest news of either is from; frozen: why a human has to say `resume` (freeze.py); label_gone: the label
    has to be made sure of first; restored_at: labels lost before are put back; relabel_after: contacts with higher
    numbers are still to be put under a label that was made again; sweeps: how far what concerns many contacts is
    (`sweeping.py`); first_matching: partners found by match wait, since contacts of the first sync that are still to
    come may claim the same people; rechecked_at: when contacts that were read-only in Planfix were last given another
    try; two_way_since: when the filter was last switched to two-way;
    conflict, breakers: the filter's own settings over the installation's; plans, spent: what waits
    for an approval, and what needed none (`breaker.py`); first_waits: what the first sync writes waits for one;
    creates_wait: why people are not made anew without one; copies: contacts made twice within a day (`loops.py`),
    doubles: people put under the label who could be copies;
    resumed_at: when a human last said that it may go on; undo: the latest one; people_total, people_at:
    people in the account by its newest complete listing, and when that began; crowded: the filter holds more contacts
    than the account has places, so nobody is created before all of them are known; leaving: it is being disconnected;
    rebuild: the listing by which links are found again, rebuild_after: contacts with higher numbers are still to be
    renewed; relisted_at: when the state was last found to be older than what had been done."""

    filter_id: str
    name: str
    owner: int
    account: str
    google_email: str
    since: float
    two_way: bool = True
    paused: bool = False
    phase: Phase = "label"
    problem: str = ""
    problem_reason: str = ""
    label: str = ""
    label_name: str = ""
    label_revision: int = 0
    label_pending: str = ""
    label_again: bool = False
    label_found: bool = False
    label_told_at: float = 0.0
    ranked_two_way: bool = True
    ranked_active: bool = True
    ranked_at: float = 0.0
    label_op: Literal["ensure", "rename"] = "ensure"
    new_contact: dict[str, Any] | None = None
    run: Run | None = None
    waiting: tuple[str, ...] = ()
    last_sync: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    open: int = 0
    people_total: int = 0
    people_at: float = 0.0
    crowded: bool = False
    planfix_seen_at: float = 0.0
    google_seen_at: float = 0.0
    looks: int = 0
    left_at: float = 0.0
    revisions: int = 0
    filter_at: float = 0.0
    account_at: float = 0.0
    frozen: str = ""
    label_gone: bool = False
    restored_at: float = 0.0
    first_matching: bool = False
    sweeps: dict[str, int] = field(default_factory=dict)
    relabel_after: int | None = None
    rechecked_at: float = 0.0
    two_way_since: float = 0.0
    conflict: Literal["", "newest", "planfix", "google"] = ""
    breakers: dict[str, Any] = field(default_factory=dict)
    plans: tuple[Plan, ...] = ()
    plans_made: int = 0
    spent: dict[str, list[list[float]]] = field(default_factory=dict)
    first_waits: bool = False
    creates_wait: str = ""
    copies: dict[str, list[float]] = field(default_factory=dict)
    doubles: dict[str, dict[str, float]] = field(default_factory=dict)
    resumed_at: float = 0.0
    leaving: Leaving | None = None
    rebuild: str = ""
    rebuild_after: int | None = None
    relisted_at: float = 0.0
    undo: Undo | None = None

    @property
    def active(self) -> bool:
        """Whether contacts are written and looked for."""
        return not self.paused and not self.problem and self.phase in ("planfix", "done")

    @property
    def busy(self) -> bool:
        """Whether it has to look at its clock: a sync is waited for, or an account has to be connected again."""
        return self.run is not None or self.problem == FilterState.RECONNECT_NEEDED.value

    @property
    def unfinished(self) -> bool:
        """Something goes on without a message: whoever takes over has to look."""
        plans = any(plan.approved or not plan.hash for plan in self.plans)
        under_way = self.leaving is not None or (self.undo is not None and not self.undo.finished)
        return bool(self.open or self.busy or self.label_pending or self.phase != "done" or plans or under_way)

    @property
    def waiting_plans(self) -> tuple[Plan, ...]:
        """Sealed, and not released yet."""
        return tuple(plan for plan in self.plans if plan.hash and not plan.approved)

    @property
    def reason(self) -> str:
        """Why it does not simply go on, in a sentence."""
        if self.paused:
            return reasons.PAUSED
        waiting = [would(plan) for plan in self.waiting_plans]
        return self.problem_reason or " ".join([*waiting, APPROVE] if waiting else [])

    @property
    def state(self) -> FilterState:
        if self.paused:
            return FilterState.PAUSED
        if self.problem:
            return FilterState(self.problem)
        if self.phase == "label":
            return FilterState.ENABLING
        if self.waiting_plans:
            return FilterState.FROZEN
        if self.phase != "done" or (self.run is not None and self.run.first):
            return FilterState.FIRST_SYNC
        return FilterState.SYNCING if self.run is not None or self.open else FilterState.IN_SYNC

    def defaults(self, standard: NewContactDefaults) -> NewContactDefaults:
        """The filter's own settings over the installation's; those that it does not have stay."""
        return NewContactDefaults.model_validate({**standard.model_dump(), **(self.new_contact or {})})


def filter_to_json(record: FilterRecord) -> dict[str, Any]:
    """`state` is stored too: watchers, dashboards and the command line read the record."""
    return {**asdict(record), "state": record.state.value}


def filter_from_json(stored: dict[str, Any]) -> FilterRecord:
    values = known_to(FilterRecord, stored)
    if values.get("run"):
        run = known_to(Run, values["run"])
        run["waits"] = tuple(run.get("waits", ()))
        values["run"] = Run(**run)
    values["plans"] = tuple(plan_from_json(plan) for plan in values.get("plans", ()))
    if values.get("leaving"):
        left = known_to(Leaving, values["leaving"])
        left["waits"] = tuple(left.get("waits", ()))
        values["leaving"] = Leaving(**left)
    if values.get("undo"):
        undo = known_to(Undo, values["undo"])
        values["undo"] = Undo(**{**undo, "why": tuple(undo.get("why", ()))})
    values["waiting"] = tuple(values.get("waiting", ()))
    return FilterRecord(**values)


def counted(record: FilterRecord, *, created: int = 0, updated: int = 0, removed: int = 0) -> FilterRecord:
    """The run's figures moved on."""
    run = record.run
    if run is None or not (created or updated or removed):
        return record
    return replace(
        record,
        run=replace(
            run,
            created=run.created + created,
            updated=run.updated + updated,
            removed=run.removed + removed,
        ),
    )
