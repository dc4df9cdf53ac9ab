"""What functions may use, and whether there are any at all (contract 3.8, 3.9)."""

from __future__ import annotations

from kvern.client.data_classes._base import CogniteResource
from kvern.client.data_classes.function_writes import RunTime


class FunctionsLimits(CogniteResource):
    """What a function may use.

    Args:
        timeout_minutes: How long a call may run.
        cpu_cores: `min`, `max` and `default` of a call's cores.
        memory_gb: `min`, `max` and `default` of a call's memory, in gigabytes.
        runtimes: The Pythons that the server has.
        response_size_mb: How large a response may be, in megabytes.
    """

    def __init__(
        self,
        timeout_minutes: int,
        cpu_cores: dict[str, float],
        memory_gb: dict[str, float],
        runtimes: list[RunTime],
        response_size_mb: int | None = None,
    ) -> None:
        self.timeout_minutes = timeout_minutes
        self.cpu_cores = cpu_cores
        self.memory_gb = memory_gb
        self.runtimes: list[RunTime] = runtimes
        self.response_size_mb = response_size_mb


class FunctionsStatus(CogniteResource):
    """Whether the project may use functions.

    Args:
        status: `inactive`, `requested` or `activated`.
    """

    def __init__(self, status: str) -> None:
        self.status = status
