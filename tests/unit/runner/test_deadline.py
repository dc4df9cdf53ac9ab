"""The soft deadline: told once, where the handler is, and only while it runs."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from kvern.runner import call, frames
from kvern.runner.handler import ARGUMENTS, Handler

SOON = {"soft": 0.05, "timeout": 20.0, "limit": 1000}


def ran(handle: Any, meta: dict[str, Any] = SOON) -> tuple[int, dict[str, Any], bytes]:
    takes = frozenset(ARGUMENTS[1:])
    return call.run(Handler(handle, takes, 3, "{}"), frames.Frame(frames.CALL, 7, meta, b"{}"))


def test_a_handler_that_blocks_may_save_its_state() -> None:
    def handle(**_: Any) -> str:
        try:
            time.sleep(60)
        except TimeoutError as error:
            return f"saved: {error}"
        return "slept"

    assert ran(handle) == (
        frames.RETURNED,
        {},
        b'"saved: the soft deadline has passed, the call is stopped in 19.95 s"',
    )


def test_a_handler_that_computes_is_told_where_it_is() -> None:
    def handle(**_: Any) -> int:
        count = 0
        try:
            while True:
                count += 1
        except TimeoutError:
            return count

    assert int(ran(handle)[2]) > 0


def test_a_handler_that_lets_it_pass_has_raised() -> None:
    def handle(**_: Any) -> None:
        time.sleep(60)

    kind, meta, _ = ran(handle)
    assert (kind, meta["message"]) == (
        frames.RAISED,
        "TimeoutError: the soft deadline has passed, the call is stopped in 19.95 s",
    )


def test_an_async_handler_that_awaits_is_cancelled() -> None:
    async def saves(**_: Any) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "saved"
        return "slept"

    async def passes(**_: Any) -> None:
        await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))

    assert ran(saves)[2] == b'"saved"'
    assert ran(passes)[1]["message"].startswith("TimeoutError: the soft deadline")


def test_an_async_handler_that_blocks_is_told_as_any_other() -> None:
    async def handle(**_: Any) -> str:
        try:
            time.sleep(60)
        except TimeoutError:
            return "saved"
        return "slept"

    assert ran(handle)[2] == b'"saved"'


def test_nothing_is_told_after_the_call_and_the_old_signal_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert ran(lambda **_: 1)[2] == b"1"
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("soft", [True, False])
def test_the_handler_knows_its_time_limit_only_when_that_is_asked_for(soft: bool) -> None:
    before = time.time()
    _, _, body = ran(lambda function_call_info, **_: function_call_info, SOON if soft else {"limit": 1000})
    import json

    info = json.loads(body)
    if soft:
        assert before + 20 <= info.pop("deadline") / 1000 + 0.001 <= time.time() + 20.001
    assert info == {"function_id": 3, "call_id": 7}
