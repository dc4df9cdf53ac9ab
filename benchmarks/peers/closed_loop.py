"""Closed loops of calls in threads, for peers whose client is a Python library; orders and answers as in `load.py`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

DATA = {"x": "y"}


def serve(call: Callable[[dict[str, str]], object]) -> None:
    """Carry out the orders on stdin; `call` echoes, and is called by as many threads as an order says."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_carry_out(call, order["concurrency"], order["seconds"])), file=answers, flush=True)


def _carry_out(call: Callable[[dict[str, str]], object], concurrency: int, seconds: float) -> dict[str, object]:
    took: list[float] = []
    faults: list[BaseException] = []
    begun = time.perf_counter()

    def go_on() -> None:
        try:
            now = time.perf_counter()
            while now < begun + seconds:
                start = now
                answer = call(DATA)
                now = time.perf_counter()
                if answer != DATA:
                    raise RuntimeError(f"expected {DATA}, got {answer!r}")
                took.append(now - start)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=go_on) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return {"took": took, "whole": time.perf_counter() - begun}
