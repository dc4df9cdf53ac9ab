"""PostgreSQL tells who listens that something was changed; SQLite serves one service and has nobody to tell."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        "CREATE FUNCTION kvern_tell_changes() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NOTIFY kvern_changes; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER kvern_tell_changes AFTER INSERT ON changes "
        "FOR EACH STATEMENT EXECUTE FUNCTION kvern_tell_changes()"
    )
