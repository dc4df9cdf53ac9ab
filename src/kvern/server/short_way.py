"""The short way from a path to its endpoint: a look-up for each segment; Starlette's router tries row after row.

It knows the rows of the same table, and says nothing of a path that it does not know, or of another method: those are
the router's, which answers 404 and 405.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Scope

Endpoint = Callable[[Request], Awaitable[ASGIApp]]

_DIGITS_MOST = 16


def number(digits: str) -> int:
    """A whole number in a path. One of more digits than an id can have is 0, which is no id."""
    return int(digits) if len(digits) <= _DIGITS_MOST else 0


@dataclass(slots=True)
class _Step:
    named: dict[str, _Step] = field(default_factory=dict[str, "_Step"])
    number: tuple[str, _Step] | None = None
    text: tuple[str, _Step] | None = None
    endpoints: dict[str, Endpoint] = field(default_factory=dict[str, Endpoint])


class ShortWay:
    """Finds what answers a method and a path."""

    def __init__(self) -> None:
        self._first = _Step()

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Know a row: in `path`, `{name}` is any segment and `{name:number}` one of digits."""
        step = self._first
        for segment in path.split("/"):
            if not segment.startswith("{"):
                step = step.named.setdefault(segment, _Step())
                continue
            name, _, kind = segment[1:-1].partition(":")
            taken = step.number if kind else step.text
            if taken is not None and taken[0] != name:
                raise ValueError(f"expected the name {taken[0]!r} in the path {path}, given {name!r}")
            taken = taken or (name, _Step())
            if kind:
                step.number = taken
            else:
                step.text = taken
            step = taken[1]
        step.endpoints[method] = endpoint

    def find(self, scope: Scope) -> Endpoint | None:
        """What answers the request; `path_params` are in the scope then. None for what is the router's to answer."""
        path: str = scope["path"]
        if scope.get("root_path"):
            return None
        params: dict[str, Any] = {}
        step = self._first
        for segment in path.split("/"):
            following = step.named.get(segment)
            if following is not None:
                step = following
            elif step.number is not None and segment.isascii() and segment.isdigit():
                name, step = step.number
                params[name] = number(segment)
            elif step.text is not None and segment and not segment.endswith("\n"):
                name, step = step.text
                params[name] = segment
            else:
                return None
        endpoint = step.endpoints.get(scope["method"])
        if endpoint is not None:
            scope["path_params"] = params
        return endpoint
