"""Running one command of a build: its output line by line, its whole process group killed when the build ends early."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from kvern.build.revision import Interpreter
from kvern.sandbox import Mount

OnLine = Callable[[str], None]

_LOOK = 0.2
"""Seconds between two looks at a command whose limits the kernel does not hold."""

_GATE = 'read -r _; exec "$@" <"$0"'
"""Waits until its input ends, so that nothing of the command runs before it sits in its limits."""

_LONGEST_LINE = 4000
_PATIENCE = 2.0
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")


class Seat(Protocol):
    """Limits on memory and processes, for one command and all that it starts. Methods may block for some 10 ms."""

    @property
    def watched(self) -> bool:
        """Whether the kernel does not hold the limits, so that someone must look."""
        ...

    def add(self, pid: int) -> None:
        """Hold a process, and all that it will fork, to the limits."""
        ...

    def look(self, pid: int) -> str:
        """Which limit the process and its descendants are over: `memory`, `pids`, or nothing."""
        ...

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something here for want of memory."""
        ...

    def out_of_pids(self) -> bool:
        """Whether a fork was refused here."""
        ...

    def kill(self) -> None:
        """Kill all that sits here."""
        ...

    def remove(self) -> bool:
        """Take the seat away; False while something on it is still dying."""
        ...


class OverLimitError(Exception):
    """A command needed more than its seat allows: the message says of what."""


async def run_seated(
    argv: Sequence[str], env: Mapping[str, str], on_line: OnLine, seat: Seat, *, stdin: bytes = b""
) -> int:
    """Run `argv` as `run` does, held to the limits of `seat`, which is taken away at the end.

    Raises:
        OverLimitError: it did not end well and was over a limit.
    """
    gate, opener = os.pipe()
    over = ""

    async def attend(pid: int) -> None:
        nonlocal over, opener
        await asyncio.to_thread(seat.add, pid)
        os.close(opener)
        opener = -1
        while seat.watched:
            await asyncio.sleep(_LOOK)
            over = await asyncio.to_thread(seat.look, pid)
            if over:
                _kill(pid)
                return

    try:
        with os.fdopen(gate, "rb", buffering=0) as source, tempfile.NamedTemporaryFile() as given:
            given.write(stdin)
            given.flush()
            status = await _run(["/bin/sh", "-c", _GATE, given.name, *argv], env, on_line, source, "/", attend)
        if status != 0:
            over = over or ("memory" if seat.out_of_memory() else "pids" if seat.out_of_pids() else "")
        if over:
            raise OverLimitError("memory" if over == "memory" else "processes")
        return status
    finally:
        if opener >= 0:
            os.close(opener)
        await asyncio.shield(vacate(seat))


async def vacate(seat: Seat) -> None:
    """Kill all that sits on `seat`, and take it away."""
    await asyncio.to_thread(seat.kill)
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while not seat.remove() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)


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
    with tempfile.TemporaryFile() as source:
        source.write(stdin)
        source.seek(0)
        return await _run(argv, env, on_line, source, workdir, None)


async def _run(
    argv: Sequence[str],
    env: Mapping[str, str],
    on_line: OnLine,
    source: IO[bytes],
    workdir: str,
    attend: Callable[[int], Coroutine[None, None, None]] | None,
) -> int:
    """Run `argv` with input from `source`; `attend` is begun with its pid and ended with it."""
    with contextlib.ExitStack() as stack:
        # Pipes of asyncio's own would make `wait` wait for all that inherited them, not for the command.
        end, start = os.pipe()
        output = stack.enter_context(os.fdopen(end, "rb", buffering=0))
        with os.fdopen(start, "wb", buffering=0) as sink:
            process = await asyncio.create_subprocess_exec(
                *argv, env=dict(env), cwd=workdir, stdin=source, stdout=sink, stderr=sink, start_new_session=True
            )
        reader = asyncio.create_task(_lines(output, on_line))
        attendant = asyncio.create_task(attend(process.pid)) if attend is not None else None
        try:
            status = await process.wait()
            # Something left behind would hold the output open for ever.
            _kill(process.pid)
            await asyncio.wait([reader], timeout=_PATIENCE)
            return status
        finally:
            _kill(process.pid)
            for task in (reader, attendant):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
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
