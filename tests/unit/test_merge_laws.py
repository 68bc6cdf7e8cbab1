"""Laws of the merge, for any contents, edits and servers: the exchange is played as `plan.py` orders it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from contactsync.reconciler.core.merge import Merge, Rules, Side, Value, WithoutBase, Write, advance, merge
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
            self._advance(Write(Side.PLANFIX, source, before, self.planfix))
            return True
        if found.to_google:
            names = found.to_google
            before, source = part(self.google, names), part(self.planfix, names)
            answer = self.google_server(before, names)
            self.google = {**self.google, **answer}
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
