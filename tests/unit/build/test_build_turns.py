from __future__ import annotations

import asyncio

import pytest

from kvern.build.turns import Turns


class Builds:
    """Builds that go on until they are told to end."""

    def __init__(self, most: int) -> None:
        self._turns = Turns(most)
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.going: list[str] = []

    async def begin(self, *names: str) -> None:
        """Of the project that is the first letter of each name."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._one(name))
            await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        for _ in range(3):
            await asyncio.sleep(0)

    async def _one(self, name: str) -> None:
        async with self._turns.turn(name[0]):
            self.going.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.going.remove(name)


async def test_as_many_go_on_as_may() -> None:
    builds = Builds(2)
    await builds.begin("a1", "a2", "a3")
    assert builds.going == ["a1", "a2"]
    await builds.end("a2")
    assert builds.going == ["a1", "a3"]


async def test_a_project_that_has_none_going_on_waits_for_no_other() -> None:
    builds = Builds(2)
    await builds.begin("a1", "a2", "a3", "a4", "b1", "b2", "c1", "d1")
    assert builds.going == ["a1", "a2", "b1", "c1"]
    await builds.end("a1")
    assert builds.going == ["a2", "b1", "c1", "d1"]


async def test_projects_take_turns_however_many_wait() -> None:
    builds = Builds(1)
    await builds.begin("a1", "b1", "a2", "a3", "a4", "b2", "c1")
    order: list[str] = list(builds.going)
    while builds.going:
        await builds.end(builds.going[0])
        order += [name for name in builds.going if name not in order]
    assert sorted(order) == ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
    assert order.index("c1") < order.index("a3")
    assert order.index("b2") < order.index("a3")


async def test_one_that_is_called_off_while_it_waits_takes_no_turn() -> None:
    builds = Builds(1)
    await builds.begin("a1", "a2", "a3")
    builds.tasks["a2"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await builds.tasks["a2"]
    await builds.end("a1")
    assert builds.going == ["a3"]
    await builds.end("a3")
    await builds.begin("a4")
    assert builds.going == ["a4"]
