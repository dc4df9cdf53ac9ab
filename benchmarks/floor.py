"""The floor: the least that a durable call can cost on this machine.

A bare ASGI application, with neither routing nor tokens nor quotas nor sandbox, that commits an insert in a group,
hands the body to a worker that was forked before, over a socket pair, commits an update in a group, and answers.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sqlite3
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

_WORKERS = 8
_LENGTH = struct.Struct("!I")


class Writer:
    """One thread that commits all that waits in one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[tuple[str, tuple[Any, ...], asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def write(self, statement: str, row: tuple[Any, ...]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put((statement, row, future))
        return future

    def _run(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, data BLOB, response BLOB)")
        while True:
            group = [self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get())
            database.execute("BEGIN")
            for statement, row, _ in group:
                database.execute(statement, row)
            database.execute("COMMIT")
            group[0][2].get_loop().call_soon_threadsafe(_wake, [future for _, _, future in group])


def _wake(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class Pipe(asyncio.Protocol):
    """The server's end of a worker's socket; one call at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= 4 and len(self._buffer) >= 4 + _LENGTH.unpack_from(self._buffer)[0] and self.answer:
            body, self._buffer = self._buffer[4:], b""
            self.answer.set_result(body)

    def call(self, body: bytes) -> asyncio.Future[bytes]:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(_LENGTH.pack(len(body)) + body)
        return self.answer


def work(end: socket.socket) -> None:
    """A worker: sends back what it gets."""
    while True:
        head = end.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            os._exit(0)
        length = _LENGTH.unpack(head)[0]
        body = end.recv(length, socket.MSG_WAITALL)
        end.sendall(_LENGTH.pack(len(body)) + body)


def fork_workers() -> list[socket.socket]:
    ends: list[socket.socket] = []
    for _ in range(_WORKERS):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            for end in ends:
                end.close()
            work(theirs)
        theirs.close()
        ends.append(ours)
    return ends


def application(writer: Writer, idle: asyncio.Queue[Pipe]) -> Callable[..., Awaitable[None]]:
    number = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal number
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        number += 1
        call = number
        await writer.write("INSERT INTO calls (id, data) VALUES (?, ?)", (call, body))
        pipe = await idle.get()
        answer = await pipe.call(body)
        idle.put_nowait(pipe)
        await writer.write("UPDATE calls SET response = ? WHERE id = ?", (answer, call))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


async def main(folder: Path, listener: socket.socket, ends: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[Pipe] = asyncio.Queue()
    for end in ends:
        _, pipe = await loop.create_unix_connection(Pipe, sock=end)
        idle.put_nowait(pipe)
    app = application(Writer(folder / "floor.db"), idle)
    config = uvicorn.Config(app, http="httptools", lifespan="off", access_log=False, log_level="warning")
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(2048)
    forked = fork_workers()
    print(bound.getsockname()[1], flush=True)
    uvloop.run(main(Path(sys.argv[1]), bound, forked))
