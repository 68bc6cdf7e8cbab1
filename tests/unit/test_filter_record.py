"""A filter's record: its own settings over the installation's, and what people are told."""

from __future__ import annotations

from contactsync.reconciler.core.describe import filter_status
from contactsync.reconciler.core.filter import FilterRecord
from contactsync_contracts.messages import ChangeSettings, NewContactDefaults
from reconciler_world import ACCOUNT, FILTER, World

STANDARD = NewContactDefaults(template=1, group=7, supervisor="none")


def changed(world: World, **values: object) -> FilterRecord:
    new_contact = NewContactDefaults.model_validate(values)
    world.run(ChangeSettings(request_id=str(values), filter_id=FILTER, new_contact=new_contact))
    return world.record


def test_what_a_filter_does_not_override_is_the_installation_s() -> None:
    world = World()
    world.enable()
    assert world.record.defaults(STANDARD) == STANDARD
    assert filter_status(world.record)["new_contact"] is None
    record = changed(world, group=9)
    assert record.defaults(STANDARD) == NewContactDefaults(template=1, group=9, supervisor="none")


def test_the_status_has_what_an_earlier_override_is_merged_with() -> None:
    world = World()
    world.enable()
    status = filter_status(changed(world, group=9, custom_fields={"10": "x"}))
    assert status["new_contact"] == {"group": 9, "custom_fields": {"10": "x"}}
    assert status["account"] == ACCOUNT
    assert {"in_sync", "pending", "held_back", "dismissed"} <= status["contacts"].keys()
