"""The code of a bundle's modules: the entry file's compiled in a way of its own, and all of it kept by the zygote.

The bundle's folder is read-only and its modules have no bytecode; without this each worker would compile them anew.
"""

from __future__ import annotations

import ast
import importlib.machinery
import marshal
import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any


class HandlerSource(SourceFileLoader):
    """Loads an entry file; the annotations of its top-level `handle` are kept as text.

    They may name what the module does not import: the official SDK uploads a function's source alone, so that
    `def handle(client: CogniteClient)` comes without its import.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Compile the source, never Python's own cached copy of it, which would have the annotations."""
        path = self.get_filename(fullname)
        if path in KeptSource.codes:
            return marshal.loads(KeptSource.codes[path])  # noqa: S302 - ours
        return self.source_to_code(self.get_data(path), path)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        """Compile `data`; line numbers stay as they are."""
        module = ast.parse(data, path)
        for statement in module.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == "handle":
                arguments = statement.args
                named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                for argument in [*named, arguments.vararg, arguments.kwarg]:
                    if argument is not None:
                        argument.annotation = _as_text(argument.annotation)
                statement.returns = _as_text(statement.returns)
        return compile(module, path, "exec", dont_inherit=True, optimize=_optimize)


def _as_text(annotation: ast.expr | None) -> ast.expr | None:
    if annotation is None or (isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)):
        return annotation
    return ast.copy_location(ast.Constant(ast.unparse(annotation)), annotation)


class KeptSource(SourceFileLoader):
    """Loads a module of the bundle from the code that the zygote keeps of it, else from its source."""

    codes: dict[str, bytes] = {}  # noqa: RUF012 - one for the process, set before it forks

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code object."""
        kept = self.codes.get(self.get_filename(fullname))
        return marshal.loads(kept) if kept is not None else super().get_code(fullname)  # noqa: S302 - ours


def keep(code: str, codes: dict[str, bytes]) -> None:
    """Have the modules below the folder `code` loaded from `codes`."""
    KeptSource.codes = codes
    machinery = importlib.machinery
    finder = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (KeptSource, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> Any:
        if path != code and not path.startswith(code + os.sep):
            raise ImportError("not of the bundle", path=path)
        return finder(path)

    sys.path_hooks.insert(0, hook)
