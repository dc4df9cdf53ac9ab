from __future__ import annotations

import venv
from pathlib import Path

import pytest
import uvloop

from kvern.build.interpreters import Interpreters
from kvern.build.revision import Environment, Revision
from kvern.engine import Access, Engine, HandlerError, LogLine, Order, Outcome, Verdict
from kvern.engine.local import LocalEngine
from kvern.sandbox import Box, Mount
from kvern.sandbox.plain import Plain


class Unstartable:
    """A sandbox whose boxes do not start."""

    name = "unstartable"
    is_boundary = False
    users = range(0)

    def inside(self, mount: Mount) -> str:
        return str(mount.source)

    def command(self, box: Box) -> list[str]:
        return ["/bin/sh", "-c", "echo 'no user namespaces' >&2; exit 1"]


@pytest.fixture
def revision(tmp_path: Path) -> Revision:
    code = tmp_path / "code"
    code.mkdir()
    (code / "handler.py").write_text("def handle(data):\n    print('line')\n    return data\n")
    venv.create(tmp_path / "venv", symlinks=True)
    interpreter = Interpreters().get("py311") or next(iter(Interpreters().all().values()))
    return Revision("r", 1, code, "handler.py", Environment("k", tmp_path / "venv", interpreter, ""))


def order(lines: list[LogLine]) -> Order:
    return Order(1, b"[1]", 10, 100, 100, lines.extend, lambda: Access("", "", ""))


async def test_a_box_that_cannot_be_started_is_told(revision: Revision, tmp_path: Path) -> None:
    engine: Engine = LocalEngine(Unstartable(), tmp_path / "run")
    await engine.start()
    with pytest.raises(HandlerError, match="the sandbox did not start: no user namespaces"):
        await engine.prepare(revision)
    outcome = await engine.run(revision, order([]))
    assert outcome.verdict is Verdict.CRASHED
    assert outcome.message == "the sandbox did not start: no user namespaces"
    await engine.stop()


async def test_start_empties_the_folder_of_what_was_left(tmp_path: Path) -> None:
    (tmp_path / "run" / "left" / "over").mkdir(parents=True)
    engine = LocalEngine(Plain(), tmp_path / "run")
    await engine.start()
    assert list((tmp_path / "run").iterdir()) == []
    await engine.stop()


async def test_nothing_is_harmed_by_what_is_not_there(revision: Revision, tmp_path: Path) -> None:
    engine = LocalEngine(Plain(), tmp_path / "run")
    await engine.start()
    assert not engine.has_room(revision)
    assert not await engine.cancel(7)
    await engine.retire(7)
    await engine.stop()
    await engine.stop()


def test_it_runs_on_uvloop(revision: Revision, tmp_path: Path) -> None:
    lines: list[LogLine] = []

    async def main() -> Outcome:
        engine = LocalEngine(Plain(), tmp_path / "run")
        await engine.start()
        outcome = await engine.run(revision, order(lines))
        await engine.stop()
        return outcome

    assert uvloop.run(main()).response == b"[1]"
    assert [line.message for line in lines] == ["line"]


def test_a_plain_box_is_said_to_be_no_boundary(tmp_path: Path) -> None:
    assert LocalEngine(Plain(), tmp_path).capabilities()["sandbox"] == "plain (no boundary)"
