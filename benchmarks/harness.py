"""What every benchmark needs: a real server, the official SDK in its own environment, and figures as ratios."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SDK = "cognite-sdk>=8,<9"


@contextlib.contextmanager
def served(*options: str) -> Generator[dict[str, str], None, None]:
    """A server with a data folder that is removed afterwards; gives what `kvern env` prints."""
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        command = [str(BIN / "kvern"), "serve", "--data-dir", folder, "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield _environment(Path(folder), process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def _environment(folder: Path, process: subprocess.Popen[str]) -> dict[str, str]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server did not start: {process.communicate()[1]}")
        if (folder / "client.json").exists():
            printed = subprocess.run(
                [str(BIN / "kvern"), "env", "--json", "--data-dir", str(folder)],
                capture_output=True,
                text=True,
                check=True,
            )
            env = dict(json.loads(printed.stdout))
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{env['CDF_URL']}/health").status_code == 200:
                    return env
        time.sleep(0.02)
    raise SystemExit("the server was not ready within 30 s")


def sdk_python() -> Path:
    """The interpreter of an environment with the official SDK, kept for later runs."""
    folder = ROOT / ".make" / "bench-sdk"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([str(BIN / "uv"), "venv", "--quiet", "--clear", str(folder)], check=True)
        subprocess.run([str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(python), SDK], check=True)
        (folder / "ready").touch()
    return python


def with_sdk(script: Path, env: dict[str, str]) -> dict[str, list[float]]:
    """Run a script in the SDK's environment; the JSON object that it prints."""
    command = [str(sdk_python()), str(script)]
    printed = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    return dict(json.loads(printed.stdout.splitlines()[-1]))


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def row(name: str, seconds: Sequence[float], baseline: float) -> str:
    """One line of a table: p50 and p99 in ms, and the p50 as a multiple of the baseline."""
    middle, late = quantile(seconds, 0.5), quantile(seconds, 0.99)
    return f"{name:<46}{middle * 1e3:>9.2f} ms{late * 1e3:>9.2f} ms{middle / baseline:>8.2f} x"
