"""What a warm call costs, against the floor measured in the same run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness

HERE = Path(__file__).parent
CALLS = 3000


@contextlib.contextmanager
def floor() -> Generator[str, None, None]:
    """The URL of the floor's server."""
    with tempfile.TemporaryDirectory(prefix="kvern-floor-") as folder:
        command = [sys.executable, str(HERE / "floor.py"), folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/call"
        finally:
            process.terminate()
            process.wait(timeout=20)


def load(url: str, token: str, concurrency: int, calls: int, size: int = 1) -> tuple[list[float], float]:
    """Seconds of each call, and calls per second."""
    command = [sys.executable, str(HERE / "load.py"), url, token, str(concurrency), str(calls), str(size)]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    measured = json.loads(printed.stdout)
    return measured["took"], len(measured["took"]) / measured["whole"]


def main() -> None:
    print(f"\n{'warm echo call':<34}{'p50':>10}{'p99':>10}{'calls/s':>10}{'p50 to floor':>14}{'calls/s to floor':>18}")
    with floor() as bare, harness.served() as env, harness.echo(env) as (url, token):
        for concurrency, size in ((1, 1), (16, 1), (64, 1), (1, 200_000)):
            calls = CALLS if size == 1 else 500
            name = f"concurrency {concurrency}" + ("" if size == 1 else ", 200 kB of data")
            low, low_rate = load(bare, token, concurrency, calls, size)
            took, rate = load(url, token, concurrency, calls, size)
            middle = harness.quantile(low, 0.5)
            print(line(f"floor, {name}", low, low_rate, middle, low_rate))
            print(line(f"Kvern, {name}", took, rate, middle, low_rate))


def line(name: str, took: list[float], rate: float, floor_middle: float, floor_rate: float) -> str:
    """One row: quantiles in ms, calls per second, and both as multiples of the floor's."""
    middle, late = harness.quantile(took, 0.5), harness.quantile(took, 0.99)
    figures = f"{middle * 1e3:>7.2f} ms{late * 1e3:>7.2f} ms{rate:>10.0f}"
    return f"{name:<34}{figures}{middle / floor_middle:>12.2f} x{rate / floor_rate:>16.2f} x"


if __name__ == "__main__":
    main()
