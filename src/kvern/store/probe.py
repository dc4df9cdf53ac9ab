"""What asks the database whether it is there and takes writes."""

from __future__ import annotations

from sqlalchemy import Connection, update

from kvern.store.tables import sequences

_WRITE = update(sequences).where(sequences.c.name == "ids").values(next=sequences.c.next)


def nothing(connection: Connection) -> None:
    """A transaction in which nothing happens."""


def write(connection: Connection) -> None:
    """A write that changes nothing."""
    connection.execute(_WRITE)
