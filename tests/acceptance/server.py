"""A real `kvern serve` in a subprocess."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

_http = httpx2.Client(timeout=5)  # one for all: to make one takes longer than to ask

KVERN = str(Path(sys.executable).parent / "kvern")


def until(condition: Any, seconds: float, what: str) -> Any:
    """The first true value of `condition`, looked at often; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Server:
    """A server on a free port of this machine, with its data in `folder`.

    Args:
        folder: an empty folder, or one that an earlier server left.
        options: further words for `kvern serve`.
        extra_env: added to the server's environment.
        settings: the text of `kvern.toml`, which is read from the folder that the server is started in.
        program: what is run instead of `kvern`.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        extra_env: dict[str, str] | None = None,
        settings: str = "",
        program: Sequence[str] = (KVERN,),
    ) -> None:
        self._folder = folder
        (folder / "kvern.toml").write_text(settings)
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._options = options
        self._program = program
        self._env = {**os.environ, **(extra_env or {})}
        if {"HOME", "XDG_CONFIG_HOME"} & set(extra_env or ()):  # whose settings are those of the test
            for name in {"PIP_CONFIG_FILE", "UV_NO_CONFIG"} - set(extra_env or ()):
                self._env.pop(name, None)
        self._port = "0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Start, and return when it answers. A second start takes the same port."""
        command = [*self._program, "serve", "--data-dir", str(self.data), "--port", self._port, *self._options]
        client_file = self.data / "client.json"
        before = client_file.stat().st_mtime_ns if client_file.exists() else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._env, cwd=self._folder, start_new_session=True
            )

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            if not client_file.exists() or client_file.stat().st_mtime_ns == before:
                return False
            try:
                return _http.get(f"{self.url}/health").status_code == 200
            except httpx2.TransportError:
                return False

        until(ready, 30, "the server is ready")
        self._port = self.url.rpartition(":")[2]

    @property
    def url(self) -> str:
        return str(json.loads((self.data / "client.json").read_text())["baseUrl"])

    def environment(self) -> dict[str, str]:
        """What `kvern env` prints, as a user's shell would have it."""
        printed = subprocess.run(
            [KVERN, "env", "--json", "--data-dir", str(self.data)], capture_output=True, text=True, check=True
        )
        return dict(json.loads(printed.stdout))

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """As a power cut would, for this process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def processes(self) -> list[str]:
        """Command lines of all that names the data folder or came from a box of this server."""
        found: list[str] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.data) in words:
                found.append(words)
        return found
