"""Laws of the merge, for any contents, edits and servers: the exchange is played as `plan.py` orders it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contactsync.reconciler.core.merge import (
    Lost,
    Merge,
    Rules,
    Side,
    Value,
    WithoutBase,
    Write,
    advance,
    edited,
    merge,
)
from contactsync_contracts.contact import Contact, Element

KINDS = ("", "mobile", "work", "home")
texts = st.sampled_from(["", "a", "b", "c"])
element = st.builds(lambda n, kind: Element(f"+{n}", f"+{n}", kind), st.integers(1, 5), st.sampled_from(KINDS))
elements = st.lists(element, max_size=4, unique_by=lambda e: e.key).map(tuple)
typed = st.lists(
    st.builds(lambda n, kind: Element(f"+{n}", f"+{n}", kind), st.integers(1, 5), st.sampled_from(KINDS[1:])),
    max_size=4,
    unique_by=lambda e: e.key,
).map(tuple)
contacts = st.fixed_dictionaries(
    {}, optional={"notes": texts, "given": texts, "phones": elements, "emails": elements}
)
full = st.fixed_dictionaries({"notes": texts, "phones": typed})
bases = st.none() | contacts
rules = st.builds(
    Rules,
    two_way=st.booleans(),
    conflict_winner=st.sampled_from(Side),
    google_loses=st.booleans(),
    without_base=st.sampled_from(WithoutBase),
)
Server = Callable[[Contact, Contact], Contact]


def honest(_before: Contact, sent: Contact) -> Contact:
    return sent


@dataclass
class Pair:
    """Two sides and their bases; `exchange` writes until nothing is wanted any more."""

    planfix: Contact
    google: Contact
    base_planfix: Contact | None
    base_google: Contact | None
    rules: Rules
    planfix_server: Server = honest
    google_server: Server = honest
    writes: list[Side] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    def merged(self) -> Merge:
        return merge(self.planfix, self.google, self.base_planfix, self.base_google, self.rules)

    def step(self) -> bool:
        found = self.merged()
        self.base_planfix, self.base_google = found.base_planfix, found.base_google
        if found.to_planfix:
            names = found.to_planfix
            before, source = part(self.planfix, names), part(self.google, names)
            answer = self.planfix_server(before, names)
            self.planfix = {**self.planfix, **answer}
            self.lost += [item for item in found.lost if item.side is Side.PLANFIX]
            self._advance(Write(Side.PLANFIX, source, before, self.planfix))
            return True
        if found.to_google:
            names = found.to_google
            before, source = part(self.google, names), part(self.planfix, names)
            answer = self.google_server(before, names)
            self.google = {**self.google, **answer}
            self.lost += found.lost
            self._advance(Write(Side.GOOGLE, source, before, self.google))
            return True
        return False

    def _advance(self, write: Write) -> None:
        self.writes.append(write.side)
        self.base_planfix, self.base_google = advance(self.base_planfix, self.base_google, write, self.rules)

    def exchange(self) -> None:
        for _ in range(6):
            if not self.step():
                return
        raise AssertionError(f"it does not come to rest: {self.writes}")


def part(contact: Contact, names: Contact) -> Contact:
    return {name: contact[name] for name in names}


def keys(value: Value) -> set[str]:
    return {e.key for e in value if isinstance(e, Element)}


@given(contacts, contacts, bases, bases, rules)
def test_an_exchange_comes_to_rest_with_at_most_one_write_a_side(
    p: Contact, g: Contact, bp: Contact | None, bg: Contact | None, how: Rules
) -> None:
    pair = Pair(p, g, bp, bg, how)
    pair.exchange()
    assert pair.writes.count(Side.PLANFIX) <= 1
    assert pair.writes.count(Side.GOOGLE) <= 1
    assert pair.merged().quiet


@given(full, full, full, rules)
def test_after_an_exchange_both_sides_agree(p: Contact, g: Contact, base: Contact, how: Rules) -> None:
    pair = Pair(p, g, base, base, how)
    pair.exchange()
    assert pair.planfix["notes"] == pair.google["notes"]
    assert kinds(pair.planfix["phones"]) == kinds(pair.google["phones"])
    if not how.two_way:
        assert Side.PLANFIX not in pair.writes


def kinds(value: Value) -> dict[str, str]:
    return {e.key: e.kind for e in value if isinstance(e, Element)}


answers = st.fixed_dictionaries({}, optional={"notes": texts, "given": texts, "phones": elements, "emails": elements})


@given(contacts, contacts, bases, bases, rules, answers, answers)
def test_whatever_a_server_makes_of_a_write_it_is_written_once(
    p: Contact, g: Contact, bp: Contact | None, bg: Contact | None, how: Rules, by_p: Contact, by_g: Contact
) -> None:
    def server(made: Contact) -> Server:
        return lambda before, sent: {n: answer(before.get(n, ()), v, made.get(n, v)) for n, v in sent.items()}

    def answer(before: Value, sent: Value, made: Value) -> Value:
        """Anything, but what stood there and is sent again still stands."""
        if isinstance(sent, str) or isinstance(made, str):
            return made
        stands = {e.key: e for e in sent if e.key in keys(before)}
        return tuple({**{e.key: e for e in made}, **stands}.values())

    pair = Pair(p, g, bp, bg, how, server(by_p), server(by_g))
    pair.exchange()
    assert pair.writes.count(Side.PLANFIX) <= 1
    assert pair.writes.count(Side.GOOGLE) <= 1


@given(full, full, full)
def test_no_addition_is_lost_and_no_removal_comes_back(p: Contact, g: Contact, base: Contact) -> None:
    pair = Pair(p, g, base, base, Rules())
    pair.exchange()
    was, in_p, in_g = keys(base["phones"]), keys(p["phones"]), keys(g["phones"])
    retyped = {
        key
        for side in (p, g)
        for key, kind in kinds(side["phones"]).items()
        if key in was and kind != kinds(base["phones"])[key]
    }
    wanted = ((in_p | in_g) - was) | (was & in_p & in_g) | retyped
    assert keys(pair.planfix["phones"]) == keys(pair.google["phones"]) == wanted


@given(full, full)
def test_without_a_base_elements_are_united_and_filled_texts_stay(p: Contact, g: Contact) -> None:
    pair = Pair(p, g, None, None, Rules())
    pair.exchange()
    assert keys(pair.planfix["phones"]) == keys(pair.google["phones"]) == keys(p["phones"]) | keys(g["phones"])
    assert pair.planfix["notes"] == pair.google["notes"] == (p["notes"] or g["notes"])


@given(full, full, st.booleans())
def test_adoption_writes_nothing_to_planfix_and_takes_nothing_from_the_person(
    p: Contact, g: Contact, two_way: bool
) -> None:
    pair = Pair(p, g, None, None, Rules(two_way=two_way, without_base=WithoutBase.ADOPT))
    pair.exchange()
    assert pair.planfix == p
    assert keys(pair.google["phones"]) == keys(p["phones"]) | keys(g["phones"])


@given(contacts, contacts, bases, bases, rules)
def test_fields_that_are_not_known_on_both_sides_are_never_written(
    p: Contact, g: Contact, bp: Contact | None, bg: Contact | None, how: Rules
) -> None:
    found = merge(p, g, bp, bg, how)
    assert {*found.to_google, *found.to_planfix} <= p.keys() & g.keys()


@given(full, full, st.sets(st.integers(1, 5)))
def test_elements_that_planfix_refuses_stay_in_google_and_are_quiet(
    p: Contact, g: Contact, refused: set[int]
) -> None:
    no = {f"+{number}" for number in refused}

    def picky(before: Contact, sent: Contact) -> Contact:
        phones = sent.get("phones", ())
        kept = {e.key: e for e in before.get("phones", ()) if isinstance(e, Element)}
        taken = [e for e in phones if isinstance(e, Element) and (e.key not in no or e.key in kept)]
        return {**sent, "phones": tuple(taken)} if "phones" in sent else sent

    pair = Pair(p, g, p, p, Rules(), planfix_server=picky)
    pair.exchange()
    added = keys(g["phones"]) - keys(p["phones"])
    assert added <= keys(pair.google["phones"])
    assert keys(pair.planfix["phones"]).isdisjoint(added & no)
    assert pair.merged().quiet


@given(full, rules)
def test_removals_that_google_ignores_are_not_asked_again(base: Contact, how: Rules) -> None:
    pair = Pair({"notes": "", "phones": ()}, base, base, base, how, google_server=lambda before, sent: before)
    pair.exchange()
    assert pair.planfix == {"notes": "", "phones": ()}
    assert pair.writes.count(Side.GOOGLE) <= 1


@given(full, st.sampled_from(Side))
def test_clearing_a_field_clears_it_on_the_other_side_once(base: Contact, side: Side) -> None:
    empty: Contact = {"notes": "", "phones": ()}
    p, g = (empty, base) if side is Side.PLANFIX else (base, empty)
    pair = Pair(p, g, base, base, Rules())
    pair.exchange()
    assert pair.planfix == pair.google == empty
    assert len(pair.writes) <= 1


@given(full, full, full, st.sampled_from(Side))
def test_a_text_that_loses_a_conflict_is_named(p: Contact, g: Contact, base: Contact, winner: Side) -> None:
    found = merge(p, g, base, base, Rules(conflict_winner=winner))
    in_p, in_g, was = p["notes"], g["notes"], base["notes"]
    if in_p != was and in_g != was and in_p != in_g:
        loser, value = (Side.GOOGLE, in_g) if winner is Side.PLANFIX else (Side.PLANFIX, in_p)
        lost = [item.value for item in found.lost if item.field == "notes" and item.side is loser]
        assert lost == [value]


# --- the same again, in any order -------------------------------------------------------------------------


@given(contacts, contacts, bases, bases, rules)
def test_comparing_again_says_the_same(
    p: Contact, g: Contact, bp: Contact | None, bg: Contact | None, how: Rules
) -> None:
    first = merge(p, g, bp, bg, how)
    second = merge(p, g, first.base_planfix, first.base_google, how)
    assert (second.base_planfix, second.base_google) == (first.base_planfix, first.base_google)
    for one, other in ((first.to_google, second.to_google), (first.to_planfix, second.to_planfix)):
        assert one.keys() == other.keys()
        assert all(same(one[name], other[name]) for name in one)
    assert [item.field for item in first.lost] == [item.field for item in second.lost]


@given(full, full, full, rules, st.randoms(use_true_random=False))
def test_the_order_of_elements_is_nothing(p: Contact, g: Contact, base: Contact, how: Rules, shuffling: Any) -> None:
    def mixed(contact: Contact) -> Contact:
        numbers = list(contact["phones"])
        shuffling.shuffle(numbers)
        return {"phones": tuple(n for n in numbers if isinstance(n, Element)), "notes": contact["notes"]}

    straight, other = Pair(p, g, base, base, how), Pair(mixed(p), mixed(g), mixed(base), mixed(base), how)
    for pair in (straight, other):
        pair.exchange()
    assert same(straight.planfix["phones"], other.planfix["phones"])
    assert same(straight.google["phones"], other.google["phones"])
    assert set(straight.lost) == set(other.lost)
    assert straight.writes == other.writes


def same(one: Value, other: Value) -> bool:
    return one == other if isinstance(one, str) or isinstance(other, str) else set(one) == set(other)


# --- nothing is lost --------------------------------------------------------------------------------------


@given(full, full, full, rules)
def test_an_edit_is_on_both_sides_or_stands_in_the_history(p: Contact, g: Contact, base: Contact, how: Rules) -> None:
    """I3, for every text and every element, additions, changes and removals."""
    pair = Pair(p, g, base, base, how)
    pair.exchange()
    lost = {(item.field, item.side): item.value for item in pair.lost}
    for side, contact in ((Side.PLANFIX, p), (Side.GOOGLE, g)):
        was, now = parts(base), parts(contact)
        for name in was.keys() | now.keys():
            if now.get(name) == was.get(name):
                continue
            both = {parts(pair.planfix).get(name), parts(pair.google).get(name)}
            if both == {now.get(name)}:
                continue
            value = lost[name, side]
            assert value in (now.get(name), name.removeprefix("phones:")) if name in now else value == ""


@given(full, full, full, rules)
def test_only_edits_lose(p: Contact, g: Contact, base: Contact, how: Rules) -> None:
    pair = Pair(p, g, base, base, how)
    pair.exchange()
    assert len(pair.lost) == len({(item.field, item.side) for item in pair.lost}), "each is named once"
    for item in pair.lost:
        now = parts(p if item.side is Side.PLANFIX else g)
        assert now.get(item.field) != parts(base).get(item.field)


def parts(contact: Contact) -> dict[str, str]:
    """Texts by field, and kinds by element."""
    return {
        **{name: value for name, value in contact.items() if isinstance(value, str)},
        **{f"phones:{key}": kind for key, kind in kinds(contact["phones"]).items()},
    }


@given(full, full, st.sampled_from(Side))
def test_an_edit_beats_a_removal(base: Contact, other: Contact, editor: Side) -> None:
    """One side changes the type of everything, the other removes everything."""
    turned: Contact = {"notes": "", "phones": tuple(turn(e) for e in base["phones"] if isinstance(e, Element))}
    empty: Contact = {"notes": "", "phones": ()}
    was: Contact = {**base, "notes": ""}
    p, g = (turned, empty) if editor is Side.PLANFIX else (empty, turned)
    pair = Pair(p, g, was, was, Rules())
    pair.exchange()
    assert same(pair.planfix["phones"], turned["phones"])
    assert same(pair.google["phones"], turned["phones"])
    assert {item.value for item in pair.lost} <= {""}


def turn(element: Element) -> Element:
    return replace(element, kind="home" if element.kind != "home" else "work")


# --- unknown is not empty ---------------------------------------------------------------------------------


@given(full, full, full, rules, st.sampled_from(["notes", "phones"]), st.sampled_from(Side))
def test_a_field_that_cannot_be_seen_for_a_while_is_as_before_afterwards(
    p: Contact, g: Contact, base: Contact, how: Rules, name: str, blind: Side
) -> None:
    hidden = {key: value for key, value in (p if blind is Side.PLANFIX else g).items() if key != name}
    pair = Pair(*((hidden, g) if blind is Side.PLANFIX else (p, hidden)), base, base, how)
    pair.exchange()
    assert pair.base_planfix is not None
    assert pair.base_google is not None
    assert same(pair.base_planfix[name], base[name])
    assert same(pair.base_google[name], base[name])
    seen = pair.google if blind is Side.PLANFIX else pair.planfix
    assert seen[name] == (g if blind is Side.PLANFIX else p)[name]


# --- servers with a will of their own ---------------------------------------------------------------------


def cutting(_before: Contact, sent: Contact) -> Contact:
    return {name: value[:1] if isinstance(value, str) else value for name, value in sent.items()}


long_texts = st.sampled_from(["", "a", "b", "abc", "abd", "bcd"])


@given(long_texts, long_texts, long_texts)
def test_what_google_cuts_never_comes_back_as_an_edit(first: str, second: str, edit: str) -> None:
    pair = Pair({"notes": first}, {"notes": ""}, {"notes": ""}, {"notes": ""}, Rules(), google_server=cutting)
    pair.exchange()
    assert pair.planfix == {"notes": first}
    pair.planfix = {"notes": second}
    pair.exchange()
    assert (pair.planfix, pair.google) == ({"notes": second}, {"notes": second[:1]})
    assert Side.PLANFIX not in pair.writes
    pair.google = {"notes": edit}
    pair.exchange()
    assert pair.planfix["notes"] == (edit if edit != second[:1] else second)
    pair.rules = Rules(two_way=False)
    pair.google = {"notes": "x"}
    pair.exchange()
    assert pair.google["notes"] == pair.planfix["notes"][:1] or pair.google["notes"] == edit


def reformatting(before: Contact, sent: Contact) -> Contact:
    """Another key for a new number, other texts: a server that knows better. What stood there stands."""
    made: Contact = {}
    for name, value in sent.items():
        if isinstance(value, str):
            made[name] = value.upper()
        else:
            there = keys(before[name])
            made[name] = tuple(replace(e, key="+9") if e.key == "+1" and "+1" not in there else e for e in value)
    return made


@given(full, full, full, rules, st.sampled_from(Side), st.integers(1, 3))
def test_a_servers_own_formatting_is_no_edit(
    p: Contact, g: Contact, base: Contact, how: Rules, side: Side, rounds: int
) -> None:
    server = {"google_server": reformatting} if side is Side.GOOGLE else {"planfix_server": reformatting}
    pair = Pair(p, g, base, base, how, **server)
    pair.exchange()
    assert len(pair.writes) <= 2
    rested = len(pair.writes)
    for _ in range(rounds):
        pair.exchange()
    assert len(pair.writes) == rested


@given(full, full, full, rules, st.sampled_from(Side), st.sampled_from(["notes", "phones", "both"]))
def test_a_change_that_is_not_taken_stays_where_it_was_made_until_it_changes_again(
    p: Contact, g: Contact, base: Contact, how: Rules, side: Side, what: str
) -> None:
    refuses = {"notes", "phones"} if what == "both" else {what}

    def stubborn(before: Contact, sent: Contact) -> Contact:
        return {name: before[name] if name in refuses else value for name, value in sent.items()}

    server = {"google_server": stubborn} if side is Side.GOOGLE else {"planfix_server": stubborn}
    pair = Pair(p, g, base, base, how, **server)
    pair.exchange()
    stood = pair.google if side is Side.GOOGLE else pair.planfix
    assert all(same(stood[name], (g if side is Side.GOOGLE else p)[name]) for name in refuses)
    assert pair.merged().quiet
    if side is Side.PLANFIX and how.two_way and not how.google_loses:
        pair.google = {"notes": "again", "phones": (*pair.google["phones"], Element("+8", "+8", "work"))}  # type: ignore[arg-type]
        pair.planfix_server = honest
        pair.exchange()
        assert pair.planfix["notes"] == "again"
        assert "+8" in keys(pair.planfix["phones"])


def test_a_refused_element_is_offered_again_when_it_changes_itself() -> None:
    refused: Contact = {"phones": (Element("+1", "+1", "work"),)}
    empty: Contact = {"phones": ()}
    assert merge(empty, refused, empty, refused, Rules()).quiet
    turned: Contact = {"phones": (Element("+1", "+1", "home"),)}
    assert merge(empty, turned, empty, refused, Rules()).to_planfix == turned
    assert merge(empty, empty, empty, refused, Rules()).quiet
    assert merge(refused, empty, refused, empty, Rules()).quiet
    assert merge(turned, empty, refused, empty, Rules()).to_google == turned


# --- without a base, and one-way --------------------------------------------------------------------------


@given(full, full, rules)
def test_without_a_base_nothing_is_taken_from_anybody_but_a_text_that_loses(
    p: Contact, g: Contact, how: Rules
) -> None:
    pair = Pair(p, g, None, None, how)
    pair.exchange()
    assert keys(pair.google["phones"]) == keys(p["phones"]) | keys(g["phones"])
    assert keys(pair.planfix["phones"]) >= keys(p["phones"])
    assert pair.google["notes"] == (p["notes"] or g["notes"])
    wanted = {}
    if p["notes"] and g["notes"] and p["notes"] != g["notes"]:
        wanted["notes"] = g["notes"]
    of_p, of_g = kinds(p["phones"]), kinds(g["phones"])
    wanted |= {f"phones:{key}": kind for key, kind in of_g.items() if key in of_p and of_p[key] != kind}
    assert {item.field: item.value for item in pair.lost} == wanted
    assert {item.side for item in pair.lost} <= {Side.GOOGLE}
    assert pair.base_planfix is not None
    assert pair.base_google is not None
    assert not edited(pair.planfix, pair.base_planfix)
    assert not edited(pair.google, pair.base_google)


@given(full, full, full)
def test_what_an_adopted_person_had_reaches_planfix_only_when_it_is_edited_later(
    p: Contact, g: Contact, later: Contact
) -> None:
    pair = Pair(p, g, None, None, Rules(without_base=WithoutBase.ADOPT))
    pair.exchange()
    assert pair.planfix == p
    pair.rules = Rules()
    was = pair.google
    pair.google = later
    pair.exchange()
    if later["notes"] != was["notes"]:
        assert pair.planfix["notes"] == later["notes"]
    had, has = kinds(was["phones"]), kinds(later["phones"])
    untouched = {key for key in had if has.get(key) == had[key] and key not in keys(p["phones"])}
    assert keys(pair.planfix["phones"]).isdisjoint(untouched)
    assert keys(pair.planfix["phones"]) >= has.keys() - untouched


@given(full, full, full, st.sampled_from(WithoutBase))
def test_one_way_elements_of_the_adopted_stay_and_later_ones_go(
    p: Contact, g: Contact, later: Contact, without_base: WithoutBase
) -> None:
    """What the human removes of their own stays removed, what Planfix has comes back."""
    pair = Pair(p, g, None, None, Rules(two_way=False, without_base=without_base))
    pair.exchange()
    pair.google = {**pair.google, "phones": later["phones"]}
    pair.exchange()
    own = keys(g["phones"]) - keys(p["phones"])
    assert keys(pair.google["phones"]) == keys(p["phones"]) | (own & keys(later["phones"]))
    assert pair.planfix == p
    mine, now = kinds(pair.google["phones"]), kinds(later["phones"])
    assert all(mine[key] == now[key] for key in own & now.keys())
    assert all(mine[key] == kind for key, kind in kinds(p["phones"]).items())


@given(full, full, full)
def test_one_way_google_comes_to_equal_planfix(p: Contact, g: Contact, base: Contact) -> None:
    pair = Pair(p, g, base, base, Rules(two_way=False))
    pair.exchange()
    assert pair.planfix == p
    assert same(pair.google["phones"], p["phones"])
    assert pair.google["notes"] == p["notes"]


@given(full, full, full)
def test_edits_from_a_one_way_time_lose_against_planfix(p: Contact, g: Contact, base: Contact) -> None:
    two_way = Pair(p, g, base, base, Rules(google_loses=True, conflict_winner=Side.GOOGLE))
    one_way = Pair(p, g, base, base, Rules(two_way=False))
    for pair in (two_way, one_way):
        pair.exchange()
    assert (two_way.planfix, two_way.google) == (one_way.planfix, one_way.google)
    assert two_way.lost == one_way.lost
