"""Bringing a database up to date: Alembic's migrations, run at start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Engine, inspect, select, text

from kvern.store import StoreFault

_MIGRATIONS = Path(__file__).parent / "migrations"


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
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_up_to_date(connection: Connection) -> bool:
    revision = None
    if inspect(connection).has_table("alembic_version"):
        revision = cast(str | None, connection.execute(select(text("version_num from alembic_version"))).scalar())
    if revision is not None and revision not in _known():
        raise StoreFault(
            f"the database has the schema {revision!r}, and this version of Kvern knows those up to {latest()!r}: "
            "take the version that wrote it, or a newer one"
        )
    return revision == latest()
