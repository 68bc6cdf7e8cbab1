"""What humans decided about possible duplicates, remembered by itself: it outlives links that are dropped, restarts
and `rebuild`, so that what was settled once is never asked again.

`decisions.py` writes here; `joining.py` and `arrivals.py` ask before they offer or link anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Decided:
    """Of one Planfix contact. same: the person that it is. apart: people that it is not; resource names both."""

    contact: int
    same: str = ""
    apart: tuple[str, ...] = ()


class Decisions:
    """By contact number. There are as many as humans took."""

    def __init__(self, decided: Iterable[Decided] = ()) -> None:
        self._decided = {one.contact: one for one in decided}
        self.changed: set[int] = set()
        """Those of this step."""

    def get(self, contact: int) -> Decided | None:
        return self._decided.get(contact)

    def same(self, contact: int) -> str:
        one = self._decided.get(contact)
        return one.same if one is not None else ""

    def apart(self, contact: int, resource: str) -> bool:
        one = self._decided.get(contact)
        return one is not None and resource in one.apart

    def about(self, resource: str) -> bool:
        """Whether anything was decided about this person."""
        return any(resource in (one.same, *one.apart) for one in self._decided.values())

    def join(self, contact: int, resource: str) -> None:
        """They are one, whatever was said before."""
        one = self._decided.get(contact) or Decided(contact)
        apart = tuple(name for name in one.apart if name != resource)
        self._put(replace(one, same=resource, apart=apart))

    def part(self, contact: int, resources: Iterable[str]) -> None:
        """The contact is none of these people."""
        one = self._decided.get(contact) or Decided(contact)
        apart = tuple(dict.fromkeys([*one.apart, *resources]))
        self._put(replace(one, same="" if one.same in apart else one.same, apart=apart))

    def forget_same(self, contact: int, resource: str) -> None:
        """That person is not in Google any more."""
        one = self._decided.get(contact)
        if one is not None and one.same == resource:
            self._put(replace(one, same=""))

    def _put(self, one: Decided) -> None:
        if self._decided.get(one.contact) == one:
            return
        self.changed.add(one.contact)
        if one.same or one.apart:
            self._decided[one.contact] = one
        else:
            self._decided.pop(one.contact, None)


def decided_to_json(one: Decided) -> dict[str, Any]:
    return asdict(one)


def decided_from_json(stored: dict[str, Any]) -> Decided:
    return Decided(int(stored["contact"]), str(stored.get("same", "")), tuple(stored.get("apart", ())))
