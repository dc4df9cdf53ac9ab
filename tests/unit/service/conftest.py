"""A service in memory for each test; see `tests.unit.fakes`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.fakes import Plant, plant


@pytest.fixture(autouse=True)
def no_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about power loss, and the disk would set the pace."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
async def p(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path / "data") as made:
        yield made
