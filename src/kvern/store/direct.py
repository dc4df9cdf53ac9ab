"""The way of most writes to SQLite: statements compiled once, rows handed straight to the driver.

SQLAlchemy prepares each execution anew, which takes several times as long as SQLite needs for the row. So groups of
plain rows go this way; whatever goes wrong is raised as it comes, and the journal, which then redoes the group in the
common way, gets the right error from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import Engine
from sqlalchemy.sql.expression import UpdateBase

Row = tuple[UpdateBase, Mapping[str, Any]]


class Direct:
    """One connection of an engine on SQLite, for the thread that calls `write`; the first call opens it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: sqlite3.Connection | None = None
        self._compiled: dict[tuple[int, tuple[str, ...]], tuple[UpdateBase, str, list[tuple[str, Any]]]] = {}

    def write(self, rows: Iterable[Row]) -> None:
        """Write all rows in one transaction, gathered by statement; when the driver raises, nothing is kept."""
        connection = self._connection or self._open()
        sent: dict[str, list[tuple[Any, ...]]] = {}
        for statement, row in rows:
            sql, slots = self._prepared(statement, row)
            sent.setdefault(sql, []).append(tuple([row.get(name, fixed) for name, fixed in slots]))
        if len(sent) == 1 and len(values := next(iter(sent.values()))) == 1:
            connection.execute(next(iter(sent)), values[0])  # a transaction of its own: SQLite commits within the step
            return
        connection.execute("BEGIN")
        try:
            for sql, values in sent.items():
                if len(values) == 1:
                    connection.execute(sql, values[0])
                else:
                    connection.executemany(sql, values)
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

    def _prepared(self, statement: UpdateBase, row: Mapping[str, Any]) -> tuple[str, list[tuple[str, Any]]]:
        """The statement's SQL and, in the order of its question marks, the names and fixed values of its parameters."""
        key = (id(statement), tuple(row))
        found = self._compiled.get(key)
        if found is None:
            compiled = cast(Any, statement.compile(dialect=self._engine.dialect, column_keys=list(row)))
            slots = [(name, compiled.params.get(name)) for name in compiled.positiontup]
            found = self._compiled[key] = (statement, str(compiled), slots)  # kept, so that its id stays its own
        return found[1], found[2]
