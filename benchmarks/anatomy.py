"""Where a warm call's time goes: system calls, bytes, processor time and context switches of each call; a profile.

Counted by the kernel while calls run, one at a time and sixteen at a time: of the service by thread, and of the worker.
The profile is py-spy's, of the service, sorted by the part of the code that a sample was in.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import harness
import memory
import venvs
from book import Book
from harness import Api, Run

SECONDS = 4.0
TOP = 22
CPU = "µs on the processor, first thread"


def main(book: Book) -> None:
    with harness.served() as server, harness.load() as load:
        api = Api(server)
        url = f"{api.deploy(harness.ECHO).url}/call"
        for concurrency in (1, 16):

            def run(concurrency: int = concurrency) -> Run:
                return load.run(url=url, token=api.token, concurrency=concurrency, seconds=SECONDS)

            run()
            book.begin("anatomy", f"One warm call, {concurrency} at a time: what the kernel counted")
            _count(book, server.pid, run)
            book.begin("anatomy", f"Profile of the service, {concurrency} at a time: share of samples, and of a call")
            _profile(book, server.pid, run)


def _count(book: Book, pid: int, run: Callable[[], Run]) -> None:
    workers = memory.below(pid)
    before, own_before = _usage(pid), [_usage(worker) for worker in workers]
    threads_before = _threads(pid)
    done = run()
    calls = len(done.took)
    after, own_after = _usage(pid), [_usage(worker) for worker in workers]
    book.value("time of a call, middle", harness.quantile(done.took, 0.5) * 1e6, "µs")
    for name, count in after.items():
        book.value(f"service: {name}", (count - before[name]) / calls, "a call")
    # What a worker receives and sends over its socket, the kernel does not count as reads and writes.
    spent = sum(late[CPU] - early[CPU] for early, late in zip(own_before, own_after, strict=True))
    book.value(f"workers: {CPU}", spent / calls, "a call")
    for thread, (cpu, switches) in _threads(pid).items():
        early_cpu, early_switches = threads_before.get(thread, (0.0, 0))
        if cpu - early_cpu > 0.01:
            book.value(f"thread {thread}: processor time", (cpu - early_cpu) / calls * 1e6, "µs a call")
            book.value(f"thread {thread}: times that it waited", (switches - early_switches) / calls, "a call")


def _usage(pid: int) -> dict[str, float]:
    """What a process has used so far; zeros when it has ended."""
    try:
        counted = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        stat = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        counted, stat = {}, ["0"]
    return {
        "reads (system calls)": int(counted.get("syscr", 0)),
        "writes (system calls)": int(counted.get("syscw", 0)),
        "bytes read": int(counted.get("rchar", 0)),
        "bytes written": int(counted.get("wchar", 0)),
        CPU: int(stat[0]) / 1000,
    }


def _threads(pid: int) -> dict[str, tuple[float, int]]:
    """Seconds of processor time and voluntary context switches by thread."""
    found: dict[str, tuple[float, int]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            cpu = int((task / "schedstat").read_text().split()[0]) / 1e9
            status = (task / "status").read_text()
        except OSError:
            continue
        switches = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        first = task.name == str(pid)
        found[("event loop" if first else "other") + f" {task.name if not first else ''}".rstrip()] = (cpu, switches)
    return found


def _profile(book: Book, pid: int, run: Callable[[], Run]) -> None:
    spy = venvs.python("tools").with_name("py-spy")
    with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
        kept = Path(folder) / "stacks"
        command = [
            str(spy),
            "record",
            "-p",
            str(pid),
            "-d",
            str(int(SECONDS)),
            "-r",
            "400",
            "-f",
            "raw",
            "-o",
            str(kept),
        ]
        spying = subprocess.Popen(
            [*command, "-n"] if os.environ.get("BENCH_NATIVE") else command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.5)  # py-spy reads the symbols first
        done = run()
        _, said = spying.communicate(timeout=60)
        if spying.returncode or not kept.exists():
            raise RuntimeError(f"py-spy failed: {said[-300:]}")
        stacks = kept.read_text().splitlines()
    within: Counter[str] = Counter()
    whole = 0
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        whole += int(count)
        for frame in {_place(frame) for frame in frames.split(";")}:
            within[frame] += int(count)
    middle = harness.quantile(done.took, 0.5) * 1e6
    for frame, count in within.most_common(TOP):
        book.value(frame[:46], 100 * count / max(whole, 1), f"% {count / max(whole, 1) * middle:>8.0f} µs")


def _place(frame: str) -> str:
    """`run (kvern/host/host.py:146)` without the number, which differs within a function."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame
