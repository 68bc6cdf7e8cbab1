"""A filter's label in Google, through the writer."""

from __future__ import annotations

import pytest

from contactsync.google.port import Label
from contactsync_contracts.messages import LabelSettled, Outcome
from writer_world import Crash, World, ensure, label, member, mutate


async def started() -> World:
    world = World()
    await world.start()
    return world


def names(world: World) -> set[str]:
    return {one.name for one in world.google.labels.values()}


def settled(world: World, mutation_id: str) -> LabelSettled:
    return [m.label for m in world.messages() if m.label and m.label.mutation_id == mutation_id][-1]


def humans_label(world: World, name: str, members: int) -> None:
    world.google.labels["contactGroups/h"] = Label("contactGroups/h", name, "e", 0, None)
    world.google.born["contactGroups/h"] = 0.0
    for _ in range(members):
        world.google.add(names=[{"givenName": "Private"}], memberships=[member("contactGroups/h")])


async def test_a_label_is_made_once_and_answered_again() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    await world.run()
    await world.start()
    world.put(label("1", "Clients"))
    await world.run()
    assert names(world) == {"Clients"}
    assert settled(world, "label-1-1").label == next(iter(world.google.labels))
    assert world.google.count("create_label") == 1


async def test_an_empty_label_of_that_name_is_adopted() -> None:
    world = await started()
    humans_label(world, "Clients", 0)
    world.put(label("1", "Clients"))
    await world.run()
    assert [(one.name, one.stamp) for one in world.google.labels.values()] == [("Clients", "1")]
    assert settled(world, "label-1-1").reused is True


async def test_a_label_in_use_is_left_alone() -> None:
    world = await started()
    humans_label(world, "Clients", 2)
    world.put(label("1", "Clients"))
    await world.run()
    assert names(world) == {"Clients", "Clients (Planfix)"}
    assert world.google.labels["contactGroups/h"].stamp is None


async def test_a_renamed_filter_renames_its_label() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    world.put(label("1", "Customers", 2, "rename"))
    await world.run()
    assert names(world) == {"Customers"}


async def test_the_humans_own_name_stays() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    await world.run()
    (resource,) = world.google.labels
    now = world.google.labels[resource]
    world.google.labels[resource] = Label(resource, "My people", now.etag, 0, now.stamp)
    world.put(label("1", "Customers", 2, "rename"))
    await world.run()
    assert names(world) == {"My people"}
    assert settled(world, "label-1-2").name == "My people"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_rename_without_an_answer_can_be_renamed_again(when: str) -> None:
    world = await started()
    world.put(label("1", "Clients"))
    await world.run()
    world.google.fail("update_label", when)
    world.put(label("1", "Customers", 2, "rename"))
    world.put(label("1", "Partners", 3, "rename"))
    await world.run()
    assert names(world) == {"Partners"}


async def test_a_label_whose_create_has_no_answer_is_found_although_lists_lag() -> None:
    world = await started()
    world.google.list_lag_s = 60.0
    world.google.fail("create_label", "after")
    world.put(label("1", "Clients"))
    await world.run()
    assert names(world) == {"Clients"}
    assert len(world.google.labels) == 1


async def test_a_contact_whose_label_was_deleted_is_refused_and_the_label_made_anew_when_asked_for() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    await world.run()
    world.google.labels.clear()
    world.put(label("1", "Clients", 2))
    world.put(mutate(ensure(7)))
    await world.run()
    assert settled(world, "label-1-2").outcome is Outcome.DONE
    assert set(world.google.labels) & set(world.google.named(7)[0].labels)


async def test_contacts_of_a_filter_without_a_label_are_refused() -> None:
    world = await started()
    world.put(mutate(ensure(7)))
    await world.run()
    assert world.item("1-7-1").outcome is Outcome.REFUSED
    assert world.google.people == {}


@pytest.mark.parametrize("op", ["ensure", "rename"])
async def test_a_label_that_the_list_hides_for_a_while_is_asked_for_by_name_and_kept(op: str) -> None:
    """The list of labels came back empty, a create said that the name is taken (D2)."""
    world = await started()
    world.put(label("1", "Clients"))
    world.put(mutate(ensure(7)))
    await world.run()
    before = dict(world.google.labels)
    world.google.labels_hidden = True
    world.put(label("1", "Clients", 2, op))
    await world.run()
    assert dict(world.google.labels).keys() == before.keys()
    assert settled(world, "label-1-2").label == next(iter(before))
    assert set(before) <= set(world.google.named(7)[0].labels)


async def test_a_name_that_a_hidden_label_holds_is_waited_for_and_the_stamped_label_found() -> None:
    """Our record was lost, and the list shows no label at all."""
    world = await started()
    world.google.labels["contactGroups/old"] = Label("contactGroups/old", "Clients", "e", 0, "1")
    world.google.born["contactGroups/old"] = 0.0
    world.google.labels_hidden = True
    world.put(label("1", "Clients"))
    assert not await world.turn()
    world.google.labels_hidden = False
    await world.run()
    assert set(world.google.labels) == {"contactGroups/old"}
    assert settled(world, "label-1-1").label == "contactGroups/old"


async def test_a_name_that_stays_taken_by_nobody_seen_gets_a_suffix_in_the_end() -> None:
    world = await started()
    world.google.labels["contactGroups/h"] = Label("contactGroups/h", "Clients", "e", 3, None)
    world.google.born["contactGroups/h"] = 0.0
    world.google.labels_hidden = True
    world.put(label("1", "Clients"))
    await world.run()
    assert names(world) == {"Clients", "Clients (Planfix)"}
    assert world.google.labels["contactGroups/h"].stamp is None


async def test_a_renamed_filter_whose_new_name_is_taken_gets_a_suffix_and_touches_nobodys_label() -> None:
    world = await started()
    humans_label(world, "Customers", 2)
    world.put(label("1", "Clients"))
    await world.run()
    world.put(label("1", "Customers", 2, "rename"))
    await world.run()
    assert names(world) == {"Customers", "Customers (Planfix)"}
    assert world.google.labels["contactGroups/h"].stamp is None


async def test_a_list_that_shows_no_labels_for_a_while_makes_no_second_one() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    world.put(mutate(ensure(7)))
    await world.run()
    (resource,) = world.google.labels
    world.google.labels_hidden_until = world.clock.now + 86_400.0
    world.put(label("1", "Clients", 2))
    world.put(label("1", "Customers", 3, "rename"))
    await world.run()
    assert list(world.google.labels) == [resource]
    assert names(world) == {"Customers"}
    assert settled(world, "label-1-2").label == settled(world, "label-1-3").label == resource
    assert resource in world.google.named(7)[0].labels


async def test_after_a_loss_of_state_a_label_that_the_list_does_not_show_yet_is_waited_for() -> None:
    world = await started()
    world.put(label("1", "Clients"))
    await world.run()
    (resource,) = world.google.labels
    for key in [key for key in world.server.values if key.startswith("state.account.")]:
        del world.server.values[key]
    world.google.labels_hidden_until = world.clock.now + 60.0
    await world.start()
    world.put(label("1", "Clients"))
    await world.run()
    assert list(world.google.labels) == [resource]
    assert settled(world, "label-1-1").reused is True


async def test_a_name_that_stays_taken_without_ever_showing_is_given_up_for_another() -> None:
    world = await started()
    humans_label(world, "Clients", 2)
    world.google.born["contactGroups/h"] = world.clock.now + 1e9
    world.put(label("1", "Clients"))
    await world.run()
    assert names(world) == {"Clients", "Clients (Planfix)"}


@pytest.mark.parametrize("call", ["list_labels", "create_label", "get_label"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_while_a_label_is_made_there_is_one(call: str, when: str) -> None:
    world = await started()
    world.google.list_lag_s = 60.0
    world.put(label("1", "Clients"))
    if call == "get_label":
        await world.run()
        world.google.labels_hidden_until = world.clock.now + 1000.0
        world.put(label("1", "Clients", 2))
    world.google.fail(call, when, Crash(call))
    with pytest.raises(Crash):
        await world.run()
    await world.start()
    await world.run()
    assert names(world) == {"Clients"}
    assert len(world.google.labels) == 1
