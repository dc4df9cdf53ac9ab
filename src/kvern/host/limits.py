"""What a worker may use, and who sees to it: control groups where they can be had, else rlimits and a watchdog."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass

from kvern.host import cgroups, processes

MEBI = 1024 * 1024

_numbers = itertools.count(1)  # of this process's groups, whichever engine they belong to


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one worker may use beside the memory and cores that its function asks for.

    Args:
        pids: processes and threads at a time.
        open_files: descriptors at a time, in each process.
        file_size: bytes that one file may have.
        tmp_size: bytes that all workers of a host may have in /tmp, and as many in /dev/shm.
        network: whether they may reach the network.
    """

    pids: int = 512
    open_files: int = 4096
    file_size: int = 2048 * MEBI
    tmp_size: int = 512 * MEBI
    network: bool = True


class Limits:
    """Makes a `Seat` for each worker.

    Args:
        allowance: what a worker may use.
        hierarchy: the control groups to use; None for rlimits and the watchdog only.
    """

    def __init__(self, allowance: Allowance, hierarchy: cgroups.Hierarchy | None) -> None:
        self.allowance = allowance
        self._hierarchy = hierarchy
        self._prefix = cgroups.server_name()

    def holds(self, controller: str) -> bool:
        """Whether the kernel itself holds the limit on `memory`, `pids` or `cpu`."""
        return self._hierarchy is not None and controller in self._hierarchy.folders

    def describe(self) -> dict[str, str]:
        """Each limit and who sees to it, for people."""
        version = f"cgroup v{self._hierarchy.version}" if self._hierarchy is not None else ""
        return {
            "memory": version if self.holds("memory") else "watchdog (every 100 ms) and RLIMIT_DATA",
            "processes": version if self.holds("pids") else "watchdog (every 100 ms) and RLIMIT_NPROC",
            "cpu": version if self.holds("cpu") else "not limited",
            "open files": f"RLIMIT_NOFILE {self.allowance.open_files}",
            "file size": f"RLIMIT_FSIZE {self.allowance.file_size // MEBI} MiB",
        }

    def clear(self) -> None:
        """Clear away the groups of servers that are gone."""
        if self._hierarchy is not None:
            cgroups.clear(self._hierarchy)

    def rlimits(self, memory: int) -> dict[str, int]:
        """What a worker sets for itself, soft and hard."""
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": self.allowance.open_files,
            "RLIMIT_FSIZE": self.allowance.file_size,
        }
        if not self.holds("memory"):
            # Address space, not memory: stacks and arenas are reserved and hardly used. It stops what is too quick
            # for the watchdog.
            limits["RLIMIT_DATA"] = 2 * memory + 1024 * MEBI
        if not self.holds("pids"):
            # Counts all that the user runs, here in one box or on the whole machine; the kernel never holds root to it.
            limits["RLIMIT_NPROC"] = processes.count_of_user() + self.allowance.pids
        return limits

    def seat(self, memory: int, cpu: float) -> Seat:
        """A place for a worker that may use `memory` bytes and `cpu` cores."""
        group = None
        if self._hierarchy is not None:
            name = f"{self._prefix}{next(_numbers)}"
            try:
                group = cgroups.Group(self._hierarchy, name, memory, self.allowance.pids, cpu)
            except OSError:
                group = None  # such as too many groups: the watchdog is there
        return Seat(group, memory, self.allowance.pids)


class Seat:
    """The limits of one worker, in force.

    Args:
        group: its control group, or None.
        memory: bytes.
        pids: processes and threads.
    """

    def __init__(self, group: cgroups.Group | None, memory: int, pids: int) -> None:
        self.group = group
        self.memory = memory
        self.pids = pids
        self._peak = 0

    def add(self, pid: int) -> None:
        """Hold `pid`, and all that it will fork, to the limits. May block for some 10 ms."""
        if self.group is not None:
            try:
                self.group.add(pid)
            except OSError:
                self.group.remove()
                self.group = None

    def rouse(self, pid: int) -> None:
        """Put `pid`, which sits here, where it is: what the kernel does for this makes the next `add` quick."""
        group = self.group
        if group is not None:
            with contextlib.suppress(OSError):
                group.add(pid)

    @property
    def watched(self) -> bool:
        """Whether a watchdog must look after it."""
        return self.group is None or not self.group.complete

    def look(self, pid: int) -> str:
        """What limit the worker `pid` and its descendants are over: `memory`, `pids`, or nothing."""
        tree = processes.tree(pid, at_most=4 * self.pids)
        used = processes.private_memory(tree[: self.pids])
        self._peak = max(self._peak, used)
        if used > self.memory:
            return "memory"
        return "pids" if len(tree) > self.pids else ""

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something here for want of memory."""
        return self.group is not None and self.group.out_of_memory()

    def out_of_pids(self) -> bool:
        """Whether a fork was refused here."""
        return self.group is not None and self.group.out_of_pids()

    def memory_words(self) -> str:
        """Limit and peak, for people."""
        peak = self.group.peak() if self.group is not None else self._peak
        words = f"the limit is {megabytes(self.memory)}"
        return f"{words}, the peak was {megabytes(peak)}" if peak else words

    def kill(self) -> None:
        """Kill all that sits here. May block for a moment."""
        if self.group is not None:
            self.group.kill()

    def remove(self) -> bool:
        """Take the seat away; False while something on it is still dying."""
        return self.group is None or self.group.remove()


def megabytes(count: int) -> str:
    """`count` bytes for people, in the contract's decimal units."""
    return f"{count / 1e6:.0f} MB"
