"""What each line of the service's own log says of whose work it was: request, call, function, project.

It travels with the task (`contextvars`), so that floors which know nothing of requests need not hand it on. What a call
leaves running, such as the worker that was started for it, keeps a copy of its context: so a binding is marked when it
is over, and says nothing any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from contextvars import ContextVar


class _Binding:
    __slots__ = ("fields", "over")

    def __init__(self, fields: Mapping[str, object]) -> None:
        self.fields = fields
        self.over = False


_bound: ContextVar[_Binding | None] = ContextVar("kvern_log", default=None)


@contextlib.contextmanager
def bound(**fields: object) -> Generator[None]:
    """Have every line that is logged within say this as well, on top of what it says already."""
    outer = _bound.get()
    binding = _Binding(fields if outer is None else {**outer.fields, **fields})
    token = _bound.set(binding)
    try:
        yield
    finally:
        binding.over = True
        _bound.reset(token)


def fields() -> Mapping[str, object]:
    """What a line that is logged now should say."""
    binding = _bound.get()
    return {} if binding is None or binding.over else binding.fields
