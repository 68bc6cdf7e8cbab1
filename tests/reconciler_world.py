"""A small world around the reconciler's machine: both sides, their watchers and the writer, as far as contracts go.

Events go in and what comes out is played at once. The store holds JSON, as the real one does; a `World` can lose
everything that a step wanted to say, and play the same messages to a machine loaded from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from contactsync.hashing import Hasher
from contactsync.reconciler.core import leaving
from contactsync.reconciler.core.commands import Command
from contactsync.reconciler.core.decided import decided_from_json, decided_to_json
from contactsync.reconciler.core.filter import FilterRecord, filter_from_json, filter_to_json
from contactsync.reconciler.core.link import (
    Arrival,
    Link,
    arrival_from_json,
    arrival_to_json,
    link_from_json,
    link_to_json,
)
from contactsync.reconciler.core.machine import Event, Machine
from contactsync.reconciler.core.outbox import Outbox, Outgoing
from contactsync.reconciler.core.policy import Policy
from contactsync.reconciler.core.step import Step
from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.markers import person_of
from contactsync_contracts.messages import (
    PEOPLE_MAX,
    ArrivalMatches,
    Candidate,
    ContactCandidates,
    Enable,
    FilterState,
    GoogleCandidates,
    GoogleCaughtUp,
    GoogleGone,
    GoogleListed,
    GoogleMutation,
    GoogleObserved,
    GooglePerson,
    Kept,
    LabelObserved,
    LabelSettled,
    LookGoogle,
    LookPlanfix,
    MatchQuery,
    Model,
    Mutate,
    NewContactDefaults,
    Outcome,
    Pause,
    PlanfixConfirmed,
    PlanfixContact,
    PlanfixListed,
    PlanfixMatched,
    PlanfixMutation,
    PlanfixObserved,
    Settled,
    SettledItem,
    Stamp,
    SyncRequest,
)

FILTER = "f1"
ACCOUNT = "acc"
LABEL = "contactGroups/ours"
HASHER = Hasher(b"a key for tests")
LAST = "\U0010ffff"


def person_fields(given: str = "Ann", family: str = "Lee", email: str = "", **more: Any) -> Contact:
    emails = (Element(email, email),) if email else ()
    return {"given": given, "family": family, "emails": emails, "phones": (), "notes": "", **more}


def phones(*numbers: str) -> tuple[Element, ...]:
    return tuple(Element(number, number, "mobile") for number in numbers)


@dataclass
class Person:
    resource: str
    fields: Contact
    labels: set[str] = field(default_factory=set)
    stamps: list[Stamp] = field(default_factory=list)
    previous: tuple[str, ...] = ()
    updated_at: float = 0.0
    etag: str = ""


@dataclass
class World:
    """`restarts`: a new machine for every delivery. `crashes`: what a step says is lost once; the same events are
    then delivered to a new machine."""

    restarts: bool = False
    crashes: bool = False
    google_server: Callable[[Contact], Contact] = lambda fields: fields
    planfix: dict[int, Contact] = field(default_factory=dict)
    members: set[int] = field(default_factory=set)
    people: dict[str, Person] = field(default_factory=dict)
    label: bool = False
    label_name: str = LABEL
    refuse: dict[int, str] = field(default_factory=dict)
    read_only: set[int] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    backwards: bool = False
    """Whether Planfix lists the highest numbers first."""
    crowd: int = 0
    """People in the account besides those in `people`."""
    now: float = 1000.0
    on_step: Callable[[Step], None] = lambda step: None
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.machine = Machine(None, [], [], HASHER, self.policy)
        self.refused: dict[str, str] = {}
        self.epoch = 1
        self.outbox = Outbox(HASHER, NewContactDefaults(), self.epoch)
        self.outgoing: list[Outgoing] = []
        self.seen: list[Event] = []
        self.events: list[Model] = []
        self.mutations: dict[str, list[tuple[int, bytes]]] = {}
        self.writes: list[str] = []
        self.identity: dict[int, tuple[str, Kept]] = {}
        self.settled: dict[tuple[str, int], tuple[int, Outcome, str]] = {}
        self.markers: dict[str, int] = {}
        self.forgotten: list[str] = []
        self.label_found = False
        self._serial = 0

    # ---- the store

    def load(self) -> Machine:
        raw = self.stored.get("record")
        links, arrivals, decided = [], [], []
        for key, value in self.stored.items():
            if key.startswith("link."):
                links.append(link_from_json(orjson.loads(value)))
            elif key.startswith("arrival."):
                arrivals.append(arrival_from_json(orjson.loads(value)))
            elif key.startswith("decided."):
                decided.append(decided_from_json(orjson.loads(value)))
        record = filter_from_json(orjson.loads(raw)) if raw else None
        return Machine(record, links, arrivals, HASHER, self.policy, decided)

    def link(self, contact: int) -> Link | None:
        raw = self.stored.get(f"link.{contact}")
        return link_from_json(orjson.loads(raw)) if raw else None

    @property
    def links(self) -> dict[int, Link]:
        found = [link_from_json(orjson.loads(v)) for k, v in self.stored.items() if k.startswith("link.")]
        return {link.contact: link for link in found}

    @property
    def arrivals(self) -> list[Arrival]:
        return [arrival_from_json(orjson.loads(v)) for k, v in self.stored.items() if k.startswith("arrival.")]

    @property
    def record(self) -> FilterRecord:
        return filter_from_json(orjson.loads(self.stored["record"]))

    def state(self) -> FilterState:
        return self.record.state

    @property
    def history(self) -> list[tuple[int, int, dict[str, Any]]]:
        """What is told of contacts: contact, number, entry; each once."""
        names = [key.split(".")[1:] for key in self.stored if key.startswith("history.")]
        found = sorted((int(contact), int(number)) for contact, number in names)
        return [(c, n, orjson.loads(self.stored[f"history.{c}.{n}"])) for c, n in found]

    def entries(self, *names: tuple[int, int]) -> dict[tuple[int, int], dict[str, Any]]:
        stored = {name: self.stored.get(f"history.{name[0]}.{name[1]}") for name in names}
        return {name: orjson.loads(value) for name, value in stored.items() if value is not None}

    def told(self, contact: int) -> list[str]:
        """Side, operation and fields of each entry of this contact, in order."""
        return [
            " ".join((entry["side"], entry["operation"], *sorted(entry.get("fields", ()))))
            for number, _, entry in self.history
            if number == contact
        ]

    def _commit(self, step: Step) -> None:
        for contact, number, entry in step.history:
            self._store(f"history.{contact}.{number}", entry)
        for contact, link in step.links.items():
            self._store(f"link.{contact}", None if link is None else link_to_json(link))
        for source_id, arrival in step.arrivals.items():
            self._store(f"arrival.{source_id}", None if arrival is None else arrival_to_json(arrival))
        for contact, one in step.decided.items():
            self._store(f"decided.{contact}", None if one is None else decided_to_json(one))
        if step.record_changed and step.record is not None:
            self._store("record", filter_to_json(step.record))

    def _store(self, key: str, value: dict[str, Any] | None) -> None:
        if value is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = orjson.dumps(value)

    # ---- the actor

    def restart(self) -> None:
        self.machine = self.load()
        self.epoch += 1
        self.outbox = Outbox(HASHER, NewContactDefaults(), self.epoch)

    def deliver(self, *events: Event) -> list[Outgoing]:
        """One step for these events; what it says waits in `outgoing`."""
        self.seen.extend(events)
        if self.restarts or self.crashes:
            self.restart()
        said = self._step(events)
        if self.crashes:
            self.restart()
            said = self._step(events)
        waiting = [_content(out) for out in self.outgoing]
        self.outgoing.extend(out for out in said if _content(out) not in waiting)
        return said

    def _step(self, events: Iterable[Event]) -> list[Outgoing]:
        self.now += 1
        machine = self.machine
        for event in events:
            request = getattr(event, "request_id", "")
            machine.load(self._read(machine.needs(event)))
            recalled = machine.recalls(event)
            machine.recall(self.entries(recalled) if recalled is not None else {})
            if not (f"request.{request}" in self.stored and isinstance(event, Command)):
                machine.handle(event, self.now)
        overdue = machine.overdue(self.now)
        machine.load(self._read(overdue))
        machine.ask_again(overdue, self.now)
        said = self._finish(machine)
        while (undo := machine.undo) is not None:
            names = [(c, n) for c, n, entry in self.history if entry["run"] == undo.run and c > undo.after]
            chunk = sorted({c for c, _ in names})[:2]
            machine.load(self._read(chunk))
            part = self.entries(*(name for name in names if name[0] in chunk))
            machine.take_back(part, self.now, last=len({c for c, _ in names}) == len(chunk))
            said += self._finish(machine)
        while due := machine.due(3):
            machine.load(self._read(due))
            machine.touch(due)
            said += self._finish(machine)
        if machine.erasing:
            said += self._erase()
        return said

    def _erase(self) -> list[Outgoing]:
        """As the actor does; the history moves along to another account."""
        record = self.record
        following = leaving.successor(record, self.now)
        for key in list(self.stored):
            stays = key.startswith("history.") and following is not None
            if key != "record" and not stays and leaving.outlives(record, key) == "no":
                del self.stored[key]
        self._store("record", filter_to_json(following) if following is not None else None)
        self.machine = self.load()
        return self._finish(self.machine) if following is not None else []

    def _read(self, contacts: Iterable[int]) -> list[Link]:
        return [link for contact in contacts if (link := self.link(contact)) is not None]

    def _finish(self, machine: Machine) -> list[Outgoing]:
        step = machine.finish(self.now)
        self._commit(step)
        self.on_step(step)
        self.refused |= {request: reason for request, reason in step.requests.items() if reason}
        for request in step.requests:
            self._store(f"request.{request}", {})
        self.events.extend(step.events)
        return [
            out for out in self.outbox.messages(step) if isinstance(out.message, Mutate | LookGoogle | LookPlanfix)
        ]

    # ---- the others

    def run(self, *events: Event, most: int = 400) -> None:
        """Deliver, then play everything that is said until all is quiet."""
        if events:
            self.deliver(*events)
        while self.outgoing:
            most -= 1
            assert most, f"it does not come to rest: {[type(o.message).__name__ for o in self.outgoing]}"
            self.now += 1
            for answer in self.answers(self.outgoing.pop(0).message):
                self.deliver(answer)

    def answers(self, message: Model) -> list[Event]:
        match message:
            case Mutate():
                return list(self._mutate(message))
            case LookGoogle() if message.what not in self.silent:
                return list(self._look_google(message))
            case LookPlanfix() if message.what not in self.silent:
                return list(self._look_planfix(message))
            case _:
                return []

    def enable(self) -> None:
        self.run(
            Enable(
                request_id="enable",
                filter_id=FILTER,
                filter_name="Clients",
                owner=7,
                account=ACCOUNT,
                google_email="a@x",
            )
        )

    def sync(self) -> None:
        self._serial += 1
        self.run(SyncRequest(request_id=f"sync{self._serial}", filter_id=FILTER))

    def pause(self) -> Pause:
        self._serial += 1
        return Pause(request_id=f"pause{self._serial}", filter_id=FILTER)

    # ---- people's hands

    def contact(self, number: int, **fields: Any) -> None:
        """Made or changed in Planfix; not yet observed."""
        self.planfix[number] = {**(self.planfix.get(number) or person_fields()), **fields}
        self.members.add(number)

    def person(self, resource: str, fields: Contact | None = None, *, label: bool = False, **changes: Any) -> Person:
        """Made or changed in Google; not yet observed."""
        self.now += 1
        person = self.people.get(resource)
        if person is None:
            person = self.people[resource] = Person(resource, fields or person_fields())
        person.fields = {**person.fields, **changes}
        if label:
            person.labels.add(self.label_name)
        return self._touch(person)

    def unlabel(self, resource: str) -> None:
        self.now += 1
        self._touch(self.people[resource]).labels.discard(self.label_name)

    def delete_label(self) -> None:
        """People stay, without it; who makes it again gets another one."""
        for person in self.people.values():
            person.labels.discard(self.label_name)
        self._serial += 1
        self.label, self.label_name = False, f"{LABEL}{self._serial}"

    def person_of(self, contact: int) -> Person:
        link = self.link(contact)
        assert link is not None
        assert link.resource is not None
        return self.people[link.resource]

    def _touch(self, person: Person) -> Person:
        self._serial += 1
        person.updated_at, person.etag = self.now, f"e{self._serial}"
        return person

    # ---- what watchers say

    def saw_planfix(self, *contacts: int, member: bool | None = None, at: float | None = None) -> PlanfixObserved:
        seen = tuple(self._contact(c) for c in contacts)
        return PlanfixObserved(filter_id=FILTER, seen_at=at or self.now, member=member, contacts=seen)

    def _contact(self, number: int) -> PlanfixContact:
        marker = next((marker for marker, made in self.markers.items() if made == number), "")
        return PlanfixContact(contact=number, fields=self.planfix[number], made_from=person_of(marker))

    def saw_google(self, *resources: str, request_id: str = "") -> GoogleObserved:
        people = tuple(self._shown(self.people[resource]) for resource in resources)
        return GoogleObserved(
            filter_id=FILTER, account=ACCOUNT, seen_at=self.now, people=people, request_id=request_id
        )

    def saw_gone(self, *resources: str) -> GoogleGone:
        return GoogleGone(filter_id=FILTER, account=ACCOUNT, seen_at=self.now, resources=resources)

    def _shown(self, person: Person) -> GooglePerson:
        return GooglePerson(
            resource=person.resource,
            source_id=person.resource.removeprefix("people/"),
            etag=person.etag,
            updated_at=person.updated_at,
            fields=dict(person.fields),
            raw={"etag": person.etag},
            labels=tuple(sorted(person.labels)),
            stamps=tuple(person.stamps),
            previous=person.previous,
        )

    def _ours(self) -> list[Person]:
        return [p for p in self.people.values() if self.label_name in p.labels or p.stamps]

    def _look_google(self, look: LookGoogle) -> Iterable[Event]:
        if look.what in ("listing", "changes"):
            ours = sorted(p.resource for p in self._ours())
            for start in range(0, len(ours), 2):
                yield self.saw_google(*ours[start : start + 2])
            yield GoogleListed(
                filter_id=FILTER,
                account=ACCOUNT,
                began_at=self.now,
                low="",
                high=LAST,
                resources=tuple(ours),
                people_total=len(self.people) + self.crowd,
                last=True,
                request_id=look.request_id if look.what == "listing" else "",
            )
            if look.what == "changes":
                yield GoogleCaughtUp(filter_id=FILTER, account=ACCOUNT, seen_at=self.now, request_id=look.request_id)
        elif look.what == "people":
            there = [r for r in look.resources if r in self.people]
            if there:
                yield self.saw_google(*there, request_id=look.request_id)
            if gone := [r for r in look.resources if r not in self.people]:
                yield self.saw_gone(*gone)
        elif look.what == "label":
            yield LabelObserved(
                filter_id=FILTER,
                account=ACCOUNT,
                seen_at=self.now,
                label=look.label or "",
                exists=self.label and look.label == self.label_name,
                members=sum(self.label_name in p.labels for p in self.people.values()),
            )
        else:
            answers = tuple(
                ContactCandidates(
                    contact=query.contact,
                    candidates=tuple(self._candidates(query)),
                )
                for query in look.match
            )
            yield GoogleCandidates(filter_id=FILTER, account=ACCOUNT, seen_at=self.now, answers=answers)

    def _candidates(self, query: MatchQuery) -> Iterable[Candidate]:
        contact, emails, numbers = query.contact, {*query.emails}, {*query.phones}
        for person in self.people.values():
            names = HASHER.names(str(person.fields["given"]), str(person.fields["family"]))
            how = {"given": names[0], "given_initial": names[1], "given_is_initial": names[2], "family": names[3]}
            if any(stamp.contact == contact for stamp in person.stamps):
                yield Candidate.model_validate({"resource": person.resource, "by": "stamp", **how})
            elif not person.stamps and person.resource.removeprefix("people/") == query.source:
                yield Candidate.model_validate({"resource": person.resource, "by": "source", **how})
            elif not person.stamps and emails & {HASHER.email(key) for key in keys(person.fields, "emails")}:
                yield Candidate.model_validate({"resource": person.resource, "by": "email", **how})
            elif not person.stamps and numbers & {HASHER.phone(key) for key in keys(person.fields, "phones")}:
                yield Candidate.model_validate({"resource": person.resource, "by": "phone", **how})

    def _look_planfix(self, look: LookPlanfix) -> Iterable[Event]:
        if look.what == "listing":
            members = sorted(self.members)
            many = look.probe is not None and len(members) > look.probe
            members.sort(reverse=self.backwards)
            for start in range(0, len(members), 2):
                page = self.saw_planfix(*members[start : start + 2], member=True)
                yield page.model_copy(update={"total_hint": (look.probe or 0) + 1}) if many else page
            yield PlanfixListed(
                filter_id=FILTER,
                began_at=self.now,
                low=1,
                high=10**9,
                members=tuple(members),
                last=True,
                request_id=look.request_id,
            )
        elif look.what == "contacts":
            self.now = max(self.now, look.not_before)
            if inside := [c for c in look.contacts if c in self.members]:
                yield self.saw_planfix(*inside, member=True)
            if outside := [c for c in look.contacts if c in self.planfix and c not in self.members]:
                yield self.saw_planfix(*outside)
        elif look.what == "confirm":
            # Without a known member only what is not in Planfix at all has surely left.
            away = [c for c in look.contacts if c not in self.members]
            gone = tuple(c for c in away if look.known or c not in self.planfix)
            yield PlanfixConfirmed(
                filter_id=FILTER,
                seen_at=self.now,
                gone=gone,
                present=tuple(c for c in look.contacts if c in self.members),
                undecided=tuple(c for c in away if c not in gone),
                request_id=look.request_id,
            )
        else:
            answers = []
            for query in look.match:
                asked = {*query.emails, *query.phones}
                found = tuple(
                    PlanfixContact(contact=number, fields=fields)
                    for number, fields in self.planfix.items()
                    if asked & {*keys(fields, "emails"), *keys(fields, "phones")} or number in query.contacts
                )
                answers.append(ArrivalMatches(arrival=query.arrival, contacts=found))
            yield PlanfixMatched(filter_id=FILTER, seen_at=self.now, answers=tuple(answers))

    # ---- the writer

    def _mutate(self, message: Mutate) -> Iterable[Event]:
        items: list[SettledItem] = []
        both: tuple[GoogleMutation | PlanfixMutation, ...] = (*message.google, *message.planfix)
        for one in both:
            copies = self.mutations.setdefault(one.mutation_id, [])
            copies.append((one.revision, one.model_dump_json().encode()))
        label = None
        if message.forget is not None:
            self.forgotten.append(message.target)
            if message.target == ACCOUNT:
                self.identity.clear()
                self.settled = {key: value for key, value in self.settled.items() if key[0] != "google"}
            yield Settled(
                filter_id=FILTER,
                target=message.target,
                answered_at=self.now,
                forgotten=message.forget.mutation_id,
            )
            return
        if message.label is not None:
            found = self.label_found and not self.label
            self.label = True
            label = LabelSettled(
                mutation_id=message.label.mutation_id,
                outcome=Outcome.DONE,
                label=self.label_name,
                name=message.label.name,
                reused=found,
                found=found,
            )
        for google in message.google:
            items.append(self._once("google", google.contact, google, self._write_google))
        for planfix in message.planfix:
            if planfix.op == "create":
                items.append(self._create(planfix))
            else:
                items.append(self._once("planfix", planfix.contact or 0, planfix, self._write_planfix))
        if items or label is not None:  # else it was but a word, which has no answer
            at = self.now
            yield Settled(filter_id=FILTER, target=message.target, answered_at=at, items=tuple(items), label=label)

    def _once(self, side: str, contact: int, one: Any, write: Callable[[Any], SettledItem]) -> SettledItem:
        revision, outcome, mark = self.settled.get((side, contact), (0, Outcome.DONE, ""))
        if one.revision == revision and mark == mark_of(one):
            return _item(one, outcome)
        if one.revision <= revision:
            return self._behind(side, one, revision)
        item = write(one)
        self.settled[side, contact] = one.revision, item.outcome, mark_of(one)
        return item

    def _behind(self, side: str, one: Any, latest: int) -> SettledItem:
        """As the writer answers an older state (`writer/witness.py`)."""
        known = self.identity.get(one.contact)
        if side == "planfix" or known is None or one.op in ("remove", "release"):
            return _item(one, Outcome.STALE, latest=latest)
        person = self.people.get(known[0])
        off = person is not None and self.label and self.label_name not in person.labels
        shown = self._shown(person) if person is not None else None
        outcome = Outcome.GONE if person is None or off else Outcome.STALE
        return _item(one, outcome, latest=latest, person=shown, kept=known[1])

    def _write_google(self, one: GoogleMutation) -> SettledItem:
        if one.op == "release":
            return _item(one, Outcome.DONE)
        if one.contact in self.refuse:
            return _item(one, Outcome.REFUSED, reason=self.refuse[one.contact])
        known, kept = self.identity.get(one.contact, (one.resource, None))
        if one.resource and known != one.resource:
            kept = None
        resource = one.resource or known
        person = self.people.get(resource or "")
        if one.op == "ensure" and person is None:
            if len(self.people) + self.crowd >= PEOPLE_MAX:
                return _item(one, Outcome.FULL)
            self._serial += 1
            person = self.people[f"people/n{self._serial}"] = Person(f"people/n{self._serial}", {})
            kept = Kept.OURS
        if person is None:
            self.identity.pop(one.contact, None)
            return _item(one, Outcome.GONE)
        if one.op != "ensure" and one.etag is not None and one.etag != person.etag:
            return _item(one, Outcome.STALE, person=self._shown(person))
        as_wanted = one.op == "update" and not one.fields and self.label_name in person.labels
        if as_wanted and {stamp.contact for stamp in person.stamps} == {one.contact} and one.raw is not None:
            return _item(one, Outcome.DONE, kept=kept)  # no request is made for that
        self.now += 1
        self.writes.append(f"google {one.op} {one.contact}")
        self._touch(person)
        if one.op == "remove":
            person.labels.discard(self.label_name)
            ours = kept is Kept.OURS
            self.identity.pop(one.contact, None)
            if ours:
                del self.people[person.resource]
            return _item(one, Outcome.DONE, removed=ours, person=None)
        person.fields = {**person.fields, **self.google_server(one.fields)}
        person.labels.add(self.label_name)
        stamp = next((stamp for stamp in person.stamps if stamp.contact == one.contact), None)
        if kept is None:
            kept = stamp.kept if stamp is not None and one.op != "adopt" else Kept.ADOPTED
        person.stamps = [Stamp(contact=one.contact, kept=kept)]
        self.identity[one.contact] = person.resource, kept
        return _item(one, Outcome.DONE, person=self._shown(person), kept=kept)

    def _write_planfix(self, one: PlanfixMutation) -> SettledItem:
        number = one.contact or 0
        if number not in self.planfix:
            return _item(one, Outcome.GONE)
        if number in self.read_only:
            return _item(one, Outcome.READ_ONLY)
        now = self.planfix[number]
        if any(now.get(name) != value for name, value in one.expected.items()):
            return _item(one, Outcome.STALE, planfix=PlanfixContact(contact=number, fields=now))
        self.writes.append(f"planfix update {number}")
        taken = {n: v for n, v in one.fields.items() if not (n == "given" and v == "")}
        refused = {n: "A name is needed." for n in one.fields if n not in taken}
        self.planfix[number] = {**now, **taken}
        shown = PlanfixContact(contact=number, fields=self.planfix[number])
        return _item(one, Outcome.DONE, planfix=shown, refused=refused)

    def _create(self, one: PlanfixMutation) -> SettledItem:
        number = self.markers.get(one.marker)
        if number is None:
            number = self.markers[one.marker] = max([100, *self.planfix]) + 1
            self.writes.append(f"planfix create {number}")
            self.planfix[number] = {**person_fields("", ""), **one.fields}
            self.members.add(number)
        shown = PlanfixContact(contact=number, fields=self.planfix[number])
        return _item(one, Outcome.DONE, contact=number, planfix=shown)

    # ---- what must hold

    def summary(self) -> dict[str, Any]:
        """What both sides and the filter have come to, without times and etags."""
        return {
            "planfix": self.planfix,
            "people": {p.resource: (p.fields, sorted(p.labels)) for p in self.people.values()},
            "links": {
                c: (link.resource, link.dismissed, link.merged_into, link.hold, link.open, link.due)
                for c, link in self.links.items()
            },
            "arrivals": sorted((a.source_id, a.stage, a.reason) for a in self.arrivals),
            "state": self.record.state.value,
        }


def _content(out: Outgoing) -> Model:
    """A message without who sends it: what is said again after a restart may still wait from before."""
    return out.message.model_copy(update={"epoch": 0})


def in_mode(mode: str, **more: Any) -> World:
    """`mode`: steady, restarts, crashes."""
    return World(restarts=mode == "restarts", crashes=mode == "crashes", **more)


def mark_of(one: GoogleMutation | PlanfixMutation) -> str:
    return one.model_dump_json(include={"op", "fields", "contact"})


def keys(fields: Contact, name: str) -> set[str]:
    return {e.key for e in fields.get(name, ()) if isinstance(e, Element)}


def _item(one: Any, outcome: Outcome, **more: Any) -> SettledItem:
    values = {"contact": one.contact, "arrival": getattr(one, "arrival", None), **more}
    return SettledItem(mutation_id=one.mutation_id, revision=one.revision, outcome=outcome, **values)
