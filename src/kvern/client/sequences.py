"""A sequence of strings that is not itself a string, for type checkers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, TypeVar, overload

T_co = TypeVar("T_co", covariant=True)


class SequenceNotStr(Protocol[T_co]):
    """What `list[str]` and `tuple[str, ...]` are and `str` is not: its `__contains__` takes anything."""

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T_co: ...
    @overload
    def __getitem__(self, index: slice, /) -> Sequence[T_co]: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def index(self, value: Any, start: int = 0, stop: int = 9_223_372_036_854_775_807, /) -> int:
        """Where the value stands first."""
        ...

    def count(self, value: Any, /) -> int:
        """How often the value is there."""
        ...
