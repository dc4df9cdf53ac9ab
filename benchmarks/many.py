"""500 functions without requirements: deployed, called in turn, and the memory that they hold at rest."""

from __future__ import annotations

import time

import harness
import memory
from book import Book
from harness import Api, Function

FUNCTIONS = 500


def main(book: Book) -> None:
    book.begin("many", f"{FUNCTIONS} functions, deployed one after the other and called in turn")
    with harness.served("--max-functions", str(FUNCTIONS)) as server:
        api = Api(server)
        alone = memory.held(server.pid, "Rss")
        made: list[Function] = []
        for number in range(FUNCTIONS):
            handler = f"NUMBER = {number}\n\n\ndef handle(data):\n    return NUMBER\n"
            made.append(api.deploy(handler, name=f"function-{number}"))
        first = [api.call(function)[0] for function in made]
        again = [api.call(function)[0] for function in made]
        _rest(server.pid)
        rest = memory.held(server.pid, "Rss")
        tree = memory.below(server.pid)
        pages = sum(memory.held(pid, "Pss") for pid in tree)
    book.head()
    base = book.times("deploy of the first 50", [function.took for function in made[:50]])
    book.times("deploy of the last 50", [function.took for function in made[-50:]], base=base)
    base = book.times("first call of each, in turn", first)
    book.times("second call of each, in turn", again, base=base)
    book.value("server, no function yet", alone / 1e6, "MB")
    book.value(f"server, {FUNCTIONS} functions at rest", rest / 1e6, "MB", alone / 1e6)
    book.value("processes below it", len(tree), "")
    book.value("memory of them for each function (PSS)", pages / FUNCTIONS / 1e6, "MB")
    book.meet("memory", rest / 1e6)


def _rest(pid: int) -> None:
    """Wait until the server does nothing for a second; half a minute at most."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        before = _ticks(pid)
        time.sleep(1)
        if _ticks(pid) - before <= 5:
            return


def _ticks(pid: int) -> int:
    """Hundredths of a second of CPU time."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
