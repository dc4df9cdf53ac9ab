"""Groups of rows by the short way: the same as row by row, in few steps, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, bindparam, create_engine, event, insert, update

from kvern.store import calls, tables
from kvern.store.direct import Direct


class Database:
    """A file with the tables, and the statements that its connections were asked for."""

    def __init__(self, path: Path) -> None:
        self.engine: Engine = create_engine(f"sqlite:///{path}")
        self.asked: list[str] = []
        event.listen(self.engine, "connect", self._prepare)
        tables.metadata.create_all(self.engine)
        self.direct = Direct(self.engine)

    def _prepare(self, connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.set_trace_callback(self.asked.append)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    def close(self) -> None:
        self.direct.close()
        self.engine.dispose()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    made: list[Database] = []

    def new(name: str) -> Database:
        made.append(Database(tmp_path / name))
        return made[-1]

    yield new
    for database in made:
        database.close()


def accepted(number: int) -> dict[str, object]:
    return {
        "id": number,
        "project": "here",
        "function_id": number % 3,
        "status": "Running",
        "begun": False,
        "start_time": 1000 + number,
        "data": b'{"a": "\xc3\xa5\x00"}' * number,
    }


def ended(number: int, status: str = "Completed") -> dict[str, object]:
    return {
        "call": number,
        "its_server": None,
        "to_status": status,
        "to_verdict": "returned",
        "to_end_time": 5000 + number,
        "to_error_message": None if number % 2 else "a ' \" ? message",
        "to_error_trace": None,
        "to_response": b"\x00\xff?" * number,
        "to_worker": f"w/{number}",
        "to_cold": number % 2 == 0,
        "to_attempt": 1,
        "to_queue_seconds": number / 7,
        "to_run_seconds": None,
        "to_cpu_seconds": 1e-9 * number,
        "to_peak_memory": 2**40 + number,
        "to_attempt_time": None,
        "to_dead_time": None,
    }


@pytest.mark.parametrize("count", [1, 2, 3, 31, 70])
def test_a_group_leaves_what_its_rows_leave_one_by_one(make: Callable[[str], Database], count: int) -> None:
    together, singly = make("together"), make("singly")
    groups = [
        [(calls.ACCEPT, accepted(number)) for number in range(count + 2)],
        [
            *((calls.END, ended(number)) for number in range(count)),
            *((calls.LOG, {"call_id": number, "chunk": 0, "entries": b"?" * number}) for number in range(count)),
            (calls.CANCEL, {"call": count, "moment": 7}),
        ],
    ]
    for group in groups:
        together.direct.write(group)
        for row in group:
            singly.direct.write([row])
    for table in ("calls", "call_logs"):
        rows = together.rows(f"SELECT * FROM {table} ORDER BY 1")
        assert rows == singly.rows(f"SELECT * FROM {table} ORDER BY 1")
        assert len(rows) >= count
    types = "SELECT typeof(cold), typeof(response), typeof(end_time), typeof(queue_seconds) FROM calls WHERE id = 0"
    assert together.rows(types) == [("integer", "blob", "integer", "real")]


def test_many_rows_take_few_steps(make: Callable[[str], Database]) -> None:
    database = make("one")
    database.direct.write([(calls.ACCEPT, accepted(number)) for number in range(40)])
    database.asked.clear()
    database.direct.write([(calls.END, ended(number)) for number in range(40)])
    assert [asked.split()[0] for asked in database.asked] == ["BEGIN", "UPDATE", "UPDATE", "COMMIT"]


def test_of_two_ends_of_a_call_in_one_group_the_first_holds(make: Callable[[str], Database]) -> None:
    database = make("one")
    database.direct.write([(calls.ACCEPT, accepted(number)) for number in range(4)])
    database.direct.write(
        [(calls.END, ended(number % 4, "Completed" if number < 4 else "Failed")) for number in range(8)]
    )
    assert database.rows("SELECT DISTINCT status FROM calls") == [("Completed",)]


def test_an_update_that_is_not_of_one_row_by_its_key_reaches_all_that_it_means(
    make: Callable[[str], Database],
) -> None:
    database = make("one")
    database.direct.write([(calls.ACCEPT, accepted(number)) for number in range(6)])
    statement = (
        update(tables.calls).where(tables.calls.c.function_id == bindparam("which")).values(attempt=bindparam("to"))
    )
    database.direct.write([(statement, {"which": number, "to": 10 + number}) for number in range(3)])
    assert database.rows("SELECT id, attempt FROM calls") == [(number, 10 + number % 3) for number in range(6)]


def test_nothing_of_a_group_is_kept_when_one_row_cannot_be(make: Callable[[str], Database]) -> None:
    database = make("one")
    database.direct.write([(calls.ACCEPT, accepted(5))])
    rows = [(calls.LOG, {"call_id": 1, "chunk": 0, "entries": b""})]
    with pytest.raises(sqlite3.IntegrityError):
        database.direct.write([*rows, *((calls.ACCEPT, accepted(number)) for number in range(10))])
    assert database.rows("SELECT id FROM calls") == [(5,)]
    assert database.rows("SELECT * FROM call_logs") == []


def test_an_insert_that_does_more_than_insert_is_done_row_by_row(make: Callable[[str], Database]) -> None:
    database = make("one")
    statement = insert(tables.call_logs).prefix_with("OR REPLACE")
    rows = [{"call_id": 1, "chunk": number % 2, "entries": bytes([number])} for number in range(4)]
    database.direct.write([(statement, row) for row in rows])
    assert database.rows("SELECT chunk, entries FROM call_logs ORDER BY chunk") == [(0, b"\x02"), (1, b"\x03")]
