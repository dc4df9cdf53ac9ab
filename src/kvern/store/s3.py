"""Blobs in an S3-compatible store: many services can share them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from kvern.store.blobs import MARK
from kvern.wire.errors import TooLargeError

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PART = 8 * 1024 * 1024
"""Bytes of one part of an upload: S3 takes at most 10,000 parts of at least 5 MiB."""

_AT_ONCE = 500
"""Keys named in one request to delete; S3 takes up to 1000."""


class S3Blobs:
    """Blobs as objects below a prefix. An object is there whole or not at all, as S3 promises.

    Uploads that break off leave parts that only the store itself can clear: give the bucket a rule that aborts
    incomplete multipart uploads.

    Args:
        url: `s3://bucket/prefix`; endpoint, region and keys come from `AWS_ENDPOINT_URL`, `AWS_REGION`,
            `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and their like.
        here: folder for the copies that `local` makes.
    """

    def __init__(self, url: str, here: Path) -> None:
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self._store = S3Store.from_url(url.rstrip("/"), client_options={"allow_http": plain})
        self._here = here
        here.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def write(self, content: AsyncIterable[bytes], limit: int) -> tuple[str, int]:
        key = secrets.token_hex(20)
        size = 0

        async def limited() -> AsyncIterator[bytes]:
            nonlocal size
            async for part in content:
                size += len(part)
                if size > limit:
                    raise TooLargeError(f"Expected at most {limit} bytes of content, given more")
                if part:
                    yield part

        try:
            await self._store.put_async(key, _portions(limited()), chunk_size=_PART)
        except BaseException:
            await asyncio.shield(self._forget(key))
            raise
        return key, size

    async def _forget(self, key: str) -> None:
        with contextlib.suppress(Exception):  # what is left is cleared at the next start
            await self.delete(key)

    async def copy(self, key: str) -> str:
        new = secrets.token_hex(20)
        await self._store.copy_async(key, new)
        return new

    @contextlib.asynccontextmanager
    async def local(self, key: str) -> AsyncGenerator[Path]:
        got = await self._store.get_async(key)
        descriptor, name = await asyncio.to_thread(tempfile.mkstemp, dir=self._here)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for part in got.stream(min_chunk_size=_PART):
                    await asyncio.to_thread(file.write, part)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await self._store.delete_async(key)

    async def mark(self, new: str | None) -> str | None:
        if new is not None:
            with contextlib.suppress(AlreadyExistsError):
                await self._store.put_async(MARK, new.encode(), mode="create")
        try:
            got = await self._store.get_async(MARK)
        except FileNotFoundError:
            return None
        return bytes(await got.bytes_async()).decode().strip()

    async def clear_leftovers(self, kept: set[str], young: float = 0.0) -> None:
        before = time.time() - young
        for path in self._here.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if not young or path.stat().st_ctime <= before:
                    path.unlink()
        kept = {*kept, MARK}
        gone: list[str] = []
        pages: AsyncIterable[Sequence[ObjectMeta]] = cast(Any, self._store).list()
        async for page in pages:
            gone.extend(
                one["path"]
                for one in page
                if one["path"] not in kept and (not young or one["last_modified"].timestamp() <= before)
            )
        for start in range(0, len(gone), _AT_ONCE):
            await self._store.delete_async(gone[start : start + _AT_ONCE])


async def _portions(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in runs of at least a part: an object store is asked once for each."""
    held = bytearray()
    async for part in content:
        held += part
        if len(held) >= _PART:
            yield bytes(held)
            held.clear()
    yield bytes(held)
