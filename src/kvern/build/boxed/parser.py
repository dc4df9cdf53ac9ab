"""Looks at the entry file of a bundle and compiles its modules; nothing of it is imported.

It may be started before there is anything to look at. It reads one bundle from standard input and answers on standard
output, each as a line of JSON and then the contents of the files that the line names; those of the answer are bytecode:

    {"entry": "handler.py", "files": [["handler.py", 120], ["curve.py", 900]]}
    {"fault": "", "files": [["curve.py", 1400]]}
"""

from __future__ import annotations

import json
import sys

from .compiler import bytecode
from .entry_point import fault


def main() -> None:
    """Answer for one bundle."""
    given = sys.stdin.buffer
    line = given.readline()
    if not line:
        return
    asked = json.loads(line)
    sources = {name: given.read(size) for name, size in asked["files"]}
    entry = asked["entry"]
    found = fault(sources[entry], entry)
    made: dict[str, bytes] = {}
    if not found:
        for name, source in sources.items():
            # The runner compiles the entry file itself, in a way of its own.
            content = bytecode(source, name) if name != entry else None
            if content is not None:
                made[name] = content
    out = sys.stdout.buffer
    out.write(json.dumps({"fault": found, "files": [[name, len(content)] for name, content in made.items()]}).encode())
    out.write(b"\n")
    for content in made.values():
        out.write(content)
    out.flush()
