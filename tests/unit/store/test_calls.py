"""A page of calls is what was asked for, whatever is asked for at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields

import pytest
from sqlalchemy import Connection, create_engine, insert

from kvern.store import calls, tables
from kvern.store.calls import CallRecord
from kvern.wire.base import TimeRange
from kvern.wire.calls import CallFilter, Status

SPANS = (None, TimeRange(), TimeRange(min=3), TimeRange(max=6), TimeRange(min=3, max=6))
STATUSES: tuple[Status | None, ...] = (None, "Completed", "Failed")


def _rows() -> list[dict[str, object]]:
    """Calls of two functions, some that run, several that start at one moment."""
    made: list[dict[str, object]] = []
    statuses: tuple[Status, ...] = ("Completed", "Failed", "Running")
    for number in range(60):
        status = statuses[number % 3]
        start = number % 7 + 1
        schedule = 5 if number % 4 == 0 else None
        row: dict[str, object] = {
            "id": 100 - number,
            "project": "here",
            "function_id": 2 if number % 10 == 9 else 1,
            "status": status,
            "begun": True,
            "start_time": start,
            "end_time": None if status == "Running" else start + number % 3,
            "schedule_id": schedule,
            "scheduled_time": None if schedule is None else number,
            "data": b"{}",
            "verdict": None if status == "Running" else "returned",
            "cold": number % 2 == 0,
            "queue_seconds": 0.25,
        }
        made.append(row)
    return made


ROWS = _rows()


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.connect() as made:
        made.execute(insert(tables.calls), ROWS)
        yield made
    engine.dispose()


def _within(moment: object, span: TimeRange | None) -> bool:
    if span is None:
        return True
    return (
        isinstance(moment, int)
        and (span.min is None or moment >= span.min)
        and (span.max is None or moment <= span.max)
    )


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("schedule", [None, 5])
def test_a_page_holds_the_calls_that_fit_all_of_the_filter_newest_first(
    connection: Connection, status: Status | None, schedule: int | None
) -> None:
    for started, ended, after in itertools.product(SPANS, SPANS, (None, (5, 60))):
        wanted = CallFilter(status=status, schedule_id=schedule, start_time=started, end_time=ended)
        expected = [
            (start, call_id)
            for row in ROWS
            if row["function_id"] == 1
            and (status is None or row["status"] == status)
            and (schedule is None or row["schedule_id"] == schedule)
            and _within(start := row["start_time"], started)
            and _within(row["end_time"], ended)
            and isinstance(call_id := row["id"], int)
            and isinstance(start, int)
            and (after is None or (start, call_id) < after)
        ]
        expected.sort(reverse=True)
        for limit in (4, 100):
            found = calls.page(connection, 1, wanted, limit, after)
            assert [(record.start_time, record.id) for record in found] == expected[:limit]


def test_a_record_has_every_value_of_its_row_under_its_own_name(connection: Connection) -> None:
    by_id = {row["id"]: row for row in ROWS}
    for record in calls.page(connection, 1, CallFilter(), 100, None):
        row = by_id[record.id]
        assert {field.name: getattr(record, field.name) for field in fields(CallRecord)} == {
            field.name: row.get(field.name) for field in fields(CallRecord)
        }
        assert isinstance(record.cold, bool)
        assert record == calls.get(connection, 1, record.id)
