"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import call_latency
import client
import deploy
import warm_call

if __name__ == "__main__":
    call_latency.main()
    client.main()
    warm_call.main()
    deploy.main()
