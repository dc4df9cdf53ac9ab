"""How long the import of both SDKs takes, in the same environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.environments import ROOT

MEASURE = "import time; started = time.process_time(); import {0}; print(time.process_time() - started)"


def seconds(python: Path, package: str) -> float:
    """Processor time of the import, the best of three."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT / "src")}
    command = [str(python), "-c", MEASURE.format(package)]
    return min(
        float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )


def test_the_import_takes_less_than_a_fifth(official_python: Path) -> None:
    ours, official = seconds(official_python, "kvern.client"), seconds(official_python, "cognite.client")
    print(f"import kvern.client {ours * 1000:.0f} ms, import cognite.client {official * 1000:.0f} ms")
    assert ours < official / 5
