"""The fakes keep what the seams promise: a test that rests on them rests on something."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.fakes import FakeEngine, GatedStore, raised, returned, until

from kvern.build.revision import Environment, Interpreter, Revision
from kvern.engine import Access, Engine, Order, Outcome, Verdict
from kvern.store import Store, StoreFault
from kvern.store.sqlite import SqliteStore

HERE = Path("/")
REVISION = Revision("r", 1, HERE, "handler.py", Environment("k", HERE, Interpreter("py313", "3.13.0", HERE, HERE), ""))


def order(call_id: int = 1, **more: object) -> Order:
    access = Access("http://kvern.test", "plant", "token")
    given = {
        "data": b"{}",
        "timeout": 1.0,
        "response_limit": 1,
        "log_limit": 1,
        "on_log": print,
        "access": lambda: access,
    }
    return Order(call_id, **{**given, **more})  # type: ignore[arg-type]


async def held(fake: FakeEngine, call_id: int = 1) -> asyncio.Task[Outcome]:
    engine: Engine = fake
    fake.holding = True
    running = asyncio.create_task(engine.run(REVISION, order(call_id)))
    await until(lambda: fake.began(call_id))
    return running


async def test_calls_end_as_they_are_told_to_one_after_the_other() -> None:
    engine = FakeEngine()
    engine.endings.extend([returned(b"1"), raised("no"), lambda given: returned(given.data)])
    outcomes = [await engine.run(REVISION, order(number)) for number in range(4)]
    assert [outcome.response for outcome in outcomes] == [b"1", None, b"{}", b"null"]
    assert [given.call_id for given in engine.orders] == [0, 1, 2, 3]


async def test_a_call_is_cancelled_while_it_runs_and_while_it_waits() -> None:
    engine = FakeEngine()
    running = await held(engine, 1)
    engine.room = False
    waiting = asyncio.create_task(engine.run(REVISION, order(2)))
    await until(lambda: engine.running == [1, 2])
    assert await engine.cancel(1)
    assert await engine.cancel(2)
    assert [(await task).verdict for task in (running, waiting)] == [Verdict.CANCELLED] * 2
    assert not engine.began(2)
    assert not await engine.cancel(1)


async def test_a_stop_interrupts_and_retiring_cancels() -> None:
    for stop, verdict in (("stop", Verdict.INTERRUPTED), ("retire", Verdict.CANCELLED)):
        engine = FakeEngine()
        running = await held(engine)
        await (engine.stop() if stop == "stop" else engine.retire(REVISION.function_id))
        assert (await running).verdict is verdict
        assert engine.running == []


async def test_nothing_runs_whose_beginning_is_refused() -> None:
    engine = FakeEngine()

    async def refuse() -> None:
        raise StoreFault("no")

    with pytest.raises(StoreFault):
        await engine.run(REVISION, order(on_begin=refuse))
    assert engine.orders == []


async def test_a_closed_gate_holds_writes_and_a_refusing_one_keeps_nothing() -> None:
    gated = GatedStore(SqliteStore(None))
    store: Store = gated
    store.start()
    try:
        with gated.closed():
            writing = asyncio.ensure_future(store.transact(lambda connection: 7))
            await until(lambda: gated.waiting == 1)
            assert not writing.done()
        assert await writing == 7
        gated.refusing = True
        with pytest.raises(StoreFault, match="disk is full"):
            await store.transact(lambda connection: 7)
        assert await store.read(lambda connection: 8) == 8
    finally:
        store.stop()
