"""A page of a function's calls is led by an index, however many calls there are."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import Connection, create_engine, event

from kvern.store import calls, tables
from kvern.wire.calls import CallFilter


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.connect() as made:
        yield made
    engine.dispose()


@pytest.mark.parametrize(
    ("wanted", "after", "plan"),
    [
        ({}, None, "calls_by_function (function_id=?)"),
        ({}, (1, 2), "calls_by_function (function_id=? AND start_time<?)"),
        ({"status": "Completed"}, None, "calls_by_function (function_id=?)"),
        ({"status": "Failed"}, None, "calls_by_status (function_id=? AND status=?)"),
        ({"status": "Running"}, (1, 2), "calls_by_status (function_id=? AND status=? AND start_time<?)"),
        ({"endTime": {"max": 5}}, None, "calls_by_function (function_id=? AND start_time<?)"),
    ],
)
def test_a_page_is_found_by_an_index(
    connection: Connection, wanted: dict[str, object], after: tuple[int, int] | None, plan: str
) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: object, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((sql, values))

    event.listen(connection, "before_cursor_execute", note)
    calls.page(connection, 1, msgspec.convert(wanted, CallFilter), 10, after)
    event.remove(connection, "before_cursor_execute", note)
    [(sql, values)] = asked
    steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert steps == [f"SEARCH calls USING INDEX {plan}"]
