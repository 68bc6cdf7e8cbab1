"""Recorded answers of the People API: they map, and laying over them what they hold writes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contactsync import errors
from contactsync.google.answers import failure
from contactsync.google.mapping import MappingConfig, build_update, to_person

SHARED = Path(os.environ.get("CONTACTSYNC_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLES = SHARED / "facts/google-samples"
CONFIG = MappingConfig("ES", "acme", {"1": "Custom Field Number One"})

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the recorded samples are not here")


def people() -> list[Any]:
    found = []
    for path in sorted(SAMPLES.rglob("*.json")):
        if path.stem.endswith("_data"):  # what a client sent
            continue
        loaded = json.loads(path.read_text())
        for number, json_ in enumerate([loaded, *loaded.get("connections", [])]):
            if json_.get("names") and "sources" in json_.get("metadata", {}):
                found.append(pytest.param(json_, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize("json_", people())
def test_a_recorded_person_maps_and_needs_no_write(json_: dict[str, Any]) -> None:
    person = to_person(json_, config=CONFIG)
    assert person.fields["given"]
    assert person.updated_at > 1_600_000_000
    assert person.labels
    write = build_update(
        person.raw, person.etag, person.resource, person.source_id, person.fields,
        labels_on=person.labels, config=CONFIG,
    )  # fmt: skip
    assert write.mask == ()
    assert write.unwritable == {}


@pytest.mark.parametrize(
    ("name", "kind", "bucket"),
    [
        ("400_expired_sync_token", errors.TokenExpired, None),
        ("400_stale_etag", errors.Stale, None),
        ("429_critical_read_per_user", errors.Unavailable, "critical_read"),
        ("429_critical_write_per_user", errors.Unavailable, "critical_write"),
        ("429_fbs_quota", errors.Unavailable, "backend"),
    ],
)
def test_a_recorded_error_is_understood(name: str, kind: type[Exception], bucket: str | None) -> None:
    body = json.loads((SAMPLES / "errors" / f"{name}.json").read_text())
    found = failure(body["_http_status"], body, write=True, metrics=("critical_read",))
    assert type(found.error) is kind
    assert getattr(found.error, "bucket", None) == bucket
