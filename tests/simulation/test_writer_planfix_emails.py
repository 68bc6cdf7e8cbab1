"""Additional e-mail addresses: documented as read-only in Planfix, so whether a write sticks is found out."""

from __future__ import annotations

import pytest

from contactsync_contracts.contact import Contact, Element
from contactsync_contracts.messages import Outcome
from writer_office import Office, office

MODES = ["ignored", "refused", "writable"]


def emails(*names: str) -> tuple[Element, ...]:
    return tuple(Element(f"{name}@example.com", f"{name}@example.com") for name in names)


def in_planfix(place: Office, contact: int) -> list[str]:
    read = place.account.read(contact, "email,additionalEmailAddresses")
    return [one.split("@")[0] for one in (read["email"], *read["additionalEmailAddresses"]) if one]


def contact_with(place: Office, *names: str) -> int:
    fields = {"name": "Ann", "lastname": "Bell"}
    if names:
        fields["email"] = f"{names[0]}@example.com"
    number = place.planfix.add_contact(fields)
    if names[1:]:
        place.planfix.edit_contact(number, {"additionalEmailAddresses": [f"{one}@example.com" for one in names[1:]]})
    return number


@pytest.mark.parametrize("mode", MODES)
async def test_an_added_address_sticks_or_is_named_as_refused(mode: str) -> None:
    async with office(additional_emails=mode) as place:
        number = contact_with(place, "a")
        place.put(place.update(number, {"emails": emails("a", "b"), "notes": "x"}, {}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert item.outcome is Outcome.DONE
        assert place.read(number, "description") == "x"
        assert in_planfix(place, number) == (["a", "b"] if mode == "writable" else ["a"])
        assert item.refused.keys() == (set() if mode == "writable" else {"emails"})


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_write_showed_is_heeded_from_then_on(mode: str) -> None:
    async with office(additional_emails=mode) as place:
        first, second = contact_with(place, "a"), contact_with(place, "c")
        place.put(place.update(first, {"emails": emails("a", "b")}, {}))
        await place.world.run()
        place.put(place.update(second, {"emails": emails("c", "d")}, {}))
        await place.world.run()
        assert in_planfix(place, second) == (["c", "d"] if mode == "writable" else ["c"])
        bodies = [entry["body"] for entry in place.planfix.journal if entry["contact"] == second]
        assert len(bodies) == (0 if mode == "ignored" else 1)
        assert place.world.item(f"p-{second}-1").outcome is Outcome.DONE


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("held", "wanted", "after"),
    [
        pytest.param(("a",), ("b",), ["b"], id="replaced"),
        pytest.param(("a", "b"), ("b",), ["b"], id="the primary one removed, the additional one becomes it"),
        pytest.param(("a",), ("b", "c"), ["b"], id="removed while two others stand in Google"),
        pytest.param(("a",), (), [], id="none left"),
        pytest.param((), ("a",), ["a"], id="the first one"),
        pytest.param(("a",), ("x", "a"), ["a"], id="one put before it: it stays the primary one"),
    ],
)
async def test_the_next_address_that_planfix_can_hold_becomes_the_primary_one(
    mode: str, held: tuple[str, ...], wanted: tuple[str, ...], after: list[str]
) -> None:
    async with office(additional_emails=mode) as place:
        number = contact_with(place, *held)
        place.put(place.update(number, {"emails": emails(*wanted)}, {"emails": emails(*held)}))
        await place.world.run()
        assert place.world.item(f"p-{number}-1").outcome is Outcome.DONE
        now = in_planfix(place, number)
        assert now[:1] == after[:1]
        if mode == "writable":
            assert set(now) == set(wanted)


@pytest.mark.parametrize("mode", MODES)
async def test_an_address_that_is_somebody_elses_is_passed_over(mode: str) -> None:
    async with office(additional_emails=mode) as place:
        contact_with(place, "taken")
        number = contact_with(place, "a")
        place.put(place.update(number, {"emails": emails("taken", "free")}, {"emails": emails("a")}))
        await place.world.run()
        item = place.world.item(f"p-{number}-1")
        assert in_planfix(place, number)[:1] == ["free"]
        assert item.refused.keys() == {"emails"}


@pytest.mark.parametrize("mode", MODES)
async def test_an_address_that_planfix_cannot_hold_is_passed_over(mode: str) -> None:
    odd = Element("odd address", "odd address")
    async with office(additional_emails=mode) as place:
        number = contact_with(place, "a")
        wanted: Contact = {"emails": (odd, *emails("b"))}
        place.put(place.update(number, wanted, {}))
        await place.world.run()
        assert in_planfix(place, number) == ["b"]
        assert place.world.item(f"p-{number}-1").refused.keys() == {"emails"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("known", [False, True], ids=["before it is known", "after it is known"])
async def test_a_new_contact_gets_all_its_addresses_where_planfix_takes_them(mode: str, known: bool) -> None:
    async with office(additional_emails=mode) as place:
        if known:
            other = contact_with(place, "x")
            place.put(place.update(other, {"emails": emails("x", "y")}, {}))
            await place.world.run()
        place.put(place.create("m1", {"given": "Ann", "emails": emails("a", "b")}))
        await place.world.run()
        (number,) = place.marked("m1")
        item = place.world.item("c-m1")
        assert item.outcome is Outcome.DONE
        assert in_planfix(place, number) == (["a", "b"] if mode == "writable" else ["a"])
        assert item.refused.keys() == (set() if mode == "writable" else {"emails"})


@pytest.mark.parametrize("mode", MODES)
async def test_a_new_contact_with_a_taken_address_gets_the_next_one(mode: str) -> None:
    async with office(additional_emails=mode) as place:
        contact_with(place, "taken")
        place.put(place.create("m1", {"given": "Ann", "emails": emails("taken", "free", "more")}))
        await place.world.run()
        (number,) = place.marked("m1")
        assert in_planfix(place, number)[:1] == ["free"]
        assert place.world.item("c-m1").refused.keys() == {"emails"}
