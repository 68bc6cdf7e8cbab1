"""What a list of all filters and employees says about the filters that are synchronised. Pure.

A filter or owner that is missing counts only twice in a row and never from an empty list (I5); an owner that is
listed as inactive counts at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from contactsync.planfix.port import Employee, Filter
from contactsync.planfix_watcher.known import FilterView
from contactsync_contracts.messages import FilterObserved, FilterProblem

_PROBLEMS = {problem.value for problem in FilterProblem}

Seen = tuple[str | None, int | None, FilterProblem | None]


@dataclass(slots=True)
class Sweeper:
    """told: what each filter heard last; suspects: what was missing in the last list."""

    told: dict[str, Seen] = field(default_factory=dict)
    suspects: dict[str, FilterProblem] = field(default_factory=dict)

    def conclude(
        self,
        views: Iterable[FilterView],
        filters: Sequence[Filter],
        employees: Sequence[Employee],
        *,
        asked: Collection[str],
        now: float,
    ) -> tuple[list[FilterObserved], bool]:
        """What to tell (what changed, and whoever asked), and whether to list again soon: something is missing."""
        if not filters or not employees:
            return [], True
        by_id = {one.filter_id: one for one in filters}
        active = {one.number: one.active for one in employees}
        observed: list[FilterObserved] = []
        suspects: dict[str, FilterProblem] = {}
        for view in views:
            found = by_id.get(view.filter_id)
            name = found.name if found else view.name
            owner = (found.owner if found else None) or view.owner
            problem = self._problem(found, owner, active)
            missing = found is None or (owner is not None and owner not in active)
            if problem is not None and missing:
                suspects[view.filter_id] = problem
                if self.suspects.get(view.filter_id) != problem:
                    continue
            seen = (name, owner, problem)
            if seen != self.told.get(view.filter_id, _baseline(view)) or view.filter_id in asked:
                observed.append(
                    FilterObserved(filter_id=view.filter_id, seen_at=now, name=name, owner=owner, problem=problem)
                )
            self.told[view.filter_id] = seen
        again = any(self.suspects.get(name) != problem for name, problem in suspects.items())
        self.suspects = suspects
        return observed, again

    @staticmethod
    def _problem(found: Filter | None, owner: int | None, active: dict[int, bool]) -> FilterProblem | None:
        if found is None:
            return FilterProblem.FILTER_GONE
        if owner is not None and not active.get(owner, False):
            return FilterProblem.OWNER_GONE
        return None


def _baseline(view: FilterView) -> Seen:
    """What its actor knows already, by its own record."""
    return view.name, view.owner, FilterProblem(view.state) if view.state in _PROBLEMS else None
