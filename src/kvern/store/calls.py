"""Calls, their responses and their logs, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, Unpack, cast

from sqlalchemy import Connection, Select, bindparam, insert, select, tuple_, update

from kvern.store import Row
from kvern.store.tables import NOT_COMPLETED, call_logs, calls
from kvern.wire.calls import CallFilter

ACCEPT = insert(calls)
"""One accepted call; every column but those of its end."""

ACCEPT_MARKED = insert(calls)
"""An accepted call with an idempotency key, or one that runs another call's data again."""

FREE_KEY = update(calls).where(calls.c.id == bindparam("call")).values(idempotency_key=None)
"""The key of a call that was refused after all may be used again."""

CANCEL = (
    update(calls)
    .where(calls.c.id == bindparam("call"), calls.c.status == "Running")
    .values(cancel_time=bindparam("moment"))
)
"""Somebody wants a call to end; whatever happens to the service meanwhile, it begins no more."""

BEGIN = (
    update(calls)
    .where(calls.c.id == bindparam("call"), calls.c.server.is_not_distinct_from(bindparam("its_server")))
    .values(begun=True, next_attempt_time=bindparam("to_attempt_time"))
)
"""Just before a call that had to wait goes to a worker: `{"call", "its_server", "to_attempt_time"}`.

`its_server` runs it; `to_attempt_time` is when this attempt started, None for the first.
"""

END = (
    update(calls)
    .where(
        calls.c.id == bindparam("call"),
        calls.c.status == "Running",
        calls.c.server.is_not_distinct_from(bindparam("its_server")),
    )
    .values(
        status=bindparam("to_status"),
        verdict=bindparam("to_verdict"),
        end_time=bindparam("to_end_time"),
        error_message=bindparam("to_error_message"),
        error_trace=bindparam("to_error_trace"),
        response=bindparam("to_response"),
        worker=bindparam("to_worker"),
        cold=bindparam("to_cold"),
        attempt=bindparam("to_attempt"),
        queue_seconds=bindparam("to_queue_seconds"),
        run_seconds=bindparam("to_run_seconds"),
        cpu_seconds=bindparam("to_cpu_seconds"),
        peak_memory=bindparam("to_peak_memory"),
        next_attempt_time=bindparam("to_attempt_time"),
        dead_time=bindparam("to_dead_time"),
    )
)
"""The one end state of a call: one that has one already, or that another server has taken over, is left as it is."""

LOG = insert(call_logs)
"""A run of log entries: `{"call_id", "chunk", "entries"}`; `entries` is JSON objects joined by commas."""

_AnySelect: TypeAlias = Select[Unpack[tuple[Any, ...]]]

_SHOWN = (
    calls.c.id,
    calls.c.function_id,
    calls.c.status,
    calls.c.start_time,
    calls.c.end_time,
    calls.c.schedule_id,
    calls.c.scheduled_time,
    calls.c.error_message,
    calls.c.error_trace,
    calls.c.verdict,
    calls.c.worker,
    calls.c.cold,
    calls.c.attempt,
    calls.c.queue_seconds,
    calls.c.run_seconds,
    calls.c.cpu_seconds,
    calls.c.peak_memory,
    calls.c.rerun_of,
    calls.c.next_attempt_time,
)


@dataclass(slots=True)
class CallRecord:
    """What is shown of a call, in the order of `_SHOWN`. The payloads are read apart: they may be large.

    What is known of how it ended is as in `kvern.engine.Outcome`; None where nobody could tell. `next_attempt_time` is
    when its last attempt is due or started, None for the first; `rerun_of` the call whose data it runs again.
    """

    id: int
    function_id: int
    status: str
    start_time: int
    end_time: int | None = None
    schedule_id: int | None = None
    scheduled_time: int | None = None
    error_message: str | None = None
    error_trace: str | None = None
    verdict: str | None = None
    worker: str | None = None
    cold: bool | None = None
    attempt: int | None = None
    queue_seconds: float | None = None
    run_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    rerun_of: int | None = None
    next_attempt_time: int | None = None


@dataclass(slots=True, kw_only=True)
class UnfinishedCall:
    """A call that an earlier run of the service accepted and did not end."""

    record: CallRecord
    project: str
    begun: bool
    session_id: int | None
    data: bytes
    cancel_time: int | None


def get(connection: Connection, function_id: int, call_id: int) -> CallRecord | None:
    statement = select(*_SHOWN).where(calls.c.id == call_id, calls.c.function_id == function_id)
    row = connection.execute(statement).one_or_none()
    return None if row is None else CallRecord(*row)


def several(connection: Connection, function_id: int, ids: Sequence[int]) -> dict[int, CallRecord]:
    """Those of `ids` that exist; asked in portions, because a statement holds a limited number of values."""
    found: dict[int, CallRecord] = {}
    for start in range(0, len(ids), 500):
        portion = ids[start : start + 500]
        statement = select(*_SHOWN).where(calls.c.id.in_(portion), calls.c.function_id == function_id)
        found.update({row[0]: CallRecord(*row) for row in connection.execute(statement)})
    return found


def page(
    connection: Connection,
    function_id: int,
    wanted: CallFilter,
    limit: int,
    after: tuple[int, int] | None,
) -> list[CallRecord]:
    """Newest first, beginning after the call with the given `(start_time, id)`."""
    values: dict[str, object] = {"function": function_id, "most": limit}
    if wanted.status is not None:
        values["of_status"] = wanted.status
    if wanted.schedule_id is not None:
        values["of_schedule"] = wanted.schedule_id
    for name, span in (("start", wanted.start_time), ("end", wanted.end_time)):
        if span is not None and span.min is not None:
            values[f"{name}_min"] = span.min
        if span is not None and span.max is not None:
            values[f"{name}_max"] = span.max
    if after is not None:
        values["after_time"], values["after_id"] = after
    statement = _page(frozenset(values), ended=wanted.end_time is not None, completed=wanted.status == "Completed")
    return [CallRecord(*row) for row in connection.execute(statement, values)]


@cache
def _page(given: frozenset[str], *, ended: bool, completed: bool) -> _AnySelect:
    """The statement of a page, kept: to put it together takes several times as long as the rows.

    Args:
        given: the names of its values.
        ended: whether the calls must have ended.
        completed: whether the status that is asked for is Completed.
    """
    statement = select(*_SHOWN).where(calls.c.function_id == bindparam("function"))
    if "of_status" in given:
        statement = statement.where(calls.c.status == bindparam("of_status"))
        if not completed:
            statement = statement.where(NOT_COMPLETED)
    if "of_schedule" in given:
        statement = statement.where(calls.c.schedule_id == bindparam("of_schedule"))
    if ended:
        # A call without an end matches no range over it, not even an open one (contract 4.4).
        statement = statement.where(calls.c.end_time.is_not(None))
    for name, column in (("start", calls.c.start_time), ("end", calls.c.end_time)):
        if f"{name}_min" in given:
            statement = statement.where(column >= bindparam(f"{name}_min"))
        if f"{name}_max" in given:
            statement = statement.where(column <= bindparam(f"{name}_max"))
    if "end_max" in given:
        # No call ends before it starts; said so, the index leads past those that started later.
        statement = statement.where(calls.c.start_time <= bindparam("end_max"))
    if "after_time" in given:
        after = tuple_(bindparam("after_time"), bindparam("after_id"))
        statement = statement.where(tuple_(calls.c.start_time, calls.c.id) < after)
    return statement.order_by(calls.c.start_time.desc(), calls.c.id.desc()).limit(bindparam("most"))


def response(connection: Connection, call_id: int) -> bytes | None:
    return connection.execute(select(calls.c.response).where(calls.c.id == call_id)).scalar_one_or_none()


def log_entries(connection: Connection, call_id: int, chunks: range | None = None) -> list[bytes]:
    """The kept runs of entries, in order; those of some chunks only."""
    statement = select(call_logs.c.entries).where(call_logs.c.call_id == call_id).order_by(call_logs.c.chunk)
    if chunks is not None:
        statement = statement.where(call_logs.c.chunk >= chunks.start, call_logs.c.chunk < chunks.stop)
    return [row[0] for row in connection.execute(statement)]


def keep_log(connection: Connection, row: dict[str, object]) -> None:
    """Write a run of log entries that may be written already."""
    same = (call_logs.c.call_id == row["call_id"], call_logs.c.chunk == row["chunk"])
    if connection.execute(select(call_logs.c.chunk).where(*same)).first() is None:
        connection.execute(LOG, [row])


def by_key(connection: Connection, function_id: int, key: str) -> tuple[CallRecord, str] | None:
    """The call of a function that was made with an idempotency key, and the hash of its data."""
    statement = select(*_SHOWN, calls.c.idempotency_hash).where(
        calls.c.function_id == function_id, calls.c.idempotency_key == key
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    values = dict(cast(dict[str, Any], row))
    digest = str(values.pop("idempotency_hash"))
    return CallRecord(**values), digest


@dataclass(slots=True, kw_only=True)
class PastCall:
    """What it takes to run a call again; `dead_time` is when its attempts were used up, in ms since the epoch."""

    status: str
    data: bytes
    dead_time: int | None


def past(connection: Connection, function_id: int, ids: Sequence[int]) -> dict[int, PastCall]:
    """Those of at most a few hundred `ids` that exist."""
    columns = (calls.c.id, calls.c.status, calls.c.data, calls.c.dead_time)
    statement = select(*columns).where(calls.c.id.in_(ids), calls.c.function_id == function_id)
    return {
        row.id: PastCall(status=row.status, data=row.data, dead_time=row.dead_time)
        for row in connection.execute(statement)
    }


def dead(
    connection: Connection, function_id: int, limit: int, after: tuple[int, int] | None
) -> list[tuple[CallRecord, int]]:
    """Calls whose attempts are used up, newest first, each with the moment (ms); after `(moment, id)`."""
    moment = calls.c.dead_time
    statement = select(*_SHOWN, moment).where(calls.c.function_id == function_id, moment.is_not(None))
    if after is not None:
        statement = statement.where(tuple_(moment, calls.c.id) < tuple_(*after))
    found: list[tuple[CallRecord, int]] = []
    for row in connection.execute(statement.order_by(moment.desc(), calls.c.id.desc()).limit(limit)).mappings():
        values = dict(cast(dict[str, Any], row))
        died = int(values.pop("dead_time"))
        found.append((CallRecord(**values), died))
    return found


def redrive(connection: Connection, rows: Sequence[Mapping[str, object]]) -> list[int]:
    """Accept calls that run dead ones again, which are dead no more.

    When some of those were not dead, nothing is done, and they are what is returned.
    """
    ids = [cast(int, row["rerun_of"]) for row in rows]
    theirs = calls.c.id.in_(ids)
    dead = set(connection.execute(select(calls.c.id).where(theirs, calls.c.dead_time.is_not(None))).scalars())
    others = [call_id for call_id in ids if call_id not in dead]
    if not others:
        connection.execute(update(calls).where(theirs).values(dead_time=None))
        connection.execute(ACCEPT_MARKED, [dict(row) for row in rows])
    return others


def end(
    connection: Connection, row: dict[str, object], log_rows: Sequence[dict[str, object]], rows: Sequence[Row]
) -> None:
    """Write the end of a call of which a part may be written already, and `rows` beside it."""
    connection.execute(END, [row])
    for statement, other in rows:
        connection.execute(statement, [other])
    for log_row in log_rows:
        keep_log(connection, log_row)


def unfinished(connection: Connection, server: str | None = None) -> list[UnfinishedCall]:
    """What an earlier run of the service left Running, or what a server has not ended; oldest first."""
    columns = (*_SHOWN, calls.c.project, calls.c.begun, calls.c.session_id, calls.c.data, calls.c.cancel_time)
    statement = select(*columns).where(calls.c.status == "Running", NOT_COMPLETED)
    if server is not None:
        statement = statement.where(calls.c.server == server)
    left: list[UnfinishedCall] = []
    for row in connection.execute(statement).mappings():
        values = dict(cast(dict[str, Any], row))
        rest = {name: values.pop(name) for name in ("project", "begun", "session_id", "data", "cancel_time")}
        left.append(UnfinishedCall(record=CallRecord(**values), **rest))
    left.sort(key=lambda call: call.record.id)  # in SQL it would lead to a scan of all calls by id
    return left


def ended(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of `ids` that do not run any more."""
    running: set[int] = set()
    for start in range(0, len(ids), 500):
        portion = calls.c.id.in_(ids[start : start + 500])
        running.update(connection.scalars(select(calls.c.id).where(portion, calls.c.status == "Running")))
    return set(ids) - running
