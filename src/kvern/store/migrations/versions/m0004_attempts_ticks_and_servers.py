"""Figures and attempts of calls, the ledger of ticks, policies of schedules, servers that share a database."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("call_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("end_time", sa.BigInteger(), nullable=False),
        sa.Column("first_chunk", sa.Integer(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_trace", sa.Text(), nullable=True),
        sa.Column("worker", sa.String(length=64), nullable=True),
        sa.Column("cold", sa.Boolean(), nullable=True),
        sa.Column("queue_seconds", sa.Float(), nullable=True),
        sa.Column("run_seconds", sa.Float(), nullable=True),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("peak_memory", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("call_id", "attempt"),
    )
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("noun", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("server", sa.String(length=40), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "keys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("server", sa.String(length=40), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "servers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=1024), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_time", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "ticks",
        sa.Column("schedule_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("due_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("fired_time", sa.BigInteger(), nullable=True),
        sa.Column("call_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("schedule_id", "due_time"),
    )
    op.create_index("ticks_by_age", "ticks", ["due_time"], unique=False)
    op.add_column("calls", sa.Column("server", sa.String(length=40), nullable=True))
    op.add_column("calls", sa.Column("worker", sa.String(length=64), nullable=True))
    op.add_column("calls", sa.Column("cold", sa.Boolean(), nullable=True))
    op.add_column("calls", sa.Column("attempt", sa.Integer(), nullable=True))
    op.add_column("calls", sa.Column("queue_seconds", sa.Float(), nullable=True))
    op.add_column("calls", sa.Column("run_seconds", sa.Float(), nullable=True))
    op.add_column("calls", sa.Column("cpu_seconds", sa.Float(), nullable=True))
    op.add_column("calls", sa.Column("peak_memory", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("idempotency_key", sa.String(length=255), nullable=True))
    op.add_column("calls", sa.Column("idempotency_hash", sa.String(length=64), nullable=True))
    op.add_column("calls", sa.Column("rerun_of", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("cancel_time", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("next_attempt_time", sa.BigInteger(), nullable=True))
    op.add_column("calls", sa.Column("dead_time", sa.BigInteger(), nullable=True))
    op.create_index(
        "calls_by_idempotency_key",
        "calls",
        ["function_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("calls_by_status", "calls", ["function_id", "status", "start_time", "id"], unique=False)
    op.create_index(
        "calls_dead",
        "calls",
        ["function_id", "dead_time"],
        unique=False,
        sqlite_where=sa.text("dead_time IS NOT NULL"),
        postgresql_where=sa.text("dead_time IS NOT NULL"),
    )
    op.add_column("functions", sa.Column("options", sa.Text(), nullable=True))
    op.add_column("schedules", sa.Column("time_zone", sa.String(length=64), nullable=True))
    op.add_column("schedules", sa.Column("missed", sa.String(length=8), nullable=True))
    op.add_column("schedules", sa.Column("missed_window", sa.BigInteger(), nullable=True))
    op.add_column("schedules", sa.Column("overlap", sa.String(length=8), nullable=True))
    op.add_column("schedules", sa.Column("paused_time", sa.BigInteger(), nullable=True))
    op.add_column("schedules", sa.Column("accounted_until", sa.BigInteger(), nullable=True))
