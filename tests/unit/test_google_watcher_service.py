"""The Google watcher against a small account in memory: deltas, listings, looks, and what goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from contactsync.errors import NotConnected, Rejected, TokenExpired, Unavailable
from contactsync.google.port import Label, PeopleApi, PeoplePage
from contactsync.google_watcher.service import GoogleWatcher
from contactsync.hashing import Hasher
from contactsync.runtime.bus import Fence, NoAnswer, Put, Refused, Transient
from contactsync_contracts.contact import Element
from contactsync_contracts.messages import (
    AccountObserved,
    Class,
    GoogleCandidates,
    GoogleCaughtUp,
    GoogleGone,
    GoogleListed,
    GoogleObserved,
    GooglePerson,
    Kept,
    LabelObserved,
    LookGoogle,
    MatchQuery,
    Stamp,
)
from watching import Scene, only

ACCOUNT = "1001"
HASHER = Hasher(b"key")
POLL_S = 60.0


@dataclass
class FakeAccount:
    """People with a change counter, listed in pages; a sync token is the counter's value."""

    page_size: int = 2
    people: dict[str, GooglePerson] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    buried: dict[str, int] = field(default_factory=dict)
    counter: int = 0
    requests: list[str] = field(default_factory=list)
    labels: dict[str, Label] = field(default_factory=dict)
    faults: list[tuple[str, Exception]] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    no_token: bool = False
    dead: bool = False
    moved: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, label: str | None = None, contact: int | None = None, **fields: Any) -> None:
        self.counter += 1
        self.changed[name] = self.counter
        self.people[name] = GooglePerson(
            resource=name,
            source_id=name,
            etag=f"e{self.counter}",
            updated_at=1.0,
            fields=fields,
            raw={},
            labels=(label,) if label else (),
            stamps=(Stamp(contact=contact, kept=Kept.OURS),) if contact else (),
        )

    def bury(self, name: str, *, really: bool = True) -> None:
        self.counter += 1
        self.buried[name] = self.counter
        if really:
            del self.people[name]

    def _request(self, name: str) -> None:
        self.requests.append(name)
        if self.dead:
            raise NotConnected("the grant was revoked")
        if self.faults and self.faults[0][0] == name:
            raise self.faults.pop(0)[1]

    async def list_page(self, *, sync_token: str | None, page_token: str | None, cls: Class) -> PeoplePage:
        kind = "delta" if sync_token else "full"
        self._request(f"{kind} {page_token or 0}")
        since = int(sync_token) if sync_token else -1
        names = sorted(name for name in self.people if self.changed[name] > since and name not in self.hidden)
        at = int(page_token or 0)
        part, rest = names[at : at + self.page_size], names[at + self.page_size :]
        return PeoplePage(
            people=tuple(self.people[name] for name in part),
            tombstones=tuple(n for n, c in self.buried.items() if c > since) if sync_token and not rest else (),
            next_page=str(at + self.page_size) if rest else None,
            next_sync_token=None if rest or self.no_token else str(self.counter),
            total=len(names) + len(self.hidden),
        )

    async def get_people(self, resources: Sequence[str], *, cls: Class) -> dict[str, GooglePerson | None]:
        self._request("get")
        return {name: self.people.get(self.moved.get(name, name)) for name in resources}

    async def get_label(self, resource: str, *, cls: Class) -> Label | None:
        self._request("label")
        return self.labels.get(resource)


@dataclass
class Watched:
    """The watcher over a fake account with the filters f1 (label L1) and f2 (label L2)."""

    account: FakeAccount = field(default_factory=FakeAccount)
    scene: Scene = field(default_factory=lambda: Scene("google-watcher"))

    async def begin(self) -> None:
        await self.scene.put(f"state.account.{ACCOUNT}.grant", b'{"dead": null}')
        for number in (1, 2):
            await self.scene.put(f"state.account.{ACCOUNT}.label.f{number}", orjson.dumps({"resource": f"L{number}"}))
        await self.restart()

    async def restart(self) -> None:
        people: PeopleApi = self.account  # type: ignore[assignment]  # it does not write
        self.fence: Fence = await self.scene.claim()
        self.watcher = GoogleWatcher(
            self.scene.bus,
            self.scene.wakes,
            lambda _: people,
            HASHER,
            parameters="p",
            clock=self.scene.clock,
            poll_s=POLL_S,
            spread=lambda: 0.5,
        )

    async def poll(self) -> None:
        self.scene.clock.now_s = max(self.scene.clock.now_s + POLL_S, self.scene.wakes.at.get(ACCOUNT, 0.0))
        await self.watcher.handle(ACCOUNT, [], self.fence)

    async def look(self, what: Any, **fields: Any) -> None:
        look = LookGoogle(**({"request_id": "r", "filter_id": "f1", "account": ACCOUNT, "what": what} | fields))
        await self.watcher.handle(ACCOUNT, [self.scene.delivery(ACCOUNT, look)], self.fence)


@pytest.fixture
async def watched() -> Watched:
    watched = Watched()
    watched.account.put("people/c1", "L1", 1, given="Ann")
    watched.account.put("people/c2", "L2", 2, given="Bob")
    watched.account.put("people/c3", given="Private", emails=(Element("p@x.example", "p@x.example"),))
    await watched.begin()
    await watched.poll()
    return watched


def names(models: list[GoogleObserved]) -> list[str]:
    return [one.resource for model in models for one in model.people]


async def test_the_first_read_tells_each_filter_its_people_and_nobody_the_private_ones(watched: Watched) -> None:
    told = watched.scene.told()
    assert {(m.filter_id, n.resource) for m in only(told, GoogleObserved) for n in m.people} == {
        ("f1", "people/c1"),
        ("f2", "people/c2"),
    }
    listed = only(told, GoogleListed)
    assert {(m.filter_id, m.people_total, m.last) for m in listed} == {("f1", 3, True), ("f2", 3, True)}
    assert not any("people/c3" in m.resources for m in listed)


async def test_a_quiet_poll_is_one_request_and_no_write(watched: Watched) -> None:
    watched.scene.told()
    watched.account.requests.clear()
    before = watched.scene.server.state_seq
    for _ in range(5):
        await watched.poll()
    assert watched.account.requests == ["delta 0"] * 5
    assert watched.scene.server.state_seq == before
    assert watched.scene.told() == []


async def test_a_change_is_told_to_the_filters_whose_label_it_carries_or_carried(watched: Watched) -> None:
    watched.scene.told()
    watched.account.put("people/c1", "L2", 1, given="Ann")
    await watched.poll()
    told = only(watched.scene.told(), GoogleObserved)
    assert {m.filter_id for m in told} == {"f1", "f2"}
    await watched.poll()
    assert watched.scene.told() == []


@pytest.mark.parametrize("expired", [False, True], ids=["once", "and_the_token_expired"])
async def test_what_was_read_while_a_labels_record_was_lost_is_told_when_it_is_back(
    watched: Watched, expired: bool
) -> None:
    record = f"state.account.{ACCOUNT}.label.f2"
    await watched.scene.put(record, b"")
    watched.account.put("people/c1", "L1", 1, given="Anna")
    watched.account.put("people/c2", "L2", 2, given="Bert")
    await watched.poll()
    watched.scene.told()
    if expired:
        watched.account.faults.append(("delta 0", TokenExpired("expired")))
        await watched.poll()
        watched.scene.told()
    await watched.scene.put(record, orjson.dumps({"resource": "L2"}))
    watched.account.requests.clear()
    await watched.poll()
    assert watched.account.requests[-1].startswith("full")
    told = only(watched.scene.told(), GoogleObserved)
    assert ("f2", "Bert") in [(m.filter_id, person.fields["given"]) for m in told for person in m.people]
    watched.account.requests.clear()
    await watched.poll()
    assert watched.account.requests == ["delta 0"]


async def test_an_etag_that_moved_alone_is_told_because_writes_need_it(watched: Watched) -> None:
    watched.scene.told()
    watched.account.put("people/c1", "L1", 1, given="Ann")
    await watched.poll()
    told = only(watched.scene.told(), GoogleObserved)
    assert [(m.filter_id, m.people[0].etag) for m in told] == [("f1", "e4"), ("f2", "e4")]


async def test_a_tombstone_counts_only_after_a_look_up(watched: Watched) -> None:
    watched.scene.told()
    watched.account.bury("people/c1")
    watched.account.bury("people/c2", really=False)
    await watched.poll()
    told = watched.scene.told()
    assert [(m.filter_id, m.resources) for m in only(told, GoogleGone)] == [
        ("f1", ("people/c1",)),
        ("f2", ("people/c1",)),
    ]
    assert only(told, GoogleObserved) == []  # it is there, as it was
    assert watched.account.requests.count("get") == 1


async def test_a_merged_person_is_told_under_its_new_name_with_the_old_one(watched: Watched) -> None:
    watched.scene.told()
    watched.account.moved["people/c1"] = "people/c3"
    watched.account.bury("people/c1")
    await watched.poll()
    told = watched.scene.told()
    assert only(told, GoogleGone) == []
    assert [(m.filter_id, m.people[0].resource, m.people[0].previous) for m in only(told, GoogleObserved)] == [
        ("f1", "people/c3", ("people/c1",)),
        ("f2", "people/c3", ("people/c1",)),
    ]


async def test_an_expired_token_in_the_middle_of_a_delta_lists_everybody(watched: Watched) -> None:
    watched.scene.told()
    watched.account.bury("people/c2")
    for number in range(4, 9):
        watched.account.put(f"people/c{number}", "L1", number)
    watched.account.faults.append(("delta 2", TokenExpired("expired")))
    await watched.poll()
    told = watched.scene.told()
    assert {*names(only(told, GoogleObserved))} == {f"people/c{n}" for n in range(4, 9)}
    listed = {m.filter_id: m.resources for m in only(told, GoogleListed)}
    assert "people/c2" not in listed["f2"]
    watched.account.requests.clear()
    await watched.poll()
    assert watched.account.requests == ["delta 0"]


async def test_a_failed_page_moves_no_token(watched: Watched) -> None:
    watched.scene.told()
    for number in range(4, 8):
        watched.account.put(f"people/c{number}", "L1", number)
    watched.account.faults.append(("delta 2", Unavailable("503", 5.0)))
    await watched.poll()
    await watched.poll()
    assert {*names(only(watched.scene.told(), GoogleObserved))} == {f"people/c{n}" for n in range(4, 8)}


@pytest.mark.parametrize("fault", ["short", "no token"])
async def test_a_listing_that_may_be_short_concludes_nothing_and_is_read_again(watched: Watched, fault: str) -> None:
    watched.scene.told()
    if fault == "short":
        watched.account.hidden = {"people/c2"}
    else:
        watched.account.no_token = True
    with pytest.raises(Transient):
        await watched.look("listing")
    assert only(watched.scene.told(), GoogleListed) == []
    watched.account.hidden, watched.account.no_token = set(), False
    await watched.look("listing")
    told = watched.scene.told("f1")
    assert [(m.request_id, m.last, m.low) for m in only(told, GoogleListed)] == [("r", True, "")]


async def test_a_listing_look_gets_everybody_of_the_filter_however_well_known(watched: Watched) -> None:
    watched.scene.told()
    await watched.look("listing")
    told = watched.scene.told()
    # The stamp names no filter, so a stamped person is shown to whoever asks for a listing.
    assert {(m.filter_id, m.request_id, n) for m in only(told, GoogleObserved) for n in names([m])} == {
        ("f1", "r", "people/c1"),
        ("f1", "r", "people/c2"),
    }
    assert {(m.filter_id, m.request_id) for m in only(told, GoogleListed)} == {("f1", "r"), ("f2", "")}


async def test_one_listing_serves_all_that_wait(watched: Watched) -> None:
    watched.scene.told()
    watched.account.requests.clear()
    looks = [LookGoogle(request_id=f"r{n}", filter_id=f"f{n}", account=ACCOUNT, what="listing") for n in (1, 2)]
    await watched.watcher.handle(ACCOUNT, [watched.scene.delivery(ACCOUNT, look) for look in looks], watched.fence)
    assert watched.account.requests == ["full 0", "full 2"]
    assert {m.request_id for m in only(watched.scene.told(), GoogleListed)} == {"r1", "r2"}


async def label_made(watched: Watched) -> None:
    """The filter f3 gets its label after everybody was listed."""
    await watched.scene.put(f"state.account.{ACCOUNT}.label.f3", orjson.dumps({"resource": "L3"}))
    watched.scene.told()
    watched.account.requests.clear()


async def test_a_filter_with_a_new_label_needs_no_listing(watched: Watched) -> None:
    await label_made(watched)
    await watched.look("listing", filter_id="f3", new_label=True)
    assert watched.account.requests == ["delta 0"]
    (listed,) = watched.scene.told()
    assert isinstance(listed, GoogleListed)
    assert (listed.filter_id, listed.request_id, listed.resources, listed.last) == ("f3", "r", (), True)
    assert listed.people_total == len(watched.account.people)
    assert listed.began_at == watched.scene.clock.now_s
    await watched.poll()
    assert watched.account.requests == ["delta 0", "delta 0"]  # it was told of everything: no listing follows


async def test_who_was_put_under_a_new_label_is_told_by_name(watched: Watched) -> None:
    await label_made(watched)
    watched.account.put("people/c9", "L3", given="Zoe")
    await watched.look("listing", filter_id="f3", new_label=True)
    told = watched.scene.told("f3")
    assert names(only(told, GoogleObserved)) >= ["people/c9"]
    assert [m.resources for m in only(told, GoogleListed)] == [("people/c9",)]
    assert not any(request.startswith("full") for request in watched.account.requests)


@pytest.mark.parametrize(
    "why",
    [
        "an hour has passed",
        "another filter needs one",
        "its label is not known",
        "the token has expired",
        "many are under it",
    ],
)
async def test_a_new_label_is_answered_by_a_listing_where(watched: Watched, why: str) -> None:
    await label_made(watched)
    looks = [LookGoogle(request_id="r", filter_id="f3", account=ACCOUNT, what="listing", new_label=True)]
    match why:
        case "an hour has passed":
            watched.scene.clock.now_s += 3601
        case "another filter needs one":
            looks.append(LookGoogle(request_id="r1", filter_id="f1", account=ACCOUNT, what="listing"))
        case "its label is not known":
            looks = [looks[0].model_copy(update={"filter_id": "f4"})]
        case "the token has expired":
            watched.account.faults.append(("delta 0", TokenExpired("expired")))
        case _:
            for number in range(201):
                watched.account.put(f"people/m{number}", "L3")
    deliveries = [watched.scene.delivery(ACCOUNT, look) for look in looks]
    await watched.watcher.handle(ACCOUNT, deliveries, watched.fence)
    assert "full 0" in watched.account.requests
    listed = only(watched.scene.told(), GoogleListed)
    assert {(look.filter_id, look.request_id) for look in looks} <= {(m.filter_id, m.request_id) for m in listed}
    assert len([m for m in listed if m.request_id == "r"]) == 1


async def test_after_a_restart_only_what_changed_meanwhile_is_told(watched: Watched) -> None:
    watched.scene.told()
    watched.account.put("people/c1", "L1", 1, given="Anna")
    watched.account.bury("people/c2")
    await watched.restart()
    await watched.poll()
    told = watched.scene.told()
    assert {*names(only(told, GoogleObserved))} == {"people/c1"}  # both filters: it may have lost a label
    assert {m.filter_id for m in only(told, GoogleGone)} == {"f1", "f2"}  # nobody remembers whose it was
    assert only(told, GoogleListed) == []


async def test_what_changed_before_a_failed_catch_up_is_told_all_the_same(watched: Watched) -> None:
    watched.scene.told()
    watched.account.put("people/c1", "L1", 1, given="Anna")
    await watched.restart()
    watched.account.faults.append(("delta 0", Unavailable("503")))
    await watched.poll()
    await watched.poll()
    assert {*names(only(watched.scene.told(), GoogleObserved))} == {
        "people/c1"
    }  # both filters: it may have lost a label


async def test_a_token_that_expired_while_nobody_watched_tells_everybody(watched: Watched) -> None:
    watched.scene.told()
    await watched.restart()
    watched.account.faults.append(("delta 0", TokenExpired("expired")))
    await watched.poll()
    assert sorted(names(only(watched.scene.told(), GoogleObserved))) == ["people/c1", "people/c2"]


async def test_people_asked_for_by_name_are_shown_even_if_they_are_private(watched: Watched) -> None:
    watched.scene.told()
    await watched.look("people", resources=("people/c3", "people/c9"))
    told = watched.scene.told()
    assert [(m.request_id, names([m])) for m in only(told, GoogleObserved)] == [("r", ["people/c3"])]
    assert [(m.request_id, m.resources) for m in only(told, GoogleGone)] == [("r", ("people/c9",))]


async def test_candidates_come_from_a_complete_index_only(watched: Watched) -> None:
    watched.scene.told()
    await watched.restart()
    watched.account.requests.clear()
    query = MatchQuery(contact=7, emails=(HASHER.email("p@x.example"),))
    watched.account.faults.append(("full 2", Unavailable("503")))
    with pytest.raises(Transient):
        await watched.look("match", match=(query,))
    assert only(watched.scene.told(), GoogleCandidates) == []
    await watched.look("match", match=(query,))
    answer = only(watched.scene.told(), GoogleCandidates)[0].answers[0]
    assert [(one.resource, one.by) for one in answer.candidates] == [("people/c3", "email")]


async def test_the_label_is_looked_up_by_its_name(watched: Watched) -> None:
    watched.account.labels["L1"] = Label("L1", "Friends", "e", 3, "f1")
    watched.scene.told()
    await watched.look("label")
    await watched.look("label", filter_id="f2")
    told = only(watched.scene.told(), LabelObserved)
    assert [(m.filter_id, m.exists, m.name, m.members) for m in told] == [
        ("f1", True, "Friends", 3),
        ("f2", False, "", 0),
    ]


async def test_a_dead_grant_is_told_once_and_asked_nothing_until_it_changes(watched: Watched) -> None:
    watched.scene.told()
    watched.account.dead = True
    await watched.poll()
    told = only(watched.scene.told(), AccountObserved)
    assert {(m.filter_id, m.connected) for m in told} == {("f1", False), ("f2", False)}
    watched.account.requests.clear()
    await watched.poll()
    await watched.poll()
    assert (watched.account.requests, watched.scene.told()) == ([], [])
    watched.account.dead = False
    await watched.scene.put(f"state.account.{ACCOUNT}.grant", b'{"dead": null, "version": 2}')
    await watched.poll()
    told_again = watched.scene.told()
    assert {(m.filter_id, m.connected) for m in only(told_again, AccountObserved)} == {("f1", True), ("f2", True)}
    assert {m.filter_id for m in only(told_again, GoogleListed)} == {"f1", "f2"}


async def test_a_look_at_a_dead_account_is_answered_by_saying_so(watched: Watched) -> None:
    watched.account.dead = True
    await watched.poll()
    watched.scene.told()
    watched.account.requests.clear()
    await watched.look("listing")
    assert [(m.filter_id, m.connected) for m in only(watched.scene.told(), AccountObserved)] == [("f1", False)]
    assert watched.account.requests == []


async def test_a_look_that_google_will_never_answer_is_put_aside(watched: Watched) -> None:
    watched.account.faults.append(("get", Rejected("no such name")))
    await watched.look("people", resources=("people/???",))
    assert len(watched.scene.dead()) == 1


async def test_a_look_that_is_none_is_put_aside(watched: Watched) -> None:
    delivery = watched.scene.delivery(
        ACCOUNT, LabelObserved(filter_id="f", account="a", seen_at=0, label="L", exists=True)
    )
    await watched.watcher.handle(ACCOUNT, [delivery], watched.fence)
    assert len(watched.scene.dead()) == 1


async def test_an_account_without_labels_costs_no_request() -> None:
    watched = Watched()
    await watched.scene.put(f"state.account.{ACCOUNT}.grant", b'{"dead": null}')
    await watched.restart()
    await watched.poll()
    assert watched.account.requests == []


async def test_accounts_are_woken_when_their_partition_is_gained(watched: Watched) -> None:
    from contactsync.runtime.ownership import GOOGLE_WATCHER

    watched.scene.wakes.at.clear()
    fences = [Fence("google-watcher", partition, 1) for partition in range(64)]
    ours = GOOGLE_WATCHER.partition_of(ACCOUNT)
    await watched.watcher.gained([fence for fence in fences if fence.partition != ours])
    assert watched.scene.wakes.at == {}
    await watched.watcher.gained(fences)
    assert watched.scene.wakes.at == {ACCOUNT: watched.scene.clock() + POLL_S / 2}
    await watched.watcher.lost(GOOGLE_WATCHER.partition_of(ACCOUNT))
    assert watched.watcher.freshness() == {}


async def test_changes_are_told_before_the_answer_that_there_are_no_more(watched: Watched) -> None:
    watched.scene.told()
    watched.account.requests.clear()
    watched.account.put("people/c1", "L1", 1, given="Anna")
    await watched.look("changes")
    told = watched.scene.told("f1")
    assert [type(message).__name__ for message in told] == ["GoogleObserved", "GoogleCaughtUp"]
    assert only(told, GoogleCaughtUp)[0].request_id == "r"
    assert watched.account.requests == ["delta 0"]


async def test_partners_are_named_at_once_where_the_index_is_complete_and_fresh(watched: Watched) -> None:
    subscriptions = await watched.watcher.serve()
    query = MatchQuery(contact=1, emails=())
    look = LookGoogle(request_id="r", filter_id="f1", account=ACCOUNT, what="match", match=(query,))
    question = look.model_dump_json().encode()
    bus = watched.scene.bus
    answer = GoogleCandidates.model_validate_json(await bus.request("contacts.v1.query.match", question))
    assert [(c.resource, c.by) for c in answer.answers[0].candidates] == [("people/c1", "stamp")]

    watched.scene.wakes.ours = False
    with pytest.raises(NoAnswer):
        await bus.request("contacts.v1.query.match", question)
    watched.scene.wakes.ours = True
    watched.scene.clock.now_s += 2 * POLL_S
    with pytest.raises(Refused):
        await bus.request("contacts.v1.query.match", question)
    await watched.restart()
    with pytest.raises(Refused):
        await bus.request("contacts.v1.query.match", question)
    for subscription in subscriptions:
        await subscription.close()


async def test_a_filter_that_left_the_account_is_told_nothing_more(watched: Watched) -> None:
    gone = orjson.dumps({"resource": "", "gone": 1.0})
    await watched.scene.put(f"state.account.{ACCOUNT}.label.f1", gone)
    await watched.poll()
    watched.scene.told()
    watched.account.put("people/c1", "L1", 1, given="Anna")
    watched.account.put("people/c2", "L2", 2, given="Rob")
    await watched.poll()
    told = watched.scene.told()
    assert {message.filter_id for message in only(told, GoogleObserved)} == {"f2"}


async def test_an_account_that_the_last_filter_left_is_polled_no_more_and_nothing_is_kept(watched: Watched) -> None:
    for key in ("grant", "label.f1", "label.f2"):
        await watched.scene.bus.commit(None, [Put(f"state.account.{ACCOUNT}.{key}", None)])
    watched.account.dead = True  # the grant was revoked
    watched.scene.told()
    watched.account.requests.clear()
    for _ in range(3):
        await watched.poll()
    assert watched.account.requests == []
    assert watched.scene.told() == []
    await watched.look("changes")  # a last look of before
    assert watched.scene.wakes.at == {}
    assert f"state.account.{ACCOUNT}.cursor" not in watched.scene.server.values


async def test_a_revoked_account_whose_filters_leave_later_is_left_too(watched: Watched) -> None:
    watched.account.dead = True
    await watched.poll()
    for key in ("grant", "label.f1", "label.f2"):
        await watched.scene.bus.commit(None, [Put(f"state.account.{ACCOUNT}.{key}", None)])
    await watched.poll()
    assert watched.scene.wakes.at == {}
    assert f"state.account.{ACCOUNT}.cursor" not in watched.scene.server.values
