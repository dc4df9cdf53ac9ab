"""Whose deployments are, locks of functions for other servers, and the feed of changes where a database is shared."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_CHANGED = """
CREATE FUNCTION kvern_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed text;
BEGIN
    IF TG_TABLE_NAME = 'clients' THEN
        IF TG_OP = 'DELETE' THEN changed := OLD.client_id; ELSE changed := NEW.client_id; END IF;
    ELSE
        IF TG_OP = 'DELETE' THEN changed := OLD.id::text; ELSE changed := NEW.id::text; END IF;
    END IF;
    INSERT INTO changes (noun, key, server, time) VALUES (
        TG_TABLE_NAME, changed, coalesce(current_setting('kvern.server', true), ''),
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    );
    RETURN NULL;
END $$
"""

_TRIGGERS = (
    ("clients", "INSERT OR UPDATE OR DELETE", ""),
    ("groups", "INSERT OR UPDATE OR DELETE", ""),
    ("functions", "INSERT OR UPDATE OR DELETE", ""),
    # Every tick moves it, and others need not know.
    ("schedules", "UPDATE", "WHEN (OLD.accounted_until IS NOT DISTINCT FROM NEW.accounted_until)"),
    ("schedules", "INSERT OR DELETE", ""),
    # A new session is looked up by who is shown its nonce or its token.
    ("sessions", "UPDATE", ""),
    ("calls", "UPDATE OF cancel_time", "WHEN (OLD.cancel_time IS NULL AND NEW.cancel_time IS NOT NULL)"),
)


def upgrade() -> None:
    op.add_column("functions", sa.Column("server", sa.String(length=40), nullable=True))
    op.add_column("functions", sa.Column("lock", sa.Text(), nullable=True))
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(_CHANGED)
    for number, (table, events, when) in enumerate(_TRIGGERS):
        op.execute(
            f"CREATE TRIGGER kvern_changed_{number} AFTER {events} ON {table} "
            f"FOR EACH ROW {when} EXECUTE FUNCTION kvern_changed()"
        )
