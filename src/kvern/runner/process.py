"""What a process asks of the Linux kernel about itself: its children, who adopts orphans, when it must die."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_GET_NO_NEW_PRIVS = 39

LANDLOCK_CREATE_RULESET = 444
LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_SCOPES = 0b11
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL (Linux 6.12)."""

try:
    import ctypes

    _libc = ctypes.CDLL(None)
except (ImportError, OSError):  # an interpreter without ctypes: the box's walls and control groups remain
    _libc = None


def prctl(option: int, value: int) -> bool:
    """Call prctl(2); False when it cannot be done."""
    return _libc is not None and _libc.prctl(option, value, 0, 0, 0) == 0


def be_subreaper() -> bool:
    """Become the parent of every orphan below this process, so that none gets away."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal: int) -> bool:
    """Have the kernel send `signal` to this process when its parent dies."""
    return prctl(PR_SET_PDEATHSIG, signal)


def keep_to_itself() -> bool:
    """Have the kernel keep this process, and those that it starts, from others in its box (landlock(7)).

    It can then neither signal nor trace a process that it did not start, nor look into one by way of /proc, nor reach
    an abstract socket of one. False where the kernel cannot do that, and outside of a box, where nothing is held.
    """
    if _libc is None or _libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        return False
    attributes = struct.pack("=QQQ", 0, 0, LANDLOCK_SCOPES)
    rules = _libc.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        return _libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def lower(name: str, limit: int) -> None:
    """Set the limit `name`, such as `RLIMIT_NOFILE`, soft and hard, as far down as `limit`; never up."""
    which = getattr(resource, name)
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, limit))


def children() -> list[int]:
    """The pids of this process's children, of all its threads."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are enough
            text = Path(f"/proc/self/task/{task}/children").read_text()
            found.extend(int(word) for word in text.split())
    except FileNotFoundError:
        return _children_by_scan()
    return found


def _children_by_scan() -> list[int]:
    own = os.getpid()
    found: list[int] = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == own:
            found.append(int(name))
    return found
