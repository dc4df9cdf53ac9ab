"""Milliseconds since the Unix epoch (contract 1.4), from and to what people write."""

from __future__ import annotations

import numbers
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from kvern.client.casing import to_camel_case

MIN_TIMESTAMP_MS = -2_208_988_800_000  # 1900-01-01T00:00:00Z
MAX_TIMESTAMP_MS = 4_102_444_799_999  # 2099-12-31T23:59:59.999Z

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SHIFT = re.compile(r"(\d+)([smhdw])-(ago|ahead)")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_TIME_FIELDS = (
    "created_time",
    "creation_time",
    "end_time",
    "expiration_time",
    "last_called",
    "last_updated_time",
    "source_created_time",
    "source_modified_time",
    "start_time",
    "timestamp",
    "uploaded_time",
)
TIME_ATTRIBUTES = frozenset(_TIME_FIELDS) | {to_camel_case(name) for name in _TIME_FIELDS}
"""Fields that are shown as dates, in both spellings."""


def ms_to_datetime(ms: float) -> datetime:
    """The moment, in UTC. Raises `ValueError` outside the years 1900 to 2099."""
    if not MIN_TIMESTAMP_MS <= ms <= MAX_TIMESTAMP_MS:
        raise ValueError(f"Expected milliseconds from {MIN_TIMESTAMP_MS} to {MAX_TIMESTAMP_MS}, got {ms}")
    # Not fromtimestamp: it refuses moments before 1970 on some platforms.
    return _EPOCH + timedelta(milliseconds=ms)


def timestamp_to_ms(timestamp: float | str | datetime) -> int:
    """Milliseconds since the epoch.

    Args:
        timestamp: Milliseconds; a `datetime` (a naive one is local time); `"now"`; or a shift such as `"2w-ago"` or
            `"3d-ahead"` with the units s, m, h, d, w.

    Raises:
        TypeError: for any other type.
        ValueError: for other words, and for moments before 1900.
    """
    if isinstance(timestamp, datetime):
        ms = int(1000 * timestamp.timestamp())
    elif isinstance(timestamp, str):
        ms = round(time.time() * 1000) + _shift_ms(timestamp)
    elif isinstance(timestamp, numbers.Real):
        ms = int(timestamp)
    else:
        raise TypeError(f"Expected a time as int, float, str or datetime, got {type(timestamp).__name__}: {timestamp}")
    if ms < MIN_TIMESTAMP_MS:
        raise ValueError(f"Expected a time after 1900-01-01, got {ms} ms")
    return ms


def _shift_ms(shift: str) -> int:
    if shift == "now":
        return 0
    match = _SHIFT.fullmatch(shift)
    if match is None:
        raise ValueError(
            f"Expected 'now' or a shift such as '3d-ago' or '1w-ahead' (units s, m, h, d, w), got {shift!r}"
        )
    amount = int(match[1]) * _UNIT_MS[match[2]]
    return amount if match[3] == "ahead" else -amount


def shown_with_dates(item: dict[str, Any]) -> dict[str, Any]:
    """A copy in which known time fields are readable dates; what is no valid time stays as it is."""
    shown = dict(item)
    for key in TIME_ATTRIBUTES.intersection(shown):
        value = shown[key]
        if isinstance(value, (int, float)) and MIN_TIMESTAMP_MS <= value <= MAX_TIMESTAMP_MS:
            shown[key] = ms_to_datetime(value).isoformat(sep=" ", timespec="milliseconds")
    return shown
