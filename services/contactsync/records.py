"""Stored records of other releases: a later one may know more fields than this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any


def known_to(cls: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is stored, what this release's dataclass has a field for."""
    names = _names(cls)
    return {name: value for name, value in stored.items() if name in names}


@cache
def _names(cls: type) -> frozenset[str]:
    return frozenset(one.name for one in fields(cls))
