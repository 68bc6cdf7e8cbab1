"""Merge of one contact: a named row for each line of semantics 2.3."""

from __future__ import annotations

import pytest

from contactsync.reconciler.core.merge import Lost, Rules, Side, WithoutBase, Write, advance, edited, merge
from contactsync_contracts.contact import Contact, Element

TWO_WAY = Rules()
ONE_WAY = Rules(two_way=False)
GOOGLE_WINS = Rules(conflict_winner=Side.GOOGLE)
ADOPT = Rules(without_base=WithoutBase.ADOPT)
ADOPT_ONE_WAY = Rules(two_way=False, without_base=WithoutBase.ADOPT)

NONE = None


def phones(text: str) -> tuple[Element, ...]:
    """`1m 2w`: the numbers +1 (mobile) and +2 (work)."""
    kinds = {"m": "mobile", "w": "work", "h": "home", "o": "other", "": ""}
    return tuple(Element(f"+{item[0]}", f"+{item[0]}", kinds[item[1:]]) for item in text.split())


SCALARS = [
    # name, rules, planfix, google, base, to_google, to_planfix, lost
    ("same_same", TWO_WAY, "a", "a", "a", NONE, NONE, ()),
    ("planfix_changed", TWO_WAY, "b", "a", "a", "b", NONE, ()),
    ("google_changed", TWO_WAY, "a", "b", "a", NONE, "b", ()),
    ("google_changed_one_way", ONE_WAY, "a", "b", "a", "a", NONE, (("google", "b"),)),
    ("both_changed_alike", TWO_WAY, "b", "b", "a", NONE, NONE, ()),
    ("both_changed_alike_one_way", ONE_WAY, "b", "b", "a", NONE, NONE, ()),
    ("conflict_planfix_wins", TWO_WAY, "b", "c", "a", "b", NONE, (("google", "c"),)),
    ("conflict_google_wins", GOOGLE_WINS, "b", "c", "a", NONE, "c", (("planfix", "b"),)),
    (
        "conflict_one_way",
        Rules(two_way=False, conflict_winner=Side.GOOGLE),
        "b",
        "c",
        "a",
        "b",
        NONE,
        (("google", "c"),),
    ),
    ("planfix_cleared", TWO_WAY, "", "a", "a", "", NONE, ()),
    ("google_cleared", TWO_WAY, "a", "", "a", NONE, "", ()),
    ("google_cleared_one_way", ONE_WAY, "a", "", "a", "a", NONE, (("google", ""),)),
    ("both_cleared", TWO_WAY, "", "", "a", NONE, NONE, ()),
    ("cleared_against_edit", TWO_WAY, "", "c", "a", "", NONE, (("google", "c"),)),
    ("no_base_equal", TWO_WAY, "a", "a", NONE, NONE, NONE, ()),
    ("no_base_both_empty", TWO_WAY, "", "", NONE, NONE, NONE, ()),
    ("no_base_planfix_filled", TWO_WAY, "a", "", NONE, "a", NONE, ()),
    ("no_base_google_filled", TWO_WAY, "", "b", NONE, NONE, "b", ()),
    ("no_base_google_filled_one_way", ONE_WAY, "", "b", NONE, NONE, NONE, ()),
    ("no_base_both_filled", GOOGLE_WINS, "a", "b", NONE, "a", NONE, (("google", "b"),)),
    ("adopted_planfix_filled", ADOPT, "a", "", NONE, "a", NONE, ()),
    ("adopted_google_filled", ADOPT, "", "b", NONE, NONE, NONE, ()),
    ("adopted_both_filled", ADOPT, "a", "b", NONE, "a", NONE, (("google", "b"),)),
]


@pytest.mark.parametrize(
    ("rules", "p", "g", "base", "to_google", "to_planfix", "lost"),
    [r[1:] for r in SCALARS],
    ids=[r[0] for r in SCALARS],
)
def test_a_scalar_is_merged(
    rules: Rules,
    p: str,
    g: str,
    base: str | None,
    to_google: str | None,
    to_planfix: str | None,
    lost: tuple[tuple[str, str], ...],
) -> None:
    agreed: Contact | None = None if base is None else {"notes": base}
    found = merge({"notes": p}, {"notes": g}, agreed, agreed, rules)
    assert found.to_google == ({} if to_google is None else {"notes": to_google})
    assert found.to_planfix == ({} if to_planfix is None else {"notes": to_planfix})
    assert found.lost == tuple(Lost("notes", Side(side), value) for side, value in lost)


ELEMENTS = [
    # name, rules, planfix, google, base, to_google, to_planfix
    ("same_same", TWO_WAY, "1m", "1m", "1m", NONE, NONE),
    ("reordered", TWO_WAY, "1m 2w", "2w 1m", "1m 2w", NONE, NONE),
    ("planfix_adds", TWO_WAY, "1m 2w", "1m", "1m", "1m 2w", NONE),
    ("google_adds", TWO_WAY, "1m", "1m 2w", "1m", NONE, "1m 2w"),
    ("google_adds_one_way", ONE_WAY, "1m", "1m 2w", "1m", "1m", NONE),
    ("both_add_different_ones", TWO_WAY, "1m 2w", "1m 3h", "1m", "1m 3h 2w", "1m 2w 3h"),
    ("both_add_the_same_one_with_another_type", GOOGLE_WINS, "1m 2w", "1m 2h", "1m", "1m 2w", NONE),
    ("both_add_the_same_one", TWO_WAY, "1m 2w", "1m 2w", "1m", NONE, NONE),
    ("planfix_removes", TWO_WAY, "1m", "1m 2w", "1m 2w", "1m", NONE),
    ("google_removes", TWO_WAY, "1m 2w", "1m", "1m 2w", NONE, "1m"),
    ("google_removes_one_way", ONE_WAY, "1m 2w", "1m", "1m 2w", "1m 2w", NONE),
    ("both_remove_the_same_one", TWO_WAY, "1m", "1m", "1m 2w", NONE, NONE),
    ("each_removes_another_one", TWO_WAY, "1m", "2w", "1m 2w", "", ""),
    ("planfix_retypes", TWO_WAY, "1w", "1m", "1m", "1w", NONE),
    ("google_retypes", TWO_WAY, "1m", "1w", "1m", NONE, "1w"),
    ("google_retypes_one_way", ONE_WAY, "1m", "1w", "1m", "1m", NONE),
    ("google_gives_a_type_planfix_does_not_know", TWO_WAY, "1m", "1", "1m", NONE, NONE),
    ("both_retype_alike", TWO_WAY, "1w", "1w", "1m", NONE, NONE),
    ("both_retype_planfix_wins", TWO_WAY, "1w", "1h", "1m", "1w", NONE),
    ("both_retype_google_wins", GOOGLE_WINS, "1w", "1h", "1m", NONE, "1h"),
    ("planfix_removes_google_retypes", TWO_WAY, "", "1w", "1m", NONE, "1w"),
    ("planfix_retypes_google_removes", GOOGLE_WINS, "1w", "", "1m", "1w", NONE),
    ("planfix_removes_google_retypes_one_way", ONE_WAY, "", "1w", "1m", "", NONE),
    ("planfix_clears", TWO_WAY, "", "1m 2w", "1m 2w", "", NONE),
    ("google_clears", TWO_WAY, "1m 2w", "", "1m 2w", NONE, ""),
    ("planfix_clears_google_adds", TWO_WAY, "", "1m 2w", "1m", "2w", "2w"),
    ("no_base_united", TWO_WAY, "1m", "2w", NONE, "2w 1m", "1m 2w"),
    ("no_base_one_way", ONE_WAY, "1m", "2w", NONE, "2w 1m", NONE),
    ("no_base_equal", TWO_WAY, "1m", "1m", NONE, NONE, NONE),
    ("no_base_type_unknown_to_planfix", TWO_WAY, "1", "1m", NONE, NONE, NONE),
    ("no_base_type_unknown_to_google", TWO_WAY, "1m", "1", NONE, NONE, NONE),
    ("no_base_types_differ", GOOGLE_WINS, "1m", "1w", NONE, "1m", NONE),
    ("adopted", ADOPT, "1m", "2w", NONE, "2w 1m", NONE),
    ("adopted_one_way", ADOPT_ONE_WAY, "1m", "2w", NONE, "2w 1m", NONE),
    ("adopted_nothing_in_planfix", ADOPT, "", "2w", NONE, NONE, NONE),
]


@pytest.mark.parametrize(
    ("rules", "p", "g", "base", "to_google", "to_planfix"), [r[1:] for r in ELEMENTS], ids=[r[0] for r in ELEMENTS]
)
def test_elements_are_merged(
    rules: Rules, p: str, g: str, base: str | None, to_google: str | None, to_planfix: str | None
) -> None:
    agreed: Contact | None = None if base is None else {"phones": phones(base)}
    found = merge({"phones": phones(p)}, {"phones": phones(g)}, agreed, agreed, rules)
    assert found.to_google == ({} if to_google is None else {"phones": phones(to_google)})
    assert found.to_planfix == ({} if to_planfix is None else {"phones": phones(to_planfix)})


@pytest.mark.parametrize("rules", [TWO_WAY, ONE_WAY, ADOPT])
def test_a_field_that_one_side_does_not_know_is_left_alone(rules: Rules) -> None:
    base: Contact = {"notes": "a", "phones": phones("1m")}
    edited: Contact = {"notes": "b", "phones": ()}
    nothing: Contact = {}
    for p, g in ((nothing, edited), (edited, nothing)):
        found = merge(p, g, base, base, rules)
        assert found.quiet
        assert (found.base_planfix, found.base_google) == (base, base)


def test_each_side_keeps_its_own_spelling() -> None:
    spelled: Contact = {"phones": (Element("+1", "(1)", "mobile"),)}
    plain: Contact = {"phones": (Element("+1", "+1", "mobile"),)}
    assert merge(spelled, plain, plain, plain, TWO_WAY).quiet


def test_one_way_restores_the_form_that_google_agreed_to_hold() -> None:
    found = merge({"notes": "long text"}, {"notes": "edit"}, {"notes": "long text"}, {"notes": "long"}, ONE_WAY)
    assert found.to_google == {"notes": "long"}


def test_a_refused_email_is_offered_again_when_the_field_is_written_anyway() -> None:
    a, b = Element("a@x", "a@x"), Element("b@x", "b@x")
    limits = {"emails:b@x": "taken"}
    both: Contact = {"emails": (a, b)}
    assert merge({"emails": (a,)}, both, {"emails": (a,)}, both, TWO_WAY, limits).quiet
    found = merge({"emails": (a,)}, {"emails": (b,)}, {"emails": (a,)}, both, TWO_WAY, limits)
    assert found.to_planfix == {"emails": (b,)}


def test_what_was_there_at_adoption_stays_one_way_and_later_elements_go() -> None:
    planfix: Contact = {"phones": phones("1m")}
    first = merge(planfix, {"phones": phones("2w")}, None, None, ADOPT_ONE_WAY)
    write = Write(Side.GOOGLE, planfix, {"phones": phones("2w")}, first.to_google)
    bases = advance(first.base_planfix, first.base_google, write, ADOPT_ONE_WAY)
    assert merge(planfix, {"phones": phones("1m 2w")}, *bases, ONE_WAY).quiet
    later = merge(planfix, {"phones": phones("1m 2w 3h")}, *bases, ONE_WAY)
    assert {e.key for e in later.to_google["phones"] if isinstance(e, Element)} == {"+1", "+2"}


def test_both_sides_change_different_elements_at_once_and_nothing_is_lost_or_comes_back() -> None:
    """In the order in which the plan writes: Planfix first, then Google from a new comparison."""
    base: Contact = {"phones": phones("1m 2w 3h")}
    planfix: Contact = {"phones": phones("2w 3o 4m")}  # removed 1, retyped 3, added 4
    google: Contact = {"phones": phones("1m 3h 5w")}  # removed 2, added 5
    first = merge(planfix, google, base, base, TWO_WAY)
    write = Write(Side.PLANFIX, google, planfix, first.to_planfix)
    bases = advance(first.base_planfix, first.base_google, write, TWO_WAY)
    second = merge(first.to_planfix, google, *bases, TWO_WAY)
    assert not second.to_planfix
    write = Write(Side.GOOGLE, first.to_planfix, google, second.to_google)
    bases = advance(second.base_planfix, second.base_google, write, TWO_WAY)
    kinds = {"+3": "other", "+4": "mobile", "+5": "work"}
    for side in (first.to_planfix, second.to_google):
        assert {e.key: e.kind for e in side["phones"] if isinstance(e, Element)} == kinds
    assert merge(first.to_planfix, second.to_google, *bases, TWO_WAY).quiet


def test_an_edit_made_while_a_write_was_under_way_is_still_a_change_afterwards() -> None:
    base: Contact = {"phones": phones("1m")}
    planfix: Contact = {"phones": phones("1m 2w")}
    write = Write(Side.GOOGLE, planfix, base, planfix)
    bases = advance(base, base, write, TWO_WAY)
    found = merge(planfix, {"phones": phones("2w 3h")}, *bases, TWO_WAY)
    assert found.to_planfix == {"phones": phones("2w 3h")}


EDITED = [
    # name, now, base, edited
    ("same", {"notes": "a", "phones": phones("1m")}, {"notes": "a", "phones": phones("1m")}, False),
    ("another_text", {"notes": "b"}, {"notes": "a"}, True),
    ("the_second_field", {"given": "a", "notes": "b"}, {"given": "a", "notes": "a"}, True),
    ("an_element_more", {"phones": phones("1m 2m")}, {"phones": phones("1m")}, True),
    ("an_element_less", {"phones": phones("1m")}, {"phones": phones("1m 2m")}, True),
    ("another_type", {"phones": phones("1w")}, {"phones": phones("1m")}, True),
    ("reordered", {"phones": phones("2m 1m")}, {"phones": phones("1m 2m")}, False),
    ("without_a_base", {"notes": "b"}, {"given": "a"}, False),
    ("not_seen", {}, {"notes": "a"}, False),
]


@pytest.mark.parametrize(("now", "base", "expected"), [r[1:] for r in EDITED], ids=[r[0] for r in EDITED])
def test_a_side_that_differs_from_its_base_is_edited(now: Contact, base: Contact, expected: bool) -> None:
    assert edited(now, base) is expected


LOST = [
    # name, rules, planfix, google, base, lost
    ("nothing", TWO_WAY, "1m 2w", "1m 3h", "1m", ()),
    ("both_retype_planfix_wins", TWO_WAY, "1w", "1h", "1m", (("google", "home"),)),
    ("both_retype_google_wins", GOOGLE_WINS, "1w", "1h", "1m", (("planfix", "work"),)),
    ("both_add_it_with_other_types", GOOGLE_WINS, "1w", "1h", "", (("google", "home"),)),
    ("planfix_removes_google_retypes", TWO_WAY, "", "1w", "1m", (("planfix", ""),)),
    ("planfix_retypes_google_removes", TWO_WAY, "1w", "", "1m", (("google", ""),)),
    ("one_way_retyped", ONE_WAY, "1m", "1h", "1m", (("google", "home"),)),
    ("one_way_removed", ONE_WAY, "1m", "", "1m", (("google", ""),)),
    ("one_way_added", ONE_WAY, "", "1h", "", (("google", "+1"),)),
    ("one_way_retyped_and_removed_in_planfix", ONE_WAY, "", "1h", "1m", (("google", "+1"),)),
    ("one_way_removed_in_planfix", ONE_WAY, "", "1m", "1m", ()),
    ("no_base_other_types", TWO_WAY, "1m", "1h", NONE, (("google", "home"),)),
    ("no_base_united", TWO_WAY, "1m", "", NONE, ()),
    ("no_base_united_the_other_way", TWO_WAY, "", "1h", NONE, ()),
    ("adopted_with_another_type", ADOPT, "1m", "1h", NONE, (("google", "home"),)),
]


@pytest.mark.parametrize(("rules", "p", "g", "base", "lost"), [r[1:] for r in LOST], ids=[r[0] for r in LOST])
def test_the_element_that_loses_is_named(
    rules: Rules, p: str, g: str, base: str | None, lost: tuple[tuple[str, str], ...]
) -> None:
    agreed: Contact | None = None if base is None else {"phones": phones(base)}
    found = merge({"phones": phones(p)}, {"phones": phones(g)}, agreed, agreed, rules)
    assert found.lost == tuple(Lost("phones:+1", Side(side), value) for side, value in lost)


DIFFERENT_BASES = [
    # name, rules, planfix, google, base of planfix, base of google, to_google, to_planfix, bases after
    ("own_removed_one_way", ONE_WAY, "1m", "1m", "1m", "1m 2w", NONE, NONE, ("1m", "1m")),
    ("own_retyped_one_way", ONE_WAY, "1m", "1m 2h", "1m", "1m 2w", NONE, NONE, ("1m", "1m 2h")),
    ("own_retyped_two_way", TWO_WAY, "1m", "1m 2h", "1m", "1m 2w", NONE, "1m 2h", ("1m", "1m 2w")),
    ("refused_by_google_and_added_there", ONE_WAY, "1m 2w", "1m 2w", "1m 2w", "1m", NONE, NONE, ("1m 2w", "1m 2w")),
    ("refused_and_added_with_another_type", ONE_WAY, "2w", "2h", "2w", "", "2w", NONE, ("2w", "")),
    ("restored_as_google_agreed_to_hold_it", ONE_WAY, "2w", "2h", "2w", "2m", "2m", NONE, ("2w", "2m")),
    ("retyped_to_what_planfix_has", ONE_WAY, "2w", "2w", "2w", "2m", NONE, NONE, ("2w", "2w")),
    ("added_to_planfix_what_google_had", TWO_WAY, "1m 2w", "1m 2w", "1m", "1m 2w", NONE, NONE, ("1m 2w", "1m 2w")),
    ("added_with_another_type", TWO_WAY, "1m 2h", "1m 2w", "1m", "1m 2w", "1m 2h", NONE, ("1m", "1m 2w")),
    ("added_here_and_retyped_there", GOOGLE_WINS, "2w", "2h", "", "2m", NONE, "2h", ("", "2m")),
    ("removed_what_google_never_took", TWO_WAY, "1m", "1m", "1m 2w", "1m", NONE, NONE, ("1m", "1m")),
]


@pytest.mark.parametrize(
    ("rules", "p", "g", "base_p", "base_g", "to_google", "to_planfix", "after"),
    [r[1:] for r in DIFFERENT_BASES],
    ids=[r[0] for r in DIFFERENT_BASES],
)
def test_elements_that_the_bases_do_not_share(
    rules: Rules,
    p: str,
    g: str,
    base_p: str,
    base_g: str,
    to_google: str | None,
    to_planfix: str | None,
    after: tuple[str, str],
) -> None:
    sides: list[Contact] = [{"phones": phones(text)} for text in (p, g, base_p, base_g)]
    found = merge(*sides, rules)
    assert found.to_google == ({} if to_google is None else {"phones": phones(to_google)})
    assert found.to_planfix == ({} if to_planfix is None else {"phones": phones(to_planfix)})
    assert (found.base_planfix["phones"], found.base_google["phones"]) == (phones(after[0]), phones(after[1]))


def test_a_field_that_one_side_does_not_know_hides_no_other() -> None:
    p: Contact = {"site": "s", "notes": "b", "given": "Ann"}
    g: Contact = {"notes": "a", "given": "Ann"}
    base: Contact = {"site": "s", "notes": "a", "given": "Ann"}
    assert merge(p, g, base, base, TWO_WAY).to_google == {"notes": "b"}
    assert merge({"given": "Ann", **p}, g, base, base, TWO_WAY).to_google == {"notes": "b"}
    write = Write(Side.GOOGLE, {"site": "s", "notes": "b"}, {"site": "", "notes": "a"}, {"notes": "B"})
    assert advance(base, base, write, TWO_WAY) == ({**base, "notes": "b"}, {**base, "notes": "B"})


def test_without_a_base_elements_wait_for_the_write_that_unites_them() -> None:
    one, nothing = {"phones": phones("1m")}, {"phones": phones("")}
    for sides in ((one, nothing), (nothing, one)):
        found = merge(*sides, None, None, TWO_WAY)
        assert (found.base_planfix, found.base_google) == ({}, {})


def test_all_refused_elements_are_offered_again() -> None:
    a, b, c, d = (Element(f"{name}@x", f"{name}@x") for name in "abcd")
    limits = {"emails:b@x": "taken", "emails:c@x": "taken"}
    base_g: Contact = {"emails": (a, b, c, d)}
    found = merge({"emails": (a,)}, {"emails": (b, c, d)}, {"emails": (a,)}, base_g, TWO_WAY, limits)
    assert found.to_planfix == {"emails": (b, c)}


def test_a_servers_own_form_is_agreed_and_what_goes_the_other_way_waits() -> None:
    """Planfix gets 2 as 9; its own 3 still has to go to Google."""
    planfix, google, base = ({"phones": phones(text)} for text in ("1m 3m", "1m 2m", "1m"))
    first = merge(planfix, google, base, base, TWO_WAY)
    answer: Contact = {"phones": phones("1m 3m 9m")}
    write = Write(Side.PLANFIX, google, planfix, answer)
    base_p, base_g = advance(first.base_planfix, first.base_google, write, TWO_WAY)
    assert (set(base_p["phones"]), set(base_g["phones"])) == (set(phones("1m 9m")), set(phones("1m 2m")))
    second = merge(answer, google, base_p, base_g, TWO_WAY)
    assert (set(second.to_google["phones"]), second.to_planfix) == (set(phones("1m 2m 3m")), {})


def test_half_a_base_is_none() -> None:
    """A field that one side showed for the first time."""
    some: Contact = {"notes": "a"}
    for bases in ((some, {}), ({}, some)):
        assert merge({"notes": "a"}, {"notes": "b"}, *bases, GOOGLE_WINS).to_google == {"notes": "a"}
    one, two, nothing = ({"phones": phones(text)} for text in ("1m", "2w", ""))
    gone: Contact = {"phones": phones("3o")}
    assert not merge(one, one, gone, {}, TWO_WAY).to_planfix
    assert not merge(one, one, {}, gone, TWO_WAY).to_planfix
    write = Write(Side.GOOGLE, one, nothing, one)
    assert advance(gone, {}, write, TWO_WAY) == advance({}, gone, write, TWO_WAY) == (one, one)
    three: Contact = {"phones": phones("3o")}
    united: Contact = {"phones": phones("3o 1m")}
    assert advance(three, {}, Write(Side.GOOGLE, one, three, united), TWO_WAY) == (one, one), "3 goes to Planfix"
    assert advance({}, three, Write(Side.PLANFIX, one, three, united), TWO_WAY) == (one, one), "3 goes to Google"
    for bases in ((one, {}), ({}, two)):
        found = merge(one, two, *bases, TWO_WAY)
        assert (found.to_google, found.to_planfix) == ({"phones": phones("2w 1m")}, {"phones": phones("1m 2w")})
        assert (found.base_planfix, found.base_google) == bases, "it is there once both were written"
        assert merge(nothing, two, *bases, ADOPT).base_google == two
