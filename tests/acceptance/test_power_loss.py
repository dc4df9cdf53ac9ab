"""Power loss at every flush: what had been answered by then is in what the disk is sure to hold.

The service is watched with ptrace. At each fsync or fdatasync of the database two kinds of disk are thought of: one
that holds only what was flushed (each file as of its own last flush), and one on which a part of the rest arrived too.
Each is written into a folder, opened, checked whole, and compared with the answers that had come by then.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.api import Api
from tests.acceptance.server import Server
from tests.acceptance.syncs import SyncWatch, can_trace

ECHO = """
def handle(data):
    print("said", data["n"])
    return data
"""
_PAGE = 4096


@dataclass(frozen=True)
class _Answer:
    """An answer that the client has: what it showed of a call."""

    call: int
    status: str
    n: int


@dataclass(frozen=True)
class _Disk:
    """What a disk may hold after the power failed, and how many answers had come by then."""

    kind: str
    files: dict[str, tuple[bytes, ...]]
    answers: int


class _Disks:
    """The disks that are possible at each flush of `database`; pages are kept once."""

    def __init__(self, database: Path, answers: list[_Answer], seed: int) -> None:
        self._paths = (database, database.with_name(database.name + "-wal"))
        self._answers = answers
        self._random = random.Random(seed)
        self._pages: dict[bytes, bytes] = {}
        self._flushed = {path: self._content(path) for path in self._paths}
        self.possible: list[_Disk] = []
        self.checkpoints = 0

    def before(self, path: Path) -> None:
        if path not in self._paths:
            return
        answered = len(self._answers)
        now = {each: self._content(each) for each in self._paths}
        self._add("flushed only", self._flushed, answered)
        self._add("all arrived", now, answered)
        self._add("torn", {**self._flushed, path: self._torn(self._flushed[path], now[path])}, answered)

    def after(self, path: Path) -> None:
        if path not in self._paths:
            return
        self.checkpoints += path == self._paths[0]
        self._flushed[path] = self._content(path)
        self._add("flushed only", self._flushed, len(self._answers))

    def _content(self, path: Path) -> tuple[bytes, ...]:
        try:
            whole = path.read_bytes()
        except FileNotFoundError:
            return ()
        pages = (whole[start : start + _PAGE] for start in range(0, len(whole), _PAGE))
        return tuple(self._pages.setdefault(page, page) for page in pages)

    def _torn(self, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Some of the pages that changed have arrived, others not; the file has its new length."""
        mixed = list(new)
        for index in range(len(new)):
            before = old[index] if index < len(old) else bytes(len(new[index]))
            if before != new[index] and self._random.random() < 0.5:
                mixed[index] = before
        return tuple(mixed)

    def _add(self, kind: str, files: dict[Path, tuple[bytes, ...]], answered: int) -> None:
        self.possible.append(_Disk(kind, {path.name: pages for path, pages in files.items()}, answered))


def _check(disk: _Disk, answers: list[_Answer], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, pages in disk.files.items():
        (folder / name).write_bytes(b"".join(pages))
    connection = sqlite3.connect(folder / "kvern.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], disk.kind
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, status, response FROM calls")}
        logged = {row[0] for row in connection.execute("SELECT call_id FROM call_logs")}
    finally:
        connection.close()
    for answer in answers[: disk.answers]:
        assert answer.call in rows, f"{disk.kind}: call {answer.call} was answered and is lost"
        status, response = rows[answer.call]
        if answer.status != "Running":
            assert status == answer.status, f"{disk.kind}: the end of call {answer.call} was answered and is lost"
            assert f'"n":{answer.n},'.encode() in response.replace(b" ", b"")
            assert answer.call in logged


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


def _calls(server: Server, function_id: int, numbers: range, answers: list[_Answer], lock: threading.Lock) -> None:
    with Api(server.environment()) as api:
        for n in numbers:
            # The padding fills the log of the database, so that it is moved into the database file several times.
            body = {"data": {"n": n, "padding": random.Random(n).randbytes(50_000).hex()}}
            headers = {"prefer": "wait=30"} if n % 3 else {}
            made: dict[str, Any] = api.post(f"/functions/{function_id}/call", body, headers=headers).json()
            with lock:
                answers.append(_Answer(made["id"], made["status"], n))


@pytest.mark.skipif(not can_trace(), reason="system calls of this processor are not known to the watch")
def test_what_was_answered_is_on_every_disk_that_a_power_loss_may_leave(server: Server, tmp_path: Path) -> None:
    with Api(server.environment()) as api:
        function_id = api.ready(ECHO, externalId="echo")
    answers: list[_Answer] = []
    disks = _Disks(server.data / "kvern.db", answers, seed=6)
    assert server.process is not None
    watch = SyncWatch(server.process, disks.before, disks.after)
    try:
        watch.start()
    except PermissionError as error:
        pytest.skip(f"this machine does not let a process be traced: {error}")
    lock = threading.Lock()
    with ThreadPoolExecutor(3) as threads:
        shares = [range(start, start + 15) for start in (0, 100, 200)]
        for done in [threads.submit(_calls, server, function_id, share, answers, lock) for share in shares]:
            done.result()
    server.kill()
    watch.join(20)

    assert len(answers) == 45
    assert any(answer.status == "Completed" for answer in answers)
    assert disks.checkpoints > 0, "expected the database file itself to be flushed as well"
    print(f"{len(disks.possible)} disks at {disks.checkpoints} checkpoints")
    for disk in disks.possible:
        _check(disk, answers, tmp_path / "disk")
