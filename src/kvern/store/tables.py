"""The tables. A change here comes with a migration below `migrations/versions`.

What an index leaves out is said here for SQLite alone, and for PostgreSQL by the migrations, which make it: an option
of a dialect loads that whole dialect at every start.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite keeps a table by a key that is declared as INTEGER; one of another type is an index beside it."""

NOT_COMPLETED = text("status <> 'Completed'")
"""What a query has to say word for word, beside the status that it wants, to be led by `calls_by_status`."""

sequences = Table(
    "sequences",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("next", BigInteger, nullable=False),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(255), primary_key=True),
    Column("project", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("group_id", BigInteger, nullable=True),
    Column("old_secret_hash", String(64), nullable=True),
    Column("old_secret_until", BigInteger, nullable=True),
    Column("rotated_time", BigInteger, nullable=True),
)

groups = Table(
    "groups",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("name", String(255), nullable=False),
    Column("source_id", String(255), nullable=True),
    Column("capabilities", Text, nullable=False),
    Column("metadata", Text, nullable=True),
    Column("from_file", Boolean, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Index("groups_by_project", "project", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("type", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("nonce_hash", String(64), nullable=True, unique=True),
    Column("subject", String(255), nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("client_id", String(255), nullable=True),
    Column("creation_time", BigInteger, nullable=False),
    Column("expiration_time", BigInteger, nullable=False),
    Column("issuer", String(1024), nullable=False, server_default="kvern"),
    Column("claims", Text, nullable=True),
    Column("parent_id", BigInteger, nullable=True),
    Column("vault", LargeBinary, nullable=True),
    Column("vault_key", LargeBinary, nullable=True),
    Index("sessions_by_project", "project", "status", "id"),
)

files = Table(
    "files",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("external_id", String(255), nullable=True),
    Column("name", String(256), nullable=False),
    Column("mime_type", String(256), nullable=True),
    Column("details", Text, nullable=False),
    Column("blob", String(80), nullable=True),
    Column("size", BigInteger, nullable=True),
    Column("uploaded_time", BigInteger, nullable=True),
    Column("created_time", BigInteger, nullable=False),
    Column("last_updated_time", BigInteger, nullable=False),
    UniqueConstraint("project", "external_id", name="files_external_id"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(32), nullable=False),
    Column("file_id", BigInteger, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("completed_time", BigInteger, nullable=True),
    Index("uploads_by_file", "file_id"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("upload_id", String(40), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("blob", String(80), nullable=False),
    Column("size", BigInteger, nullable=False),
)

data_sets = Table(
    "data_sets",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("external_id", String(255), nullable=True),
    Column("name", String(50), nullable=True),
    Column("description", String(500), nullable=True),
    Column("metadata", Text, nullable=True),
    Column("write_protected", Boolean, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("last_updated_time", BigInteger, nullable=False),
    UniqueConstraint("project", "external_id", name="data_sets_external_id"),
)

functions = Table(
    "functions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("external_id", String(255), nullable=True),
    Column("name", String(140), nullable=False),
    Column("status", String(16), nullable=False),
    Column("file_id", BigInteger, nullable=False),
    Column("bundle", String(80), nullable=False),
    Column("owner", String(128), nullable=True),
    Column("description", String(500), nullable=True),
    Column("metadata", Text, nullable=True),
    Column("function_path", String(500), nullable=False),
    Column("env_vars", Text, nullable=True),
    Column("secret_keys", Text, nullable=True),
    Column("vault", LargeBinary, nullable=True),
    Column("vault_key", LargeBinary, nullable=True),
    Column("cpu", Float, nullable=False),
    Column("memory", Float, nullable=False),
    Column("runtime", String(16), nullable=False),
    Column("runtime_version", String(64), nullable=True),
    Column("revision", String(64), nullable=False),
    Column("environment", String(64), nullable=True),
    Column("error_message", Text, nullable=True),
    Column("error_trace", Text, nullable=True),
    Column("created_time", BigInteger, nullable=False),
    Column("last_called", BigInteger, nullable=True),
    Column("options", Text, nullable=True),
    Column("server", String(40), nullable=True),
    Column("lock", Text, nullable=True),
    UniqueConstraint("project", "external_id", name="functions_external_id"),
)
"""`server` deploys it, where several share the database; `lock` is what its environment was made from."""

calls = Table(
    "calls",
    metadata,
    Column("id", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("function_id", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("begun", Boolean, nullable=False),
    Column("verdict", String(16), nullable=True),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=True),
    Column("schedule_id", BigInteger, nullable=True),
    Column("scheduled_time", BigInteger, nullable=True),
    Column("session_id", BigInteger, nullable=True),
    Column("error_message", Text, nullable=True),
    Column("error_trace", Text, nullable=True),
    Column("server", String(40), nullable=True),
    Column("worker", String(64), nullable=True),
    Column("cold", Boolean, nullable=True),
    Column("attempt", Integer, nullable=True),
    Column("queue_seconds", Float, nullable=True),
    Column("run_seconds", Float, nullable=True),
    Column("cpu_seconds", Float, nullable=True),
    Column("peak_memory", BigInteger, nullable=True),
    Column("idempotency_key", String(255), nullable=True),
    Column("idempotency_hash", String(64), nullable=True),
    Column("rerun_of", BigInteger, nullable=True),
    Column("cancel_time", BigInteger, nullable=True),
    Column("next_attempt_time", BigInteger, nullable=True),
    Column("dead_time", BigInteger, nullable=True),
    # Last: SQLite reads a row from its beginning, and large ones go on through many pages.
    Column("data", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=True),
    Index(
        "calls_tick",
        "schedule_id",
        "scheduled_time",
        unique=True,
        sqlite_where=text("schedule_id IS NOT NULL"),
    ),
    Index(
        "calls_by_idempotency_key",
        "function_id",
        "idempotency_key",
        unique=True,
        sqlite_where=text("idempotency_key IS NOT NULL"),
    ),
    Index(
        "calls_dead",
        "function_id",
        "dead_time",
        sqlite_where=text("dead_time IS NOT NULL"),
    ),
    Index("calls_by_function", "function_id", "start_time", "id"),
    # Most calls are Completed, and a row that was never in an index costs it nothing when it changes.
    Index(
        "calls_by_status",
        "function_id",
        "status",
        "start_time",
        "id",
        sqlite_where=NOT_COMPLETED,
    ),
    Index("calls_by_age", "start_time"),
)

call_logs = Table(
    "call_logs",
    metadata,
    Column("call_id", BigInteger, primary_key=True, autoincrement=False),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("entries", LargeBinary, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("call_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("verdict", String(16), nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("first_chunk", Integer, nullable=False),
    Column("error_message", Text, nullable=True),
    Column("error_trace", Text, nullable=True),
    Column("worker", String(64), nullable=True),
    Column("cold", Boolean, nullable=True),
    Column("queue_seconds", Float, nullable=True),
    Column("run_seconds", Float, nullable=True),
    Column("cpu_seconds", Float, nullable=True),
    Column("peak_memory", BigInteger, nullable=True),
)
"""Attempts of a call before its last one; `first_chunk` is where its lines begin in `call_logs`."""

schedules = Table(
    "schedules",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(32), nullable=False),
    Column("function_id", BigInteger, ForeignKey("functions.id"), nullable=False),
    Column("function_external_id", String(255), nullable=True),
    Column("name", String(140), nullable=False),
    Column("description", String(500), nullable=True),
    Column("cron_expression", String(1024), nullable=False),
    Column("data", LargeBinary, nullable=True),
    Column("session_id", BigInteger, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("time_zone", String(64), nullable=True),
    Column("missed", String(8), nullable=True),
    Column("missed_window", BigInteger, nullable=True),
    Column("overlap", String(8), nullable=True),
    Column("paused_time", BigInteger, nullable=True),
    Column("accounted_until", BigInteger, nullable=True),
    Index("schedules_by_function", "function_id"),
)
"""`missed_window` in ms; `accounted_until` is the last moment (ms) up to which every due time has its tick."""

ticks = Table(
    "ticks",
    metadata,
    Column("schedule_id", BigInteger, primary_key=True, autoincrement=False),
    Column("due_time", BigInteger, primary_key=True, autoincrement=False),
    Column("outcome", String(8), nullable=False),
    Column("reason", Text, nullable=True),
    Column("fired_time", BigInteger, nullable=True),
    Column("call_id", BigInteger, nullable=True),
    Index("ticks_by_age", "due_time"),
    Index(
        "ticks_queued",
        "schedule_id",
        "due_time",
        sqlite_where=text("outcome = 'queued'"),
    ),
)
"""The ledger: how every due time of every schedule ended; `queued` until it does."""

servers = Table(
    "servers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("address", String(1024), nullable=False),
    Column("version", String(32), nullable=False),
    Column("started_time", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
)
"""The services that share this database; times are the database's own, in ms since the epoch."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("server", String(40), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
)
"""What only one of them may do at a time, such as firing schedules."""

changes = Table(
    "changes",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("noun", String(16), nullable=False),
    Column("key", String(255), nullable=False),
    Column("server", String(40), nullable=False),
    Column("time", BigInteger, nullable=False),
)
"""What one server changed of that which others hold in memory."""

keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Keys that all servers share, wrapped by the master key."""
