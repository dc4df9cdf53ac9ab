"""Data sets, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, RowMapping, insert, select, update

from kvern.store import deadline
from kvern.store.batches import batched
from kvern.store.tables import data_sets


@dataclass(slots=True, kw_only=True)
class DataSetRecord:
    """A row of `data_sets`."""

    id: int
    project: str
    created_time: int
    last_updated_time: int
    write_protected: bool = False
    external_id: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None


def _values(record: DataSetRecord) -> dict[str, Any]:
    metadata = None if record.metadata is None else msgspec.json.encode(record.metadata).decode()
    return {**asdict(record), "metadata": metadata}


def _record(row: RowMapping) -> DataSetRecord:
    values = dict(cast(dict[str, Any], row))
    values["metadata"] = None if values["metadata"] is None else msgspec.json.decode(values["metadata"])
    return DataSetRecord(**values)


def add(connection: Connection, record: DataSetRecord) -> None:
    """Raises `IntegrityError` when the external id is taken."""
    connection.execute(insert(data_sets), _values(record))


def save(connection: Connection, record: DataSetRecord) -> None:
    """Write all of a data set. Raises `IntegrityError` when the external id is taken."""
    connection.execute(update(data_sets).where(data_sets.c.id == record.id).values(_values(record)))


def get(connection: Connection, project: str, data_set_id: int) -> DataSetRecord | None:
    return _one(connection, project, data_sets.c.id == data_set_id)


def by_external_id(connection: Connection, project: str, external_id: str) -> DataSetRecord | None:
    return _one(connection, project, data_sets.c.external_id == external_id)


def several(connection: Connection, project: str, ids: set[int], external_ids: set[str]) -> list[DataSetRecord]:
    """Those of a project that have one of these ids or external ids; each once."""
    found: dict[int, DataSetRecord] = {}
    for column, values in ((data_sets.c.id, ids), (data_sets.c.external_id, external_ids)):
        for some in batched(sorted(values)):
            statement = select(data_sets).where(data_sets.c.project == project, column.in_(some))
            found |= {row["id"]: _record(row) for row in connection.execute(statement).mappings()}
    return list(found.values())


def _one(connection: Connection, project: str, condition: Any) -> DataSetRecord | None:
    statement = select(data_sets).where(data_sets.c.project == project, condition)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _record(row)


def after(connection: Connection, project: str, data_set_id: int) -> Iterator[DataSetRecord]:
    """All data sets of a project with a greater id, by id."""
    statement = select(data_sets).where(data_sets.c.project == project, data_sets.c.id > data_set_id)
    for row in connection.execute(statement.order_by(data_sets.c.id)).mappings():
        deadline.check(connection)
        yield _record(row)
