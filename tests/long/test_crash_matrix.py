"""A thousand crashes; `KVERN_CRASHES` and `KVERN_CRASH_SEED` set how many and which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.crashes import POINTS, Crashes
from tests.acceptance.server import Server

ROUNDS = int(os.environ.get("KVERN_CRASHES", "1000"))
SEED = int(os.environ.get("KVERN_CRASH_SEED", "2"))


@pytest.mark.timeout(10 * ROUNDS + 120)
def test_no_crash_loses_a_call_runs_one_twice_or_leaves_anything_behind(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers-per-function", "2", "--drain-seconds", "2")
    with Crashes(server, seed=SEED) as crashes:
        for number in range(ROUNDS):
            crashes.round(number)
        crashes.end()
    for moment, count in sorted(crashes.counts.items()):
        print(f"{count:4} {moment}")
    print(f"{len(crashes.accepted)} calls were accepted, {len(crashes.completed)} of them seen to complete, 0 lost")
    points = {point for _, _, point in (moment.partition(": ") for moment in crashes.counts) if point}
    assert points == set(POINTS) or ROUNDS < 100
