"""A pytest plugin that keeps what a release stores: examples of every kind of record, by their shapes.

    git worktree add /tmp/release REVISION && cd /tmp/release
    PYTHONPATH=services:contracts:tests:…/this/tests python -m pytest -q -p upgrade.record \
        --golden …/tests/upgrade/golden/NAME.json tests/simulation/test_stories.py tests/simulation/test_writer_*.py

`test_state.py` reads them ever after. Kinds are keys with `*` for every name and number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from contactsync.runtime.bus import Put
from contactsync.runtime.memory_server import MemoryServer

EXAMPLES_MAX = 12
OTHERS = ("lease.", "epoch.")
"""Not for another release: they end with the process."""
NAMES = frozenset({
    "state", "filter", "account", "planfix", "link", "arrival", "decided", "request", "person", "label", "held",
    "intent", "capacity", "census", "cursor", "grant", "look", "made", "done", "quota", "google", "history", "gone",
    "rev", "known", "owner", "visit", "used", "match",
})  # fmt: skip

kept: dict[str, dict[str, str]] = {}


def kind_of(key: str) -> str:
    return ".".join(token if token in NAMES else "*" for token in key.split("."))


def shape_of(value: Any) -> str:
    """Which fields have something in them, down to the elements of lists."""
    if isinstance(value, dict):
        parts = {
            (re.sub(r"\d+", "#", name), shape_of(one)) for name, one in value.items() if one not in ("", [], {}, None)
        }
        return "{" + ",".join(f"{name}:{shape}" for name, shape in sorted(parts)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted({shape_of(one) for one in value})) + "]"
    return type(value).__name__


def keep(put: Put) -> None:
    if put.value is None or put.key.startswith(OTHERS):
        return
    kind = kind_of(put.key)
    try:
        shape = shape_of(orjson.loads(put.value))
        text = put.value.decode()
    except (orjson.JSONDecodeError, UnicodeDecodeError):
        return
    examples = kept.setdefault(kind, {})
    if len(examples) < EXAMPLES_MAX:
        examples.setdefault(shape, text)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    put = MemoryServer.put

    def noted(self: MemoryServer, one: Put) -> int:
        keep(one)
        return put(self, one)

    MemoryServer.put = noted  # type: ignore[method-assign]


def pytest_unconfigure(config: pytest.Config) -> None:
    """One example a line."""
    path: Path = config.getoption("--golden")
    blocks = []
    for kind in sorted(kept):
        examples = [orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS) for text in kept[kind].values()]
        blocks.append(b'"%s": [\n  %s\n]' % (kind.encode(), b",\n  ".join(examples)))
    path.write_bytes(b"{\n" + b",\n".join(blocks) + b"\n}\n")
