"""Running one command of a build: its output line by line, its whole process group killed when the build ends early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kvern.build.revision import Interpreter
from kvern.sandbox import Mount

OnLine = Callable[[str], None]

_LONGEST_LINE = 4000
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    on_line: OnLine,
    *,
    stdin: bytes = b"",
    workdir: str = "/",
) -> int:
    """Run `argv` to its end and give its exit status; negative when a signal ended it.

    Standard output and error arrive at `on_line` as one stream, without newlines, on the event loop, all before this
    returns. When the caller is cancelled the command and all that it started are killed first.

    Args:
        argv: the command; nothing secret belongs here, any user of the machine can read it.
        env: the whole environment of the command.
        on_line: takes each line; lines over 4000 characters come in pieces.
        stdin: what the command can read; then its input ends.
        workdir: where it starts.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        cwd=workdir,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    reader = asyncio.create_task(_lines(process.stdout, on_line))
    try:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(stdin)
                await process.stdin.drain()
            process.stdin.close()
        status = await process.wait()
        # Something left behind would hold the pipe open for ever.
        _kill(process.pid)
        await asyncio.wait([reader], timeout=2)
        return status
    finally:
        _kill(process.pid)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
        if process.returncode is None:
            await asyncio.shield(process.wait())


async def _lines(stream: asyncio.StreamReader, on_line: OnLine) -> None:
    rest = b""
    while chunk := await stream.read(1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            on_line(_text(line))
        while len(rest) > _LONGEST_LINE:
            on_line(_text(rest[:_LONGEST_LINE]))
            rest = rest[_LONGEST_LINE:]
    if rest:
        on_line(_text(rest))


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def show(*paths: Path) -> list[Mount]:
    """Mounts that show each path of the host, read-only, at the same place; the system's own folders need none."""
    mounts: list[Mount] = []
    for path in paths:
        if path.exists() and not any(path.is_relative_to(folder) for folder in _SYSTEM):
            mounts.append(Mount(path, str(path)))
    return mounts


def show_interpreter(interpreter: Interpreter) -> list[Mount]:
    """Mounts that make `interpreter` work in a box."""
    executable = interpreter.executable
    paths = [interpreter.prefix] if executable.is_relative_to(interpreter.prefix) else [interpreter.prefix, executable]
    return show(*paths)
