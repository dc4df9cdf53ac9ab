"""A warm call of one function, one at a time, beside another function that is flooded.

Two floods: of echo calls, which take what there is of the service's own process, and of calls that compute, which take
what there is of the processors. Alone and beside the flood take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import harness
from book import Book
from harness import Api, Driver, Run, quantile

FLOOD = 64
ROUNDS = 5
SECONDS = 1.5
COMPUTES = "def handle(data):\n    return sum(range(2_000_000))\n"


def main(book: Book) -> None:
    with harness.served() as server, harness.load() as quiet, harness.load() as loud:
        api = Api(server)
        url = f"{api.deploy(harness.ECHO).url}/call"

        def measured() -> Run:
            return quiet.run(url=url, token=api.token, rate=100, seconds=SECONDS)

        floods = {"echo calls": harness.ECHO, "calls that compute": COMPUTES}
        for name, handler in floods.items():
            flooded = f"{api.deploy(handler).url}/call"
            alone: list[Run] = []
            beside: list[Run] = []
            for _ in range(ROUNDS):
                alone.append(measured())
                with _flood(loud, flooded, api.token):
                    beside.append(measured())
            book.begin("neighbour", f"Warm echo calls, 100 a second, beside a flood of {name}, {FLOOD} at a time")
            book.head()
            base = book.runs("alone", alone)
            row = book.runs("beside the flood", beside, base)
            if name == "echo calls":
                ratios = [quantile(b.took, 0.99) / quantile(a.took, 0.99) for a, b in zip(alone, beside, strict=True)]
                late, base_late = row.quantiles["p99"] * 1e3, base.quantiles["p99"] * 1e3
                book.meet("neighbour", late, base_late, quantile(ratios, 0.5))


@contextmanager
def _flood(loud: Driver, url: str, token: str) -> Generator[None, None, None]:
    """Calls, all the time that is measured and a little before and after."""
    order = {"url": url, "token": token, "concurrency": FLOOD, "seconds": SECONDS + 0.5}
    faults: list[BaseException] = []

    def run() -> None:
        try:
            loud.run(**order)
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if faults:
        raise faults[0]
