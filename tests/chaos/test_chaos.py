"""Twenty faults for CI: a dozen against one NATS server, the rest against three; and a first sync under kills.

`run.py` is the same without an end: `make chaos`.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chaos import former
from chaos.run import first_sync, play
from chaos.site import chaotic

pytestmark = [pytest.mark.nats, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("servers", "faults"), [(1, 12), (3, 8)])
def test_after_everything_that_can_fail_has_failed_every_invariant_holds(
    tmp_path: Path, servers: int, faults: int
) -> None:
    seed = int(time.time())
    print(f"seed {seed}")
    with chaotic(tmp_path, servers=servers, contacts=60, filters=3, replicas=2, seed=seed) as site:
        assert play(site, faults, say=True) == []


def test_replicas_of_two_releases_work_side_by_side_through_upgrades_and_back(tmp_path: Path) -> None:
    try:
        code = former.unpacked(tmp_path)
    except former.NotHere as error:
        pytest.skip(f"NOT TESTED: {error}")
    seed = int(time.time())
    print(f"seed {seed}")
    with chaotic(tmp_path, servers=1, contacts=60, filters=3, replicas=2, seed=seed, former=code) as site:
        assert play(site, 8, say=True) == []


def test_a_first_sync_ends_though_a_process_is_killed_every_three_seconds(tmp_path: Path) -> None:
    seed = int(time.time())
    print(f"seed {seed}")
    with chaotic(tmp_path, servers=1, contacts=2_000, filters=1, replicas=2, seed=seed) as site:
        assert first_sync(site, 2_000, say=True) == []
