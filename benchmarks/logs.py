"""A call that prints 10,000 lines; the base is the same in a bare interpreter, its output read from a pipe."""

from __future__ import annotations

import subprocess
import sys
import time

import harness
from book import Book
from harness import Api

LINES = 10_000
ROUNDS = 8
PRINTS = "    for number in range({lines}):\n        print('a line of a log, number', number)\n"
HANDLER = "def handle(data):\n" + PRINTS.format(lines=LINES) + "    return data\n"
BARE = "import sys\nif True:\n" + PRINTS.format(lines=LINES) + "    sys.stdout.flush()\n"


def main(book: Book) -> None:
    book.begin("logs", f"A call that prints {LINES:,} lines")
    book.head()
    with harness.served() as server:
        api = Api(server)
        function = api.deploy(HANDLER)
        bare: list[float] = []
        calls: list[float] = []
        reads: list[float] = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-S", "-c", BARE], stdout=subprocess.PIPE, check=True)
            bare.append(time.perf_counter() - begun)
            took, number = api.call(function)
            calls.append(took)
            begun = time.perf_counter()
            lines = api.http.get(f"{function.url}/calls/{number}/logs").json()["items"]
            reads.append(time.perf_counter() - begun)
            if len(lines) != LINES:
                raise RuntimeError(f"expected {LINES} lines, got {len(lines)}")
    base = book.times("python -S -c, output in a pipe", bare)
    book.times("the call", calls, base=base)
    book.times("reading its log over HTTP", reads, base=base)
