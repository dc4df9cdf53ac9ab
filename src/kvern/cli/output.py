"""What the verbs print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def as_json(value: object) -> None:
    """The whole result of a verb as one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Something for the person at the terminal, which a pipe does not get."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their longest cell. No cell is cut, so that ids can be copied and lines be searched."""
    lines = [list(head), *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def moment(milliseconds: int | None) -> str:
    """A time in ms since the epoch as the clock on the wall shows it; a dash for none."""
    if milliseconds is None:
        return "-"
    return f"{(_EPOCH + timedelta(milliseconds=milliseconds)).astimezone():%Y-%m-%d %H:%M:%S}"


def duration(milliseconds: float | None) -> str:
    """A time span in ms in the unit that suits it; a dash for none."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds / 60_000:.0f} min"


class Progress:
    """A line on stderr that says what is going on: alive on a terminal, a line a change elsewhere."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._last = ""
        self._spinner = None
        if not silent and sys.stderr.isatty():
            from rich.console import Console

            self._spinner = Console(stderr=True).status("")

    def __enter__(self) -> Progress:
        if self._spinner:
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spinner:
            self._spinner.stop()

    def show(self, text: str, took: str = "") -> None:
        """Say `text`; `took` changes all the time and is only seen on a terminal."""
        if self._spinner:
            from rich.text import Text

            self._spinner.update(Text.assemble(text, "  ", (took, "dim")))
        elif not self._silent and text != self._last:
            note(text)
        self._last = text

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self._spinner:
            from rich.text import Text

            self._spinner.console.print(Text(text, "dim"))
        elif not self._silent:
            note(text)
