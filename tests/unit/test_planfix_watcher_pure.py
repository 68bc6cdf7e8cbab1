"""The pieces of work of the Planfix watcher as conversations: what they ask, and what they make of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contactsync.planfix.port import ContactPage, Employee, Filter
from contactsync.planfix_watcher.confirm import Confirm, proofs
from contactsync.planfix_watcher.known import FilterView, Known, view_of
from contactsync.planfix_watcher.matching import Matching
from contactsync.planfix_watcher.schedule import Rank, Turn, next_turns, pause_s, rank_of, retry_s
from contactsync.planfix_watcher.sweep import Sweeper
from contactsync.planfix_watcher.work import (
    NUMBER_MAX,
    Ask,
    Contacts,
    Delta,
    Hints,
    Listing,
    Membership,
    Work,
    listed_parts,
)
from contactsync_contracts.messages import (
    ArrivalMatches,
    Class,
    FilterObserved,
    FilterProblem,
    LookPlanfix,
    Model,
    PersonQuery,
    PlanfixConfirmed,
    PlanfixContact,
    PlanfixListed,
    PlanfixMatched,
    PlanfixObserved,
)
from watching import only


def contact(number: int, name: str = "Ann", *, company: bool = False) -> PlanfixContact:
    return PlanfixContact(contact=number, fields={"given": name}, is_company=company)


def page(*numbers: int, **more: Any) -> ContactPage:
    return ContactPage(tuple(contact(number) for number in numbers), len(numbers), **more)


def run(work: Work, answer: Callable[[Ask], ContactPage]) -> list[Model]:
    models: list[Model] = []
    for at in range(1, 200):
        if work.done:
            return models
        ask = work.ask()
        models += work.take(answer(ask) if ask else page(), float(at))
    raise AssertionError("the work does not end")


def pages(*persons: ContactPage) -> Callable[[Ask], ContactPage]:
    """Answers by place; then, and for companies, empty pages."""
    left = list(persons)
    return lambda ask: page() if ask.query.companies or not left else left.pop(0)


def members(models: list[Model]) -> list[int]:
    return [number for listed in only(models, PlanfixListed) for number in listed.members]


# ---- listings


def test_a_short_page_in_the_middle_is_not_the_end() -> None:
    offsets: list[int] = []
    given_pages = pages(page(*range(1, 101)), page(101), page(*range(102, 150)))

    def answer(ask: Ask) -> ContactPage:
        offsets.append(ask.offset)
        return given_pages(ask)

    models = run(Listing("f", 3, Known(), ("r",)), answer)
    assert members(models) == list(range(1, 150))
    assert offsets == [0, 100, 101, 149, 0]
    assert all(m.member and m.request_id == "r" for m in only(models, PlanfixObserved))
    assert [(m.low, m.high, m.last, m.began_at) for m in only(models, PlanfixListed)] == [(0, NUMBER_MAX, True, 1.0)]


def test_a_background_listing_tells_only_what_differs_but_always_who_is_there() -> None:
    known = Known()
    run(Listing("f", 3, known), pages(page(1, 2)))
    changed = ContactPage((contact(1), contact(2, "Bob"), contact(3)), 3)
    models = run(Listing("f", 3, known), pages(changed))
    assert [c.contact for m in only(models, PlanfixObserved) for c in m.contacts] == [2, 3]
    assert members(models) == [1, 2, 3]
    asked = run(Listing("f", 3, known, ("r",)), pages(changed))
    assert [c.contact for m in only(asked, PlanfixObserved) for c in m.contacts] == [1, 2, 3]


def test_persons_and_companies_are_counted_once_whatever_the_passes_answer() -> None:
    def answer(ask: Ask) -> ContactPage:
        return page(1, 2) if ask.offset == 0 else page()

    models = run(Listing("f", 3, Known(), ("r",)), answer)
    assert [c.contact for m in only(models, PlanfixObserved) for c in m.contacts] == [1, 2]


def test_a_contact_that_could_not_be_mapped_is_not_missing() -> None:
    models = run(Listing("f", 3, Known(), ("r",)), pages(page(1, skipped={2: "odd"})))
    assert members(models) == [1, 2]


def test_a_listing_goes_on_where_another_stopped() -> None:
    first = Listing("f", 3, Known(), ("r",))
    first.take(page(1, 2), 5.0)
    second = Listing("f", 3, Known(), ("r",))
    second.resume(first.progress())
    assert second.ask() == Ask(second.ask().query, 2)
    models = run(second, pages(page(3)))
    assert members(models) == [1, 2, 3]
    assert only(models, PlanfixListed)[0].began_at == 5.0


def test_an_empty_listing_asks_why_before_it_says_so() -> None:
    listing = Listing("f", 3, Known(), ("r",))

    def answer(ask: Ask) -> ContactPage:
        return page() if ask.query.visible_to else page(1, 2)

    models = run(listing, answer)
    assert listing.without_owner == 2
    assert [(m.members, m.last) for m in only(models, PlanfixListed)] == [((), True)]


@given(st.lists(st.integers(1, 60)), st.integers(1, 4), st.integers(0, 70))
def test_listed_ranges_hold_every_number_in_exactly_one_place(numbers: list[int], size: int, probe: int) -> None:
    parts = listed_parts(numbers, size)
    assert [number for _, _, part in parts for number in part] == sorted(set(numbers))
    assert (parts[0][0], parts[-1][1]) == (0, NUMBER_MAX)
    assert all(low <= number <= high for low, high, part in parts for number in part)
    assert sum(low <= probe <= high for low, high, _ in parts) == 1


# ---- deltas, membership, single contacts


def holding(**filters: list[int]) -> Known:
    known = Known()
    for name, numbers in filters.items():
        run(Listing(name, 3, known), pages(page(*numbers)))
    return known


def test_a_changed_contact_goes_at_once_to_those_who_hold_it() -> None:
    delta = Delta(0.0, holding(f=[1, 2], g=[2]), {})
    models = run(delta, pages(ContactPage((contact(2, "Bob"), contact(3)), 2)))
    assert [(m.filter_id, m.member, [c.contact for c in m.contacts]) for m in only(models, PlanfixObserved)] == [
        ("f", None, [2]),
        ("g", None, [2]),
    ]
    assert [one.contact for one in delta.changed] == [2, 3]


def test_what_the_overlap_brings_again_is_not_told_again() -> None:
    known = holding(f=[2])
    first = Delta(0.0, known, {})
    run(first, pages(ContactPage((contact(2, "Bob"),), 1)))
    second = Delta(0.0, known, first.seen)
    assert run(second, pages(ContactPage((contact(2, "Bob"),), 1))) == []
    assert second.changed == []
    third = Delta(0.0, known, second.seen)
    assert len(run(third, pages(ContactPage((contact(2, "Ann"),), 1)))) == 1


def test_a_contact_of_which_only_unmapped_things_changed_may_have_changed_its_filters() -> None:
    known = holding(f=[2])
    first = Delta(0.0, known, {})
    run(first, pages(page(3, modified={3: "12:00"})))
    second = Delta(0.0, known, first.seen)
    run(second, pages(page(3, modified={3: "12:01"})))
    assert [one.contact for one in second.changed] == [3]


def test_a_contact_that_leaves_the_window_is_looked_at_for_a_last_time() -> None:
    known = holding(f=[2])
    first = Delta(0.0, known, {})
    run(first, pages(page(2, 3, modified={3: "12:00"})))
    assert first.settled == []
    second = Delta(0.0, known, first.seen)
    run(second, pages(page(2)))
    assert second.settled == [(3, False)]


def test_a_quiet_delta_is_one_request_unless_companies_are_known() -> None:
    delta = Delta(0.0, holding(f=[1]), {})
    delta.take(page(), 1.0)
    assert delta.done
    known = holding(f=[1])
    known.tell("f", [contact(9, company=True)])
    delta = Delta(0.0, known, {})
    delta.take(page(), 1.0)
    assert not delta.done
    assert delta.ask().query.companies


def test_a_member_that_did_not_come_is_named_alone_and_told_again_when_it_returns() -> None:
    known = holding(f=[1, 2])
    models = run(Membership("f", 3, known, [1, 2, 7], companies=False), pages(page(1)))
    assert [(m.low, m.high, m.members, m.last) for m in only(models, PlanfixListed)] == [(2, 2, (), False)]
    assert only(models, PlanfixObserved) == []
    back = run(Membership("f", 3, known, [2], companies=False), pages(page(2)))
    assert [(m.member, m.contacts[0].contact) for m in only(back, PlanfixObserved)] == [(True, 2)]


def test_what_is_missing_from_the_filter_is_read_without_it_and_says_nothing_about_membership() -> None:
    def answer(ask: Ask) -> ContactPage:
        if ask.query.companies:
            return page()
        return page(1) if ask.query.filter_id else page(2)

    models = run(Contacts("f", 3, Known(), (1, 2, 3), "r"), answer)
    assert [(m.member, [c.contact for c in m.contacts]) for m in only(models, PlanfixObserved)] == [
        (True, [1]),
        (None, [2]),
    ]


def test_a_look_for_contacts_that_do_not_exist_is_answered_all_the_same() -> None:
    models = run(Contacts("f", 3, Known(), (8,), "r"), lambda _: page())
    assert [(m.request_id, m.contacts) for m in only(models, PlanfixObserved)] == [("r", ())]
    assert run(Contacts("f", 3, Known(), (), "r"), lambda _: pytest.fail("asked for nothing"))


def test_a_hint_is_told_to_the_holders_and_unknown_contacts_may_be_entering() -> None:
    hints = Hints(holding(f=[1]), (1, 2))
    models = run(hints, pages(page(1, 2)))
    assert [(m.filter_id, m.contacts[0].contact) for m in only(models, PlanfixObserved)] == [("f", 1)]
    assert [one.contact for one in hints.entering] == [2]


# ---- confirmation


@given(st.sets(st.integers(1, 300), min_size=1, max_size=150), st.sets(st.integers(1, 300), max_size=150))
def test_every_proof_holds_more_known_members_than_missing_ones(missing: set[int], known: set[int]) -> None:
    requests = proofs(sorted(missing), sorted(known))
    assert sorted(number for part, _ in requests for number in part) == sorted(missing)
    usable = known - missing
    for part, proof in requests:
        assert len(part) + len(proof) <= 100
        assert len(proof) > len(part) or (len(usable) <= 1 and len(part) == 1)


def confirmed(work: Confirm, answer: Callable[[Ask], ContactPage]) -> tuple[Any, Any, Any]:
    (model,) = only(run(work, answer), PlanfixConfirmed)
    return model.gone, model.present, model.undecided


def test_a_contact_missing_twice_beside_all_known_members_is_gone() -> None:
    asked: list[tuple[int, ...] | None] = []

    def answer(ask: Ask) -> ContactPage:
        assert (ask.query.filter_id, ask.query.visible_to) == ("f", 3)
        asked.append(ask.query.numbers)
        return page() if ask.query.companies else page(2, 10, 11, 12)

    assert confirmed(Confirm("f", 3, "r", (1, 2), range(10, 15)), answer) == ((1,), (2,), ())
    assert asked == [(1, 2, 10, 11, 12)] * 4


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        pytest.param([(10, 11), (10,)], ((), (), (1,)), id="the second answer is short"),
        pytest.param([(), ()], ((), (), (1,)), id="empty answers"),
        pytest.param([(1, 10, 11), (10, 11)], ((), (1,), ()), id="it came once"),
        pytest.param([(10, 11), (10, 11)], ((1,), (), ()), id="it came never"),
        pytest.param([(1,), ()], ((), (1,), ()), id="it came, though others did not"),
    ],
)
def test_a_short_answer_confirms_nothing(answers: list[tuple[int, ...]], result: tuple[Any, Any, Any]) -> None:
    rounds = iter(answers)
    work = Confirm("f", 3, "r", (1,), (10, 11, 12))
    assert confirmed(work, lambda ask: page() if ask.query.companies else page(*next(rounds))) == result


@pytest.mark.parametrize("known", range(1, 7))
@pytest.mark.parametrize("number", [1, 99], ids=["before them", "after them"])
def test_an_answer_that_is_cut_where_the_listing_was_confirms_nothing(number: int, known: int) -> None:
    members = range(10, 10 + known)

    def answer(ask: Ask) -> ContactPage:
        there = sorted({*members, number} & set(ask.query.numbers))
        return page() if ask.query.companies else page(*there[:known])

    assert confirmed(Confirm("f", 3, "r", (number,), members), answer) == ((), (number,), ())


@pytest.mark.parametrize("known", range(1, 7))
def test_whoever_left_a_small_filter_is_gone(known: int) -> None:
    members = range(10, 10 + known)

    def answer(ask: Ask) -> ContactPage:
        return page() if ask.query.companies else page(*sorted({*members} & set(ask.query.numbers)))

    assert confirmed(Confirm("f", 3, "r", (99,), members), answer) == ((99,), (), ())


def test_a_company_that_came_in_the_second_pass_is_present() -> None:
    work = Confirm("f", 3, "r", (1,), (10, 11))
    assert confirmed(work, lambda ask: page(1) if ask.query.companies else page(10, 11)) == ((), (1,), ())


def test_without_a_known_member_only_a_contact_that_does_not_exist_is_gone() -> None:
    work = Confirm("f", 3, "r", (1, 2), ())
    assert confirmed(work, lambda ask: page(2) if ask.number == 2 else page()) == ((1,), (), (2,))
    flaky = iter([page(), page(1)])
    assert confirmed(Confirm("f", 3, "r", (1,), ()), lambda _: next(flaky)) == ((), (), (1,))


# ---- matching


def matched(owner: int | None, visible: set[int]) -> tuple[ArrivalMatches, ...]:
    def answer(ask: Ask) -> ContactPage:
        query = ask.query
        if query.companies:
            return page()
        if query.email == "a@x.example":
            return page(5)
        if query.phone == "12025550101":
            return page(6)
        return page(*(set(query.numbers) & visible)) if query.numbers and query.visible_to == owner else page()

    people = [
        PersonQuery(arrival="p1", emails=("a@x.example", "b@x.example")),
        PersonQuery(arrival="p2", phones=("+1 202 555 0101",)),
        PersonQuery(arrival="p3"),
        PersonQuery(arrival="p4", contacts=(7,)),
    ]
    (model,) = only(run(Matching("f", owner, "r", people), answer), PlanfixMatched)
    return model.answers


def test_a_match_that_the_owner_cannot_see_is_not_shown() -> None:
    told = [(m.arrival, [c.contact for c in m.contacts], m.invisible) for m in matched(3, {5})]
    assert told == [("p1", [5], False), ("p2", [], True), ("p3", [], False), ("p4", [], True)]


def test_a_contact_that_a_human_named_is_answered_if_the_owner_sees_it() -> None:
    assert [[c.contact for c in m.contacts] for m in matched(3, {7})] == [[], [], [], [7]]


def test_without_an_owner_nothing_is_visible() -> None:
    told = [(len(m.contacts), m.invisible) for m in matched(None, {5, 6, 7})]
    assert told == [(0, True), (0, True), (0, False), (0, True)]


# ---- the line


@pytest.mark.parametrize(
    ("what", "cls", "rank"),
    [
        ("contacts", Class.HUMAN, Rank.HUMAN),
        ("listing", Class.HUMAN, Rank.HUMAN_LISTING),
        ("confirm", Class.CHANGE, Rank.CHANGE),
        ("listing", Class.CHANGE, Rank.CHANGE_LISTING),
        ("listing", Class.BACKGROUND, Rank.BACKGROUND),
    ],
)
def test_rank_of_a_look(what: Any, cls: Class, rank: Rank) -> None:
    assert rank_of(LookPlanfix(request_id="r", what=what, cls=cls)) is rank


def test_the_most_urgent_that_is_ready_goes_first_and_equals_in_their_order() -> None:
    turns = [
        Turn(Rank.ROTATION, 0, 0, "rotation"),
        Turn(Rank.CHANGE, 0, 7, "later"),
        Turn(Rank.CHANGE, 0, 3, "earlier"),
        Turn(Rank.HUMAN, 99, 1, "not yet"),
    ]
    assert [turn.of for turn in next_turns(turns, 10)] == ["earlier"]
    assert next_turns(turns[3:], 10) == []
    assert [turn.of for turn in next_turns(turns, 100)] == ["not yet"]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        pytest.param(Rank.BACKGROUND, ["a", "b", "c"], id="as many as may"),
        pytest.param(Rank.HUMAN, ["sweep"], id="alone before them"),
        pytest.param(Rank.CHANGE, ["a", "b"], id="those before it"),
    ],
)
def test_looks_go_side_by_side_and_the_rest_alone(sweep: Rank, expected: list[str]) -> None:
    turns = [
        Turn(Rank.CHANGE, 0, 1, "a", alone=False),
        Turn(Rank.CHANGE, 0, 2, "b", alone=False),
        Turn(sweep, 0, 2.5, "sweep"),
        Turn(Rank.CHANGE_LISTING, 0, 3, "c", alone=False),
        Turn(Rank.CHANGE_LISTING, 0, 4, "d", alone=False),
    ]
    assert [turn.of for turn in next_turns(turns, 10, most=3)] == expected


def test_polling_leaves_a_part_of_the_day_to_others() -> None:
    assert pause_s(1000, 8000.0) == pytest.approx(10.0)
    assert pause_s(0, 500.0) == 500.0
    assert [retry_s(n) for n in (1, 2, 3, 20)] == [1, 2, 4, 60]
    assert retry_s(1, 30.0) == 30.0


# ---- filters and employees

VIEW = FilterView("7", 3, "in_sync", "Friends")
ACTIVE = [Employee(3, "Eve", "", (), True)]


def swept(sweeper: Sweeper, filters: list[Filter], employees: list[Employee]) -> list[FilterObserved]:
    return sweeper.conclude([VIEW], filters, employees, asked=(), now=1.0)[0]


def test_a_filter_as_its_actor_knows_it_is_not_news_and_a_new_name_is() -> None:
    sweeper = Sweeper()
    assert swept(sweeper, [Filter("7", "Friends", 3)], ACTIVE) == []
    assert [one.name for one in swept(sweeper, [Filter("7", "Pals", 3)], ACTIVE)] == ["Pals"]
    assert swept(sweeper, [Filter("7", "Pals", 3)], ACTIVE) == []


def test_a_filter_is_gone_when_it_is_missing_twice_in_a_row_from_a_list_that_is_not_empty() -> None:
    sweeper, other = Sweeper(), [Filter("8", "Other", 3)]
    assert swept(sweeper, other, ACTIVE) == []
    assert swept(sweeper, [Filter("7", "Friends", 3)], ACTIVE) == []
    assert swept(sweeper, other, ACTIVE) == []
    assert swept(sweeper, [], ACTIVE) == []
    assert [one.problem for one in swept(sweeper, other, ACTIVE)] == [FilterProblem.FILTER_GONE]
    assert swept(sweeper, other, ACTIVE) == []
    assert [one.problem for one in swept(sweeper, [Filter("7", "Friends", 3)], ACTIVE)] == [None]


def test_an_inactive_owner_counts_at_once_and_a_missing_one_twice() -> None:
    filters = [Filter("7", "Friends", 3)]
    inactive = [Employee(3, "Eve", "", (), False)]
    assert [one.problem for one in swept(Sweeper(), filters, inactive)] == [FilterProblem.OWNER_GONE]
    sweeper, others = Sweeper(), [Employee(4, "Bob", "", (), True)]
    assert swept(sweeper, filters, others) == []
    assert [one.problem for one in swept(sweeper, filters, others)] == [FilterProblem.OWNER_GONE]


def test_who_asks_is_told_although_nothing_changed() -> None:
    told, again = Sweeper().conclude([VIEW], [Filter("7", "Friends", 3)], ACTIVE, asked={"7"}, now=1.0)
    assert ([one.name for one in told], again) == (["Friends"], False)


@pytest.mark.parametrize(
    ("state", "watched", "polled", "rotates"),
    [
        ("in_sync", True, True, True),
        ("first_sync", True, True, False),
        ("paused", True, False, False),
        ("filter_gone", True, False, False),
        ("disconnecting", False, False, False),
    ],
)
def test_what_is_done_for_a_filter_in_a_state(state: str, watched: bool, polled: bool, rotates: bool) -> None:
    view = FilterView("7", 3, state, None)
    assert (view.watched, view.polled, view.rotates) == (watched, polled, rotates)


def test_a_record_that_is_no_filter_is_passed_over() -> None:
    assert view_of(b"[]") is None
    assert view_of(b'{"owner": 1}') is None
    assert view_of(b'{"filter_id": "7", "owner": 3, "state": "in_sync", "name": "Friends", "x": 1}') == VIEW
