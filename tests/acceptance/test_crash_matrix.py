"""Fifty crashes: parts of the service killed at chosen moments (the thousand are in `tests/long`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.crashes import Crashes
from tests.acceptance.server import Server
from tests.acceptance.syncs import can_trace


@pytest.mark.timeout(400)
@pytest.mark.skipif(not can_trace(), reason="system calls of this processor are not known to the watch")
def test_no_crash_loses_a_call_runs_one_twice_or_leaves_anything_behind(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers-per-function", "2", "--drain-seconds", "2")
    with Crashes(server, seed=1) as crashes:
        for number in range(50):
            crashes.round(number)
        crashes.end()
    assert len(crashes.accepted) > 20
    assert crashes.completed
    for moment, count in sorted(crashes.counts.items()):
        print(f"{count:4} {moment}")
