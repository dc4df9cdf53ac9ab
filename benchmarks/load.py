"""Calls over keep-alive connections, from a process of its own; orders come as lines of JSON, each answered by a line.

    {"url": …, "token": …, "concurrency": 16, "seconds": 1.5, "size": 1}    closed loop: a call follows an answer
    {"url": …, "token": …, "rate": 500, "seconds": 4, "size": 1}            open loop: calls come whatever is answered

With `"sessions": URL` and `"login": {"clientId": …, "clientSecret": …}` a call is made as the official SDK makes it
with client credentials: a session first, then the call with its nonce, with no `Prefer`. With `"bears": true` a call
that still runs is asked for until it has ended, and an answer of 429 counts as refused; a load otherwise stops at
either.

An answer is `{"took": [seconds of each call], "whole": seconds, "refused": calls, "asked": calls}`, the last
those that were asked for again. In an open loop a call's time counts from the moment at which it was due, so that one
that had to wait for its turn to be sent counts as slow (no coordinated omission); arrivals are a Poisson process with a
fixed seed.

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

NONCE = "%nonce%"
"""Stands for the nonce in the request that is made once for all calls."""

POLL = 0.1
"""Seconds between two questions for a call, and before a call that was refused is made again."""


class Caller:
    """Connections to one server, and the requests that a call takes."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._url = urlsplit(order["url"])
        self._data = {"x": "y" * order.get("size", 1)}
        self._whole = self._request(order["url"], {"data": self._data}, "Prefer: wait=30\r\n")
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.refused = self.asked = 0
        if "sessions" in order:
            self._session = self._request(order["sessions"], {"items": [order["login"]]})
            self._call = self._request(order["url"], {"data": self._data, "nonce": NONCE})

    def _request(self, url: str, body: object, headers: str = "") -> bytes:
        parts, text = urlsplit(url), json.dumps(body).encode()
        head = (
            f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {self._order.get('token', '')}\r\nContent-Type: application/json\r\n"
            f"{headers}Content-Length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text

    async def call(self) -> bool:
        """One call, over an idle connection or a new one; whether it ended well within its answer."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port, limit=1 << 24)
        request = self._whole
        if "sessions" in self._order:
            _, made = await self._ask(reader, writer, self._session)
            nonce = made.partition(b'"nonce":"')[2].partition(b'"')[0]
            request = self._call.replace(NONCE.encode(), nonce)
            request = request.replace(
                b"Content-Length: %d" % _length(self._call),
                b"Content-Length: %d" % (_length(self._call) - len(NONCE) + len(nonce)),
                1,
            )
        status, answer = await self._ask(reader, writer, request)
        if status != b"429" and b'"Running"' in answer and "bears" in self._order:
            self.asked += 1
            answer = await self._end(reader, writer, answer)
        self._idle.append((reader, writer))
        if status == b"429":
            self.refused += 1
            return False
        if b'"Running"' in answer or b'"Failed"' in answer:
            raise SystemExit(f"expected the end of a call, got {answer!r}")
        return True

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> bytes:
        """Ask for a call until it has ended, as the official SDK does, if more evenly."""
        path = f"{self._url.path}s/{json.loads(answer)['id']}"
        token = self._order.get("token", "")
        head = f"GET {path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        while b'"Running"' in answer:
            await asyncio.sleep(POLL)
            _, answer = await self._ask(reader, writer, head.encode())
        return answer

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[bytes, bytes]:
        writer.write(request)
        header = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(_length(header))
        status = header[9:12]
        if status not in (b"200", b"201") and not (status == b"429" and "bears" in self._order):
            raise SystemExit(f"expected 200 or 201, got {header!r} {answer[:300]!r}")
        return status, answer

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def _length(header: bytes) -> int:
    """What a request or an answer says of the length of its body."""
    return int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def closed(caller: Caller, concurrency: int, seconds: float) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        now = time.perf_counter()
        while now < end:
            begun = now
            is_well = await caller.call()
            now = time.perf_counter()
            if is_well:
                took.append(now - begun)
            else:
                await asyncio.sleep(POLL)
                now = time.perf_counter()

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
    told = {"took": [round(seconds, 7) for seconds in took], "whole": whole}
    return {**told, "refused": caller.refused, "asked": caller.asked}


if __name__ == "__main__":
    for line in sys.stdin:
        answer = json.dumps(uvloop.run(carry_out(json.loads(line))))
        os.set_blocking(1, True)
        print(answer, flush=True)
