"""What a worker may use, and who sees to it: control groups where they can be had, else rlimits and a watchdog."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from dataclasses import dataclass

from kvern.host import cgroups, processes

MEBI = 1024 * 1024

NICE = 5
"""The nice value of what a handler runs in, where no control group holds its share of the CPU."""

_log = logging.getLogger(__name__)

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
        self._name = f"{cgroups.server_name()}{next(_numbers)}"

    def holds(self, controller: str) -> bool:
        """Whether the kernel itself holds the limit on `memory`, `pids` or `cpu`."""
        return self._hierarchy is not None and controller in self._hierarchy.folders

    def describe(self) -> dict[str, str]:
        """Each limit and who sees to it, for people."""
        version = f"cgroup v{self._hierarchy.version}" if self._hierarchy is not None else ""
        return {
            "memory": version if self.holds("memory") else "watchdog (every 100 ms) and RLIMIT_DATA",
            "processes": version if self.holds("pids") else "watchdog (every 100 ms) and RLIMIT_NPROC",
            "cpu": version if self.holds("cpu") else f"not limited; nice {NICE}",
            "open files": f"RLIMIT_NOFILE {self.allowance.open_files}",
            "file size": f"RLIMIT_FSIZE {self.allowance.file_size // MEBI} MiB",
        }

    def clear(self) -> None:
        """Clear away the groups of servers that are gone."""
        if self._hierarchy is not None:
            cgroups.clear(self._hierarchy)

    def close(self) -> None:
        """Kill and remove what is left of all seats. May block for as long as something takes to die."""
        if self._hierarchy is not None and not cgroups.clear_branch(self._hierarchy, self._name):
            _log.warning("control groups %s are left: something in them does not die", self._name)

    def rlimits(self, memory: int, user: int | None = None) -> dict[str, int]:
        """What a worker sets for itself, soft and hard.

        Args:
            memory: bytes that it may use.
            user: who it is, when that is not the user of this process.
        """
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
            limits["RLIMIT_NPROC"] = processes.count_of_user(user) + self.allowance.pids
        return limits

    def seat(self, memory: int, cpu: float, host: str = "host") -> Seat:
        """A place for a worker.

        Where the CPU is short, all that sit here get as much as one process on each core would, hosts share that by
        their `cpu`, and those of one host share what the host gets.

        Args:
            memory: bytes that it may use.
            cpu: cores that it may use.
            host: the name of its host; all of one host ask for the same `cpu`.
        """
        group = None
        for _ in range(2):  # a branch can be pruned by another thread before there is something in it
            with contextlib.suppress(OSError):
                group = self._group(memory, cpu, host)
                break
        # Without one, such as when there are too many groups, the watchdog is there.
        return Seat(group, memory, self.allowance.pids, nice=0 if group is not None and self.holds("cpu") else NICE)

    def _group(self, memory: int, cpu: float, host: str) -> cgroups.Group | None:
        if self._hierarchy is None:
            return None
        branch = self._hierarchy.branch(self._name, os.cpu_count() or 1).branch(host, cpu)
        return cgroups.Group(branch, str(next(_numbers)), memory, self.allowance.pids, cpu)


class Seat:
    """The limits of one worker, in force.

    Args:
        group: its control group, or None.
        memory: bytes.
        pids: processes and threads.
        nice: the nice value of all here.
    """

    def __init__(self, group: cgroups.Group | None, memory: int, pids: int, nice: int = 0) -> None:
        self.group = group
        self.memory = memory
        self.pids = pids
        self._nice = nice
        self._peak = 0

    def add(self, pid: int) -> None:
        """Hold `pid`, and all that it will fork, to the limits. May block for some 10 ms."""
        if self.group is not None:
            try:
                self.group.add(pid)
            except OSError:
                self.group.remove()
                self.group = None
                self._nice = NICE
        if self._nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, pid, max(self._nice, os.getpriority(os.PRIO_PROCESS, pid)))

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
