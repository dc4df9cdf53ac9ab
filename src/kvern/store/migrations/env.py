"""Alembic's entry: runs the migrations on the connection that `schema.upgrade` gives."""

from alembic import context

from kvern.store import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
with context.begin_transaction():
    context.run_migrations()
