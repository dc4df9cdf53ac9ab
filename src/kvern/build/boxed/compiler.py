"""Compiles modules to bytecode that is never checked against its source (PEP 552, unchecked hash).

The source of an environment or a revision cannot change, so there is nothing to check.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
from collections.abc import Sequence

_UNCHECKED = 1


def bytecode(source: bytes, name: str) -> bytes | None:
    """The content of the `.pyc` for a source file; None when it is no module, as some templates are.

    Args:
        source: the file.
        name: what tracebacks would call it; the importer puts the real path in its place.
    """
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    flags = _UNCHECKED.to_bytes(4, "little")
    return importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(source) + marshal.dumps(code)


def fill(root: str, out: str, names: Sequence[tuple[int, str]]) -> None:
    """Write the bytecode of numbered files below `root` to files below `out` that have their numbers as names."""
    for number, name in names:
        with open(os.path.join(root, name), "rb") as file:  # noqa: PTH118, PTH123 - pathlib would double the imports
            content = bytecode(file.read(), name)
        if content is not None:
            with open(os.path.join(out, str(number)), "xb") as file:  # noqa: PTH118, PTH123
                file.write(content)


def main() -> None:
    """Arguments: a root, a folder for the bytecode, how many processes. Names, parted by NUL, on standard input."""
    root, out, processes = sys.argv[2], sys.argv[3], int(sys.argv[4])
    names = list(enumerate(sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\0")))
    children: list[int] = []
    for part in range(1, processes):
        pid = os.fork()
        if pid == 0:
            try:
                fill(root, out, names[part::processes])
            finally:
                os._exit(0)
        children.append(pid)
    fill(root, out, names[::processes])
    for pid in children:
        os.waitpid(pid, 0)
