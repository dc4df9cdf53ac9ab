"""How long a warm call of an echo handler takes, seen by the official SDK and by bare HTTP.

The baseline is a `GET /health` on the same server over the same kind of connection, in the same run.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness


def main() -> None:
    with harness.served() as env:
        took = harness.with_sdk(Path(__file__).with_name("call_latency_client.py"), env)
    baseline = harness.quantile(took["GET /health, bare HTTP"], 0.5)
    print(f"{'warm echo call, one at a time':<46}{'p50':>12}{'p99':>12}{'to base':>10}")
    for name, seconds in took.items():
        print(harness.row(name, seconds, baseline))


if __name__ == "__main__":
    main()
