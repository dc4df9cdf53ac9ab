"""Blobs: files' bytes and bundles. A folder by default."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable
from pathlib import Path
from typing import Protocol

from kvern.wire.errors import TooLargeError


class Blobs(Protocol):
    """Immutable runs of bytes under keys that the store itself makes.

    Guarantees: when `write` or `copy` returns, the bytes survive power loss; a key that was never returned leaves
    nothing behind once `clear_leftovers` ran; `delete` of a key that is gone does no harm.
    """

    async def write(self, content: AsyncIterable[bytes], limit: int) -> tuple[str, int]:
        """Keep `content`; its key and its size in bytes. Raises `TooLargeError` past `limit` bytes."""
        ...

    async def copy(self, key: str) -> str:
        """A second key for the same bytes, independent of the first."""
        ...

    def local(self, key: str) -> contextlib.AbstractAsyncContextManager[Path]:
        """A file with the bytes, for as long as the context lasts. Raises `FileNotFoundError`."""
        ...

    async def delete(self, key: str) -> None: ...

    async def clear_leftovers(self, kept: set[str], young: float = 0.0) -> None:
        """Delete what is under no key of `kept`.

        Args:
            young: seconds; what is newer stays, because somebody writes it or is about to name it. With 0, nothing may
                be being written.
        """
        ...

    async def mark(self, new: str | None) -> str | None:
        """What this place is known again by. Where it has no mark yet, it gets `new`, or stays without one."""
        ...


MARK = "place"
"""Under what name the mark of a place lies in it."""


class LocalBlobs:
    """Blobs as files of one folder, in 256 sub-folders. Written aside, flushed, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / key

    async def write(self, content: AsyncIterable[bytes], limit: int) -> tuple[str, int]:
        key, aside = self._new()
        size = 0
        try:
            with aside.open("xb") as file:
                async for part in content:
                    size += len(part)
                    if size > limit:
                        raise TooLargeError(f"Expected at most {limit} bytes of content, given more")
                    await asyncio.to_thread(file.write, part) if len(part) > 1 << 20 else file.write(part)
                await asyncio.to_thread(_flush, file.fileno())
            await asyncio.to_thread(self._place, aside, key)
        finally:
            aside.unlink(missing_ok=True)
        return key, size

    async def copy(self, key: str) -> str:
        new, aside = self._new()
        await asyncio.to_thread(os.link, self._path(key), aside)
        await asyncio.to_thread(self._place, aside, new)
        return new

    @contextlib.asynccontextmanager
    async def local(self, key: str) -> AsyncGenerator[Path]:
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(f"the blob {key} is not in {self._root}")
        yield path

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def clear_leftovers(self, kept: set[str], young: float = 0.0) -> None:
        await asyncio.to_thread(self._clear, kept, time.time() - young if young else math.inf)

    async def mark(self, new: str | None) -> str | None:
        return await asyncio.to_thread(self._marked, new)

    def _marked(self, new: str | None) -> str | None:
        path = self._root / MARK
        if new is not None and not path.exists():
            aside = self._new()[1]
            aside.write_text(new)
            with aside.open("rb") as file:
                _flush(file.fileno())
            with contextlib.suppress(FileExistsError):  # another server on the same folder was first
                os.link(aside, path)
            aside.unlink()
            _flush_folder(self._root)
        return path.read_text().strip() if path.exists() else None

    def _clear(self, kept: set[str], before: float) -> None:
        for path in self._root.glob("*/*"):
            if path.parent == self._incoming or path.name not in kept:
                # That of the last change of the inode: a copy is a second name for old bytes.
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_ctime <= before:
                        path.unlink()

    def _new(self) -> tuple[str, Path]:
        key = secrets.token_hex(20)
        return key, self._incoming / key

    def _place(self, aside: Path, key: str) -> None:
        target = self._path(key)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        aside.rename(target)
        for folder in (target.parent, self._root):
            _flush_folder(folder)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
