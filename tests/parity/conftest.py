"""An environment with the official SDK, pandas and PyYAML, into which the sources of this project are put as well."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.environments import ROOT, kept_environment

OFFICIAL = "cognite-sdk==8.22.0"
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def official_python() -> Path:
    """The interpreter of the environment, made once and kept for later runs."""
    return kept_environment("test-parity", OFFICIAL, "pandas", "pyyaml", "msgspec") / "bin" / "python"


@pytest.fixture(scope="session")
def probe(official_python: Path) -> Callable[..., Any]:
    """Runs one of the scripts beside this file there; what it prints, which is JSON."""

    def run(script: str, *arguments: str, **environment: str) -> Any:
        done = subprocess.run(
            [str(official_python), str(HERE / script), *arguments],
            capture_output=True,
            text=True,
            timeout=110,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nonexistent",
                "PYTHONPATH": str(ROOT / "src"),
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment,
            },
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
