"""A soak: half of what the machine can do, for a long time, while parts of the service are killed at random.

`KVERN_SOAK_MINUTES` sets how long. Printed at the end: how memory and latency moved, and that no call was lost. Calls
that were sent soon after a kill are told apart: they wait until what was killed is there again, and while 100 wait,
more are refused.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api
from tests.acceptance.crashes import descendants, is_runner, kill, parent
from tests.acceptance.server import Server

MINUTES = float(os.environ.get("KVERN_SOAK_MINUTES", "30"))
_KILL_EVERY = 20.0
_SETTLED = 6.0
"""Seconds after a kill, from which on calls are as if there had been none."""
_WINDOW = 60.0
_CAPACITY_SECONDS = 5.0
_ECHO = "def handle(data):\n    return data\n"


@dataclass
class _Soak:
    server: Server
    api: Api
    function: int
    http: httpx2.AsyncClient
    random: random.Random = field(default_factory=lambda: random.Random(30))
    accepted: set[int] = field(default_factory=set[int])
    windows: list[list[float]] = field(default_factory=lambda: [list[float]()])
    """Milliseconds of the calls of each minute that met no kill."""
    met_a_kill: list[float] = field(default_factory=list[float])
    """Milliseconds of the others."""
    killed: float = 0.0
    """When something was killed last, by `time.monotonic`."""
    kills: Counter[str] = field(default_factory=Counter[str])
    memory: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Seconds since the server started, and MB that its process takes."""
    refused: Counter[int] = field(default_factory=Counter[int])
    """By status."""
    cut: int = 0

    async def call(self) -> None:
        began = time.monotonic()
        try:
            path = f"{self.api.base}/functions/{self.function}/call"
            headers = {**self.api.headers, "prefer": "wait=10"}
            answer = await self.http.post(path, json={"data": {"n": 1}}, headers=headers)
        except httpx2.TransportError:
            self.cut += 1
            return
        if answer.status_code != 201:
            self.refused[answer.status_code] += 1
            return
        self.accepted.add(answer.json()["id"])
        met_none = self.killed + _SETTLED < began
        (self.windows[-1] if met_none else self.met_a_kill).append((time.monotonic() - began) * 1000)

    async def capacity(self) -> float:
        """Calls per second, sixteen at a time."""
        count = 0
        end = time.monotonic() + _CAPACITY_SECONDS

        async def one_after_the_other() -> None:
            nonlocal count
            while time.monotonic() < end:
                await self.call()
                count += 1

        await asyncio.gather(*(one_after_the_other() for _ in range(16)))
        return count / _CAPACITY_SECONDS

    async def run(self, rate: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        sent, killed, window, up = 0, start, start, start
        under_way: set[asyncio.Task[None]] = set()
        while (now := loop.time()) < start + seconds:
            while sent < (now - start) * rate:
                task = asyncio.create_task(self.call())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            if now > window + _WINDOW:
                window = now
                self.windows.append([])
                if len(self.windows) % 20 == 0:
                    self.api.log_in()  # a token lasts for an hour
            if now > killed + _KILL_EVERY:
                killed = now
                self.killed = time.monotonic()
                if await asyncio.to_thread(self._kill):
                    up = loop.time()
            self.memory.append((now - up, self._megabytes()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*under_way)

    def _kill(self) -> bool:
        """Kill something; True when it was the server, which runs again then."""
        assert self.server.process is not None
        runners = [each for each in descendants(self.server.process.pid) if is_runner(each)]
        workers = [each for each in runners if parent(each) in runners]
        zygotes = [each for each in runners if each not in workers]
        # The server seldom, so that it lives long enough for its memory to tell something.
        (victim,) = self.random.choices(["worker", "zygote", "server"], weights=[6, 5, 1])
        self.kills[victim] += 1
        if victim == "server":
            self.server.kill()
            self.server.start()
            return True
        for process in {"worker": workers, "zygote": zygotes}[victim][:1]:
            kill(process)
        return False

    def _megabytes(self) -> float:
        assert self.server.process is not None
        try:
            pages = int(Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1])
        except OSError:
            return 0.0
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def lost(self) -> list[int]:
        """Accepted calls that are not there, or have not ended."""
        ended: set[int] = set()
        ids = sorted(self.accepted)
        for start in range(0, len(ids), 1000):
            body: dict[str, Any] = {
                "items": [{"id": call} for call in ids[start : start + 1000]],
                "ignoreUnknownIds": True,
            }
            answer = self.api.post(f"/functions/{self.function}/calls/byids", body)
            ended.update(call["id"] for call in answer.json()["items"] if call["status"] != "Running")
        return [call for call in ids if call not in ended]


@pytest.mark.timeout(int(MINUTES * 60 * 1.5) + 300)
async def test_nothing_is_lost_under_load_and_kills(tmp_path: Path) -> None:
    with Server(tmp_path, "--drain-seconds", "5") as server, Api(server.environment()) as api:
        function = api.ready(_ECHO, externalId="echo")
        limits = httpx2.Limits(max_connections=200)
        async with httpx2.AsyncClient(timeout=30, limits=limits) as http:
            soak = _Soak(server, api, function, http)
            most = await soak.capacity()
            soak.windows = [[]]
            await soak.run(most / 2, MINUTES * 60)
        deadline = time.monotonic() + 30
        while (lost := soak.lost()) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
        assert server.stop(signal.SIGTERM) == 0

    tails = [_p99(window) for window in soak.windows if len(window) > 100]
    late = [(at, size) for at, size in soak.memory if size and at > 60]
    slope = statistics.linear_regression(*zip(*late, strict=True)).slope * 3600 if len(late) > 100 else 0.0
    print(
        f"{most:.0f} calls/s are the most, {most / 2:.0f} were sent for {MINUTES:g} min: {len(soak.accepted)} accepted"
    )
    print("killed: " + ", ".join(f"{count} times a {victim}" for victim, count in sorted(soak.kills.items())))
    refused = ", ".join(f"{count} with {status}" for status, count in sorted(soak.refused.items())) or "none"
    print(f"refused: {refused}; {soak.cut} cut off by a kill of the server; {len(lost)} lost")
    if len(tails) > 1:
        part = max(1, len(tails) // 3)
        first, last = statistics.median(tails[:part]), statistics.median(tails[-part:])
        print(
            f"p99 of a minute, calls that met no kill: first third {first:.1f} ms, last third {last:.1f} ms, ", end=""
        )
        print(f"{last / first:.2f} x; worst {max(tails):.1f} ms")
    if len(soak.met_a_kill) > 100:
        print(f"p99 of calls sent up to {_SETTLED:g} s after a kill: {_p99(soak.met_a_kill):.1f} ms")
    print(f"memory of the server moves by {slope:+.1f} MB an hour")
    assert not lost
    assert set(soak.refused) <= {429}
    assert len(soak.accepted) > 100


def _p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[98]
