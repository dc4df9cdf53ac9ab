"""Output into log lines."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kvern.host.call import LogLine

LINE_LIMIT = 16_384
"""Bytes; a longer line comes as several."""


class Lines:
    """Splits the bytes that one call prints into lines, and keeps to the call's limit.

    Lines end with `\\n` or `\\r\\n`. What is not UTF-8, and the character NUL, becomes U+FFFD.

    Args:
        limit: bytes to keep; the rest is counted and dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._rest = b""
        self._dropped = 0

    def feed(self, output: bytes) -> Sequence[LogLine]:
        """The lines that `output` completes."""
        if len(output) > self._left:
            self._dropped += len(output) - self._left
            output = output[: self._left]
        if not output:
            return ()
        self._left -= len(output)
        pieces = (self._rest + output).split(b"\n")
        self._rest = pieces.pop()
        now = time.time_ns() // 1_000_000
        lines: list[LogLine] = []
        for piece in pieces:
            _append(lines, piece, now)
        while len(self._rest) > LINE_LIMIT:
            cut = _cut(self._rest)
            lines.append(LogLine(now, _text(self._rest[:cut])))
            self._rest = self._rest[cut:]
        return lines

    def finish(self) -> Sequence[LogLine]:
        """The last line, if it had no newline, and what was dropped."""
        now = time.time_ns() // 1_000_000
        lines: list[LogLine] = []
        if self._rest:
            _append(lines, self._rest, now)
            self._rest = b""
        if self._dropped:
            note = f"[{self._dropped} more bytes of output were dropped: a call may log {self._limit} bytes]"
            lines.append(LogLine(now, note))
            self._dropped = 0
        return lines


def _append(lines: list[LogLine], piece: bytes, now: int) -> None:
    while len(piece) > LINE_LIMIT:
        cut = _cut(piece)
        lines.append(LogLine(now, _text(piece[:cut])))
        piece = piece[cut:]
    lines.append(LogLine(now, _text(piece.removesuffix(b"\r"))))


def _cut(piece: bytes) -> int:
    """Where to cut a long line without tearing a character apart."""
    cut = LINE_LIMIT
    while cut > LINE_LIMIT - 4 and piece[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", "replace").replace("\0", "\ufffd")
