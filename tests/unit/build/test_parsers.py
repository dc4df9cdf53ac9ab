"""Parsers: what they say is believed only as far as it can harm nobody else."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvern.build.errors import EntryPointError
from kvern.build.interpreters import Interpreters
from kvern.build.parsers import Parsers
from kvern.build.revision import Interpreter
from kvern.sandbox import Box
from kvern.sandbox.plain import Plain

SOURCES = {"handler.py": b"def handle(data): pass\n", "curve.py": b"x = 1\n"}


class Hostile(Plain):
    """Whatever should run, this shell line runs."""

    def __init__(self, line: str) -> None:
        self.line = line

    def command(self, box: Box) -> list[str]:
        return ["/bin/sh", "-c", self.line]


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    return next(iter(Interpreters().all().values()))


@pytest.fixture
async def parsers() -> AsyncIterator[Parsers]:
    made = Parsers(Plain(), spare_seconds=60)
    yield made
    await made.close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.SubprocessTransport]:
    """Every process that is started."""
    seen: list[asyncio.SubprocessTransport] = []
    start = asyncio.BaseEventLoop.subprocess_exec

    async def note(*args: object, **more: object) -> object:
        made = await start(*args, **more)  # type: ignore[arg-type]
        seen.append(made[0])
        return made

    monkeypatch.setattr(asyncio.BaseEventLoop, "subprocess_exec", note)
    return seen


async def test_all_modules_but_the_entry_file_are_compiled(interpreter: Interpreter) -> None:
    parsed = await Parsers(Plain()).parse(interpreter, "handler.py", {**SOURCES, "no.py": b"def ("})
    assert parsed.fault == ""
    assert list(parsed.bytecode) == ["curve.py"]


async def test_a_fault_needs_no_bytecode(interpreter: Interpreter) -> None:
    parsed = await Parsers(Plain()).parse(interpreter, "handler.py", {**SOURCES, "handler.py": b"x = 1"})
    assert parsed.fault.startswith("handler.py has no `handle`")
    assert not parsed.bytecode


async def test_the_next_one_waits_already_and_is_used_once(
    parsers: Parsers, interpreter: Interpreter, started: list[asyncio.SubprocessTransport]
) -> None:
    parsers.expect(interpreter)
    for count in (2, 3, 4):
        await parsers.parse(interpreter, "handler.py", SOURCES)
        async with asyncio.timeout(20):
            while len(started) < count:
                await asyncio.sleep(0.01)
    assert [process.get_returncode() for process in started] == [0, 0, 0, None]
    await parsers.close()
    assert started[-1].get_returncode() is not None


async def test_a_spare_that_died_harms_nobody(
    parsers: Parsers, interpreter: Interpreter, started: list[asyncio.SubprocessTransport]
) -> None:
    parsers.expect(interpreter)
    async with asyncio.timeout(20):
        while not started:
            await asyncio.sleep(0.01)
    os.kill(started[0].get_pid(), 9)
    async with asyncio.timeout(20):
        while started[0].get_returncode() is None:
            await asyncio.sleep(0.01)
    assert (await parsers.parse(interpreter, "handler.py", SOURCES)).fault == ""


async def test_another_interpreter_gets_one_of_its_own(parsers: Parsers) -> None:
    magics: set[bytes] = set()
    for interpreter in Interpreters().all().values():
        parsed = await parsers.parse(interpreter, "handler.py", SOURCES)
        magics.add(parsed.bytecode["curve.py"][:4])
    assert len(magics) == len(Interpreters().all())


@pytest.mark.parametrize(
    "answer",
    [
        {"fault": "", "files": [["../../etc/passwd", 1]]},
        {"fault": "", "files": [["curve.py", -1]]},
        {"fault": "", "files": [["curve.py", 5]]},
        {"fault": "", "files": [["curve.py", "x"]]},
        {"fault": "", "files": []},
        {"fault": ["x"], "files": [["curve.py", 1]]},
        {"files": [["curve.py", 1]]},
        [],
    ],
)
async def test_answers_that_are_not_believed(tmp_path: Path, interpreter: Interpreter, answer: object) -> None:
    said = tmp_path / "said"
    said.write_bytes(json.dumps(answer).encode() + b"\nx")
    with pytest.raises(EntryPointError, match="could not be parsed"):
        await Parsers(Hostile(f"cat {said}")).parse(interpreter, "handler.py", SOURCES)


@pytest.mark.parametrize("line", ["kill -9 $$", "exit 3", "true", "cat /dev/zero", "echo no >&2; exit 1"])
async def test_a_parser_that_dies_or_never_stops_talking(interpreter: Interpreter, line: str) -> None:
    with pytest.raises(
        EntryPointError, match=r"handler\.py could not be parsed: the parser ended with status"
    ) as caught:
        await Parsers(Hostile(line)).parse(interpreter, "handler.py", SOURCES)
    assert caught.value.trace == ("no" if "no" in line else "")


async def test_one_that_is_called_off_is_killed(
    interpreter: Interpreter, started: list[asyncio.SubprocessTransport]
) -> None:
    task = asyncio.create_task(Parsers(Hostile("exec sleep 600")).parse(interpreter, "handler.py", SOURCES))
    async with asyncio.timeout(20):
        while not started:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert started[0].get_returncode() == -9
