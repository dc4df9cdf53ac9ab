"""Calls over keep-alive connections, from a process of its own; orders come as lines of JSON, each answered by a line.

    {"url": …, "token": …, "concurrency": 16, "seconds": 1.5, "size": 1}    closed loop: a call follows an answer
    {"url": …, "token": …, "rate": 500, "seconds": 4, "size": 1}            open loop: calls come whatever is answered

An answer is `{"took": [seconds of each call], "whole": seconds}`. In an open loop a call's time counts from the moment
at which it was due, so that one that had to wait for its turn to be sent counts as slow (no coordinated omission);
arrivals are a Poisson process with a fixed seed.

Speaks HTTP/1.1 over plain sockets: a full client would take more of the processor than the server that is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

MOST_CONNECTIONS = 256


class Caller:
    """Connections to one URL, and the request that each of them sends."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._parts = urlsplit(order["url"])
        body = json.dumps({"data": {"x": "y" * order.get("size", 1)}}).encode()
        head = (
            f"POST {self._parts.path or '/'} HTTP/1.1\r\nHost: {self._parts.netloc}\r\n"
            f"Authorization: Bearer {order.get('token', '')}\r\nContent-Type: application/json\r\n"
            f"Prefer: wait=30\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self) -> None:
        """One call, over an idle connection or a new one."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=1 << 24)
        writer.write(self._request)
        header = await reader.readuntil(b"\r\n\r\n")
        if header[9:12] not in (b"200", b"201"):
            raise SystemExit(f"expected 200 or 201, got {header!r}")
        length = int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if b'"Running"' in answer or b'"Failed"' in answer:
            raise SystemExit(f"expected the end of a call, got {answer!r}")
        self._idle.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def closed(caller: Caller, concurrency: int, seconds: float) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        now = time.perf_counter()
        while now < end:
            begun = now
            await caller.call()
            now = time.perf_counter()
            took.append(now - begun)

    await asyncio.gather(*(go_on() for _ in range(concurrency)))
    return took


async def opened(caller: Caller, rate: float, seconds: float) -> list[float]:
    took: list[float] = []
    turns = asyncio.Semaphore(MOST_CONNECTIONS)
    chance = random.Random(1)

    async def one(due: float) -> None:
        async with turns:
            await caller.call()
        took.append(time.perf_counter() - due)

    begun = due = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while (due := due + chance.expovariate(rate)) < begun + seconds:
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            tasks.create_task(one(due))
    return took


async def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    caller = Caller(order)
    for _ in range(10):  # connections and caches that the first calls make
        await caller.call()
    begun = time.perf_counter()
    if "rate" in order:
        took = await opened(caller, order["rate"], order["seconds"])
    else:
        took = await closed(caller, order["concurrency"], order["seconds"])
    whole = time.perf_counter() - begun
    caller.close()
    return {"took": [round(seconds, 7) for seconds in took], "whole": whole}


if __name__ == "__main__":
    for line in sys.stdin:
        answer = json.dumps(uvloop.run(carry_out(json.loads(line))))
        os.set_blocking(1, True)
        print(answer, flush=True)
