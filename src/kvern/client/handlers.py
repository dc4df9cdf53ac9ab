"""Whether code can work as a function: where `handle` is, what it takes, and whether its file can be imported."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import CodeType
from typing import Any, cast

ALLOWED_ARGUMENTS = ("client", "data", "secrets", "function_call_info")

_IMPORT = """
import importlib, json, sys, traceback
root, module, path = json.loads(sys.stdin.read())
sys.path[:] = [root, *path]
result = None
try:
    importlib.import_module(module)
except BaseException as error:
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    result = {"type": type(error).__name__, "builtin": kinds[0], "message": str(error),
              "name": getattr(error, "name", None), "trace": traceback.format_exc()}
print("\\n" + json.dumps(result))
"""


def checked_path(root: Path, function_path: str) -> PurePosixPath:
    """The path of the file that defines `handle`, relative to the folder.

    Args:
        root: The folder.
        function_path: A POSIX path.

    Raises:
        TypeError: when it does not end in `.py`.
        ValueError: when it is absolute or leads out of the folder.
        FileNotFoundError: when there is no such file.
    """
    if not function_path.endswith(".py"):
        raise TypeError(f"Expected function_path to be a Python file (.py), got {function_path!r}")
    path = PurePosixPath(function_path)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"Expected function_path to be relative to the folder and inside of it, got {function_path!r}")
    if not (root / path).is_file():
        advice = ": write it with '/' instead of '\\'" if "\\" in function_path else ""
        raise FileNotFoundError(f"There is no file {str(root / path)!r}{advice}")
    return path


def check_file(root: Path, function_path: str) -> None:
    """Raises `TypeError` when the file does not define `handle` at its top level, with the allowed arguments."""
    path = checked_path(root, function_path)
    node = handle_node((root / path).read_bytes(), str(path))
    if node is None:
        raise TypeError(f"{function_path!r} must define a function named 'handle' at its top level")
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        _check_arguments({one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)})


def handle_node(source: str | bytes, name: str) -> ast.FunctionDef | ast.Assign | ast.AnnAssign | None:
    """The last top-level definition of `handle`, which is the one that counts.

    Raises:
        TypeError: when the source is no valid Python, or `handle` is an `async def`.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise TypeError(f"{name!r} is no valid Python: {error.msg} (line {error.lineno})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise TypeError(f"{name!r} is no valid Python: {error or 'it is nested too deep'}") from error
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == "handle":
            return node
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "handle":
            raise TypeError(f"{name!r} defines 'handle' by `async def`: it must be a plain function")
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and _is_handle(node.targets[0]):
            return node
        if isinstance(node, ast.AnnAssign) and node.value is not None and _is_handle(node.target):
            return node
    return None


def _is_handle(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "handle"


def check_handle(handle: Callable[..., object]) -> None:
    """Raises `TypeError` when a Python function has not the name and the arguments that it must have."""
    name = getattr(handle, "__name__", type(handle).__name__)
    if name != "handle":
        raise TypeError(f"Expected a function named 'handle', got one named {name!r}")
    _check_arguments(set(inspect.signature(handle).parameters))


def _check_arguments(arguments: set[str]) -> None:
    unknown = sorted(arguments.difference(ALLOWED_ARGUMENTS))
    if unknown:
        raise TypeError(
            f"'handle' may take only the arguments {', '.join(ALLOWED_ARGUMENTS)}; it takes {', '.join(unknown)}"
        )


def names_from_outside(handle: Callable[..., object]) -> list[str]:
    """Names that a function uses and that neither its own source nor Python defines."""
    code = getattr(handle, "__code__", None)
    if code is None:
        return []
    used = set(cast("CodeType", code).co_freevars)
    waiting: list[CodeType] = [code]
    while waiting:
        current = waiting.pop()
        waiting.extend(constant for constant in current.co_consts if isinstance(constant, CodeType))
        used.update(
            str(step.argval) for step in dis.get_instructions(current) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        )
    return sorted(name for name in used if not hasattr(builtins, name) and name != "handle")


def try_import(root: Path, function_path: PurePosixPath) -> None:
    """Imports the file as the server will, in a process of its own, so that nothing of it stays behind here.

    Args:
        root: The folder, which is importable there.
        function_path: The file.

    Raises:
        Exception: what the import raises, or the nearest built-in kind of it.
    """
    module = ".".join(function_path.with_suffix("").parts)
    done = subprocess.run(
        [sys.executable, "-B", "-c", _IMPORT],
        input=json.dumps([str(root.resolve()), module, sys.path]),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1]) if lines else "nothing"
    except ValueError:
        result = "nothing"
    if result is None:
        return
    if not isinstance(result, dict):
        raise RuntimeError(  # noqa: TRY004 (of the process, not of an argument)
            f"The process that imports {str(function_path)!r} ended with exit code {done.returncode}: "
            f"{done.stderr.strip()[-1000:]}"
        )
    raise _same_error(cast("dict[str, Any]", result))


def _same_error(result: dict[str, Any]) -> BaseException:
    kind = getattr(builtins, result["builtin"], RuntimeError)
    # SystemExit and its like are not for the caller.
    kind = kind if issubclass(kind, Exception) and kind is not Exception else RuntimeError
    prefix = "" if kind.__name__ == result["type"] else f"{result['type']}: "
    try:
        error = kind(prefix + result["message"])
    except TypeError:
        error = RuntimeError(f"{result['type']}: {result['message']}")
    if isinstance(error, ImportError):
        error.name = result["name"]
    if hasattr(error, "add_note"):
        error.add_note("Raised while importing the function's code in a process of its own:\n" + result["trace"])
    return error
