"""Stories in which the simulation once found something broken, as small as hypothesis could make them."""

from __future__ import annotations

from typing import Any

import pytest

from whole.steps import run_case

FOUND: dict[str, dict[str, Any]] = {
    "a filter without a label yet hears that its account is connected again": {
        "contacts": 1,
        "filters": 2,
        "settled": False,
        "steps": [["revoke"]],
    },
    "a person is adopted and deleted between two polls": {
        "contacts": 2,
        "filters": 1,
        "settled": False,
        "steps": [["wait", 0], ["delete_person", 0]],
    },
    "the writer is killed between the commit of a held mutation's outcome and its answer": {
        "contacts": 3,
        "filters": 1,
        "settled": False,
        "steps": [["kill", 15, 1, 2, 3], ["wait", 1]],
    },
    "one of a person's two labels is deleted while the google-watcher is away": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["kill", 1, 0, 0, 0], ["delete_label", 0]],
    },
    "the same, and the index of people is made anew by a full listing": {
        "contacts": 1,
        "filters": 2,
        "settled": True,
        "steps": [["restart", 1], ["delete_label", 0], ["fault", 0, 0, 0, 0], ["expire", 1]],
    },
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(case: dict[str, Any]) -> None:
    run_case(**case)
