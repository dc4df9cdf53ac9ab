"""The turnstile: who comes beside a flood is let in at once, and nobody is forgotten."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.fakes import Plant, until

from kvern.service import turnstile
from kvern.service.turnstile import AT_ONCE, Place, Turnstile
from kvern.wire.base import ByIdOrExternalId
from kvern.wire.errors import BusyError, InvalidError, NotFoundError


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was let in counts until it has ended; whoever was called is remembered."""
    monkeypatch.setattr(turnstile, "PATIENCE", 3600)
    monkeypatch.setattr(turnstile, "MEMORY", 3600)


async def entered(gate: Turnstile, function_id: int) -> list[Place]:
    return [await gate.enter(function_id) for _ in range(AT_ONCE)]


async def test_a_function_that_is_called_alone_need_not_enter() -> None:
    gate = Turnstile()
    assert not any(gate.is_crowded(1) for _ in range(3))
    assert gate.is_crowded(2)
    assert gate.is_crowded(1)


async def test_it_is_crowded_no_more_when_the_other_function_was_called_long_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Turnstile()
    gate.is_crowded(1)
    gate.is_crowded(2)
    monkeypatch.setattr(turnstile, "MEMORY", 0.0)
    assert not gate.is_crowded(2)


@pytest.mark.usefixtures("endless")
async def test_calls_of_a_flood_wait_in_order_and_another_function_does_not() -> None:
    gate = Turnstile()
    places = await entered(gate, 1)
    late = [asyncio.create_task(gate.enter(1)) for _ in range(3)]
    await until(lambda: gate.waiting(1) == 3)
    (await gate.enter(2)).leave()
    places[3].leave()
    places[3].leave()
    await late[0]
    assert gate.waiting(1) == 2
    assert not late[1].done()
    for place in places:
        place.leave()
    assert await asyncio.gather(*late[1:])


async def test_a_call_that_takes_long_keeps_nobody_out() -> None:
    gate = Turnstile()
    await entered(gate, 1)
    await asyncio.wait_for(gate.enter(1), 10)


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("let_in_first", [False, True])
async def test_a_call_whose_client_has_gone_takes_no_place(let_in_first: bool) -> None:
    gate = Turnstile()
    places = await entered(gate, 1)
    gone, stays = (asyncio.create_task(gate.enter(1)) for _ in range(2))
    await until(lambda: gate.waiting(1) == 2)
    if let_in_first:
        places[0].leave()
    gone.cancel()
    if not let_in_first:
        places[0].leave()
    await asyncio.wait_for(stays, 5)
    assert gone.cancelled()


@pytest.mark.usefixtures("endless")
async def test_a_flood_waits_and_its_calls_all_come_to_their_end(p: Plant) -> None:
    flooded, other = await p.function(), await p.function()
    await p.ended(other)
    p.engine.holding = True
    flood = [asyncio.create_task(p.call(flooded)) for _ in range(AT_ONCE + 5)]
    await until(lambda: len(p.engine.orders) == AT_ONCE + 1)
    p.engine.holding = False
    await p.ended(other)
    assert sum(task.done() for task in flood) <= AT_ONCE
    for order in list(p.engine.orders[1 : AT_ONCE + 1]):
        p.engine.end(order.call_id)
    for task in flood:
        await asyncio.wait_for((await task).ended, 5)


@pytest.mark.usefixtures("endless")
async def test_a_function_that_is_deleted_while_calls_of_it_wait_takes_none_of_them(p: Plant) -> None:
    flooded, other = await p.function(), await p.function()
    await p.ended(other)
    p.engine.holding = True
    flood = [asyncio.create_task(p.call(flooded)) for _ in range(AT_ONCE + 1)]
    await until(lambda: len(p.engine.orders) == AT_ONCE + 1)
    await p.service.functions.delete(p.who.project, [ByIdOrExternalId(id=flooded.record.id)], ignore_unknown=False)
    with pytest.raises((NotFoundError, InvalidError)):
        await asyncio.wait_for(flood[-1], 5)


@pytest.mark.usefixtures("endless")
async def test_a_flood_past_the_quota_is_refused_before_it_waits(p: Plant) -> None:
    flooded, other = await p.function(), await p.function()
    await p.ended(other)
    p.engine.holding = True
    most = p.service.settings.max_function_calls
    flood = [asyncio.create_task(p.call(flooded)) for _ in range(most)]
    await until(lambda: len(p.engine.orders) == AT_ONCE + 1)
    with pytest.raises(BusyError, match="for this function"):
        await p.call(flooded)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
