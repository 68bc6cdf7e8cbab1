"""Fair shares as plain arithmetic: everybody ends with the same, nothing moves afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from contactsync.runtime.bus import Record
from contactsync.runtime.shares import FREE, Claim, Held, Standing, View, lease_value, moves, view_of

PARTITIONS = range(64)
WORKING = Standing.WORKING


class Cluster:
    """Epoch records, leases and what each replica knows it owns, without any time."""

    def __init__(self, partitions: int = 64) -> None:
        self.partitions = range(partitions)
        self.epochs: dict[int, Held] = {}
        self.replicas: dict[str, Standing] = {}
        self.seq = 0
        self.moved = 0

    def mine(self, name: str) -> list[int]:
        return [number for number, held in self.epochs.items() if held.owner == name]

    def step(self, name: str, view: View | None = None) -> None:
        wanted = moves(view or self.view(), name, self.mine(name), self.partitions)
        assert not (wanted.claims and wanted.give_back)
        for claim in wanted.claims:
            now = self.epochs.get(claim.partition)
            if (now.seq if now else 0) == claim.seq:  # the compare-and-set
                self._set(claim.partition, name)
        for number in wanted.give_back:
            assert self.epochs[number].owner == name
            self._set(number, FREE)

    def _set(self, number: int, owner: str) -> None:
        self.seq += 1
        self.moved += 1
        self.epochs[number] = Held(owner, self.seq)

    def view(self) -> View:
        return View(dict(self.epochs), dict(self.replicas))

    def owned(self) -> Mapping[str, int]:
        return Counter(held.owner for held in self.epochs.values())


def test_the_first_replica_takes_everything() -> None:
    wanted = moves(View({}, {"a": WORKING}), "a", [], PARTITIONS)
    assert sorted(claim.partition for claim in wanted.claims) == list(PARTITIONS)
    assert {(claim.seq, claim.of) for claim in wanted.claims} == {(0, None)}


def test_who_owns_too_much_gives_back_what_is_beyond_its_share() -> None:
    view = View({n: Held("a", n + 1) for n in PARTITIONS}, {"a": WORKING, "b": WORKING})
    wanted = moves(view, "a", PARTITIONS, PARTITIONS)
    assert wanted.give_back == tuple(range(32, 64))


def test_a_partition_of_somebody_alive_is_never_claimed_and_one_of_somebody_gone_is() -> None:
    view = View({1: Held("b", 7), 2: Held("gone", 8), 3: Held(FREE, 9)}, {"a": WORKING, "b": Standing.LEAVING})
    wanted = moves(view, "a", [], range(1, 4))
    assert set(wanted.claims) == {Claim(2, 8, "gone"), Claim(3, 9, None)}


def test_what_was_claimed_with_a_lost_answer_is_claimed_again() -> None:
    wanted = moves(View({5: Held("a", 7)}, {"a": WORKING}), "a", [], [5])
    assert wanted.claims == (Claim(5, 7, None),)


def test_a_single_partition_stays_where_it_is() -> None:
    view = View({0: Held("b", 7)}, {"a": WORKING, "b": WORKING})
    assert moves(view, "b", [0], [0]) == moves(view, "a", [], [0])
    assert not moves(view, "b", [0], [0]).give_back


def test_who_leaves_counts_no_more() -> None:
    view = View({n: Held(FREE, n + 1) for n in PARTITIONS}, {"a": WORKING, "b": Standing.LEAVING})
    assert len(moves(view, "a", [], PARTITIONS).claims) == 64


def test_a_view_is_read_from_the_records_and_an_unreadable_lease_is_somebody() -> None:
    view = view_of(
        [
            Record("epoch.writer.3", b"a", 11),
            Record("epoch.writer.x", b"a", 12),
            Record("lease.writer.a", lease_value(Standing.LEAVING, {"host": "h"}), 13),
            Record("lease.writer.b", b"\xff", 14),
            Record("lease.writer.c", b"[]", 15),
            Record("lease.writer.d", b'{"standing": "of a later version"}', 16),
        ]
    )
    assert view.epochs == {3: Held("a", 11)}
    assert view.replicas == {"a": Standing.LEAVING, "b": WORKING, "c": WORKING, "d": WORKING}


@given(st.data(), st.integers(1, 64))
def test_whoever_comes_and_goes_all_ends_fair_and_then_nothing_moves(data: st.DataObject, partitions: int) -> None:
    cluster = Cluster(partitions)
    seen = {name: View() for name in "abcde"}
    for _ in range(data.draw(st.integers(1, 40))):
        name = data.draw(st.sampled_from("abcde"))
        what = data.draw(st.sampled_from(["joins", "dies", "leaves", "looks", "acts", "acts on what it saw"]))
        match what:
            case "joins":
                cluster.replicas[name] = WORKING
            case "dies":
                cluster.replicas.pop(name, None)
            case "leaves" if name in cluster.replicas:
                cluster.replicas[name] = Standing.LEAVING
                for number in cluster.mine(name):
                    cluster._set(number, FREE)
            case "looks":
                seen[name] = cluster.view()
            case "acts" if cluster.replicas.get(name) is WORKING:
                cluster.step(name)
            case "acts on what it saw" if cluster.replicas.get(name) is WORKING:
                cluster.step(name, seen[name])
    cluster.replicas.setdefault("a", WORKING)
    cluster.replicas["a"] = WORKING
    members = sorted(name for name, standing in cluster.replicas.items() if standing is WORKING)
    for name in set(cluster.replicas) - set(members):  # they come to their end
        del cluster.replicas[name]
    for _ in range(4):
        for name in data.draw(st.permutations(members)):
            cluster.step(name)
    owned = cluster.owned()
    assert set(owned) <= set(members)
    assert sum(owned.values()) == partitions
    assert max(owned[name] for name in members) - min(owned[name] for name in members) <= 1
    before = cluster.moved
    for name in members:
        cluster.step(name)
    assert cluster.moved == before


@given(st.integers(2, 5), st.permutations("abcde"))
def test_replicas_that_start_together_move_nothing_twice(count: int, names: list[str]) -> None:
    cluster = Cluster()
    cluster.replicas = dict.fromkeys(names[:count], WORKING)
    for _ in range(3):
        for name in names[:count]:
            cluster.step(name)
    assert cluster.moved == 64
