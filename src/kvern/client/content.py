"""The content of files on its way to a storage: its length, its pieces, and uploads in parts (contract 7.3)."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from kvern.client.config import global_config
from kvern.client.data_classes.files import FileMetadata
from kvern.client.exceptions import CogniteFileUploadError, CogniteHTTPStatusError
from kvern.client.transport import Request, slot

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from kvern.client.async_client import AsyncCogniteClient
    from kvern.client.progress import Progress

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB
USUAL_PART = 50 * MIB
LARGEST_PART = 4000 * MIB
MOST_PARTS = 250
_PIECE = 64 * 1024

Content = str | bytes | BinaryIO | AsyncIterator[bytes]


class FileMultipartUploadSession(
    AbstractContextManager["FileMultipartUploadSession"], AbstractAsyncContextManager["FileMultipartUploadSession"]
):
    """An upload in parts, which is completed by leaving the context.

    Args:
        file_metadata: The file.
        upload_urls: Where its parts are to be put.
        upload_id: Id of the upload.
        cognite_client: The client that sends the parts.
    """

    def __init__(
        self, file_metadata: FileMetadata, upload_urls: list[str], upload_id: str, cognite_client: AsyncCogniteClient
    ) -> None:
        self.file_metadata = file_metadata
        self._client = cognite_client
        self._upload_id = upload_id
        self._urls = upload_urls
        self._sent = [False] * len(self._urls)
        self._completed = False

    async def upload_part_async(self, part_no: int, content: str | bytes | BinaryIO | AsyncIterator[bytes]) -> None:
        """As `upload_part`, to be awaited."""
        await put_content(self._client, self._url(part_no), content, content_size(content), {})
        self._sent[part_no] = True

    def upload_part(self, part_no: int, content: str | bytes | BinaryIO | AsyncIterator[bytes]) -> None:
        """Uploads a part; parts may come in any order.

        Args:
            part_no: Number of the part, from 0.
            content: Its content.

        Raises:
            IndexError: when there is no such part.
            RuntimeError: when it was uploaded already.
            CogniteFileUploadError: when the storage refuses it.
        """
        from kvern.client.loop import run_sync

        run_sync(self.upload_part_async(part_no, content))

    def _url(self, part_no: int) -> str:
        if not 0 <= part_no < len(self._urls):
            raise IndexError(f"Expected a part number from 0 to {len(self._urls) - 1}, got {part_no}")
        if self._sent[part_no]:
            raise RuntimeError(f"Part {part_no} was uploaded already")
        return self._urls[part_no]

    def _check_open(self) -> Self:
        if self._completed:
            raise RuntimeError("This upload was completed already")
        return self

    async def _complete(self) -> None:
        if not all(self._sent):
            missing = [number for number, sent in enumerate(self._sent) if not sent]
            raise CogniteFileUploadError(f"These parts were never uploaded: {missing}", 400)
        request = Request(
            "POST",
            "/files/completemultipartupload",
            json={"id": self.file_metadata.id, "uploadId": self._upload_id},
        )
        await self._client.transport.call(request, slot(self._client, "files", "upload"))
        self._completed = True

    async def __aenter__(self) -> Self:
        return self._check_open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._complete()

    def __enter__(self) -> Self:
        return self._check_open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from kvern.client.loop import run_sync

        if kind is None:
            run_sync(self._complete())


def upload_session(client: AsyncCogniteClient, created: dict[str, Any]) -> FileMultipartUploadSession:
    """The session that the server's answer describes."""
    return FileMultipartUploadSession(FileMetadata.load(created), created["uploadUrls"], created["uploadId"], client)


async def put_content(
    client: AsyncCogniteClient,
    url: str,
    content: Content,
    size: int | None,
    headers: dict[str, str],
    progress: Progress | None = None,
) -> None:
    """Sends content to an upload URL.

    Args:
        client: The client.
        url: The URL.
        content: The content.
        size: Its length in bytes, if known.
        headers: Further headers.
        progress: Where to show how far it is.

    Raises:
        CogniteFileUploadError: when the storage refuses the content.
    """
    body, repeatable = _body(content, progress)
    if size is not None:
        headers = {**headers, "Content-Length": str(size)}
    timeout = client.config.file_transfer_timeout
    request = Request("PUT", url, content=body, headers=headers, repeatable=repeatable, timeout=timeout, bare=True)
    try:
        await client.transport.send(request, slot(client, "files", "upload"))
    except CogniteHTTPStatusError as error:
        raise CogniteFileUploadError(error.response.text, error.status_code) from None


def part_size_and_count(size: int) -> tuple[int, int]:
    """How to cut a file of `size` bytes into parts. Raises `ValueError` when it is too large (contract 7.3)."""
    if size > MOST_PARTS * LARGEST_PART:
        raise ValueError(f"Expected a file of at most {MOST_PARTS * LARGEST_PART} bytes, got {size}")
    if size < SMALLEST_PART:
        return SMALLEST_PART, 1
    part_size = max(USUAL_PART, math.ceil(size / MOST_PARTS))
    return part_size, math.ceil(size / part_size)


def content_size(content: object) -> int | None:
    """Length in bytes, or None when it cannot be told beforehand. Raises `TypeError` for no content at all."""
    if isinstance(content, FilePieces):
        return content.length
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, str):
        return len(content.encode())
    if isinstance(content, (io.TextIOBase, io.StringIO)):
        raise TypeError("Expected a file opened in binary mode, got text")
    if isinstance(content, (io.BufferedIOBase, io.RawIOBase)) and content.seekable():
        position = content.tell()
        end = content.seek(0, os.SEEK_END)
        content.seek(position)
        return end - position
    if isinstance(content, (io.BufferedIOBase, io.RawIOBase, AsyncIterator)):
        warnings.warn(
            "The length of the content is not known beforehand: some storages refuse it", RuntimeWarning, stacklevel=2
        )
        return None
    raise TypeError(
        f"Expected bytes, str, a file opened in binary mode or an async iterator of bytes, got {type(content).__name__}"
    )


def _body(content: Any, progress: Progress | None) -> tuple[Any, bool]:
    """What to send, and whether it can be sent again."""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        return (lambda: _slices(content, progress)) if len(content) > MIB else content, True
    if isinstance(content, FilePieces):
        return content.__aiter__, True
    if isinstance(content, AsyncIterator):
        source = cast("AsyncIterator[bytes]", content)
        return (lambda: source), False
    stream = cast("BinaryIO", content)
    if not stream.seekable():
        return (lambda: _read(stream, None, progress)), False
    start = stream.tell()
    return (lambda: _read(stream, start, progress)), True


def _piece_size() -> int:
    return global_config.file_upload_chunk_size or _PIECE


async def _slices(content: bytes, progress: Progress | None) -> AsyncIterator[bytes]:
    size = _piece_size()
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        yield piece
        if progress is not None:
            progress.advance(len(piece))


async def _read(stream: BinaryIO, start: int | None, progress: Progress | None) -> AsyncIterator[bytes]:
    if start is not None:
        stream.seek(start)
    while piece := stream.read(_piece_size()):
        yield piece
        if progress is not None:
            progress.advance(len(piece))


class FilePieces:
    """A stretch of a file, which can be read from its start again for every try.

    Args:
        path: The file.
        start: Where the stretch begins, in bytes.
        length: Its length, in bytes.
        progress: Where to show how far it is.
    """

    def __init__(self, path: Path, start: int, length: int, progress: Progress) -> None:
        self.length = length
        self._path = path
        self._start = start
        self._progress = progress

    async def __aiter__(self) -> AsyncIterator[bytes]:
        remaining = self.length
        with self._path.open("rb") as file:
            file.seek(self._start)
            while remaining > 0 and (piece := file.read(min(_piece_size(), remaining))):
                remaining -= len(piece)
                yield piece
                self._progress.advance(len(piece))
