"""Ticks that wait are found without reading the whole ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index(
        "ticks_queued",
        "ticks",
        ["schedule_id", "due_time"],
        unique=False,
        sqlite_where=sa.text("outcome = 'queued'"),
        postgresql_where=sa.text("outcome = 'queued'"),
    )
