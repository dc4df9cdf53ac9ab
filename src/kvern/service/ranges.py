"""Ranges of time in filters (contract 1.4)."""

from __future__ import annotations

from kvern.wire.base import TimeRange


def in_range(span: TimeRange | None, value: int | None) -> bool:
    """Whether a time lies in an inclusive range; a time that is not there lies in none."""
    if span is None:
        return True
    if value is None:
        return False
    return (span.min is None or value >= span.min) and (span.max is None or value <= span.max)
