"""Files, as far as function code needs them (contract 7)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kvern.client.data_classes._base import (
    CogniteFilter,
    CogniteResourceList,
    ExternalIDTransformerMixin,
    IdTransformerMixin,
    WriteableCogniteResource,
    WriteableCogniteResourceList,
)
from kvern.client.data_classes.shared import (
    GeoLocation,
    GeoLocationFilter,
    Label,
    LabelFilter,
    TimestampRange,
    labels_of,
)
from kvern.client.identifiers import NodeId
from kvern.client.sequences import SequenceNotStr

if TYPE_CHECKING:
    from typing_extensions import Self


class FileMetadataCore(WriteableCogniteResource["FileMetadataWrite"], ABC):
    """What a file has when it is written and when it is read.

    Args:
        external_id: Your own identifier, unique among files, at most 255 characters.
        name: Name, at most 256 characters.
        source: Where it comes from.
        mime_type: Such as `application/zip`.
        metadata: Your own key-value pairs.
        directory: An absolute POSIX path.
        asset_ids: Assets that it belongs to.
        data_set_id: The data set that it is in.
        labels: Labels that it bears.
        geo_location: Where on Earth it belongs.
        source_created_time: When it was made at its source, in milliseconds since the epoch.
        source_modified_time: When it was changed at its source, in milliseconds since the epoch.
        security_categories: Ids of the categories that a reader needs.
    """

    def __init__(
        self,
        external_id: str | None,
        name: str,
        source: str | None,
        mime_type: str | None,
        metadata: dict[str, str] | None,
        directory: str | None,
        asset_ids: Sequence[int] | None,
        data_set_id: int | None,
        labels: Sequence[Label] | None,
        geo_location: GeoLocation | None,
        source_created_time: int | None,
        source_modified_time: int | None,
        security_categories: Sequence[int] | None,
    ) -> None:
        if isinstance(geo_location, dict):
            geo_location = GeoLocation.load(geo_location)
        if geo_location is not None and not isinstance(geo_location, GeoLocation):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Expected geo_location to be a GeoLocation, got {type(geo_location).__name__}")
        self.external_id = external_id
        self.name = name
        self.directory = directory
        self.source = source
        self.mime_type = mime_type
        self.metadata = metadata
        self.asset_ids = asset_ids
        self.data_set_id = data_set_id
        self.labels: list[Label] | None = labels_of(labels)
        self.geo_location = geo_location
        self.source_created_time = source_created_time
        self.source_modified_time = source_modified_time
        self.security_categories = security_categories

    @classmethod
    def _load_field(cls, name: str, value: Any) -> Any:
        if name == "geo_location":
            return GeoLocation.load_if(value)
        if name == "instance_id":
            return None if value is None else NodeId.load(value)
        return (value or None) if name == "labels" else value

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The fields that are set, as a dictionary that JSON can hold.

        Args:
            camel_case: Names as on the wire; else as in Python.
        """
        dumped = super().dump(camel_case)
        if self.labels is not None:
            dumped["labels"] = [label.dump(camel_case) for label in self.labels]
        return dumped


class FileMetadata(FileMetadataCore):
    """A file as the server has it; its content is fetched separately.

    Args:
        id: Server-generated.
        uploaded: Whether its content is there.
        created_time: Milliseconds since the epoch.
        last_updated_time: Milliseconds since the epoch.
        name: Name.
        uploaded_time: When its content came, in milliseconds since the epoch.
        external_id: Your own identifier, unique among files.
        instance_id: Its identity in data modelling.
        source: Where it comes from.
        mime_type: Such as `application/zip`.
        metadata: Your own key-value pairs.
        directory: An absolute POSIX path.
        asset_ids: Assets that it belongs to.
        data_set_id: The data set that it is in.
        labels: Labels that it bears.
        geo_location: Where on Earth it belongs.
        source_created_time: When it was made at its source, in milliseconds since the epoch.
        source_modified_time: When it was changed at its source, in milliseconds since the epoch.
        security_categories: Ids of the categories that a reader needs.
    """

    def __init__(
        self,
        id: int,
        uploaded: bool,
        created_time: int,
        last_updated_time: int,
        name: str,
        uploaded_time: int | None = None,
        external_id: str | None = None,
        instance_id: NodeId | None = None,
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
    ) -> None:
        super().__init__(
            external_id,
            name,
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
        )
        self.id = id
        self.instance_id = instance_id
        self.created_time = created_time
        self.last_updated_time = last_updated_time
        self.uploaded = uploaded
        self.uploaded_time = uploaded_time

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The fields that are set, as a dictionary that JSON can hold.

        Args:
            camel_case: Names as on the wire; else as in Python.
        """
        dumped = super().dump(camel_case)
        if self.instance_id is not None:
            key = "instanceId" if camel_case else "instance_id"
            dumped[key] = self.instance_id.dump(camel_case, include_instance_type=False)
        return dumped

    def as_write(self) -> FileMetadataWrite:
        """What to send in order to create the same again.

        Raises:
            ValueError: for a file of data modelling, which the Files API cannot create.
        """
        if self.instance_id is not None:
            raise ValueError(f"File {self.id} belongs to data modelling: the Files API cannot create it again")
        return FileMetadataWrite(
            name=self.name,
            external_id=self.external_id,
            source=self.source,
            mime_type=self.mime_type,
            metadata=self.metadata,
            directory=self.directory,
            asset_ids=self.asset_ids,
            data_set_id=self.data_set_id,
            labels=self.labels,
            geo_location=self.geo_location,
            source_created_time=self.source_created_time,
            source_modified_time=self.source_modified_time,
            security_categories=self.security_categories,
        )


class FileMetadataWrite(FileMetadataCore):
    """What is sent in order to create a file; its content is uploaded separately.

    Args:
        name: Name, at most 256 characters.
        external_id: Your own identifier, unique among files, at most 255 characters.
        source: Where it comes from.
        mime_type: Such as `application/zip`.
        metadata: Your own key-value pairs.
        directory: An absolute POSIX path.
        asset_ids: Assets that it belongs to.
        data_set_id: The data set that it is in.
        labels: Labels that it bears.
        geo_location: Where on Earth it belongs.
        source_created_time: When it was made at its source, in milliseconds since the epoch.
        source_modified_time: When it was changed at its source, in milliseconds since the epoch.
        security_categories: Ids of the categories that a reader needs.
    """

    def __init__(
        self,
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
    ) -> None:
        super().__init__(
            external_id,
            name,
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
        )

    def as_write(self) -> Self:
        """Itself."""
        return self


class FileMetadataFilter(CogniteFilter):
    """Narrows a list of files down; all conditions must hold.

    Args:
        name: The exact name.
        mime_type: The exact type.
        metadata: Pairs that must all be there.
        asset_ids: Files of any of these assets.
        asset_external_ids: The same, by external id.
        data_set_ids: Files in any of these data sets, each `{"id": ...}` or `{"externalId": ...}`.
        labels: Labels that they must bear.
        geo_location: Where on Earth they must belong.
        asset_subtree_ids: Files of any asset below these.
        source: The exact source.
        created_time: A range, in milliseconds since the epoch.
        last_updated_time: A range, in milliseconds since the epoch.
        uploaded_time: A range, in milliseconds since the epoch.
        source_created_time: A range, in milliseconds since the epoch.
        source_modified_time: A range, in milliseconds since the epoch.
        external_id_prefix: How the external id begins.
        directory_prefix: How the directory begins.
        uploaded: Whether the content is there.
    """

    def __init__(
        self,
        name: str | None = None,
        mime_type: str | None = None,
        metadata: dict[str, str] | None = None,
        asset_ids: Sequence[int] | None = None,
        asset_external_ids: SequenceNotStr[str] | None = None,
        data_set_ids: Sequence[dict[str, Any]] | None = None,
        labels: LabelFilter | None = None,
        geo_location: GeoLocationFilter | None = None,
        asset_subtree_ids: Sequence[dict[str, Any]] | None = None,
        source: str | None = None,
        created_time: dict[str, Any] | TimestampRange | None = None,
        last_updated_time: dict[str, Any] | TimestampRange | None = None,
        uploaded_time: dict[str, Any] | TimestampRange | None = None,
        source_created_time: dict[str, Any] | TimestampRange | None = None,
        source_modified_time: dict[str, Any] | TimestampRange | None = None,
        external_id_prefix: str | None = None,
        directory_prefix: str | None = None,
        uploaded: bool | None = None,
    ) -> None:
        if labels is not None and not isinstance(labels, LabelFilter):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Expected labels to be a LabelFilter, got {type(labels).__name__}")
        if geo_location is not None and not isinstance(geo_location, GeoLocationFilter):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Expected geo_location to be a GeoLocationFilter, got {type(geo_location).__name__}")
        self.name = name
        self.mime_type = mime_type
        self.metadata = metadata
        self.asset_ids = asset_ids
        self.asset_external_ids = asset_external_ids
        self.data_set_ids = data_set_ids
        self.labels = labels
        self.geo_location = geo_location
        self.asset_subtree_ids = asset_subtree_ids
        self.source = source
        self.created_time = created_time
        self.last_updated_time = last_updated_time
        self.uploaded_time = uploaded_time
        self.source_created_time = source_created_time
        self.source_modified_time = source_modified_time
        self.external_id_prefix = external_id_prefix
        self.directory_prefix = directory_prefix
        self.uploaded = uploaded


class FileMetadataWriteList(CogniteResourceList[FileMetadataWrite], ExternalIDTransformerMixin):
    """Files to be created."""

    _RESOURCE = FileMetadataWrite


class FileMetadataList(WriteableCogniteResourceList[FileMetadataWrite, FileMetadata], IdTransformerMixin):
    """Files."""

    _RESOURCE = FileMetadata

    def as_write(self) -> FileMetadataWriteList:
        """What to send in order to create the same again."""
        return FileMetadataWriteList([file.as_write() for file in self])


def __getattr__(name: str) -> Any:
    # It sends requests, which the data classes themselves know nothing of.
    if name == "FileMultipartUploadSession":
        from kvern.client.content import FileMultipartUploadSession

        return FileMultipartUploadSession
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
