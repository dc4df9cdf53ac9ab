"""Folders for work that is not done yet: they go with the work, or, after a crash, when the next server starts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ALIVE = ".alive"
_FEW = 64


@contextlib.asynccontextmanager
async def staging(root: Path) -> AsyncGenerator[Path, None]:
    """A new folder below `root`, only for this server's user, removed at the end whatever happens.

    A lock on a file in it tells another server on the same data that the work goes on.
    """
    folder, alive = _begin(root)
    try:
        yield folder
    finally:
        removal = asyncio.ensure_future(asyncio.to_thread(remove, folder))
        try:
            await asyncio.shield(removal)
        except asyncio.CancelledError:
            await removal
            raise
        finally:
            os.close(alive)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns, done in a thread; when this is cancelled, not before the thread has ended.

    For all that writes: else it would go on in a folder that is being removed, and could give what is half removed a
    name for good.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


@contextlib.contextmanager
def workplace(root: Path) -> Generator[Path]:
    """As `staging`, where there is no event loop."""
    folder, alive = _begin(root)
    try:
        yield folder
    finally:
        remove(folder)
        os.close(alive)


def _begin(root: Path) -> tuple[Path, int]:
    """A new folder, and the open file whose lock says that somebody works in it."""
    root.mkdir(parents=True, exist_ok=True)
    folder = root / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    alive = os.open(folder / _ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX)
    return folder, alive


def clear(root: Path, away: Callable[[Path], None] | None = None) -> None:
    """Remove the folders below `root` that nobody works in any more, or have `away` see to each."""
    away = away or remove
    if not root.is_dir():
        return
    for folder in root.iterdir():
        try:
            alive = os.open(folder / _ALIVE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            away(folder)
            continue
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            away(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(alive)


@contextlib.asynccontextmanager
async def exclusive(path: Path) -> AsyncGenerator[None, None]:
    """Hold the lock named by `path` among all servers of this machine; the file is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pause = 0.01
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have removed the file between our open and our lock.
            if path.stat().st_ino == os.fstat(lock).st_ino:
                break
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.2)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def flush(folder: Path) -> None:
    """Have all below `folder` on disk, so that power loss cannot leave a name with half of it behind.

    A few files are flushed alone: what else the machine writes may take long.
    """
    paths = [folder, *itertools.islice(folder.rglob("*"), _FEW)]
    if len(paths) > _FEW:
        os.sync()
        return
    for path in reversed(paths):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_to_all(path: Path) -> None:
    """Let every user read `path`, a file or a folder with all that is below it; links are not followed."""
    for at, _, files in os.walk(path):
        Path(at).chmod(Path(at).stat().st_mode | 0o555)
        for name in files:
            _open_file_to_all(Path(at, name))
    if path.is_file():
        _open_file_to_all(path)


def _open_file_to_all(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IROTH:
        path.chmod(status.st_mode | (0o555 if status.st_mode & stat.S_IXUSR else 0o444))


def seal(folder: Path) -> None:
    """Take away every permission to write below `folder`, and all set-id bits; links are neither followed nor changed.

    Files that are hard links into a package cache keep their mode, which is the cache's as well, but for what lets
    every user read them: functions may run as other users.
    """
    for at, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(at, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                path.chmod(0o555 if status.st_mode & stat.S_IXUSR else 0o444)
            else:
                _open_file_to_all(path)
        Path(at).chmod(0o555)


def remove(path: Path) -> None:
    """Remove a file or a whole tree, read-only or not. Harmless when it is gone."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for at, folders, _ in os.walk(path):
        for name in (".", *folders):
            inner = Path(at, name)
            if not inner.is_symlink():
                with contextlib.suppress(OSError):
                    inner.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)
