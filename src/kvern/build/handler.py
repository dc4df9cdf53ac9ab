"""The entry file of a bundle: where it is, and whether it has a `handle` that can be called (contract 11.2, 11.3)."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

from kvern.build import entry_point
from kvern.build.errors import EntryPointError
from kvern.build.process import run, show, show_interpreter
from kvern.build.revision import Interpreter
from kvern.sandbox import Box, Sandbox

_LARGEST = 5_000_000
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


async def check(code: Path, handler: str, interpreter: Interpreter, sandbox: Sandbox) -> None:
    """Parse the entry file, under the interpreter that will run it, and look at its `handle`; nothing is imported.

    Args:
        code: the unpacked bundle.
        handler: the entry file, from `locate`.
        interpreter: what the function will run under.
        sandbox: the parser runs in it, since a hostile source can crash a parser.

    Raises:
        EntryPointError: a syntax error, no `handle` at module level, or one with arguments that the contract does
            not know. The message names file and line.
    """
    path = code / handler
    if path.stat().st_size > _LARGEST:
        raise EntryPointError(f"{handler} has {path.stat().st_size} bytes; at most {_LARGEST} are allowed.")
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    mounts = [*show_interpreter(interpreter), *show(code)]
    argv = [str(interpreter.executable), "-I", "-S", "-B", "-W", "ignore", "-", str(path), handler]
    source = Path(entry_point.__file__).read_bytes()
    lines: list[str] = []
    box = Box(argv, env, mounts, workdir="/")
    status = await run(sandbox.command(box), env, lines.append, stdin=source)
    if status != 0 or not lines:
        raise EntryPointError(
            f"{handler} could not be parsed: the parser ended with status {status}.", "\n".join(lines)
        )
    fault: str = json.loads(lines[-1])
    if fault:
        raise EntryPointError(f"{fault}.")


def _there_is(code: Path, wanted: PurePosixPath) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in code.iterdir())
    if not names:
        return "The zip is empty."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    there = f"At the zip's root there is: {', '.join(names[:_LISTED])}{more}."
    if len(names) == 1 and (code / names[0] / wanted).is_file():
        there += f" The code lies in a top folder; zip what is in {names[0]!r}, not the folder itself."
    return there
