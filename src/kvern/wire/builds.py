"""What was built for a function: its lock and the build's log. Additions to the contract."""

from __future__ import annotations

from kvern.wire.base import Body, Id
from kvern.wire.calls import LogEntry
from kvern.wire.functions import Status


class Lock(Body):
    """The packages of a function's environment.

    `lock` has the form of a `requirements.txt`: each package at one version, with the hashes of the files that may be
    installed for it. `environment` names the environment; functions with the same one share it.
    """

    function_id: Id
    runtime_version: str
    environment: str
    lock: str


class BuildLog(Body, omit_defaults=False):
    """The entries of a build's log from the one on that was asked for; more may come until `status` is an end state."""

    items: list[LogEntry]
    status: Status
