"""Running one command of a build: its output line by line, its whole process group killed when the build ends early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from kvern.build.revision import Interpreter
from kvern.sandbox import Mount

OnLine = Callable[[str], None]

_LONGEST_LINE = 4000
_PATIENCE = 2.0
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
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(tempfile.TemporaryFile())
        source.write(stdin)
        source.seek(0)
        # Pipes of asyncio's own would make `wait` wait for all that inherited them, not for the command.
        end, start = os.pipe()
        output = stack.enter_context(os.fdopen(end, "rb", buffering=0))
        with os.fdopen(start, "wb", buffering=0) as sink:
            process = await asyncio.create_subprocess_exec(
                *argv, env=dict(env), cwd=workdir, stdin=source, stdout=sink, stderr=sink, start_new_session=True
            )
        reader = asyncio.create_task(_lines(output, on_line))
        try:
            status = await process.wait()
            # Something left behind would hold the output open for ever.
            _kill(process.pid)
            await asyncio.wait([reader], timeout=_PATIENCE)
            return status
        finally:
            _kill(process.pid)
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            if process.returncode is None:
                await asyncio.shield(process.wait())


async def _lines(output: IO[bytes], on_line: OnLine) -> None:
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), output
    )
    try:
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
    finally:
        transport.close()


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
