"""Groups; secrets of clients that overlap; sessions that know who vouched for them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("source_id", sa.String(length=255), nullable=True),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("from_file", sa.Boolean(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("groups_by_project", "groups", ["project", "id"], unique=False)
    op.add_column("clients", sa.Column("group_id", sa.BigInteger(), nullable=True))
    op.add_column("clients", sa.Column("old_secret_hash", sa.String(length=64), nullable=True))
    op.add_column("clients", sa.Column("old_secret_until", sa.BigInteger(), nullable=True))
    op.add_column("clients", sa.Column("rotated_time", sa.BigInteger(), nullable=True))
    op.add_column("sessions", sa.Column("issuer", sa.String(length=1024), nullable=False, server_default="kvern"))
    op.add_column("sessions", sa.Column("claims", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.add_column("sessions", sa.Column("vault", sa.LargeBinary(), nullable=True))
    op.add_column("sessions", sa.Column("vault_key", sa.LargeBinary(), nullable=True))
