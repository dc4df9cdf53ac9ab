"""Bringing a database up to date: Alembic's migrations, run at start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, inspect, select, text

from kvern.store import StoreFault

_MIGRATIONS = Path(__file__).parent / "migrations"

_log = logging.getLogger(__name__)


def latest() -> str:
    """The number of the newest migration; a database that has it is opened without loading Alembic."""
    return max(_known())


def _known() -> set[str]:
    return {path.stem[1:5] for path in (_MIGRATIONS / "versions").glob("m[0-9]*.py")}


def upgrade(engine: Engine, hold: Callable[[Connection], None] | None = None) -> None:
    """Run the migrations that the database lacks, all in one transaction.

    Args:
        hold: keeps others from doing so at the same time, until the transaction ends.

    Raises:
        StoreFault: the database has a schema that this version does not know.
    """
    with engine.connect() as connection:
        if _is_up_to_date(connection):
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        if hold is not None:
            hold(connection)
            if _is_up_to_date(connection):  # by another service meanwhile
                return
        if (revision := _revision(connection)) is not None:
            _log.warning("the database is brought from schema %s to %s; a large one takes a while", revision, latest())
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return cast(str | None, connection.execute(select(text("version_num from alembic_version"))).scalar())


def _is_up_to_date(connection: Connection) -> bool:
    revision = _revision(connection)
    if revision is not None and revision not in _known():
        raise StoreFault(
            f"the database has the schema {revision!r}, and this version of Kvern knows those up to {latest()!r}: "
            "take the version that wrote it, or a newer one"
        )
    return revision == latest()
