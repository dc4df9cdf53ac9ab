"""From what lies on disk to the zip that a function is made from (contract 11.2)."""

from __future__ import annotations

import ast
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvern.cli.complaint import Complaint

HANDLER = "handler.py"
_OLDEST_IN_A_ZIP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A zip, and what a function made from it is called unless the user says otherwise.

    Args:
        name: the folder's or the file's name without its ending.
        handler: path of the entry file in the zip.
        content: the zip.
    """

    name: str
    handler: str
    content: bytes


def pack(path: Path, handler: str | None = None) -> Bundle:
    """Make a bundle of a folder, a `.zip` or a single `.py` file.

    Args:
        path: what to pack. Of a folder, names that begin with a dot stay out, and so does what the client leaves out:
            caches, virtual environments, and what `.gitignore` and `.funcignore` say.
        handler: the entry file, relative to the folder or in the zip; `handler.py` unless given.

    Raises:
        Complaint: when there is nothing to pack, or the entry file is not there.
    """
    if path.is_dir():
        return _folder(path, handler)
    if not path.exists():
        raise Complaint(f"there is no {path}: give a folder, a .zip or a .py file", exit_code=2)
    if path.suffix == ".py":
        return _script(path, handler)
    if zipfile.is_zipfile(path):
        return _archive(path, handler)
    raise Complaint(f"{path} is neither a folder nor a .zip nor a .py file", exit_code=2)


def _folder(path: Path, handler: str | None) -> Bundle:
    from kvern.client.bundle import files_of

    # Hidden files are where passwords lie (`.env`), and the data of a service (`.kvern`).
    names = [name for name in files_of(path) if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    entry = _entry(handler, names, path)
    return Bundle(path.resolve().name, entry, _zip({name: (path / name).read_bytes() for name in names}))


def _archive(path: Path, handler: str | None) -> Bundle:
    with zipfile.ZipFile(path) as archive:
        names = [name.removeprefix("./") for name in archive.namelist()]
    return Bundle(path.stem, _entry(handler, names, path), path.read_bytes())


def _script(path: Path, handler: str | None) -> Bundle:
    if handler:
        raise Complaint("--function-path is for folders and zips; a single .py file is the handler itself", exit_code=2)
    files = {HANDLER: path.read_bytes()}
    required = requirements(path.read_text(encoding="utf-8"))
    if required:
        files["requirements.txt"] = "".join(f"{line}\n" for line in required).encode()
    return Bundle(path.stem, HANDLER, _zip(files))


def _entry(handler: str | None, names: list[str], path: Path) -> str:
    entry = handler or HANDLER
    if PurePosixPath(entry).as_posix() in names:
        return entry
    others = sorted(name for name in names if name.endswith(".py") and "/" not in name)
    if len(others) > 5:
        others = [*others[:5], "…"]
    there = f"it has {', '.join(others)}" if others else "it has no .py file at its top"
    raise Complaint(f"there is no {entry} in {path}; {there}. Name the entry file with --function-path", exit_code=2)


def _zip(files: dict[str, bytes]) -> bytes:
    """The same files always make the same bytes: times and modes of the disk stay out."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _OLDEST_IN_A_ZIP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def requirements(source: str) -> list[str]:
    """What a handler's docstring lists between `[requirements]` and `[/requirements]` (as the official SDK reads it).

    Args:
        source: the text of the handler's file.

    Raises:
        Complaint: when it is not Python, or a line is no requirement.
    """
    from kvern.client.requirements import docstring_requirements

    try:
        module = ast.parse(source)
    except SyntaxError as error:
        raise Complaint(f"the handler is not valid Python: {error.msg} in line {error.lineno}") from None
    handlers = [
        node
        for node in module.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "handle"
    ]
    try:
        return docstring_requirements(ast.get_docstring(handlers[-1]) or "") if handlers else []
    except ValueError as error:
        raise Complaint(f"the handler's docstring: {error}") from None
