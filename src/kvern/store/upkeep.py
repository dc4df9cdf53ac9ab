"""What is done now and then: deleting what is old, measuring what there is, giving space back.

Each function is one small transaction; who calls them lets others go first in between (`service/retention.py`).
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, delete, select

from kvern.store.tables import attempts, call_logs, calls

_PORTION = 20
"""Calls that are deleted before the time is looked at; a call may have megabytes of log."""

_KEPT = 16 << 20
"""Bytes of free pages that stay in the file for what comes."""


def forget_calls(connection: Connection, before: int | None, most: int, seconds: float) -> int:
    """Delete ended calls with their attempts and logs, the oldest first; how many they were.

    Args:
        before: only those that started before this moment, in ms since the epoch; None for any.
        most: calls at most.
        seconds: after so long it is enough.
    """
    old = select(calls.c.id).where(calls.c.status != "Running").order_by(calls.c.start_time).limit(most)
    if before is not None:
        old = old.where(calls.c.start_time < before)
    ids = [row[0] for row in connection.execute(old)]
    began = time.perf_counter()
    for start in range(0, len(ids), _PORTION):
        if start and time.perf_counter() - began > seconds:
            return start
        portion = ids[start : start + _PORTION]
        for table in (call_logs, attempts):
            connection.execute(delete(table).where(table.c.call_id.in_(portion)))
        connection.execute(delete(calls).where(calls.c.id.in_(portion)))
    return len(ids)


def used_bytes(connection: Connection) -> int | None:
    """What is in the database; None where that cannot be told at once (PostgreSQL: deleted rows go on taking space)."""
    if connection.dialect.name != "sqlite":
        return None
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(
        connection, "page_size"
    )


def give_back(connection: Connection, most: int) -> bool:
    """Give up to `most` free pages back to the file system; whether there are more to give.

    A tenth of the file, and 16 MB, are kept for what comes. Does nothing on PostgreSQL, which sees to it itself, and in
    a SQLite file that was made before this was known.
    """
    if connection.dialect.name != "sqlite" or _pragma(connection, "auto_vacuum") != 2:
        return False
    kept = max(_pragma(connection, "page_count") // 10, _KEPT // _pragma(connection, "page_size"))
    surplus = _pragma(connection, "freelist_count") - kept
    if surplus <= 0:
        return False
    # Python's module takes one step of a statement without columns, and each step gives one page.
    for _ in range(min(surplus, most)):
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return surplus > most


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
