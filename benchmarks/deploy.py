"""How long a deploy takes, from the request that creates a function to Ready, on a real server.

| row | what is there already |
|---|---|
| cold | the packages in uv's cache; no lock, no environment, no bytecode |
| new lock | as cold, but for one small package more: nearly all bytecode is there |
| known lock | lock and environment; other code, and a function of its own |
| code only | the same, and `handle` takes no `client`, so nothing of the SDK is imported |

Baselines, in the same run: a bare `uv venv`, and what a person would type for the cold case: `uv venv`, `uv pip install
--compile-bytecode` of the same packages from the same cache.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent))
import harness

ROUNDS = 15
REQUIREMENTS = "cognite-sdk>=8,<9\n"
ONE_MORE = REQUIREMENTS + "six==1.17.0\n"
TAKES_CLIENT = "NUMBER = {number}\n\n\ndef handle(client, data):\n    return data\n"
TAKES_DATA = "NUMBER = {number}\n\n\ndef handle(data):\n    return data\n"


def bundle(handler: str, requirements: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("handler.py", handler)
        archive.writestr("requirements.txt", requirements)
    return out.getvalue()


class Client:
    """Bare HTTP with a token, so that no client's own polling is measured."""

    def __init__(self, env: dict[str, str]) -> None:
        self._http = httpx2.Client(timeout=300)
        form = {
            "grant_type": "client_credentials",
            "client_id": env["IDP_CLIENT_ID"],
            "client_secret": env["IDP_CLIENT_SECRET"],
            "scope": env["IDP_SCOPES"],
        }
        token = self._http.post(env["IDP_TOKEN_URL"], data=form).json()["access_token"]
        self._http.headers["authorization"] = f"Bearer {token}"
        self._base = f"{env['CDF_URL']}/api/v1/projects/{env['CDF_PROJECT']}"

    def deploy(self, content: bytes) -> float:
        """Seconds from the request that creates a function to Ready; the bundle is uploaded before."""
        made = self._http.post(f"{self._base}/files", json={"name": "bundle.zip"}).json()
        self._http.put(made["uploadUrl"], content=content).raise_for_status()
        begun = time.perf_counter()
        answer = self._http.post(f"{self._base}/functions", json={"items": [{"name": "bench", "fileId": made["id"]}]})
        answer.raise_for_status()
        function = answer.json()["items"][0]
        while function["status"] not in ("Ready", "Failed"):
            time.sleep(0.002)
            function = self._http.get(f"{self._base}/functions/{function['id']}").json()
        took = time.perf_counter() - begun
        if function["status"] == "Failed":
            raise SystemExit(f"a deploy failed: {function['error']}")
        self._http.post(f"{self._base}/functions/delete", json={"items": [{"id": function["id"]}]}).raise_for_status()
        return took


def by_hand(requirements: str | None) -> float:
    """Seconds for an environment as a person makes it: bare, or with packages from the cache and their bytecode."""
    uv = str(harness.BIN / "uv")
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        place = Path(folder) / "environment"
        begun = time.perf_counter()
        subprocess.run([uv, "venv", "-q", "--no-project", "-p", sys.executable, str(place)], check=True)
        if requirements is not None:
            install = [uv, "pip", "install", "-q", "--compile-bytecode", "-p", str(place / "bin" / "python")]
            subprocess.run([*install, *requirements.split()], check=True, env={**os.environ, "UV_LINK_MODE": "copy"})
        return time.perf_counter() - begun


def measure() -> dict[str, Sequence[float]]:
    """Seconds by row; the two baselines first."""
    by_hand(REQUIREMENTS)  # fills the cache
    figures: dict[str, Sequence[float]] = {
        "uv venv, by hand": [by_hand(None) for _ in range(5)],
        "uv venv, pip install, compile, by hand": [by_hand(REQUIREMENTS) for _ in range(2)],
    }
    with harness.served() as env:
        client = Client(env)
        figures["deploy, cold (packages cached)"] = [client.deploy(bundle(TAKES_DATA.format(number=0), REQUIREMENTS))]
        figures["deploy, new lock, bytecode there"] = [client.deploy(bundle(TAKES_DATA.format(number=0), ONE_MORE))]
        for name, handler in (
            ("deploy, known lock, handler with client", TAKES_CLIENT),
            ("deploy, code only", TAKES_DATA),
        ):
            figures[name] = [
                client.deploy(bundle(handler.format(number=number), REQUIREMENTS)) for number in range(ROUNDS)
            ]
    return figures


def main() -> None:
    figures = measure()
    baseline = harness.quantile(figures["uv venv, by hand"], 0.5)
    print(f"{'deploy, from the request to Ready':<46}{'p50':>12}{'p99':>12}{'to base':>10}")
    for name, seconds in figures.items():
        print(harness.row(name, seconds, baseline))


if __name__ == "__main__":
    main()
