"""A closed loop of calls over keep-alive connections, in a process of its own; prints seconds as JSON.

    python load.py URL TOKEN CONCURRENCY CALLS [BODY-BYTES]

Speaks HTTP/1.1 over plain sockets: a full client would take more of the processor than the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop


async def connection(url: str, token: str, body: bytes, calls: list[None], took: list[float]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nPrefer: wait=30\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    while calls:
        calls.pop()
        start = time.perf_counter()
        writer.write(head + body)
        header = await reader.readuntil(b"\r\n\r\n")
        if not header.startswith(b"HTTP/1.1 201"):
            raise SystemExit(f"expected 201, got {header!r}")
        length = int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        took.append(time.perf_counter() - start)
        if b'"Running"' in answer:
            raise SystemExit(f"expected an end state, got {answer!r}")
    writer.close()


async def main(url: str, token: str, concurrency: int, count: int, size: int) -> None:
    body = json.dumps({"data": {"x": "y" * size}}).encode()
    took: list[float] = []
    warm: list[float] = []
    await connection(url, token, body, [None] * 50, warm)
    calls = [None] * count
    start = time.perf_counter()
    await asyncio.gather(*(connection(url, token, body, calls, took) for _ in range(concurrency)))
    print(json.dumps({"took": took, "whole": time.perf_counter() - start}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int((sys.argv[5:] or ["1"])[0])))
