"""Putting content into files (contract 7.2, 7.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from kvern.client.api.base import APIClient, in_several_requests
from kvern.client.content import (
    Content,
    FileMultipartUploadSession,
    FilePieces,
    content_size,
    part_size_and_count,
    put_content,
    upload_session,
)
from kvern.client.data_classes.files import FileMetadata, FileMetadataList, FileMetadataWrite
from kvern.client.data_classes.shared import GeoLocation, Label
from kvern.client.exceptions import CogniteAPIError, CogniteAuthorizationError
from kvern.client.identifiers import Identifiers, NodeId
from kvern.client.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path


class FileUploads(APIClient):
    """The part of the Files API that puts content into files."""

    _GROUP = "files"

    async def upload_content(
        self,
        path: Path | str,
        external_id: str | None = None,
        instance_id: NodeId | tuple[str, str] | None = None,
    ) -> FileMetadata:
        """Uploads the content of a file that was created before.

        Args:
            path: The file to upload.
            external_id: External id of the file on the server. This or the instance id is needed.
            instance_id: Its instance id.

        Raises:
            IsADirectoryError: when the path is a folder.
            FileNotFoundError: when there is no such path.
            CogniteFileUploadError: when the storage refuses the content.

        Example:
            >>> client.files.upload_content("report.pdf", external_id="report")
        """
        from pathlib import Path

        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(path)
        if not path.is_file():
            raise FileNotFoundError(path)
        part_size, parts = part_size_and_count(path.stat().st_size)
        session = await self.multipart_upload_content_session(parts, external_id, instance_id)
        await self._upload_parts(session, path, part_size, parts)
        return session.file_metadata

    async def upload(
        self,
        path: Path | str,
        external_id: str | None = None,
        name: str | None = None,
        source: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        directory: str | None = None,
        asset_ids: Sequence[int] | None = None,
        source_created_time: int | None = None,
        source_modified_time: int | None = None,
        data_set_id: int | None = None,
        labels: Sequence[Label] | None = None,
        geo_location: GeoLocation | None = None,
        security_categories: Sequence[int] | None = None,
        recursive: bool = False,
        overwrite: bool = False,
    ) -> FileMetadata | FileMetadataList:
        """Uploads a file, or all files of a folder.

        Args:
            path: The file or folder.
            external_id: Your own identifier, unique among files.
            name: Name on the server; the file's own name if not given, and always for a folder.
            source: Where it comes from.
            mime_type: Such as `application/pdf`.
            metadata: Your own key-value pairs.
            directory: An absolute POSIX path.
            asset_ids: Assets that it belongs to.
            source_created_time: When it was made at its source, in milliseconds since the epoch.
            source_modified_time: When it was changed at its source, in milliseconds since the epoch.
            data_set_id: The data set that it is in.
            labels: Labels that it bears.
            geo_location: Where on Earth it belongs.
            security_categories: Ids of the categories that a reader needs.
            recursive: Go into folders of a folder.
            overwrite: Replace what has this external id.

        Returns:
            The file; for a folder, a list.

        Raises:
            FileNotFoundError: when there is no such path.
            CogniteFileUploadError: when the storage refuses the content.

        Example:
            >>> client.files.upload("report.pdf", external_id="report", overwrite=True)
        """
        item = FileMetadataWrite(
            name=name or "",
            external_id=external_id,
            source=source,
            mime_type=mime_type,
            metadata=metadata,
            directory=directory,
            asset_ids=asset_ids,
            data_set_id=data_set_id,
            labels=labels,
            geo_location=geo_location,
            source_created_time=source_created_time,
            source_modified_time=source_modified_time,
            security_categories=security_categories,
        )
        from pathlib import Path

        path = Path(path)
        if path.is_file():
            item.name = name or path.name
            return await self._upload_path(item, path, overwrite)
        if not path.is_dir():
            raise FileNotFoundError(path)
        found = sorted(file for file in (path.rglob("*") if recursive else path.iterdir()) if file.is_file())

        async def send(chunk: Sequence[Path]) -> FileMetadata:
            named = FileMetadataWrite.load({**item.dump(), "name": chunk[0].name})
            return await self._upload_path(named, chunk[0], overwrite)

        uploaded = await in_several_requests([[file] for file in found], send, show=lambda file: file.name)
        return FileMetadataList(uploaded)

    async def _upload_path(self, item: FileMetadataWrite, path: Path, overwrite: bool) -> FileMetadata:
        part_size, parts = part_size_and_count(path.stat().st_size)
        if parts == 1:
            created = await self._create("/files", item, {"overwrite": overwrite})
            with path.open("rb") as content:
                return await self._put(content, created)
        session = await self._new_session(item, parts, overwrite)
        await self._upload_parts(session, path, part_size, parts)
        return session.file_metadata

    async def _upload_parts(self, session: FileMultipartUploadSession, path: Path, part_size: int, parts: int) -> None:
        import asyncio

        size = path.stat().st_size
        with Progress(f"Uploading {path.name}", size) as progress:

            async def upload_part(number: int) -> None:
                start = number * part_size
                length = min(part_size, size - start)
                async with self._slot("open_files"):
                    pieces: Any = FilePieces(path, start, length, progress)
                    await session.upload_part_async(number, pieces)

            async with session:
                await asyncio.gather(*(upload_part(number) for number in range(parts)))

    async def upload_content_bytes(
        self,
        content: str | bytes | BinaryIO,
        external_id: str | None = None,
        instance_id: NodeId | tuple[str, str] | None = None,
    ) -> FileMetadata:
        """Uploads the content of a file that was created before.

        Args:
            content: The content; text is encoded as UTF-8.
            external_id: External id of the file. This or the instance id is needed.
            instance_id: Its instance id.

        Raises:
            CogniteAuthorizationError: when the token may not do that.
            CogniteFileUploadError: when the storage refuses the content.

        Example:
            >>> client.files.upload_content_bytes(b"...", external_id="report")
        """
        identifiers = Identifiers(external_ids=external_id, instance_ids=instance_id)
        identifiers.single()
        try:
            answer = await self._post("/files/uploadlink", {"items": identifiers.dicts()}, "upload")
        except CogniteAPIError as error:
            raise (_as_authorization(error, error.message) if error.code == 403 else error) from error
        return await self._put(content, answer["items"][0])

    async def upload_bytes(
        self,
        content: str | bytes | BinaryIO | AsyncIterator[bytes],
        name: str,
        external_id: str | None = None,
        source: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        directory: str | None = None,
        asset_ids: Sequence[int] | None = None,
        data_set_id: int | None = None,
        labels: Sequence[Label] | None = None,
        geo_location: GeoLocation | None = None,
        source_created_time: int | None = None,
        source_modified_time: int | None = None,
        security_categories: Sequence[int] | None = None,
        overwrite: bool = False,
    ) -> FileMetadata:
        """Uploads bytes or text as a file, at most 5 GB.

        Args:
            content: The content; text is encoded as UTF-8, an open file must be in binary mode.
            name: Name of the file.
            external_id: Your own identifier, unique among files.
            source: Where it comes from.
            mime_type: Such as `application/pdf`.
            metadata: Your own key-value pairs.
            directory: An absolute POSIX path.
            asset_ids: Assets that it belongs to.
            data_set_id: The data set that it is in.
            labels: Labels that it bears.
            geo_location: Where on Earth it belongs.
            source_created_time: When it was made at its source, in milliseconds since the epoch.
            source_modified_time: When it was changed at its source, in milliseconds since the epoch.
            security_categories: Ids of the categories that a reader needs.
            overwrite: Replace what has this external id; its content stays until the new one is there.

        Returns:
            The file, as it was before its content came.

        Raises:
            TypeError: for content of another kind.
            CogniteDuplicatedError: when the external id is taken and not to be overwritten.
            CogniteAuthorizationError: when the token may not do that.
            CogniteFileUploadError: when the storage refuses the content.

        Example:
            >>> file = client.files.upload_bytes(b"some bytes", name="some.bin", external_id="some")
        """
        item = FileMetadataWrite(
            name=name,
            external_id=external_id,
            source=source,
            mime_type=mime_type,
            metadata=metadata,
            directory=directory,
            asset_ids=asset_ids,
            data_set_id=data_set_id,
            labels=labels,
            geo_location=geo_location,
            source_created_time=source_created_time,
            source_modified_time=source_modified_time,
            security_categories=security_categories,
        )
        answer = await self._create("/files", item, {"overwrite": overwrite})
        return await self._put(content, answer)

    async def multipart_upload_session(
        self,
        name: str,
        parts: int,
        external_id: str | None = None,
        source: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        directory: str | None = None,
        asset_ids: Sequence[int] | None = None,
        data_set_id: int | None = None,
        labels: Sequence[Label] | None = None,
        geo_location: GeoLocation | None = None,
        source_created_time: int | None = None,
        source_modified_time: int | None = None,
        security_categories: Sequence[int] | None = None,
        overwrite: bool = False,
    ) -> FileMultipartUploadSession:
        """Begins an upload in parts, each larger than 5 MiB (but the last) and smaller than 4000 MiB.

        Args:
            name: Name of the file.
            parts: Number of parts, 1 to 250.
            external_id: Your own identifier, unique among files.
            source: Where it comes from.
            mime_type: Such as `application/pdf`.
            metadata: Your own key-value pairs.
            directory: An absolute POSIX path.
            asset_ids: Assets that it belongs to.
            data_set_id: The data set that it is in.
            labels: Labels that it bears.
            geo_location: Where on Earth it belongs.
            source_created_time: When it was made at its source, in milliseconds since the epoch.
            source_modified_time: When it was changed at its source, in milliseconds since the epoch.
            security_categories: Ids of the categories that a reader needs.
            overwrite: Replace what has this external id; its content stays until the new one is complete.

        Returns:
            A context manager; leaving it completes the upload.

        Example:
            >>> with client.files.multipart_upload_session(name="two parts", parts=2) as session:
            ...     session.upload_part(0, b"a" * 6_000_000)
            ...     session.upload_part(1, b"b")
        """
        item = FileMetadataWrite(
            name=name,
            external_id=external_id,
            source=source,
            mime_type=mime_type,
            metadata=metadata,
            directory=directory,
            asset_ids=asset_ids,
            data_set_id=data_set_id,
            labels=labels,
            geo_location=geo_location,
            source_created_time=source_created_time,
            source_modified_time=source_modified_time,
            security_categories=security_categories,
        )
        return await self._new_session(item, parts, overwrite)

    async def _new_session(self, item: FileMetadataWrite, parts: int, overwrite: bool) -> FileMultipartUploadSession:
        answer = await self._create("/files/initmultipartupload", item, {"overwrite": overwrite, "parts": parts})
        return upload_session(self._client, answer)

    async def multipart_upload_content_session(
        self,
        parts: int,
        external_id: str | None = None,
        instance_id: NodeId | tuple[str, str] | None = None,
    ) -> FileMultipartUploadSession:
        """Begins an upload in parts for a file that was created before.

        Args:
            parts: Number of parts, 1 to 250.
            external_id: External id of the file. This or the instance id is needed.
            instance_id: Its instance id.

        Returns:
            A context manager; leaving it completes the upload.

        Raises:
            CogniteAuthorizationError: when the token may not do that.

        Example:
            >>> with client.files.multipart_upload_content_session(parts=1, external_id="report") as session:
            ...     session.upload_part(0, b"...")
        """
        identifiers = Identifiers(external_ids=external_id, instance_ids=instance_id)
        identifiers.single()
        body = {"items": identifiers.dicts()}
        try:
            answer = await self._post("/files/multiuploadlink", body, "upload", {"parts": parts})
        except CogniteAPIError as error:
            raise (_as_authorization(error, error.message) if error.code == 403 else error) from error
        return upload_session(self._client, answer["items"][0])

    async def _create(self, path: str, item: FileMetadataWrite, params: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._post(path, item.dump(), "upload", params)
        except CogniteAPIError as error:
            if error.code == 403 and "insufficient access rights" in error.message:
                advice = " A data_set_id may be needed." if item.data_set_id is None else ""
                raise _as_authorization(error, f"The token may not create this file.{advice}") from error
            raise

    async def _put(self, content: Content, created: dict[str, Any]) -> FileMetadata:
        file = FileMetadata.load(created)
        headers = {"Content-Type": file.mime_type} if file.mime_type is not None else {}
        url: str = created["uploadUrl"]
        if not url.startswith(("http://", "https://")):
            url = f"{self._client.config.base_url}/{url.lstrip('/')}"
        size = content_size(content)
        with Progress(f"Uploading {file.name}", size) as progress:
            await put_content(self._client, url, content, size, headers, progress)
        return file


def _as_authorization(error: CogniteAPIError, message: str) -> CogniteAuthorizationError:
    return CogniteAuthorizationError(
        message, error.code, x_request_id=error.x_request_id, cluster=error.cluster, project=error.project
    )
