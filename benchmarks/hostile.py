"""An honest client beside 200 connections that send no whole request: heads and bodies without end, and half ones.

None of them has a token. Each sends as fast as it is read, is refused, and comes again. What the honest client's calls
take is compared with what they take alone, before and after.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import harness
from book import Book
from harness import Api, quantile

CONNECTIONS = 200
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "60"))
ALONE = 5.0
RATE = 20
PART = 16_384

POST = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
KINDS = (
    (b"GET /", b"x" * PART),
    (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * (PART // 6)),
    (b"GET / HTTP/1.1\r\nA: ", b"x" * PART),
    (b"GET / HTTP/1.1\r\nHost: x\r\n", b""),
    (POST + b"Content-Length: 60000\r\n\r\nx", b""),
    (POST + b"Content-Length: 9000000000\r\n\r\n", b"x" * PART),
    (CHUNKED, b"1\r\nx\r\n" * (PART // 6)),
    (CHUNKED + b"1;a=", b"x" * PART),
)
"""What a connection begins with, and what it sends then, again and again."""


def main(book: Book) -> None:
    with harness.served() as server, harness.load() as honest:
        api = Api(server)
        order = {"url": f"{api.deploy(harness.ECHO).url}/call", "token": api.token, "rate": RATE}
        book.begin("hostile", f"Warm echo calls, {RATE} a second, beside {CONNECTIONS} hostile connections")
        book.head()
        base_memory = _memory(server.pid)
        before = honest.run(**order, seconds=ALONE)
        attack = subprocess.Popen([sys.executable, __file__, api.base])
        try:
            beside = honest.run(**order, seconds=SECONDS)
            memory = _memory(server.pid)
        finally:
            attack.kill()
            attack.wait()
        after = honest.run(**order, seconds=ALONE)
        base = book.times("alone", [*before.took, *after.took])
        row = book.times("beside them", beside.took, base=base)
        book.value("server memory before", base_memory / 1e6, "MB")
        book.value("server memory after a minute", memory / 1e6, "MB", base_memory / 1e6)
        late, alone = row.quantiles["p99"] * 1e3, base.quantiles["p99"] * 1e3
        book.value("p99 beside them", late, "ms", alone)
        book.meet("hostile", late, alone, quantile(beside.took, 0.99) / quantile([*before.took, *after.took], 0.99))
        book.meet("hostile-memory", memory / 1e6, base_memory / 1e6)


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _attack(url: str, begin: bytes, more: bytes) -> None:
    parts = urlsplit(url)
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((parts.hostname or "", parts.port), 30) as connection,
        ):
            connection.sendall(begin)
            while more:
                connection.sendall(more)
            connection.recv(1000)
        time.sleep(0.05)


if __name__ == "__main__":
    os.nice(5)
    for number in range(CONNECTIONS):
        threading.Thread(target=_attack, args=(sys.argv[1], *KINDS[number % len(KINDS)]), daemon=True).start()
    threading.Event().wait()
