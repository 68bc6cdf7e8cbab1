"""What one contact's united wishes come to as a write: over which version of the person, with which labels and stamp.

No requests are made here: `google_target.py` reads what has to be read and sends what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from contactsync.google.mapping import MY_CONTACTS, MappingConfig, PersonWrite, build_create, build_update
from contactsync.google.port import Json
from contactsync.google.reading import is_ours, parse_stamp, source_id_of, stamps_of
from contactsync.writer.account import Account
from contactsync.writer.google_creates import New
from contactsync.writer.google_updates import Update
from contactsync.writer.google_work import Verdict, Version, Work, version
from contactsync.writer.identity import Ask
from contactsync_contracts.messages import GooglePerson, Kept, Outcome, Stamp

NOT_THE_HUMANS: Final = frozenset(
    {MY_CONTACTS, "contactGroups/all", "contactGroups/chatBuddies", "contactGroups/blocked"}
)
"""System groups that say nothing about a person's worth to the human; `starred` does."""


class Writes:
    """Of one account; `account` tells the filters' labels."""

    def __init__(self, account: Account, config: MappingConfig) -> None:
        self._account, self._config = account, config

    def label(self, filter_id: str) -> str:
        """The label's resource name, empty while there is none."""
        record = self._account.labels.get(filter_id)
        return record.resource if record is not None else ""

    def labels_on(self, work: Work) -> tuple[str, ...]:
        return tuple(label for f in work.united.wanted if (label := self.label(f)))

    def new(self, work: Work) -> New:
        """The person to be created."""
        labels = self.labels_on(work)
        body = build_create(
            work.fields,
            is_company=any(ask.mutation.is_company for ask in work.united.asks),
            labels=labels,
            stamp=Stamp(contact=work.contact, kept=Kept.OURS),
            config=self._config,
        )
        return New(work.contact, body, labels)

    def base(self, work: Work) -> Version | None:
        """A version to write over without reading: the mutation's own, or what we remember where only labels move."""
        known, resource, writes = work.current, work.resource, work.united.writes
        if not work.united.wanted and known.kept is not Kept.ADOPTED:
            return None
        if writes is None or not writes.mutation.fields:
            mutations = [ask.mutation for ask in work.united.asks]
            if any(one.op == "update" and one.raw is None for one in mutations):
                return None  # a renewal: what is there now counts, whatever we remember
            newer = any(
                one.raw is not None and one.etag and not (one.resource == resource and known.knows(one.etag))
                for one in mutations
            )
            if known.resource and known.memberships and not newer:
                return Version(known.lay_over({}), known.etag, resource, known.source_id)
            asks: Iterable[Ask] = work.united.asks
        else:
            asks = (writes,)
        for ask in asks:
            mutation = ask.mutation
            if mutation.raw is None or not mutation.etag or mutation.resource != resource:
                continue
            if known.knows(mutation.etag):
                return Version(known.lay_over(mutation.raw), known.etag, resource, known.source_id)
            source_id = known.source_id or source_id_of(resource)
            if source_id:
                return Version(mutation.raw, mutation.etag, resource, source_id)
        return None

    def kept(self, work: Work, person: GooglePerson | None) -> Kept:
        """Ours or adopted: a wish to adopt (the link may have moved to somebody else's person), else what the
        identity map says, else a stamp; a stranger is adopted."""
        if any(ask.mutation.op == "adopt" for ask in work.united.asks):
            return Kept.ADOPTED
        if work.current.kept is not None:
            return work.current.kept
        raws = [ask.mutation.raw for ask in work.united.asks if ask.mutation.raw is not None]
        stamps = person.stamps if person is not None else ()
        for stamp in (*stamps, *(s for raw in raws for s in stamps_of(raw, self._config.planfix_account))):
            if stamp.contact == work.contact:
                return stamp.kept
        return Kept.ADOPTED

    def outdated(self, work: Work, person: GooglePerson) -> Verdict | None:
        """The last filter leaves, and the person is not what its mutation was decided on: that edit comes first."""
        if work.united.wanted:
            return None
        decided = {ask.mutation.etag for ask in work.united.asks if ask.mutation.etag}
        if not decided or person.etag in decided or work.current.knows(person.etag):
            return None
        return Verdict(Outcome.STALE, person=person, reason="edited in Google meanwhile")

    def overwrites(self, work: Work, person: GooglePerson, write: PersonWrite) -> bool:
        """Whether fields would go over a version that no merge has seen."""
        if set(write.mask) <= {"memberships", "clientData"}:
            return False
        writes = work.united.writes
        decided = writes.mutation.etag if writes is not None else None
        return person.etag != decided and not work.current.knows(person.etag)

    def deletable(self, work: Work, person: GooglePerson, kept: Kept) -> bool:
        """Ours, nobody else's by stamp, and without a label of the human's own."""
        own = {self.label(filter_id) for filter_id in work.united.leaving}
        others = [stamp for stamp in person.stamps if stamp.contact != work.contact]
        return kept is Kept.OURS and not others and not set(person.labels) - own - NOT_THE_HUMANS

    def lay(self, work: Work, base: Version, kept: Kept) -> PersonWrite:
        """Fields, labels and stamp over this version; an adopted person that is let go loses our stamp alone."""
        united = work.united
        on = self.labels_on(work)
        off = [label for f in united.leaving if (label := self.label(f)) and label not in on]
        raw = base.raw
        if not united.wanted and kept is Kept.ADOPTED:
            raw = {**raw, "clientData": self._foreign(raw)}
        elif not united.wanted and any(s.contact != work.contact for s in self._stamps(raw)):
            raw = {**raw, "clientData": self._foreign(raw, work.contact)}  # people were merged: it is another's now
        write = build_update(
            raw,
            base.etag,
            base.resource,
            base.source_id,
            work.fields,
            labels_on=on,
            labels_off=off,
            stamp=Stamp(contact=work.contact, kept=kept) if united.wanted else None,
            is_company=any(ask.mutation.is_company for ask in united.asks),
            config=self._config,
        )
        if raw is not base.raw and raw["clientData"] != list(base.raw.get("clientData") or ()):
            mask = tuple(sorted({*write.mask, "clientData"}))
            write = replace(write, mask=mask, body={**write.body, "clientData": raw["clientData"]})
        return write

    def _stamps(self, raw: Mapping[str, object]) -> tuple[Stamp, ...]:
        return stamps_of(raw, self._config.planfix_account)

    def _foreign(self, raw: Mapping[str, object], contact: int | None = None) -> list[Json]:
        """Client data without our stamps, or without this contact's alone."""
        entries = raw.get("clientData")
        account = self._config.planfix_account
        found = []
        for entry in entries if isinstance(entries, list) else []:
            stamp = parse_stamp(entry, account)
            ours = is_ours(entry, account) if contact is None else stamp is not None and stamp.contact == contact
            if not ours:
                found.append(entry)
        return found

    def update(self, work: Work, base: Version, write: PersonWrite, kept: Kept) -> Update:
        """The request, with how to lay it over a newer version."""
        return Update(
            contact=work.contact,
            resource=base.resource,
            base_etag=base.etag,
            write=write,
            labels=self.labels_on(work),
            again=lambda person: self.lay(work, version(person), kept),
            fields=work.fields,
        )
