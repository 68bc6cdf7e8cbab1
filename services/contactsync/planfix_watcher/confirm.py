"""Whether contacts that did not come have really left their filter (2-semantics 2.4). Pure; one more `work`.

A request carries the filter, "visible to" and the missing numbers together with more known members than missing
ones. It counts only if all the known ones come back, twice in a row: an answer that is short, empty or for another
condition than the one asked can then not pass for a departure. Neither can one that is always cut at the same length:
no more is asked for at once than the listing has shown, and where that is too little, the missing one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contactsync.planfix.port import ContactPage, Query
from contactsync.planfix_watcher.work import NUMBERS_MAX, Ask, came
from contactsync_contracts.messages import Model, PlanfixConfirmed

ROUNDS = 2


def proofs(missing: Sequence[int], known: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(missing, known) for each request: more known than missing, at most 100 together. With a single known member
    one missing contact is asked at a time; with none there is no proof to be had."""
    missing = sorted(set(missing))
    known = sorted(set(known) - set(missing))
    if not known:
        return [((number,), ()) for number in missing]
    size = max(1, (min(NUMBERS_MAX - 1, len(known)) - 1) // 2)
    return [
        (part := tuple(missing[at : at + size]), tuple(known[: len(part) + 1])) for at in range(0, len(missing), size)
    ]


@dataclass(slots=True)
class Confirm:
    filter_id: str
    owner: int | None
    request_id: str
    missing: Sequence[int]
    known: Sequence[int]
    place: int = 0
    rounds: int = 0
    companies: bool = False
    back: set[int] = field(default_factory=set)
    proven: bool = True
    ever: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    proofs: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(init=False)
    answered: bool = False
    shown: int = field(init=False)
    """So many rows at once the server has shown."""

    def __post_init__(self) -> None:
        self.proofs = proofs(self.missing, self.known)
        self.shown = len(set(self.known) - set(self.missing))

    @property
    def _cramped(self) -> bool:
        missing, known = self.proofs[self.place]
        return bool(known) and len(missing) + len(known) > self.shown

    @property
    def _alone(self) -> bool:
        return self._cramped and self.rounds == 1

    @property
    def done(self) -> bool:
        return self.answered

    def ask(self) -> Ask | None:
        if not self.proofs:
            return None
        missing, known = self.proofs[self.place]
        if not known:
            return Ask(number=missing[0])
        return Ask(
            Query(
                filter_id=self.filter_id,
                visible_to=self.owner,
                numbers=missing if self._alone else tuple(sorted((*missing, *known))),
                companies=self.companies,
            )
        )

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        if self.proofs:
            self.back |= came(page)
            _, known = self.proofs[self.place]
            if known and not self.companies:
                self.companies = True
                return []
            self._end_of_round()
            if self.place < len(self.proofs):
                return []
        return [self._answer(began_at)]

    def _end_of_round(self) -> None:
        missing, known = self.proofs[self.place]
        self.proven = self.proven and (self._alone or set(known) <= self.back)
        self.ever |= self.back & set(missing)
        self.rounds, self.companies, self.back = self.rounds + 1, False, set()
        if self.rounds < ROUNDS + self._cramped:
            return
        if self.proven:
            self.gone |= set(missing) - self.ever
        self.place, self.rounds, self.proven = self.place + 1, 0, True

    def _answer(self, began_at: float) -> Model:
        self.answered = True
        # Without a known member a contact that is there may still have left the filter: that stays undecided.
        alone = {missing[0] for missing, known in self.proofs if not known}
        present = self.ever - alone
        return PlanfixConfirmed(
            filter_id=self.filter_id,
            seen_at=began_at,
            gone=tuple(sorted(self.gone)),
            present=tuple(sorted(present)),
            undecided=tuple(sorted(set(self.missing) - self.gone - present)),
            request_id=self.request_id,
        )
