"""What the official SDK adds to a warm call of an echo; the base is a `GET /health` over the same connection."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import harness
import venvs
from book import Book


def main(book: Book) -> None:
    script = Path(__file__).with_name("sdk_client.py")
    with harness.served() as server:
        done = subprocess.run(
            [str(venvs.python("sdk")), str(script)],
            env={**os.environ, **server.env},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    book.begin("sdk", "The official SDK, warm echo call, one at a time")
    book.head()
    (first, health), *others = dict(json.loads(done.stdout.splitlines()[-1])).items()
    base = book.times(first, health)
    for name, seconds in others:
        book.times(name, seconds, base=base)
