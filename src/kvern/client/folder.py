"""The files of a folder that belong to a function, and what is to be said of others and of those from elsewhere."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kvern.client.ignoring import IgnoreRules

MOST_FILES = 50_000
"""Far more than a service takes; links that multiply a tree end here."""

_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]")
_KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"))


@dataclass(frozen=True)
class Member:
    """A file of a function.

    Args:
        name: Its path in the function, with `/`.
        path: Where it lies.
        is_program: Whether its owner may execute it.
    """

    name: str
    path: Path
    is_program: bool


@dataclass
class Contents:
    """What a folder gives.

    Args:
        members: Its files, those of a folder before those of folders in it, in the order of their names.
        skipped: A sentence for each path that cannot be part of a function.
        followed: A sentence for each link to something outside the folder, which goes with the function.
    """

    members: list[Member] = field(default_factory=list[Member])
    skipped: list[str] = field(default_factory=list[str])
    followed: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class _Folder:
    path: Path
    relative: PurePosixPath
    within: frozenset[tuple[int, int]]
    """Device and number of it and of all folders that it lies in, by way of links too."""


def contents(root: Path, *, hidden: bool = True) -> Contents:
    """Walk a folder; links are followed, to files and to folders, unless they lead back to where they come from.

    Args:
        root: The folder.
        hidden: Whether names that begin with a dot belong to it.

    Raises:
        OSError: when something cannot be read.
        ValueError: when there are more than `MOST_FILES` files.
    """
    found = Contents()
    rules = IgnoreRules(root)
    top = root.resolve()
    waiting = [_Folder(root, PurePosixPath(), frozenset([_identity(root.stat())]))]
    while waiting:
        folder = waiting.pop()
        rules.enter(folder.relative)
        inner: list[_Folder] = []
        for path in sorted(folder.path.iterdir()):
            relative = folder.relative / path.name
            status = _status(path)
            is_folder = status is not None and stat.S_ISDIR(status.st_mode)
            if (not hidden and path.name.startswith(".")) or rules.leaves_out(relative, is_folder):
                continue
            reason = _reason(path, status, folder)
            if status is None or reason is not None:
                found.skipped.append(f"{_shown(relative)} {reason}; it is left out")
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(top):
                found.followed.append(
                    f"{_shown(relative)} is a link to {_shown(path.resolve())}; what is there goes with the function"
                )
            if is_folder:
                inner.append(_Folder(path, relative, folder.within | {_identity(status)}))
                continue
            found.members.append(Member(str(relative), path, bool(status.st_mode & stat.S_IXUSR)))
            if len(found.members) > MOST_FILES:
                raise ValueError(f"{str(root)!r} has more than {MOST_FILES} files: leave some out by a .kvernignore")
        waiting.extend(reversed(inner))
    return found


def _status(path: Path) -> os.stat_result | None:
    """That of what a path leads to; None when it is a link that leads nowhere."""
    try:
        return path.stat()
    except OSError:
        if path.is_symlink() and not os.path.exists(path):  # noqa: PTH110 (a loop of links is no error to it)
            return None
        raise


def _reason(path: Path, status: os.stat_result | None, folder: _Folder) -> str | None:
    """Why something cannot be part of a function; None when it can."""
    if not _is_text(path.name):
        return "has a name that is not UTF-8"
    if _REFUSED.search(path.name):
        return "has a backslash or a control character in its name"
    if status is None:
        return "is a link that leads nowhere"
    if stat.S_ISDIR(status.st_mode):
        return "is a link to a folder that it lies in" if _identity(status) in folder.within else None
    if stat.S_ISREG(status.st_mode):
        return None
    return "is " + next((kind for test, kind in _KINDS if test(status.st_mode)), "a device")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: PurePosixPath | Path) -> str:
    """A path for people: what no terminal shows stands there as an escape."""
    return repr(os.fsencode(str(path)).decode(errors="backslashreplace")).replace("\\\\x", "\\x")
