"""Where settings come from: the process's environment over a `.env` file, and nothing else.

`read_variables` reads both strictly; `VariablesSource` gives the result to `settings.py`. The values stay texts here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dotenv.parser import parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFIX: Final = "CONTACTSYNC_"

TESTS_ONLY: Final = frozenset({"SHARED", "SEED"})
"""Names that tests read and the program ignores."""

# Kubernetes announces every Service of the namespace to every pod; one named contactsync-* has our prefix.
_SERVICE_LINK: Final = re.compile(r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_\d+_(TCP|UDP)(_[A-Z]+)?)$")


class VariablesSource(PydanticBaseSettingsSource):
    """Exactly these variables: full name to text. An empty one counts as not set."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Text, name of the field, and that it is no JSON: fields that hold JSON decode it themselves."""
        return self._variables.get(variable_of(field_name), "").strip() or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {name: value for value, name, _ in found if value is not None}


def variable_of(name: str) -> str:
    """Field to variable: `data_dir` -> `CONTACTSYNC_DATA_DIR`."""
    return PREFIX + name.upper()


def read_variables(
    env: Mapping[str, str], dotenv: Path | None, problems: list[str], unknown: Callable[[str], str | None]
) -> dict[str, str]:
    """Our variables of both, the environment's over the file's. `unknown`: why there is no such setting, or None."""
    values: dict[str, str] = {}
    for source in (_read_dotenv(dotenv, problems), env):
        for variable, value in source.items():
            if not variable.upper().startswith(PREFIX) or _is_foreign(variable, value):
                continue
            if (problem := unknown(variable)) is not None:
                problems.append(problem)
            else:
                values[variable] = value
    return values


def _read_dotenv(path: Path | None, problems: list[str]) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for binding in parse_stream(stream):
                if binding.error or (binding.key is not None and binding.value is None):
                    where = f"{path.name} line {binding.original.line}"
                    problems.append(f"{where}: is not NAME=value; example: {PREFIX}LOG_LEVEL=info")
                elif binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        problems.append(f"{path.name}: cannot be read ({reason}); example: a text file with NAME=value lines")
    return found


def _is_foreign(variable: str, value: str) -> bool:
    name = variable.upper().removeprefix(PREFIX)
    announced = name.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    return name in TESTS_ONLY or announced or _SERVICE_LINK.search(variable) is not None
