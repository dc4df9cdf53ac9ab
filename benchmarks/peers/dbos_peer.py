"""DBOS on SQLite: a durable workflow, run in the caller's own process and thread."""

import tempfile

import closed_loop
from dbos import DBOS

with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{folder}/dbos.db",
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )

    @DBOS.workflow()
    def echo(data):
        return data

    DBOS.launch()
    try:
        closed_loop.serve(echo)
    finally:
        DBOS.destroy()
