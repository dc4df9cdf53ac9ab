"""Unpacking a bundle: whatever the zip says, nothing is written but plain files and folders below one new folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kvern.build import archive
from kvern.build.archive import Entry
from kvern.build.errors import BundleError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NO_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a bundle may be.

    They bound what comes to lie on the disk, however small the zip is. So there is no limit on how well a file is
    packed: a table that holds one value everywhere is no attack, and nothing beyond these limits is ever written.

    Args:
        entries: files and folders that the zip lists.
        nodes: files and folders that are made, with those that only a path of the zip names.
        file_size: bytes of one file, unpacked.
        total_size: bytes of all files together, unpacked.
        name_length: bytes of one name between slashes.
        path_length: bytes of a whole path.
        depth: names in a path.
    """

    entries: int = 20_000
    nodes: int = 25_000
    file_size: int = 500_000_000
    total_size: int = 1_000_000_000
    name_length: int = 255
    path_length: int = 1024
    depth: int = 32


def unpack(bundle: Path, folder: Path, limits: Limits | None = None, stop: threading.Event | None = None) -> None:
    """Unpack the zip at `bundle` into `folder`, which must not exist yet (contract 11.2).

    Files get mode 0644, or 0755 where the zip marks them executable; folders 0755. Owner, times and every other mark
    are dropped. After an error nothing is left of `folder`; who calls it off clears away what was made by then.

    Args:
        bundle: the zip.
        folder: made here, in an existing parent.
        limits: how large it may be.
        stop: when it is set, unpacking ends with an error at the next piece; for a deploy that was called off.

    Raises:
        BundleError: the zip is not one, breaks a limit, or has an entry that is not a plain file or folder with a
            safe name. The message names the entry.
        FileExistsError: `folder` is there already.
    """
    limits = limits or Limits()
    with archive.open_archive(bundle) as file:
        entries = archive.entries(file, limits.entries)
        plan = _plan(entries, limits)
        _check_sizes(entries, limits)
        folder.mkdir()
        folder.chmod(0o755)
        try:
            for path, entry in plan.items():
                _make(file, path, entry, folder, stop)
        except BaseException:
            if not (stop and stop.is_set()):
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _plan(entries: Sequence[Entry], limits: Limits) -> dict[tuple[str, ...], Entry | None]:
    """Every path that will be made, parents first; None stands for a folder."""
    plan: dict[tuple[str, ...], Entry | None] = {}
    for entry in entries:
        path, is_folder = _path(entry, limits)
        for parent in _parents(path if is_folder else path[:-1]):
            if plan.setdefault(parent, None) is not None:
                raise BundleError(f"Entry {entry.name!r} needs {'/'.join(parent)!r} to be a folder, but it is a file.")
        if not is_folder:
            if path in plan:
                _check_again(entry, plan[path])
            plan[path] = entry
        if len(plan) > limits.nodes:
            raise BundleError(
                f"The zip has too many files and folders: at most {limits.nodes} are made, with those that only the "
                "paths of others name."
            )
    return plan


def _parents(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for depth in range(1, len(path) + 1):
        yield path[:depth]


def _check_again(entry: Entry, before: Entry | None) -> None:
    """Refuse a second entry for a path, unless it is the same once more: programs disagree on which of two counts."""
    if before is None:
        raise BundleError(f"Entry {entry.name!r} is in the zip both as a file and as a folder.")
    if (entry.size, entry.crc) != (before.size, before.crc):
        raise BundleError(f"Entry {entry.name!r} is in the zip twice, with different content.")


def _path(entry: Entry, limits: Limits) -> tuple[tuple[str, ...], bool]:
    """The checked path of an entry, and whether it is a folder."""
    name = entry.name
    shown = repr(name if len(name) <= 200 else name[:200] + "…")
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
        raise BundleError(f"Entry {shown} is {what}; only plain files and folders are allowed.")
    if _CONTROL.search(name):
        raise BundleError(f"Entry {shown} has a control character in its name.")
    if "\\" in name:
        raise BundleError(f"Entry {shown} has a backslash in its name; folders are separated by '/'.")
    if name.startswith("/") or _DRIVE.match(name):
        raise BundleError(f"Entry {shown} has an absolute path; paths must be relative to the zip's root.")
    path = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in path:
        raise BundleError(f"Entry {shown} leaves the zip's root by '..'.")
    is_folder = name.endswith("/") or name == "." or kind == stat.S_IFDIR
    if is_folder and entry.size:
        raise BundleError(f"Entry {shown} is a folder, but has content.")
    if not path and not is_folder:
        raise BundleError(f"Entry {shown} has no name.")
    if len(path) > limits.depth:
        raise BundleError(f"Entry {shown} lies {len(path)} names deep; at most {limits.depth} are allowed.")
    longest = max((len(part.encode()) for part in path), default=0)
    if longest > limits.name_length:
        raise BundleError(f"Entry {shown} has a name of {longest} bytes; at most {limits.name_length} are allowed.")
    length = len("/".join(path).encode())
    if length > limits.path_length:
        raise BundleError(f"Entry {shown} has a path of {length} bytes; at most {limits.path_length} are allowed.")
    return path, is_folder


def _check_sizes(entries: Sequence[Entry], limits: Limits) -> None:
    """Refuse by what is declared; `archive.content` then holds every entry to its declaration."""
    total = 0
    for entry in entries:
        total += entry.size
        if entry.size > limits.file_size:
            raise BundleError(
                f"Entry {entry.name!r} unpacks to {entry.size} bytes; at most {limits.file_size} are allowed."
            )
    if total > limits.total_size:
        raise BundleError(f"The zip unpacks to {total} bytes; at most {limits.total_size} are allowed.")


def _make(
    file: BinaryIO, path: tuple[str, ...], entry: Entry | None, folder: Path, stop: threading.Event | None
) -> None:
    """Make one file, or a folder when `entry` is None."""
    target = folder.joinpath(*path)
    try:
        if entry is None:
            target.mkdir(mode=0o755)
            target.chmod(0o755)
        else:
            _write(file, entry, target, stop)
    except OSError as error:
        shown = "/".join(path)
        if error.errno == errno.EEXIST:
            # Every path is made once, so it is the file system that takes two names for one.
            raise BundleError(
                f"{shown!r} differs from another name in the zip only in upper and lower case or in the form of "
                "accents, which the service's file system does not tell apart."
            ) from None
        if error.errno in _NO_NAME:
            raise BundleError(f"{shown!r} is no name on the service's file system: {error.strerror}.") from None
        raise


def _write(file: BinaryIO, entry: Entry, target: Path, stop: threading.Event | None) -> None:
    executable = bool(entry.mode & stat.S_IXUSR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as out:
        for piece in archive.content(file, entry):
            if stop and stop.is_set():
                raise BundleError("Unpacking was called off.")
            out.write(piece)
        os.fchmod(out.fileno(), 0o755 if executable else 0o644)
