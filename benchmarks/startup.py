"""Starts: of the command, Kvern's own SDK, and a server until it answers, beside an interpreter that does nothing."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from book import Book
from harness import BIN, quantile

ROUNDS = 15
SERVERS = 5


def ended(command: Sequence[str]) -> float:
    """Seconds that a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def ready(data: Path) -> float:
    """Seconds from `kvern serve` to the first 200 of `GET /health`; the server is stopped then.

    Raises:
        RuntimeError: it has ended instead.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "kvern"), "serve", "--data-dir", str(data), "--port", str(port), "--log-level", "error"]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=data.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _is_well(port):
            if process.poll() is not None:
                raise RuntimeError(f"kvern serve has ended with {process.returncode}")
            time.sleep(0.002)
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(60)


def _is_well(port: int) -> bool:
    # The socket listens before the server answers: a request that comes between waits.
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        asked.request("GET", "/health")
        return asked.getresponse().status == 200
    except OSError:
        return False
    finally:
        asked.close()


def main(book: Book) -> None:
    book.begin("startup", "Starts, in turn with an interpreter that does nothing")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "kvern --help": [str(BIN / "kvern"), "--help"],
        "import kvern.client": [sys.executable, "-c", "import kvern.client"],
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            took[name].append(ended(command))
    served: dict[str, list[float]] = {"kvern serve, new data folder": [], "kvern serve, existing data folder": []}
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as root:
        for number in range(SERVERS):
            for times in served.values():  # the first of a number makes the folder, the second finds it
                times.append(ready(Path(root) / str(number)))
    floor = quantile(took["python -c pass"], 0.5)
    for name, seconds in {**took, **served}.items():
        book.value(name, quantile(seconds, 0.5) * 1e3, "ms", floor * 1e3)
    book.meet("help", (quantile(took["kvern --help"], 0.5) - floor) * 1e3)
    book.meet("serve", quantile(served["kvern serve, existing data folder"], 0.5) * 1e3)
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print(
            "(Python is told to write no bytecode: what setup has not compiled is compiled at each start)", flush=True
        )
