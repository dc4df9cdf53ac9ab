"""Cursors: opaque to clients; here a few integers (contract 1.7)."""

from __future__ import annotations

import base64
import binascii

from kvern.wire.errors import InvalidError


def write_cursor(*position: int) -> str:
    """The cursor for a position in a list."""
    return base64.urlsafe_b64encode(",".join(map(str, position)).encode()).rstrip(b"=").decode()


def read_cursor(cursor: str, parts: int) -> tuple[int, ...]:
    """The position that a cursor stands for. Raises `InvalidError` for one that was not made here."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        position = tuple(int(part) for part in text.split(","))
    except (binascii.Error, ValueError) as error:
        raise InvalidError(f"Expected a cursor from an earlier answer, given {cursor[:60]!r}") from error
    if len(position) != parts or any(not 0 <= part < 2**63 for part in position):
        raise InvalidError(f"Expected a cursor from an earlier answer, given {cursor[:60]!r}")
    return position
