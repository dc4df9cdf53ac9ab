"""Ends what an aborted run of the tests has started, however it was aborted.

A process of its own waits for the end of the one that runs tests; a pipe tells, after SIGKILL too. Then it asks all
processes that carry the run's mark in their environment to end, as an operator would, so that they remove their cgroups,
and kills those that do not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "PROCESS_OF_TESTS"
"""The variable that all descendants of a process inherit; its value is that process's own."""
PATIENCE = 20.0
_kept: list[subprocess.Popen[bytes]] = []


def guard() -> None:
    """Mark what this process will start, and have it ended when this process is gone."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    os.environ[MARK] = mark
    command = [sys.executable, "-I", __file__, mark, str(PATIENCE)]
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    guardian = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, env=unmarked
    )
    _kept.append(guardian)  # its input must end with this process, and not before


def marked(mark: str) -> list[int]:
    """The processes with this mark."""
    words = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and words in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end(mark: str, patience: float) -> None:
    """End all that has the mark; `patience` in seconds."""
    tick = 0.05
    until = time.monotonic() + patience
    asked: set[int] = set()
    while left := marked(mark):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                if time.monotonic() > until:
                    os.kill(process, signal.SIGKILL)
                elif process not in asked:
                    os.kill(process, signal.SIGTERM)
                    os.kill(process, signal.SIGCONT)
        asked |= set(left)
        time.sleep(tick)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(sys.argv[1], float(sys.argv[2]))
