"""What every benchmark needs: a real server, the official SDK in its own environment, and figures as ratios."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
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


@contextlib.contextmanager
def echo(env: dict[str, str]) -> Generator[tuple[str, str], None, None]:
    """The URL at which an echo function is called, and a token."""
    form = {
        "grant_type": "client_credentials",
        "client_id": env["IDP_CLIENT_ID"],
        "client_secret": env["IDP_CLIENT_SECRET"],
    }
    token = httpx2.post(env["IDP_TOKEN_URL"], data=form).json()["access_token"]
    base = f"{env['CDF_URL']}/api/v1/projects/{env['CDF_PROJECT']}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("handler.py", "def handle(data): return data")
    with httpx2.Client(headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
        made = client.post(f"{base}/files", json={"name": "echo.zip"}).json()
        client.put(made["uploadUrl"], content=buffer.getvalue())
        wanted = {"items": [{"name": "echo", "fileId": made["id"]}]}
        function = client.post(f"{base}/functions", json=wanted).json()["items"][0]
        while function["status"] not in ("Ready", "Failed"):
            time.sleep(0.05)
            function = client.get(f"{base}/functions/{function['id']}").json()
        if function["status"] == "Failed":
            raise SystemExit(function["error"])
        yield f"{base}/functions/{function['id']}/call", token


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
