"""Ten thousand generated requests and more, over the whole API."""

from __future__ import annotations

import time
from pathlib import Path

from tests.acceptance.api import Api
from tests.acceptance.fuzz import fuzz
from tests.acceptance.server import Server


def test_no_fault_no_undocumented_status_no_breach_of_a_schema(tmp_path: Path) -> None:
    with Server(tmp_path) as server, Api(server.environment()) as api:
        began = time.monotonic()
        tried = fuzz(api, tmp_path, examples=150, seconds=3000)
        print(f"{tried} cases in {time.monotonic() - began:.0f} s")
        assert tried >= 10_000
        assert "met a fault" not in server.log.read_text()
