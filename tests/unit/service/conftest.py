"""A service in memory for each test; see `tests.unit.fakes`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.fakes import Plant, plant


@pytest.fixture
async def p(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path / "data") as made:
        yield made
