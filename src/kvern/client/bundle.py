"""The zip that a function is made from: the same input always gives the same bytes."""

from __future__ import annotations

import inspect
import io
import os
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from kvern.client import handlers
from kvern.client.data_classes.functions import HANDLER_FILE_NAME
from kvern.client.ignoring import IgnoreRules
from kvern.client.requirements import docstring_requirements

REQUIREMENTS_FILE_NAME = "requirements.txt"

# The earliest moment that a zip can hold.
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644
_PROGRAM_MODE = 0o100755


def of_folder(folder: str | Path, function_path: str, try_import: bool = True) -> bytes:
    """A folder as a zip, after checking that it can work as a function.

    Args:
        folder: The folder.
        function_path: The file in it that defines `handle`.
        try_import: Whether to import that file in a process of its own.

    Raises:
        FileNotFoundError: when the folder or the file does not exist, or is left out by an ignore file.
        TypeError, ValueError: when the path or `handle` is not as it must be.
        Exception: whatever the import raises.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {str(root)!r}")
    relative = handlers.checked_path(root, function_path)
    handlers.check_file(root, function_path)
    names = list(files_of(root))
    if str(relative) not in names:
        raise FileNotFoundError(f"{function_path!r} is left out by {IgnoreRules.FILES} of {str(root)!r}")
    if try_import:
        handlers.try_import(root, relative)
    return _zip((name, (root / name).read_bytes(), _mode(root / name)) for name in names)


def of_handle(handle: Callable[..., object]) -> bytes:
    """The source of one Python function as a zip, with the requirements from its docstring.

    Args:
        handle: The function, named `handle`.

    Raises:
        TypeError: when it has another name or other arguments, or no source can be found for it.
        ValueError: for requirements that cannot be read.
    """
    handlers.check_handle(handle)
    try:
        source = textwrap.dedent(inspect.getsource(handle))
    except (OSError, TypeError) as error:
        raise TypeError(f"The source of {handle!r} cannot be found: put it in a file and pass its folder") from error
    unknown = handlers.names_from_outside(handle)
    if unknown:
        warnings.warn(
            f"Only the source of `handle` itself is deployed, and it uses {', '.join(unknown)} from outside: define or "
            "import them inside the function",
            UserWarning,
            stacklevel=2,
        )
    # Annotations may name types that are not imported in the deployed file.
    entries = [(HANDLER_FILE_NAME, f"from __future__ import annotations\n\n{source}")]
    requirements = docstring_requirements(inspect.getdoc(handle) or "")
    if requirements:
        entries.append((REQUIREMENTS_FILE_NAME, "".join(f"{line}\n" for line in requirements)))
    return _zip((name, text.encode(), _FILE_MODE) for name, text in entries)


def files_of(root: Path) -> Iterator[str]:
    """The files of a folder that belong to the function, as POSIX paths, in a fixed order."""
    rules = IgnoreRules(root)
    for parent, folders, files in os.walk(root):
        relative = PurePosixPath(Path(parent).relative_to(root).as_posix())
        rules.enter(relative)
        folders[:] = sorted(name for name in folders if not rules.leaves_out(relative / name, is_folder=True))
        for name in sorted(files):
            if not rules.leaves_out(relative / name, is_folder=False):
                yield str(relative / name)


def _mode(path: Path) -> int:
    return _PROGRAM_MODE if path.stat().st_mode & 0o100 else _FILE_MODE


def _zip(entries: Iterator[tuple[str, bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in sorted(entries):
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            # As written on a POSIX system, wherever it is written.
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()
