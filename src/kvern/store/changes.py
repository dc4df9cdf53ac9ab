"""The feed: what one server changed of that which others hold in memory.

The database writes it itself, by triggers, in the transaction that makes the change: nobody can forget to.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, or_, select

from kvern.store.servers import now
from kvern.store.tables import changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row of `changes`: `noun` is a table, `key` the id of a row of it, `server` who changed it, if known."""

    number: int
    noun: str
    key: str
    server: str
    time: int


def after(connection: Connection, number: int, missing: Collection[int]) -> list[Change]:
    """Those that came after a number, and those of the `missing` ones that are there by now; in order.

    Numbers are given when a change is made and seen when it is committed, so a later one may be seen earlier.
    """
    statement = select(changes).where(or_(changes.c.number > number, changes.c.number.in_(list(missing))))
    return [Change(**row) for row in connection.execute(statement.order_by(changes.c.number)).mappings()]


def settled(connection: Connection, age: int) -> int:
    """The last number of those that are older than `age` ms; when there are none, the one before the first."""
    old = select(func.max(changes.c.number)).where(changes.c.time < now(connection) - age)
    first = connection.execute(select(func.min(changes.c.number))).scalar()
    return connection.execute(old).scalar() or (0 if first is None else first - 1)


def forget_before(connection: Connection, age: int) -> None:
    """Delete what is older than `age` ms."""
    connection.execute(delete(changes).where(changes.c.time < now(connection) - age))
