from __future__ import annotations

import asyncio

import pytest

from kvern.host.turns import Turns


async def test_as_long_as_there_is_room_nobody_waits() -> None:
    turns = Turns(2)
    assert turns.free()
    assert turns.take(1) is None
    assert turns.take(1) is None
    assert not turns.free()
    turns.give()
    assert turns.free()


async def test_functions_take_turns_whichever_waits_with_how_many() -> None:
    turns = Turns(1)
    assert turns.take(1) is None
    waiting = [turns.take(function) for function in (1, 1, 1, 2, 2, 3)]
    order: list[int] = []
    while len(order) < len(waiting):
        turns.give()
        [now] = [n for n, waiter in enumerate(waiting) if waiter and waiter.done() and n not in order]
        order.append(now)
    assert order == [0, 3, 5, 1, 4, 2]
    turns.give()
    assert turns.free()


@pytest.mark.parametrize("end", ["cancel", "set_exception"])
async def test_who_gave_up_is_passed_over(end: str) -> None:
    turns = Turns(1)
    turns.take(1)
    one, two = turns.take(2), turns.take(2)
    assert one is not None
    assert two is not None
    if end == "cancel":
        one.cancel()
    else:
        one.set_exception(ValueError())
        one.exception()
    turns.give()
    assert two.done()
    turns.give()
    assert turns.free()
    await asyncio.sleep(0)
