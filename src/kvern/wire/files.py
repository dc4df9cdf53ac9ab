"""Files, as far as function code needs them (contract 7)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from kvern.wire.base import (
    LIST_DEFAULT,
    Body,
    ByIdOrExternalId,
    Cursor,
    ExternalId,
    Id,
    ListLimit,
    Milliseconds,
    Pairs,
    Prefix,
    Text,
    TimeRange,
    check_size,
)
from kvern.wire.changes import Change, FixedChange, ListChange, MapChange
from kvern.wire.metadata import Metadata, check_metadata

PARTS_MOST = 250
PART_LEAST = 5 * 1024**2
"""Bytes of every part but the last (contract 7.3)."""

PART_MOST = 4000 * 1024**2

FileName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
MimeType: TypeAlias = Annotated[str, Meta(max_length=256, pattern=r"^[\x20-\x7e]*$(?!\n)")]
"""Printable: it is sent back as a header."""

Directory: TypeAlias = Annotated[str, Meta(max_length=512, pattern="^/")]
Source: TypeAlias = Annotated[str, Meta(max_length=128)]
AssetIds: TypeAlias = Annotated[list[Id], Meta(max_length=1000)]
Label: TypeAlias = Annotated[dict[str, Text], Meta(max_length=10)]
Labels: TypeAlias = Annotated[list[Label], Meta(max_length=1000)]
FILTER_MOST = 1000
"""Ids, external ids and labels that one key of a filter names."""

Place: TypeAlias = Annotated[dict[str, Any], Meta(max_length=10)]
_PLACE_BYTES = 100_000


class FileWrite(Body):
    """The bare body of `POST /files`."""

    name: FileName
    external_id: ExternalId | None = None
    mime_type: MimeType | None = None
    directory: Directory | None = None
    source: Source | None = None
    metadata: Metadata | None = None
    data_set_id: Id | None = None
    asset_ids: AssetIds | None = None
    labels: Labels | None = None
    geo_location: Place | None = None
    security_categories: AssetIds | None = None
    source_created_time: Milliseconds | None = None
    source_modified_time: Milliseconds | None = None

    def __post_init__(self) -> None:
        check_metadata(self.metadata)
        check_size("geoLocation", self.geo_location, _PLACE_BYTES)
        if self.security_categories:
            # There are none here; to keep their ids without keeping readers out would only look safe.
            raise ValueError(
                "Expected no `securityCategories`, because this service has none: put the file into a data set, and "
                "limit filesAcl to it"
            )


class File(Body):
    id: Id
    name: str
    uploaded: bool
    created_time: Milliseconds
    last_updated_time: Milliseconds
    external_id: str | None = None
    mime_type: str | None = None
    directory: str | None = None
    source: str | None = None
    metadata: dict[str, str] | None = None
    data_set_id: Id | None = None
    asset_ids: list[Id] | None = None
    labels: list[dict[str, Any]] | None = None
    geo_location: dict[str, Any] | None = None
    security_categories: list[Id] | None = None
    source_created_time: Milliseconds | None = None
    source_modified_time: Milliseconds | None = None
    uploaded_time: Milliseconds | None = None
    upload_url: str | None = None
    upload_id: str | None = None
    upload_urls: list[str] | None = None


class InstanceId(Body):
    """How files of the data-modelling API are named. This service has none of them, so none is ever found."""

    space: Text
    external_id: Text


class FileId(Body):
    """Exactly one of the three."""

    id: Id | None = None
    external_id: ExternalId | None = None
    instance_id: InstanceId | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.id, self.external_id, self.instance_id)) != 1:
            raise ValueError("Expected exactly one of `id`, `externalId` and `instanceId`")

    def as_dict(self) -> dict[str, Any]:
        """The identifier in the shape in which it was sent."""
        if self.instance_id is not None:
            return {"instanceId": {"space": self.instance_id.space, "externalId": self.instance_id.external_id}}
        return {"id": self.id} if self.id is not None else {"externalId": self.external_id}


class FileIds(Body):
    items: Annotated[list[FileId], Meta(min_length=1, max_length=1000)]
    ignore_unknown_ids: bool | None = False


class DownloadIds(Body):
    items: Annotated[list[FileId], Meta(min_length=1, max_length=100)]


class DownloadLink(Body):
    """The identifier as it was asked for, and where the bytes are."""

    download_url: str
    id: Id | None = None
    external_id: str | None = None


class UploadIds(Body):
    items: Annotated[list[FileId], Meta(min_length=1, max_length=1)]


class UploadEnd(FileId, kw_only=True):
    """The body of `POST /files/completemultipartupload`."""

    upload_id: Annotated[str, Meta(min_length=1, max_length=255)]


class FileChanges(Body):
    name: FixedChange[FileName] | None = None
    external_id: Change[ExternalId] | None = None
    mime_type: Change[MimeType] | None = None
    directory: Change[Directory] | None = None
    source: Change[Source] | None = None
    metadata: MapChange | None = None
    data_set_id: Change[Id] | None = None
    asset_ids: ListChange[Id] | None = None
    labels: ListChange[Label] | None = None
    geo_location: Change[Place] | None = None
    security_categories: ListChange[Id] | None = None
    source_created_time: Change[Milliseconds] | None = None
    source_modified_time: Change[Milliseconds] | None = None


class FileUpdate(FileId, kw_only=True):
    update: FileChanges


class FileUpdates(Body):
    items: Annotated[list[FileUpdate], Meta(min_length=1, max_length=1000)]


class LabelFilter(Body):
    contains_any: Annotated[list[Label], Meta(max_length=FILTER_MOST)] | None = None
    contains_all: Annotated[list[Label], Meta(max_length=FILTER_MOST)] | None = None


class FileFilter(Body):
    """All given keys must hold. What would need assets or maps is refused, rather than left out unsaid."""

    name: Text | None = None
    external_id_prefix: Prefix | None = None
    directory_prefix: Text | None = None
    mime_type: Text | None = None
    source: Text | None = None
    uploaded: bool | None = None
    metadata: Pairs | None = None
    data_set_ids: Annotated[list[ByIdOrExternalId], Meta(max_length=FILTER_MOST)] | None = None
    asset_ids: Annotated[list[Id], Meta(max_length=FILTER_MOST)] | None = None
    labels: LabelFilter | None = None
    created_time: TimeRange | None = None
    last_updated_time: TimeRange | None = None
    uploaded_time: TimeRange | None = None
    source_created_time: TimeRange | None = None
    source_modified_time: TimeRange | None = None
    asset_external_ids: Annotated[list[Text], Meta(max_length=FILTER_MOST)] | None = None
    asset_subtree_ids: Annotated[list[Place], Meta(max_length=FILTER_MOST)] | None = None
    geo_location: Place | None = None

    def __post_init__(self) -> None:
        for name in ("asset_external_ids", "asset_subtree_ids", "geo_location"):
            if getattr(self, name) is not None:
                first, *rest = name.split("_")
                shown = first + "".join(word.title() for word in rest)
                raise ValueError(f"Expected a filter without `{shown}`: this service knows no assets and no places")


class FileQuery(Body):
    """`partition` is `m/n`: the m-th of n parts that together are the whole list, for reading in parallel."""

    filter: FileFilter | None = None
    limit: ListLimit | None = LIST_DEFAULT
    cursor: Cursor | None = None
    partition: Annotated[str, Meta(max_length=21, pattern=r"^[0-9]{1,10}/[0-9]{1,10}$")] | None = None

    def __post_init__(self) -> None:
        part, parts = self.share()
        if not 1 <= part <= parts:
            raise ValueError(f"Expected `m/n` with 1 <= m <= n as `partition`, given {self.partition}")

    def share(self) -> tuple[int, int]:
        """`partition` as two numbers; the whole when it was not given."""
        if self.partition is None:
            return 1, 1
        part, _, parts = self.partition.partition("/")
        return int(part), int(parts)


class SecurityCategory(Body):
    id: Id
    name: str
