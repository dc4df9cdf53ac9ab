"""A service as it should be, in a few lines, and a machine that does the same to it and to a real one (Hypothesis).

The model knows of each function its calls and schedules, and of each call whether it waits, has begun, or how it ended.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from kvern.engine import Outcome, Verdict
from kvern.service.live_calls import LiveCall
from kvern.store import Store, StoreFault
from kvern.wire.base import ByIdOrExternalId
from kvern.wire.errors import ApiError
from tests.unit.fakes import PROJECT, Plant, plant, raised, returned, until

MINUTE = 60_000
Key: TypeAlias = int | tuple[int, int]
"""A call by its id; one that a schedule made by the schedule and its due time."""

ENDINGS: dict[str, Outcome] = {
    "Completed": returned(b'{"done":true}'),
    "Failed": raised(),
    "Timeout": Outcome(Verdict.TIMED_OUT, message="the call took too long"),
}


@dataclass
class ModelFunction:
    calls: dict[Key, str] = field(default_factory=dict[Key, str])
    """`waiting`, `running`, or the status that it ended with."""
    schedules: dict[int, int] = field(default_factory=dict[int, int])
    """Each with the moment (ms) up to which its due times are accounted for."""
    ticks: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Schedules and due times that had their call, or were missed: a clock that is put back brings none of them again."""


def _minutes_between(after: int, until_and_with: int) -> range:
    first = (after // MINUTE + 1) * MINUTE
    return range(first, until_and_with + 1, MINUTE)


class ServiceMachine(RuleBasedStateMachine):
    """Functions, calls and schedules that come and go; ends, clocks, refusals of the store, crashes and restarts."""

    functions = Bundle("functions")
    schedules = Bundle("schedules")

    def __init__(self, open_store: Callable[[Path], Store | None]) -> None:
        super().__init__()
        self._open_store = open_store
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="kvern-model-"))
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(os, "fsync", lambda _: None)
        self._model: dict[int, ModelFunction] = {}
        self._room = True
        self.p: Plant

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(30):
                return await work

        return self._loop.run_until_complete(bounded())

    @initialize()
    def begin(self) -> None:
        state = self._open_store(self._folder)
        self.p = self._do(self._stack.enter_async_context(plant(self._folder / "data", state=state)))
        self.p.engine.holding = True

    def teardown(self) -> None:
        try:
            self._do(self._stack.aclose())
        finally:
            self._loop.close()
            self._patch.undo()
            shutil.rmtree(self._folder, ignore_errors=True)

    # What may happen

    @rule(target=functions)
    def create(self) -> int:
        function = self._do(self.p.function())
        self._model[function.record.id] = ModelFunction()
        return int(function.record.id)

    @rule(function=consumes(functions))
    def delete(self, function: int) -> None:
        self._do(self.p.service.functions.delete(PROJECT, [ByIdOrExternalId(id=function)], ignore_unknown=False))
        del self._model[function]

    @rule(function=functions)
    def call(self, function: int) -> None:
        live: LiveCall = self._do(self.p.service.calls.call(self.p.who, function, b"{}", None))
        self._model[function].calls[live.record.id] = self._fresh()

    @rule(function=functions)
    def call_while_the_store_refuses(self, function: int) -> None:
        self.p.store.refusing = True
        with pytest.raises(StoreFault):
            self._do(self.p.service.calls.call(self.p.who, function, b"{}", None))
        self.p.store.refusing = False

    @rule(data=st.data(), status=st.sampled_from(sorted(ENDINGS)))
    def end(self, data: st.DataObject, status: str) -> None:
        begun = [(function, key) for function, key in self._calls("running")]
        if begun:
            function, key = data.draw(st.sampled_from(begun))
            self.p.engine.end(self._id(function, key), ENDINGS[status])
            self._model[function].calls[key] = status

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        unfinished = [*self._calls("running"), *self._calls("waiting")]
        if unfinished:
            function, key = data.draw(st.sampled_from(unfinished))
            self._do(self.p.service.calls.cancel(PROJECT, function, self._id(function, key)))
            self._model[function].calls[key] = "Failed"

    @rule(target=schedules, function=functions)
    def schedule(self, function: int) -> Any:
        made = self._do(self.p.schedule(self.p.service.functions.get(PROJECT, function)))
        self._model[function].schedules[made.id] = made.created_time
        return multiple(made.id)

    @rule(schedule=consumes(schedules))
    def delete_schedule(self, schedule: int) -> None:
        for function in self._model.values():
            if function.schedules.pop(schedule, None) is not None:
                self._do(self.p.service.schedules.delete(PROJECT, [schedule]))

    @rule(seconds=st.integers(1, 200))
    def time_passes(self, seconds: int) -> None:
        self._do(self.p.clock.advance(seconds * 1000))
        self._due(fire=True)

    @rule(seconds=st.integers(1, 300))
    def the_clock_is_put_back(self, seconds: int) -> None:
        self.p.clock.jump(-seconds * 1000)
        for function in self._model.values():
            function.schedules = dict.fromkeys(function.schedules, self.p.clock.now())

    @rule()
    def workers_are_all_taken(self) -> None:
        self.p.engine.room = self._room = False

    @rule()
    def workers_are_free(self) -> None:
        self.p.engine.room = self._room = True
        for function, key in self._calls("waiting"):
            self._model[function].calls[key] = "running"

    @rule(seconds=st.integers(0, 200))
    def crash(self, seconds: int) -> None:
        self._do(self._begun_as_expected())
        self._do(self.p.crash(down=seconds * 1000))
        self._after_the_service_was_gone()

    @rule()
    def restart(self) -> None:
        self._do(self._begun_as_expected())
        self._do(self.p.restart())
        self._after_the_service_was_gone()

    # What must hold

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        if hasattr(self, "p"):
            self._do(self._compare())

    async def _compare(self) -> None:
        found: dict[int, dict[Key, str]] = {}

        async def as_in_the_model() -> bool:
            nonlocal found
            found = {number: await self._seen(number) for number in self._model}
            return found == {number: _shown(function.calls) for number, function in self._model.items()}

        for _ in range(500):
            if await as_in_the_model():
                break
            await asyncio.sleep(0.002)
        else:
            expected = {number: _shown(function.calls) for number, function in self._model.items()}
            assert found == expected
        alive = {function.record.id for function in self.p.service.functions.everything()}
        assert alive == set(self._model)
        begun = [order.call_id for order in self.p.engine.orders]
        assert len(begun) == len(set(begun)), "a call began twice"

    async def _seen(self, number: int) -> dict[Key, str]:
        try:
            function = self.p.service.functions.get(PROJECT, number)
        except ApiError:
            return {}
        return {
            record.id if record.schedule_id is None else (record.schedule_id, record.scheduled_time or 0): record.status
            for record in await self.p.calls_of(function)
        }

    # The model's own steps

    def _fresh(self) -> str:
        return "running" if self._room else "waiting"

    def _calls(self, state: str) -> list[tuple[int, Key]]:
        return [
            (number, key)
            for number, function in self._model.items()
            for key, its in function.calls.items()
            if its == state
        ]

    def _id(self, function: int, key: Key) -> int:
        async def found() -> int:
            records = await self.p.calls_of(self.p.service.functions.get(PROJECT, function))
            ids = {(record.schedule_id, record.scheduled_time or 0): record.id for record in records}
            number = key if isinstance(key, int) else ids[key]
            if self._model[function].calls[key] == "running":
                await until(lambda: self.p.engine.began(number))
            else:
                await until(lambda: number in self.p.engine.running)
            return number

        return int(self._do(found()))

    async def _begun_as_expected(self) -> None:
        """Every call that should have begun has; so it is certain which ones a crash interrupts."""
        expected = len(self._calls("running"))
        await until(lambda: sum(self.p.engine.began(number) for number in self.p.engine.running) == expected)
        waiting = len(self._calls("waiting"))
        await until(lambda: len(self.p.engine.running) == expected + waiting)

    def _due(self, *, fire: bool) -> None:
        """Due times up to now have their calls, or had none because the service was down."""
        now = self.p.clock.now()
        for function in self._model.values():
            for schedule, accounted in function.schedules.items():
                for due in _minutes_between(accounted, now):
                    if fire and (schedule, due) not in function.ticks:
                        function.calls[schedule, due] = self._fresh()
                    function.ticks.add((schedule, due))
                function.schedules[schedule] = now

    def _after_the_service_was_gone(self) -> None:
        for function, key in self._calls("running"):
            self._model[function].calls[key] = "Failed"
        for function, key in self._calls("waiting"):
            self._model[function].calls[key] = self._fresh()
        self._due(fire=False)


def _shown(calls: dict[Key, str]) -> dict[Key, str]:
    return {key: "Running" if state in ("running", "waiting") else state for key, state in calls.items()}
