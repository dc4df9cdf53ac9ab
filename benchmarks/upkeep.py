"""Warm calls while retention deletes old ones, beside the same calls when it has nothing to delete.

The old calls are copies of a real one, written straight into the database while no server runs.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import harness
import history
from book import Book
from harness import Api, Run

CALLS = 50_000
RATE = 50
AGE_MS = 100 * 24 * 3_600_000
SECONDS = 1.5
PATIENCE = 150.0
"""Seconds until retention has begun; it looks once a minute."""


def main(book: Book) -> None:
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        data = Path(folder)
        with harness.served(data=data) as server:
            api = Api(server)
            function = api.deploy(harness.ECHO)
            pattern = api.call(function)[1]
        history.fill(data / "kvern.db", pattern, CALLS, AGE_MS)
        with harness.served(data=data) as server, harness.load() as load:
            api = Api(server)
            function = replace(function, url=f"{api.base}/functions/{function.id}")
            order = {"url": f"{function.url}/call", "token": api.token, "rate": RATE, "seconds": SECONDS}
            api.call(function)  # so that a worker is warm
            beside: list[Run] = []
            began = time.monotonic()
            while not (gone := _forgotten(api)):
                if time.monotonic() > began + PATIENCE:
                    raise RuntimeError("retention has not begun")
                time.sleep(0.05)
            began = time.monotonic()
            while gone < CALLS:
                run = load.run(**order)
                gone = _forgotten(api)
                if gone < CALLS:  # else it had an end meanwhile
                    beside.append(run)
            took = time.monotonic() - began
            alone = [load.run(**order) for _ in beside]
        book.begin("upkeep", f"Warm calls, {RATE} a second, while {CALLS:,} old ones are deleted, in {took:.0f} s")
        book.head()
        base = book.runs("nothing to delete", alone)
        book.runs("while old calls are deleted", beside, base)


def _forgotten(api: Api) -> int:
    told = api.http.get(f"{api.base.partition('/api/')[0]}/metrics").text
    found = re.search(r'^kvern_retention_forgotten_total\{what="calls"\} ([0-9.e+]+)$', told, re.MULTILINE)
    return int(float(found[1])) if found else 0
