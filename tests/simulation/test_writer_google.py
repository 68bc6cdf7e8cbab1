"""The writer on one Google account: once only, labels united, one bad contact alone."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from contactsync.errors import NotConnected, Rejected, Unavailable
from contactsync.google.port import PartlyDone
from contactsync.runtime.bus import Deposed
from contactsync_contracts.messages import Class, GoogleMutation, Kept, Outcome
from writer_world import ACCOUNT, World, ensure, given, label, member, mutate


async def world_with_labels(*filters: str) -> World:
    world = World()
    await world.start()
    for filter_id in filters or ("1",):
        world.put(label(filter_id, f"Label {filter_id}"))
    await world.run()
    world.google.calls.clear()
    return world


def resource_of(world: World, filter_id: str = "1") -> str:
    return next(one.resource for one in world.google.labels.values() if one.stamp == filter_id)


def update(
    world: World,
    contact: int,
    revision: int,
    filter_id: str = "1",
    op: Literal["update", "adopt"] = "update",
    **fields: str,
) -> GoogleMutation:
    person = world.google.named(contact)[0]
    return GoogleMutation(
        contact=contact,
        mutation_id=f"{filter_id}-{contact}-{revision}",
        revision=revision,
        op=op,
        fields=dict(fields),
        resource=person.resource,
        etag=person.etag,
        raw=person.raw,
    )


def remove(contact: int, revision: int, filter_id: str = "1", **more: Any) -> GoogleMutation:
    return GoogleMutation(
        contact=contact,
        mutation_id=f"{filter_id}-{contact}-{revision}",
        revision=revision,
        op="remove",
        **more,
    )


async def test_a_contact_is_created_under_its_label_with_a_stamp() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    (person,) = world.google.named(7)
    assert given(person) == "Given7"
    assert resource_of(world) in person.labels
    assert person.stamps[0].kept is Kept.OURS
    item = world.item("1-7-1")
    assert item.outcome is Outcome.DONE
    assert item.kept is Kept.OURS
    assert item.person == person


async def test_a_settled_revision_is_answered_and_not_done_again() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    world.google.calls.clear()
    await world.start()
    world.put(mutate(ensure(7)))
    await world.run()
    assert world.google.calls == []
    assert [item.outcome for item in world.items()["1-7-1"]] == [Outcome.DONE, Outcome.DONE]
    assert world.item("1-7-1").person is None


async def test_a_lower_revision_that_waits_beside_a_higher_one_is_not_done() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7, revision=1, given="Old")))
    world.put(mutate(ensure(7, revision=2, given="New")))
    await world.run()
    assert [given(p) for p in world.google.named(7)] == ["New"]
    assert world.item("1-7-1").outcome is Outcome.STALE
    assert world.item("1-7-2").outcome is Outcome.DONE


async def test_two_hundred_and_fifty_creates_are_two_batches() -> None:
    world = await world_with_labels()
    for start in range(1, 250, 50):
        world.put(mutate(*(ensure(n) for n in range(start, start + 50))))
    await world.run()
    assert [size for call, size in world.google.calls if call == "create_people"] == [200, 50]
    assert all(len(world.google.named(n)) == 1 for n in range(1, 251))


async def test_creates_wait_for_a_full_batch_while_more_are_announced() -> None:
    world = await world_with_labels()
    for page in range(10):
        last = page == 9
        world.put(mutate(*(ensure(page * 90 + n) for n in range(1, 91)), more=not last))
        assert await world.turn()
        world.clock.now += 1.0
    await world.run()
    assert [size for call, size in world.google.calls if call == "create_people"] == [200, 200, 200, 200, 100]
    assert len(world.google.people) == 900


async def test_creates_that_wait_survive_a_restart() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 31)), more=True))
    assert await world.turn()
    assert world.google.people == {}
    await world.start()
    await world.run()
    assert len(world.google.people) == 30
    assert len(world.items()) == 30


async def test_a_few_updates_go_singly_and_many_in_one_batch_of_one_mask() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 41))))
    await world.run()
    world.google.calls.clear()
    notes = [update(world, n, 2, notes="x") for n in range(1, 21)]
    names = [update(world, n, 2, given="Other") for n in range(21, 24)]
    world.put(mutate(*notes, *names))
    await world.run()
    assert [size for call, size in world.google.calls if call == "update_people"] == [20, 1, 1, 1]
    assert given(world.google.named(22)[0]) == "Other"
    assert world.google.named(3)[0].fields["notes"] == "x"


async def test_an_update_that_changes_nothing_makes_no_request() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    world.google.calls.clear()
    world.put(mutate(update(world, 7, 2, given="Given7")))
    await world.run()
    assert world.google.calls == []
    assert world.item("1-7-2").outcome is Outcome.DONE


async def test_an_edit_made_in_google_meanwhile_settles_as_stale_with_the_person() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 9))))
    await world.run()
    mutations = [update(world, n, 2, given=f"New{n}") for n in range(1, 9)]
    edited = world.google.named(3)[0].resource
    world.google.edit(edited, names=[{"givenName": "Human", "familyName": "Family"}])
    world.put(mutate(*mutations))
    await world.run()
    assert world.item("1-3-2").outcome is Outcome.STALE
    person = world.item("1-3-2").person
    assert person is not None
    assert given(person) == "Human"
    assert given(world.google.named(3)[0]) == "Human"
    assert [given(world.google.named(n)[0]) for n in (1, 2, 4, 8)] == ["New1", "New2", "New4", "New8"]


async def test_a_poisoned_contact_is_refused_alone() -> None:
    world = await world_with_labels()
    world.google.refuse = lambda body: (body.get("names") or [{}])[0].get("givenName") == "Given5"
    world.put(mutate(*(ensure(n) for n in range(1, 21))))
    await world.run()
    assert world.item("1-5-1").outcome is Outcome.REFUSED
    assert len(world.google.people) == 19
    assert await world.bus.get(f"state.account.{ACCOUNT}.intent") is None


async def test_a_rejected_batch_that_names_nobody_is_halved() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 13))))
    await world.run()
    bad = world.google.named(5)[0].resource
    honest = world.google.update_people

    async def nameless(mask, updates, *, cls):  # type: ignore[no-untyped-def]
        if any(one.resource == bad for one in updates):
            raise Rejected("something in it is invalid")
        return await honest(mask, updates, cls=cls)

    world.google.update_people = nameless  # type: ignore[method-assign]
    world.put(mutate(*(update(world, n, 2, notes="x") for n in range(1, 13))))
    await world.run()
    outcomes = {n: world.item(f"1-{n}-2").outcome for n in range(1, 13)}
    assert [n for n, outcome in outcomes.items() if outcome is Outcome.REFUSED] == [5]
    assert all(outcome is Outcome.DONE for n, outcome in outcomes.items() if n != 5)


async def test_a_full_account_takes_updates_and_no_creates() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(1)))
    await world.run()
    world.google.room = 1
    world.put(mutate(ensure(2), update(world, 1, 2, notes="x")))
    await world.run()
    assert world.item("1-2-1").outcome is Outcome.FULL
    assert world.item("1-1-2").outcome is Outcome.DONE


async def test_the_same_contact_in_two_filters_is_one_person_with_two_labels() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7, filter_id="2"), filter_id="2", since=5.0))
    world.put(mutate(ensure(7, filter_id="1"), filter_id="1", since=1.0))
    await world.run()
    (person,) = world.google.named(7)
    assert {resource_of(world, "1"), resource_of(world, "2")} <= set(person.labels)
    assert world.item("1-7-1").outcome is Outcome.DONE
    assert world.item("2-7-1").outcome is Outcome.LABELLED


async def test_fields_of_a_filter_that_does_not_merge_are_dropped() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    await world.run()
    world.put(mutate(ensure(7, filter_id="2", given="Theirs"), filter_id="2", since=5.0))
    await world.run()
    (person,) = world.google.named(7)
    assert given(person) == "Given7"
    assert resource_of(world, "2") in person.labels
    assert world.item("2-7-1").outcome is Outcome.LABELLED


async def test_a_merge_over_a_version_that_only_our_label_outdated_is_written() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    await world.run()
    merged = update(world, 7, 2, given="Merged")
    world.put(mutate(ensure(7, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    world.put(mutate(merged))
    await world.run()
    (person,) = world.google.named(7)
    assert world.item("1-7-2").outcome is Outcome.DONE
    assert given(person) == "Merged"
    assert {resource_of(world, "1"), resource_of(world, "2")} <= set(person.labels)


async def test_an_older_filter_that_joins_does_not_write_over_an_unseen_edit() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    world.google.edit(world.google.named(7)[0].resource, names=[{"givenName": "Human"}])
    world.put(mutate(ensure(7, filter_id="1"), since=1.0))
    await world.run()
    assert given(world.google.named(7)[0]) == "Human"
    assert world.item("1-7-1").outcome is Outcome.STALE


async def test_the_next_filter_takes_the_merging_over_with_the_bases() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    world.put(mutate(ensure(7, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    base = {"given": "Given7"}
    world.put(mutate(remove(7, 2, base_planfix=base, base_google=base)))
    await world.run()
    handovers = [(m.filter_id, h) for m in world.messages() for h in m.handovers]
    assert [(f, h.contact, h.base_google) for f, h in handovers] == [("2", 7, base)]
    (person,) = world.google.named(7)
    assert resource_of(world, "1") not in person.labels
    assert resource_of(world, "2") in person.labels
    assert world.item("1-7-2").removed is False


async def test_a_person_of_ours_that_nobody_wants_is_deleted() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    world.put(mutate(remove(7, 2)))
    await world.run()
    assert world.google.people == {}
    assert world.item("1-7-2").removed is True


@pytest.mark.parametrize("group", ["contactGroups/starred", "contactGroups/humans"])
async def test_a_person_with_labels_of_the_humans_own_only_loses_ours(group: str) -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    person = world.google.named(7)[0]
    world.google.edit(person.resource, memberships=[*person.raw["memberships"], member(group)])
    world.put(mutate(remove(7, 2)))
    await world.run()
    (left,) = world.google.named(7)
    assert group in left.labels
    assert resource_of(world) not in left.labels
    assert world.item("1-7-2").removed is False


async def test_an_edit_comes_before_the_removal_that_did_not_see_it() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    person = world.google.named(7)[0]
    world.google.edit(person.resource, names=[{"givenName": "Human"}])
    world.put(mutate(remove(7, 2, etag=person.etag, resource=person.resource)))
    await world.run()
    assert world.item("1-7-2").outcome is Outcome.STALE
    assert len(world.google.people) == 1


async def test_an_adopted_person_stays_when_its_filter_leaves() -> None:
    world = await world_with_labels()
    private = world.google.add(names=[{"givenName": "Pat"}], clientData=[{"key": "other", "value": "app"}])
    adopt = GoogleMutation(
        contact=9,
        mutation_id="1-9-1",
        revision=1,
        op="adopt",
        fields={"family": "Known"},
        resource=private.resource,
        etag=private.etag,
        raw=private.raw,
    )
    world.put(mutate(adopt))
    await world.run()
    assert world.item("1-9-1").kept is Kept.ADOPTED
    assert [s.kept for s in world.google.named(9)[0].stamps] == [Kept.ADOPTED]
    world.put(mutate(remove(9, 2)))
    await world.run()
    person = world.google.people[private.resource]
    assert person["clientData"] == [{"key": "other", "value": "app"}]
    assert person["memberships"] == [member("contactGroups/myContacts")]
    assert person["names"] == [{"givenName": "Pat", "familyName": "Known"}]
    assert world.item("1-9-2").removed is False


async def test_a_person_that_is_gone_settles_as_gone_and_is_made_anew_when_asked_for() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    wish = update(world, 7, 2, notes="x")
    world.google.people.clear()
    world.put(mutate(wish))
    await world.run()
    assert world.item("1-7-2").outcome is Outcome.GONE
    assert world.google.people == {}
    world.put(mutate(ensure(7, revision=3)))
    await world.run()
    assert len(world.google.named(7)) == 1


async def test_a_restored_contact_whose_person_was_deleted_is_made_anew() -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    world.put(mutate(ensure(7, filter_id="2"), filter_id="2", since=5.0))
    await world.run()
    world.google.people.clear()
    world.put(mutate(ensure(7, revision=2)))
    await world.run()
    (person,) = world.google.named(7)
    assert resource_of(world, "2") not in person.labels


async def test_who_asks_for_a_person_without_knowing_it_is_told_who_it_is_though_nothing_is_written() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    await world.run()
    world.google.calls.clear()
    world.put(mutate(ensure(7, revision=2)))
    await world.run()
    (person,) = world.google.named(7)
    answer = world.item("1-7-2")
    assert answer.outcome is Outcome.DONE
    assert answer.person is not None
    assert answer.person.resource == person.resource


@pytest.mark.parametrize("known", [True, False], ids=["asked_of_a_record", "told_that_it_is_gone"])
async def test_a_person_by_another_name_is_not_made_anew_for_a_filter_that_lost_its_link(known: bool) -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    await world.run()
    late = update(world, 7, 2, notes="x")
    old = world.google.named(7)[0].resource
    new = world.google.add(**{key: world.google.people[old][key] for key in ("names", "memberships", "clientData")})
    del world.google.people[old]
    if not known:
        world.put(mutate(late))
        await world.run()
        assert world.item("1-7-2").outcome is Outcome.GONE
    for revision in (1, 2):
        world.put(mutate(ensure(7, filter_id="2", revision=revision), filter_id="2", since=5.0))
        await world.run()
    (person,) = world.google.named(7)
    assert person.resource == new.resource
    assert resource_of(world, "2") in person.labels


@pytest.mark.parametrize("looked_at", [True, False], ids=["read_first", "written_at_once"])
async def test_a_person_that_one_filter_let_go_is_said_to_be_removed_by_us(looked_at: bool) -> None:
    world = await world_with_labels("1", "2")
    world.put(mutate(ensure(7)))
    await world.run()
    late = update(world, 7, 1, filter_id="2", notes="x")
    if looked_at:
        late = late.model_copy(update={"etag": None, "raw": None})
    world.put(mutate(remove(7, 2)))
    await world.run()
    assert world.google.people == {}
    world.put(mutate(late, filter_id="2", since=5.0))
    await world.run()
    item = world.item("2-7-1")
    assert (item.outcome, item.removed) == (Outcome.GONE, True)
    # A human's deletion of one that was made since is a human's again.
    world.put(mutate(ensure(7, revision=3)))
    await world.run()
    wish = update(world, 7, 4, notes="y")
    world.google.people.clear()
    world.put(mutate(wish))
    await world.run()
    item = world.item("1-7-4")
    assert (item.outcome, item.removed) == (Outcome.GONE, False)


async def test_a_dead_grant_is_told_once_and_everything_is_kept() -> None:
    world = await world_with_labels()
    for _ in range(3):
        world.google.fail("create_people", "before", NotConnected("reconnect"))
    world.put(mutate(ensure(7)))
    await world.run()
    observed = [m for m in world.server.streams["FILTERS"].messages.values() if m.subject.endswith(".google")]
    assert len(observed) == 1
    assert len(world.google.named(7)) == 1
    assert world.item("1-7-1").outcome is Outcome.DONE


async def test_an_unavailable_google_leaves_no_intent_behind() -> None:
    world = await world_with_labels()
    world.google.fail("create_people", "before", Unavailable("busy", 3.0))
    world.put(mutate(ensure(7)))
    await world.turn()
    assert await world.bus.get(f"state.account.{ACCOUNT}.intent") is None
    await world.run()
    assert len(world.google.named(7)) == 1


async def test_humans_come_first() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 11)), cls=Class.BACKGROUND))
    world.put(mutate(ensure(77), cls=Class.HUMAN))
    await world.run()
    assert [size for call, size in world.google.calls if call == "create_people"] == [1, 10]


async def test_a_deposed_writer_commits_nothing() -> None:
    world = await world_with_labels()
    old_writer, old_fence = world.writer, world.fence
    await world.start()
    world.put(mutate(ensure(7)))
    assert old_fence is not None
    with pytest.raises(Deposed):
        await old_writer.handle(ACCOUNT, world.queue, old_fence)
    assert world.google.people == {}
    await world.run()
    assert len(world.google.named(7)) == 1


async def test_a_message_that_does_not_fit_goes_to_the_dead_letters() -> None:
    world = await world_with_labels()
    world.put(mutate(ensure(7)))
    broken = world.queue[0]
    world.queue.insert(0, type(broken)(broken.key, "mutate", broken.subject, b"{}", {}, 999, 1))
    await world.run()
    assert len(world.server.streams["DEAD"].messages) == 1
    assert len(world.google.named(7)) == 1


async def test_account_full_is_not_an_unknown_outcome() -> None:
    world = await world_with_labels()
    world.google.room = 0
    world.put(mutate(*(ensure(n) for n in range(1, 301))))
    await world.run()
    assert [size for call, size in world.google.calls if call == "create_people"] == [200, 1]
    assert {world.item(f"1-{n}-1").outcome for n in range(1, 301)} == {Outcome.FULL}
    assert await world.bus.get(f"state.account.{ACCOUNT}.intent") is None


async def test_outcomes_and_batch_sizes_are_counted() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 31))))
    await world.run()
    registry = world.metrics.registry
    done = {"side": "google", "operation": "ensure", "outcome": "done"}
    assert registry.get_sample_value("contactsync_mutations_total", done) == 30
    assert registry.get_sample_value("contactsync_batch_size_sum", {"operation": "create"}) == 30


async def test_an_update_of_which_google_says_nothing_is_not_repeated_without_end() -> None:
    world = await world_with_labels()
    world.put(mutate(*(ensure(n) for n in range(1, 13))))
    await world.run()
    wishes = [update(world, n, 2, notes="x") for n in range(1, 13)]
    bad = world.google.named(5)[0].resource
    honest = world.google.update_people
    requests = []

    async def silent(mask, updates, *, cls):  # type: ignore[no-untyped-def]
        requests.append(len(updates))
        others = [one for one in updates if one.resource != bad]
        done = await honest(mask, others, cls=cls) if others else {}
        if len(done) < len(updates):
            raise PartlyDone("some", done, {}, complete=False)
        return done

    world.google.update_people = silent  # type: ignore[method-assign]
    world.put(mutate(*wishes))
    began = world.clock.now
    await world.run()
    outcomes = {n: world.item(f"1-{n}-2").outcome for n in range(1, 13)}
    assert {n for n, outcome in outcomes.items() if outcome is Outcome.REFUSED} == {5}
    assert {outcome for n, outcome in outcomes.items() if n != 5} == {Outcome.DONE}
    assert len(requests) <= 7
    assert world.clock.now - began > 20.0
