"""The generated documents: as committed, deterministic, and valid by the rules of their formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from openapi_schema_validator import OAS31Validator

from contactsync_contracts import export, rest
from contactsync_contracts.messages import MESSAGES

CONTRACTS = Path(export.__file__).parents[1]


def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(export.documents()["asyncapi.yaml"])
    return found


def references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for one in value.values():
                yield from references(one)
        case list():
            for one in value:
                yield from references(one)


def resolve(root: dict[str, Any], target: str) -> Any:
    found: Any = root
    for part in target.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_committed_documents_are_the_generated_ones() -> None:
    assert export.differing(CONTRACTS) == []


def test_another_process_generates_the_same_bytes() -> None:
    script = "import sys;from contactsync_contracts import export;sys.stdout.write(repr(export.documents()))"
    other = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "99", "PYTHONUTF8": "1"},
    )
    assert other.stdout == repr(export.documents())


def test_writing_again_changes_nothing_and_repairs_what_was_changed(tmp_path: Path) -> None:
    assert len(export.write(tmp_path)) == len(MESSAGES) + len(("asyncapi.yaml", "openapi.yaml"))
    assert export.write(tmp_path) == []
    (tmp_path / "schemas" / "SyncRequest.v1.json").write_text("{}")
    (tmp_path / "schemas" / "Forgotten.v1.json").write_text("{}")
    wrong = ["schemas/Forgotten.v1.json", "schemas/SyncRequest.v1.json"]
    assert export.differing(tmp_path) == wrong
    assert export.write(tmp_path) == wrong
    assert export.differing(tmp_path) == []


@pytest.mark.parametrize("type_", MESSAGES)
def test_each_schema_is_a_valid_2020_12_schema(type_: str) -> None:
    schema = json.loads(export.documents()[f"schemas/{type_}.json"])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        pytest.fail(str(error))
    for target in references(schema):
        assert resolve(schema, target)


def test_asyncapi_has_what_version_3_requires() -> None:
    root = document()
    assert root["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(root["info"])
    for name, server in root["servers"].items():
        assert {"host", "protocol"} <= set(server), name
    for name, operation in root["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        assert set(operation["channel"]) == {"$ref"}, name
    for name, message in root["components"]["messages"].items():
        assert "payload" in message, name


def test_every_reference_in_asyncapi_leads_somewhere() -> None:
    root = document()
    for target in references(root):
        if target.startswith("./schemas/"):
            assert target.removeprefix("./") in export.documents()
        else:
            assert resolve(root, target) is not None


def test_the_parameters_of_each_channel_are_those_in_its_address() -> None:
    for name, channel in document()["channels"].items():
        address = channel["address"] or ""
        assert {part.split("}")[0] for part in address.split("{")[1:]} == set(channel.get("parameters", {})), name


def test_operations_take_messages_of_their_own_channel_only() -> None:
    root = document()
    for operation in root["operations"].values():
        channel = operation["channel"]["$ref"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_every_message_travels_on_exactly_one_subject() -> None:
    carried = [
        name
        for channel in document()["channels"].values()
        for name in channel["messages"]
        if "x-jetstream" in channel
    ]
    assert sorted(f"{name}.v1" for name in carried if name != "Dead") == sorted(MESSAGES)


def test_only_sync_and_events_are_public() -> None:
    public = {channel["address"] for channel in document()["channels"].values() if channel["x-public"]}
    assert public == {"contacts.v1.filter.{filter}.sync", "contacts.v1.event.{filter}"}


def test_the_openapi_document_is_valid_and_every_reference_in_it_resolves() -> None:
    found: dict[str, Any] = yaml.safe_load(export.documents()["openapi.yaml"])
    assert found["openapi"].startswith("3.1")
    for target in references(found):
        assert resolve(found, target)
    for name, schema in found["components"]["schemas"].items():
        OAS31Validator.check_schema(schema)
        assert schema.get("type") == "object" or "enum" in schema, name
    names = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert sorted(names) == sorted({one.name for one in rest.OPERATIONS})
