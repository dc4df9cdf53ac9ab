"""Attempts of calls, as rows: those before the last, whose end is the call's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, bindparam, insert, select, update

from kvern.store.calls import keep_log
from kvern.store.tables import attempts, calls

CHUNKS = 1_000_000
"""The lines of attempt `n` are in chunks from `(n - 1) * CHUNKS` on, so that each attempt's are found by number."""

_PUT_OFF = (
    update(calls)
    .where(
        calls.c.id == bindparam("call"),
        calls.c.status == "Running",
        calls.c.server.is_not_distinct_from(bindparam("its_server")),
    )
    .values(begun=False, attempt=bindparam("to_attempt"), next_attempt_time=bindparam("due"))
)

_SHOWN = tuple(column for column in attempts.c if column.name not in ("call_id", "first_chunk"))


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One attempt of a call; the figures as in `CallRecord`, times in ms since the epoch."""

    attempt: int
    start_time: int
    verdict: str | None = None
    end_time: int | None = None
    error_message: str | None = None
    error_trace: str | None = None
    worker: str | None = None
    cold: bool | None = None
    queue_seconds: float | None = None
    run_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


def put_off(
    connection: Connection,
    ended: Mapping[str, Any],
    due: int,
    log_rows: Sequence[dict[str, object]],
    server: str | None = None,
) -> bool:
    """Write that an attempt ended and when the next is due; harmless when that is written already.

    Args:
        ended: a row of `attempts`.
        due: ms since the epoch.
        log_rows: its last lines.
        server: which runs the call, where several share the database.

    Returns:
        False, and nothing is written, when the call has ended or is another server's.
    """
    call_id, number = ended["call_id"], ended["attempt"]
    same = (attempts.c.call_id == call_id, attempts.c.attempt == number)
    if connection.execute(select(attempts.c.attempt).where(*same)).first() is None:
        marks = {"call": call_id, "its_server": server, "to_attempt": number + 1, "due": due}
        if connection.execute(_PUT_OFF, marks).rowcount == 0:
            return False
        connection.execute(insert(attempts), [dict(ended)])
    for log_row in log_rows:
        keep_log(connection, log_row)
    return True


def of(connection: Connection, call_id: int) -> list[AttemptRecord]:
    """The attempts of a call before its last, in order."""
    statement = select(*_SHOWN).where(attempts.c.call_id == call_id).order_by(attempts.c.attempt)
    return [AttemptRecord(**cast(dict[str, Any], row)) for row in connection.execute(statement).mappings()]
