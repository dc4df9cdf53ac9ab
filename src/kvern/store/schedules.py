"""Schedules, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select, update

from kvern.store.tables import schedules, ticks


@dataclass(slots=True, kw_only=True)
class ScheduleRecord:
    """A row of `schedules`; `data` is the JSON text that was sent, or None; the policies are None where not given."""

    id: int
    project: str
    function_id: int
    name: str
    cron_expression: str
    session_id: int
    created_time: int
    function_external_id: str | None = None
    description: str | None = None
    data: bytes | None = None
    time_zone: str | None = None
    missed: str | None = None
    missed_window: int | None = None
    overlap: str | None = None
    paused_time: int | None = None
    accounted_until: int | None = None


def add(connection: Connection, record: ScheduleRecord) -> None:
    connection.execute(insert(schedules), asdict(record))


def everything(connection: Connection) -> list[ScheduleRecord]:
    rows = connection.execute(select(schedules).order_by(schedules.c.id)).mappings()
    return [ScheduleRecord(**cast(dict[str, Any], row)) for row in rows]


def several(connection: Connection, ids: Sequence[int]) -> list[ScheduleRecord]:
    """Those of `ids` that exist."""
    found: list[ScheduleRecord] = []
    for start in range(0, len(ids), 500):
        statement = select(schedules).where(schedules.c.id.in_(ids[start : start + 500]))
        rows = connection.execute(statement).mappings()
        found += [ScheduleRecord(**cast(dict[str, Any], row)) for row in rows]
    return found


def pause(connection: Connection, ids: Sequence[int], moment: int | None) -> None:
    """Write since when (ms) schedules are paused; None when they are not."""
    for start in range(0, len(ids), 500):
        connection.execute(
            update(schedules).where(schedules.c.id.in_(ids[start : start + 500])).values(paused_time=moment)
        )


def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Delete schedules with their ledgers."""
    for start in range(0, len(ids), 500):
        portion = ids[start : start + 500]
        connection.execute(delete(ticks).where(ticks.c.schedule_id.in_(portion)))
        connection.execute(delete(schedules).where(schedules.c.id.in_(portion)))
