"""Reads TOML on standard input, writes it as JSON: a program of its own, for a hostile file can take any time.

Standard library only.
"""

from __future__ import annotations

import json
import resource
import sys

import tomllib

_SECONDS = 5
_MEMORY = 1_000_000_000


def main() -> None:
    """Answer with `{"data": …}`, or with what is wrong as `{"fault": "…"}`."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        answer = json.dumps({"data": tomllib.loads(sys.stdin.buffer.read().decode())}, default=str)
    except ValueError as error:
        answer = json.dumps({"fault": str(error)[:300]})
    except (RecursionError, MemoryError):
        answer = json.dumps({"fault": "it is nested too deeply"})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
