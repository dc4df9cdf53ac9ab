"""Data sets: what files belong to, and what capabilities can be limited to (contract 8)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

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
    TimeRange,
)
from kvern.wire.changes import Change, FixedChange, MapChange
from kvern.wire.metadata import Metadata, check_metadata

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=50)]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=500)]


class DataSetWrite(Body):
    external_id: ExternalId | None = None
    name: Name | None = None
    description: Description | None = None
    metadata: Metadata | None = None
    write_protected: bool | None = None

    def __post_init__(self) -> None:
        check_metadata(self.metadata)


class DataSetWrites(Body):
    items: Annotated[list[DataSetWrite], Meta(min_length=1, max_length=10)]


class DataSet(Body):
    id: Id
    write_protected: bool
    created_time: Milliseconds
    last_updated_time: Milliseconds
    external_id: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None


class DataSetIds(Body):
    items: Annotated[list[ByIdOrExternalId], Meta(min_length=1, max_length=1000)]
    ignore_unknown_ids: bool | None = False


class DataSetChanges(Body):
    external_id: Change[ExternalId] | None = None
    name: Change[Name] | None = None
    description: Change[Description] | None = None
    metadata: MapChange | None = None
    write_protected: FixedChange[bool] | None = None


class DataSetUpdate(ByIdOrExternalId, kw_only=True):
    update: DataSetChanges


class DataSetUpdates(Body):
    items: Annotated[list[DataSetUpdate], Meta(min_length=1, max_length=1000)]


class DataSetFilter(Body):
    """All given keys must hold."""

    external_id_prefix: Prefix | None = None
    write_protected: bool | None = None
    metadata: Pairs | None = None
    created_time: TimeRange | None = None
    last_updated_time: TimeRange | None = None


class DataSetQuery(Body):
    filter: DataSetFilter | None = None
    limit: ListLimit | None = LIST_DEFAULT
    cursor: Cursor | None = None
