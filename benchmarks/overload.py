"""Goodput under the default limits: calls that end well, while 1 to 256 connections call as the official SDK does.

Who is answered with no end asks again, who is refused comes again after a moment; the baseline is the rate at 16.
"""

from __future__ import annotations

import harness
from book import Book
from harness import Api

CONNECTIONS = (16, 1, 64, 256)
SECONDS = 4.0


def main(book: Book) -> None:
    book.begin("overload", "Goodput under the default limits, as the official SDK calls")
    book.head()
    with harness.served() as server, harness.load() as load:
        api = Api(server)
        order = {"url": f"{api.deploy(harness.ECHO).url}/call", "token": api.token, "bears": True, **api.as_sdk}
        load.run(concurrency=16, seconds=1, **order)
        base = None
        for connections in CONNECTIONS:
            run = load.run(concurrency=connections, seconds=SECONDS, **order)
            row = book.runs(f"{connections} connections", [run], base)
            base = base or row
            whole = len(run.took) + run.refused
            book.value(f"{connections} connections: refused", 100 * run.refused / max(whole, 1), "% of the requests")
            book.value(f"{connections} connections: asked for again", 100 * run.asked / max(len(run.took), 1), "%")


if __name__ == "__main__":
    main(Book())
