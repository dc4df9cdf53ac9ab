"""A SQLite database as it is at one moment, read and copied while a service goes on writing it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path

from kvern.store import StoreFault, tables

_PAGES = 1024
"""Copied at a time; between two portions it is told how far the copy is."""

_BLOBS = (tables.files.c.blob, tables.upload_parts.c.blob, tables.functions.c.bundle)


class Snapshot:
    """What the database held when the snapshot was opened; whatever is written meanwhile is not seen, and not hindered.

    The file of the database's log grows until the snapshot is closed. A database that an earlier Kvern wrote is read as
    it is; nothing is migrated.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.execute("BEGIN")
        # The first read fixes the moment: BEGIN alone does not.
        self._tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    @property
    def schema(self) -> str | None:
        """The number of the migration that the database has; None for one that is no service's."""
        if "alembic_version" not in self._tables:
            return None
        row = self._connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])

    @property
    def size(self) -> int:
        """Bytes of a copy."""
        pages, page = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        return int(pages * page)

    def blobs(self) -> set[str]:
        """The keys of all blobs that a row names."""
        named: set[str] = set()
        for column in _BLOBS:
            if column.table.name in self._tables:
                rows = self._connection.execute(
                    f"SELECT {column.name} FROM {column.table.name} WHERE {column.name} IS NOT NULL"
                )
                named.update(str(row[0]) for row in rows)
        return named

    def ready_revisions(self) -> list[str]:
        """The revisions of the functions that are Ready."""
        rows = self._connection.execute("SELECT revision FROM functions WHERE status = 'Ready'")
        return [str(row[0]) for row in rows]

    def copy(self, target: Path, on_bytes: Callable[[int], None]) -> None:
        """Write all of it to a new file, mode 0600.

        Args:
            on_bytes: is told of each portion that was copied, in bytes.
        """
        target.touch(mode=0o600, exist_ok=False)
        page = int(self._connection.execute("PRAGMA page_size").fetchone()[0])
        copied = 0

        def tell(_status: int, remaining: int, total: int) -> None:
            nonlocal copied
            on_bytes((total - remaining - copied) * page)
            copied = total - remaining

        with contextlib.closing(sqlite3.connect(target)) as copy:
            self._connection.backup(copy, pages=_PAGES, progress=tell)


@contextlib.contextmanager
def open_snapshot(path: Path) -> Generator[Snapshot]:
    """A snapshot of the database file `path`, as long as the context lasts.

    Raises:
        StoreFault: there is no such file, or it is no database.
    """
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=10, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreFault(f"the database {path} cannot be opened: {error}") from error
    with contextlib.closing(connection):
        try:
            yield Snapshot(connection)
        except sqlite3.Error as error:
            raise StoreFault(f"the database {path} cannot be read: {error}") from error
