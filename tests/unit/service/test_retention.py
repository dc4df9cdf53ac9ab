"""What is too old or too much goes, in small steps; calls go on meanwhile, and the space is given back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from kvern.service import retention
from kvern.service.clock import FakeClock
from kvern.service.metrics import Metrics
from kvern.service.retention import Retention
from kvern.settings import Settings
from kvern.store import calls as call_rows
from kvern.store import upkeep
from kvern.store.sqlite import SqliteStore
from kvern.store.tables import attempts, call_logs, calls, ticks

DAY = 24 * 3_600_000
NOW = FakeClock().now()


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(retention, "_REST_LEAST", 0.001)
    monkeypatch.setattr(retention, "_REST_TIMES", 0)
    made = SqliteStore(tmp_path / "kvern.db")
    made.start()
    yield made
    made.stop()


def row(number: int, started: int, **more: Any) -> dict[str, Any]:
    ended = {"status": "Completed", "verdict": "returned", "end_time": started + 5, "response": b"1"}
    first = {"id": number, "project": "plant", "function_id": 1, "begun": True, "start_time": started, "data": b"{}"}
    return {**first, **ended, **more}


async def add(store: SqliteStore, rows: list[dict[str, Any]], logs: bytes = b"") -> None:
    def work(connection: Connection) -> None:
        connection.execute(insert(calls), rows)
        if logs:
            connection.execute(insert(call_logs), [{"call_id": one["id"], "chunk": 0, "entries": logs} for one in rows])

    await store.transact(work)


async def ids(store: SqliteStore) -> list[int]:
    return await store.read(lambda c: [one[0] for one in c.execute(select(calls.c.id).order_by(calls.c.id))])


def keeper(store: SqliteStore, **settings: Any) -> tuple[Retention, Metrics, FakeClock]:
    metrics, clock = Metrics(), FakeClock()
    return Retention(store, clock, Settings(**settings), metrics), metrics, clock


async def test_age_takes_calls_with_all_that_is_theirs_and_ticks_along(store: SqliteStore) -> None:
    await add(store, [row(1, NOW - 91 * DAY), row(2, NOW - 89 * DAY)], logs=b"{}")
    attempt = {"attempt": 1, "verdict": "raised", "start_time": 1, "end_time": 2, "first_chunk": 0}
    due = {"schedule_id": 1, "outcome": "ran"}

    def work(connection: Connection) -> None:
        connection.execute(insert(attempts), [{"call_id": number, **attempt} for number in (1, 2)])
        connection.execute(insert(ticks), [{**due, "due_time": NOW - days * DAY} for days in (91, 89)])

    await store.transact(work)
    keeping, metrics, clock = keeper(store)
    await keeping.sweep()
    assert await ids(store) == [2]
    for column in (call_logs.c.call_id, attempts.c.call_id):
        assert await store.read(lambda c, column=column: c.execute(select(column)).scalars().all()) == [2]
    left = await store.read(lambda c: c.execute(select(ticks.c.due_time).order_by(ticks.c.due_time)).scalars().all())
    assert left == [NOW - 89 * DAY]
    value = metrics.registry.get_sample_value
    assert value("kvern_retention_forgotten_total", {"what": "calls"}) == 1
    assert value("kvern_retention_forgotten_total", {"what": "ticks"}) == 1
    await clock.advance(2 * DAY)
    await keeping.sweep()
    assert await ids(store) == []


async def test_size_takes_the_oldest_that_ended_and_gives_the_space_back(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = {"status": "Running", "verdict": None, "end_time": None, "response": None}
    await add(store, [row(1, NOW - 9 * DAY, **running)], logs=b"x" * 20_000)
    await add(store, [row(number, NOW - 5 * DAY + number) for number in range(2, 202)], logs=b"x" * 20_000)
    monkeypatch.setattr(upkeep, "_PORTION", 5)
    monkeypatch.setattr(upkeep, "_KEPT", 100_000)
    monkeypatch.setattr(retention, "STEP_ROWS", 10)
    pages = await store.read(_pages)
    assert pages * 4096 > 4_000_000

    keeping, metrics, _ = keeper(store, retention_gb=0.002)
    await keeping.sweep()
    left = await ids(store)
    used = await store.read(upkeep.used_bytes)
    assert used is not None
    assert 1_500_000 < used <= 2_000_000
    assert left[0] == 1, "a call that runs is kept, however old"
    assert left[1:] == list(range(202 - len(left[1:]), 202)), "the youngest are kept"
    assert metrics.registry.get_sample_value("kvern_database_bytes") == pytest.approx(used, rel=0.05)
    assert await store.read(_pages) < pages * 0.6


def _pages(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


async def test_size_deletes_nothing_when_all_that_is_left_runs(store: SqliteStore) -> None:
    await add(store, [row(1, NOW, status="Running", end_time=None)], logs=b"x" * 100_000)
    keeping, _, _ = keeper(store, retention_gb=0.00001)
    await keeping.sweep()
    assert await ids(store) == [1]


async def test_a_step_is_bounded_by_rows_and_by_time(store: SqliteStore) -> None:
    await add(store, [row(number, NOW - 100 * DAY) for number in range(200)])
    assert await store.transact(lambda c: upkeep.forget_calls(c, NOW, 30, seconds=1000)) == 30
    assert await store.transact(lambda c: upkeep.forget_calls(c, NOW, 150, seconds=0)) == upkeep._PORTION
    assert len(await ids(store)) == 170 - upkeep._PORTION


async def test_calls_go_on_while_a_large_purge_runs(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 100)
    for first in range(0, 3000, 1000):
        await add(store, [row(first + n, NOW - 100 * DAY) for n in range(1000)], logs=b"x" * 200)
    steps = 0
    forget: Callable[..., int] = upkeep.forget_calls

    def counted(*args: Any) -> int:
        nonlocal steps
        steps += 1
        return forget(*args)

    monkeypatch.setattr(upkeep, "forget_calls", counted)
    keeping, _, _ = keeper(store)
    sweep = asyncio.create_task(keeping.sweep())
    fresh = 10_000
    between: set[int] = set()
    while not sweep.done():
        await store.write(call_rows.ACCEPT, _accepted(fresh))
        between.add(steps)
        fresh += 1
    await sweep
    assert steps > 29
    assert len(between) > 10, "calls were written between the steps, not after them all"
    count = await store.read(lambda c: c.execute(select(func.count()).select_from(calls)).scalar_one())
    assert count == fresh - 10_000, "all that was written is there, and nothing else"


def _accepted(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "project": "plant",
        "function_id": 1,
        "status": "Running",
        "begun": False,
        "start_time": NOW,
        "schedule_id": None,
        "scheduled_time": None,
        "session_id": None,
        "data": b"{}",
    }
