"""What the installation's settings decide for every filter that does not decide it itself (4-interfaces 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from contactsync_contracts.messages import Breakers, Limit

Conflict = Literal["newest", "planfix", "google"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The breakers' numbers (2-semantics 2.5): how many actions of a kind a day need no approval."""

    remove: Limit = field(default_factory=lambda: Limit(least=10, percent=10))
    update: Limit = field(default_factory=lambda: Limit(least=100, percent=30))
    create: Limit = field(default_factory=lambda: Limit(least=100, percent=50))

    def with_own(self, own: Breakers) -> Limits:
        """A filter's own numbers where it has them."""
        return Limits(own.remove or self.remove, own.update or self.update, own.create or self.create)


@dataclass(frozen=True, slots=True)
class Policy:
    """conflict: who wins where both sides changed a value. first_sync_waits: what a first sync would write waits for
    an approval."""

    conflict: Conflict = "newest"
    limits: Limits = field(default_factory=Limits)
    first_sync_waits: bool = False
