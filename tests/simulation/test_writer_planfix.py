"""The writer on Planfix: the real client against the simulated account, over a real socket."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Outcome
from writer_office import office
from writer_world import Crash, DyingBus


async def test_a_change_is_written_read_back_and_looked_at_for_the_other_filters() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann", "lastname": "Bell"})
        place.put(place.update(number, {"given": "Anna"}, {"given": "Ann"}))
        await place.world.run()
        assert place.read(number, "name") == "Anna"
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.DONE
        assert place.answered(f"p-{number}-1").fields["given"] == "Anna"
        (look,) = place.looks()
        assert (look.what, look.contacts, look.filter_id) == ("contacts", (number,), "")


async def test_a_contact_that_changed_meanwhile_settles_as_stale_and_is_not_written() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Human"})
        place.put(place.update(number, {"given": "Anna"}, {"given": "Ann"}))
        await place.world.run()
        assert place.writes() == []
        assert place.world.item(f"p-{number}-1").outcome is Outcome.STALE
        assert place.answered(f"p-{number}-1").fields["given"] == "Human"
        assert place.looks() == []


async def test_a_contact_that_the_owner_may_not_edit_is_read_only() -> None:
    async with office() as place:
        locked, *free = [place.planfix.add_contact({"name": f"N{n}"}) for n in range(4)]
        place.planfix.set_editable(place.owner, None, True)
        place.planfix.set_editable(place.owner, [locked], False)
        place.put(*(place.update(n, {"given": "New"}, {}) for n in (locked, *free)))
        await place.world.run()
        assert place.world.item(f"p-{locked}-1").outcome is Outcome.READ_ONLY
        assert place.read(locked, "name") == "N0"
        assert [place.read(n, "name") for n in free] == ["New"] * 3


async def test_without_proof_nothing_is_concluded_and_nothing_written() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann"})
        place.planfix.set_editable(place.owner, None, False)
        place.put(place.update(number, {"given": "Anna"}, {}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.REFUSED
        assert "could not confirm" in item.reason
        assert place.read(number, "name") == "Ann"


async def test_a_trashed_contact_settles_as_gone() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann"})
        place.planfix.trash_contact(number)
        place.put(place.update(number, {"given": "Anna"}, {}))
        await place.world.run()
        assert place.world.item(f"p-{number}-1").outcome is Outcome.GONE


async def test_a_settled_revision_is_not_written_again() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann"})
        place.put(place.update(number, {"given": "Anna"}, {}))
        await place.world.run()
        place.planfix.edit_contact(number, {"name": "Human"})
        await place.world.start()
        place.put(place.update(number, {"given": "Anna"}, {}))
        await place.world.run()
        assert place.read(number, "name") == "Human"
        assert len(place.writes()) == 1
        assert place.world.item(f"p-{number}-1").outcome is Outcome.DONE


async def test_a_queued_change_is_done_when_it_reads_back() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann"})
        place.planfix.queue_next_updates(1)
        place.put(place.update(number, {"given": "Anna"}, {}))
        await place.world.run()
        assert place.world.item(f"p-{number}-1").outcome is Outcome.DONE
        assert place.answered(f"p-{number}-1").fields["given"] == "Anna"
        assert len(place.writes()) == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_lost_answer_to_an_update_is_decided_by_reading_back(arrives: bool) -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann"})
        (place.lose if arrives else place.cut).append(("POST", f"contact/{number}"))
        place.put(place.update(number, {"given": "Anna"}, {"given": "Ann"}))
        await place.world.run()
        assert place.read(number, "name") == "Anna"
        assert place.world.item(f"p-{number}-1").outcome is Outcome.DONE
        assert len(place.writes()) == (1 if arrives else 2)


async def test_an_email_that_planfix_ignores_is_refused_by_name() -> None:
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann", "email": "ann@example.com"})
        emails = tuple(Element(key=f"{one}@example.com", value=f"{one}@example.com") for one in ("ann", "other"))
        place.put(place.update(number, {"emails": emails, "notes": "x"}, {}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.DONE
        assert item.refused.keys() == {"emails"}
        assert place.read(number, "description") == "x"


async def test_what_was_not_taken_is_named_in_an_answer_from_memory_too() -> None:
    """The reconciler must not take what Planfix refused for Planfix's removal afterwards."""
    async with office() as place:
        number = place.planfix.add_contact({"name": "Ann", "email": "ann@example.com"})
        emails = tuple(Element(key=f"{one}@example.com", value=f"{one}@example.com") for one in ("ann", "other"))
        place.put(place.update(number, {"emails": emails, "notes": "x"}, {}))
        await place.world.run()
        first = place.world.item(f"p-{number}-1")
        assert first.otherwise == {}
        await place.world.start()
        place.put(place.update(number, {"emails": emails, "notes": "x"}, {}))
        await place.world.run()
        again = place.world.item(f"p-{number}-1")
        assert (again.outcome, again.planfix, again.refused) == (Outcome.DONE, None, first.refused)
        assert again.otherwise == {"emails": emails[:1]}
        assert len(place.writes()) == 1


async def test_a_taken_email_is_left_out_and_the_rest_is_written() -> None:
    async with office() as place:
        place.planfix.add_contact({"name": "First", "email": "taken@example.com"})
        number = place.planfix.add_contact({"name": "Ann"})
        emails = (Element(key="taken@example.com", value="taken@example.com"),)
        place.put(place.update(number, {"emails": emails, "notes": "x"}, {}))
        place.put(place.create("m1", {"given": "Cid", "emails": emails}))
        await place.world.run()
        for mutation_id in (f"p-{number}-1", "c-m1"):
            item = place.world.item(mutation_id)
            assert item.outcome is Outcome.DONE
            assert item.refused.keys() == {"emails"}
        assert place.read(number, "description") == "x"
        assert len(place.marked("m1")) == 1


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_lost_answer_to_a_create_makes_one_contact(arrives: bool) -> None:
    async with office() as place:
        (place.lose if arrives else place.cut).append(("POST", "contact/"))
        place.put(place.create("m1", {"given": "Ann", "family": "Bell"}))
        await place.world.run()
        (number,) = place.marked("m1")
        item = place.world.item("c-m1")
        assert (item.outcome, item.contact, item.arrival) == (Outcome.DONE, number, "arrival-m1")
        assert not [key for key in place.world.server.values if ".intent." in key]


async def test_a_replayed_create_is_answered_from_state() -> None:
    async with office() as place:
        place.put(place.create("m1", {"given": "Ann"}))
        await place.world.run()
        await place.world.start()
        place.put(place.create("m1", {"given": "Ann"}))
        await place.world.run()
        assert len(place.marked("m1")) == 1
        assert place.world.item("c-m1").contact == place.marked("m1")[0]


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after it took effect"])
async def test_killed_at_every_operation_on_the_bus_nothing_is_made_twice(after: bool) -> None:
    died = 0
    for operations in range(50):
        async with office() as place:
            number = place.planfix.add_contact({"name": "Ann"})
            place.put(place.update(number, {"given": "Anna"}, {"given": "Ann"}))
            place.put(place.create("m1", {"given": "Bob"}))
            try:
                await place.world.start(DyingBus(place.world.bus, operations, after=after))
                await place.world.run()
                break
            except Crash:
                died += 1
            await place.world.start()
            await place.world.run()
            assert len(place.marked("m1")) == 1
            assert place.read(number, "name") == "Anna"
            assert {place.world.item(one).outcome for one in (f"p-{number}-1", "c-m1")} == {Outcome.DONE}
    assert died > 5


async def test_a_field_that_planfix_refuses_without_naming_it_is_found_and_held_back_alone() -> None:
    """It takes no emoji and says no more than that it could not read the request (code 30)."""
    async with office(emoji="reject") as place:
        number = place.planfix.add_contact({"name": "Ann", "lastname": "Bell"})
        fields: Contact = {
            "given": "Anna", "family": "Lee", "notes": "a party \U0001f389", "position": "boss", "site": "https://x.test",
        }  # fmt: skip
        place.put(place.update(number, fields, {}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.DONE
        assert item.refused.keys() == {"notes"}
        read = place.account.read(number, "name,lastname,position,site,description")
        assert [read[name] for name in ("name", "lastname", "position", "site", "description")] == [
            "Anna", "Lee", "boss", "https://x.test", "",
        ]  # fmt: skip


async def test_a_contact_of_which_planfix_takes_nothing_is_refused_once() -> None:
    async with office(emoji="reject") as place:
        number, other = (place.planfix.add_contact({"name": name}) for name in ("Ann", "Bob"))
        place.put(
            place.update(number, {"given": "\U0001f600", "notes": "\U0001f389"}, {}),
            place.update(other, {"notes": "x"}, {}),
        )
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.REFUSED
        assert item.refused.keys() == {"given", "notes"}
        assert place.world.item(f"p-{other}-1").outcome is Outcome.DONE
        writes = len(place.writes())
        await place.world.start()
        place.put(place.update(number, {"given": "\U0001f600", "notes": "\U0001f389"}, {}))
        await place.world.run()
        assert len(place.writes()) == writes


async def test_an_answer_lost_while_the_refused_field_is_looked_for_leads_to_another_merge() -> None:
    async with office(emoji="reject") as place:
        number = place.planfix.add_contact({"name": "Ann"})
        line = ("POST", f"contact/{number}")
        place.lose_after = {line: 1}
        place.put(place.update(number, {"given": "Anna", "notes": "\U0001f389"}, {"given": "Ann"}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.STALE
        assert item.planfix is not None
        assert item.planfix.fields["given"] == "Anna"
