from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import pytest

from kvern.host.call import LogLine
from kvern.host.output import EARLY_LIMIT, Output


class Pipe:
    def __init__(self) -> None:
        end, self.start = os.pipe()
        os.set_blocking(end, False)
        self.output = Output(end)
        self.lines: list[str] = []

    def on_log(self, lines: Sequence[LogLine]) -> None:
        assert lines, "no empty batches"
        self.lines.extend(line.message for line in lines)

    def write(self, text: str) -> None:
        os.write(self.start, text.encode())


@pytest.fixture
async def pipe() -> AsyncIterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.output.close()
    os.close(pipe.start)


async def test_all_that_was_written_before_the_end_is_there_at_the_end(pipe: Pipe) -> None:
    pipe.output.begin(1000, pipe.on_log)
    pipe.write("one\ntwo\nthr")
    pipe.output.end()
    assert pipe.lines == ["one", "two", "thr"]


async def test_lines_come_as_they_are_written(pipe: Pipe) -> None:
    pipe.output.begin(1000, pipe.on_log)
    pipe.write("one\n")
    while not pipe.lines:
        await asyncio.sleep(0)
    assert pipe.lines == ["one"]


async def test_what_came_before_the_first_call_is_the_first_calls(pipe: Pipe) -> None:
    pipe.write("early\n")
    await asyncio.sleep(0.01)
    assert pipe.output.early() == b"early\n"
    pipe.write("bird\n")
    pipe.output.begin(1000, pipe.on_log)
    pipe.output.end()
    assert pipe.lines == ["early", "bird"]


async def test_what_comes_between_calls_is_nobodys(pipe: Pipe) -> None:
    pipe.output.begin(1000, pipe.on_log)
    pipe.output.end()
    pipe.write("stray\n")
    pipe.output.begin(1000, pipe.on_log)
    pipe.write("mine\n")
    pipe.output.end()
    pipe.write("stray\n")
    await asyncio.sleep(0.01)
    assert pipe.lines == ["mine"]


async def test_early_output_is_kept_up_to_a_limit(pipe: Pipe) -> None:
    for _ in range(3):
        pipe.write("x" * (EARLY_LIMIT // 2))
        pipe.output.early()
    assert len(pipe.output.early()) == EARLY_LIMIT


async def test_a_closed_pipe_gives_what_was_in_it(pipe: Pipe) -> None:
    pipe.output.begin(1000, pipe.on_log)
    pipe.write("last")
    os.dup2(os.open("/dev/null", os.O_WRONLY), pipe.start)
    await asyncio.sleep(0.01)
    pipe.output.end()
    assert pipe.lines == ["last"]
    pipe.output.close()
    pipe.output.close()
