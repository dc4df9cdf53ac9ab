"""How long a deploy takes, from the request that creates a function to Ready, on a real server.

| row | what is there already |
|---|---|
| cold | the packages in uv's cache; no lock, no environment, no bytecode |
| new lock | as cold, but for one small package more: nearly all bytecode is there |
| known lock | lock and environment; other code, and a function of its own |
| code only | the same, and `handle` takes no `client`, so nothing of the SDK is imported |

The check of the handler, which is its import in a new host, is part of each figure; what came before it is shown apart.

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

    def deploy(self, content: bytes) -> tuple[float, float]:
        """Seconds from the request that creates a function to Ready, and those of them that its host and handler took.

        The bundle is uploaded before. The wait for the end is the service's own, so nothing is polled.
        """
        made = self._http.post(f"{self._base}/files", json={"name": "bundle.zip"}).json()
        self._http.put(made["uploadUrl"], content=content).raise_for_status()
        begun = time.perf_counter()
        answer = self._http.post(f"{self._base}/functions", json={"items": [{"name": "bench", "fileId": made["id"]}]})
        answer.raise_for_status()
        path = f"{self._base}/functions/{answer.json()['items'][0]['id']}"
        status = ""
        while status not in ("Ready", "Failed"):
            wait = {"prefer": "wait=60"}
            status = self._http.get(f"{path}/build-log", params={"after": 1_000_000}, headers=wait).json()["status"]
        took = time.perf_counter() - begun
        function, log = self._http.get(path).json(), self._http.get(f"{path}/build-log").json()["items"]
        if status == "Failed":
            raise SystemExit(f"a deploy failed: {function['error']}")
        loading = next(entry["timestamp"] for entry in log if entry["message"].startswith("Loading "))
        delete = {"items": [{"id": function["id"]}]}
        self._http.post(f"{self._base}/functions/delete", json=delete).raise_for_status()
        return took, (log[-1]["timestamp"] - loading) / 1000


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
        plain = TAKES_DATA.format(number=0)
        figures["deploy, cold (packages cached)"] = [client.deploy(bundle(plain, REQUIREMENTS))[0]]
        figures["deploy, new lock, bytecode there"] = [client.deploy(bundle(plain, ONE_MORE))[0]]
        for name, handler in (
            ("deploy, known lock, handler with client", TAKES_CLIENT),
            ("deploy, code only", TAKES_DATA),
        ):
            took = [client.deploy(bundle(handler.format(number=number), REQUIREMENTS)) for number in range(ROUNDS)]
            figures[name] = [whole for whole, _ in took]
            figures[f"  before its host starts ({name.rpartition(', ')[2]})"] = [a - b for a, b in took]
    return figures


def main() -> None:
    figures = measure()
    baseline = harness.quantile(figures["uv venv, by hand"], 0.5)
    print(f"{'deploy, from the request to Ready':<46}{'p50':>12}{'p99':>12}{'to base':>10}")
    for name, seconds in figures.items():
        print(harness.row(name, seconds, baseline))


if __name__ == "__main__":
    main()
