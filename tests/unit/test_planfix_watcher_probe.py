"""Whether a filter holds more contacts than fit is found out before its first page is told."""

from __future__ import annotations

import pytest

from contactsync.planfix.port import ContactPage
from contactsync.planfix_watcher.known import Known
from contactsync.planfix_watcher.work import Ask, Listing, probes_of
from contactsync_contracts.messages import Model, PlanfixContact, PlanfixListed, PlanfixObserved
from watching import only


def answer(ask: Ask, persons: int, companies: int, size: int = 100) -> ContactPage:
    count = companies if ask.query.companies else persons
    first = 1_000_000 if ask.query.companies else 1
    numbers = range(first + ask.offset, first + min(ask.offset + size, count))
    return ContactPage(tuple(PlanfixContact(contact=n, fields={}) for n in numbers), len(numbers))


def run(
    listing: Listing, persons: int, companies: int, size: int = 100
) -> tuple[list[Model], list[tuple[bool, int]]]:
    models: list[Model] = []
    asked = []
    while not listing.done:
        ask = listing.ask()
        asked.append((ask.query.companies, ask.offset))
        models += listing.take(answer(ask, persons, companies, size), 5.0)
    return models, asked


@pytest.mark.parametrize(
    ("persons", "companies", "most", "more"),
    [
        pytest.param(30, 0, 40, None, id="a small filter is not asked about"),
        pytest.param(300, 0, 5000, False, id="fewer"),
        pytest.param(300, 200, 5000, False, id="fewer, with companies"),
        pytest.param(5000, 0, 5000, False, id="just as many"),
        pytest.param(4500, 500, 5000, True, id="said although it fits: some places are for companies"),
        pytest.param(5001, 0, 5000, True, id="more"),
        pytest.param(3900, 1200, 5000, True, id="more together"),
        pytest.param(10, 300, 200, True, id="more companies"),
        pytest.param(10, 150, 200, False, id="companies that fit"),
        pytest.param(120, 0, 1, True, id="one place"),
    ],
)
@pytest.mark.parametrize("size", [100, 60], ids=["full pages", "short pages"])
def test_every_page_says_whether_more_may_come(
    persons: int, companies: int, most: int, more: bool | None, size: int
) -> None:
    listing = Listing("f", 3, Known(), ("r",), probe=most)
    models, asked = run(listing, persons, companies, size)
    observed = only(models, PlanfixObserved)
    full = [one for one in observed if len(one.contacts) > 40]
    assert {one.total_hint for one in full} == ({most + 1} if more else {None}) or more is None
    numbers = [contact.contact for one in observed for contact in one.contacts]
    assert len(numbers) == len(set(numbers)) == persons + companies
    assert sum(len(one.members) for one in only(models, PlanfixListed)) == persons + companies
    pages = -(-persons // size) + 1 + -(-companies // size) + 1
    assert len(asked) <= pages + 3


def test_nothing_is_told_before_the_probes_are_answered() -> None:
    listing = Listing("f", 3, Known(), ("r",), probe=5000)
    told = []
    for _ in range(5):  # two pages, two probes, another page
        told.append(len(listing.take(answer(listing.ask(), 300, 0), 5.0)))
    assert told == [0, 0, 0, 2, 1]


@pytest.mark.parametrize(("most", "hint"), [(100, None), (99, 100), (1, 2)])
def test_what_one_page_holds_is_not_asked_about(most: int, hint: int | None) -> None:
    models, asked = run(Listing("f", 3, Known(), ("r",), probe=most), 100, 0)
    assert asked == [(False, 0), (False, 100), (True, 0)]
    assert [one.total_hint for one in only(models, PlanfixObserved)] == [hint]


@pytest.mark.parametrize(("most", "hint"), [(250, 251), (300, None)])
def test_a_page_of_persons_is_told_when_it_is_known_how_many_companies_come(most: int, hint: int | None) -> None:
    listing = Listing("f", 3, Known(), ("r",), probe=most)
    models, asked = run(listing, 100, 200)
    assert asked[:4] == [(False, 0), (False, 100), (True, 0), (True, most - 100)]
    assert {one.total_hint for one in only(models, PlanfixObserved)} == {hint}


def test_a_listing_whose_pages_are_held_begins_anew_elsewhere() -> None:
    first = Listing("f", 3, Known(), ("r",), probe=5000)
    first.take(answer(first.ask(), 300, 0), 5.0)
    assert first.progress() is None


def test_a_listing_that_goes_on_elsewhere_keeps_what_it_found_and_does_not_ask_again() -> None:
    first = Listing("f", 3, Known(), ("r",), probe=150)
    for _ in range(4):
        first.take(answer(first.ask(), 300, 0), 5.0)
    second = Listing("f", 3, Known(), ("r",), probe=150)
    second.resume(first.progress() or {})
    models, asked = run(second, 300, 0)
    assert {one.total_hint for one in only(models, PlanfixObserved)} == {151}
    assert asked[0] == (False, first.offset)


def test_without_a_probe_nothing_is_asked() -> None:
    models, asked = run(Listing("f", 3, Known(), ("r",)), 300, 0)
    assert asked == [(False, 0), (False, 100), (False, 200), (False, 300), (True, 0)]
    assert {one.total_hint for one in only(models, PlanfixObserved)} == {None}


@pytest.mark.parametrize("most", [1, 2, 3, 999, 2000, 24_900])
@pytest.mark.parametrize("companies", [False, True])
def test_if_all_probes_are_empty_everything_fits(most: int, companies: bool) -> None:
    assert sum(offset for _, offset in probes_of(most, companies=companies)) == most
