"""A case of the simulation as plain data: the steps that hypothesis draws, and how they are played.

A step is `[word, argument, …]`; whom it concerns is a number taken modulo what is there, and a step that fits
nothing is none. So every list of steps is a story, and any part of it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contactsync_contracts import subjects
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import NewContactDefaults, Undo

from . import quirks as vendor_quirks
from .checks import check
from .mishaps import Saved
from .system import SERVICES
from .vendors import GoogleAccount
from .world import World

Step = Sequence[Any]
FIELDS: Final = ("notes", "family", "position", "address", "birthday")
KINDS: Final = ("mobile", "work", "home", "other")
FAULT_KINDS: Final = ("lost_answer", "reset", "status", "status_after", "delay", "html", "truncate_body")
PAGE_FAULTS: Final = ("short_page", "empty_page")
PATHS: Final = (
    "",
    "people:createContact",
    "batchCreate",
    "updateContact",
    "batchUpdate",
    "deleteContact",
    "contactGroups",
    "connections",
    "people/c|batchGet",
    "/rest/",
    "contact/list",
    r"contact/\d+",
    "contact/$",
    "contact/filters|user/list",
    "/token",
)
LISTS: Final = ("connections", "contact/list", "contactGroups$", "contact/filters", "user/list")
MOMENTS: Final = ("", "commit", "publish", "ack", "POST|PATCH|PUT|DELETE", "GET|list", "cas", "publish .*mutate")
RESTORING_S: Final = 61.0
WAITS: Final = (1.0, 7.0, 31.0, 101.0, 260.0, 650.0)


@dataclass(slots=True)
class Case:
    """A world with one or two filters of one employee, and what has been done to it."""

    world: World
    account: GoogleAccount
    owner: int
    filters: list[str]
    group: int
    serial: int = 0
    cut: bool = False
    """A list in Google silently lost its end, or what we knew of it is lost: only a complete listing will tell."""
    outside: list[str] = field(default_factory=list)
    """Private people."""
    saved: Saved | None = None
    one_way: set[str] = field(default_factory=set)
    """Filters that somebody switched to one-way, whether that has been carried out yet or not."""

    @property
    def email(self) -> str:
        return self.account.email

    def contact(self, place: int) -> int | None:
        living = [n for n in self.world.planfix.store.contacts if self.world.planfix.store.live(n) is not None]
        return living[place % len(living)] if living else None

    def linked(self, place: int) -> tuple[int, str] | None:
        people = self.world.hands.people_of(self.email)
        # Merged people carry several stamps until the sync has seen them: the lowest contact's they are.
        owners: dict[str, int] = {}
        for contact in sorted(people):
            for resource in people[contact]:
                owners.setdefault(resource, contact)
        pairs = sorted((contact, resource) for resource, contact in owners.items())
        return pairs[place % len(pairs)] if pairs else None

    def filter(self, place: int) -> str:
        return self.filters[place % len(self.filters)]

    def label(self, place: int) -> str:
        label = self.world.label(self.filter(place))
        return label if label and self.world.google.account(self.email).group_exists(label) else ""

    def next(self) -> int:
        self.serial += 1
        return self.serial

    def two_way(self) -> bool:
        """Whether what is typed in Google is to reach Planfix."""
        records = [self.world.record(one) or {} for one in self.filters]
        return not self.one_way and all(record.get("two_way", True) for record in records)


def value_of(case: Case, name: str) -> str:
    number = case.next()
    return (
        f"19{60 + number % 40}-{1 + number % 12:02}-{1 + number % 28:02}"
        if name == "birthday"
        else f"{name} {number}"
    )


# ---- edits


def planfix_set(case: Case, place: int, what: int) -> None:
    if (contact := case.contact(place)) is not None:
        name = FIELDS[what % len(FIELDS)]
        case.world.hands.edit_planfix(case.email, contact, name, value_of(case, name))


def google_set(case: Case, place: int, what: int) -> None:
    if (pair := case.linked(place)) is not None:
        name = FIELDS[what % len(FIELDS)]
        claimed = pair[0] if case.two_way() else 0
        case.world.hands.edit_google(case.email, pair[1], name, value_of(case, name), claimed)


def planfix_clear(case: Case, place: int, what: int) -> None:
    if (contact := case.contact(place)) is not None:
        case.world.hands.edit_planfix(case.email, contact, FIELDS[what % len(FIELDS)], "")


def google_clear(case: Case, place: int, what: int) -> None:
    if (pair := case.linked(place)) is not None:
        claimed = pair[0] if case.two_way() else 0
        case.world.hands.edit_google(case.email, pair[1], FIELDS[what % len(FIELDS)], "", claimed)


def planfix_phones(case: Case, place: int, how: int) -> None:
    if (contact := case.contact(place)) is None:
        return
    now = case.world.hands.in_planfix(contact)
    phones = now.get("phones") if now else None
    if isinstance(phones, tuple):
        case.world.hands.edit_planfix(case.email, contact, "phones", _phones(case, phones, how))


def google_phones(case: Case, place: int, how: int) -> None:
    if (pair := case.linked(place)) is None:
        return
    now = case.world.hands.in_google(case.email, pair[1])
    phones = now.get("phones") if now else None
    if isinstance(phones, tuple):
        claimed = pair[0] if case.two_way() else 0
        case.world.hands.edit_google(case.email, pair[1], "phones", _phones(case, phones, how), claimed)


def _phones(case: Case, phones: tuple[Element, ...], how: int) -> tuple[Element, ...]:
    match how % 5:
        case 1 if phones:
            return phones[1:]
        case 2 if phones:
            return (Element(phones[0].key, phones[0].value, KINDS[case.next() % 4]), *phones[1:])
        case 3:
            return ()
        case 4:
            return tuple(reversed(phones))
        case _:
            number = f"+4915118{case.next():06}"
            return (*phones, Element(number, number, KINDS[how % 4]))


def touch(case: Case, side: int) -> None:
    if side % 2:
        case.world.google.touch_all(case.email)
    else:
        case.world.planfix.touch_all()


# ---- membership


def leave(case: Case, place: int, which: int) -> None:
    if (contact := case.contact(place)) is not None:
        case.world.planfix.remove_from_filter(case.filter(which), contact)


def enter(case: Case, place: int, which: int) -> None:
    if (contact := case.contact(place)) is not None:
        case.world.planfix.put_into_filter(case.filter(which), contact)


def flip(case: Case, how: int) -> None:
    """The first filter's conditions hold for nobody, then for everybody in the group again."""
    group = case.group if how % 2 else 9999
    case.world.planfix.set_filter_condition(case.filters[0], {"kind": "group", "group": group})


def trash(case: Case, place: int) -> None:
    if (contact := case.contact(place)) is not None:
        case.world.hands.trash(contact)


def restore(case: Case, place: int) -> None:
    gone = [n for n, c in case.world.planfix.store.contacts.items() if c.trashed and c.merged_into is None]
    if gone:
        case.world.planfix.restore_contact(gone[place % len(gone)])


def see(case: Case, place: int, on: int) -> None:
    """The owner may not see a contact any more, or may again."""
    if (contact := case.contact(place)) is not None:
        case.world.planfix.set_visible(case.owner, [contact], bool(on % 2))


def may_edit(case: Case, place: int, on: int) -> None:
    if (contact := case.contact(place)) is not None:
        case.world.planfix.set_editable(case.owner, [contact], bool(on % 2))


def new_contact(case: Case, inside: int) -> None:
    number = case.next()
    group = case.group if inside % 2 else 0
    case.world.contact(
        f"New{number}", "Contact", email=f"new{number}@people.test", **({"group": group} if group else {})
    )


def rename_filter(case: Case, which: int) -> None:
    case.world.planfix.rename_filter(case.filter(which), f"Renamed {case.next()}")


# ---- people and labels


def new_person(case: Case, which: int) -> None:
    """Somebody is typed in on the phone under the label."""
    number, label = case.next(), case.label(which)
    person = {
        "names": [{"givenName": f"Typed{number}", "familyName": "Person"}],
        "emailAddresses": [{"value": f"typed{number}@people.test"}],
        "memberships": [
            {"contactGroupMembership": {"contactGroupResourceName": name}}
            for name in ("contactGroups/myContacts", label)
            if name
        ],
    }
    case.world.hands.touched.add(case.world.google.add_person(case.email, person))


def label_private(case: Case, place: int, which: int) -> None:
    owner, label = case.world.google.account(case.email), case.label(which)
    free = [name for name in case.outside if owner.person(name) is not None]
    if free and label:
        name = free[place % len(free)]
        case.world.hands.touched.add(name)
        case.world.google.add_to_label(case.email, name, label)


def unlabel(case: Case, place: int, which: int) -> None:
    pair, label = case.linked(place), case.label(which)
    if pair is not None and label and pair[1] in case.world.google.account(case.email).members[label]:
        case.world.hands.touched.add(pair[1])
        case.world.hands.dismissing.add(pair[0])
        case.world.google.remove_from_label(case.email, pair[1], label)


def relabel(case: Case, place: int, which: int) -> None:
    pair, label = case.linked(place), case.label(which)
    if pair is not None and label:
        case.world.hands.touched.add(pair[1])
        case.world.google.add_to_label(case.email, pair[1], label)


def delete_person(case: Case, place: int) -> None:
    if (pair := case.linked(place)) is not None:
        case.world.hands.delete_person(case.email, pair[1], pair[0])


def undelete_person(case: Case, place: int) -> None:
    trash = list(case.world.google.account(case.email).trash)
    if trash:
        case.world.google.restore_person(case.email, trash[place % len(trash)])


def merge_people(case: Case, one: int, other: int) -> None:
    first, second = case.linked(one), case.linked(other)
    if first is None or second is None or first[1] == second[1]:
        return
    hands = case.world.hands
    for contact, resource in (first, second):
        hands.touched.add(resource)
        hands.dismissing.add(contact)
    for contact, names in hands.people_of(case.email).items():
        if second[1] in names:
            hands.forget(contact, "google")
    case.world.google.merge_people(case.email, first[1], second[1])


def rename_label(case: Case, which: int) -> None:
    if label := case.label(which):
        case.world.google.rename_label(case.email, label, f"Mine {case.next()}")


def delete_label(case: Case, which: int) -> None:
    if label := case.label(which):
        members = list(case.world.google.account(case.email).members[label])
        case.world.hands.touched.update(members)
        case.world.google.delete_label(case.email, label)


def rename_resource(case: Case, place: int) -> None:
    if (pair := case.linked(place)) is not None:
        case.world.google.rename_person_resource(case.email, pair[1])


# ---- commands


def direction(case: Case, which: int, two_way: int) -> None:
    if not two_way % 2:  # what was typed in Google and has not arrived will be restored
        case.world.hands.claims = [claim for claim in case.world.hands.claims if claim.side == "planfix"]
        case.one_way.add(case.filter(which))
    else:
        case.one_way.discard(case.filter(which))
    case.world.two_way(case.filter(which), bool(two_way % 2))


def pause(case: Case, which: int) -> None:
    case.world.pause(case.filter(which))


def resume(case: Case, which: int) -> None:
    case.world.resume(case.filter(which))


def undo(case: Case, place: int) -> None:
    """Somebody takes back an entry of the history, whatever it is."""
    filter_id = case.filter(place)
    prefix = subjects.history_prefix(filter_id)
    names = sorted(key.removeprefix(prefix) for key in case.world.server.values if key.startswith(prefix))
    if names:
        name = names[place % len(names)]
        contact = int(name.split(".")[0])
        case.world.hands.dismissing.add(contact)  # who was created or linked is let go
        case.world.hands.left.add(contact)
        case.world.command(Undo(request_id=case.world.request_id(), filter_id=filter_id, entry=name))


def sync(case: Case, which: int) -> None:
    case.world.sync(case.filter(which))


def revoke(case: Case) -> None:
    case.world.revoke(case.account)


def connect(case: Case) -> None:
    case.world.connect(case.account)


# ---- what goes wrong


def fault(case: Case, kind: int, path: int, times: int, skip: int) -> None:
    name = FAULT_KINDS[kind % len(FAULT_KINDS)]
    status = (500, 502, 503, 504)[skip % 4]
    case.world.fault(
        name,
        PATHS[path % len(PATHS)],
        times=1 + times % 3,
        skip=skip % 5,
        status=status,
        seconds=4.0 + 3 * (skip % 5),
    )


def short(case: Case, kind: int, path: int, keep: int) -> None:
    name = LISTS[path % len(LISTS)]
    case.cut = case.cut or name == "connections"
    case.world.fault(PAGE_FAULTS[kind % 2], name, keep=keep % 3)


def expire(case: Case, what: int) -> None:
    if what % 2:
        case.world.google.expire_sync_tokens(case.email)
    else:
        case.world.google.expire_access_tokens(case.email)


def kill(case: Case, service: int, when: int, what: int, nth: int) -> None:
    name = SERVICES[service % len(SERVICES)]
    moment = ("now", "before", "after")[when % 3]
    case.world.kill(name, moment, MOMENTS[what % len(MOMENTS)], 1 + nth % 6)  # type: ignore[arg-type]


def restart(case: Case, service: int) -> None:
    case.world.restart(SERVICES[service % len(SERVICES)])


def lose(case: Case, service: int, nth: int, acks: int) -> None:
    name = SERVICES[service % len(SERVICES)]
    if acks % 2:
        case.world.lose_acks(name, 1 + nth % 5)
    else:
        case.world.lose_answer(name, nth=1 + nth % 6)


def replay(case: Case, place: int) -> None:
    case.world.replay(place)


def away(case: Case, seconds: int) -> None:
    case.world.nats_away(float(WAITS[seconds % 5]))


def forget(case: Case, what: int) -> None:
    """State is lost while nothing runs, and what the quotas allowed before is past when all is up again."""
    account = f"state.account.{case.account.sub}."
    lost = (
        (f"state.filter.{case.filters[0]}.link.",),
        (f"state.filter.{case.filters[-1]}",),
        (f"{account}person.",),
        (f"{account}label.",),
        (account,),
        ("state.planfix.", f"{account}cursor"),
        ("state.account.", "state.filter.", "state.planfix."),
    )[what % 7]
    case.cut = case.world.hands.state_lost = True
    case.world.stop()
    case.world.run_for(RESTORING_S)
    case.world.lose_state(*lost)
    case.world.start()
    activate(case)


def save(case: Case) -> None:
    case.saved = case.world.copy_state()


def roll_back(case: Case) -> None:
    """The state is restored from a copy."""
    if case.saved is not None:
        case.cut = case.world.hands.state_lost = True
        case.world.stop()
        case.world.run_for(RESTORING_S)
        case.world.roll_back(case.saved)
        case.world.start()
        activate(case)


def activate(case: Case) -> None:
    """Lists that are not known any more are activated anew."""
    for one in case.filters:
        if case.world.record(one) is None:
            case.world.enable(one, case.account, defaults=NewContactDefaults(group=case.group))


def wait(case: Case, seconds: int) -> None:
    case.world.run_for(WAITS[seconds % len(WAITS)])


PLAYED: Final[dict[str, Callable[..., None]]] = {
    play.__name__: play
    for play in (
        planfix_set, google_set, planfix_clear, google_clear, planfix_phones, google_phones, touch,
        leave, enter, flip, trash, restore, see, may_edit, new_contact, rename_filter,
        new_person, label_private, unlabel, relabel, delete_person, undelete_person, merge_people,
        rename_label, delete_label, rename_resource,
        direction, pause, resume, sync, undo, revoke, connect,
        fault, short, expire, kill, restart, lose, replay, away, wait,
        forget, save, roll_back,
    )
}  # fmt: skip


# ---- a case


def begin(contacts: int, filters: int, settled: bool, quirks: Sequence[str] = (), *, trace: bool = False) -> Case:
    """`contacts` in a group, a filter by it and perhaps another one of half of them, private people one of whom is
    a contact's; the sync has just been enabled, or has come to rest."""
    planfix, google = vendor_quirks.options(quirks)
    world = World(planfix=planfix, google=google, trace=trace)
    office = world.office(contacts, go=False)
    private = [
        {
            "names": [{"givenName": "Given2", "familyName": "Family2"}],
            "emailAddresses": [{"value": f"P2.{office.group}@people.test"}],
            "nicknames": [{"value": "two"}],
        },
        {"names": [{"givenName": "Mum"}], "phoneNumbers": [{"value": "+4915119000001"}]},
        {
            "names": [{"givenName": "Friend", "familyName": "Private"}],
            "emailAddresses": [{"value": "f@friends.test"}],
        },
    ]
    people = [world.google.add_person(office.account.email, one) for one in private]
    world.hands.adopted.add(people[0])
    made = [office.filter_id]
    if filters > 1:
        made.append(world.filter("Second", office.owner, contacts=office.contacts[::2]))
    case = Case(world, office.account, office.owner, made, office.group, outside=people[1:])
    world.hands.note_absences()
    world.run_for(60.0)
    for one in made:
        world.enable(one, office.account, defaults=NewContactDefaults(group=office.group))
    if settled:
        world.settle()
    return case


def play(case: Case, steps: Sequence[Step]) -> None:
    for word, *arguments in steps:
        PLAYED[word](case, *arguments)
        case.world.hands.note_absences()


def answer(case: Case) -> bool:
    """Whoever is waited for says yes: to paused and frozen filters and to frozen plans. Whether anything waited."""
    waited = False
    for one in case.filters:
        if case.world.approve(one):
            waited = True
        elif case.world.status(one)["state"] in ("paused", "frozen"):
            case.world.resume(one)
            waited = True
    return waited


def answered(case: Case) -> None:
    case.world.settle()
    for _ in range(5):
        if not answer(case):
            break
        case.world.settle()


def finish(case: Case) -> None:
    """Everything is mended, who has to say something says it, and the invariants hold once it rests."""
    world = case.world
    world.mended()
    world.connect(case.account)
    world.run_for(120.0)
    answered(case)
    if case.cut:
        world.run_for(3700.0)
        for one in case.filters:
            world.sync(one)
        answered(case)
    check(world)


def run_case(
    contacts: int,
    filters: int,
    settled: bool,
    steps: Sequence[Step],
    quirks: Sequence[str] = (),
    *,
    trace: bool = False,
) -> None:
    case = begin(contacts, filters, settled, quirks, trace=trace)
    with case.world:
        play(case, steps)
        finish(case)
