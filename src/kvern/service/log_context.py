"""What each line of the service's own log says of whose work it was: request, call, function, project.

It travels with the task (`contextvars`), so that floors which know nothing of requests need not hand it on. What a call
leaves running, such as the worker that was started for it, keeps a copy of its context: so a binding is marked when it
is over, and says nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar


class _Binding:
    __slots__ = ("fields", "over")

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.fields = fields
        self.over = False


_bound: ContextVar[_Binding | None] = ContextVar("kvern_log", default=None)


class bound:
    """Have every line that is logged within say this as well, on top of what it says already."""

    __slots__ = ("_binding", "_token")

    def __init__(self, **fields: object) -> None:
        outer = _bound.get()
        self._binding = _Binding(fields if outer is None else {**outer.fields, **fields})

    def __enter__(self) -> None:
        self._token = _bound.set(self._binding)

    def __exit__(self, *_: object) -> None:
        self._binding.over = True
        _bound.reset(self._token)


def fields() -> Mapping[str, object]:
    """What a line that is logged now should say."""
    binding = _bound.get()
    return {} if binding is None or binding.over else binding.fields
