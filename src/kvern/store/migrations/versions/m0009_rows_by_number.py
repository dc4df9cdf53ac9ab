"""Calls and sessions lie by their id in SQLite's tables, and only calls of schedules are in the index of due times.

A key of type BIGINT is an index of its own to SQLite, beside the number that each row has anyway; one of type INTEGER
is that number. SQLite cannot change the type of a key, so both tables are made anew. Rows go over in the order of their
ids, one by one: however many there are, memory holds a few pages of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _make_anew("calls", *_calls())
        _make_anew("sessions", *_sessions())
        op.create_index("sessions_by_project", "sessions", ["project", "status", "id"], unique=False)
        _index_calls()
    else:
        op.drop_constraint("calls_tick", "calls", type_="unique")
    op.create_index(
        "calls_tick",
        "calls",
        ["schedule_id", "scheduled_time"],
        unique=True,
        sqlite_where=sa.text("schedule_id IS NOT NULL"),
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
    )


def _make_anew(table: str, *parts: sa.schema.SchemaItem) -> None:
    """Make a table again with other columns of the same names; its indexes are gone then."""
    fresh = f"{table}_anew"
    op.create_table(fresh, *parts)
    names = ", ".join(f'"{part.name}"' for part in parts if isinstance(part, sa.Column))
    op.execute(f"INSERT INTO {fresh} ({names}) SELECT {names} FROM {table} ORDER BY id")
    op.drop_table(table)
    op.rename_table(fresh, table)


def _calls() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=32), nullable=False),
        sa.Column("function_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("schedule_id", sa.BigInteger(), nullable=True),
        sa.Column("scheduled_time", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.BigInteger(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_trace", sa.Text(), nullable=True),
        sa.Column("server", sa.String(length=40), nullable=True),
        sa.Column("worker", sa.String(length=64), nullable=True),
        sa.Column("cold", sa.Boolean(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("queue_seconds", sa.Float(), nullable=True),
        sa.Column("run_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("peak_memory", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("idempotency_hash", sa.String(length=64), nullable=True),
        sa.Column("rerun_of", sa.BigInteger(), nullable=True),
        sa.Column("cancel_time", sa.BigInteger(), nullable=True),
        sa.Column("next_attempt_time", sa.BigInteger(), nullable=True),
        sa.Column("dead_time", sa.BigInteger(), nullable=True),
        # Last: SQLite reads a row from its beginning, and large ones go on through many pages.
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    ]


def _index_calls() -> None:
    op.create_index(
        "calls_by_idempotency_key",
        "calls",
        ["function_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "calls_dead",
        "calls",
        ["function_id", "dead_time"],
        unique=False,
        sqlite_where=sa.text("dead_time IS NOT NULL"),
    )
    op.create_index("calls_by_function", "calls", ["function_id", "start_time", "id"], unique=False)
    op.create_index(
        "calls_by_status",
        "calls",
        ["function_id", "status", "start_time", "id"],
        unique=False,
        sqlite_where=sa.text("status <> 'Completed'"),
    )
    op.create_index("calls_by_age", "calls", ["start_time"], unique=False)


def _sessions() -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=32), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("nonce_hash", sa.String(length=64), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=False),
        sa.Column("expiration_time", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.String(length=1024), nullable=False, server_default="kvern"),
        sa.Column("claims", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("vault", sa.LargeBinary(), nullable=True),
        sa.Column("vault_key", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("nonce_hash"),
    ]
