"""Which files a filter means (contract 7.2)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from kvern.service.ranges import in_range
from kvern.store.files import FileRecord
from kvern.wire import files as wire


def matches(record: FileRecord, wanted: wire.FileFilter, data_sets: AbstractSet[int] | None) -> bool:
    """Whether all given keys of a filter hold for a file.

    Args:
        data_sets: the ids of the data sets that the filter names; None when it names none.
    """
    return (
        _equal(record, wanted)
        and _begins(record, wanted)
        and _holds(record.details, wanted)
        and (data_sets is None or record.details.get("dataSetId") in data_sets)
        and _in_time(record, wanted)
    )


def _equal(record: FileRecord, wanted: wire.FileFilter) -> bool:
    pairs = (
        (wanted.name, record.name),
        (wanted.mime_type, record.mime_type),
        (wanted.source, record.details.get("source")),
        (wanted.uploaded, record.blob is not None),
    )
    return all(want is None or want == have for want, have in pairs)


def _begins(record: FileRecord, wanted: wire.FileFilter) -> bool:
    """Case-sensitive; what is absent has no beginning, not even an empty one."""
    pairs: tuple[tuple[str | None, str | None], ...] = (
        (wanted.external_id_prefix, record.external_id),
        (wanted.directory_prefix, record.details.get("directory")),
    )
    return all(want is None or (have is not None and have.startswith(want)) for want, have in pairs)


def _holds(details: dict[str, Any], wanted: wire.FileFilter) -> bool:
    if wanted.metadata is not None and not (wanted.metadata.items() <= (details.get("metadata") or {}).items()):
        return False
    if wanted.asset_ids is not None and not set(wanted.asset_ids) & set(details.get("assetIds") or ()):
        return False
    if wanted.labels is None:
        return True
    labels: set[str] = {label["externalId"] for label in details.get("labels") or () if _is_named(label)}
    some = {label.get("externalId") for label in wanted.labels.contains_any or ()}
    every = {label.get("externalId") for label in wanted.labels.contains_all or ()}
    return (not some or bool(some & labels)) and every <= labels


def _is_named(label: dict[str, Any]) -> bool:
    return isinstance(label.get("externalId"), str)


def _in_time(record: FileRecord, wanted: wire.FileFilter) -> bool:
    pairs = (
        (wanted.created_time, record.created_time),
        (wanted.last_updated_time, record.last_updated_time),
        (wanted.uploaded_time, record.uploaded_time),
        (wanted.source_created_time, record.details.get("sourceCreatedTime")),
        (wanted.source_modified_time, record.details.get("sourceModifiedTime")),
    )
    return all(in_range(span, value) for span, value in pairs)
