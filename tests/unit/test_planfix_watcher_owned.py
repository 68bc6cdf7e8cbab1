"""Both watchers under real ownership on the bus in memory: a look goes in, its answer comes out, nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import orjson
from test_google_watcher_service import ACCOUNT, HASHER, FakeAccount
from test_planfix_watcher_service import FakePlanfix

from contactsync.google_watcher.service import GoogleWatcher
from contactsync.planfix_watcher.service import PlanfixWatcher
from contactsync.runtime.bus import TYPE
from contactsync.runtime.memory_bus import MemoryBus, MemoryServer
from contactsync.runtime.ownership import GOOGLE_WATCHER, PLANFIX_WATCHER, Component
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    MESSAGES,
    Class,
    GoogleListed,
    LookGoogle,
    LookPlanfix,
    Model,
    PlanfixObserved,
    type_of,
)
from watching import Clock


async def answer_to(
    server: MemoryServer, component: Component, handler: Any, target: str, look: Model, found: Callable[[Model], bool]
) -> Model:
    """Publish the look, run the component until its answer is in the filter's mailbox."""
    data = look.model_dump_json().encode()
    await MemoryBus(server).publish(subjects.look(target), data, msg_id="look", type_=type_of(look))
    stop = anyio.Event()
    answer: list[Model] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                await component.run(handler, stop=stop)

            tasks.start_soon(run)
            consumers = set(component.spec.consumers.values())
            # The other watcher's consumer may be owed the message too; nobody runs it here.
            while not answer or any(one.owed & consumers for one in server.streams["LOOK"].messages.values()):
                await anyio.sleep(0.005)
                stored = server.streams["FILTERS"].messages.values()
                models = [MESSAGES[one.headers[TYPE]].model_validate_json(one.data) for one in stored]
                answer = [model for model in models if found(model)]
            stop.set()
    return answer[0]


async def test_a_planfix_look_is_answered_and_leaves_nothing() -> None:
    server = MemoryServer()
    planfix: Any = FakePlanfix(Clock(time.time()))
    planfix.put(1, "f")
    component = Component(MemoryBus(server), PLANFIX_WATCHER)
    watcher = PlanfixWatcher(MemoryBus(server), component, planfix, clock=time.time, poll_s=60, full_scan_s=3600)
    look = LookPlanfix(request_id="r", filter_id="f", owner=3, what="contacts", contacts=(1,), cls=Class.HUMAN)
    answer = await answer_to(
        server,
        component,
        watcher,
        subjects.PLANFIX,
        look,
        lambda model: isinstance(model, PlanfixObserved) and model.request_id == "r",
    )
    assert isinstance(answer, PlanfixObserved)
    assert [contact.contact for contact in answer.contacts] == [1]
    assert not [key for key in server.values if key.startswith("state.planfix.look.")]


async def test_a_google_look_is_answered_and_the_cursor_is_kept() -> None:
    server = MemoryServer()
    account: Any = FakeAccount()
    account.put("people/c1", "L1", 1)
    bus = MemoryBus(server)
    await bus.cas(subjects.grant_key(ACCOUNT), b'{"dead": null}', 0)
    await bus.cas(subjects.label_key(ACCOUNT, "f1"), orjson.dumps({"resource": "L1"}), 0)
    component = Component(bus, GOOGLE_WATCHER)
    watcher = GoogleWatcher(bus, component, lambda _: account, HASHER, parameters="p", clock=time.time, poll_s=60)
    look = LookGoogle(request_id="r", filter_id="f1", account=ACCOUNT, what="listing")
    answer = await answer_to(
        server,
        component,
        watcher,
        ACCOUNT,
        look,
        lambda model: isinstance(model, GoogleListed) and model.request_id == "r",
    )
    assert isinstance(answer, GoogleListed)
    assert answer.resources == ("people/c1",)
    assert f"state.account.{ACCOUNT}.cursor" in server.values
