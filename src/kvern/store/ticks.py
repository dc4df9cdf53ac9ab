"""The ledger of ticks, as rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from kvern.store.tables import calls, schedules, ticks

_PORTION = 500
"""A statement holds a limited number of values."""

_FORGET = delete(ticks).where(ticks.c.schedule_id == bindparam("schedule"), ticks.c.due_time == bindparam("due"))


@dataclass(slots=True, kw_only=True)
class TickRecord:
    """A row of `ticks`: how one due time ended, or `queued` until it does. Times in ms since the epoch."""

    schedule_id: int
    due_time: int
    outcome: str
    reason: str | None = None
    fired_time: int | None = None
    call_id: int | None = None


_COLUMNS = tuple(field.name for field in fields(TickRecord))


def _row(record: TickRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _COLUMNS}


def keep(connection: Connection, records: Sequence[TickRecord], call_rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write ticks and the calls that they made.

    Raises:
        IntegrityError: one of the due times has its tick or its call already.
    """
    by_columns: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in call_rows:
        by_columns.setdefault(tuple(row), []).append(row)
    for rows in by_columns.values():
        connection.execute(insert(calls), rows)
    if records:
        connection.execute(insert(ticks), [_row(record) for record in records])


def account(connection: Connection, schedule_ids: Sequence[int], until: int) -> None:
    """Note that every due time up to a moment (ms) has its tick; what was noted before is not taken back."""
    for start in range(0, len(schedule_ids), _PORTION):
        connection.execute(
            update(schedules)
            .where(
                schedules.c.id.in_(schedule_ids[start : start + _PORTION]),
                or_(schedules.c.accounted_until.is_(None), schedules.c.accounted_until < until),
            )
            .values(accounted_until=until)
        )


def settle(connection: Connection, record: TickRecord, call_row: Mapping[str, Any] | None) -> bool:
    """Write a tick of a due time that may have one: False, and nothing changed, when it has its call, or waits."""
    same = (ticks.c.schedule_id == record.schedule_id, ticks.c.due_time == record.due_time)
    found = connection.execute(select(ticks.c.outcome, ticks.c.call_id).where(*same)).one_or_none()
    if found is not None and (found.call_id is not None or found.outcome == "queued"):
        return False
    made = select(calls.c.id).where(
        calls.c.schedule_id == record.schedule_id, calls.c.scheduled_time == record.due_time
    )
    if connection.execute(made).first() is not None:
        return False
    if found is not None:
        connection.execute(delete(ticks).where(*same))
    keep(connection, [record], [] if call_row is None else [call_row])
    return True


def settle_queued(connection: Connection, record: TickRecord, call_row: Mapping[str, Any] | None) -> bool:
    """End the waiting of a tick: False, and nothing changed, when it does not wait any more."""
    values = {name: value for name, value in _row(record).items() if name not in ("schedule_id", "due_time")}
    ended = connection.execute(
        update(ticks)
        .where(
            ticks.c.schedule_id == record.schedule_id,
            ticks.c.due_time == record.due_time,
            ticks.c.outcome == "queued",
        )
        .values(values)
    )
    if ended.rowcount == 0:
        return False
    if call_row is not None:
        connection.execute(insert(calls), [call_row])
    return True


def keep_missed(connection: Connection, records: Sequence[TickRecord], until: int) -> list[TickRecord]:
    """Write ticks of one schedule, in order of their due times, those left out that are there; what was written.

    Nothing when the schedule is gone.
    """
    if not records:
        return []
    schedule_id = records[0].schedule_id
    if connection.execute(select(schedules.c.id).where(schedules.c.id == schedule_id)).first() is None:
        return []
    span = ticks.c.due_time.between(records[0].due_time, records[-1].due_time)
    rows = connection.execute(select(ticks.c.due_time).where(ticks.c.schedule_id == schedule_id, span))
    there = {row[0] for row in rows}
    new = [record for record in records if record.due_time not in there]
    keep(connection, new)
    account(connection, [schedule_id], until)
    return new


def queued(connection: Connection) -> list[TickRecord]:
    """All that wait, by schedule, oldest first."""
    statement = select(ticks).where(ticks.c.outcome == "queued").order_by(ticks.c.schedule_id, ticks.c.due_time)
    return [TickRecord(**cast(dict[str, Any], row)) for row in connection.execute(statement).mappings()]


def skip_queued(connection: Connection, schedule_ids: Sequence[int], reason: str) -> None:
    """End the waiting of all ticks of some schedules without a call."""
    for start in range(0, len(schedule_ids), _PORTION):
        portion = schedule_ids[start : start + _PORTION]
        connection.execute(
            update(ticks)
            .where(ticks.c.schedule_id.in_(portion), ticks.c.outcome == "queued")
            .values(outcome="skipped", reason=reason)
        )


def page(
    connection: Connection, schedule_id: int, outcomes: Collection[str] | None, limit: int, before: int | None
) -> list[TickRecord]:
    """Newest first, of due times before a moment (ms)."""
    statement = select(ticks).where(ticks.c.schedule_id == schedule_id)
    if outcomes is not None:
        statement = statement.where(ticks.c.outcome.in_(outcomes))
    if before is not None:
        statement = statement.where(ticks.c.due_time < before)
    statement = statement.order_by(ticks.c.due_time.desc()).limit(limit)
    return [TickRecord(**cast(dict[str, Any], row)) for row in connection.execute(statement).mappings()]


def running(connection: Connection, schedule_ids: Sequence[int]) -> dict[int, int]:
    """Of these schedules, those of which a call has not ended, each with the newest such call."""
    statement = select(calls.c.schedule_id, calls.c.id).where(
        calls.c.status == "Running", calls.c.schedule_id.is_not(None)
    )
    wanted = set(schedule_ids)
    rows = connection.execute(statement.order_by(calls.c.id))
    return {schedule_id: call_id for schedule_id, call_id in rows if schedule_id in wanted}


def forget_before(connection: Connection, moment: int, most: int) -> int:
    """Delete up to `most` ticks that were due before `moment` (ms); how many they were."""
    old = select(ticks.c.schedule_id, ticks.c.due_time).where(ticks.c.due_time < moment).limit(most)
    rows = connection.execute(old).all()
    if rows:
        bound = [{"schedule": row.schedule_id, "due": row.due_time} for row in rows]
        connection.execute(_FORGET, bound)
    return len(rows)
