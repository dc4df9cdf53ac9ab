"""What a function's own modules import, and their code: read from the sources, nothing of them is run.

The survey starts at the entry file and goes on to every module of the bundle that an import statement reaches,
wherever in the module it stands. It gives the names of all other modules that are imported, for the zygote to load
once, and the compiled code of the bundle's, which is on a read-only folder and so could be kept nowhere else.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import marshal
import os
from collections.abc import Iterator

from .source import compile_entry

FILES_MOST = 2000
"""Modules of the bundle that are read."""

SIZE_MOST = 1_000_000
"""Bytes of a module that is read; a longer one is data, and each worker compiles it for itself."""

SDK = ("cognite.client", "cognite.client.credentials")
"""What a `handle` that takes `client` needs."""


class Survey:
    """What there is to load before the first call.

    Args:
        modules: names of modules from outside of the bundle, in the order in which they stand; some may not exist.
        codes: the marshalled code of the bundle's modules, by path.
    """

    def __init__(self, modules: list[str], codes: dict[str, bytes]) -> None:
        self.modules = modules
        self.codes = codes


def survey(code: str, entry: str) -> Survey:
    """Read the entry file `entry` below the folder `code` and what it reaches. What cannot be read is left out."""
    return _Surveyor(code).survey(entry)


class _Surveyor:
    def __init__(self, code: str) -> None:
        self._code = code
        self._modules: dict[str, None] = {}
        self._codes: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._next: list[str] = []

    def survey(self, entry: str) -> Survey:
        path = os.path.join(self._code, entry)  # noqa: PTH118
        self._read(path, is_entry=True)
        while self._next and len(self._seen) < FILES_MOST:
            path = self._next.pop(0)
            self._read(path)
        return Survey(list(self._modules), self._codes)

    def _read(self, path: str, *, is_entry: bool = False) -> None:
        self._seen.add(path)
        try:
            if os.path.getsize(path) > SIZE_MOST:  # noqa: PTH202
                return
            with open(path, "rb") as file:  # noqa: PTH123
                source = file.read()
            tree = ast.parse(source, path)
            if is_entry:
                self._codes[path] = marshal.dumps(compile_entry(source, path))
            else:
                self._codes[path] = built(path) or marshal.dumps(compile(source, path, "exec", dont_inherit=True))
        except Exception:  # the worker, which does the same, tells of it
            return
        package = os.path.relpath(os.path.dirname(path), self._code).split(os.sep)  # noqa: PTH120, PTH206
        package = [part for part in package if part != "."]
        for count in range(1, len(package) + 1):  # which Python imports first
            self._found(".".join(package[:count]))
        for name in imported(tree, package):
            self._found(name)
        if is_entry and takes_client(tree):
            for name in SDK:
                self._found(name)

    def _found(self, name: str) -> None:
        parts = name.split(".")
        if not self._of_bundle(parts[0]):
            self._modules[name] = None
            return
        for count in range(1, len(parts) + 1):
            base = os.path.join(self._code, *parts[:count])  # noqa: PTH118
            for path in (os.path.join(base, "__init__.py"), base + ".py"):  # noqa: PTH118
                if path not in self._seen and path not in self._next and os.path.isfile(path):  # noqa: PTH113
                    self._next.append(path)

    def _of_bundle(self, top: str) -> bool:
        base = os.path.join(self._code, top)  # noqa: PTH118
        return os.path.isdir(base) or any(  # noqa: PTH112
            os.path.isfile(base + suffix)  # noqa: PTH113
            for suffix in importlib.machinery.all_suffixes()
        )


def built(path: str) -> bytes | None:
    """The marshalled code that the build left beside a module and that is never checked (PEP 552), or None."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as file:  # noqa: PTH123
            made = file.read()
    except OSError:
        return None
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    return made[16:] if made.startswith(head) else None


def imported(tree: ast.AST, package: list[str]) -> Iterator[str]:
    """The modules that the import statements of `tree` may import, absolute; `package` is where it stands.

    Of `from a import b`, both `a` and `a.b`, which may be a module or not. Not what only type checkers import.
    """
    waiting = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            if node.level:
                parts = package[: len(package) - node.level + 1] + parts
            name = ".".join(parts)
            if name:
                yield name
            yield from (".".join([*parts, alias.name]) for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting[:0] = node.orelse
        else:
            waiting[:0] = ast.iter_child_nodes(node)


def takes_client(tree: ast.Module) -> bool:
    """Whether `handle`, as far as it can be told by looking, takes `client`."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "handle":
            named = [*node.args.args, *node.args.kwonlyargs]
            return node.args.kwarg is not None or any(argument.arg == "client" for argument in named)
    return False


def top_names(code: str) -> set[str]:
    """The names by which the bundle's modules and folders are imported from its root."""
    try:
        return {name.partition(".")[0] for name in os.listdir(code)}  # noqa: PTH208
    except OSError:
        return set()
