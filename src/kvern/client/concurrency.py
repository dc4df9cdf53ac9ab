"""How many requests are under way at once, per project and event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import asyncio


class ConcurrencyConfig:
    """Limits of one group of requests.

    Args:
        settings: The settings that it belongs to.
        api_name: Name of the group.
        **limits: The limits by their names.
    """

    def __init__(self, settings: ConcurrencySettings, api_name: str, **limits: int) -> None:
        self.api_name = api_name
        self._settings = settings
        self._limits = limits

    def __getattr__(self, name: str) -> int:
        limits: dict[str, int] = self.__dict__.get("_limits", {})
        if name in limits:
            return limits[name]
        raise AttributeError(
            f"The limits of {self.__dict__.get('api_name')!r} are {sorted(limits)}; there is no {name!r}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_limits", {}):
            self._settings.check_not_frozen(f"{self.api_name}.{name}")
            self._limits[name] = value
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        limits = ", ".join(f"{name}={limit}" for name, limit in self._limits.items())
        return f"Concurrency[{self.api_name}]({limits})"


class ConcurrencySettings:
    """Limits of all groups; they cannot be changed after the first request."""

    def __init__(self) -> None:
        self._frozen = False
        self._general = ConcurrencyConfig(self, "general", read=5, write=4, delete=2)
        self._files = ConcurrencyConfig(self, "files", read=4, write=2, upload=5, download=5, delete=2, open_files=15)
        self._waiting = ConcurrencyConfig(self, "waiting", calls=64)
        # A semaphore belongs to the event loop that first waits on it, and must not keep that loop alive.
        self._semaphores: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[str, str, str], asyncio.Semaphore]
        ] = WeakKeyDictionary()

    @property
    def general(self) -> ConcurrencyConfig:
        """Limits of everything that has none of its own."""
        return self._general

    @property
    def files(self) -> ConcurrencyConfig:
        """Limits of the Files API."""
        return self._files

    @property
    def waiting(self) -> ConcurrencyConfig:
        """How many answers a server may hold back at once until a call ends; not part of the official SDK."""
        return self._waiting

    @property
    def is_frozen(self) -> bool:
        """Whether a request was made, so that nothing can be changed any more."""
        return self._frozen

    def check_not_frozen(self, name: str) -> None:
        """Raises `RuntimeError` after the first request."""
        if self._frozen:
            raise RuntimeError(f"{name} cannot be changed after the first request: set it right after the import")

    def semaphore(self, group: ConcurrencyConfig, limit: str, project: str) -> asyncio.Semaphore:
        """What a request must hold while it is under way, in the running event loop."""
        import asyncio

        self._frozen = True
        semaphores = self._semaphores.setdefault(asyncio.get_running_loop(), {})
        key = (group.api_name, limit, project)
        if key not in semaphores:
            semaphores[key] = asyncio.Semaphore(getattr(group, limit))
        return semaphores[key]

    def __repr__(self) -> str:
        return f"ConcurrencySettings(general={self._general}, files={self._files}, waiting={self._waiting})" + (
            " (frozen)" if self._frozen else ""
        )
