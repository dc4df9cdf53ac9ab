"""`data` of calls and schedules: JSON that stays as it came, and that a handler can be given (contract 4.2)."""

from __future__ import annotations

import re

import msgspec

_PERHAPS_TOO_GREAT = re.compile(rb"[0-9][eE]\+?0*[1-9][0-9]{2}|[0-9]{300}")
"""Numbers that Python reads as infinity, or not at all, look so; little else does."""


def check_data(text: bytes | memoryview | msgspec.Raw) -> None:
    """Raises `ValueError` for a number that is out of the range of floats, or has more digits than Python reads."""
    raw = bytes(text)
    if _PERHAPS_TOO_GREAT.search(raw) is None:
        return
    try:
        msgspec.json.decode(raw)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        where = f" at {place}" if place else ""
        raise ValueError(
            f"Expected numbers that a float or an int can hold in `data`: {what.lower()}{where}"
        ) from error
