"""Any order of edits, losses and restarts: both sides come to agree, nothing doubles, and quiet is quiet."""

from __future__ import annotations

import random

import pytest

from contactsync.reconciler.core.machine import Event
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import FilterState, Pause, Resume
from reconciler_world import FILTER, LABEL, World, keys, person_fields, phones

SEEDS = range(60)
PRIVATE = "+9"
"""An adopted person's own number: it stays in Google and does not reach Planfix."""


def email(address: str) -> tuple[Element, ...]:
    return (Element(address, address),)


def play(seed: int, *, restarts: bool = False, crashes: bool = False, replay: bool = True) -> World:
    """Random human edits on both sides; observations are late, repeated, and out of order."""
    rng = random.Random(seed)
    world = World(restarts=restarts, crashes=crashes)
    for number in range(1, 5):
        world.contact(number, given=f"N{number}", emails=email(f"{number}@x"))
    if rng.random() < 0.5:
        world.person("people/c1", person_fields("N1", email="1@x", phones=phones(PRIVATE)))
    world.enable()
    late: list[Event] = []
    for _ in range(rng.randint(3, 12)):
        edit(rng, world, late)
        if late and rng.random() < 0.6:
            rng.shuffle(late)
            world.deliver(*late[: rng.randint(1, len(late))])
            late = late[1:]
        if rng.random() < 0.5:
            some(rng, world)
    world.run(*late)
    if world.record.paused:
        world.run(Resume(request_id="resume", filter_id=FILTER))
    return world


def some(rng: random.Random, world: World) -> None:
    """A few of the messages that wait are played, in any order."""
    for _ in range(rng.randint(0, 3)):
        if world.outgoing:
            message = world.outgoing.pop(rng.randrange(len(world.outgoing))).message
            world.now += 1
            world.deliver(*world.answers(message))


def edit(rng: random.Random, world: World, late: list[Event]) -> None:
    world.now += rng.randint(0, 8)
    people = [r for r, p in world.people.items() if LABEL in p.labels]
    match rng.randrange(10):
        case 0 | 1:
            number = rng.choice(sorted(world.planfix))
            inside = number in world.members
            world.contact(number, notes=rng.choice("abc"), phones=phones(*rng.sample(["+1", "+2", "+3"], 2)))
            if not inside:
                world.members.discard(number)
            late.append(world.saw_planfix(number))
        case 2 | 3 if people:
            resource = rng.choice(people)
            world.person(resource, notes=rng.choice("xyz"), phones=phones(*rng.sample(["+4", "+5", "+6"], 2)))
            late.append(world.saw_google(resource))
        case 4:
            number = rng.choice(sorted(world.planfix))
            if number in world.members:
                world.members.discard(number)
            else:
                world.members.add(number)
                late.append(world.saw_planfix(number, member=True))
        case 5 if people and rng.random() < 0.5:
            resource = rng.choice(people)
            del world.people[resource]
            late.append(world.saw_gone(resource))
        case 6 if stamped := [name for name in people if world.people[name].stamps]:
            resource = rng.choice(stamped)
            world.unlabel(resource)
            late.append(world.saw_google(resource))
        case 7 if taken := [p for p in world.people.values() if p.stamps and LABEL not in p.labels]:
            world.person(rng.choice(taken).resource, label=True)
            late.append(world.saw_google(taken[0].resource))
        case 8:
            pause = Pause if not world.record.paused else Resume
            world.deliver(pause(request_id=f"pause{world.now}", filter_id=FILTER))
        case 9 if people:
            # Two people merged into one by hand; the other's name stays known as an earlier one.
            survivor, other = world.people[rng.choice(people)], world.people[rng.choice(people)]
            if survivor is not other:
                del world.people[other.resource]
                survivor.previous = (*survivor.previous, other.resource, *other.previous)
                survivor.stamps += [stamp for stamp in other.stamps if stamp not in survivor.stamps]
                world.person(survivor.resource)
                late += [world.saw_google(survivor.resource), world.saw_gone(other.resource)]
        case _:
            one = rng.randint(1, 3)
            name = f"people/h{one}"
            if name not in world.people:  # a name is never given twice
                name = f"people/h{one}-{len(world.seen)}"
            world.person(name, person_fields(f"H{one}", email=f"{name}@h"), label=True)
            late.append(world.saw_google(name))


def check(world: World) -> None:
    world.now += 400
    world.sync()
    world.sync()
    if world.record.state is FilterState.FROZEN:
        return  # most labels were taken off at once
    assert world.record.state is FilterState.IN_SYNC
    partners = [link.resource for link in world.links.values() if link.resource and not link.dismissed]
    assert len(partners) == len(set(partners))
    for link in world.links.values():
        assert not link.open
        if link.dismissed or link.merged_into or link.hold:
            continue
        planfix, person = world.planfix[link.contact], world.people[link.resource or ""]
        assert LABEL in person.labels
        for name in ("given", "family", "notes"):
            assert planfix[name] == person.fields[name]
        for name in ("emails", "phones"):
            assert keys(planfix, name) == keys(person.fields, name) - {PRIVATE}
    for number in world.members:
        assert world.link(number) is not None
    labelled = [p for p in world.people.values() if LABEL in p.labels]
    stamped = [stamp.contact for person in labelled for stamp in person.stamps]
    assert len(stamped) == len(set(stamped)), "a contact has two people"
    writes, before = list(world.writes), world.summary()
    world.sync()
    assert world.writes == writes
    assert world.summary() == before


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", ["steady", "restarts", "crashes"])
def test_both_sides_agree_after_any_conversation(seed: int, mode: str) -> None:
    check(play(seed, restarts=mode == "restarts", crashes=mode == "crashes"))


@pytest.mark.parametrize("seed", range(30))
def test_all_observations_again_in_any_order_change_nothing(seed: int) -> None:
    world = play(seed)
    check(world)
    writes, before = list(world.writes), world.summary()
    again = list(world.seen)
    rng = random.Random(seed)
    rng.shuffle(again)
    for event in again:
        world.run(event)
    world.now += 400
    world.sync()
    assert world.writes == writes
    assert world.summary() == before


@pytest.mark.parametrize("seed", range(30))
def test_a_mutation_said_twice_is_the_same_mutation(seed: int) -> None:
    world = play(seed, crashes=True)
    for copies in world.mutations.values():
        assert len({revision for revision, _ in copies}) == 1
