"""Keys that all servers on a database share, as rows; each is wrapped by the master key."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from kvern.store.tables import keys


def get(connection: Connection, name: str) -> bytes | None:
    return connection.execute(select(keys.c.value).where(keys.c.name == name)).scalar()


def get_or_add(connection: Connection, name: str, value: bytes) -> bytes:
    """The key that is there, or else `value`, which is kept."""
    try:
        with connection.begin_nested():
            connection.execute(insert(keys).values(name=name, value=value))
    except IntegrityError:
        return connection.execute(select(keys.c.value).where(keys.c.name == name)).scalar_one()
    return value


def rewrap(connection: Connection, rewrapped: Callable[[bytes], bytes]) -> None:
    """Wrap all of them anew."""
    for row in connection.execute(select(keys.c.name, keys.c.value)).all():
        connection.execute(update(keys).where(keys.c.name == row.name).values(value=rewrapped(row.value)))
