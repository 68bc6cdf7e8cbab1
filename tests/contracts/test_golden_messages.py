"""One recorded message of each type, with every field: what a version 1 reader has to understand for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from contactsync_contracts import export
from contactsync_contracts.messages import BYTES_MAX, MESSAGES, type_of

GOLDEN = Path(__file__).parent / "golden"


def golden(type_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{type_}.json").read_text(encoding="utf-8"))
    return found


def models_in(message: BaseModel) -> Iterator[BaseModel]:
    yield message
    for name in type(message).model_fields:
        value = getattr(message, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from models_in(one)


def test_there_is_exactly_one_golden_message_of_each_type() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_golden_message_holds_every_field_of_its_contract(type_: str) -> None:
    for model in models_in(MESSAGES[type_].model_validate(golden(type_))):
        assert model.model_fields_set == set(type(model).model_fields), type(model).__name__


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_golden_message_survives_parsing_and_writing(type_: str) -> None:
    message = MESSAGES[type_].model_validate_json(json.dumps(golden(type_)))
    written = message.model_dump_json()
    assert json.loads(written) == golden(type_)
    assert type_of(message) == type_
    assert len(written.encode()) < BYTES_MAX


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_golden_message_fits_its_published_schema(type_: str) -> None:
    Draft202012Validator(export.schema(type_)).validate(golden(type_))


@pytest.mark.parametrize("type_", MESSAGES)
def test_readers_ignore_fields_that_a_later_writer_adds(type_: str) -> None:
    kind = MESSAGES[type_]
    later = golden(type_) | {"added_later": {"anything": [1, 2]}}
    assert kind.model_validate(later) == kind.model_validate(golden(type_))


@pytest.mark.parametrize("type_", MESSAGES)
def test_a_message_without_a_required_field_is_refused(type_: str) -> None:
    kind = MESSAGES[type_]
    required = next(name for name, field in kind.model_fields.items() if field.is_required())
    short = {name: value for name, value in golden(type_).items() if name != required}
    with pytest.raises(ValidationError, match=required):
        kind.model_validate(short)
    assert not Draft202012Validator(export.schema(type_)).is_valid(short)
