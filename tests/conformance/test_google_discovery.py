"""Our discovery document and our idea of what is writable, held against Google's full document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import googleapiclient  # type: ignore[import-untyped]
import pytest

from contactsync.google.people_discovery import document, people_api
from contactsync.google.reading import PERSON_FIELDS, WRITABLE
from contactsync.runtime.pacing import GOOGLE_COSTS

FULL: dict[str, Any] = json.loads(
    (Path(googleapiclient.__file__).parent / "discovery_cache/documents/people.v1.json").read_text()
)


def methods(doc: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for name, method in doc.get("methods", {}).items():
        yield (*path, name), method
    for name, resource in doc.get("resources", {}).items():
        yield from methods(resource, (*path, name))


OURS = dict(methods(document()))
GOOGLES = dict(methods(FULL))


@pytest.mark.parametrize("path", sorted(OURS), ids=".".join)
def test_a_method_is_as_google_describes_it(path: tuple[str, ...]) -> None:
    ours, googles = OURS[path], GOOGLES[path]
    for key in ("id", "httpMethod", "path", "parameterOrder"):
        assert ours[key] == googles[key]
    for name, parameter in ours["parameters"].items():
        for key, value in parameter.items():
            assert googles["parameters"][name][key] == value, name
    missing = set(googles["parameters"]) - set(ours["parameters"])
    assert missing <= {"requestMask.includeField"}


def test_the_address_is_googles() -> None:
    assert {key: document()[key] for key in ("rootUrl", "servicePath", "version")} == {
        key: FULL[key] for key in ("rootUrl", "servicePath", "version")
    }


@pytest.mark.parametrize("field", sorted(WRITABLE))
def test_exactly_what_google_lets_us_write_is_kept(field: str) -> None:
    schemas = FULL["schemas"]
    entry = schemas[schemas["Person"]["properties"][field]["items"]["$ref"]]["properties"]
    writable = {name for name, spec in entry.items() if not spec.get("readOnly")} - {"metadata"}
    assert WRITABLE[field] == writable


def test_the_read_mask_is_valid() -> None:
    valid = GOOGLES["people", "connections", "list"]["parameters"]["personFields"]["description"]
    for field in PERSON_FIELDS:
        assert f"* {field}" in valid
    writable = GOOGLES["people", "updateContact"]["parameters"]["updatePersonFields"]["description"]
    for field in WRITABLE:
        assert f"* {field}" in writable


def test_a_request_goes_to_the_root_that_was_asked_for() -> None:
    request = people_api("http://127.0.0.1:9/").people.connections.list(
        resourceName="people/me", personFields="names", requestSyncToken="true"
    )
    assert request.url == ("http://127.0.0.1:9/v1/people/me/connections?personFields=names&requestSyncToken=true")
    assert len(GOOGLE_COSTS) == len(OURS)
