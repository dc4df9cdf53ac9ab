"""Real servers in subprocesses, and real clients in environments of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.api import Api
from tests.acceptance.driver import Driver
from tests.acceptance.server import Server

ROOT = Path(__file__).resolve().parents[2]
SDKS = {"sdk": "cognite-sdk>=8,<9"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it."""
    with Server(tmp_path_factory.mktemp("kvern"), extra_env={"SERVER_ONLY": "1"}) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    """Bare HTTP to the shared server."""
    with Api(server.environment()) as bare:
        yield bare


def sdk_python(name: str = "sdk") -> Path:
    """The interpreter of an environment with the official SDK, made once and kept for later runs."""
    folder = ROOT / ".make" / f"test-{name}"
    python = folder / "bin" / "python"
    stamp = folder / "ready"
    if not stamp.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), SDKS[name]], check=True)
        stamp.touch()
    return python


@pytest.fixture(scope="session")
def sdk(server: Server) -> Iterator[Driver]:
    """The official SDK, connected to the shared server by what `kvern env` prints."""
    with Driver(sdk_python(), server.environment()) as driver:
        yield driver
