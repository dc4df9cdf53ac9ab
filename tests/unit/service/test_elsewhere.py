"""Waiting for calls of other servers goes on whatever becomes of one look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from kvern.service import elsewhere
from kvern.service.elsewhere import Elsewhere
from kvern.store import Store, StoreFault


class Reads:
    """A store that is only read: each read raises what comes next, and when nothing does, tells that call 7 ended."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)

    async def read(self, _work: Callable[..., Any]) -> list[int]:
        if self.faults:
            raise self.faults.pop(0)
        return [7]


@pytest.mark.parametrize("fault", [StoreFault("gone for a moment"), RuntimeError("nobody thought of this")])
async def test_a_look_that_fails_is_followed_by_another(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(elsewhere, "POLL", 0.0)
    store = Reads(fault)
    waiting = Elsewhere(cast(Store, store))
    async with asyncio.timeout(5):
        await waiting.ended(7, 3600)
        await waiting.ended(7, 3600)
    assert store.faults == []
    assert str(fault) in caplog.text
    await waiting.stop()
