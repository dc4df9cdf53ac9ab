"""The zip that a function is made from: the same input always gives the same bytes."""

from __future__ import annotations

import inspect
import io
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kvern.client import handlers
from kvern.client.data_classes.functions import HANDLER_FILE_NAME
from kvern.client.folder import contents
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
        OSError: when something in the folder cannot be read.
        TypeError, ValueError: when the path or `handle` is not as it must be.
        Exception: whatever the import raises.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {str(root)!r}")
    relative = handlers.checked_path(root, function_path)
    handlers.check_file(root, function_path)
    found = contents(root)
    if str(relative) not in {member.name for member in found.members}:
        raise FileNotFoundError(f"{function_path!r} is left out by {IgnoreRules.FILES} of {str(root)!r}")
    for sentence in found.skipped:
        warnings.warn(sentence, UserWarning, stacklevel=2)
    if try_import:
        handlers.try_import(root, relative)
    return zipped((member.name, member.path.read_bytes(), member.is_program) for member in found.members)


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
    return zipped((name, text.encode(), False) for name, text in entries)


def files_of(root: Path) -> Iterator[str]:
    """The files of a folder that belong to the function, as POSIX paths, in a fixed order."""
    return (member.name for member in contents(root).members)


def zipped(entries: Iterable[tuple[str, bytes, bool]]) -> bytes:
    """A zip of files, each given by its path, its content and whether it is a program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, is_program in sorted(entries):
            info = zipfile.ZipInfo(name, _FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            # As written on a POSIX system, wherever it is written.
            info.create_system = 3
            info.external_attr = (_PROGRAM_MODE if is_program else _FILE_MODE) << 16
            archive.writestr(info, content)
    return buffer.getvalue()
