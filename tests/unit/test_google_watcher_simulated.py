"""The Google watcher over the real client, grants and quotas and the simulated Google."""

from __future__ import annotations

import orjson
from test_google_client_simulated import EMAIL, World, world

from contactsync.google_watcher.service import GoogleWatcher
from contactsync.hashing import Hasher
from contactsync.runtime.bus import TYPE, Fence
from contactsync_contracts import subjects
from contactsync_contracts.messages import (
    MESSAGES,
    AccountObserved,
    GoogleGone,
    GoogleListed,
    GoogleObserved,
    Model,
)
from watching import Wakes, only

__all__ = ["world"]  # the fixture


class Watching:
    def __init__(self, world: World) -> None:
        self.world, self.wakes, self.read_to = world, Wakes(), 0
        self.account = next(key.split(".")[2] for key in world.bus.server.values if key.endswith(".grant"))
        self.watcher = GoogleWatcher(
            world.bus,
            self.wakes,
            lambda _: world.people,
            Hasher(b"key"),
            parameters="p",
            clock=lambda: world.now,
            poll_s=60,
        )

    async def begin(self) -> None:
        epoch = await self.world.bus.cas("epoch.google-watcher.0", b"{}", 0)
        self.fence = Fence("google-watcher", 0, epoch)

    async def poll(self) -> list[Model]:
        self.world.now = max(self.world.now + 60, self.wakes.at.get(self.account, 0.0))
        await self.watcher.handle(self.account, [], self.fence)
        stream = self.world.bus.server.streams["FILTERS"]
        stored = [one for seq, one in stream.messages.items() if seq > self.read_to]
        self.read_to = stream.last_seq
        return [MESSAGES[one.headers[TYPE]].model_validate_json(one.data) for one in stored]


def people(told: list[Model]) -> set[str]:
    return {one.resource for message in only(told, GoogleObserved) for one in message.people}


async def test_a_day_in_an_account(world: World) -> None:
    google = world.google
    label = google.create_label(EMAIL, "Friends")
    watching = Watching(world)
    await watching.begin()
    await world.bus.cas(subjects.label_key(watching.account, "f"), orjson.dumps({"resource": label}), 0)
    first, second, third = [await world.create(n, {"given": f"Ann {n}"}, (label,)) for n in (1, 2, 3)]
    private = google.add_person(EMAIL, {"names": [{"givenName": "Private"}]})

    told = await watching.poll()
    assert people(told) == {first.resource, second.resource, third.resource}
    (listed,) = only(told, GoogleListed)
    assert (len(listed.resources), listed.people_total, listed.last) == (3, 4, True)
    assert await watching.poll() == []

    google.edit_person(EMAIL, first.resource, {"names": [{"givenName": "Anna"}]})
    google.edit_person(EMAIL, private, {"names": [{"givenName": "Still private"}]})
    google.delete_person(EMAIL, second.resource)
    told = await watching.poll()
    assert people(told) == {first.resource}
    assert [gone.resources for gone in only(told, GoogleGone)] == [(second.resource,)]
    assert await watching.poll() == []

    google.remove_from_label(EMAIL, third.resource, label)
    told = await watching.poll()
    assert [one.labels for message in only(told, GoogleObserved) for one in message.people] != [(label,)]
    assert people(told) == {third.resource}

    google.expire_sync_tokens(EMAIL)
    google.add_to_label(EMAIL, private, label)
    told = await watching.poll()
    assert people(told) == {private}
    assert [set(listed.resources) for listed in only(told, GoogleListed)] == [
        {first.resource, third.resource, private}
    ]

    google.revoke_grant(EMAIL)
    google.expire_access_tokens(EMAIL)
    told = await watching.poll()
    assert [(one.filter_id, one.connected) for one in only(told, AccountObserved)] == [("f", False)]
    assert await watching.poll() == []
