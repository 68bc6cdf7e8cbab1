"""One contact's wishes in one Google account, and what came of them.

Pure. `google_target.py` carries a `Work` out and gets a `Verdict`; `conclude` turns it into the record to keep and
the answer to every filter that asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from contactsync.google.mapping import PersonWrite
from contactsync.google.port import Json
from contactsync.writer.account import AskKey
from contactsync.writer.google_creates import Made, NotMade
from contactsync.writer.identity import Ask, Known, United, Want, known_after, mark_of
from contactsync.writer.refused_fields import held_back
from contactsync_contracts.contact import Contact
from contactsync_contracts.messages import Class, GooglePerson, Kept, Outcome, SettledItem


@dataclass(frozen=True, slots=True)
class Work:
    """One contact with everything that is wanted of it now."""

    contact: int
    known: Known | None
    united: United
    cls: Class

    @property
    def resource(self) -> str:
        writes = self.united.writes
        if writes is not None and writes.mutation.resource:
            return writes.mutation.resource
        if self.known is not None and self.known.resource:
            return self.known.resource
        return next((ask.mutation.resource for ask in self.united.asks if ask.mutation.resource), "")

    @property
    def fields(self) -> Contact:
        writes = self.united.writes
        return writes.mutation.fields if writes is not None else {}

    @property
    def current(self) -> Known:
        """The record, if it is of the person that this is about."""
        if self.known is not None and self.known.resource == self.resource:
            return self.known
        return Known(wants=self.known.wants if self.known is not None else {})


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a person that a write is laid over."""

    raw: Json
    etag: str
    resource: str
    source_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a work. `known`: the record to keep (None: as it was). `removed`: the person is not there, because
    nobody wanted it."""

    outcome: Outcome
    person: GooglePerson | None = None
    known: Known | None = None
    reason: str = ""
    removed: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)


def key_of(ask: Ask) -> AskKey:
    return ask.mutation.contact, ask.filter_id


def version(person: GooglePerson) -> Version:
    return Version(person.raw, person.etag, person.resource, person.source_id)


def forgotten(known: Known | None, name: str) -> Known:
    """The record of a contact whose person is not there by this name any more: nobody wants that one; revisions
    stay."""
    if known is None:
        return Known(vanished=name)
    wants = {f: replace(want, active=False) for f, want in known.wants.items()}
    deleted = known.deleted and not known.resource
    return Known(wants=wants, deleted=deleted, vanished="" if deleted else name)


def deleted_by_us(work: Work) -> Verdict:
    known = replace(forgotten(work.known, ""), deleted=True)
    return Verdict(Outcome.DONE, known=known, removed=True)


def unknown_to_asker(work: Work) -> bool:
    """Whether somebody asks for a person without knowing that there is one."""
    return any(ask.mutation.op == "ensure" and not ask.mutation.resource for ask in work.united.asks)


def under_another_name(work: Work, tried: str) -> Verdict | None:
    """Not there by the name that we know, but a filter has seen the person by another one: that is looked at."""
    if work.known is None or all(ask.mutation.resource in (None, "", tried) for ask in work.united.asks):
        return None
    known = Known(kept=work.known.kept, wants=work.known.wants, vanished=tried)
    return Verdict(Outcome.STALE, known=known, reason="the person has another name now")


def made(work: Work, result: Made | NotMade, without: Mapping[str, str]) -> Verdict:
    """`without`: Google's fields that it refused, with the reason."""
    match result:
        case Made(person):
            known = known_after(Known(wants=work.current.wants), person, ("names",), "", Kept.OURS)
            refused = {n: r for left, why in without.items() for n, r in held_back(left, work.fields, why).items()}
            return Verdict(Outcome.DONE, person, known, refused=refused)
        case NotMade(reason, full):
            return Verdict(Outcome.FULL if full else Outcome.REFUSED, reason=reason)
        case _:
            assert_never(result)


def unwritten(work: Work, person: GooglePerson | None, write: PersonWrite, kept: Kept) -> Verdict:
    """Everything is as wanted already: no request."""
    known = work.current if work.current.resource else None
    if person is not None:
        known = known_after(work.current, person, ("names",), "", kept)
    return Verdict(Outcome.DONE, person, known, refused=write.unwritable)


def conclude(work: Work, verdict: Verdict, now: float = 0.0) -> tuple[Known, list[tuple[Ask, SettledItem]]]:
    """The record after a verdict, and the answer to each ask. A filter that does not merge the fields is told so."""
    before = verdict.known or work.known or Known()
    outcomes: dict[str, Want] = {}
    items: list[tuple[Ask, SettledItem]] = []
    for ask in work.united.asks:
        remove, release = ask.mutation.op == "remove", ask.mutation.op == "release"
        outcome = verdict.outcome
        nobody = remove and not work.resource  # there is no label to take off, whatever came of the others' wish
        if nobody:
            outcome = Outcome.DONE
        earlier = before.wants.get(ask.filter_id)
        if outcome is Outcome.DONE:
            active = earlier is not None and earlier.active if release else not remove
            if not remove and not release and ask.filter_id != work.united.merger:
                outcome = Outcome.LABELLED
        else:
            active = earlier is not None and earlier.active
        done = outcome in (Outcome.DONE, Outcome.LABELLED)
        released = release if done else earlier is not None and earlier.released
        removed = nobody or (verdict.removed and (remove or outcome is Outcome.GONE))
        outcomes[ask.filter_id] = Want(
            ask.since,
            ask.two_way,
            ask.mutation.revision,
            outcome,
            "" if nobody else verdict.reason,
            removed,
            active,
            now if outcome is Outcome.FULL else 0.0,
            mark_of(ask.mutation),
            released,
        )
        writes = work.united.writes is ask
        item = item_of(
            ask,
            outcome,
            person=verdict.person,
            kept=before.kept,
            removed=removed,
            refused=dict(verdict.refused) if writes else {},
            reason="" if nobody else verdict.reason,
        )
        items.append((ask, item))
    return replace(before, wants={**before.wants, **outcomes}), items


def item_of(
    ask: Ask,
    outcome: Outcome,
    *,
    person: GooglePerson | None = None,
    kept: Kept | None = None,
    removed: bool = False,
    refused: dict[str, str] | None = None,
    reason: str = "",
) -> SettledItem:
    return SettledItem(
        contact=ask.mutation.contact,
        mutation_id=ask.mutation.mutation_id,
        revision=ask.mutation.revision,
        outcome=outcome,
        person=person,
        kept=kept,
        removed=removed,
        refused=refused or {},
        reason=reason,
    )
