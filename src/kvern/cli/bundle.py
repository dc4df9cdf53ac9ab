"""From what lies on disk to the zip that a function is made from (contract 11.2)."""

from __future__ import annotations

import ast
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvern.cli.complaint import Complaint

HANDLER = "handler.py"


@dataclass(frozen=True)
class Bundle:
    """A zip, and what a function made from it is called unless the user says otherwise.

    Args:
        name: the folder's or the file's name without its ending.
        handler: path of the entry file in the zip.
        content: the zip.
        notes: a sentence each on what of a folder stayed behind or came from elsewhere, without anybody asking for it.
    """

    name: str
    handler: str
    content: bytes
    notes: tuple[str, ...] = ()


def pack(path: Path, handler: str | None = None) -> Bundle:
    """Make a bundle of a folder, a `.zip` or a single `.py` file.

    Args:
        path: what to pack. Of a folder, names that begin with a dot stay out, and so does what the client leaves out:
            caches, virtual environments, and what `.gitignore`, `.funcignore` and `.kvernignore` say.
        handler: the entry file, relative to the folder or in the zip; `handler.py` unless given.

    Raises:
        Complaint: when there is nothing to pack, or the entry file is not there.
    """
    if path.is_dir():
        return _folder(path, handler)
    if not path.exists():
        raise Complaint(f"there is no {path}: give a folder, a .zip or a .py file", exit_code=2)
    if not path.is_file():
        raise Complaint(f"{path} is neither a folder nor a .zip nor a .py file", exit_code=2)
    if path.suffix == ".py":
        return _script(path, handler)
    if zipfile.is_zipfile(path):
        return _archive(path, handler)
    raise Complaint(f"{path} is neither a folder nor a .zip nor a .py file", exit_code=2)


def _folder(path: Path, handler: str | None) -> Bundle:
    from kvern.client.bundle import zipped
    from kvern.client.folder import contents

    # Hidden files are where passwords lie (`.env`), and the data of a service (`.kvern`).
    try:
        found = contents(path, hidden=False)
    except ValueError as error:
        raise Complaint(str(error), exit_code=2) from None
    entry = _entry(handler, [member.name for member in found.members], path)
    content = zipped((member.name, member.path.read_bytes(), member.is_program) for member in found.members)
    return Bundle(path.resolve().name, entry, content, (*found.skipped, *found.followed))


def _archive(path: Path, handler: str | None) -> Bundle:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removeprefix("./") for name in archive.namelist()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise Complaint(f"{path} is a damaged zip: {error}", exit_code=2) from None
    return Bundle(path.stem, _entry(handler, names, path), path.read_bytes())


def _script(path: Path, handler: str | None) -> Bundle:
    if handler:
        raise Complaint("--function-path is for folders and zips; a single .py file is the handler itself", exit_code=2)
    from kvern.client.bundle import zipped

    source = path.read_bytes()
    files = [(HANDLER, source, False)]
    required = requirements(source)
    if required:
        files.append(("requirements.txt", "".join(f"{line}\n" for line in required).encode(), False))
    return Bundle(path.stem, HANDLER, zipped(files))


def _entry(handler: str | None, names: list[str], path: Path) -> str:
    entry = handler or HANDLER
    if PurePosixPath(entry).as_posix() in names:
        return entry
    if path.is_dir() and (path / entry).is_file():
        raise Complaint(
            f"{entry} is in {path}, but is left out: by .gitignore, .funcignore or .kvernignore, or because a name in "
            "its path begins with a dot",
            exit_code=2,
        )
    others = sorted(name for name in names if name.endswith(".py") and "/" not in name)
    if len(others) > 5:
        others = [*others[:5], "…"]
    there = f"it has {', '.join(others)}" if others else "it has no .py file at its top"
    raise Complaint(f"there is no {entry} in {path}; {there}. Name the entry file with --function-path", exit_code=2)


def requirements(source: str | bytes) -> list[str]:
    """What a handler's docstring lists between `[requirements]` and `[/requirements]` (as the official SDK reads it).

    Args:
        source: the handler's file; bytes are decoded as Python would, by their byte order mark or coding line.

    Raises:
        Complaint: when it is not Python, or a line is no requirement.
    """
    from kvern.client.requirements import docstring_requirements

    try:
        module = ast.parse(source)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise Complaint(f"the handler is not valid Python: {error.msg}{where}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # such as a NUL, or thousands of brackets
        raise Complaint(f"the handler is not valid Python: {error or 'it is nested too deep'}") from None
    handlers = [
        node
        for node in module.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "handle"
    ]
    try:
        return docstring_requirements(ast.get_docstring(handlers[-1]) or "") if handlers else []
    except ValueError as error:
        raise Complaint(f"the handler's docstring: {error}") from None
