"""The synchronous twin of `kvern.client.api.files`, written by `kvern.client.derive`: do not edit."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from kvern.client.api.files import FilesAPI
from kvern.client.data_classes.files import FileMetadata, FileMetadataList, FileMetadataWrite
from kvern.client.data_classes.functions import DEFAULT_LIMIT_READ
from kvern.client.data_classes.shared import GeoLocationFilter, LabelFilter, TimestampRange
from kvern.client.identifiers import NodeId
from kvern.client.loop import SyncIterator, run_sync
from kvern.client.sequences import SequenceNotStr
from kvern.client.sync.downloads import SyncFileDownloads
from kvern.client.sync.uploads import SyncFileUploads


class SyncFilesAPI(SyncFileUploads, SyncFileDownloads):
    """Files: what functions are made from, and anything else that they read and write."""

    def __init__(self, api: FilesAPI) -> None:
        SyncFileUploads.__init__(self, api)
        SyncFileDownloads.__init__(self, api)
        self.__api = api

    @overload
    def __call__(
        self,
        chunk_size: None = None,
        name: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        asset_ids: Sequence[int] | None = None,
        asset_external_ids: SequenceNotStr[str] | None = None,
        asset_subtree_ids: int | Sequence[int] | None = None,
        asset_subtree_external_ids: str | SequenceNotStr[str] | None = None,
        data_set_ids: int | Sequence[int] | None = None,
        data_set_external_ids: str | SequenceNotStr[str] | None = None,
        labels: LabelFilter | None = None,
        geo_location: GeoLocationFilter | None = None,
        source: str | None = None,
        created_time: dict[str, Any] | TimestampRange | None = None,
        last_updated_time: dict[str, Any] | TimestampRange | None = None,
        source_created_time: dict[str, Any] | TimestampRange | None = None,
        source_modified_time: dict[str, Any] | TimestampRange | None = None,
        uploaded_time: dict[str, Any] | TimestampRange | None = None,
        external_id_prefix: str | None = None,
        directory_prefix: str | None = None,
        uploaded: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[FileMetadata]: ...
    @overload
    def __call__(
        self,
        chunk_size: int,
        name: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        asset_ids: Sequence[int] | None = None,
        asset_external_ids: SequenceNotStr[str] | None = None,
        asset_subtree_ids: int | Sequence[int] | None = None,
        asset_subtree_external_ids: str | SequenceNotStr[str] | None = None,
        data_set_ids: int | Sequence[int] | None = None,
        data_set_external_ids: str | SequenceNotStr[str] | None = None,
        labels: LabelFilter | None = None,
        geo_location: GeoLocationFilter | None = None,
        source: str | None = None,
        created_time: dict[str, Any] | TimestampRange | None = None,
        last_updated_time: dict[str, Any] | TimestampRange | None = None,
        source_created_time: dict[str, Any] | TimestampRange | None = None,
        source_modified_time: dict[str, Any] | TimestampRange | None = None,
        uploaded_time: dict[str, Any] | TimestampRange | None = None,
        external_id_prefix: str | None = None,
        directory_prefix: str | None = None,
        uploaded: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[FileMetadataList]: ...
    def __call__(
        self,
        chunk_size: int | None = None,
        name: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        asset_ids: Sequence[int] | None = None,
        asset_external_ids: SequenceNotStr[str] | None = None,
        asset_subtree_ids: int | Sequence[int] | None = None,
        asset_subtree_external_ids: str | SequenceNotStr[str] | None = None,
        data_set_ids: int | Sequence[int] | None = None,
        data_set_external_ids: str | SequenceNotStr[str] | None = None,
        labels: LabelFilter | None = None,
        geo_location: GeoLocationFilter | None = None,
        source: str | None = None,
        created_time: dict[str, Any] | TimestampRange | None = None,
        last_updated_time: dict[str, Any] | TimestampRange | None = None,
        source_created_time: dict[str, Any] | TimestampRange | None = None,
        source_modified_time: dict[str, Any] | TimestampRange | None = None,
        uploaded_time: dict[str, Any] | TimestampRange | None = None,
        external_id_prefix: str | None = None,
        directory_prefix: str | None = None,
        uploaded: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[FileMetadata | FileMetadataList]:
        """Iterates over files, fetching them page by page.

        Args:
            chunk_size: How many to give at a time; one by one if None.
            name: The exact name.
            mime_type: The exact type.
            metadata: Pairs that must all be there.
            asset_ids: Files of any of these assets.
            asset_external_ids: The same, by external id.
            asset_subtree_ids: Files of any asset below these.
            asset_subtree_external_ids: The same, by external id.
            data_set_ids: Files in any of these data sets.
            data_set_external_ids: The same, by external id.
            labels: Labels that they must bear.
            geo_location: Where on Earth they must belong.
            source: The exact source.
            created_time: A range, in milliseconds since the epoch.
            last_updated_time: A range, in milliseconds since the epoch.
            source_created_time: A range, in milliseconds since the epoch.
            source_modified_time: A range, in milliseconds since the epoch.
            uploaded_time: A range, in milliseconds since the epoch.
            external_id_prefix: How the external id begins.
            directory_prefix: How the directory begins.
            uploaded: Whether the content is there.
            limit: How many at most; -1, `float("inf")` or None for all.

        Example:
            >>> for file in client.files():
            ...     print(file.name)
        """
        return SyncIterator(
            self.__api(
                chunk_size,
                name,
                mime_type,
                metadata,
                asset_ids,
                asset_external_ids,
                asset_subtree_ids,
                asset_subtree_external_ids,
                data_set_ids,
                data_set_external_ids,
                labels,
                geo_location,
                source,
                created_time,
                last_updated_time,
                source_created_time,
                source_modified_time,
                uploaded_time,
                external_id_prefix,
                directory_prefix,
                uploaded,
                limit,
            )
        )

    def list(
        self,
        name: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        asset_ids: Sequence[int] | None = None,
        asset_external_ids: SequenceNotStr[str] | None = None,
        asset_subtree_ids: int | Sequence[int] | None = None,
        asset_subtree_external_ids: str | SequenceNotStr[str] | None = None,
        data_set_ids: int | Sequence[int] | None = None,
        data_set_external_ids: str | SequenceNotStr[str] | None = None,
        labels: LabelFilter | None = None,
        geo_location: GeoLocationFilter | None = None,
        source: str | None = None,
        created_time: dict[str, Any] | TimestampRange | None = None,
        last_updated_time: dict[str, Any] | TimestampRange | None = None,
        source_created_time: dict[str, Any] | TimestampRange | None = None,
        source_modified_time: dict[str, Any] | TimestampRange | None = None,
        uploaded_time: dict[str, Any] | TimestampRange | None = None,
        external_id_prefix: str | None = None,
        directory_prefix: str | None = None,
        uploaded: bool | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
        partitions: int | None = None,
    ) -> FileMetadataList:
        """Lists files.

        Args:
            name: The exact name.
            mime_type: The exact type.
            metadata: Pairs that must all be there.
            asset_ids: Files of any of these assets.
            asset_external_ids: The same, by external id.
            asset_subtree_ids: Files of any asset below these.
            asset_subtree_external_ids: The same, by external id.
            data_set_ids: Files in any of these data sets.
            data_set_external_ids: The same, by external id.
            labels: Labels that they must bear.
            geo_location: Where on Earth they must belong.
            source: The exact source.
            created_time: A range, in milliseconds since the epoch.
            last_updated_time: A range, in milliseconds since the epoch.
            source_created_time: A range, in milliseconds since the epoch.
            source_modified_time: A range, in milliseconds since the epoch.
            uploaded_time: A range, in milliseconds since the epoch.
            external_id_prefix: How the external id begins.
            directory_prefix: How the directory begins.
            uploaded: Whether the content is there.
            limit: How many at most; -1, `float("inf")` or None for all.
            partitions: Accepted for compatibility: the list is read in one go.

        Example:
            >>> files = client.files.list(uploaded=True, limit=None)
        """
        return run_sync(
            self.__api.list(
                name,
                mime_type,
                metadata,
                asset_ids,
                asset_external_ids,
                asset_subtree_ids,
                asset_subtree_external_ids,
                data_set_ids,
                data_set_external_ids,
                labels,
                geo_location,
                source,
                created_time,
                last_updated_time,
                source_created_time,
                source_modified_time,
                uploaded_time,
                external_id_prefix,
                directory_prefix,
                uploaded,
                limit,
                partitions,
            )
        )

    def create(
        self, file_metadata: FileMetadata | FileMetadataWrite, overwrite: bool = False
    ) -> tuple[FileMetadata, str]:
        """Creates a file without content.

        Args:
            file_metadata: The file.
            overwrite: Replace what has this external id.

        Returns:
            The file, and the URL that its content is to be put to.

        Raises:
            CogniteDuplicatedError: when the external id is taken and not to be overwritten.

        Example:
            >>> file, upload_url = client.files.create(FileMetadataWrite(name="later.bin"))
        """
        return run_sync(self.__api.create(file_metadata, overwrite))

    def retrieve(
        self, id: int | None = None, external_id: str | None = None, instance_id: NodeId | None = None
    ) -> FileMetadata | None:
        """Retrieves one file.

        Args:
            id: Its id. Exactly one identifier is needed.
            external_id: Its external id.
            instance_id: Its instance id.

        Returns:
            The file, or None if there is none.

        Raises:
            ValueError: unless exactly one identifier is given.

        Example:
            >>> file = client.files.retrieve(id=file.id)
        """
        return run_sync(self.__api.retrieve(id, external_id, instance_id))

    def retrieve_multiple(
        self,
        ids: Sequence[int] | None = None,
        external_ids: SequenceNotStr[str] | None = None,
        instance_ids: Sequence[NodeId] | None = None,
        ignore_unknown_ids: bool = False,
    ) -> FileMetadataList:
        """Retrieves several files.

        Args:
            ids: Their ids.
            external_ids: Their external ids.
            instance_ids: Their instance ids.
            ignore_unknown_ids: Leave out what does not exist.

        Raises:
            CogniteNotFoundError: when one of them does not exist, unless ignored.

        Example:
            >>> files = client.files.retrieve_multiple(ids=[file.id])
        """
        return run_sync(self.__api.retrieve_multiple(ids, external_ids, instance_ids, ignore_unknown_ids))

    def delete(
        self,
        id: int | Sequence[int] | None = None,
        external_id: str | SequenceNotStr[str] | None = None,
        ignore_unknown_ids: bool = False,
    ) -> None:
        """Deletes files; functions that were made from them keep working.

        Args:
            id: One id or several.
            external_id: One external id or several.
            ignore_unknown_ids: Pass over what does not exist.

        Raises:
            CogniteNotFoundError: when one of them does not exist, unless ignored.

        Example:
            >>> client.files.delete(id=file.id)
        """
        return run_sync(self.__api.delete(id, external_id, ignore_unknown_ids))
