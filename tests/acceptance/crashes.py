"""Crashes on purpose: something of the service is killed at a chosen moment, and what must hold afterwards is checked.

The moments are found from outside: flushes of the database by `SyncWatch`, the handler's own doing by a `Witness` to
which it reports over the network.
"""

from __future__ import annotations

import os
import random
import signal
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import pytest

from tests.acceptance.api import Api, bundle
from tests.acceptance.server import Server, until
from tests.acceptance.syncs import SyncWatch

VICTIMS = ("server", "scheduler", "builder", "zygote", "worker", "group")
POINTS = ("before the commit", "after the commit", "while it runs", "before the commit of its end")

HANDLER = """
import socket, time

def say(port, what):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(what.encode() + b"\\n")
        line.recv(1)

def handle(data, function_call_info):
    token = data.get("token") or "tick-" + str(function_call_info["scheduled_time"])
    say(data["port"], "begin " + token)
    print("began", token)
    time.sleep(data.get("seconds", 0))
    say(data["port"], "end " + token)
    return {"token": token}
"""


class Witness:
    """Counts what handlers report; each report is answered when it has been counted."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.on_begin: Callable[[str], None] | None = None
        self.on_end: Callable[[str], None] | None = None
        witness = self

        class Report(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                what, _, token = self.rfile.readline().decode().strip().partition(" ")
                counted, heard = {
                    "begin": (witness.begun, witness.on_begin),
                    "end": (witness.ended, witness.on_end),
                }.get(what, (Counter[str](), None))
                counted[token] += 1
                if heard is not None:
                    heard(token)
                try:
                    self.wfile.write(b".")
                except OSError:  # whoever reported was killed meanwhile, as is the point of it all
                    return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Report)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Crashes:
    """A server that is killed again and again, the calls made meanwhile, and what is known of them.

    Args:
        server: not started yet.
        seed: of everything that is drawn: victims, moments, lengths.
    """

    server: Server
    seed: int
    accepted: dict[int, str] = field(default_factory=dict[int, str])
    """Every call whose acceptance was answered, with its token."""
    completed: set[int] = field(default_factory=set[int])
    """Those of which the answer said that they completed."""
    counts: Counter[str] = field(default_factory=Counter[str])

    def __enter__(self) -> Crashes:
        self._random = random.Random(self.seed)
        self.witness = Witness()
        self._strike: Callable[[], None] | None = None
        self._armed_before = self._armed_after = False
        self._tokens = self._skipped = 0
        self._start()
        self._api = Api(self.server.environment())
        self.function_id = self._api.ready(HANDLER, externalId="witnessed")
        self.schedule = self._scheduled()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.witness.close()
        self._api.close()
        if self.server.process is not None and self.server.process.poll() is None:
            self.server.stop()

    def _scheduled(self) -> dict[str, Any]:
        wanted = {
            "name": "each minute",
            "cronExpression": "* * * * *",
            "functionId": self.function_id,
            "data": {"port": self.witness.port},
        }
        answer = self._api.post("/functions/schedules", {"items": [wanted]})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["items"][0])

    def _start(self) -> None:
        self.server.start()
        assert self.server.process is not None
        self._watch = SyncWatch(self.server.process, self._before_flush, self._after_flush)
        try:
            self._watch.start()
        except PermissionError as error:
            self.server.stop()
            pytest.skip(f"this machine does not let a process be traced: {error}")

    def _before_flush(self, path: Path) -> None:
        if self._armed_before and path.name == "kvern.db-wal":
            self._come()

    def _after_flush(self, path: Path) -> None:
        if self._armed_after and path.name == "kvern.db-wal":
            self._come()

    def _fall(self) -> None:
        self._armed_before = self._armed_after = False
        strike, self._strike = self._strike, None
        if strike is not None:
            strike()

    def _come(self) -> None:
        """The moment has come once more; the chosen one of them is the last."""
        self._skipped -= 1
        if self._skipped < 0:
            self._fall()

    def round(self, number: int) -> None:
        """One crash and all that must hold after it."""
        if number % 100 == 99:
            self._api.log_in()  # a thousand rounds last longer than a token
        draw = random.Random(f"{self.seed}-{number}")
        victim, point = draw.choice(VICTIMS), draw.choice(POINTS)
        if victim == "scheduler":
            victim = self._at_the_minute()
        self.counts[f"{victim}: {point}"] += 1
        done = threading.Event()

        def strike() -> None:
            self._kill(victim)
            done.set()

        self._strike = strike
        self._skipped = draw.randint(0, 3)
        self._arm(point)
        with ThreadPoolExecutor(4) as threads:
            if victim == "builder":
                threads.submit(self._deploy, number)
            calls = [threads.submit(self._call, draw.uniform(0, 0.05), draw.random() < 0.5) for _ in range(6)]
            while not done.wait(0.05):
                if all(call.done() for call in calls):  # the moment may not come so often
                    self._fall()
        self.witness.on_begin = self.witness.on_end = None
        self._armed_before = self._armed_after = False
        assert self.server.process is not None
        if victim in ("server", "scheduler", "group"):
            self.server.process.wait(timeout=20)
            self._watch.join(20)
            until(lambda: not self.server.processes(), 10, "all that the server started is gone")
            self._start()
        self._check(f"round {number}, seed {self.seed}: {victim} killed {point}")

    def _at_the_minute(self) -> str:
        """`scheduler` when a due time is near, so that the kill meets the firing; else the server at any other time."""
        left = 60 - time.time() % 60
        if left > 3:
            return "server"
        until(lambda: time.time() % 60 < 30, 5, "the minute is full")
        return "scheduler"

    def _arm(self, point: str) -> None:
        def armed_by_witness(_token: str) -> None:
            self._armed_before = True

        if point == "before the commit":
            self._armed_before = True
        elif point == "after the commit":
            self._armed_after = True
        elif point == "while it runs":
            self.witness.on_begin = lambda _token: self._come()
        else:
            self.witness.on_end = armed_by_witness

    def _kill(self, victim: str) -> None:
        assert self.server.process is not None
        server = self.server.process.pid
        if victim in ("server", "scheduler"):
            os.kill(server, signal.SIGKILL)
            return
        below = descendants(server)
        if victim == "group":
            for process in (server, *below):
                kill(process)
            return
        workers = [each for each in below if is_runner(each)]
        zygotes = [each for each in workers if parent(each) not in workers]
        chosen = {
            "worker": [each for each in workers if each not in zygotes],
            "zygote": zygotes,
            "builder": [each for each in below if _is(each, "boxed") or _is(each, "uv")],
        }[victim]
        if chosen:
            kill(self._random.choice(sorted(chosen)))

    def _call(self, seconds: float, wait: bool) -> None:
        self._tokens += 1
        token = f"call-{self.seed}-{self._tokens}-{threading.get_ident()}"
        try:
            data = {"token": token, "port": self.witness.port, "seconds": seconds}
            path = f"/functions/{self.function_id}/call"
            answer = self._api.post(path, {"data": data}, headers={"prefer": "wait=5"} if wait else {})
        except httpx2.TransportError:
            return
        if answer.status_code == 201:
            call = answer.json()
            self.accepted[call["id"]] = token
            if call["status"] == "Completed":
                self.completed.add(call["id"])

    def _deploy(self, number: int) -> None:
        try:
            content = bundle(handler=f"def handle():\n    return {number}\n")
            self._api.create(content, externalId=f"deployed-{number}")
        except (httpx2.TransportError, AssertionError):
            return

    def _check(self, what: str) -> None:
        functions = self._settled_functions()
        assert self.function_id in {each["id"] for each in functions if each["status"] == "Ready"}, what
        calls = self._settled_calls(what)
        for function in functions:
            if function["id"] != self.function_id:
                self._api.delete(function["id"])
        for call, token in self.accepted.items():
            assert call in calls, f"{what}: the accepted call {call} is lost"
            status = calls[call]["status"]
            assert call not in self.completed or status == "Completed", f"{what}: the end of call {call} has changed"
            if status == "Completed":
                assert self.witness.ended[token] == 1, f"{what}: call {call} completed, its handler did not"
        twice = {token: count for token, count in self.witness.begun.items() if count > 1}
        assert not twice, f"{what}: ran more than once: {twice}"

    def _settled_functions(self) -> list[dict[str, Any]]:
        def settled() -> list[dict[str, Any]] | None:
            functions = self._api.get("/functions").json()["items"]
            return functions if {each["status"] for each in functions} <= {"Ready", "Failed"} else None

        return list(until(settled, 40, "every deployment has ended"))

    def _settled_calls(self, what: str) -> dict[int, dict[str, Any]]:
        def none_runs() -> bool:
            query = {"filter": {"status": "Running"}}
            return not self._api.post(f"/functions/{self.function_id}/calls/list", query).json()["items"]

        until(none_runs, 30, f"{what}: every call has ended")
        ids = list(self.accepted)
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(ids), 1000):
            body = {"items": [{"id": call} for call in ids[start : start + 1000]], "ignoreUnknownIds": True}
            answer = self._api.post(f"/functions/{self.function_id}/calls/byids", body)
            found.update({call["id"]: call for call in answer.json()["items"]})
        return found

    def _check_ledger(self) -> None:
        """Every due time since the schedule was made has its one tick."""
        last = int(time.time()) // 60 * 60_000

        def accounted() -> list[int] | None:
            items = self._api.get(f"/functions/schedules/{self.schedule['id']}/ticks?limit=1000").json()["items"]
            due = sorted(tick["dueTime"] for tick in items if tick["outcome"] in ("ran", "late", "skipped"))
            return due if not due or due[-1] >= last else None

        first = self.schedule["createdTime"] // 60_000 * 60_000 + 60_000
        expected = list(range(first, last + 1, 60_000))
        found = until(accounted, 20, "the last due time is accounted for") if expected else []
        assert found[-len(expected) :] == expected if expected else not found
        self.counts["due times accounted for"] = len(expected)

    def end(self) -> None:
        """Stop the server; nothing that it started or made for the time of a run may be left."""
        self._check_ledger()
        assert self.server.stop() == 0
        self._watch.join(20)
        until(lambda: not self.server.processes(), 10, "no process is left")
        run = self.server.data / "run"
        assert not run.exists() or not list(run.iterdir()), "expected no folder of a host to be left"
        pid = str(self.server.process.pid) if self.server.process is not None else ""
        groups = [path for path in Path("/sys/fs/cgroup").glob(f"**/kvern-*{pid}*") if path.is_dir()]
        assert not groups, f"expected no control group to be left, found {groups}"


def descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found: list[int] = []
    waiting = [process]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def is_runner(process: int) -> bool:
    """Whether a process is a zygote or a worker."""
    return _is(process, "/kvern/runner/")


def _is(process: int, word: str) -> bool:
    try:
        return word.encode() in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
