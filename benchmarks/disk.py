"""What the disk does: a flush of 4 kB, and a transaction of SQLite as the journal makes it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path

from book import Book

ROUNDS = 400


def main(book: Book) -> None:
    book.begin("disk", "The disk, one at a time")
    book.head()
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        base = book.times("write of 4 kB and fdatasync", _flushes(Path(folder) / "flushed"))
        book.times("commit of one row, SQLite, WAL, FULL", _commits(Path(folder) / "committed.db"), base=base)


def _flushes(path: Path) -> list[float]:
    took: list[float] = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
        took.append(time.perf_counter() - begun)
    os.close(descriptor)
    return took


def _commits(path: Path) -> list[float]:
    took: list[float] = []
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, data BLOB)")
    for number in range(ROUNDS):
        begun = time.perf_counter()
        database.execute("INSERT INTO calls VALUES (?, ?)", (number, b"x" * 100))
        took.append(time.perf_counter() - begun)
    database.close()
    return took
