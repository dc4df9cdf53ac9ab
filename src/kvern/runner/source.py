"""How a bundle's modules are loaded: by Python's own rules, with three things added.

The zygote keeps their compiled code, since their folder is read-only. The annotations of the entry file's `handle` are
text. And an entry file that Python could not import by its path has a name of its own, see `module_name`.

Processes that a handler starts by `multiprocessing` load them in the same way: see `__main__.py`.
"""

from __future__ import annotations

import _imp
import ast
import importlib.machinery
import importlib.util
import marshal
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

CODE, ENTRY = "KVERN_CODE", "KVERN_ENTRY"
"""Environment variables of a worker, and so of what it starts: the bundle's folder, and the entry file in it."""

OWN = "kvern_"
"""What the own name of an entry file, or of the folder that it is in, begins with."""


def compile_entry(source: bytes, path: str, optimize: int = -1) -> CodeType:
    """Compile an entry file; the annotations of its top-level `handle` are kept as text. Line numbers stay.

    They may name what the module does not import: the official SDK uploads a function's source alone, so that
    `def handle(client: CogniteClient)` comes without its import.
    """
    module = ast.parse(source, path)
    for statement in module.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == "handle":
            arguments = statement.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            for argument in [*named, arguments.vararg, arguments.kwarg]:
                if argument is not None:
                    argument.annotation = _as_text(argument.annotation)
            statement.returns = _as_text(statement.returns)
    return compile(module, path, "exec", dont_inherit=True, optimize=optimize)


def _as_text(annotation: ast.expr | None) -> ast.expr | None:
    if annotation is None or (isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)):
        return annotation
    return ast.copy_location(ast.Constant(ast.unparse(annotation)), annotation)


class BundleSource(SourceFileLoader):
    """Loads a module of the bundle from the code that the zygote keeps of it, else from its source."""

    codes: dict[str, bytes] = {}  # noqa: RUF012 - one for the process, set before it forks

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code object; it names the file as this process sees it, wherever it was compiled."""
        path = self.get_filename(fullname)
        kept = self.codes.get(path)
        if kept is not None:
            code = marshal.loads(kept)  # noqa: S302 - ours
            fix: Any = getattr(_imp, "_fix_co_filename")  # noqa: B009 - what the import system does to bytecode
            fix(code, path)
            return code
        if path == entry_path():
            return compile_entry(self.get_data(path), path)
        return super().get_code(fullname)


class OwnNames:
    """Finds what has a name of `module_name` that no file has: a finder for `sys.meta_path`."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """The spec of a module or folder of the bundle; None for any other name."""
        code = os.environ.get(CODE, "")
        last = fullname.rpartition(".")[2]
        if path is None and last.startswith(OWN) and code:
            folder, last = code, last[len(OWN) :]
        elif path and "/" in last:
            folder = next(iter(path))
        else:
            return None
        base = os.path.join(folder, last.replace("/", "."))  # noqa: PTH118
        package = os.path.join(base, "__init__.py")  # noqa: PTH118
        for file, below in ((package, [base]), (base + ".py", None)):
            if os.path.isfile(file):  # noqa: PTH113
                return importlib.util.spec_from_file_location(
                    fullname, file, loader=BundleSource(fullname, file), submodule_search_locations=below
                )
        if os.path.isdir(base):  # noqa: PTH112
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [base]
            return spec
        return None


def module_name(code: str, entry: str) -> str:
    """The name by which the file `entry` below the folder `code`, which is on `sys.path`, can be imported.

    That is its path with dots, as the official SDK imports it, wherever that leads to this file. It does not where the
    first word is taken by a module from elsewhere, such as one of the standard library, or where a name has a dot: the
    first word is then put behind `kvern_`, and such a dot is a slash.
    """
    parts = entry.removesuffix(".py").split("/")
    top = os.path.join(code, parts[0])  # noqa: PTH118
    if all("." not in part for part in parts) and _leads_to(parts[0], top):
        return ".".join(parts)
    return ".".join([OWN + parts[0].replace(".", "/"), *(part.replace(".", "/") for part in parts[1:])])


def _leads_to(name: str, base: str) -> bool:
    """Whether `import name` gives the module or folder `base` of the bundle."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # such as `__main__`, which has none
        return False
    if spec is None:
        return False
    if spec.origin in (base + ".py", os.path.join(base, "__init__.py")):  # noqa: PTH118
        return True
    return spec.origin is None and base in (spec.submodule_search_locations or ())


def entry_path() -> str:
    """The path of the entry file, in a worker and in what it starts; elsewhere empty."""
    return os.path.join(os.environ.get(CODE, ""), os.environ.get(ENTRY, ""))  # noqa: PTH118


def follow(code: str, codes: dict[str, bytes]) -> None:
    """Have the modules below the folder `code` loaded so, from `codes` where they are there."""
    BundleSource.codes = codes
    machinery = importlib.machinery
    finder = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
        (BundleSource, machinery.SOURCE_SUFFIXES),
        (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> Any:
        if path != code and not path.startswith(code + os.sep):
            raise ImportError("not of the bundle", path=path)
        return finder(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.pop(code, None)
    sys.meta_path.append(OwnNames)  # type: ignore[arg-type]
