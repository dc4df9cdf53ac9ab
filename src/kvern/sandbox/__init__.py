"""The sandbox: walls around one tree of processes.

A `Box` says what is inside; a `Sandbox` turns it into the command line that starts it. Two implementations:
`bubblewrap` (a boundary: own mount, pid, ipc and uts namespaces) and `plain` (no boundary, and it says so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mount:
    """One path of the host shown inside a box.

    Args:
        source: an existing absolute path on the host, a file or a folder.
        target: the absolute path at which the box sees it.
        writable: whether the box may change it; off unless asked for.
    """

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """What runs, and all that it may see.

    Args:
        argv: the command, in paths as the box sees them (see `Sandbox.inside`).
        env: the whole environment of the command; nothing of the server's own is added.
        mounts: what is shown beside the system's own read-only folders.
        workdir: the folder in which the command starts, as the box sees it.
        pass_fds: descriptors of the server that stay open in the command; all others are closed.
        network: whether it may reach the network; without, there is a loopback of its own and nothing else. Only a
            boundary can keep it off.
        own: further folders that it may write to, empty at first; a sandbox that is no boundary makes none.
        tmp_size: bytes that /tmp may hold, and as many /dev/shm and each of `own`; None for the sandbox's own default.
        user: who of the machine it is, one of `Sandbox.users`; None for the user of whoever starts it.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    mounts: Sequence[Mount] = ()
    workdir: str = "/tmp"
    pass_fds: Sequence[int] = field(default=())
    network: bool = True
    own: Sequence[str] = ()
    tmp_size: int | None = None
    user: int | None = None


class Sandbox(Protocol):
    """Starts commands behind a wall. Safe to call from any thread; holds no state of a box."""

    name: str
    """`bubblewrap` or `plain`."""

    is_boundary: bool
    """False when code inside can reach what the server's user can reach."""

    users: range
    """The ids of users of this machine that boxes may be; empty when they can only be the server's user."""

    def inside(self, mount: Mount) -> str:
        """The path at which a command in the box finds `mount`: its target, or its source where nothing is mounted."""
        ...

    def command(self, box: Box) -> list[str]:
        """The argv that starts `box`. Whoever runs it gives `env=box.env` and `pass_fds=box.pass_fds`.

        Guarantees: the argv holds no value of `box.env`, so nothing secret shows in a process list. With a boundary,
        everything in the box dies when the process so started, or the thread that started it, dies; `plain` leaves
        that to the caller, who kills the process group.
        """
        ...
