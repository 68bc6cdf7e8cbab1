"""What simulated people have before them, and what they do with it; `people_edits.py` has the single edits.

A scene is both sides at rest. Whoever is taken from it is edited once, so that expectations do not mix.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["planfix", "google"]


@dataclass(frozen=True, slots=True)
class HumanAction:
    """One thing that somebody does: ``method(**kwargs)`` of the simulator of that side."""

    side: Side
    method: str
    kwargs: Mapping[str, Any]
    sentence: str
    expected: str
    contact: int | None = None
    """The Planfix number of the contact it is about, where there is one before the edit."""
    kind: str = ""
    """Name of the kind of edit: the key of `KINDS`."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A contact of the filter and its person under the label."""

    contact: Mapping[str, Any]
    person: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.contact["id"])

    @property
    def who(self) -> str:
        """How sentences call the contact: by number, since reports carry no names."""
        return f"contact {self.number}"


@dataclass(slots=True)
class Scene:
    """Both sides as they are before the edits. Whoever is taken from ``pairs`` is edited once only."""

    rng: random.Random
    filter: Mapping[str, Any]
    label: str
    account: str | None
    pairs: list[Pair]
    outsiders: list[Mapping[str, Any]]
    """Contacts that the filter does not hold."""
    private: list[Mapping[str, Any]]
    """People without the label."""
    made: int = 0

    def take(self, fits: Callable[[Pair], bool] = lambda pair: True) -> Pair | None:
        for index, pair in enumerate(self.pairs):
            if fits(pair):
                return self.pairs.pop(index)
        return None

    def planfix(self, method: str, sentence: str, expected: str, **kwargs: Any) -> HumanAction:
        return HumanAction("planfix", method, kwargs, sentence, expected, kwargs.get("contact"))

    def google(
        self, method: str, sentence: str, expected: str, contact: int | None = None, **kwargs: Any
    ) -> HumanAction:
        owner = {} if self.account is None else {"account": self.account}
        return HumanAction("google", method, owner | kwargs, sentence, expected, contact)

    def in_planfix(self, pair: Pair, what: str, fields: Mapping[str, Any], expected: str) -> HumanAction:
        sentence = f"in Planfix somebody {what} of {pair.who}"
        return self.planfix("edit_contact", sentence, expected, contact=pair.number, fields=fields)

    def in_google(self, pair: Pair, what: str, fields: Mapping[str, Any], expected: str) -> HumanAction:
        sentence = f"on the phone somebody {what} of {pair.who}"
        name = pair.person["resourceName"]
        return self.google("edit_person", sentence, expected, pair.number, resource_name=name, fields=fields)

    def serial(self) -> int:
        self.made += 1
        return self.made
