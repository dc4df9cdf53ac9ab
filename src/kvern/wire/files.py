"""Files, as far as function code needs them (contract 7)."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from kvern.wire.base import Body, ByIdOrExternalId, Cursor, ExternalId, Id, ListLimit, Milliseconds, Prefix, TimeRange

Metadata: TypeAlias = Annotated[dict[str, str], Meta(max_length=256)]

_METADATA_BYTES = 10_240
_METADATA_KEY_BYTES = 128


class FileWrite(Body):
    """The bare body of `POST /files`."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    external_id: ExternalId | None = None
    mime_type: Annotated[str, Meta(max_length=256, pattern=r"^[\x20-\x7e]*$")] | None = None
    directory: Annotated[str, Meta(max_length=512, pattern="^/")] | None = None
    source: Annotated[str, Meta(max_length=128)] | None = None
    metadata: Metadata | None = None
    data_set_id: Id | None = None
    asset_ids: Annotated[list[Id], Meta(max_length=1000)] | None = None
    labels: list[dict[str, Any]] | None = None
    geo_location: dict[str, Any] | None = None
    security_categories: list[Id] | None = None
    source_created_time: Milliseconds | None = None
    source_modified_time: Milliseconds | None = None

    def __post_init__(self) -> None:
        total = 0
        for key, value in (self.metadata or {}).items():
            if len(key.encode()) > _METADATA_KEY_BYTES:
                raise ValueError(f"Expected metadata keys of at most {_METADATA_KEY_BYTES} bytes")
            total += len(key.encode()) + len(value.encode())
        if total > _METADATA_BYTES:
            raise ValueError(f"Expected at most {_METADATA_BYTES} bytes of metadata, given {total}")


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


class FileIds(Body):
    items: Annotated[list[ByIdOrExternalId], Meta(min_length=1, max_length=1000)]
    ignore_unknown_ids: bool = False


class DownloadIds(Body):
    items: Annotated[list[ByIdOrExternalId], Meta(min_length=1, max_length=100)]


class DownloadLink(Body):
    """The identifier as it was asked for, and where the bytes are."""

    download_url: str
    id: Id | None = None
    external_id: str | None = None


class FileFilter(Body):
    name: str | None = None
    external_id_prefix: Prefix | None = None
    directory_prefix: str | None = None
    mime_type: str | None = None
    source: str | None = None
    uploaded: bool | None = None
    metadata: dict[str, str] | None = None
    data_set_ids: list[ByIdOrExternalId] | None = None
    created_time: TimeRange | None = None
    last_updated_time: TimeRange | None = None
    uploaded_time: TimeRange | None = None


class FileQuery(Body):
    filter: FileFilter | None = None
    limit: ListLimit = 100
    cursor: Cursor | None = None
