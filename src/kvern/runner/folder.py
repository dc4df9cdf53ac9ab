"""A worker's working folder: the bundle as it lies there, to be read by relative paths, and free to be written to.

It is made of folders of its own; small files are copied, so that they can be written over, others are links into the
bundle, which is read-only. Why not one file system laid over the bundle: workers share a box, and one would see what
another writes; and a plain process can mount nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

ENTRIES = 1000
"""Files and folders of the bundle that are laid out one by one, those near its root first; of further folders a link
stands for the whole."""

COPIES = 24
COPY_MOST = 262_144
"""Files that are copied, and bytes of one. Modules are not."""

FOLDERS = 24
"""Folders that are made, each of which is looked at after a call; a link stands for further ones."""


def place(work: str, pid: int) -> str:
    """The working folder of the worker `pid`."""
    return os.path.join(work, str(pid))  # noqa: PTH118


class WorkingFolder:
    """Lays a bundle out, and after a call puts back what the call has changed.

    Args:
        code: the bundle's folder.
        path: the folder to make.
    """

    def __init__(self, code: str, path: str) -> None:
        self.path = path
        self._code = code
        self._kept: set[str] = set()
        self._links: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}

    def make(self) -> None:
        """Make it, in the place of what may be there, and go into it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(self.path, exist_ok=True)  # noqa: PTH103 - a call may have removed what it is in
        os.chdir(self.path)
        self._seen = {"": (0, 0)}
        waiting, entries, copies, folders = [""], 0, 0, 1
        while waiting:
            folder = waiting.pop(0)
            for entry in sorted(os.scandir(os.path.join(self._code, folder)), key=lambda one: one.name):  # noqa: PTH118
                if entry.name == "__pycache__":
                    continue
                name = os.path.join(folder, entry.name)  # noqa: PTH118
                target = os.path.join(self.path, name)  # noqa: PTH118
                entries += 1
                if entry.is_dir() and entries < ENTRIES and folders < FOLDERS:
                    os.mkdir(target)  # noqa: PTH102
                    self._seen[name] = (0, 0)
                    waiting.append(name)
                    folders += 1
                elif (
                    copies < COPIES
                    and entry.is_file()
                    and not entry.name.endswith(".py")
                    and entry.stat().st_size <= COPY_MOST
                ):
                    shutil.copyfile(entry.path, target)
                    os.chmod(target, 0o755 if entry.stat().st_mode & 0o100 else 0o644)  # noqa: PTH101
                    self._seen[name] = (0, 0)
                    copies += 1
                else:
                    os.symlink(entry.path, target)  # noqa: PTH211
        self.note()

    def note(self) -> None:
        """From now on what is there belongs there, as what the handler's module wrote when it was loaded."""
        self._kept = set(self._names())
        self._links = {name for name in self._kept if os.path.islink(os.path.join(self.path, name))}  # noqa: PTH114, PTH118
        for name in self._seen:
            self._seen[name] = self._state(name)

    def changed(self) -> bool:
        """Whether something was made, removed or written over since."""
        return any(self._state(name) != state for name, state in self._seen.items())

    def restore(self) -> None:
        """Remove what was made since, and put back what belongs there. Raises OSError."""
        for name in sorted(set(self._names()) - self._kept, reverse=True):
            path = os.path.join(self.path, name)  # noqa: PTH118
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                shutil.rmtree(path)
            else:
                os.unlink(path)  # noqa: PTH108
        for name, state in self._seen.items():
            path = os.path.join(self.path, name)  # noqa: PTH118
            if os.path.isfile(path) and self._state(name) != state:  # noqa: PTH113
                shutil.copyfile(os.path.join(self._code, name), path)  # noqa: PTH118
        links = all(os.path.islink(os.path.join(self.path, name)) for name in self._links)  # noqa: PTH114, PTH118
        if links and set(self._names()) == self._kept:
            self.note()
        else:
            self.make()

    def _state(self, name: str) -> tuple[int, int]:
        try:
            status = os.lstat(os.path.join(self.path, name))  # noqa: PTH118
        except OSError:
            return (-1, -1)
        return status.st_ctime_ns, status.st_size  # unlike that of writing, a call cannot set this time back

    def _names(self) -> Iterator[str]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(os.path.join(self.path, folder)))  # noqa: PTH118
            except OSError:
                continue
            for entry in entries:
                name = os.path.join(folder, entry.name)  # noqa: PTH118
                yield name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
