"""One poison contact or field never holds up the rest (D24), and a permanent error is told once (D25)."""

from __future__ import annotations

from typing import Any

import pytest

from contactsync.errors import OutcomeUnknown
from contactsync.google.port import Json
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import GoogleMutation, Outcome
from writer_world import ACCOUNT, Crash, World, ensure, label, mutate

ALL = range(1, 21)


async def account(*, named: bool = True) -> World:
    world = World()
    world.google.names_bad = named
    world.put(label("1", "First"))
    await world.start()
    await world.run()
    return world


def given_of(body: Json) -> str:
    return str((body.get("names") or [{}])[0].get("givenName", ""))


def update(world: World, contact: int, revision: int = 2, **fields: Any) -> GoogleMutation:
    person = world.google.named(contact)[0]
    return GoogleMutation(
        contact=contact,
        mutation_id=f"1-{contact}-{revision}",
        revision=revision,
        op="update",
        fields=fields,
        resource=person.resource,
        etag=person.etag,
        raw=person.raw,
    )


def answers(world: World, revision: int = 1) -> dict[int, list[Outcome]]:
    return {
        int(mutation_id.split("-")[1]): [item.outcome for item in items]
        for mutation_id, items in world.items().items()
        if mutation_id.endswith(f"-{revision}")
    }


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by halving"])
@pytest.mark.parametrize("bad", [{5}, {1, 20}, set(ALL)], ids=["one", "first and last", "all"])
async def test_new_contacts_that_google_refuses_are_told_apart_and_told_once(named: bool, bad: set[int]) -> None:
    world = await account(named=named)
    world.google.refuse = lambda body: given_of(body) in {f"Given{n}" for n in bad}
    world.put(mutate(*(ensure(n) for n in ALL)))
    await world.run()
    assert answers(world) == {n: [Outcome.REFUSED if n in bad else Outcome.DONE] for n in ALL}
    requests = world.google.count("create_people")
    assert requests <= (2 if named else 2 * len(ALL))
    await world.start()
    await world.run()
    assert world.google.count("create_people") == requests
    assert await world.bus.get(f"state.account.{ACCOUNT}.intent") is None
    # A change of the contact tries again.
    world.google.refuse = lambda body: False
    world.put(mutate(*(ensure(n, revision=2) for n in bad)))
    await world.run()
    assert all(len(world.google.named(n)) == 1 for n in ALL)


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by halving"])
async def test_a_field_that_google_refuses_is_held_back_alone_in_new_contacts(named: bool) -> None:
    world = await account(named=named)
    world.google.blame = lambda body: "urls" if given_of(body) == "Given5" and body.get("urls") else ""
    world.put(mutate(*(ensure(n, site=f"https://s{n}.test", notes="n") for n in ALL)))
    await world.run()
    assert answers(world) == {n: [Outcome.DONE] for n in ALL}
    item = world.item("1-5-1")
    assert item.refused == {"site": "bad urls"}
    assert item.person is not None
    assert (item.person.fields["notes"], item.person.fields["site"]) == ("n", "")
    assert world.google.named(6)[0].fields["site"] == "https://s6.test"


async def test_several_fields_are_held_back_one_after_the_other() -> None:
    world = await account()

    def blame(body: Json) -> str:
        return next((name for name in ("birthdays", "urls", "emailAddresses") if body.get(name)), "")

    world.google.blame = blame
    emails = (Element("a@x.test", "a@x.test"),)
    world.put(mutate(ensure(1, site="https://s.test", birthday="1990-02-03", emails=emails, notes="n")))
    await world.run()
    assert set(world.item("1-1-1").refused) == {"site", "birthday", "emails"}
    assert world.google.named(1)[0].fields["notes"] == "n"


@pytest.mark.parametrize("field", ["names", "memberships", "clientData"])
async def test_a_contact_that_cannot_do_without_the_field_is_refused_whole(field: str) -> None:
    world = await account()
    world.google.blame = lambda body: field if given_of(body) == "Given5" else ""
    world.put(mutate(*(ensure(n) for n in ALL)))
    await world.run()
    assert answers(world) == {n: [Outcome.REFUSED if n == 5 else Outcome.DONE] for n in ALL}


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by halving"])
async def test_a_field_that_google_refuses_is_held_back_alone_in_updates(named: bool) -> None:
    world = await account(named=named)
    world.put(mutate(*(ensure(n) for n in ALL)))
    await world.run()
    world.google.blame = lambda body: "urls" if "poison" in str(body.get("urls")) else ""
    sites = {n: "https://poison.test" if n in (5, 6) else f"https://s{n}.test" for n in ALL}
    world.put(mutate(*(update(world, n, site=sites[n], notes="new") for n in ALL)))
    await world.run()
    assert answers(world, 2) == {n: [Outcome.DONE] for n in ALL}
    for n in (5, 6):
        item = world.item(f"1-{n}-2")
        assert item.refused == {"site": "bad urls"}
        assert world.google.named(n)[0].fields["notes"] == "new"
        assert world.google.named(n)[0].fields["site"] == ""
    assert world.google.named(7)[0].fields["site"] == "https://s7.test"


async def test_an_update_of_nothing_but_the_refused_field_answers_with_the_person_as_it_is() -> None:
    world = await account()
    world.put(mutate(ensure(5, site="https://old.test")))
    await world.run()
    world.google.blame = lambda body: "urls" if "poison" in str(body.get("urls")) else ""
    world.put(mutate(update(world, 5, site="https://poison.test")))
    await world.run()
    item = world.item("1-5-2")
    assert item.outcome is Outcome.DONE
    assert item.refused == {"site": "bad urls"}
    assert item.person is not None
    assert item.person.fields["site"] == "https://old.test"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_while_a_field_is_held_back(when: str) -> None:
    world = await account()
    world.google.blame = lambda body: "urls" if given_of(body) == "Given5" and body.get("urls") else ""
    world.put(mutate(*(ensure(n, site="https://s.test") for n in ALL)))
    assert world.google.faults == {}
    honest, seen = world.google.create_people, []

    async def dying(bodies, *, cls):  # type: ignore[no-untyped-def]
        seen.append(len(bodies))
        if len(bodies) == 1 and when == "before":
            raise Crash
        made = await honest(bodies, cls=cls)
        if len(bodies) == 1:
            raise Crash
        return made

    world.google.create_people = dying  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await world.run()
    world.google.create_people = honest  # type: ignore[method-assign]
    await world.start()
    await world.run()
    assert all(len(world.google.named(n)) == 1 for n in ALL)
    assert {outcomes[-1] for outcomes in answers(world).values()} == {Outcome.DONE}


async def test_a_person_that_google_never_deletes_is_given_up_and_the_others_go() -> None:
    world = await account()
    world.put(mutate(*(ensure(n) for n in ALL)))
    await world.run()
    bad = world.google.named(5)[0].resource
    honest = world.google.delete_person

    async def failing(resource, *, cls):  # type: ignore[no-untyped-def]
        if resource == bad:
            raise OutcomeUnknown("500")
        await honest(resource, cls=cls)

    world.google.delete_person = failing  # type: ignore[method-assign]
    gone = [GoogleMutation(contact=n, mutation_id=f"1-{n}-2", revision=2, op="remove") for n in ALL]
    world.put(mutate(*gone))
    await world.run()
    assert answers(world, 2) == {n: [Outcome.REFUSED if n == 5 else Outcome.DONE] for n in ALL}
    assert list(world.google.people) == [bad]
