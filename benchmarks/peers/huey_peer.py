"""Huey on SQLite with fsync: eight processes; consumer and client look every millisecond."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import closed_loop

with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
    os.environ["BENCH_DATABASE"] = f"{folder}/huey.db"
    consumer = Path(sys.executable).with_name("huey_consumer")
    consumers = subprocess.Popen(
        [str(consumer), "huey_tasks.queue", "-w", "8", "-k", "process", "-d", "0.001", "-m", "0.001", "-q"],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.DEVNULL,
    )
    try:
        from huey_tasks import echo

        closed_loop.serve(lambda data: echo(data).get(blocking=True, timeout=30, backoff=1, max_delay=0.001))
    finally:
        consumers.terminate()
        consumers.wait(timeout=15)
