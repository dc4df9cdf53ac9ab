"""What a function may ask for (contract 3.1, 3.9): runtimes, cores, memory, time, and room in its project."""

from __future__ import annotations

from kvern.settings import Settings
from kvern.wire import functions as wire
from kvern.wire.errors import InvalidError

_DEFAULT_UP_TO = "py313"
"""The newest runtime that is taken unasked (contract 13.22)."""


class FunctionLimits:
    """Says what is had when nothing is asked for, and refuses what cannot be had; all raise `InvalidError`.

    Args:
        settings: the limits of the service.

    `runtimes` are those that this machine has, oldest first.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.runtimes: list[str] = []

    def shown(self) -> wire.Limits:
        """What the API shows."""
        its = self._settings
        return wire.Limits(
            timeout_minutes=max(1, round(its.timeout_minutes)),
            cpu_cores=wire.Range(min=its.cpu_min, max=its.cpu_max, default=its.cpu_default),
            memory_gb=wire.Range(min=its.memory_min, max=its.memory_max, default=its.memory_default),
            runtimes=self.runtimes,
            response_size_mb=max(1, round(its.response_size_mb)),
        )

    def runtime(self, wanted: str | None) -> str:
        known = self.runtimes
        if not known:
            raise InvalidError(
                "No Python 3.10 to 3.14 was found on the machine of the service; `kvern doctor` tells more"
            )
        if wanted is None:
            # Named so that they sort by age: py310, py311, …
            return max((name for name in known if name <= _DEFAULT_UP_TO), default=known[-1])
        if wanted not in known:
            raise InvalidError(f"Expected a runtime that this machine has ({', '.join(known)}), given {wanted[:40]!r}")
        return wanted

    def cpu(self, wanted: float | None) -> float:
        """Cores."""
        its = self._settings
        return _within("cpu", wanted, its.cpu_min, its.cpu_max, its.cpu_default)

    def memory(self, wanted: float | None) -> float:
        """Gigabytes."""
        its = self._settings
        return _within("memory", wanted, its.memory_min, its.memory_max, its.memory_default)

    def check_soft_deadline(self, seconds: float | None) -> None:
        limit = self._settings.timeout_minutes * 60
        if seconds is not None and seconds >= limit:
            raise InvalidError(
                f"Expected softDeadlineSeconds below the time limit of a call, {limit:g} s, given {seconds:g}"
            )

    def check_room(self, count: int) -> None:
        """Whether a project that has `count` functions may have one more."""
        if count >= self._settings.max_functions:
            raise InvalidError(
                f"Expected at most {self._settings.max_functions} functions in a project, and it has {count}; "
                "delete one first"
            )


def _within(name: str, wanted: float | None, least: float, most: float, default: float) -> float:
    """Too little is raised to the minimum, too much is refused (contract 3.1)."""
    if wanted is None:
        return default
    if wanted > most:
        raise InvalidError(f"Expected at most {most} as {name}, given {wanted}")
    return max(wanted, least)
