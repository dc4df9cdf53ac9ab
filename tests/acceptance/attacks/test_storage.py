"""What is stored cannot be made to hold the others up."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tests.acceptance.api import Api
from tests.acceptance.server import Server, until

MANY = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO files (id, project, name, details, created_time, last_updated_time)
    SELECT 100000000 + i, 'kvern', 'one of many', '{}', 0, 32503680000000 FROM n
"""


def test_a_search_that_takes_too_long_is_given_up_and_the_others_are_answered(tmp_path: Path) -> None:
    with Server(tmp_path, "--read-seconds", "0.05") as server, Api(server.environment()) as api:
        file = api.post("/files", {"name": "there"}).json()
        with contextlib.closing(sqlite3.connect(server.data / "kvern.db", timeout=30)) as database, database:
            database.execute(MANY)
        for _ in range(6):  # more than there are readers
            answer = api.post("/files/list", {"filter": {"name": "of no file"}})
            assert answer.status_code == 408, answer.text[:200]
        assert "narrower `filter`" in answer.json()["error"]["message"]
        assert api.get(f"/files/{file['id']}").status_code == 200
        until(lambda: api.post("/files/list", {"limit": 1}).status_code == 200, 30, "a short one is in time")
        assert "Traceback" not in server.log.read_text()
