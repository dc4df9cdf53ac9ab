"""Parsers: an interpreter in a box that reads one bundle's modules, and is gone with its answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kvern.build import boxed
from kvern.build.errors import EntryPointError
from kvern.build.process import Seat, show_interpreter, vacate
from kvern.build.revision import Interpreter
from kvern.sandbox import Box, Mount, Sandbox, users

_START = "import sys; sys.path.append(sys.argv[1]); from boxed import parser; parser.main()"
_ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_GATE = 'read -r _; exec "$@"'
"""Waits for a line, so that nothing runs before it sits in its limits."""

_LOOK = 0.2
"""Seconds between two looks at a parser whose limits the kernel does not hold."""

_START_DELAY = 0.2
"""Seconds after which the next parser is started: by then the deploy that took the last one is mostly over."""

_LONGEST_FAULT = 2000
_BYTES_PER_BYTE = 40
_ROOM = 1_000_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parser says of a bundle.

    Args:
        fault: what is wrong with its entry file, in one sentence; empty when nothing is.
        bytecode: that of the modules which were sent, by their path in the bundle.
    """

    fault: str
    bytecode: Mapping[str, bytes]


class Parsers:
    """Starts parsers, and keeps one started for the interpreter that was asked for last.

    A parser sees what it is sent and nothing else, and takes one bundle only: what a hostile source does to it reaches
    nobody else. All methods are called on one event loop.

    Args:
        sandbox: hostile source can crash a parser, or worse.
        spare_seconds: for how long a started parser waits for the next bundle; 0 to start each when it is needed.
        seat: makes the limits for one parser; None for none.
    """

    def __init__(self, sandbox: Sandbox, spare_seconds: float = 0.0, seat: Callable[[], Seat] | None = None) -> None:
        self._seat = seat
        self._sandbox = sandbox
        self._spare_seconds = spare_seconds
        self._spare: tuple[Interpreter, asyncio.Task[_Parser]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begin: asyncio.TimerHandle | None = None
        self._closed = False
        self._ending: set[asyncio.Task[None]] = set()

    async def parse(self, interpreter: Interpreter, entry: str, sources: Mapping[str, bytes]) -> Parsed:
        """Have a bundle looked at.

        Args:
            interpreter: under which Python.
            entry: the entry file, one of `sources`.
            sources: the modules by their path in the bundle.

        Raises:
            EntryPointError: the parser did not survive it.
        """
        line = json.dumps({"entry": entry, "files": [[name, len(source)] for name, source in sources.items()]})
        parser = await self._take(interpreter)
        try:
            given = b"".join([line.encode(), b"\n", *sources.values()])
            status = await parser.ask(given, _ROOM + _BYTES_PER_BYTE * sum(map(len, sources.values())))
        finally:
            await parser.end()
            self._expect_soon(interpreter)
        parsed = _parsed(bytes(parser.said), sources) if status == 0 else None
        if parsed is None:
            raise EntryPointError(
                f"{entry} could not be parsed: the parser ended with status {status}.",
                parser.printed.decode(errors="replace"),
            )
        return parsed

    def expect(self, interpreter: Interpreter) -> None:
        """Have a parser started for the next bundle."""
        if self._spare_seconds <= 0 or self._closed:
            return
        for timer in (self._timer, self._begin):
            if timer is not None:
                timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._spare_seconds, self._drop)
        if self._spare is None or self._spare[0] != interpreter:
            self._drop()
            self._spare = interpreter, asyncio.create_task(self._start(interpreter))

    def _expect_soon(self, interpreter: Interpreter) -> None:
        """Have one started, but not now: it would take the CPU from the deploy that has just been served."""
        if self._spare_seconds > 0 and not self._closed:
            if self._begin is not None:
                self._begin.cancel()
            self._begin = asyncio.get_running_loop().call_later(_START_DELAY, self.expect, interpreter)

    async def close(self) -> None:
        """End the parser that waits, and start none any more that would. Harmless when there is none."""
        self._closed = True
        for timer in (self._timer, self._begin):
            if timer is not None:
                timer.cancel()
        self._drop()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _take(self, interpreter: Interpreter) -> _Parser:
        spare, self._spare = self._spare, None
        if spare is not None and spare[0] != interpreter:
            self._spare, spare = spare, None
        if spare is not None:
            with contextlib.suppress(OSError):
                parser = await spare[1]
                if not parser.over.done():
                    return parser
        return await self._start(interpreter)

    async def _start(self, interpreter: Interpreter) -> _Parser:
        mount = Mount(Path(boxed.__path__[0]), "/kvern/boxed")
        place = self._sandbox.inside(mount).rpartition("/")[0]
        argv = [str(interpreter.executable), "-I", "-S", "-B", "-W", "ignore", "-c", _START, place]
        mounts = [mount, *show_interpreter(interpreter)]
        user = await asyncio.to_thread(users.take, self._sandbox.users, mounts)
        box = Box(argv, _ENV, mounts, workdir="/", network=False, user=user)
        command = ["/bin/sh", "-c", _GATE, "sh", *self._sandbox.command(box)]
        seat = self._seat() if self._seat is not None else None
        try:
            _, parser = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Parser(seat), *command, env=_ENV, cwd="/", start_new_session=True
            )
        except BaseException:
            if seat is not None:
                seat.remove()
            raise
        try:
            await parser.sit()
        except BaseException:
            await parser.end()
            raise
        return parser

    def _drop(self) -> None:
        if self._spare is not None:
            task = asyncio.create_task(_end_started(self._spare[1]))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._spare = None


class _Parser(asyncio.SubprocessProtocol):
    """A parser that was started."""

    def __init__(self, seat: Seat | None) -> None:
        self._seat = seat
        self._watch: asyncio.Task[None] | None = None
        self.said = bytearray()
        self.printed = bytearray()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is dead and all that it said has been read."""
        self._limit = _ROOM
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.said if fd == 1 else self.printed).extend(data)
        if len(self.said) + len(self.printed) > self._limit:
            self._kill()

    def process_exited(self) -> None:
        self._kill()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    async def sit(self) -> None:
        """Hold it to its limits, then have it begin."""
        if self._transport is None:
            raise AssertionError("a parser that was started has a transport")
        if self._seat is not None:
            await asyncio.to_thread(self._seat.add, self._transport.get_pid())
            if self._seat.watched:
                self._watch = asyncio.create_task(self._look(self._seat, self._transport.get_pid()))
        with contextlib.suppress(OSError):
            cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0)).write(b"\n")

    async def _look(self, seat: Seat, pid: int) -> None:
        while not await asyncio.to_thread(seat.look, pid):
            await asyncio.sleep(_LOOK)
        self._kill()

    async def ask(self, given: bytes, limit: int) -> int:
        """Send a question and wait for the end of the answer, at most `limit` bytes; the exit status."""
        self._limit = limit
        if self._transport is None:
            raise AssertionError("a parser that was started has a transport")
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        with contextlib.suppress(OSError):
            stdin.write(given)
        stdin.close()
        await asyncio.shield(self.over)
        status = self._transport.get_returncode()
        return -signal.SIGKILL if status is None else status

    async def end(self) -> None:
        """Kill it and all that it started. Harmless when it is dead."""
        self._kill()
        await asyncio.shield(self.over)
        if self._watch is not None:
            self._watch.cancel()
        if self._seat is not None:
            seat, self._seat = self._seat, None
            await asyncio.shield(vacate(seat))

    def _kill(self) -> None:
        """Kill its process group, and what it still wanted to say with it."""
        if self._transport is None or self.over.done():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), signal.SIGKILL)
        if self._transport.get_returncode() is None:
            self._transport.close()


def _parsed(said: bytes, sources: Mapping[str, bytes]) -> Parsed | None:
    """A parser's answer; None when it is not one, for whoever has taken a parser over may say anything."""
    line, _, rest = said.partition(b"\n")
    bytecode: dict[str, bytes] = {}
    place = 0
    try:
        answer = json.loads(line)
        fault = answer["fault"]
        for name, size in cast("list[tuple[str, int]]", answer["files"]):
            if name not in sources or size < 0:
                return None
            bytecode[name] = rest[place : place + size]
            place += size
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Parsed(fault[:_LONGEST_FAULT], bytecode) if isinstance(fault, str) and place == len(rest) else None


async def _end_started(start: asyncio.Task[_Parser]) -> None:
    with contextlib.suppress(OSError):
        await (await start).end()
