"""The ledger of a schedule on every store: whatever happens, each due time ends as one tick and one call at most."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvern.service.cron import due_times
from kvern.service.functions import LiveFunction
from kvern.store import Store, ticks
from kvern.store.postgres import PostgresStore
from kvern.store.sqlite import SqliteStore
from kvern.store.ticks import TickRecord
from kvern.wire.base import ByIdOrExternalId
from tests.unit.fakes import PROJECT, Plant, plant, until

Step: TypeAlias = tuple[str, int]

POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "overlap": st.sampled_from(["allow", "skip", "queue"]),
        "missed": st.sampled_from(["skip", "last", "all"]),
        "time_zone": st.just("Europe/Oslo"),
    },
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.integers(1, 200)),
        st.tuples(st.just("jump"), st.integers(-400, 900)),
        st.tuples(st.just("crash"), st.integers(0, 400)),
        st.tuples(st.just("crash before the commit"), st.integers(1, 100)),
        st.tuples(st.sampled_from(["pause", "resume", "hold", "end", "refuse", "accept"]), st.just(0)),
    ),
    max_size=15,
)


class Alone(PostgresStore):
    """As if no other server could share it: whoever starts goes on at once, and waits for no lease to end."""

    shared = False


class Story:
    """A schedule, and what happens to it."""

    def __init__(self, p: Plant, function: LiveFunction, schedule: int) -> None:
        self._p = p
        self._function = function.record.id
        self._schedule = schedule
        self._created = self._furthest = p.clock.now()

    async def _quiet(self) -> None:
        p = self._p
        await p.clock.advance(0)
        if not p.store.refusing:
            await until(lambda: not p.service.schedules.busy)
            self._furthest = max(self._furthest, p.clock.now())

    async def step(self, what: str, seconds: int) -> None:
        p = self._p
        if what == "turn":
            await p.clock.advance(seconds * 1000)
        elif what == "jump":
            p.clock.jump(seconds * 1000)
        elif what == "crash":
            p.store.refusing = False
            await p.crash(down=seconds * 1000)
        elif what == "crash before the commit":
            p.store.refusing = False
            with p.store.closed():
                await p.clock.advance(seconds * 1000)
                for task in asyncio.all_tasks() - p._before - {asyncio.current_task()}:
                    task.cancel()
                await p.clock.advance(0)
            await p._die()  # with the store open: what is cancelled may write what it gave up
            await p._anew()
        elif what == "pause" and not p.store.refusing:
            await p.service.schedules.pause(PROJECT, [self._schedule])
        elif what == "resume" and not p.store.refusing:
            await p.service.schedules.resume(PROJECT, [self._schedule])
        elif what in ("refuse", "accept"):
            p.store.refusing = what == "refuse"
        elif what == "hold":
            p.engine.holding = True
        elif what == "end":
            p.engine.end_all()
        await self._quiet()

    async def end(self) -> None:
        """Two minutes more, in which nothing stands in the way."""
        self._p.store.refusing = False
        self._p.engine.end_all()
        for _ in range(2):
            await self._p.clock.advance(60_000)
            await self._quiet()
        for _ in range(2000):
            if all(tick.outcome != "queued" for tick in await self._ledger()):
                return
            await self._quiet()
        raise AssertionError("ticks wait, and nothing comes")

    async def _ledger(self) -> list[TickRecord]:
        return await self._p.store.read(lambda c: ticks.page(c, self._schedule, None, 10_000, None))

    async def check(self) -> None:
        p = self._p
        ledger = {tick.due_time: tick for tick in await self._ledger()}
        record = p.service.schedules.get(PROJECT, self._schedule)
        for due in due_times(record.cron_expression, self._created, record.time_zone):
            if due > max(self._furthest, record.accounted_until or 0):
                break
            assert due in ledger, f"{(due - self._created) / 1000} s after the creation nobody accounted"
        await until(lambda: p.service.functions.get(PROJECT, self._function).running == 0)
        calls = await p.calls_of(p.service.functions.get(PROJECT, self._function))
        assert {due for due, count in Counter(call.scheduled_time for call in calls).items() if count > 1} == set()
        assert {call.scheduled_time: call.id for call in calls} == {
            tick.due_time: tick.call_id for tick in ledger.values() if tick.call_id is not None
        }
        for tick in ledger.values():
            assert (tick.outcome in ("ran", "late")) == (tick.call_id is not None)
            assert (tick.reason is None) == (tick.outcome == "ran")
        begun = Counter(order.call_id for order in p.engine.orders)
        assert [call for call, count in begun.items() if count > 1] == []


async def _told(state: Store | None, folder: Path, policies: dict[str, str], steps: list[Step]) -> None:
    async with asyncio.timeout(60), plant(folder, state=state) as p:
        function = await p.function()
        shown = await p.schedule(function, "*/2 * * * *" if "time_zone" in policies else "* * * * *", **policies)
        story = Story(p, function, shown.id)
        for what, seconds in steps:
            await story.step(what, seconds)
        await story.end()
        await story.check()
        item = ByIdOrExternalId(id=function.record.id)
        await p.service.functions.delete(PROJECT, [item], ignore_unknown=False)


@pytest.fixture(params=["memory", "file", "postgres"])
def opened(request: pytest.FixtureRequest) -> Callable[[Path], Store | None]:
    """Opens a store."""
    if request.param == "postgres":
        url = request.getfixturevalue("new_postgres")()
        return lambda _: Alone(url)
    return (lambda folder: SqliteStore(folder / "kvern.db")) if request.param == "file" else (lambda _: None)


def test_every_due_time_has_one_tick_and_one_call_at_most(
    opened: Callable[[Path], Store | None], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("kvern.service.queued._AGAIN", 0.001)
    monkeypatch.setattr("kvern.service.missed._RETRY", 0.001)
    monkeypatch.setattr("kvern.service.ends._RETRY", 0.001)
    monkeypatch.setattr("kvern.service.withdrawals._RETRY", 0.001)
    monkeypatch.setattr(os, "fsync", lambda _: None)

    @settings(
        max_examples=12 if "memory" in request.node.name else 4,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(POLICIES, STEPS)
    def told(policies: dict[str, str], steps: list[Step]) -> None:
        with tempfile.TemporaryDirectory(prefix="kvern-ledger-") as folder:
            place = Path(folder)
            asyncio.run(_told(opened(place), place / "data", policies, steps))

    told()
