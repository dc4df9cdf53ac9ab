"""Files, as far as function code needs them (contract 7)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, overload

from kvern.client.api.downloads import FileDownloads
from kvern.client.api.uploads import FileUploads
from kvern.client.data_classes._base import attach
from kvern.client.data_classes.files import FileMetadata, FileMetadataFilter, FileMetadataList, FileMetadataWrite
from kvern.client.data_classes.functions import DEFAULT_LIMIT_READ
from kvern.client.data_classes.shared import GeoLocationFilter, LabelFilter, TimestampRange
from kvern.client.identifiers import Identifiers, NodeId
from kvern.client.sequences import SequenceNotStr

_PATH = "/files"
_PAGE = 1000


class FilesAPI(FileUploads, FileDownloads):
    """Files: what functions are made from, and anything else that they read and write."""

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
    ) -> AsyncIterator[FileMetadata]: ...
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
    ) -> AsyncIterator[FileMetadataList]: ...
    async def __call__(
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
    ) -> AsyncIterator[FileMetadata | FileMetadataList]:
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
        conditions = FileMetadataFilter(
            name=name,
            mime_type=mime_type,
            metadata=metadata,
            asset_ids=asset_ids,
            asset_external_ids=asset_external_ids,
            data_set_ids=_either(data_set_ids, data_set_external_ids, "data_set"),
            labels=labels,
            geo_location=geo_location,
            asset_subtree_ids=_either(asset_subtree_ids, asset_subtree_external_ids, "asset_subtree"),
            source=source,
            created_time=created_time,
            last_updated_time=last_updated_time,
            uploaded_time=uploaded_time,
            source_created_time=source_created_time,
            source_modified_time=source_modified_time,
            external_id_prefix=external_id_prefix,
            directory_prefix=directory_prefix,
            uploaded=uploaded,
        ).dump()
        waiting: list[dict[str, Any]] = []
        async for page in self._pages("POST", f"{_PATH}/list", conditions, limit, _PAGE):
            waiting.extend(page)
            if chunk_size is None:
                for item in waiting:
                    yield attach(FileMetadata.load(item), self._client)
                waiting.clear()
                continue
            while len(waiting) >= chunk_size:
                yield attach(FileMetadataList.load(waiting[:chunk_size]), self._client)
                del waiting[:chunk_size]
        if waiting:
            yield attach(FileMetadataList.load(waiting), self._client)

    async def list(
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
        conditions = FileMetadataFilter(
            name=name,
            mime_type=mime_type,
            metadata=metadata,
            asset_ids=asset_ids,
            asset_external_ids=asset_external_ids,
            data_set_ids=_either(data_set_ids, data_set_external_ids, "data_set"),
            labels=labels,
            geo_location=geo_location,
            asset_subtree_ids=_either(asset_subtree_ids, asset_subtree_external_ids, "asset_subtree"),
            source=source,
            created_time=created_time,
            last_updated_time=last_updated_time,
            uploaded_time=uploaded_time,
            source_created_time=source_created_time,
            source_modified_time=source_modified_time,
            external_id_prefix=external_id_prefix,
            directory_prefix=directory_prefix,
            uploaded=uploaded,
        ).dump()
        return await self._list(FileMetadataList, "POST", f"{_PATH}/list", conditions, limit, _PAGE)

    async def create(
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
        item = file_metadata.as_write()
        answer = await self._post(_PATH, item.dump(), "upload", {"overwrite": overwrite})
        return FileMetadata.load(answer), answer["uploadUrl"]

    async def retrieve(
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
        return await self._one_by_id(FileMetadataList, _PATH, Identifiers(id, external_id, instance_id))

    async def retrieve_multiple(
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
        identifiers = Identifiers(ids, external_ids, instance_ids)
        return await self._by_ids(FileMetadataList, _PATH, identifiers, ignore_unknown_ids)

    async def delete(
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
        await self._delete(f"{_PATH}/delete", Identifiers(id, external_id), _PAGE, ignoreUnknownIds=ignore_unknown_ids)


def _either(
    ids: int | Sequence[int] | None, external_ids: str | SequenceNotStr[str] | None, name: str
) -> list[dict[str, Any]] | None:
    if ids is None and external_ids is None:
        return None
    return Identifiers(ids, external_ids, name=name).dicts()
