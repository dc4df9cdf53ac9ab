"""Calls are found by status without an index that every call changes three times."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("calls_running", table_name="calls")
    op.drop_index("calls_by_status", table_name="calls")
    op.create_index(
        "calls_by_status",
        "calls",
        ["function_id", "status", "start_time", "id"],
        unique=False,
        sqlite_where=sa.text("status <> 'Completed'"),
        postgresql_where=sa.text("status <> 'Completed'"),
    )
