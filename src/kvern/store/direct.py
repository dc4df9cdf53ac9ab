"""The way of most writes to SQLite: statements compiled once, rows handed straight to the driver.

SQLAlchemy prepares each execution anew, which takes several times as long as SQLite needs for the row. So groups of
plain rows go this way; whatever goes wrong is raised as it comes, and the journal, which then redoes the group in the
common way, gets the right error from there.

Every step of SQLite gives the interpreter's lock away, and while the event loop is busy it takes longer to have it back
than the step took. So rows for the same statement are written by a few statements that take several rows each.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Engine
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import Row

_TOGETHER = (32, 16, 8, 4, 2)
"""How many rows one statement takes: few enough that the driver keeps all of its forms."""

_VALUES_MOST = 999
"""Question marks of a statement that every SQLite takes."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement for the driver.

    Args:
        statement: what it was made from, kept, so that its id stays its own.
        sql: for one row.
        slots: in the order of the question marks, the names and fixed values of its parameters.
        target: the slot that says which row is changed; None where rows are added.
        several: by a number of rows, the SQL that takes as many.
    """

    statement: UpdateBase
    sql: str
    slots: list[tuple[str, Any]]
    target: int | None
    several: Mapping[int, str]

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([row.get(name, fixed) for name, fixed in self.slots])


class Direct:
    """One connection of an engine on SQLite, for the thread that calls `write`; the first call opens it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: sqlite3.Connection | None = None
        self._compiled: dict[tuple[int, tuple[str, ...]], _Prepared] = {}

    def write(self, rows: Iterable[Row]) -> None:
        """Write all rows in one transaction, gathered by statement, those that are added first; when the driver raises,
        nothing is kept.
        """
        connection = self._connection or self._open()
        sent: dict[int, tuple[_Prepared, list[tuple[Any, ...]]]] = {}
        for statement, row in rows:
            prepared = self._prepared(statement, row)
            sent.setdefault(id(prepared), (prepared, []))[1].append(prepared.values(row))
        added_first = sorted(sent.values(), key=lambda each: not each[0].statement.is_insert)
        steps = [step for prepared, values in added_first for step in _steps(prepared, values)]
        if len(steps) == 1:
            connection.execute(*steps[0])  # a transaction of its own: SQLite commits within the step
            return
        connection.execute("BEGIN")
        try:
            for sql, values in steps:
                connection.execute(sql, values)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Give the connection back; the next `write` opens another."""
        if self._connection is not None:
            self._fairy.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._fairy = self._engine.raw_connection()
        self._connection = cast(sqlite3.Connection, self._fairy.dbapi_connection)
        return self._connection

    def _prepared(self, statement: UpdateBase, row: Mapping[str, Any]) -> _Prepared:
        key = (id(statement), tuple(row))
        found = self._compiled.get(key)
        if found is None:
            compiled = cast(Any, statement.compile(dialect=self._engine.dialect, column_keys=list(row)))
            slots = [(name, compiled.params.get(name)) for name in compiled.positiontup]
            sql = str(compiled)
            target = _target(statement, sql)
            found = self._compiled[key] = _Prepared(statement, sql, slots, target, _several(sql, len(slots), target))
        return found


def _steps(prepared: _Prepared, rows: list[tuple[Any, ...]]) -> Iterable[tuple[str, Sequence[Any]]]:
    """SQL and values that write `rows`, as few as can be."""
    target = prepared.target
    done = 0
    # A row that is changed twice has to be changed twice: a statement for several would take one of the two.
    if target is None or len({row[target] for row in rows}) == len(rows):
        for count, sql in prepared.several.items():
            while len(rows) - done >= count:
                yield sql, [value for row in rows[done : done + count] for value in row]
                done += count
    for row in rows[done:]:
        yield prepared.sql, row


def _several(sql: str, slots: int, target: int | None) -> dict[int, str]:
    """By a number of rows, the greatest first, the SQL that does to them what `sql` does to one; empty for none."""
    marks = f"({', '.join('?' * slots)})"
    if sql.count("?") != slots or not slots:
        return {}
    if target is None:
        if not sql.startswith("INSERT INTO ") or not sql.endswith(f" VALUES {marks}"):
            return {}
        begin, end = sql.removesuffix(marks), ""
    elif sqlite3.sqlite_version_info < (3, 33):  # which knows UPDATE FROM
        return {}
    else:
        pieces = sql.split("?")
        named = "".join(f"{piece}given.column{number}" for number, piece in enumerate(pieces[:-1], 1)) + pieces[-1]
        change, where, condition = named.partition(" WHERE ")
        begin, end = f"{change} FROM (VALUES ", f") AS given{where}{condition}"
    return {count: begin + ", ".join([marks] * count) + end for count in _TOGETHER if count * slots <= _VALUES_MOST}


def _target(statement: UpdateBase, sql: str) -> int | None:
    """Of an update of one row by its primary key alone: the slot with the key's value."""
    found = re.search(r" WHERE (\w+)\.(\w+) = \?(?: AND |$)", sql)
    table = cast(Any, statement).table
    if not statement.is_update or found is None or [column.name for column in table.primary_key] != [found[2]]:
        return None
    return sql.count("?", 0, found.end()) - 1
