"""What /proc tells about processes of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")

EXPENDABLE = 500
"""The oom_score_adj of all in a box."""


def be_expendable(pid: int) -> bool:
    """Have the kernel take `pid`, and all that it will fork, before others when memory is short.

    With the privileges of root what is set here is also the least that the process can set itself.
    """
    try:
        (PROC / str(pid) / "oom_score_adj").write_text(str(EXPENDABLE))
    except OSError:
        return False
    return True


def started(pid: int) -> int | None:
    """When the process `pid` was started, in clock ticks since the boot; None when there is none.

    Together with the pid it names a process for ever.
    """
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def tree(pid: int, at_most: int = 1 << 16) -> list[int]:
    """`pid` and its descendants, parents first, about `at_most`. Those that come or go meanwhile may be left out."""
    found = [pid]
    for parent in found:
        if len(found) > at_most:
            break
        found.extend(_children(parent))
    return found


def count_of_user(user: int | None = None) -> int:
    """How many threads `user`, by default that of this process, runs on this machine."""
    own = os.getuid() if user is None else user
    count = 0
    for entry in os.listdir(PROC):  # noqa: PTH208 - names are enough
        if entry.isdigit():
            try:
                if (PROC / entry).stat().st_uid == own:
                    count += len(os.listdir(PROC / entry / "task"))  # noqa: PTH208
            except OSError:
                continue
    return count


def _children(pid: int) -> Iterator[int]:
    tasks = PROC / str(pid) / "task"
    try:
        for task in os.listdir(tasks):  # noqa: PTH208 - names are enough
            text = (tasks / task / "children").read_text()
            yield from map(int, text.split())
    except OSError:
        return


def private_memory(pids: list[int]) -> int:
    """Bytes of memory that the processes hold for themselves: anonymous and shared memory, not mapped files."""
    total = 0
    for pid in pids:
        try:
            status = (PROC / str(pid) / "status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def proportional_memory(pids: list[int]) -> int:
    """Bytes that the processes hold, each shared page divided by the number of processes that share it."""
    total = 0
    for pid in pids:
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def marked(name: str) -> Iterator[tuple[int, str]]:
    """The processes that have the environment variable `name`, with its value."""
    prefix = name.encode() + b"="
    for entry in os.listdir(PROC):  # noqa: PTH208
        if not entry.isdigit():
            continue
        try:
            environ = (PROC / entry / "environ").read_bytes()
        except OSError:
            continue
        for variable in environ.split(b"\0"):
            if variable.startswith(prefix):
                yield int(entry), variable[len(prefix) :].decode(errors="replace")
                break


def kill(pid: int) -> None:
    """Send SIGKILL; a process that is gone is well."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def ending(code: int) -> str:
    """How a process ended, in words; `code` is its exit status, or minus the signal that killed it."""
    if code >= 0:
        return f"left with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"died by signal {-code} ({name})"
