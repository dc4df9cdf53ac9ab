"""How hosts behave."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """How hosts behave.

    Args:
        max_workers: workers at a time in one host; further calls wait.
        load_timeout: seconds that loading the handler may take.
        idle_worker: seconds after which an idle worker is stopped, as long as another one stays warm.
        idle_last: seconds after which the last idle worker is stopped too; the zygote stays.
        idle_host: seconds without a call after which the whole host is stopped.
        idle_memory: bytes that the hosts without a call may hold together; past it those of least worth are stopped.
        worker_calls: calls after which a worker is replaced.
        worker_growth: bytes by which a worker's own memory may grow from when it was loaded, until it is replaced;
            at most half of what the function may have.
        running: calls that run at the same time, of all functions; past it, functions take turns.
    """

    max_workers: int = max(8, 4 * (os.cpu_count() or 1))
    load_timeout: float = 120.0
    idle_worker: float = 60.0
    idle_last: float = 600.0
    idle_host: float = 86_400.0
    idle_memory: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    worker_calls: int = 10_000
    worker_growth: int = 256_000_000
    running: int = max(64, 32 * (os.cpu_count() or 1))
