"""State that is empty, old or partly lost, as the writer meets it: nothing twice, nothing undone, nothing said done
that was not."""

from __future__ import annotations

from typing import Any

from contactsync.runtime.bus import Put
from contactsync.writer.capacity import decode_capacity
from contactsync.writer.identity import decode
from contactsync_contracts import subjects
from contactsync_contracts.messages import GoogleMutation, GooglePerson, Kept, LabelMutation, Mutate, Outcome
from writer_world import ACCOUNT, CONFIG, World, ensure, given, label, member, mutate


async def written(world: World, *contacts: int) -> None:
    world.put(label("1", "First"))
    world.put(mutate(*(ensure(n, revision=5) for n in contacts)))
    await world.start()
    await world.run()
    world.google.calls.clear()


async def erase(world: World, *keys: str) -> None:
    await world.bus.commit(None, [Put(key, None) for key in keys])
    await world.start()


def person(world: World, contact: int) -> GooglePerson:
    (found,) = world.google.named(contact)
    return found


def update(contact: int, revision: int, at: GooglePerson, **fields: Any) -> GoogleMutation:
    return GoogleMutation(
        contact=contact,
        mutation_id=f"1-{contact}-{revision}",
        revision=revision,
        op="update",
        fields=fields,
        resource=at.resource,
        etag=at.etag,
        raw=at.raw,
    )


async def test_a_copy_is_answered_from_memory() -> None:
    world = World()
    await written(world, 1)
    world.clock.now += 200  # the stream forgets its ids
    world.put(mutate(ensure(1, revision=5)))
    await world.run()
    assert [item.outcome for item in world.items()["1-1-5"]] == [Outcome.DONE, Outcome.DONE]
    assert world.item("1-1-5").latest == 0
    assert not world.google.calls


async def test_another_wish_under_a_revision_of_before_is_not_said_to_be_done() -> None:
    world = World()
    await written(world, 1)
    for revision in (3, 5):
        world.put(mutate(update(1, revision, person(world, 1), given="Older")))
        await world.run()
        item = world.item(f"1-1-{revision}")
        assert (item.outcome, item.latest, item.kept) == (Outcome.STALE, 5, Kept.OURS)
        assert item.person is not None
        assert given(item.person) == "Given1"
    assert given(person(world, 1)) == "Given1"
    world.put(mutate(update(1, 6, person(world, 1), given="Newer")))
    await world.run()
    assert given(person(world, 1)) == "Newer"


async def test_a_contact_whose_link_was_lost_is_not_made_again_for_a_person_that_a_human_deleted() -> None:
    world = World()
    await written(world, 1)
    world.google.people.clear()
    world.put(mutate(ensure(1, revision=1)))
    await world.run()
    item = world.item("1-1-1")
    assert (item.outcome, item.person, item.latest) == (Outcome.GONE, None, 5)
    assert not world.google.people


async def test_nor_put_back_under_a_label_that_a_human_took_off() -> None:
    world = World()
    await written(world, 1)
    before = person(world, 1)
    world.google.edit(before.resource, memberships=[member("contactGroups/myContacts")])
    world.put(mutate(update(1, 2, person(world, 1))))
    await world.run()
    item = world.item("1-1-2")
    assert (item.outcome, item.latest) == (Outcome.GONE, 5)
    assert item.person is not None
    assert "contactGroups/myContacts" in person(world, 1).labels
    assert len(person(world, 1).labels) == 1


async def test_if_the_label_itself_is_gone_nobody_was_taken_out_of_it() -> None:
    world = World()
    await written(world, 1)
    before = person(world, 1)
    world.google.edit(before.resource, memberships=[member("contactGroups/myContacts")])
    world.google.labels.clear()
    world.put(mutate(update(1, 2, person(world, 1))))
    await world.run()
    assert world.item("1-1-2").outcome is Outcome.STALE


async def test_a_removal_decided_on_an_older_state_removes_nobody() -> None:
    world = World()
    await written(world, 1)
    world.put(mutate(GoogleMutation(contact=1, mutation_id="1-1-4", revision=4, op="remove")))
    await world.run()
    assert (world.item("1-1-4").outcome, world.item("1-1-4").latest) == (Outcome.STALE, 5)
    assert person(world, 1)


async def test_without_its_record_of_the_label_the_writer_finds_it_by_the_stamp() -> None:
    world = World()
    await written(world, 1)
    world.clock.now += 100
    await erase(world, subjects.label_key(ACCOUNT, "1"))
    world.put(mutate(ensure(2, revision=1)))
    await world.run()
    assert world.item("1-2-1").outcome is Outcome.DONE
    assert len(world.google.labels) == 1
    assert set(world.google.labels) <= set(person(world, 2).labels)


async def test_a_label_that_is_not_there_is_not_made_for_who_only_asks_for_it() -> None:
    world = World()
    await written(world, 1)
    world.clock.now += 100
    world.google.labels.clear()
    wish = LabelMutation(mutation_id="look", revision=9, op="ensure", name="First", make=False)
    world.put(Mutate(filter_id="1", target=ACCOUNT, epoch=1, label=wish))
    await world.run()
    answers = [m.label.outcome for m in world.messages() if m.label and m.label.mutation_id == "look"]
    assert answers == [Outcome.GONE]
    assert not world.google.labels


async def test_a_stamped_label_of_a_filter_that_nobody_knows_is_named_as_found() -> None:
    world = World()
    await written(world, 1)
    world.clock.now += 100
    keys = [key for key in world.server.values if key.startswith("state.account.")]
    await erase(world, *keys)
    world.put(label("1", "First", revision=7))
    await world.run()
    answers = [m.label for m in world.messages() if m.label and m.label.mutation_id == "label-1-7"]
    assert [(one.found, one.reused) for one in answers] == [(True, True)]


async def test_without_its_identity_records_a_persons_stamp_says_whether_it_is_ours() -> None:
    world = World()
    await written(world, 1)
    at = person(world, 1)
    await erase(world, subjects.person_key(ACCOUNT, 1))
    world.put(mutate(update(1, 6, at, given="New")))
    await world.run()
    item = world.item("1-1-6")
    assert (item.outcome, item.kept) == (Outcome.DONE, Kept.OURS)
    assert given(person(world, 1)) == "New"


async def test_a_renewal_reads_the_person_and_writes_nothing() -> None:
    world = World()
    await written(world, 1)
    at = person(world, 1)
    await erase(world, subjects.person_key(ACCOUNT, 1))
    world.google.calls.clear()
    renewal = GoogleMutation(contact=1, mutation_id="1-1-6", revision=6, op="update", resource=at.resource)
    world.put(mutate(renewal))
    await world.run()
    assert [call for call, _ in world.google.calls] == ["get_people"]
    assert world.item("1-1-6").outcome is Outcome.DONE
    known = decode(world.server.values[subjects.person_key(ACCOUNT, 1)].value)
    assert (known.resource, known.etag, known.kept) == (at.resource, at.etag, Kept.OURS)
    assert person(world, 1).etag == at.etag


async def test_a_removal_without_identity_records_spares_who_another_label_holds() -> None:
    world = World()
    await written(world, 1)
    world.put(label("2", "Second"))
    world.put(mutate(ensure(1, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    at = person(world, 1)
    await erase(world, subjects.person_key(ACCOUNT, 1))
    gone = GoogleMutation(
        contact=1,
        mutation_id="1-1-6",
        revision=6,
        op="remove",
        resource=at.resource,
        etag=at.etag,
        raw=at.raw,
    )
    world.put(mutate(gone))
    await world.run()
    assert len(person(world, 1).labels) == 2
    assert CONFIG.planfix_account == "acme"


async def test_a_create_decided_long_before_is_looked_for_by_its_stamp_first() -> None:
    """The store was rolled back to a moment between the decision and the writer's note of the request."""
    world = World()
    await written(world, 1)
    world.clock.now += 3600
    keys = [key for key in world.server.values if ".person." in key or ".intent" in key]
    await erase(world, *keys)
    again = ensure(1, revision=5).model_copy(update={"at": world.clock.now - 3600})
    missing = ensure(2, revision=5).model_copy(update={"at": world.clock.now - 3600})
    world.put(mutate(again, missing))
    await world.run()
    assert len(world.google.named(1)) == len(world.google.named(2)) == 1
    assert world.google.count("list_page") == 1
    assert {world.item(f"1-{n}-5").outcome for n in (1, 2)} == {Outcome.DONE}


async def test_a_create_decided_a_moment_ago_costs_no_listing() -> None:
    world = World()
    await written(world, 1)
    world.put(mutate(ensure(2).model_copy(update={"at": world.clock.now - 5})))
    await world.run()
    assert world.google.count("list_page") == 0


async def test_who_is_found_after_a_doubt_was_counted_when_it_was_made() -> None:
    """Places are counted from what was created; a second count would hold others back for want of a place."""
    world = World()
    world.put(label("1", "First"))
    world.put(mutate(*(ensure(n, revision=5) for n in range(1, 6)), people_total=0, people_at=world.clock.now))
    await world.start()
    await world.run()
    await erase(world, *(key for key in world.server.values if ".person." in key))
    again = [ensure(n, revision=5).model_copy(update={"at": world.clock.now - 3600}) for n in range(1, 7)]
    world.put(mutate(*again))
    await world.run()
    assert all(len(world.google.named(n)) == 1 for n in range(1, 7))
    stored = decode_capacity(world.server.values[subjects.capacity_key(ACCOUNT)].value)
    assert sum(number for _, number in stored.created) == 6
