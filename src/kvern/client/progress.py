"""One line on stderr that says how far a long operation is; only on a terminal or in a notebook."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from kvern.client.redaction import printable

if TYPE_CHECKING:
    from typing_extensions import Self

_SILENT_SECONDS = 1.0
_BETWEEN_SECONDS = 0.2


def is_watched() -> bool:
    """Whether somebody looks on: stderr is a terminal or a notebook's, and `KVERN_PROGRESS` is not `0`."""
    if os.environ.get("KVERN_PROGRESS") == "0":
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Progress:
    """Shows how far something is, once it takes longer than a second.

    Args:
        title: What is being done.
        total: How much there is to do, in bytes; None when that is not known.
    """

    def __init__(self, title: str, total: int | None = None) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._watched = is_watched()
        self._started = self._shown = time.monotonic()
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def advance(self, amount: int) -> None:
        """Adds to what is done, in bytes."""
        self._done += amount
        if self._total:
            self.show(f"{self._done / 1e6:.1f} of {self._total / 1e6:.1f} MB ({100 * self._done // self._total} %)")

    def show(self, state: str) -> None:
        """Shows the state, unless that was done just now."""
        now = time.monotonic()
        if not self._watched or now - self._started < _SILENT_SECONDS or now - self._shown < _BETWEEN_SECONDS:
            return
        self._shown = now
        line = printable(f"{self._title}: {state}, {now - self._started:.0f} s")
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)
