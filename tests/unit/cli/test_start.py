"""What a start loads: nothing that the command does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvern.cli.app import VERBS, app


def loaded(program: str, *names: str) -> list[str]:
    """Those of some modules that a fresh interpreter has loaded after it ran a program."""
    program += f"\nimport sys; print('loaded', *(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_overview_loads_the_standard_library_alone(words: list[str]) -> None:
    program = f"import sys; sys.argv = ['kvern', *{words!r}]\nfrom kvern.cli import main; main()"
    others = ("cyclopts", "rich", "httpx2", "msgspec", "sqlalchemy", "starlette", "cryptography", "asyncio")

    assert loaded(program, "kvern.cli.verbs", *others, "kvern.server", "kvern.client") == ["kvern.cli.verbs"]


def test_the_command_line_itself_loads_neither_the_client_nor_the_service() -> None:
    others = ("httpx2", "msgspec", "sqlalchemy", "starlette", "cryptography", "kvern.server", "kvern.client")

    assert loaded("import kvern.cli.app", "cyclopts", *others) == ["cyclopts"]


def test_a_server_loads_what_few_need_when_they_need_it() -> None:
    rarely = ("alembic", "httpx2", "jwt", "cryptography.x509", "psycopg", "sqlalchemy.dialects.postgresql", "boto3")

    assert loaded("import kvern.server.run", "kvern.server.run", *rarely) == ["kvern.server.run"]


def test_a_database_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from kvern.store.sqlite import SqliteStore
store = SqliteStore(Path({str(tmp_path / "kvern.db")!r}))
store.start()
store.stop()
"""

    assert loaded(program, "alembic") == ["alembic"]
    assert loaded(program, "alembic") == []


@pytest.mark.parametrize(("verb", "summary"), [(n, v.summary) for vs in VERBS.values() for n, v in vs.items()])
def test_the_overview_says_of_a_verb_what_its_own_help_begins_with(verb: str, summary: str) -> None:
    assert app[verb].help.split("\n\n")[0] == summary
