"""Any interleaving of edits, membership changes, faults, kills, restarts and replays ends with every invariant true.

A failing case is printed as one command that plays it again; `python tests/simulation/run_sim.py` plays many more.
"""

from __future__ import annotations

import inspect
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from whole.quirks import NAMES
from whole.steps import PLAYED, run_case

CASES = int(os.environ.get("CONTACTSYNC_SIM_CASES", "300"))
SEED = int(os.environ.get("CONTACTSYNC_SIM_SEED", "1"))
STEPS_MAX = 10

_OFTEN = ("wait", "wait", "wait", "planfix_set", "google_set", "fault", "kill")
"""Words that are drawn more often than the others."""


@st.composite
def _steps(draw: st.DrawFn) -> list[list[Any]]:
    words = draw(st.lists(st.sampled_from([*sorted(PLAYED), *_OFTEN]), min_size=1, max_size=STEPS_MAX))
    return [[word, *(draw(st.integers(0, 15)) for _ in range(_arguments(word)))] for word in words]


def _arguments(word: str) -> int:
    return len(inspect.signature(PLAYED[word]).parameters) - 1


@pytest.mark.timeout(max(900, 3 * CASES))
@seed(SEED)
@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
@given(
    contacts=st.integers(1, 5),
    filters=st.integers(1, 2),
    settled=st.booleans(),
    steps=_steps(),
    quirks=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
)
def test_every_invariant_holds_after_any_story(
    contacts: int, filters: int, settled: bool, steps: list[list[Any]], quirks: list[str]
) -> None:
    """`quirks`: how the vendors are (`whole/quirks.py`)."""
    case = {"contacts": contacts, "filters": filters, "settled": settled, "steps": steps, "quirks": quirks}
    note(f"again: python tests/simulation/run_sim.py --case '{json.dumps(case)}'")
    run_case(**case)
