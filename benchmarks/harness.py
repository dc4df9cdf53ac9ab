"""What every benchmark needs: a real server, functions on it, a load, and processes to compare with."""

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
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
ECHO = "def handle(data):\n    return data\n"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Args:
        env: what `kvern env` prints.
        pid: of the service's own process.
        data: its data folder.
    """

    env: dict[str, str]
    pid: int
    data: Path


@contextlib.contextmanager
def served(*options: str, data: Path | None = None) -> Generator[Server, None, None]:
    """A server; without a data folder of the caller's, one that is removed afterwards."""
    with contextlib.ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvern-bench-")))
        said = stack.enter_context(tempfile.TemporaryFile("w+"))
        command = [str(BIN / "kvern"), "serve", "--data-dir", str(data), "--port", "0", "--log-level", "warning"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                said.seek(0)
                raise RuntimeError(f"the server did not start: {said.read()[-500:]}")
            printed = subprocess.run(
                [str(BIN / "kvern"), "env", "--json", "--data-dir", str(data)],
                capture_output=True,
                text=True,
                check=True,
            )
            yield Server(dict(json.loads(printed.stdout)), process.pid, data)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)


@dataclass(frozen=True)
class Function:
    """A function that is Ready.

    Args:
        url: of the function itself.
        took: seconds from the request that creates it to Ready.
        loading: those of them that its host and the check of its handler took.
    """

    id: int
    url: str
    took: float
    loading: float


class Api:
    """Bare HTTP with a token, so that no client's own polling is measured."""

    def __init__(self, server: Server) -> None:
        env = server.env
        self.http = httpx2.Client(timeout=600)
        form = {
            "grant_type": "client_credentials",
            "client_id": env["IDP_CLIENT_ID"],
            "client_secret": env["IDP_CLIENT_SECRET"],
            "scope": env["IDP_SCOPES"],
        }
        answer = self.http.post(env["IDP_TOKEN_URL"], data=form)
        answer.raise_for_status()
        self.token = str(answer.json()["access_token"])
        self.http.headers["authorization"] = f"Bearer {self.token}"
        self.base = f"{env['CDF_URL']}/api/v1/projects/{env['CDF_PROJECT']}"
        login = {"clientId": env["IDP_CLIENT_ID"], "clientSecret": env["IDP_CLIENT_SECRET"]}
        self.as_sdk: dict[str, Any] = {"sessions": f"{self.base}/sessions", "login": login}
        """What `load.py` takes to call as the official SDK does."""

    def deploy(self, handler: str, requirements: str = "", name: str = "bench") -> Function:
        """Upload a bundle, make a function of it, wait for Ready. The wait is the service's own: nothing is polled.

        Raises:
            RuntimeError: the function is Failed.
        """
        made = self.http.post(f"{self.base}/files", json={"name": "bundle.zip"}).json()
        self.http.put(made["uploadUrl"], content=bundle(handler, requirements)).raise_for_status()
        begun = time.perf_counter()
        answer = self.http.post(f"{self.base}/functions", json={"items": [{"name": name, "fileId": made["id"]}]})
        answer.raise_for_status()
        number = int(answer.json()["items"][0]["id"])
        url = f"{self.base}/functions/{number}"
        status = ""
        while status not in ("Ready", "Failed"):
            wait = {"prefer": "wait=60"}
            status = self.http.get(f"{url}/build-log", params={"after": 1_000_000}, headers=wait).json()["status"]
        took = time.perf_counter() - begun
        if status == "Failed":
            raise RuntimeError(f"a deploy failed: {self.http.get(url).json()['error']}")
        log = self.http.get(f"{url}/build-log").json()["items"]
        loading = [entry["timestamp"] for entry in log if entry["message"].startswith("Loading ")]
        return Function(number, url, took, (log[-1]["timestamp"] - loading[0]) / 1000 if loading else 0.0)

    def delete(self, function: Function) -> None:
        self.http.post(f"{self.base}/functions/delete", json={"items": [{"id": function.id}]}).raise_for_status()

    def call(self, function: Function, data: object = None, expected: str = "Completed") -> tuple[float, int]:
        """Seconds until the answer that tells the end of a call, and the call's id.

        Raises:
            RuntimeError: it ended otherwise than expected.
        """
        begun = time.perf_counter()
        answer = self.http.post(f"{function.url}/call", json={"data": data}, headers={"prefer": "wait=60"})
        took = time.perf_counter() - begun
        call = answer.json()
        if call.get("status") != expected:
            raise RuntimeError(f"expected a call that is {expected}, got {answer.text[:500]}")
        return took, int(call["id"])


def bundle(handler: str, requirements: str = "") -> bytes:
    """A zip of a handler and its requirements."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("handler.py", handler)
        if requirements:
            archive.writestr("requirements.txt", requirements)
    return out.getvalue()


@dataclass(frozen=True)
class Run:
    """What a load saw.

    Args:
        took: seconds of each call that ended well.
        rate: such calls per second.
        refused, asked: calls that were answered with 429, and those that had to be asked for again.
    """

    took: list[float]
    rate: float
    refused: int = 0
    asked: int = 0


class Driver:
    """A process that calls: it reads orders as lines of JSON and answers each with a line (see `load.py`)."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the driver)
        self._process = subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def run(self, **order: Any) -> Run:
        """Carry out one order. Raises `RuntimeError` when the process fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line.endswith("}\n"):
            self._said.seek(0)
            raise RuntimeError(f"{Path(self._process.args[1]).name} failed: {self._said.read().strip()[-800:]}")  # pyright: ignore
        told = json.loads(line)
        rate = len(told["took"]) / told["whole"]
        return Run(told["took"], rate, told.get("refused", 0), told.get("asked", 0))

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=30)
        self._said.close()


@contextlib.contextmanager
def driver(*command: str, env: Mapping[str, str] | None = None) -> Generator[Driver, None, None]:
    """A driver, which is told to end afterwards, and made to after half a minute."""
    made = Driver(command, env)
    try:
        yield made
    finally:
        try:
            made.close()
        except subprocess.TimeoutExpired:
            made._process.kill()
            made._process.wait()


def load() -> contextlib.AbstractContextManager[Driver]:
    """The driver that speaks HTTP."""
    return driver(sys.executable, str(HERE / "load.py"))


@contextlib.contextmanager
def floor() -> Generator[str, None, None]:
    """The URL of the floor's server."""
    with tempfile.TemporaryDirectory(prefix="kvern-floor-") as folder:
        command = [sys.executable, str(HERE / "floor.py"), folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of all values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
