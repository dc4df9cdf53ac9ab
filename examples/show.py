"""What `drive.py` prints: steps with their times, tables, a line drawn with characters. Standard library only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

TERMINAL = sys.stdout.isatty()


class Unexpected(Exception):
    """Something is not as it has to be; the text says what."""


def expect(condition: object, otherwise: str) -> None:
    """Stop the demonstration with `otherwise` unless `condition` holds."""
    if not condition:
        raise Unexpected(otherwise)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A heading before, and the time that the step took after it."""
    print(f"\n{_bold('▸ ' + title)}")
    begun = time.perf_counter()
    yield
    print(_dim(f"  {seconds(time.perf_counter() - begun)}"))


def seconds(duration: float) -> str:
    """A duration in s, in the unit that suits it."""
    return f"{duration * 1000:.0f} ms" if duration < 1 else f"{duration:.1f} s"


def line(text: str = "") -> None:
    """One line, indented as all of a step's output."""
    print(f"  {text}".rstrip())


def progress(text: str, *, last: bool = False) -> None:
    """One line that the next one overwrites on a terminal, and that stays elsewhere."""
    if not TERMINAL:
        line(text)
    else:
        print(f"\r\033[K  {text}", end="\n" if last else "", flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    right = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(head))]

    def laid(row: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )

    line(_bold(laid(head)))
    for row in cells:
        line(laid(row))


def plot(points: Sequence[tuple[int, float]], unit: str, height: int = 10) -> None:
    """Draw values over years, one column a year."""
    lowest, highest = min(value for _, value in points), max(value for _, value in points)
    levels = [round((value - lowest) / (highest - lowest) * (height - 1)) for _, value in points]
    for level in reversed(range(height)):
        mark = f"{lowest + (highest - lowest) * level / (height - 1):6.0f}"
        print(f"  {mark} ┤" + "".join("●" if at == level else " " for at in levels).rstrip())
    years = [year for year, _ in points]
    print("  " + " " * 7 + "└" + "".join("┬" if year % 10 == 0 else "─" for year in years))
    names = [" "] * (len(years) + 4)
    for column, year in enumerate(years):
        if year % 10 == 0:
            names[column : column + 4] = str(year)
    print("  " + f"{unit:>6}  " + "".join(names).rstrip())


def log(lines: Sequence[str]) -> None:
    """Log lines, as a function wrote them."""
    for text in lines:
        print(_dim(f"  │ {text}".rstrip()))


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if TERMINAL else text


def _dim(text: str) -> str:
    return f"\033[2m{text}\033[0m" if TERMINAL else text
