"""`kvern` by a clock that a test turns: the machine's, and the milliseconds ahead of it that a file tells.

Run as a program, with the file in `CLOCK_AHEAD`; everything else is what `kvern` is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from kvern.cli import main
from kvern.service.clock import RealClock

PROGRAM = (sys.executable, __file__)


class Turned:
    """The clock of a server that runs as `PROGRAM`, for the test that turns it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        self._ahead = 0
        self.turn(0)

    def environment(self) -> dict[str, str]:
        """For the server's process."""
        return {"CLOCK_AHEAD": str(self._file)}

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead

    def turn(self, milliseconds: int) -> None:
        """Put the clock forward."""
        self._ahead += milliseconds
        aside = self._file.with_suffix(".new")
        aside.write_text(str(self._ahead))
        aside.rename(self._file)

    def turn_to_the_minute(self) -> int:
        """Put it forward to the next whole minute; that moment, in ms since the epoch."""
        moment = (self.now() // 60_000 + 1) * 60_000
        self.turn(moment - self.now())
        return moment


if __name__ == "__main__":
    told = Path(os.environ.pop("CLOCK_AHEAD"))
    RealClock.now = lambda _: time.time_ns() // 1_000_000 + int(told.read_text())  # type: ignore[method-assign]
    RealClock._LONGEST = 0.05  # so that a turn is noticed at once
    main()
