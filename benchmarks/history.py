"""A million calls of one function: the list's first page, deep pages, filters. The base is `GET /health`.

The rows are written straight into the database, while no server runs: as many real calls would take too long.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
from book import Book
from harness import Api, Function

CALLS = 1_000_000
ROUNDS = 150

FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :calls)
INSERT INTO calls (id, project, function_id, status, begun, verdict, start_time, end_time, session_id, data, response,
                   error_message, error_trace, worker, cold, attempt, queue_seconds, run_seconds, cpu_seconds,
                   peak_memory)
SELECT :first + n, project, function_id,
       CASE WHEN n % 1000 = 0 THEN 'Failed' WHEN n = 5 THEN 'Timeout' ELSE 'Completed' END, 1, verdict,
       start_time - :age - (:calls - n) * 50, end_time - :age - (:calls - n) * 50, session_id, data, response,
       CASE WHEN n % 1000 = 0 THEN 'ValueError: no' END, CASE WHEN n % 1000 = 0 THEN 'Traceback' END,
       worker, cold, attempt, queue_seconds, run_seconds, cpu_seconds, peak_memory
FROM numbers, (SELECT * FROM calls WHERE id = :pattern)
"""
"""Copies of one real call, every 50 ms up to it or to a time before; one of a thousand is Failed, one is a Timeout."""


def main(book: Book) -> None:
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        data = Path(folder)
        with harness.served(data=data) as server:
            api = Api(server)
            function = api.deploy(harness.ECHO)
            pattern = api.call(function)[1]
        begun = time.monotonic()
        fill(data / "kvern.db", pattern, CALLS)
        book.begin("history", f"{CALLS:,} calls of one function (written in {time.monotonic() - begun:.0f} s)")
        book.head()
        with harness.served(data=data) as server:
            _measure(book, Api(server), function)


def fill(path: Path, pattern: int, calls: int, age: int = 0) -> None:
    """Write copies of a call; no server may run.

    Args:
        pattern: id of the call.
        calls: how many.
        age: ms by which they are older.
    """
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous=OFF")
    with database:
        database.execute(FILL, {"calls": calls, "first": 10**9, "pattern": pattern, "age": age})
        database.execute("UPDATE sequences SET next = :next", {"next": 10**9 + 2 * calls})
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _measure(book: Book, api: Api, function: Function) -> None:
    calls = f"{api.base}/functions/{function.id}/calls"
    http = api.http

    def filtered(**wanted: object) -> Callable[[], int]:
        body = {"filter": wanted, "limit": 100}
        return lambda: len(http.post(f"{calls}/list", json=body).json()["items"])

    newest = http.get(calls, params={"limit": 1}).json()["items"][0]["startTime"]
    middle = newest - CALLS * 25
    cursor = http.post(f"{calls}/list", json={"filter": {"startTime": {"max": middle}}, "limit": 1}).json()[
        "nextCursor"
    ]
    asked: dict[str, tuple[Callable[[], int], int]] = {
        "list, first page of 100": (lambda: len(http.get(calls, params={"limit": 100}).json()["items"]), 100),
        "list, first page of 1000": (lambda: len(http.get(calls, params={"limit": 1000}).json()["items"]), 1000),
        "list, a page of 100 from the middle": (
            lambda: len(http.get(calls, params={"limit": 100, "cursor": cursor}).json()["items"]),
            100,
        ),
        "filter, status Completed": (filtered(status="Completed"), 100),
        "filter, status Failed (one in 1000)": (filtered(status="Failed"), 100),
        "filter, status Timeout (one, the oldest)": (filtered(status="Timeout"), 1),
        "filter, status Running (none)": (filtered(status="Running"), 0),
        "filter, an hour in the middle": (filtered(startTime={"min": middle - 3_600_000, "max": middle}), 100),
        "filter, ended before the middle": (filtered(endTime={"max": middle}), 100),
    }
    base = book.times(
        "GET /health", [_timed(lambda: http.get(f"{api.base.partition('/api/')[0]}/health"))[0] for _ in range(ROUNDS)]
    )
    for name, (ask, expected) in asked.items():
        took: list[float] = []
        end = time.monotonic() + 6
        while len(took) < ROUNDS and time.monotonic() < end:
            seconds, count = _timed(ask)
            if count != expected:
                raise RuntimeError(f"{name}: expected {expected} calls, got {count}")
            took.append(seconds)
        row = book.times(name, took, base=base)
        if name == "list, first page of 100":
            book.meet("list", row.quantiles["p50"] * 1e3)


def _timed(ask: Callable[[], object]) -> tuple[float, object]:
    begun = time.perf_counter()
    answer = ask()
    return time.perf_counter() - begun, answer
