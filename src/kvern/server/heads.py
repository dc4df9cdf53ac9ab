"""A request whose headers are looked up, where Starlette's searches the list of them for each."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request


class Heads(Headers):
    """Headers as they came; of a name that is there several times, the first counts."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._first = dict(reversed(raw))

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower().encode("latin-1")].decode("latin-1")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower().encode("latin-1") in self._first

    def get(self, key: str, default: str | None = None) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The first value of a header, or `default`."""
        value = self._first.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        """All values of a header."""
        return super().getlist(key) if key in self else []


class Incoming(Request):
    """A request whose headers are looked up."""

    @property
    def headers(self) -> Headers:
        """Its headers."""
        if not hasattr(self, "_headers"):
            self._headers = Heads(self.scope["headers"])
        return self._headers
