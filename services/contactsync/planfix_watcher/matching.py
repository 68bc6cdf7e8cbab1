"""Planfix contacts that share an address with people put under a label (2-semantics 2.2). Pure; one more `work`.

They are looked for account-wide, so that nothing is created twice, but shown only as far as the filter's owner sees
them: one that he does not see is told as *invisible* and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contactsync.planfix.port import ContactPage, Query
from contactsync.planfix_watcher.work import NUMBERS_MAX, Ask, came
from contactsync_contracts.messages import ArrivalMatches, Model, PersonQuery, PlanfixContact, PlanfixMatched


@dataclass(slots=True)
class Matching:
    """owner: None when nobody knows whose filter it is; then nothing is visible."""

    filter_id: str
    owner: int | None
    request_id: str
    people: Sequence[PersonQuery]
    found: dict[str, set[int]] = field(default_factory=dict)
    visible: dict[int, PlanfixContact] = field(default_factory=dict)
    place: int = 0
    searches: list[tuple[str, Query]] = field(init=False)
    shows: list[Query] | None = None
    answered: bool = False

    def __post_init__(self) -> None:
        self.found = {person.arrival: set(person.contacts) for person in self.people}
        self.searches = [(person.arrival, query) for person in self.people for query in _searches(person)]

    @property
    def done(self) -> bool:
        return self.answered

    def ask(self) -> Ask | None:
        if self.place < len(self.searches):
            return Ask(self.searches[self.place][1])
        shows = self._shows()
        return Ask(shows[self.place - len(self.searches)]) if shows else None

    def take(self, page: ContactPage, began_at: float) -> list[Model]:
        if self.place < len(self.searches):
            self.found.setdefault(self.searches[self.place][0], set()).update(came(page))
        elif self._shows():
            self.visible |= {contact.contact: contact for contact in page.contacts}
        self.place += 1
        if self.place < len(self.searches) + len(self._shows_if_searched()):
            return []
        self.answered = True
        return [self._answer(part, began_at) for part in self._parts()]

    def _shows_if_searched(self) -> list[Query]:
        return self._shows() if self.place >= len(self.searches) else []

    def _shows(self) -> list[Query]:
        """Once all searches are made: which of the contacts found the owner sees."""
        if self.shows is None:
            numbers = sorted({number for found in self.found.values() for number in found})
            self.shows = [
                Query(visible_to=self.owner, numbers=tuple(numbers[at : at + NUMBERS_MAX]), companies=companies)
                for at in range(0, len(numbers), NUMBERS_MAX)
                for companies in (False, True)
                if self.owner is not None
            ]
        return self.shows

    def _parts(self) -> list[list[ArrivalMatches]]:
        parts: list[list[ArrivalMatches]] = [[]]
        size = 0
        for person in self.people:
            found = sorted(self.found.get(person.arrival, ()))
            contacts = tuple(self.visible[number] for number in found if number in self.visible)
            if parts[-1] and size + len(contacts) + 1 > NUMBERS_MAX:
                parts.append([])
                size = 0
            size += len(contacts) + 1
            invisible = len(contacts) < len(found)
            parts[-1].append(ArrivalMatches(arrival=person.arrival, contacts=contacts, invisible=invisible))
        return parts

    def _answer(self, part: Sequence[ArrivalMatches], began_at: float) -> Model:
        return PlanfixMatched(
            filter_id=self.filter_id, seen_at=began_at, answers=tuple(part), request_id=self.request_id
        )


def _searches(person: PersonQuery) -> list[Query]:
    emails = [Query(email=email, companies=companies) for email in person.emails for companies in (False, True)]
    phones = ["".join(char for char in phone if char.isdigit()) for phone in person.phones]
    return emails + [Query(phone=phone) for phone in phones if phone]
