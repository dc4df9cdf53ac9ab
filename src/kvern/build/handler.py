"""The entry file of a bundle: where it is, and whether it has a `handle` that can be called (contract 11.2, 11.3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from kvern.build.bytecode import cached
from kvern.build.errors import EntryPointError
from kvern.build.parsers import Parsers
from kvern.build.revision import Interpreter
from kvern.build.staging import in_thread

_LARGEST = 5_000_000
_TOGETHER = 50_000_000
_LISTED = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def locate(code: Path, function_path: str) -> str:
    """The entry file's path relative to `code`, without a leading `./` (contract 3.1, 11.2).

    Args:
        code: the unpacked bundle.
        function_path: `functionPath` as the client sent it.

    Raises:
        EntryPointError: the path is not a relative POSIX path to a `.py` file, or there is no such file.
    """
    what = f"functionPath {function_path!r}"
    expected = "expected a path to a .py file relative to the zip's root, such as 'handler.py' or 'src/handler.py'"
    if _CONTROL.search(function_path):
        raise EntryPointError(f"{what} has a control character; {expected}.")
    if "\\" in function_path:
        raise EntryPointError(f"{what} has a backslash; {expected}.")
    if function_path.startswith("/"):
        raise EntryPointError(f"{what} is absolute; {expected}.")
    path = PurePosixPath(function_path)
    if ".." in path.parts:
        raise EntryPointError(f"{what} has '..'; {expected}.")
    if path.suffix != ".py" or function_path.endswith("/"):
        raise EntryPointError(f"{what} does not end in .py; {expected}.")
    if not (code / path).is_file():
        raise EntryPointError(f"No Python module found at {str(path)!r} in the zip. {_there_is(code, path)}")
    return str(path)


async def check(code: Path, handler: str, interpreter: Interpreter, parsers: Parsers) -> None:
    """Parse the entry file, under the interpreter that will run it, and look at its `handle`; nothing is imported.

    All modules of the bundle get their bytecode on the way: nobody can write to them later, so a worker would compile
    them anew each time.

    Args:
        code: the unpacked bundle.
        handler: the entry file, from `locate`.
        interpreter: what the function will run under.
        parsers: do it.

    Raises:
        EntryPointError: a syntax error, no `handle` at module level, or one with arguments that the contract does
            not know. The message names file and line.
    """
    size = (code / handler).stat().st_size
    if size > _LARGEST:
        raise EntryPointError(f"{handler} has {size} bytes; at most {_LARGEST} are allowed.")
    sources = await asyncio.to_thread(_sources, code, handler)
    parsed = await parsers.parse(interpreter, handler, sources)
    if parsed.fault:
        raise EntryPointError(f"{parsed.fault}.")
    await in_thread(_keep, code, parsed.bytecode, interpreter)


def _sources(code: Path, handler: str) -> dict[str, bytes]:
    """The entry file and, as far as there is room, the other modules."""
    found = {handler: (code / handler).read_bytes()}
    room = _TOGETHER
    for at, folders, files in os.walk(code):
        folders.sort()
        for name in sorted(files):
            path = Path(at, name)
            size = path.stat().st_size
            if path.suffix == ".py" and size <= min(room, _LARGEST):
                found.setdefault(path.relative_to(code).as_posix(), path.read_bytes())
                room -= size
    return found


def _keep(code: Path, bytecode: Mapping[str, bytes], interpreter: Interpreter) -> None:
    """Put bytecode beside the modules, over what the zip may have brought."""
    for name, content in bytecode.items():
        path = code / cached(name, interpreter)
        # A file in the place of the folder is the user's; without bytecode the module still works.
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            path.parent.chmod(0o755)
            path.write_bytes(content)
            path.chmod(0o644)


def _there_is(code: Path, wanted: PurePosixPath) -> str:
    # Finder's zips have a second folder beside that of the code, with what macOS notes on each file.
    inside = [path for path in code.iterdir() if path.name != "__MACOSX"]
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in inside)
    if not names:
        return "The zip is empty."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    there = f"At the zip's root there is: {', '.join(names[:_LISTED])}{more}."
    if len(names) == 1 and (code / names[0] / wanted).is_file():
        there += f" The code lies in a top folder; zip what is in {names[0]!r}, not the folder itself."
    return there
