"""Control groups, version 1 or 2, where this process may make them: limits that the kernel itself holds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvern.host import processes

CONTROLLERS = ("memory", "pids", "cpu")
CPU_PERIOD = 100_000
"""Microseconds."""
_WEIGHT = {1: ("cpu.shares", 1024, 262_144), 2: ("cpu.weight", 100, 10_000)}
"""By version: the file, what a process with a nice value of 0 counts, and the most that may be written."""
PREFIX = "kvern-"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups of this process go.

    Args:
        version: 1 or 2.
        folders: controller to the folder in which to make groups; with version 2 all are the same.
        above: of which it is a branch; None for where this process may begin.
    """

    version: int
    folders: Mapping[str, Path]
    above: Hierarchy | None = None

    @property
    def paths(self) -> list[Path]:
        """The folders, each once."""
        return list(dict.fromkeys(self.folders.values()))

    def branch(self, name: str, weight: float) -> Hierarchy:
        """A group that holds groups, made when it is not there: where the CPU is short they share what it gets.

        Args:
            name: of the group, unique here.
            weight: its part, in those of a process with a nice value of 0.

        Raises:
            OSError: it cannot be made.
        """
        made = Hierarchy(self.version, {controller: folder / name for controller, folder in self.folders.items()}, self)
        for path in made.paths:
            try:
                path.mkdir()
            except FileExistsError:
                continue
            if self.version == 2:
                (path / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in self.folders))
            if path == made.folders.get("cpu"):
                file, usual, most = _WEIGHT[self.version]
                (path / file).write_text(str(min(most, max(2, round(usual * weight)))))
        return made

    def prune(self) -> None:
        """Remove this branch, and those that it is a branch of, as far as they are empty."""
        if self.above is not None and remove_all(self.paths):
            self.above.prune()


def find(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Hierarchy | None:
    """The hierarchy in which groups with limits can be made below this process's own group, or None."""
    own: dict[str, str] = {}
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path.lstrip("/")
    if (root / "cgroup.controllers").exists():
        folder = root / own.get("", "")
        return _handed_down(folder, root) or _hand_down(folder)
    folders: dict[str, Path] = {}
    for controller in CONTROLLERS:
        folder = root / controller / own.get(controller, "")
        if controller in own and folder.is_dir() and os.access(folder, os.W_OK):
            folders[controller] = folder
    return Hierarchy(1, folders) if folders else None


def _handed_down(folder: Path, root: Path) -> Hierarchy | None:
    """The nearest group that is ours to use and already hands memory and pids down.

    What a user may write to was delegated to that user, as systemd does for each user's own services. Root may write
    everywhere, which tells nothing, so for root only the own group counts.
    """
    places = [folder] if os.getuid() == 0 else [folder, *folder.parents]
    for place in places:
        try:
            given = (place / "cgroup.subtree_control").read_text().split()
        except OSError:
            continue
        held = [controller for controller in CONTROLLERS if controller in given]
        if {"memory", "pids"} <= set(held) and os.access(place, os.W_OK) and os.access(place / "cgroup.procs", os.W_OK):
            return Hierarchy(2, dict.fromkeys(held, place))
        if place == root:
            break
    return None


def _hand_down(folder: Path) -> Hierarchy | None:
    """Hand the controllers down. A group that holds processes may not, so this process moves into one below it."""
    if not os.access(folder, os.W_OK):
        return None
    try:
        offered = (folder / "cgroup.controllers").read_text().split()
        wanted = [controller for controller in CONTROLLERS if controller in offered]
        given = (folder / "cgroup.subtree_control").read_text().split()
        missing = [controller for controller in wanted if controller not in given]
        if missing:
            if (folder / "cgroup.procs").read_text().split() == [str(os.getpid())]:
                own = folder / "kvern"
                own.mkdir(exist_ok=True)
                (own / "cgroup.procs").write_text(str(os.getpid()))
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in missing))
    except OSError:
        return None
    return Hierarchy(2, dict.fromkeys(wanted, folder)) if wanted else None


class Group:
    """The control group of one worker and of all that it starts.

    Args:
        hierarchy: where.
        name: of the group, unique.
        memory: bytes.
        pids: processes and threads.
        cpu: cores.

    Raises:
        OSError: the group cannot be made.
    """

    def __init__(self, hierarchy: Hierarchy, name: str, memory: int, pids: int, cpu: float) -> None:
        self._hierarchy = hierarchy
        self._version = hierarchy.version
        self._folders = {controller: folder / name for controller, folder in hierarchy.folders.items()}
        self.paths = list(dict.fromkeys(self._folders.values()))
        self.complete = "memory" in self._folders and "pids" in self._folders
        quota = str(max(1000, int(cpu * CPU_PERIOD)))
        try:
            for path in self.paths:
                path.mkdir()
            if self._version == 2:
                self._set("memory", "memory.max", str(memory))
                self._set("memory", "memory.swap.max", "0", optional=True)
                self._set("cpu", "cpu.max", f"{quota} {CPU_PERIOD}")
            else:
                self._set("memory", "memory.limit_in_bytes", str(memory))
                self._set("memory", "memory.memsw.limit_in_bytes", str(memory), optional=True)
                self._set("cpu", "cpu.cfs_quota_us", quota)
            self._set("pids", "pids.max", str(pids))
        except OSError:
            self.remove()
            raise

    def _set(self, controller: str, file: str, value: str, *, optional: bool = False) -> None:
        if controller not in self._folders:
            return
        try:
            (self._folders[controller] / file).write_text(value)
        except OSError:
            if not optional:
                raise

    def _read(self, controller: str, file: str) -> str:
        try:
            return (self._folders[controller] / file).read_text()
        except (KeyError, OSError):
            return ""

    def _count(self, controller: str, file: str, key: str) -> int:
        for line in self._read(controller, file).splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
        return 0

    def add(self, pid: int) -> None:
        """Move a process in. May take some 10 ms, which the kernel waits. Raises OSError."""
        for path in self.paths:
            (path / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process here for want of memory."""
        file = "memory.events" if self._version == 2 else "memory.oom_control"
        return self._count("memory", file, "oom_kill") > 0

    def out_of_pids(self) -> bool:
        """Whether a process could not be forked for the limit."""
        return self._count("pids", "pids.events", "max") > 0

    def peak(self) -> int:
        """The most memory that was used, in bytes; 0 when that is not known."""
        file = "memory.peak" if self._version == 2 else "memory.max_usage_in_bytes"
        text = self._read("memory", file).strip()
        return int(text) if text else 0

    def kill(self) -> None:
        """Kill all that is in the group; may take some time when that is much."""
        for path in self.paths:
            kill(path)

    def remove(self) -> bool:
        """Remove the group, and a branch that it was the last of; False while something in it is still dying.

        Harmless when it is gone.
        """
        gone = remove_all(self.paths)
        if gone:
            self._hierarchy.prune()
        return gone


def kill(path: Path) -> None:
    """Kill all that is in the group at `path` and those below it; what still forks after a second is left."""
    for below in _below(path):
        kill(below)
    with contextlib.suppress(OSError):
        (path / "cgroup.kill").write_text("1")
        return
    with contextlib.suppress(OSError):
        (path / "pids.max").write_text("0")  # what forks as fast as it is killed cannot fork any more
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            pids = [int(pid) for pid in (path / "cgroup.procs").read_text().split()]
        except OSError:
            return
        alive = [pid for pid in pids if pid and processes.started(pid) is not None]
        if not alive:
            return
        for pid in alive:
            processes.kill(pid)


def remove(path: Path) -> bool:
    """Remove the empty group at `path`; False while something in it is still dying, or another group in it."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _below(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def remove_all(paths: list[Path]) -> bool:
    """Remove all of `paths` that can be; whether all are gone."""
    left = [path for path in paths if not remove(path)]
    return not left


def server_name() -> str:
    """What names of groups of this process begin with: they tell a later server whether the owner still lives."""
    return f"{PREFIX}{os.getpid()}-{processes.started(os.getpid())}-"


def clear(hierarchy: Hierarchy) -> int:
    """Kill and remove the groups of servers that are gone; returns how many were found."""
    found: list[Path] = []
    for folder in hierarchy.paths:
        for path in folder.glob(f"{PREFIX}*-*-*"):
            pid, _, rest = path.name.removeprefix(PREFIX).partition("-")
            if pid.isdigit() and str(processes.started(int(pid))) != rest.partition("-")[0]:
                found.append(path)
    _sweep(found, 2.0)
    return len(found)


def clear_branch(hierarchy: Hierarchy, name: str, patience: float = 10.0) -> bool:
    """Kill and remove whatever is left of a branch; False when something in it still dies after `patience` seconds."""
    return _sweep([path for path in (folder / name for folder in hierarchy.paths) if path.exists()], patience)


def _sweep(found: list[Path], patience: float) -> bool:
    for path in found:
        kill(path)
    whole = [deep for path in found for deep in _deepest_first(path)]
    deadline = time.monotonic() + patience
    while not remove_all(whole):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _deepest_first(path: Path) -> list[Path]:
    return [*(deep for below in _below(path) for deep in _deepest_first(below)), path]
