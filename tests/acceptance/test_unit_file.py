"""The unit for systemd in the docs is one that systemd understands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import ROOT

ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not on this machine")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r"```ini\n(\[Unit\].*?)```", text, re.DOTALL)
    assert found is not None
    program = Path(sys.executable).parent / "kvern"
    unit = tmp_path / "kvern-documented.service"
    unit.write_text(found[1].replace("/opt/kvern/bin/kvern", str(program)).replace("User=kvern", "User=root"))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line or "Unknown" in line]
    assert told == []
