"""What the verbs print: results on stdout, everything else on stderr.

Functions and other users write much of it, so nothing that a terminal would take for an order is printed as it is: in
text an escape stands there, in a pipe as well, since most pipes end at a terminal; `--json` has JSON's own escapes and
is exact.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TextIO

from kvern.cli.printable import one_line, printable, printable_json

if TYPE_CHECKING:
    from types import TracebackType

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def as_json(value: object, *, indent: int | None = 2) -> None:
    """A value, such as the whole result of a verb, as one JSON document."""
    document = printable_json(json.dumps(value, indent=indent, ensure_ascii=False))
    if not _can_hold(sys.stdout, document):
        document = json.dumps(value, indent=indent)
    print(document, flush=True)


def say(text: str) -> None:
    """A line, or more, of a verb's result."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Something for the person at the terminal, which a pipe does not get."""
    _print(text, sys.stderr)


def _print(text: str, to: TextIO) -> None:
    text = printable(text)
    if not _can_hold(to, text):
        text = text.encode(to.encoding, "backslashreplace").decode(to.encoding)
    print(text, file=to, flush=True)


def _can_hold(stream: TextIO, text: str) -> bool:
    """Whether the encoding of a stream has all characters of a text."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def field(key: str, value: object) -> None:
    """A line `key: value`."""
    say(f"{one_line(key)}: {one_line(str(value))}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their longest cell. No cell is cut, so that ids can be copied and lines be searched."""
    lines = [list(head), *([("" if cell is None else one_line(str(cell))) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


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

            self._spinner.update(Text.assemble(one_line(text), "  ", (took, "dim")))
        elif not self._silent and text != self._last:
            note(text)
        self._last = text

    def line(self, text: str) -> None:
        """Print a line that stays."""
        if self._spinner:
            from rich.text import Text

            self._spinner.console.print(Text(printable(text), "dim"))
        elif not self._silent:
            note(text)
