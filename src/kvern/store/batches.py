"""Long lists of values, in pieces that one statement takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_MOST = 500


def batched(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """All values, some at a time; none for none."""
    for start in range(0, len(values), _MOST):
        yield values[start : start + _MOST]
