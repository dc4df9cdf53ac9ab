"""The synchronous twin of `kvern.client.api.uploads`, written by `kvern.client.derive`: do not edit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from kvern.client.api.uploads import FileUploads
from kvern.client.content import (
    FileMultipartUploadSession,
)
from kvern.client.data_classes.files import FileMetadata, FileMetadataList
from kvern.client.data_classes.shared import GeoLocation, Label
from kvern.client.identifiers import NodeId
from kvern.client.loop import run_sync

if TYPE_CHECKING:
    from pathlib import Path


class SyncFileUploads:
    """The part of the Files API that puts content into files."""

    def __init__(self, api: FileUploads) -> None:
        self.__api = api

    def upload_content(
        self, path: Path | str, external_id: str | None = None, instance_id: NodeId | tuple[str, str] | None = None
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
        return run_sync(self.__api.upload_content(path, external_id, instance_id))

    def upload(
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
        return run_sync(
            self.__api.upload(
                path,
                external_id,
                name,
                source,
                mime_type,
                metadata,
                directory,
                asset_ids,
                source_created_time,
                source_modified_time,
                data_set_id,
                labels,
                geo_location,
                security_categories,
                recursive,
                overwrite,
            )
        )

    def upload_content_bytes(
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
        return run_sync(self.__api.upload_content_bytes(content, external_id, instance_id))

    def upload_bytes(
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
        return run_sync(
            self.__api.upload_bytes(
                content,
                name,
                external_id,
                source,
                mime_type,
                metadata,
                directory,
                asset_ids,
                data_set_id,
                labels,
                geo_location,
                source_created_time,
                source_modified_time,
                security_categories,
                overwrite,
            )
        )

    def multipart_upload_session(
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
        return run_sync(
            self.__api.multipart_upload_session(
                name,
                parts,
                external_id,
                source,
                mime_type,
                metadata,
                directory,
                asset_ids,
                data_set_id,
                labels,
                geo_location,
                source_created_time,
                source_modified_time,
                security_categories,
                overwrite,
            )
        )

    def multipart_upload_content_session(
        self, parts: int, external_id: str | None = None, instance_id: NodeId | tuple[str, str] | None = None
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
        return run_sync(self.__api.multipart_upload_content_session(parts, external_id, instance_id))
