"""A revision: one bundle in one environment with one set of settings. It is what is actually run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that this machine has.

    Args:
        runtime: the contract's name for its series, such as `py313`.
        version: the full version, such as `3.13.0`.
        executable: the real executable, links resolved, never a shim.
        prefix: `sys.base_prefix`: the folder that a sandbox must show for the interpreter to work.
    """

    runtime: str
    version: str
    executable: Path
    prefix: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter plus the installed requirements, shared by every function whose lock is the same.

    Args:
        key: the hash of lock, interpreter and platform that names it.
        path: the virtual environment's folder on the host; read-only once made.
        interpreter: what its `bin/python` leads to.
        lock: the locked requirements, with hashes.
    """

    key: str
    path: Path
    interpreter: Interpreter
    lock: str


@dataclass(frozen=True, slots=True)
class Revision:
    """All that a host needs to run one function's code.

    Args:
        id: unique for ever; names folders and log entries.
        function_id: the function that it belongs to.
        code: the folder of the unpacked bundle on the host; read-only.
        handler: the entry file, relative to `code`, POSIX, normalised (no leading `./`).
        environment: what it runs in.
        env_vars: the function's own environment variables.
        secrets: the plain secrets; kept in memory only, handed to a worker over its own socket, never in argv or
            environment.
        cpu: cores that one call may use.
        memory: bytes that one call may use.
        egress: the destinations to which it keeps its network, see `host/egress.py`; None for what the service allows.
    """

    id: str
    function_id: int
    code: Path
    handler: str
    environment: Environment
    env_vars: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cpu: float = 1.0
    memory: int = 1_500_000_000
    egress: Sequence[str] | None = None
