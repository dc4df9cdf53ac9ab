"""Functions, as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from kvern.store.tables import attempts, call_logs, calls, functions, schedules, ticks


@dataclass(slots=True, kw_only=True)
class FunctionRecord:
    """A row of `functions`; maps and lists as Python values.

    `vault` holds what is secret of it, encrypted by `vault_key`, which itself is wrapped by the master key; `options`
    is what it asked for beyond the contract.
    """

    id: int
    project: str
    name: str
    status: str
    file_id: int
    bundle: str
    function_path: str
    cpu: float
    memory: float
    runtime: str
    revision: str
    created_time: int
    external_id: str | None = None
    owner: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
    env_vars: dict[str, str] | None = None
    secret_keys: list[str] | None = None
    vault: bytes | None = None
    vault_key: bytes | None = None
    runtime_version: str | None = None
    environment: str | None = None
    error_message: str | None = None
    error_trace: str | None = None
    last_called: int | None = None
    options: dict[str, Any] | None = None
    server: str | None = None
    lock: str | None = None


_JSON = frozenset({"metadata", "env_vars", "secret_keys", "options"})
_NAMES = tuple(field.name for field in fields(FunctionRecord))


def _values(record: FunctionRecord) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in _NAMES}
    for name in _JSON:
        row[name] = None if row[name] is None else msgspec.json.encode(row[name]).decode()
    return row


def _record(row: RowMapping) -> FunctionRecord:
    values = dict(cast(dict[str, Any], row))
    for name in _JSON:
        values[name] = None if values[name] is None else msgspec.json.decode(values[name])
    return FunctionRecord(**values)


def add(connection: Connection, record: FunctionRecord) -> None:
    """Raises `IntegrityError` when the external id is taken."""
    connection.execute(insert(functions), _values(record))


def everything(connection: Connection) -> list[FunctionRecord]:
    """All functions; `last_called` includes the calls that are still kept."""
    latest = select(calls.c.function_id, func.max(calls.c.start_time)).group_by(calls.c.function_id)
    called: dict[int, int] = {row[0]: row[1] for row in connection.execute(latest)}
    records = [_record(row) for row in connection.execute(select(functions).order_by(functions.c.id)).mappings()]
    for record in records:
        record.last_called = max(called.get(record.id, 0), record.last_called or 0) or None
    return records


def bundles(connection: Connection) -> set[str]:
    """The keys of all blobs that functions hold."""
    return set(connection.scalars(select(functions.c.bundle)))


def several(connection: Connection, ids: Sequence[int]) -> list[FunctionRecord]:
    """Those of `ids` that exist; `last_called` as it was kept last."""
    return [_record(row) for row in connection.execute(select(functions).where(functions.c.id.in_(ids))).mappings()]


def save(connection: Connection, record: FunctionRecord, status: str) -> None:
    """Write what changes in a function's life; a function that was deleted meanwhile stays deleted."""
    changing = ("runtime_version", "environment", "lock", "error_message", "error_trace", "last_called")
    values = {"status": status, **{name: getattr(record, name) for name in changing}}
    connection.execute(update(functions).where(functions.c.id == record.id).values(values))


def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Delete functions with their schedules, the ledgers of these, calls and logs (contract 3.7)."""
    theirs = select(calls.c.id).where(calls.c.function_id.in_(ids))
    connection.execute(delete(call_logs).where(call_logs.c.call_id.in_(theirs)))
    connection.execute(delete(attempts).where(attempts.c.call_id.in_(theirs)))
    connection.execute(delete(calls).where(calls.c.function_id.in_(ids)))
    ticking = select(schedules.c.id).where(schedules.c.function_id.in_(ids))
    connection.execute(delete(ticks).where(ticks.c.schedule_id.in_(ticking)))
    connection.execute(delete(schedules).where(schedules.c.function_id.in_(ids)))
    connection.execute(delete(functions).where(functions.c.id.in_(ids)))


def wrapped_keys(connection: Connection) -> list[bytes]:
    """The keys of all functions, as the master key wrapped them."""
    return list(connection.execute(select(functions.c.vault_key).where(functions.c.vault_key.is_not(None))).scalars())


def rewrap(connection: Connection, rewrapped: Callable[[bytes], bytes]) -> dict[int, bytes]:
    """Wrap the keys of all functions anew; the new ones by function."""
    rows = connection.execute(select(functions.c.id, functions.c.vault_key).where(functions.c.vault_key.is_not(None)))
    keys = {row.id: rewrapped(row.vault_key) for row in rows}
    for function_id, key in keys.items():
        connection.execute(update(functions).where(functions.c.id == function_id).values(vault_key=key))
    return keys
