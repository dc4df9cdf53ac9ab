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
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_VERSION = 1
"""LANDLOCK_CREATE_RULESET_VERSION: asks which version of Landlock the kernel has."""
LANDLOCK_SCOPES = 0b11
"""LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL (version 6, Linux 6.12)."""
LANDLOCK_WRITE, LANDLOCK_REFER = 1 << 1, 1 << 13
"""LANDLOCK_ACCESS_FS_WRITE_FILE and LANDLOCK_ACCESS_FS_REFER (version 2, Linux 5.19).

The second lets files be moved between folders: once one ruleset is on files, each forbids it that does not allow it."""
LANDLOCK_PATH_BENEATH = 1
SCOPES_SINCE, WRITES_SINCE = 6, 2

EXPENDABLE = 500
"""The oom_score_adj of all in a box: when the whole machine runs out of memory, they go before the server does."""

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
    an abstract socket of one, be it in the box or, where the box shares the machine's network, on the machine. False
    where the kernel cannot do that, and outside of a box, where nothing is held.
    """
    return _restrict(writes=False)


def shut_in() -> bool:
    """As `keep_to_itself`, and no file below /proc can be opened for writing any more, so no `oom_score_adj`."""
    return _restrict(writes=True)


def _restrict(*, writes: bool) -> bool:
    if _libc is None or _libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        return False
    version = _libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION)
    scopes = LANDLOCK_SCOPES if version >= SCOPES_SINCE else 0
    handled = LANDLOCK_REFER | (LANDLOCK_WRITE if writes else 0) if version >= WRITES_SINCE else 0
    if not scopes and not writes:
        return False
    attributes = struct.pack("=QQQ", handled, 0, scopes)[: 24 if scopes else 8]
    rules = _libc.syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        if handled:
            _allow(rules, "/", LANDLOCK_REFER)
        if handled & LANDLOCK_WRITE:
            for name in os.listdir("/"):  # noqa: PTH208 - names are enough
                if name != "proc":
                    _allow(rules, f"/{name}", LANDLOCK_WRITE)
        return _libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0 and bool(scopes)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    assert _libc is not None
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _libc.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_PATH_BENEATH, struct.pack("=Qi", access, place), 0)
    finally:
        os.close(place)


def be_expendable() -> None:
    """Have the kernel take this process, and those that it starts, before others when memory is short."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
            score.write(str(EXPENDABLE))
    except OSError:
        pass


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
