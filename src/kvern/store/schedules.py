"""Schedules, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select

from kvern.store.tables import schedules


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


def remove(connection: Connection, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), 500):
        connection.execute(delete(schedules).where(schedules.c.id.in_(ids[start : start + 500])))
