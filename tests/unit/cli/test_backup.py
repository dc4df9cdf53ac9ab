"""`kvern backup` and `kvern restore` as commands: where settings come from, what is said, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvern.store.sqlite import SqliteStore

Kvern = Callable[..., Any]
SECRET = "postgresql://kvern:hunter2@db.plant.example/kvern"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of a service that is stopped; the commands run beside it."""
    (tmp_path / "data" / "keys").mkdir(parents=True)
    store = SqliteStore(tmp_path / "data" / "kvern.db")
    store.start()
    store.stop()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_settings_are_read_from_the_file_that_the_service_reads(kvern: Kvern, data: Path) -> None:
    Path("kvern.toml").write_text(f'data-dir = "data"\nport = 9000\nblobs = "s3://bucket/x"\ndatabase = "{SECRET}"\n')
    ran = kvern("backup", "b.tar", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["database"], told["blobs"], told["keys"]) == ("postgresql", "s3", True)
    assert [word for note in told["notes"] for word in ("pg_dump", "S3", "KVERN_MASTER_KEY") if word in note] == [
        "pg_dump",
        "S3",
        "KVERN_MASTER_KEY",
    ]
    assert "hunter2" not in ran.out + ran.err
    restored = kvern("restore", "b.tar", "--data-dir", "new")
    assert (restored.code, restored.err.count("\n")) == (0, 2)
    assert "pg_restore" in restored.err


def test_a_password_on_the_command_line_is_refused(kvern: Kvern, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["kvern", "backup", "b.tar", "--database", SECRET])
    ran = kvern("backup", "b.tar", "--data-dir", str(data), "--database", SECRET)
    assert ran.code == 2
    assert "without a password" in ran.err
    assert "hunter2" not in ran.err


def test_what_is_wrong_is_told_in_one_line(kvern: Kvern, data: Path) -> None:
    assert kvern("backup", "b.tar", "--data-dir", str(data)).out.startswith("b.tar: ")
    for words, told in (
        (("backup", "b.tar", "--data-dir", str(data)), "does not replace another one"),
        (("backup", "c.tar", "--data-dir", "nowhere"), "no service has run with it"),
        (("backup", "nowhere/c.tar", "--data-dir", str(data)), "there is no folder nowhere"),
        (("restore", "b.tar", "--data-dir", str(data)), "is not empty"),
        (("restore", "c.tar", "--data-dir", "new"), "No such file or directory: c.tar"),
    ):
        ran = kvern(*words)
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
        assert told in ran.err
