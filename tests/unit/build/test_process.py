"""Running a command: its lines, its end, and nothing left of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from kvern.build.process import run, show

ENV = {"PATH": "/usr/bin:/bin"}


async def shell(script: str, **more: object) -> tuple[int, list[str]]:
    lines: list[str] = []
    return await run(["/bin/sh", "-c", script], ENV, lines.append, **more), lines  # type: ignore[arg-type]


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_lines_of_both_outputs_in_order() -> None:
    assert await shell("echo one; echo two >&2; printf 'three\\r\\nfour'; exit 3") == (
        3,
        ["one", "two", "three", "four"],
    )


async def test_input_and_its_end() -> None:
    assert await shell("cat", stdin=b"a\nb\n") == (0, ["a", "b"])
    assert await shell("cat") == (0, [])


async def test_a_command_that_does_not_read_its_input() -> None:
    assert (await shell("exit 0", stdin=b"x" * 1_000_000))[0] == 0


async def test_a_signal_shows_as_a_negative_status() -> None:
    assert (await shell("kill -9 $$"))[0] == -9


async def test_bytes_that_are_no_text_and_endless_lines() -> None:
    _, lines = await shell("printf '\\377\\n'; head -c 10000 /dev/zero | tr '\\0' x")
    assert lines[0] == "\ufffd"
    assert "".join(lines[1:]) == "x" * 10_000
    assert max(map(len, lines)) <= 4000


async def test_only_the_given_environment() -> None:
    os.environ["KVERN_TEST_SECRET"] = "secret"
    try:
        _, lines = await shell("env")
    finally:
        del os.environ["KVERN_TEST_SECRET"]
    assert not any("secret" in line for line in lines)


async def test_cancelling_kills_all_that_was_started() -> None:
    pids: asyncio.Queue[int] = asyncio.Queue()
    script = "sleep 600 & echo $!; echo $$; wait"
    task = asyncio.create_task(run(["/bin/sh", "-c", script], ENV, lambda line: pids.put_nowait(int(line))))
    started = [await pids.get(), await pids.get()]
    assert all(map(is_running, started))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while any(map(is_running, started)):
            await asyncio.sleep(0.01)


async def test_what_is_left_behind_does_not_hold_up_the_end() -> None:
    async with asyncio.timeout(10):
        status, lines = await shell("sleep 600 & echo $!")
    assert status == 0
    async with asyncio.timeout(10):
        while is_running(int(lines[0])):
            await asyncio.sleep(0.01)


def test_system_folders_need_no_mount(tmp_path: Path) -> None:
    assert show(Path("/usr/bin"), Path("/etc/ssl/certs"), tmp_path / "gone") == []
    assert [(mount.source, mount.target, mount.writable) for mount in show(tmp_path)] == [
        (tmp_path, str(tmp_path), False)
    ]
