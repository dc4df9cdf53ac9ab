"""Statements that go to the journal as rows must be such that many rows go to the database as one."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import UpdateBase

from kvern.store import calls, sessions

STATEMENTS = {
    "ACCEPT": calls.ACCEPT,
    "ACCEPT_MARKED": calls.ACCEPT_MARKED,
    "BEGIN": calls.BEGIN,
    "END": calls.END,
    "LOG": calls.LOG,
    "OPEN": sessions.OPEN,
    "SET_STATUS": sessions.SET_STATUS,
}


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_it_can_be_sent_for_many_rows_at_once(name: str, dialect: object) -> None:
    """An `IN` is written out for each row, so that a group with two of them fails and is redone one by one."""
    statement: UpdateBase = STATEMENTS[name]
    compiled = statement.compile(dialect=dialect)  # type: ignore[arg-type]
    assert not compiled.post_compile_params
    assert not compiled.literal_execute_params
